"""Packing is interrupted, killed, run twice and starved of disk: real processes, real signals, a real full disk."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nblib import datasets
from nblib.datasets import packs
from nblib.files import TEMPORARY

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PICTURES = 200  # more than are in flight at once
PATIENCE = 250  # seconds, for a machine that does much else

# Packs slowly (each chunk of 4 pictures takes a while) and says how often it packed.
PACKER = """
    import sys, time
    from nblib import datasets
    from nblib.datasets import decode, packs

    decode.CHUNK = 4
    quick, write = decode._decode_chunk, packs.write
    packed = []

    def slow(chunk, frame):
        time.sleep({pause})
        return quick(chunk, frame)

    def counted(*args):
        packed.append(1)
        write(*args)

    decode._decode_chunk, packs.write = slow, counted
    images = datasets.load("folder", {root!r}, size=16, progress=False)
    print(len(packed), len(images), int(images.images.int().sum()))
"""


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(PICTURES):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def start(script, data_dir):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        cwd=REPOSITORY,
        env={**os.environ, "NBLIB_DATA": str(data_dir), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(found, process, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never began"
        time.sleep(0.01)


def partials(data_dir):
    return list((data_dir / "cache").glob(TEMPORARY + "*"))


def writing(data_dir):
    return any((partial / "images.npy").exists() for partial in partials(data_dir))


def stopped(pictures, data_dir, number):
    """Start packing, send a signal in the middle of it, return the exit status and what was said."""
    process = start(PACKER.format(pause=0.5, root=str(pictures)), data_dir)
    try:
        wait_for(lambda: writing(data_dir), process)
        process.send_signal(number)
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    return process.returncode, error


def assert_next_call_is_clean(pictures, data_dir):
    images = datasets.load("folder", pictures, size=16, progress=False)
    assert sorted(images.images[:, 0, 0, 0].tolist()) == list(range(PICTURES))
    assert partials(data_dir) == []
    assert [packs.verify(pack.path) for pack in packs.cached()] == [[]]


def test_ctrl_c_removes_what_was_begun(pictures, data_dir):
    status, error = stopped(pictures, data_dir, signal.SIGINT)
    assert status == -signal.SIGINT
    assert error.strip().endswith("KeyboardInterrupt")
    assert partials(data_dir) == []
    assert packs.cached() == []
    assert_next_call_is_clean(pictures, data_dir)


def test_what_a_killed_packer_left_is_removed_by_the_next_call(pictures, data_dir):
    status, _ = stopped(pictures, data_dir, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert len(partials(data_dir)) == 1  # it could not clean up ...
    assert [pack.name for pack in packs.cached()] == ["unfinished"]
    assert_next_call_is_clean(pictures, data_dir)  # ... and its lock died with it


def test_a_call_for_another_set_removes_it_too(pictures, data_dir, tmp_path):
    stopped(pictures, data_dir, signal.SIGKILL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes((pictures / "000.png").read_bytes())
    datasets.load("folder", other, progress=False)
    assert partials(data_dir) == []


def test_of_two_packers_one_packs_and_the_other_waits_and_reads(pictures, data_dir):
    packers = [start(PACKER.format(pause=0.05, root=str(pictures)), data_dir) for _ in range(2)]
    try:
        said = [process.communicate(timeout=PATIENCE) for process in packers]
    finally:
        for process in packers:
            process.kill()
            process.wait()
    assert [process.returncode for process in packers] == [0, 0], said
    packed, counts, sums = zip(*(map(int, output.split()) for output, _ in said), strict=True)
    assert sorted(packed) == [0, 1]
    assert counts == (PICTURES, PICTURES)
    assert sums == (16 * 16 * 3 * sum(range(PICTURES)),) * 2
    assert len(packs.cached()) == 1


def test_what_will_not_fit_is_refused_before_it_is_begun(pictures, small_disk, monkeypatch):
    monkeypatch.setenv("NBLIB_DATA", str(small_disk))
    with pytest.raises(OSError, match=r"a pack of 10 MB does not fit on the disk of .*disk.* \(2 MB are free\)"):
        datasets.load("folder", pictures, size=128, progress=False)
    assert packs.cached() == []


FILLED = """
    import sys
    from nblib import datasets
    from nblib.datasets import packs

    packs.need_room = lambda *_: None  # another process takes the room after it was checked
    try:
        datasets.load("folder", {root!r}, size=128, progress=False)
    except OSError as error:
        print(error.errno, error.strerror)
"""


def test_a_disk_that_fills_up_on_the_way_is_explained_and_emptied(pictures, small_disk):
    process = start(FILLED.format(root=str(pictures)), small_disk)
    output, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error  # an error, not a killed process
    assert output.startswith("28 the disk is full (")
    assert "nblib data clean" in output
    assert packs.cached(small_disk / "cache") == []
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 1.9e6
