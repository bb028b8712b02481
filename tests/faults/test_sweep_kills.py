"""Workers and drivers of a sweep are killed: nothing complete is lost or run twice, and nothing stays behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from nblib import paths
from nblib.sweeps import plans, tasks

sys.path.insert(0, str(Path(__file__).parent))
import sweepable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
GRID = ("--grid", "steps=1,2,4", "--grid", "rate=0.5,1.0", "--seeds", "2")
CELLS = 12
PATIENCE = 500  # for a machine that does much else


class Driven:
    """``nblib sweep`` of the small notebook in a process of its own."""

    def __init__(self, folder, *more):
        self.folder, self.out, self.log, self.held = folder, folder / "out", folder / "log", folder / "held"
        command = [sys.executable, sweepable.__file__, folder / "notebooks", "sweep", "00", *GRID, "--out", self.out]
        command += ["-p", f"log={self.log}", "-p", f"hold={self.held}", *more]
        self.said = folder / "said"
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    def complete(self):
        """Return the record of each complete cell, and when it was written."""
        records = {path.parent.name: path for path in self.out.glob("cells/*/cell.json")}
        return {
            name: (path.read_text(), path.stat().st_mtime_ns)
            for name, path in records.items()
            if json.loads(path.read_text())["status"] == "complete"
        }

    def wait_for(self, condition, what):
        """Return what `condition` returns once that is something."""
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"{what} did not happen: {self.words()}"
            assert self.process.poll() is None, f"ended before {what}: {self.words()}"
            time.sleep(0.1)
        return found

    def hold(self):
        """Let no further cell end; return the process of one that waits."""
        before = len(self.kernels_held())
        self.held.touch()
        kernel = self.wait_for(lambda: self.kernels_held()[before:], "a cell that waits")[0]
        return psutil.Process(kernel).parent()

    def kernels_held(self):
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [int(pid) for event, _, _, pid in lines if event == "held"]

    def below(self):
        """Return the processes that this driver started, its workers' and theirs too."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self):
        status = self.process.wait(PATIENCE)
        return status, self.words()

    def words(self):
        return self.said.read_text()

    def events(self, what):
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [f"steps={float(steps):g} {seed}" for event, steps, seed, _ in lines if event == what]


def gone(processes):
    return psutil.wait_procs(processes, timeout=PATIENCE)[1] == []


@pytest.fixture
def drive(tmp_path):
    """Start a driver; whatever happens, none is left running."""
    sweepable.write_series(tmp_path / "notebooks")
    started = []

    def start(*more, **how):
        started.append(Driven(tmp_path, *more, **how))
        return started[-1]

    yield start
    for driver in started:
        driver.process.kill()
        driver.process.wait()


def test_a_killed_worker_and_a_killed_driver_lose_nothing(drive):
    driver = drive()
    driver.wait_for(lambda: len(driver.complete()) >= 2, "two cells")
    cell = driver.hold()
    orphans = [cell, *cell.children(recursive=True)]
    cell.parent().kill()
    assert gone(orphans), "a kernel outlived its worker"
    so_far = len(driver.complete())
    driver.held.unlink()
    driver.wait_for(lambda: "was killed, started again" in driver.words(), "its second start")
    driver.wait_for(lambda: len(driver.complete()) >= so_far + 3, "three cells after a worker was killed")

    below = driver.below()
    driver.process.kill()
    assert gone(below), "workers or kernels outlived their driver"
    driver.process.wait()
    before, begun = driver.complete(), len(driver.events("begin"))
    assert 5 <= len(before) < CELLS

    again = drive("--resume")
    status, said = again.end()
    assert status == 0, said
    after = again.complete()
    assert len(after) == CELLS
    assert {name: after[name] for name in before} == before  # kept to the byte and the moment
    assert len(again.events("begin")) - begun == CELLS - len(before)  # none but the missing ran
    table = pd.read_parquet(again.out / "table.parquet")
    assert list(table["status"]) == ["complete"] * CELLS
    assert table["loss"].notna().all()
    assert len(pd.read_csv(again.out / "table.csv")) == CELLS


def test_no_cell_outlives_its_worker_or_its_driver(drive):
    driver = drive()
    cell = driver.hold()
    orphans = [cell, *cell.children(recursive=True)]
    cell.parent().kill()
    assert gone(orphans), "a kernel outlived its worker"
    below = driver.below()
    driver.process.kill()
    assert gone(below), "workers or kernels outlived their driver"


def test_ctrl_c_keeps_what_is_complete_and_says_how_to_go_on(drive):
    driver = drive()
    driver.wait_for(lambda: len(driver.complete()) >= 1, "a cell")
    below = driver.below()
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    status, said = driver.end()
    assert status == 130, said
    assert gone(below)
    done = len(driver.complete())
    assert f"{done} of 12 cells are complete and kept" in said
    assert f"--out {driver.out} --resume" in said
    assert "Traceback" not in said
    assert (pd.read_csv(driver.out / "table.csv")["status"] == "complete").sum() == done


@pytest.fixture
def scheduler(tmp_path):
    """A dask scheduler and a worker, in processes of their own; the first is yielded with its address."""
    at = tmp_path / "scheduler.json"
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [*dask, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", at], **options
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        end = time.monotonic() + PATIENCE
        while not at.exists() or not at.read_text():
            assert process.poll() is None, "the scheduler ended"
            assert time.monotonic() < end, "no scheduler"
            time.sleep(0.1)
        process.address = json.loads(at.read_text())["address"]
        dask = [sys.executable, "-m", "distributed.cli.dask_worker", process.address, "--nthreads", "1"]
        worker = subprocess.Popen([*dask, "--no-dashboard", "--local-directory", tmp_path / "worker"], **options)
        stack.callback(worker.wait)
        stack.callback(os.killpg, worker.pid, signal.SIGKILL)
        yield process


def test_a_lost_scheduler_costs_nothing_that_is_complete(drive, scheduler):
    driver = drive("--scheduler", scheduler.address)
    driver.wait_for(lambda: len(driver.complete()) >= 1, "a cell")
    scheduler.kill()
    status, said = driver.end()
    assert status == 1, said
    assert "the scheduler is gone" in said
    assert f"--out {driver.out} --resume" in said
    assert "Traceback" not in said
    assert (pd.read_csv(driver.out / "table.csv")["status"] == "complete").sum() >= 1


def test_a_full_disk_is_named(small_disk, tmp_path, monkeypatch):
    series = sweepable.write_series(tmp_path / "notebooks")
    monkeypatch.setattr(paths, "notebooks_dir", lambda: series)
    plan, source = plans.make("00", {"steps": [1, 2]}, 1, "class", {})
    out = small_disk / "out"
    plan.save(out, source)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(2**22))
    with pytest.raises(OSError, match=r"the disk is full .* while writing"):
        plan.save(out, source)
    status, said = tasks._in_own_process(out, "steps=1_seed=0", 1, (60, 60))
    assert status == 1
    assert "No space left" in said or "the disk is full" in said
    (small_disk / "filler").unlink()
    assert plans.Plan.load(out) == plan
    assert plan.missing(out) == ["steps=1_seed=0", "steps=2_seed=0"]
