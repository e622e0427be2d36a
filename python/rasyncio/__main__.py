"""``python -m rasyncio [script.py | -m module | -c command | -] ARGS``: an unmodified program on rasyncio.

``install()``, then the program as ``python`` itself would run it: ``sys.argv``, ``sys.path[0]``,
``__main__``, tracebacks, exit status. Started bare, it is the shell of ``python -m asyncio``.
"""

import asyncio
import asyncio.unix_events
import builtins
import importlib.machinery
import io
import linecache
import os
import pkgutil
import runpy
import sys
import textwrap
import types
from typing import NoReturn

import rasyncio

USAGE = """\
usage: python -m rasyncio script.py [ARGUMENT ...]
       python -m rasyncio -m module [ARGUMENT ...]
       python -m rasyncio -c command [ARGUMENT ...]
       python -m rasyncio - [ARGUMENT ...]           (the program comes from standard input)
       python -m rasyncio                            (a shell with top-level await)
"""


def fresh_main(file: str | None) -> dict[str, object]:
    """Put an empty ``__main__`` module into place, as the interpreter has it before a program begins."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __loader__=importlib.machinery.BuiltinImporter)
    if file is not None:
        module.__dict__.update(__file__=file)
    if file is not None and sys.version_info < (3, 15):
        module.__dict__.update(__cached__=None)
    if sys.version_info < (3, 14):
        module.__dict__.update(__annotations__={})
    sys.modules["__main__"] = module
    return module.__dict__


def replace_first_on_path(folder: str) -> None:
    """Put the program's folder where ours is; with ``python -P`` there is neither."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def compile_program(source: str | bytes, name: str) -> types.CodeType:
    """Compile the program; what is wrong with it is shown without the launcher's frames."""
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        hide_own_frames(ALL_FRAMES)
        raise


def load_command(command: str) -> tuple[types.CodeType, dict[str, object]]:
    """Compile the program that is an argument itself; modules are looked for in the current folder."""
    replace_first_on_path("")
    if sys.version_info >= (3, 14):
        command = textwrap.dedent(command)
    code = compile_program(command, "<string>")
    # From 3.13 on tracebacks show the command's lines; then they were found by the name, now by the code.
    register = getattr(linecache, "_register_code", None)
    if register is not None:
        register(code if sys.version_info >= (3, 14) else "<string>", command, "<string>")
    return code, fresh_main(None)


def load_standard_input() -> tuple[types.CodeType, dict[str, object]]:
    """Read the program from standard input, to its end."""
    replace_first_on_path("")
    code = compile_program(sys.stdin.buffer.read(), "<stdin>")
    return code, fresh_main("<stdin>")


def load_script(path: str) -> tuple[types.CodeType, dict[str, object]]:
    """Compile the file at `path`; its folder becomes ``sys.path[0]``."""
    replace_first_on_path(os.path.dirname(os.path.realpath(path)))
    path = os.path.abspath(path)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        executable = sys.executable or "python"
        sys.stderr.write(f"{executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n")
        sys.exit(2)
    code = compile_program(source, path)
    namespace = fresh_main(path)
    namespace["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
    return code, namespace


def is_importable(path: str) -> bool:
    """Whether the program is a folder or an archive, whose ``__main__`` is to run."""
    return pkgutil.get_importer(path) is not None


def load_container(path: str) -> tuple[types.CodeType, dict[str, object]]:
    """Find the ``__main__`` in the folder or archive at `path`, which becomes ``sys.path[0]``."""
    if sys.flags.safe_path:
        sys.path.insert(0, "")
    sys.path[0] = os.path.abspath(path)
    # What is found under this name must be the program, not this module.
    del sys.modules["__main__"]
    try:
        _, spec, code = runpy._get_module_details("__main__")  # type: ignore[attr-defined]
    except ImportError:
        sys.stderr.write(f"{sys.executable or 'python'}: can't find '__main__' module in {sys.path[0]!r}\n")
        sys.exit(1)
    return code, namespace_of(spec, code)


def load_module(name: str) -> tuple[types.CodeType, dict[str, object]]:
    """Find the module `name`, or the ``__main__`` of the package `name`."""
    replace_first_on_path(os.getcwd())
    try:
        _, spec, code = runpy._get_module_details(name)  # type: ignore[attr-defined]
    except ImportError as error:
        sys.stderr.write(f"{sys.executable or 'python'}: {error}\n")
        sys.exit(1)
    sys.argv[0] = spec.origin
    return code, namespace_of(spec, code)


def namespace_of(spec: importlib.machinery.ModuleSpec, code: types.CodeType) -> dict[str, object]:
    """The names that a module begins with which was found by the import system."""
    namespace = fresh_main(code.co_filename)
    namespace.update(__spec__=spec, __loader__=spec.loader, __package__=spec.parent, __file__=spec.origin)
    if sys.version_info < (3, 15):
        namespace["__cached__"] = spec.cached
    return namespace


def hide_own_frames(depth: int) -> None:
    """Have the traceback that is about to be printed begin where the program begins."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> None:
        hidden = 0
        while traceback and depth > hidden:
            traceback, hidden = traceback.tb_next, hidden + 1
        shown(kind, error.with_traceback(traceback), traceback)

    sys.excepthook = hook


def execute(code: types.CodeType, namespace: dict[str, object]) -> None:
    """Run the program in its own ``__main__``."""
    try:
        exec(code, namespace)
    except SystemExit:
        raise
    except BaseException:
        # Two frames of runpy, `main`, this one, once more for the re-raise.
        hide_own_frames(depth=FRAMES_ABOVE)
        raise


def usage(status: int) -> NoReturn:
    (sys.stderr if status else sys.stdout).write(USAGE)
    sys.exit(status)


def load(arguments: list[str]) -> tuple[types.CodeType, dict[str, object]]:
    """Find the program that the command line names; ``sys.argv`` becomes the program's."""
    kind = arguments[0] if arguments else None
    if kind in ("-m", "-c"):
        if len(arguments) < 2:
            usage(2)
        sys.argv[:] = [kind, *arguments[2:]]
        return load_module(arguments[1]) if kind == "-m" else load_command(arguments[1])
    if kind is None:
        sys.argv[:] = ["-m"]
        return load_module("asyncio")
    if kind != "-" and kind.startswith("-"):
        usage(2)
    sys.argv[:] = arguments
    if kind == "-":
        return load_standard_input()
    return load_container(kind) if is_importable(kind) else load_script(kind)


def replace_default_loops() -> None:
    """Have what frameworks ask for a loop give ours: uvicorn a class, fixtures of tests the default policy.

    ``install()`` leaves them: a program that knows of rasyncio has asyncio's loop by these names.
    """
    for module in (asyncio, asyncio.unix_events):
        setattr(module, "SelectorEventLoop", rasyncio.EventLoop)  # noqa: B010
    default_policy = rasyncio.EventLoopPolicy.__base__
    setattr(default_policy, "_loop_factory", rasyncio.EventLoop)  # noqa: B010


def main() -> None:
    """Take the launcher's own part off ``sys.argv`` and run the rest."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        usage(0)
    rasyncio.install()
    replace_default_loops()
    execute(*load(arguments))


#: runpy's two frames, `<module>`, `main` and `execute` stand above the program's own.
FRAMES_ABOVE = 5
ALL_FRAMES = sys.maxsize

if __name__ == "__main__":
    main()
