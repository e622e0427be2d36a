"""subprocess_exec and subprocess_shell: Popen's options arrive, what asyncio refuses is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from child_processes import NO_PIPES, PYTHON, Watcher, children, ended, returncode_of, started

REFUSED = [
    ({"universal_newlines": True}, "universal_newlines must be False"),
    ({"bufsize": 4096}, "bufsize must be 0"),
    ({"bufsize": None}, "bufsize must be 0"),
    ({"text": True}, "text must be False"),
    ({"encoding": "utf-8"}, "encoding must be None"),
    ({"errors": "strict"}, "errors must be None"),
    ({"errors": ""}, "errors must be None"),
    # The first in this order is named.
    ({"text": True, "bufsize": 1, "universal_newlines": 1}, "universal_newlines must be False"),
    ({"errors": "strict", "encoding": "utf-8", "text": 1}, "text must be False"),
]

Tell = Callable[..., Any]


@pytest.fixture
def tell(run: Any, loop: Any, tmp_path: Path) -> Tell:
    """The value of the expression `source` in a child that was started with these options."""
    told = tmp_path / "told"

    def tell_of(source: str, **options: Any) -> Any:
        program = f"import json, os, signal, sys\nopen({str(told)!r}, 'w').write(json.dumps({source}))"
        assert run(returncode_of(loop, *PYTHON, "-c", program, **options)) == 0
        return json.loads(told.read_text())

    return tell_of


Printed = Callable[..., str]


@pytest.fixture
def printed(run: Any, loop: Any, tmp_path: Path) -> Printed:
    """What a shell's command that was started with these options prints."""

    def printed_by(command: str, **options: Any) -> str:
        async def main() -> int | None:
            given = {"stdin": None, "stdout": file, "stderr": None, **options}
            return await ended(*await loop.subprocess_shell(Watcher, command, **given))

        with open(tmp_path / "printed", "w+b") as file:
            assert run(main()) == 0
            file.seek(0)
            return file.read().decode()

    return printed_by


@pytest.mark.parametrize(("options", "text"), REFUSED)
def test_text_and_buffers_are_refused(loop: Any, run: Any, options: dict[str, Any], text: str) -> None:
    before = children()
    for command in (
        loop.subprocess_exec(Watcher, "true", **options),
        loop.subprocess_shell(Watcher, "true", **options),
    ):
        with pytest.raises(ValueError) as caught:
            run(command)
        assert str(caught.value) == text
    assert children() == before


@pytest.mark.parametrize("shell", [False, 0, None, ""])
def test_a_shell_command_needs_a_shell(loop: Any, run: Any, shell: Any) -> None:
    with pytest.raises(ValueError) as caught:
        run(loop.subprocess_shell(Watcher, "true", shell=shell))
    assert str(caught.value) == "shell must be True"


@pytest.mark.parametrize("shell", [True, 1, "yes"])
def test_a_program_is_run_without_a_shell(loop: Any, run: Any, shell: Any) -> None:
    with pytest.raises(ValueError) as caught:
        run(loop.subprocess_exec(Watcher, "true", shell=shell))
    assert str(caught.value) == "shell must be False"


def test_falsy_values_of_what_is_refused_are_fine(loop: Any, run: Any) -> None:
    assert run(returncode_of(loop, "true", universal_newlines=None, shell="", bufsize=False, text=0)) == 0


@pytest.mark.parametrize("command", [["true"], None, 1, Path("true"), bytearray(b"true")])
def test_a_shell_command_is_text(loop: Any, run: Any, command: Any) -> None:
    with pytest.raises(ValueError) as caught:
        # The command is looked at before the other arguments.
        run(loop.subprocess_shell(Watcher, command, universal_newlines=True))
    assert str(caught.value) == "cmd must be a string"


@pytest.mark.parametrize("command", ["exit 7", b"exit 7"])
def test_a_shell_command_may_be_text_or_bytes(loop: Any, run: Any, command: Any) -> None:
    async def main() -> int | None:
        return await ended(*await loop.subprocess_shell(Watcher, command, **NO_PIPES))

    assert run(main()) == 7


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1,), TypeError),
        ((None,), TypeError),
        (("true", 1), TypeError),
        (("tr\0ue",), ValueError),
    ],
)
def test_arguments_that_popen_refuses_are_refused_the_same(
    loop: Any, run: Any, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error) as expected:
        subprocess.Popen(arguments)
    with pytest.raises(error) as caught:
        run(loop.subprocess_exec(Watcher, *arguments, **NO_PIPES))
    assert str(caught.value) == str(expected.value)


def test_arguments_may_be_bytes_and_paths(loop: Any, run: Any, tmp_path: Path) -> None:
    assert run(returncode_of(loop, b"sh", "-c", b"exit 3")) == 3
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit $1\n")
    program.chmod(0o700)
    assert run(returncode_of(loop, program, "4")) == 4


def test_an_unknown_keyword_is_popens_type_error(loop: Any, run: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        run(loop.subprocess_exec(Watcher, "true", colour="red"))


def test_a_missing_argument_is_a_type_error_at_once(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.subprocess_exec(Watcher)
    with pytest.raises(TypeError):
        loop.subprocess_shell(Watcher)


def test_what_is_wrong_is_said_when_it_is_awaited(loop: Any, run: Any) -> None:
    command = loop.subprocess_exec(Watcher, "true", bufsize=1)
    with pytest.raises(ValueError, match="bufsize must be 0"):
        run(command)


def test_the_factory_is_called_after_the_checks_and_before_the_child_is_started(loop: Any, run: Any) -> None:
    before = children()
    called = []

    def factory() -> Watcher:
        called.append(children())
        raise LookupError("no protocol")

    with pytest.raises(ValueError, match="text must be False"):
        run(loop.subprocess_exec(factory, "true", text=True))
    assert called == []
    with pytest.raises(LookupError, match="no protocol"):
        run(loop.subprocess_exec(factory, "true", **NO_PIPES))
    assert called == [before]
    assert children() == before


@pytest.mark.parametrize(("number", "name"), [(0, "stdin"), (1, "stdout"), (2, "stderr")])
def test_a_stream_may_be_nothing_a_file_or_a_descriptor(
    tell: Tell, tmp_path: Path, number: int, name: str
) -> None:
    source = f"os.readlink('/proc/self/fd/{number}')"
    assert tell(source, **{name: subprocess.DEVNULL}) == "/dev/null"
    with open(tmp_path / "file", "w+b") as file:
        assert tell(source, **{name: file}) == file.name
        assert tell(source, **{name: file.fileno()}) == file.name
    assert tell(source, **{name: None}) == os.readlink(f"/proc/self/fd/{number}")


def test_errors_may_go_where_the_output_goes(printed: Printed) -> None:
    assert printed("echo out; echo err >&2", stderr=subprocess.STDOUT) == "out\nerr\n"


def test_cwd(tell: Tell, tmp_path: Path) -> None:
    assert tell("os.getcwd()", cwd=tmp_path) == str(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        tell("1", cwd=tmp_path / "missing")
    assert caught.value.filename == tmp_path / "missing"


def test_env(tell: Tell) -> None:
    assert tell("dict(os.environ)", env={"COLOUR": "red"})["COLOUR"] == "red"
    assert "PATH" not in tell("dict(os.environ)", env={})


def test_executable(loop: Any, run: Any) -> None:
    command = ["another name", "-c", 'test "$0" = "another name"']
    assert run(returncode_of(loop, *command, executable="/bin/sh")) == 0


def test_the_executable_of_a_shell(loop: Any, run: Any) -> None:
    async def main() -> int | None:
        command = "import sys; sys.exit(5)"
        return await ended(*await loop.subprocess_shell(Watcher, command, executable=PYTHON[0], **NO_PIPES))

    assert run(main()) == 5


def test_start_new_session(tell: Tell) -> None:
    assert tell("os.getsid(0) == os.getpid()", start_new_session=True)
    assert tell("os.getsid(0)") == os.getsid(0)


def test_process_group(tell: Tell) -> None:
    assert tell("os.getpgid(0) == os.getpid()", process_group=0)
    assert tell("os.getpgid(0)") == os.getpgid(0)


def test_umask(tell: Tell) -> None:
    assert tell("os.umask(0)", umask=0o137) == 0o137


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")


@needs_root
def test_user_and_groups(printed: Printed) -> None:
    options = {"user": 65534, "group": 65533, "extra_groups": [65532, 65531]}
    user, group, groups = printed("id -u; id -g; id -G", **options).splitlines()
    assert (user, group, sorted(groups.split())) == ("65534", "65533", ["65531", "65532", "65533"])


def test_an_unknown_user_starts_no_child(loop: Any, run: Any) -> None:
    before = children()
    with pytest.raises(KeyError):
        run(loop.subprocess_exec(Watcher, "true", user="nobody has this name"))
    assert children() == before


def test_close_fds_and_pass_fds(tell: Tell, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        descriptor = file.fileno()
        os.set_inheritable(descriptor, True)
        source = f"os.path.exists('/proc/self/fd/{descriptor}')"
        assert tell(source) is False
        assert tell(source, pass_fds=[descriptor]) is True
        assert tell(source, close_fds=False) is True


def test_restore_signals(printed: Printed) -> None:
    # Python ignores SIGPIPE, and what it starts does too unless that is put back.
    def is_ignored(**options: bool) -> bool:
        mask = int(printed("grep SigIgn /proc/self/status", **options).split()[1], 16)
        return bool(mask >> (signal.SIGPIPE - 1) & 1)

    assert not is_ignored()
    assert is_ignored(restore_signals=False)


def test_preexec_fn(tell: Tell) -> None:
    assert tell("os.getcwd()", preexec_fn=lambda: os.chdir("/proc")) == "/proc"


def test_a_preexec_fn_that_raises_is_a_subprocess_error(loop: Any, run: Any) -> None:
    before = children()
    with pytest.raises(subprocess.SubprocessError, match="Exception occurred in preexec_fn"):
        run(loop.subprocess_exec(Watcher, "true", preexec_fn=lambda: 1 / 0, **NO_PIPES))
    assert children() == before


@pytest.mark.parametrize(
    ("program", "error"),
    [("no such program", FileNotFoundError), ("/", PermissionError), ("/etc/passwd", PermissionError)],
)
def test_a_program_that_cannot_be_run_is_popens_error(
    loop: Any, run: Any, program: str, error: type[OSError]
) -> None:
    before = children()
    with pytest.raises(error) as caught:
        run(loop.subprocess_exec(Watcher, program))
    assert caught.value.filename == program
    assert children() == before


def test_popen_is_looked_up_at_each_call(loop: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            given.append((arguments, options))
            super().__init__(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    assert run(returncode_of(loop, "true", cwd="/")) == 0
    expected = {**NO_PIPES, "shell": False, "universal_newlines": False, "bufsize": 0, "cwd": "/"}
    assert given == [((("true",),), expected)]


def test_debug_mode_tells_of_the_command(loop: Any, run: Any, asyncio_log: Any) -> None:
    async def main() -> Any:
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        transport, watcher = await started(loop, "true", "secret", **options)
        await ended(transport, watcher)
        return transport

    loop.set_debug(True)
    transport = run(main())
    messages = [message for message in asyncio_log.messages if not message.startswith("Using selector")]
    assert messages[:2] == [
        "execute program 'true' stdin=-3 stderr=<stdout>",
        f"process 'true' created: pid {transport.get_pid()}",
    ]
    # The child may end before it is spoken of.
    assert {f"execute program 'true': {transport!r}", f"{transport!r} exited with return code 0"} <= {
        *messages
    }
    assert "secret" not in str(messages)


def test_debug_mode_tells_of_the_shell_command(loop: Any, run: Any, asyncio_log: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with open(tmp_path / "file", "wb") as file:
            options = {"stdin": None, "stdout": file, "stderr": subprocess.STDOUT}
            await ended(*await loop.subprocess_shell(Watcher, "exit 1", **options))
            assert f"run shell command 'exit 1' stdout=stderr={file!r}" in asyncio_log.messages

    loop.set_debug(True)
    run(main())
