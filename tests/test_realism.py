import pytest
import torch
from torch.nn import functional as F

from nblib import features, realism
from nblib import masks as holes


def normal(n, width, seed):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_boxes_hold_all_holes_and_stay_inside():
    masks = torch.zeros(3, 1, 20, 30, dtype=torch.bool)
    masks[0, :, 9, 12] = True
    masks[1, :, 2:4, 0:2] = masks[1, :, 16:18, 27:29] = True  # two holes: one box
    masks[2] = True
    assert realism.boxes(masks, margin=3).tolist() == [[6, 9, 13, 16], [0, 0, 20, 30], [0, 0, 20, 30]]
    assert realism.boxes(masks, margin=0).tolist()[1] == [2, 0, 18, 29]


def test_crops_are_what_lies_in_the_box():
    images = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[..., 12:20, 10:18] = True
    crops = realism.box_crops(images, masks, margin=4, size=16)  # 16x16 already: nothing to resize
    torch.testing.assert_close(crops, images[..., 8:24, 6:22].float() / 127.5 - 1)
    torch.testing.assert_close(realism.box_crops(images / 127.5 - 1, masks, margin=4, size=16), crops)


def test_crops_do_not_depend_on_what_lies_far_away():
    masks = holes.big(5, 64, generator=torch.Generator().manual_seed(0))
    images, near = torch.rand(5, 3, 64, 64), realism.boxes(masks)
    changed = images.clone()
    for image, (top, left, bottom, right) in zip(changed, near.tolist(), strict=True):
        kept = image[:, top:bottom, left:right].clone()
        image.zero_()
        image[:, top:bottom, left:right] = kept
    assert torch.equal(realism.box_crops(images, masks), realism.box_crops(changed, masks))
    assert not torch.equal(realism.box_crops(images, masks, margin=20), realism.box_crops(changed, masks, margin=20))


def test_crops_ask_for_holes_that_fit():
    images, masks = torch.zeros(2, 3, 16, 16), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    masks[0, :, 3, 3] = True
    with pytest.raises(ValueError, match="mask 1 has no hole"):
        realism.box_crops(images, masks)
    with pytest.raises(ValueError, match=r"masks \(1, 1, 16, 16\) do not fit images \(2, 3, 16, 16\)"):
        realism.box_crops(images, masks[:1])


def test_the_paired_distance_is_the_usual_one_without_each_image_beside_its_own_filling():
    real, fake = normal(40, 5, 0), normal(40, 5, 1) + 0.3
    cross = ((real.double() @ fake.double().T) / 5 + 1) ** 3
    others = (cross.sum() - cross.trace()) / (40 * 39)
    usual = features.kernel_distance(real, fake) + 2 * (cross.mean() - others).item()
    found = realism.kernel_comparison(real, {"a": fake}, resamples=2).distances["a"].mean
    assert found == pytest.approx(usual, rel=1e-10)


def test_the_truth_is_at_no_distance_from_itself():
    real = normal(50, 4, 0)
    for told in (realism.kernel_comparison(real, {"same": real}), realism.frechet_comparison(real, {"same": real})):
        assert told.distances["same"] == pytest.approx((0, 0, 0), abs=1e-6)
        assert told.differences == {}


def test_a_blurred_filling_is_worse_than_a_sharp_one_of_other_pictures():
    real = normal(300, 6, 0)
    fakes = {"sharp": real[torch.randperm(300, generator=torch.Generator().manual_seed(1))], "blurred": 0.7 * real}
    for compare in (realism.kernel_comparison, realism.frechet_comparison):
        told = compare(real, fakes)
        assert told.differences.keys() == {"blurred"}
        assert told.differences["blurred"].low > 0
        sharp = told.distances["sharp"]
        assert sharp.low <= sharp.mean <= sharp.high < told.distances["blurred"].low


def test_pairs_make_the_interval_of_a_difference_narrow():
    real = normal(200, 4, 0)
    fake = real + 0.5 + 0.3 * normal(200, 4, 1)
    told = realism.kernel_comparison(real, {"one": fake, "twin": fake + 0.01 * normal(200, 4, 2)})
    width = told.distances["one"].high - told.distances["one"].low
    assert told.differences["twin"].high - told.differences["twin"].low < width / 5


@pytest.mark.slow
def test_intervals_hold_the_difference_as_often_as_they_say():
    """Gaussians shifted by d: of feature size 1, E(xy + 1)³ gives the squared distance in closed form."""
    one, two, held = 0.5, 0.8, 0
    true = shifted_distance(two) - shifted_distance(one)
    for seed in range(200):
        real = normal(120, 1, 3 * seed)
        noise = 0.5 * normal(120, 1, 3 * seed + 1)
        exact = real * 0.75**0.5 + noise  # again standard normal, and each one near its truth
        told = realism.kernel_comparison(real, {"one": exact + one, "two": exact + two}, resamples=400, seed=seed)
        held += told.differences["two"].low <= true <= told.differences["two"].high
    assert 0.88 < held / 200 < 0.99


def shifted_distance(d):
    """Return the squared distance of N(0, 1) and N(d, 1), kernel (xy + 1)³: 3 Δ₁² + 3 Δ₂² + Δ₃² of the raw moments."""
    first, second, third = d, d**2, d**3 + 3 * d
    return 3 * first**2 + 3 * second**2 + third**2


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"features \(5, 2\) and \(4, 2\)"):
        realism.pair_terms(torch.zeros(5, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="no fillings to compare"):
        realism.kernel_comparison(torch.zeros(5, 2), {})


def test_copies_in_a_resampled_set_are_no_pair():
    terms = realism.pair_terms(torch.zeros(3, 2), torch.ones(3, 2))
    assert terms.diagonal().tolist() == [0, 0, 0]
    told = realism.kernel_comparison(torch.zeros(30, 2), {"one": torch.ones(30, 2)})
    assert told.distances["one"] == pytest.approx((7, 7, 7))  # every pair says 7: no draw can say another


def test_blurring_pictures_shows_in_pixels():
    """The whole way, with pixels as features: holes filled by a blurred truth against those of other pictures."""
    images = F.interpolate(torch.rand(600, 3, 8, 8, generator=torch.Generator().manual_seed(0)), size=(32, 32)) * 2 - 1
    masks = holes.big(600, 32, generator=torch.Generator().manual_seed(1))
    other = torch.where(masks, images.roll(1, 0), images)
    blurred = torch.where(masks, F.avg_pool2d(images, 9, 1, 4), images)
    vectors = [realism.box_crops(x, masks, margin=0, size=8).flatten(1) for x in (images, other, blurred)]
    told = realism.kernel_comparison(vectors[0], {"other": vectors[1], "blurred": vectors[2]})
    assert told.distances["other"].low < 0 < told.distances["other"].high
    assert told.differences["blurred"].low > 0
