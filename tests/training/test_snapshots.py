import pytest
import torch

from nblib.training import snapshots


def states(folder, *steps):
    path = None
    for step in steps:
        path = snapshots.write(folder, {"step": step, "weights": torch.full((1000,), float(step))}, step, keep=path)
    return snapshots.find(folder)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_two_are_kept_newest_first(tmp_path):
    found = states(tmp_path, 10, 20, 300)
    assert [path.name[:19] for path in found] == ["checkpoint-00000300", "checkpoint-00000020"]
    assert torch.equal(snapshots.read(found[0])["weights"], torch.full((1000,), 300.0))
    assert snapshots.newest(tmp_path)[0] == found[0]


def test_no_snapshots(tmp_path):
    assert snapshots.newest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("place", [0, 700, 2000, -1])
def test_a_flipped_bit_is_found_and_the_one_before_used(tmp_path, place):
    newest, before = states(tmp_path, 10, 20)
    flip(newest, place)
    with pytest.warns(UserWarning, match="checkpoint-00000020-.* is damaged: .* trying the one before"):
        path, state = snapshots.newest(tmp_path)
    assert (path, state["step"]) == (before, 10)


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_a_truncated_one_is_found(tmp_path, length):
    newest, before = states(tmp_path, 10, 20)
    newest.write_bytes(newest.read_bytes()[:length])
    with pytest.warns(UserWarning, match="is damaged"):
        assert snapshots.newest(tmp_path)[0] == before


def test_when_all_are_damaged_it_says_so(tmp_path):
    for path in states(tmp_path, 10, 20):
        flip(path, 700)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(ValueError, match="every checkpoint is damaged"):
        snapshots.newest(tmp_path)


def test_after_a_damaged_one_the_good_one_is_kept(tmp_path):
    newest, good = states(tmp_path, 10, 20)
    flip(newest, 700)
    written = snapshots.write(tmp_path, {"step": 15}, 15, keep=good)
    assert snapshots.find(tmp_path) == [written, good]


def test_code_is_never_loaded(tmp_path):
    path = snapshots.write(tmp_path, {"step": pytest.approx}, 1)  # a function: only pickle could bring it back
    with pytest.raises(ValueError, match="cannot be read"):
        snapshots.read(path)


def test_differences():
    old = {"lr": 1e-3, "G": {"arguments": {"width": 2}}, "gone": 1, "same": [1, 2]}
    new = {"lr": 1e-4, "G": {"arguments": {"width": 3}}, "new": None, "same": [1, 2]}
    assert snapshots.differences(old, new) == [
        "lr: 0.001 in the checkpoint, 0.0001 now",
        "G.arguments.width: 2 in the checkpoint, 3 now",
        "gone: 1 in the checkpoint, null now",
    ]
