import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nblib.datasets import ImageSet


def squares(n=10, **options):
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 8).clone()
    return ImageSet(images, torch.eye(n, 3, dtype=torch.bool), ("Smiling", "Wavy_Hair", "Young"), **options)


def test_it_is_a_torch_dataset_of_signed_images_and_attributes():
    image, attributes = squares()[1]
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.full((3, 8, 8), 2 / 255 - 1))
    assert attributes.tolist() == [False, True, False]
    images, labels = next(iter(DataLoader(squares(), batch_size=4)))
    assert images.shape == (4, 3, 8, 8)
    assert labels.shape == (4, 3)


def test_attributes_by_name():
    assert squares().attribute("Wavy_Hair").nonzero().tolist() == [[1]]
    with pytest.raises(ValueError, match=r"faces has no attribute 'smilling'; did you mean Smiling\?"):
        squares(name="faces").attribute("smilling")
    with pytest.raises(ValueError, match="no attribute 'zzz'; known are Smiling, Wavy_Hair, Young"):
        squares().attribute("zzz")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40))
def test_splits_are_disjoint_and_complete(partition):
    images = squares(len(partition), partition=np.array(partition, dtype=np.uint8))
    parts = [images.split(part) for part in ("train", "val", "test")]
    assert sorted(file for part in parts for file in part.files) == sorted(images.files)
    for number, part in enumerate(parts):
        assert part.images[:, 0, 0, 0].tolist() == [row for row, where in enumerate(partition) if where == number]
        assert (part.partition == number).all()


def test_a_split_in_one_piece_is_a_view():
    images = squares(6, partition=np.array([0, 0, 0, 1, 2, 2], dtype=np.uint8))
    assert images.split("test").images.data_ptr() == images.images[4:].data_ptr()


def test_everything_follows_the_rows():
    images = squares(
        5,
        landmarks=torch.rand(5, 2, 2),
        parsing=torch.zeros(5, 8, 8, dtype=torch.uint8),
        identities=torch.tensor([3, 1, 4, 1, 5]),
        landmark_names=("a", "b"),
    )
    taken = images.take([4, 0])
    assert taken.identities.tolist() == [5, 3]
    assert taken.files.tolist() == ["4", "0"]
    assert (taken.landmarks == images.landmarks[[4, 0]]).all()
    assert taken.parsing.shape == (2, 8, 8)
    assert taken.landmark_names == ("a", "b")
    assert repr(taken) == "ImageSet('images', 2 images of 8x8, 3 attributes, landmarks, parsing, identities)"


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match=r"split\('dev'\): the parts are 'train', 'val', 'test'"):
        squares().split("dev")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": torch.zeros(2, 3, 8, 8)}, r"expected uint8 \(N, 3, H, W\), found torch.float32"),
        ({"images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}, "expected uint8"),
        ({"landmarks": torch.zeros(3, 5, 2)}, "landmarks: 3 rows for 2 images"),
        ({"attributes": torch.zeros(2, 3, dtype=torch.bool)}, r"expected bool \(2, 0\) for 0 names"),
        ({"attributes": torch.zeros(2, 1), "attribute_names": ("Smiling",)}, "found torch.float32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(**{"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), **options})
