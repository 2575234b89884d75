"""Runs a script several times, each in a process of its own, and imports its framework once: python _forked.py …

FOLDER USES SCRIPT [ARGUMENTS]. For each of the comma-separated uses FOLDER gets ``USE.out``, ``USE.err`` and
``USE.code``, beside what the script notes.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

TIMEOUT = 500
"""Seconds for one use; its process is killed then."""


def main() -> None:
    folder, uses, script, *arguments = sys.argv[1:]
    here = str(Path(script).parent)
    sys.path[0] = here
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="imported")
    for name in [
        n for n, m in sys.modules.items() if n != "__main__" and (getattr(m, "__file__", None) or "").startswith(here)
    ]:
        del sys.modules[name]
    for use in uses.split(","):
        pid = os.fork()
        if pid == 0:
            become(use, Path(folder))
            runpy.run_path(script, run_name="__main__")
            return
        _, status = os.waitpid(pid, 0)
        Path(folder, f"{use}.code").write_text(str(os.waitstatus_to_exitcode(status)), encoding="utf-8")


def become(use: str, folder: Path) -> None:
    """Make this process the one of a use, in an empty folder of its own."""
    signal.alarm(TIMEOUT)
    os.environ["FRAMEWORK_USE"], os.environ["FRAMEWORK_NOTES"] = use, str(folder / f"{use}.notes")
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{use}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    work = folder / use
    work.mkdir()
    os.chdir(work)


if __name__ == "__main__":
    main()
