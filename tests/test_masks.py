import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nblib import masks

RANDOM = [name for name in masks.PROTOCOLS if name != "center"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(holes: torch.Tensor) -> torch.Tensor:
    """Top, left, height and width of rectangular holes, (n, 4)."""
    rows, columns = holes[:, 0].any(2).int(), holes[:, 0].any(1).int()
    return torch.stack([rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)], 1)


def share(holes: torch.Tensor) -> torch.Tensor:
    return holes.flatten(1).float().mean(1)


@pytest.mark.parametrize("name", masks.PROTOCOLS)
@settings(max_examples=25)
@given(n=st.integers(1, 9), size=st.sampled_from([32, 64, 96]), seed=st.integers(0, 2**31))
def test_every_protocol_gives_one_usable_hole_per_image(name, n, size, seed):
    holes = masks.PROTOCOLS[name](n, size, generator=generator(seed))
    assert holes.shape == (n, 1, size, size)
    masks.check(holes)
    assert holes.flatten(1).any(1).all()


def test_a_disc_has_the_area_of_a_circle_lies_around_its_point_and_is_never_empty():
    centres = torch.tensor([[16.0, 47.0], [46.5, 20.0], [-3.0, 80.0]])
    wheels = masks.discs(centres, 6.0)
    assert wheels.shape == (3, 1, 64, 64)
    assert int(wheels[0].sum()) == 113  # whole points within 6 of one of them, near 36 pi
    assert int(masks.discs(centres[1:2], 15).sum()) == pytest.approx(np.pi * 15**2, rel=0.02)
    rows, columns = wheels[0, 0].nonzero().float().mean(0).tolist()
    assert (columns, rows) == (16, 47)
    assert masks.discs(centres + 0.5, 0.1).flatten(1).any(1).all()
    assert masks.discs(centres, 6.0)[2, 0, 63, 0]  # a point outside marks the pixel next to it


@pytest.mark.parametrize("name", masks.PROTOCOLS)
def test_the_generator_alone_decides(name):
    sampler = masks.sampler(name)
    assert torch.equal(sampler(20, generator=generator(1)), sampler(20, generator=generator(1)))
    if name in RANDOM:
        assert not torch.equal(sampler(20, generator=generator(1)), sampler(20, generator=generator(2)))


@pytest.mark.parametrize("name", RANDOM)
def test_holes_differ_between_the_images_of_a_batch(name):
    holes = masks.sampler(name)(200, generator=generator())
    assert len(holes.flatten(1).unique(dim=0)) >= (6 if name == "parts" else 150)


@pytest.mark.parametrize("name", ["seed", "uniform", "center", "big"])
def test_rectangles_are_full(name):
    holes = masks.sampler(name)(100, generator=generator())
    top, left, height, width = boxes(holes).unbind(1)
    assert torch.equal(holes, masks.rectangles(top, left, height, width, 64))
    assert torch.equal(holes.flatten(1).sum(1), height * width)


def test_seed_holes_follow_the_report():
    """Sides uniform in 10 … 20 and the clamped corner normal around 25 with deviation 10; 2.4 to 9.8 % of the area."""
    holes = masks.seed(40_000, generator=generator())
    top, left, height, width = boxes(holes).unbind(1)
    for side in (height, width):
        counts = torch.bincount(side, minlength=21)[10:]
        assert counts.sum() == 40_000  # none outside 10 … 20
        assert (counts / 40_000 - 1 / 11).abs().max() < 0.006
    for corner in (top.float(), left.float()):
        assert corner.median() == 25
        assert (corner <= 15).float().mean() == pytest.approx(0.171, abs=0.008)  # P(N(25, 10) < 15.5)
        assert (corner == 0).float().mean() == pytest.approx(0.007, abs=0.002)  # P(N(25, 10) < 0.5), clamped
    assert abs(torch.corrcoef(torch.stack([top.float(), left.float()]))[0, 1]) < 0.02
    assert share(holes).mean() == pytest.approx(0.0549, abs=0.0005)
    assert share(holes).min() == 100 / 4096
    assert share(holes).max() == 400 / 4096


def test_uniform_holes_reach_every_place_alike():
    holes = masks.uniform(40_000, generator=generator())
    top, left, height, width = boxes(holes).unbind(1)
    for corner, side in ((top, height), (left, width)):
        place = corner[side == 10]
        counts = torch.bincount(place, minlength=55)
        assert len(counts) == 55  # 0 … 54: all places where a side of 10 fits
        assert counts.float().std() / counts.float().mean() < 0.2


def test_uniform_and_seed_differ_in_where_the_holes_lie():
    """A sampler that swapped the two distributions must fail."""
    middle = [
        masks.sampler(name)(4000, generator=generator())[:, 0, 20:44, 20:44].float().mean() for name in RANDOM[:2]
    ]
    assert middle[0] > 1.4 * middle[1]


def test_the_centre_hole_is_exact():
    hole = masks.center(2)
    assert hole[0, 0, 16:48, 16:48].all()
    assert hole[0].sum() == 32 * 32


@pytest.mark.parametrize("size", [32, 64, 128])
def test_big_holes_cover_8_to_14_percent(size):
    covered = share(masks.big(5000, size, generator=generator()))
    assert covered.min() >= 0.08
    assert covered.max() <= 0.14
    assert covered.mean() == pytest.approx(0.11, abs=0.002)


def test_freeform_covers_10_to_30_percent():
    covered = share(masks.freeform(2000, generator=generator()))
    assert covered.min() >= 0.098  # equal distances may leave a few pixels out
    assert covered.max() <= 0.30
    assert covered.mean() == pytest.approx(0.2, abs=0.005)
    assert covered.std() == pytest.approx(0.2 / 12**0.5, abs=0.005)


def test_freeform_strokes_are_thin():
    """Strokes, not blobs: most pixels of a hole lie within 5 pixels of a known one."""
    from scipy.ndimage import distance_transform_edt

    holes = masks.freeform(100, generator=generator())[:, 0].numpy()
    depth = np.concatenate([distance_transform_edt(hole)[hole] for hole in holes])
    assert (depth <= 5).mean() > 0.9


def test_all_six_parts_are_drawn_alike():
    _, drawn = masks.parts_drawn(6000, generator=generator())
    assert (torch.bincount(drawn, minlength=6) / 6000 - 1 / 6).abs().max() < 0.02


def test_parts_cover_what_they_name():
    points = torch.tensor([[[20.0, 30], [40, 32], [31, 42], [24, 52], [38, 53]]])
    left, right, eyes, left_eye, right_eye, lower = masks.part_boxes(1, 64, points)[0]

    def holds(box, point):
        top, west, bottom, east = box.tolist()
        return top <= point[1] < bottom and west <= point[0] < east

    eye_l, eye_r, nose, mouth_l, mouth_r = points[0].tolist()
    assert [holds(left, p) for p in (eye_l, eye_r, mouth_l, mouth_r)] == [True, False, True, False]
    assert [holds(right, p) for p in (eye_l, eye_r, mouth_l, mouth_r)] == [False, True, False, True]
    assert [holds(eyes, p) for p in (eye_l, eye_r, nose)] == [True, True, False]
    assert [holds(left_eye, p) for p in (eye_l, eye_r)] == [True, False]
    assert [holds(right_eye, p) for p in (eye_l, eye_r)] == [False, True]
    assert [holds(lower, p) for p in (eye_l, mouth_l, mouth_r)] == [False, True, True]


def test_parts_follow_the_landmarks_and_scale_with_the_size():
    points = torch.tensor(masks.CELEBA_POINTS)[None]
    assert torch.equal(masks.part_boxes(1, 64, points), masks.part_boxes(1, 64, None))
    assert torch.equal(masks.part_boxes(1, 64, points - 2), masks.part_boxes(1, 64, points) - 2)
    assert (masks.part_boxes(1, 128, None) - 2 * masks.part_boxes(1, 64, None)).abs().max() <= 1


def test_wheel_landmarks_fall_back_to_the_fixed_boxes():
    wheels = torch.tensor([[[16.0, 48], [48, 48]]])
    assert torch.equal(masks.part_boxes(1, 64, wheels), masks.part_boxes(1, 64, None))


@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=5, max_size=5))
def test_parts_are_never_empty_wherever_the_landmarks_lie(points):
    boxes = masks.part_boxes(1, 64, torch.tensor([points]))
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 64


def test_landmarks_of_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="2 sets of landmarks for 3 masks"):
        masks.parts(3, landmarks=torch.zeros(2, 5, 2), generator=generator())


def test_unknown_protocols_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'circle'.*seed, uniform, center"):
        masks.sampler("circle")


@pytest.mark.parametrize(
    ("holes", "message"),
    [
        (torch.ones(2, 1, 8, 8), "expected bool"),
        (torch.ones(2, 8, 8, dtype=torch.bool), r"expected bool \(B, 1, H, W\)"),
        (torch.ones(2, 1, 8, 8, dtype=torch.bool), "mask 0 is all hole"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.bool), "do not fit images"),
        (torch.zeros(2, 1, 8, 9, dtype=torch.bool), "do not fit images"),
    ],
)
def test_unusable_masks_are_named(holes, message):
    with pytest.raises(ValueError, match=message):
        masks.check(holes, torch.zeros(2, 3, 8, 8))


def test_a_painted_mask_is_read(tmp_path):
    painted = np.zeros((10, 12), np.uint8)
    painted[2:5, 3:7] = 255
    Image.fromarray(painted).save(tmp_path / "hole.png")
    hole = masks.read(tmp_path / "hole.png")
    assert hole.shape == (1, 1, 10, 12)
    assert torch.equal(hole[0, 0], torch.from_numpy(painted > 0))


@pytest.mark.parametrize(("level", "message"), [(255, "all hole"), (0, "without a hole")])
def test_useless_mask_pictures_are_refused(tmp_path, level, message):
    Image.new("L", (8, 8), level).save(tmp_path / "hole.png")
    with pytest.raises(ValueError, match=message):
        masks.read(tmp_path / "hole.png")


def test_missing_and_unreadable_mask_pictures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such mask"):
        masks.read(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="not a readable picture"):
        masks.read(tmp_path / "text.png")
