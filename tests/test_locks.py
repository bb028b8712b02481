"""Folders with one process at work: whoever comes second is told, and a killed one blocks nobody."""

import re
import subprocess
import sys

import pytest

from nblib.locks import LOCKS, alone, lock

HOLDER = "import sys; from nblib.locks import alone\nwith alone(sys.argv[1], 'run'): print('held', flush=True); input()"


@pytest.fixture
def holder(tmp_path):
    """Another process that is at work on the run in `tmp_path`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def enter(folder, what="run"):
    with alone(folder, what):
        pass


def test_the_second_process_is_told_where_and_what_to_do(holder, tmp_path):
    remedy = "wait for it, or stop it, or choose another --out"
    with pytest.raises(RuntimeError, match=re.escape(f"at work on the run in {tmp_path}; {remedy}")):
        enter(tmp_path)
    enter(tmp_path, "sweep")
    holder.communicate("\n")
    assert holder.returncode == 0
    enter(tmp_path)


def test_a_killed_process_blocks_nobody(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCKS / "run.lock").exists()  # the file stays, the lock does not
    enter(tmp_path)
    assert not tmp_path.exists()


def test_a_block_that_fails_lets_go(tmp_path):
    def fail():
        with alone(tmp_path / "out", "run"):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fail()
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays_and_the_lock_goes(tmp_path):
    with alone(tmp_path / "deep" / "out", "run"):
        (tmp_path / "deep" / "out" / "note").touch()
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["note"]


def test_locks_of_others_stay(tmp_path):
    with alone(tmp_path, "sweep"), lock(tmp_path, "cell"):
        pass
    assert (tmp_path / LOCKS / "cell.lock").exists()


def test_a_folder_that_goes_at_this_moment_is_another_processes_work(tmp_path, monkeypatch):
    def gone(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("nblib.locks.FileLock.acquire", gone)
    with pytest.raises(RuntimeError, match="another process is at work"):
        enter(tmp_path)
