"""Folders with one process at work: whoever comes second is told, and a killed one blocks nobody."""

import re
import subprocess
import sys

import pytest

from nblib.locks import LOCKS, alone, lock

HOLDER = "import sys; from nblib.locks import alone\nwith alone(sys.argv[1]): print('held', flush=True); input()"


@pytest.fixture
def holder(tmp_path):
    """Another process that is at work in `tmp_path`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def enter(folder):
    with alone(folder):
        pass


def test_the_second_process_is_told_where_and_what_to_do(holder, tmp_path):
    remedy = "wait for it, or stop it, or choose another --out"
    with pytest.raises(RuntimeError, match=re.escape(f"at work in {tmp_path}; {remedy}")):
        enter(tmp_path)
    holder.communicate("\n")
    assert holder.returncode == 0
    enter(tmp_path)


def test_a_killed_process_blocks_nobody(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCKS / "all.lock").exists()  # the file stays, the lock does not
    enter(tmp_path)
    assert list(tmp_path.iterdir()) == []  # tidy, but it was there before and stays


def test_a_block_that_fails_lets_go(tmp_path):
    def fail():
        with alone(tmp_path / "out"):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fail()
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays_and_the_lock_goes(tmp_path):
    with alone(tmp_path / "deep" / "out"):
        (tmp_path / "deep" / "out" / "note").touch()
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["note"]


def test_locks_of_others_stay(tmp_path):
    with alone(tmp_path), lock(tmp_path, "cell"):
        pass
    assert (tmp_path / LOCKS / "cell.lock").exists()


def test_a_folder_that_was_just_made_goes_if_nothing_was_written(tmp_path):
    (tmp_path / "out").mkdir()
    with alone(tmp_path / "out", fresh=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
@pytest.mark.parametrize("place", ["nblib.locks.FileLock.acquire", "nblib.locks.Path.mkdir"])
def test_a_folder_that_goes_at_this_moment_is_another_processes_work(place, error, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise error

    monkeypatch.setattr(place, gone)
    with pytest.raises(RuntimeError, match="another process is at work"):
        enter(tmp_path)


RIVAL = """
import os, sys, time
from nblib.locks import alone
end = time.monotonic() + 1.5
times = 0
while time.monotonic() < end:
    try:
        with alone(sys.argv[1]):
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))  # fails if another is inside
            os.unlink(sys.argv[2])
            times += 1
    except RuntimeError:
        pass
print(times)
"""


def test_two_are_never_inside_however_often_the_lock_changes_hands(tmp_path):
    command = [sys.executable, "-c", RIVAL, str(tmp_path / "out"), str(tmp_path / "inside")]
    rivals = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [rival.communicate(timeout=250) for rival in rivals]
    assert [error for _, error in said] == [""] * 3
    assert all(int(times) > 0 for times, _ in said)
