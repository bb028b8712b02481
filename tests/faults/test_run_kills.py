"""Two processes want one run folder, and one is killed: nothing is mixed, and the run goes on."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sweepable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PATIENCE = 500  # for a machine that does much else
ENDLESS = 3600  # the first process is stopped in it


def command(folder, *more):
    line = [sys.executable, sweepable.__file__, folder / "notebooks", "run", "00", "--out", folder / "out"]
    return [str(part) for part in [*line, "-p", f"log={folder / 'log'}", *more]]


def called(folder, *more):
    """Run to the end; return the status and what was said."""
    done = subprocess.run(command(folder, *more), capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stderr


def events(folder):
    log = folder / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def busy(tmp_path):
    """A process in the middle of the notebook of the run in ``out``."""
    sweepable.write_series(tmp_path / "notebooks")
    said = tmp_path / "said"
    with open(said, "w") as log:
        process = subprocess.Popen(command(tmp_path, "-p", f"pause={ENDLESS}"), stdout=log, stderr=log)
    end = time.monotonic() + PATIENCE
    try:
        while events(tmp_path) != ["begin"]:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_the_second_process_writes_nothing_and_the_run_goes_on_after_a_kill(busy, tmp_path):
    out = tmp_path / "out"
    before = contents(out)
    for more in ([], ["--resume"]):
        status, said = called(tmp_path, *more)
        assert status == 1, said
        assert f"error: another process is at work in {out}; wait for it" in said
    assert contents(out) == before

    kernels = psutil.Process(busy.pid).children(recursive=True)
    assert kernels
    busy.kill()
    assert psutil.wait_procs(kernels, timeout=PATIENCE)[1] == [], "a kernel outlived its process"
    assert json.loads((out / "run.json").read_text())["notebooks"]["00_small"]["status"] == "interrupted"

    status, said = called(tmp_path, "--resume")
    assert status == 0, said
    assert json.loads((out / "run.json").read_text())["notebooks"]["00_small"]["status"] == "complete"
    assert events(tmp_path) == ["begin", "begin", "end"]
    assert not (out / ".locks").exists()
