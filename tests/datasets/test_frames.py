import numpy as np
import pytest
import torch
from PIL import Image

from nblib.datasets.archives import Damaged
from nblib.datasets.decode import open_image
from nblib.datasets.frames import EYES_MOUTH, CelebACrop, CentreSquare, EyesMouth, centre_box

MEAN_FACE = np.array([[69, 111], [108, 111], [88, 135], [72, 152], [105, 152]], dtype=float)


def dots(points, size=(178, 218), radius=4):
    """A black picture with a soft white dot on each point."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points)
    return Image.fromarray((255 * light.clip(0, 1)).astype(np.uint8)).convert("RGB")


def brightest(image, near, reach=6):
    """The centre of light of the pixels around a point."""
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    weight = image[..., 0].astype(float) * (np.hypot(x - near[0], y - near[1]) < reach)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_the_crop_rounds_as_torchvision_does():
    """transforms.CenterCrop: int(round((h - crop) / 2)), halves to even."""
    assert centre_box(89, 109, 64) == (12, 22, 76, 86)
    assert CelebACrop(128).frame == (178, 218)
    assert CelebACrop(128).box == (25, 45, 153, 173)
    assert CelebACrop(32).frame == (44, 54)


def test_full_and_half_size_give_the_same_crop(maker):
    crop = CelebACrop(64)
    off = []
    for image, data in zip(maker.images, maker.pictures(half=True).values(), strict=True):
        full = crop(open_image(maker.encoded(image)), 0).astype(float)
        half = crop(open_image(data), 0).astype(float)
        assert abs(full - half).mean() <= 3
        off.append(abs(full[1:] - half[:-1]).mean())
    assert min(off) > 3  # one pixel off would be seen


def test_the_crop_of_a_half_size_picture_is_a_slice_of_its_pixels(maker):
    picture = open_image(maker.pictures(half=True)["000001.jpg"])
    assert (CelebACrop(64)(picture, 0) == np.asarray(picture)[22:86, 12:76]).all()


@pytest.mark.parametrize("size", [32, 64, 128])
def test_landmarks_move_with_the_crop(size):
    crop = CelebACrop(size)
    moved = crop.move(MEAN_FACE[None])[0]
    image = crop(dots(MEAN_FACE), 0)
    for point in moved:
        assert np.abs(brightest(image, point, 8 * size / 128) - point).max() < 0.25


@pytest.mark.parametrize("size", [64, 128])
def test_alignment_brings_eyes_and_mouth_to_their_places(size):
    turn = np.deg2rad(12)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (MEAN_FACE - [89, 120]) @ rotation.T * 0.9 + [92, 118]
    align = EyesMouth(points[None], size)
    moved = align.move(points[None])[0]
    target = (np.array(EYES_MOUTH) + 0.5) * size / 64 - 0.5
    np.testing.assert_allclose(np.stack([moved[0], moved[1], moved[3:].mean(0)]), target, atol=1e-6)
    image = align(dots(points), 0)
    for point in moved:
        assert np.abs(brightest(image, point, 8 * size / 128) - point).max() < 0.3


def test_a_face_without_area_is_damage():
    line = np.array([[[50, 100], [60, 100], [55, 100], [50, 100], [70, 100]]], dtype=float)
    align = EyesMouth(line)
    assert np.isnan(align.move(line)).all()
    with pytest.raises(Damaged, match="on one line"):
        align(dots(line[0]), 0)


def test_another_size_is_named():
    with pytest.raises(Damaged, match="is 200x150; CelebA's aligned pictures are 178x218, or 89x109"):
        CelebACrop()(Image.new("RGB", (200, 150)), 0)


def test_the_centre_square_is_cut_before_it_is_resized():
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    assert (CentreSquare(16)(Image.fromarray(wide), 0) == 200).all()


def test_the_centre_square_at_its_own_size_is_untouched():
    pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    assert (CentreSquare(16)(Image.fromarray(pixels), 0) == pixels).all()
