"""Context weights, context loss and prior losses: where to look, and one number per image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nblib import masks as holes
from nblib.latent_losses import context_loss, context_weights, nonsaturating_prior, saturating_prior


def square_hole(size=15, start=6, side=3):
    masks = torch.zeros(1, 1, size, size, dtype=torch.bool)
    masks[..., start : start + side, start : start + side] = True
    return masks


def inverted(masks, window=7, floor=0.02):
    """The known wrong version: M = 1 taken for the hole, so each pixel gets the share of what is *known* around it."""
    share = torch.nn.functional.avg_pool2d((~masks).float(), window, 1, window // 2, count_include_pad=False)
    return share.clamp_min(floor).masked_fill(masks, 0)


def flat(masks, window=7, floor=0.02):
    """The other one: every known pixel alike."""
    return (~masks).float()


def looks_at_the_rim(weigh):
    row = weigh(square_hole())[0, 0, 7]  # through the middle of the hole in columns 6 … 8
    return (
        (row[6:9] == 0).all()
        and row[5] == row[9] == weigh(square_hole()).max()
        and (row[2:6].diff() > 0).all()  # falls with the distance
        and (row[:3] == row[0]).all()
        and 0 < row[0] < 0.2 * row[5]  # far pixels still count, a little
    )


def test_weights_are_largest_at_the_rim_zero_in_the_hole_and_small_but_not_zero_far_away():
    assert looks_at_the_rim(context_weights)


@pytest.mark.parametrize("wrong", [inverted, flat])
def test_inverted_and_flat_weights_are_told_apart(wrong):
    assert not looks_at_the_rim(wrong)


def test_weights_by_hand():
    masks = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    masks[..., :2, :2] = True  # four pixels in the corner
    weights = context_weights(masks, window=3, floor=0.01)[0, 0]
    expected = torch.tensor(
        [
            [0, 0, 2 / 6, 0.01, 0.01],  # at the border a window of six pixels, two of them missing
            [0, 0, 2 / 9, 0.01, 0.01],
            [2 / 6, 2 / 9, 1 / 9, 0.01, 0.01],
            [0.01, 0.01, 0.01, 0.01, 0.01],
            [0.01, 0.01, 0.01, 0.01, 0.01],
        ]
    )
    assert_close(weights, expected)


def test_the_published_window_beside_a_long_edge_by_hand():
    masks = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    masks[..., 8:] = True
    row = context_weights(masks, floor=0)[0, 0, 8]  # far from top and bottom
    assert_close(row[:8], torch.tensor([0, 0, 0, 0, 0, 7 / 49, 14 / 49, 21 / 49]))


@settings(max_examples=40, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=36, max_size=36), window=st.sampled_from([1, 3, 5, 7]))
def test_weights_are_the_share_of_missing_neighbours_for_any_mask(bits, window):
    masks = torch.tensor(bits).view(1, 1, 6, 6)
    if masks.all():
        masks[0, 0, 0, 0] = False
    weights, reach = context_weights(masks, window, floor=0.05)[0, 0], window // 2
    for row in range(6):
        for column in range(6):
            around = masks[0, 0, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
            expected = 0.0 if masks[0, 0, row, column] else max(around.float().mean().item(), 0.05)
            assert weights[row, column].item() == pytest.approx(expected, abs=1e-6)


def test_each_image_has_weights_of_its_own():
    masks = holes.freeform(3, generator=torch.Generator().manual_seed(0))
    together = context_weights(masks)
    for k in range(3):
        assert torch.equal(together[k : k + 1], context_weights(masks[k : k + 1]))


def test_an_image_without_a_hole_is_known_alike_everywhere():
    assert (context_weights(torch.zeros(1, 1, 8, 8, dtype=torch.bool), floor=0.02) == 0.02).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"window": 4}, "window=4"), ({"window": 0}, "window=0"), ({"floor": -0.1}, r"floor=-0\.1"), ({"floor": 2}, "=2")],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        context_weights(square_hole(), **arguments)


def test_masks_that_are_no_masks_are_refused():
    with pytest.raises(ValueError, match="expected bool"):
        context_weights(square_hole().float())
    with pytest.raises(ValueError, match="all hole"):
        context_weights(torch.ones(1, 1, 4, 4, dtype=torch.bool))


def test_context_loss_is_a_sum_over_each_image():
    drawn, images = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    weights = torch.zeros(2, 1, 4, 4)
    weights[0, 0, 0, 0], weights[0, 0, 1, 1], weights[1, 0, 0, 0] = 0.5, 0.25, 1.0
    drawn[0, :, 0, 0], drawn[0, 0, 1, 1], drawn[1, 0, 0, 0] = 1.0, -2.0, 3.0
    assert_close(context_loss(drawn, images, weights), torch.tensor([3 * 0.5 + 2 * 0.25, 3.0]))
    assert_close(context_loss(drawn[:1], images[:1], weights[:1]), torch.tensor([2.0]))  # whoever else is in the batch


def test_its_gradient_does_not_depend_on_the_batch():
    images, weights = torch.zeros(4, 3, 2, 2), torch.full((4, 1, 2, 2), 0.5)
    drawn = torch.ones(4, 3, 2, 2, requires_grad=True)
    context_loss(drawn, images, weights).sum().backward()
    assert_close(drawn.grad, torch.full_like(drawn, 0.5))  # not an eighth or a 48th of it


PRIORS = {"saturating": saturating_prior, "nonsaturating": nonsaturating_prior}


def wants_real(prior):
    logits = torch.linspace(-5, 5, 11).unsqueeze(1).requires_grad_()
    prior(logits).sum().backward()
    return bool((logits.grad < 0).all())  # going down the loss makes D's logit larger


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_going_down_the_prior_loss_makes_pictures_more_real(prior):
    assert wants_real(prior)


def test_the_reports_sign_mistake_is_told_apart():
    assert not wants_real(lambda logits: -saturating_prior(logits))  # -log(1 - D)
    assert not wants_real(lambda logits: nonsaturating_prior(-logits))


def test_priors_are_the_logarithms_they_stand_for():
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64).unsqueeze(1)
    real = logits.sigmoid().squeeze(1)
    assert_close(saturating_prior(logits), (1 - real).log())
    assert_close(nonsaturating_prior(logits), -real.log())


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_priors_are_one_finite_number_per_image(prior):
    values = prior(torch.tensor([[-1e4], [0.0], [1e4]]))
    assert values.shape == (3,)
    assert values.isfinite().all()


def test_only_one_of_them_still_pulls_where_d_is_sure_of_a_fake():
    slopes = {}
    for name, prior in PRIORS.items():
        logits = torch.tensor([[-20.0]], requires_grad=True)
        prior(logits).sum().backward()
        slopes[name] = logits.grad.item()
    assert slopes["nonsaturating"] == pytest.approx(-1, abs=1e-6)
    assert abs(slopes["saturating"]) < 1e-6
