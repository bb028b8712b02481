import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nblib.datasets import splits


def test_the_hash_is_pinned():
    """A change here would move pictures between training and test on everyone's disk."""
    keys = ("000001.jpg", "toyfaces-0-0000000", 2880)
    assert [splits.bucket(key) for key in keys] == [58, 15, 84]  # sha256sum, first 16 digits, modulo 100


def test_shares_are_80_10_10():
    shares = np.bincount(splits.hashed_parts([f"{number}.png" for number in range(20_000)])) / 20_000
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


@given(st.lists(st.text(max_size=8), unique=True, min_size=1), st.randoms())
def test_a_picture_stays_in_its_part_whatever_else_is_there(names, random):
    parts = dict(zip(names, splits.hashed_parts(names), strict=True))
    some = random.sample(names, random.randint(1, len(names)))
    assert [parts[name] for name in some] == splits.hashed_parts(some).tolist()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_nobody_is_in_two_parts(identities):
    identities = np.array(identities)
    parts, source = splits.partition([f"{row}.jpg" for row in range(len(identities))], None, identities)
    assert source == "hash of the identity"
    assert all(len(set(parts[identities == person])) == 1 for person in identities)


def test_the_official_partition_comes_first_then_identity_then_name():
    files, official, people = ["a", "b"], np.array([2, 1]), np.array([4, 4])
    assert splits.partition(files, official, people)[0].tolist() == [2, 1]
    assert splits.partition(files, None, people)[1] == "hash of the identity"
    assert splits.partition(files)[1] == "hash of the file name"


def test_folder_names_state_a_partition():
    assert splits.folder_parts(["train/a.jpg", "val/b.jpg", "x/test/c.jpg"]).tolist() == [0, 1, 2]
    assert splits.folder_parts(["train/a.jpg", "b.jpg"]) is None
    assert splits.folder_parts(["train/a.jpg", "train/b.jpg"]) is None
    cars = [f"cars_train/{n}.jpg" for n in range(500)] + [f"cars_test/{n}.jpg" for n in range(50)]
    parts = splits.folder_parts(cars)
    assert (parts[500:] == 2).all()
    assert 20 < (parts[:500] == 1).sum() < 80
    assert set(parts[:500]) == {0, 1}
