import numpy as np
import pytest
import torch
from PIL import Image

from nblib.datasets.photos import open_photo


@pytest.fixture
def photo(folder_of):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (90, 140, 3), dtype=np.uint8)
    path = folder_of({"me.png": b""}) / "me.png"
    Image.fromarray(pixels).save(path)
    return path, torch.from_numpy(pixels).permute(2, 0, 1)


def test_a_photo_keeps_its_pixels_and_its_square(photo):
    path, pixels = photo
    opened = open_photo(path, 32)
    assert (opened.picture == pixels).all()
    assert opened.box == (25, 0, 115, 90)
    assert opened.image.shape == (3, 32, 32)
    assert opened.image.dtype == torch.uint8
    assert abs(opened.image.float().mean() - pixels[:, :, 25:115].float().mean()) < 2


def test_only_the_hole_is_pasted_back(photo):
    path, pixels = photo
    opened = open_photo(path, 30)  # 90 = 3 x 30
    mask = torch.zeros(1, 30, 30, dtype=torch.bool)
    mask[:, 10:20, 5:15] = True
    pasted = opened.paste(torch.full((3, 30, 30), 77, dtype=torch.uint8), mask)
    changed = torch.zeros(90, 140, dtype=torch.bool)
    changed[30:60, 25 + 15 : 25 + 45] = True
    assert (pasted[:, changed] == 77).all()
    assert (pasted[:, ~changed] == pixels[:, ~changed]).all()
    assert (opened.picture == pixels).all()


def test_a_hole_painted_at_the_photos_size_keeps_its_edges(photo):
    path, pixels = photo
    mask = torch.zeros(1, 90, 140, dtype=torch.bool)
    mask[:, 17:44, 10:58] = True  # begins left of the square, which begins at 25
    pasted = open_photo(path, 30).paste(torch.full((3, 30, 30), 77, dtype=torch.uint8), mask)
    changed = (pasted != pixels).any(0)
    assert (pasted[:, 17:44, 25:58] == 77).all()
    changed[17:44, 25:58] = False
    assert not changed.any()


def test_what_does_not_fit_is_named(photo):
    opened = open_photo(photo[0], 32)
    with pytest.raises(ValueError, match=r"mask \(1, 16, 16\) do not fit an image \(3, 32, 32\)"):
        opened.paste(opened.image, torch.zeros(1, 16, 16, dtype=torch.bool))


def test_missing_and_unreadable_photos_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*me\.jpg"):
        open_photo(tmp_path / "me.jpg")
    (tmp_path / "me.jpg").write_text("text")
    with pytest.raises(ValueError, match=r"me\.jpg is not a JPEG"):
        open_photo(tmp_path / "me.jpg")
