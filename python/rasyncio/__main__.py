"""``python -m rasyncio script.py ARGS`` and ``python -m rasyncio -m module ARGS``: an unmodified program on rasyncio.

``install()``, then the program as ``python`` itself would run it: ``sys.argv``, ``sys.path[0]``, ``__main__``, tracebacks, exit status.
"""

import builtins
import importlib.machinery
import io
import os
import runpy
import sys
import types
from typing import NoReturn

import rasyncio

USAGE = "usage: python -m rasyncio script.py [ARGUMENT ...]\n       python -m rasyncio -m module [ARGUMENT ...]\n"


def fresh_main(code: types.CodeType) -> dict[str, object]:
    """Put an empty ``__main__`` module into place, as the interpreter has it before a program begins."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=code.co_filename, __cached__=None, __annotations__={})
    sys.modules["__main__"] = module
    return module.__dict__


def load_script(path: str) -> tuple[types.CodeType, dict[str, object]]:
    """Compile the file at `path`; its folder becomes ``sys.path[0]``."""
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        executable = sys.executable or "python"
        sys.stderr.write(f"{executable}: can't open file {os.path.abspath(path)!r}: [Errno {error.errno}] {error.strerror}\n")
        sys.exit(2)
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    code = compile(source, path, "exec", dont_inherit=True)
    namespace = fresh_main(code)
    namespace["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
    return code, namespace


def load_module(name: str) -> tuple[types.CodeType, dict[str, object]]:
    """Find the module `name`, or the ``__main__`` of the package `name`."""
    sys.path[0] = os.getcwd()
    try:
        _, spec, code = runpy._get_module_details(name)  # type: ignore[attr-defined]
    except ImportError as error:
        sys.stderr.write(f"{sys.executable or 'python'}: {error}\n")
        sys.exit(1)
    namespace = fresh_main(code)
    namespace.update(__spec__=spec, __loader__=spec.loader, __package__=spec.parent)
    sys.argv[0] = spec.origin
    return code, namespace


def hide_own_frames(depth: int) -> None:
    """Have the traceback that is about to be printed begin where the program begins."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> None:
        for _ in range(depth):
            traceback = traceback.tb_next if traceback else None
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


def main() -> None:
    """Take the launcher's own part off ``sys.argv`` and run the rest."""
    arguments = sys.argv[1:]
    if not arguments:
        usage(2)
    if arguments[0] in ("-h", "--help"):
        usage(0)
    rasyncio.install()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            usage(2)
        sys.argv[:] = ["-m", *arguments[2:]]
        program = load_module(arguments[1])
    elif arguments[0].startswith("-"):
        usage(2)
    elif os.path.isdir(arguments[0]):
        sys.argv[:] = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        return
    else:
        sys.argv[:] = arguments
        program = load_script(arguments[0])
    execute(*program)


#: runpy's two frames, `<module>`, `main` and `execute` stand above the program's own.
FRAMES_ABOVE = 5

if __name__ == "__main__":
    main()
