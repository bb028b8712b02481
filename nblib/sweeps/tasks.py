"""What a dask worker does for a sweep: start the process of a cell and wait. Imports little, as workers start often."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nblib.files import write_json

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ATTEMPTS = 2  # of a cell whose process was killed


def run_cell(
    out: str,
    name: str,
    identity: dict[str, Any],
    part: tuple[int, int | None],
    limits: tuple[int, int],
    topic: str,
) -> dict[str, Any]:
    """Run cell `name` of the sweep in `out` in a process of its own and return how it ended.

    Parameters
    ----------
    out, name : str
        The sweep's folder, which the worker must see, and the cell.
    identity : dict
        The cell's parameters and the notebook's stamp, for the record of a process that could write none.
    part : tuple of int
        How many cells run at once on a machine, or in a job, and its cores (None: count them here): each cell gets its
        part of them.
    limits : tuple of int
        Seconds that a notebook's cell and the notebook may take.
    topic : str
        The dask topic on which the start is told.
    """
    from distributed import get_worker

    for _ in range(ATTEMPTS):
        get_worker().log_event(topic, name)
        status, said = _in_own_process(Path(out), name, threads(*part), limits)
        if status >= 0:  # not killed by a signal
            break
    record = Path(out) / "cells" / name / "cell.json"
    if status == 0:
        return json.loads(record.read_text(encoding="utf-8"))
    if kept := _complete(record, identity):  # it was done, and only its end was not clean
        return kept
    how = f"signal {-status}, most often for want of memory" if status < 0 else f"status {status}"
    failed = {
        "status": "failed",
        "seconds": 0.0,
        **identity,
        "error": f"its process ended with {how}: {said}".strip(": "),
    }
    write_json(record, failed)
    return failed


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the driver, which ends its workers; dask calls this in each as it starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def sees(probe: str) -> bool:
    """Return whether this worker sees the file `probe` of a sweep's folder and may write there."""
    return os.access(probe, os.R_OK) and os.access(Path(probe).parent, os.W_OK)


def threads(share: int, cores: int | None = None) -> int:
    """Return how many threads a cell may use where `share` of them run at once on `cores`, by default this machine's.

    Examples
    --------
    >>> threads(2, 8), threads(2, 3), threads(4, 1)
    (4, 1, 1)
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // share)


def _complete(record: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a cell wrote if it is complete, for the same parameters and notebook."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        fits = found["status"] == "complete" and all(found[key] == value for key, value in identity.items())
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return None
    return found if fits else None


def _in_own_process(out: Path, name: str, thread_count: int, limits: tuple[int, int]) -> tuple[int, str]:
    """Run a cell; return the exit status and the end of what it said."""
    command = [sys.executable, "-m", "nblib.sweeps.cells", str(out), name, *map(str, limits)]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(thread_count))}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is the driver's to handle
        )  # fmt: skip
        with process:  # its input stays open as long as this worker lives
            status = process.wait()
        said.seek(0)
        return status, said.read().decode(errors="replace").strip()[-2000:]
