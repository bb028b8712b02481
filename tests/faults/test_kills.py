"""Trainings are killed, their checkpoints damaged and their disk filled; whoever resumes ends with the same bits."""

import contextlib
import errno
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from nblib.files import TEMPORARY
from nblib.training import snapshots

sys.path.insert(0, str(Path(__file__).parent))
import killable

pytestmark = pytest.mark.slow
KILLS = 20
PATIENCE = 250  # seconds, for a machine that does much else


@pytest.fixture(scope="module")
def processes():
    """Start processes from one that has torch already: each is a process of its own, without the seconds of import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nblib.training", "lightning_fabric", "torch.utils.tensorboard"])
    return context


@pytest.fixture(scope="module")
def straight(processes, tmp_path_factory):
    """What a training ends with that nothing interrupts."""
    out = tmp_path_factory.mktemp("straight")
    finish(processes, out)
    return killable.result(out)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def finish(processes, out):
    process = processes.Process(target=killable.train, args=(out,), kwargs={"resume": True})
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0


def assert_same(one, other, path="result"):
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}.{k}")
    else:
        assert one == other, path


def kill(processes, out, moment=0.0, *, checkpoints=0):
    """Start a training and kill it: `moment` seconds after it wrote so many checkpoints, or (None) while it writes one.

    Return whether it was killed; it may have been faster.
    """
    process = processes.Process(target=killable.train, args=(out,), kwargs={"resume": True})
    process.start()
    try:
        wait_for(lambda: (out / "metrics.csv").exists() and len(snapshots.find(out)) >= checkpoints, process)
        if moment is None:
            wait_for(lambda: stopped_in_a_write(process, out), process)
        else:
            time.sleep(moment)
    finally:
        process.kill()
        process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)
    return process.exitcode != 0


def wait_for(condition, process):
    end = time.monotonic() + PATIENCE
    while process.is_alive() and not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.0005)


def stopped_in_a_write(process, out):
    """Halt a training that writes a checkpoint, and return whether it still did when it stood."""
    if not writing(out):
        return False
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        os.kill(process.pid, signal.SIGSTOP)
        while psutil.Process(process.pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.0005)
        if writing(out):
            return True
        os.kill(process.pid, signal.SIGCONT)
    return False


def writing(out):
    return any(out.glob(f"{TEMPORARY}*.pt"))


def test_twenty_kills(processes, straight, tmp_path):
    moments = random.Random(0)
    killed = halves = attempts = 0
    while killed < KILLS:
        attempts += 1
        assert attempts <= 2 * KILLS, "it ends before it can be killed"
        out = tmp_path / str(attempts)
        if not kill(processes, out, None if attempts % 2 else moments.uniform(0, 0.6)):
            continue  # it was faster than we
        killed += 1
        halves += any(out.glob(f"{TEMPORARY}*"))
        for path in snapshots.find(out):
            snapshots.read(path)  # never an unreadable one
        finish(processes, out)
        assert_same(killable.result(out), straight)
        assert not any(out.glob(f"{TEMPORARY}*"))
        assert len(snapshots.find(out)) == 2
    assert halves >= 3  # some died while they wrote


def test_one_training_killed_again_and_again(processes, straight, tmp_path):
    moments = random.Random(1)
    for _ in range(5):
        kill(processes, tmp_path, moments.uniform(0.0, 0.2))
    finish(processes, tmp_path)
    assert_same(killable.result(tmp_path), straight)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-100])])
def test_a_damaged_checkpoint_is_passed_over(processes, straight, tmp_path, damage):
    kill(processes, tmp_path, checkpoints=2)
    newest, before, *_ = snapshots.find(tmp_path)
    damage(newest)
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged: .* trying the one before"):
        killable.train(tmp_path, resume=True)
    assert_same(killable.result(tmp_path), straight)
    assert newest not in snapshots.find(tmp_path)
    assert before not in snapshots.find(tmp_path)


def test_other_hyper_parameters_are_refused(processes, tmp_path):
    kill(processes, tmp_path, checkpoints=1)
    before = snapshots.find(tmp_path)
    with pytest.raises(ValueError, match=r"with other settings:\n  lr: 0\.001 in the checkpoint, 0\.002 now"):
        killable.train(tmp_path, resume=True, lr=2e-3)
    assert snapshots.find(tmp_path) == before


def test_a_full_disk_leaves_the_checkpoints_before(straight, small_disk):
    out, filler = small_disk / "out", small_disk / "filler"

    def fill(log):
        if log.step == 60:
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(2**22))

    with pytest.raises(OSError, match=r"the disk is full .* while writing") as error:
        killable.train(out, each=fill)
    assert error.value.errno == errno.ENOSPC
    kept = [snapshots.read(path)["training"]["step"] for path in snapshots.find(out)]
    assert kept == [60, 57]
    assert not any(out.glob(f"{TEMPORARY}*"))
    filler.unlink()
    killable.train(out, resume=True)
    assert_same(killable.result(out), straight)
