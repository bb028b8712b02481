import numpy as np
import pytest
import torch

from nblib import consistency, judges
from nblib.images import uint8_to_signed
from nblib.networks.judge import PairJudge

SETS = ("toyfaces", "toycars")
RIGHT = {"eye_colour": 0.97, "rim": 0.85, "finish": 0.9}  # what the shipped judges know at least, of single parts


@pytest.fixture(scope="module", params=SETS)
def scenes(request):
    """Pictures with matching parts, with different ones, and with independent ones; none of a judge's own."""
    return [judges.scenes(request.param, 200, seed=77, matching=kind) for kind in (True, False, None)]


def test_kappa_of_a_table_done_by_hand():
    left = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    right = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    found = consistency.agreement(left, right, 2, pictures=50)
    assert found.agreement.mean == pytest.approx(0.7)  # (20 + 15) / 50
    assert found.floor == pytest.approx(0.5)  # 25/50 * 30/50 + 25/50 * 20/50
    assert found.kappa.mean == pytest.approx(0.4)
    assert found.agreement.low < 0.7 < found.agreement.high


def test_the_floor_is_the_agreement_of_parts_of_all_pairs_of_pictures():
    left, right = np.random.default_rng(0).integers(4, size=(2, 300))
    paired = np.mean([(left == np.roll(right, shift)).mean() for shift in range(300)])
    assert consistency.agreement(left, right, 4, pictures=300).floor == pytest.approx(paired)


def test_the_interval_is_as_wide_as_a_binomial_s():
    same = np.arange(400) % 4 > 0  # three of four agree
    found = consistency.agreement(np.zeros(400, int), np.where(same, 0, 1), 2, pictures=400).agreement
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_where_all_parts_are_alike_kappa_says_nothing():
    found = consistency.agreement(np.zeros(9, int), np.zeros(9, int), 3, pictures=9)
    assert found.agreement.mean == found.floor == 1
    assert np.isnan(found.kappa.mean)


def test_scenes_match_or_differ_in_the_parts_alone(scenes):
    matching, different, _ = scenes
    changed = (matching.images != different.images).any(1)  # (N, H, W)
    assert changed.any((1, 2)).float().mean() > 0.8  # dark glasses hide eyes
    columns = torch.arange(64)
    middle = matching.landmarks[..., 0].mean(1)
    assert not (changed & (columns < middle[:, None, None])).any()  # the left half is the same drawing
    away = (
        matching.landmarks[:, 1, :, None, None] - torch.stack(torch.meshgrid(columns, columns, indexing="xy"))
    ).abs()
    assert not (changed & (away.amax(1) > 10)).any()


def test_the_answers_of_a_scene_are_its_attributes(scenes):
    properties = judges.SUBJECTS[scenes[0].name].properties.values()
    for images, matching in zip(scenes, (True, False), strict=False):
        left, right = images.attributes.unflatten(1, (2, -1)).unbind(1)
        start = 0
        for names in properties:
            same = (left & right)[:, start : start + len(names)].any(1)
            assert same.all() if matching else not same.any()
            start += len(names)


def test_a_judge_finds_and_names_the_parts_of_new_pictures(scenes):
    told = judges.accuracies(scenes[2].name, scenes[2])
    assert told["pixels off, median"] < 0.6
    assert told["shown or hidden"] > 0.97
    for name in judges.SUBJECTS[scenes[2].name].properties:
        assert told[name] > RIGHT[name]


def test_another_design_on_one_side_lowers_consistency(scenes):
    matching, different, independent = scenes
    for prop, names in judges.SUBJECTS[matching.name].properties.items():
        high, low, middle = (
            consistency.consistency(images.name, images.images, prop) for images in (matching, different, independent)
        )
        assert high.kappa.low > 0.7
        assert low.agreement.high < 0.2
        assert abs(middle.agreement.mean - 1 / len(names)) < 0.15
        assert high.kappa.low > middle.kappa.high


def test_a_part_from_another_picture_lowers_consistency(scenes):
    images, points = scenes[0].images.clone(), scenes[0].landmarks.round().long()
    for row in range(len(images)):  # paste the right part of the next picture
        (x, y), (from_x, from_y) = points[row, 1].tolist(), points[row - 1, 1].tolist()
        images[row, :, y - 6 : y + 7, x - 6 : x + 7] = scenes[0].images[
            row - 1, :, from_y - 6 : from_y + 7, from_x - 6 : from_x + 7
        ]
    whole, pasted = (consistency.consistency(scenes[0].name, each) for each in (scenes[0].images, images))
    assert pasted.agreement.high < whole.agreement.low - 0.3


def test_what_is_said_of_a_part_hangs_on_its_crop_alone():
    judge = PairJudge([4], crop=12).eval()
    images = torch.rand(3, 3, 64, 64, requires_grad=True)
    points = torch.tensor([[22.0, 30.0], [41.0, 30.0]]).expand(3, -1, -1)
    judge.answers(judge.crops(images, points))[:, 0].sum().backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert 24 <= rows.min() <= rows.max() <= 36
    assert 16 <= columns.min() <= columns.max() <= 28  # the other part begins at 35


def test_crops_are_squares_around_the_points_and_end_at_the_border():
    judge, images = PairJudge([4], crop=8), torch.rand(1, 3, 64, 64)
    inside, corner = judge.crops(images, torch.tensor([[[20.4, 30.6], [0.0, 63.0]]]))[0]
    torch.testing.assert_close(inside, images[0, :, 27:35, 17:25])
    torch.testing.assert_close(corner[:, :, :4], images[0, :, [60, 61, 62, 63, 63, 63, 63, 63], :1].expand(-1, -1, 4))


def test_the_sides_are_told_apart_by_place():
    judge = PairJudge([2]).eval()
    points = judge.points(torch.zeros(1, 3, 64, 64))
    assert ((points > -0.5) & (points < 63.5)).all()


def test_a_picture_counts_only_if_the_judge_is_sure(scenes):
    name, noise = scenes[0].name, torch.rand(30, 3, 64, 64) * 2 - 1
    with pytest.raises(ValueError, match="of 30 pictures show two parts"):
        consistency.consistency(name, noise, sure=0.9)
    all_of_them = consistency.consistency(name, scenes[0].images, sure=0)
    surest = consistency.consistency(name, scenes[0].images, sure=0.99)
    assert surest.counted < all_of_them.counted == all_of_them.pictures == 200


def test_bytes_and_floats_are_judged_alike(scenes):
    images = scenes[0].images[:20]
    ours, theirs = (judges.judged(scenes[0].name, each) for each in (images, uint8_to_signed(images)))
    torch.testing.assert_close(ours.points, theirs.points)
    torch.testing.assert_close(ours.shown, theirs.shown)


def test_errors_name_what_there_is():
    images = torch.zeros(2, 3, 64, 64)
    with pytest.raises(ValueError, match=r"'celeba': no judge of pairs.*toyfaces and toycars"):
        consistency.consistency("celeba", images)
    with pytest.raises(ValueError, match="'rim': the judge of toyfaces names eye_colour"):
        consistency.consistency("toyfaces", images, "rim")
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\)"):
        judges.judged("toyfaces", images[..., :32, :32])
    with pytest.raises(ValueError, match="crop=11"):
        PairJudge([4], crop=11)
    with pytest.raises(ValueError, match=r"classes=\[1\]"):
        PairJudge([1])


@pytest.mark.slow
def test_a_judge_learns_in_a_minute():
    judge = judges.train_judge("toyfaces", pictures=2000, steps=400)
    told = judges.accuracies("toyfaces", judges.scenes("toyfaces", 200, seed=77), judge=judge)
    assert told["eye_colour"] > 0.9
    assert told["pixels off, median"] < 2
