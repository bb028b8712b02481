"""The process that executes one cell of a sweep: ``python -m nblib.sweeps.cells OUT NAME``, started by a worker.

Papermill is not thread-safe, so every notebook has a process. What happened is written by this process itself, as
``cell.json`` and whole: a driver or worker that dies meanwhile loses nothing. A lock makes sure that no cell runs in
two processes at once, and who gets it second finds the cell complete. The process ends, and its kernel with it, as
soon as its standard input does: that is when the worker dies.
"""

import contextlib
import os
import shutil
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import nbformat

from nblib import runs
from nblib.files import write_json
from nblib.locks import lock
from nblib.sweeps.plans import Plan, cell_folder


def execute(out: Path, name: str, cell_timeout: int, total_timeout: int) -> runs.Outcome:
    """Execute cell `name` of the sweep in `out`, unless that is done, and write how it ended.

    Raises
    ------
    OSError
        If the disk is full, or cannot be written to.
    """
    plan, folder = Plan.load(out), cell_folder(out, name)
    with lock(out, name):
        done = plan.outcome(out, name)
        if done and done.status == runs.COMPLETE:
            return done
        shutil.rmtree(folder, ignore_errors=True)  # what a failed attempt wrote must not count as this one's
        notebook = nbformat.read(plan.source(out), as_version=4)
        limits = (cell_timeout, total_timeout)
        outcome = runs.execute(plan.notebook, notebook, plan.cells[name], folder, *limits, progress=False)
        write_json(folder / "cell.json", asdict(outcome))
    return outcome


def end_with(stream: int) -> None:
    """End this process and those it started once the file descriptor `stream` has nothing more to read."""
    import psutil

    while os.read(stream, 1024):
        pass
    try:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended by itself meanwhile
                child.kill()
    finally:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Execute the cell that the arguments name; an error ends with its message."""
    out, name, *limits = arguments
    threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        execute(Path(out), name, *map(int, limits))
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
