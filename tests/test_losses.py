import math

import pytest
import torch
from torch.nn import functional as F

from nblib import losses

EXTREME = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4])
GENERATOR_LOSSES = [losses.saturating_loss_g, losses.nonsaturating_loss_g, losses.hinge_loss_g]


def gradient(loss, logits):
    logits = torch.as_tensor(logits).clone().requires_grad_()
    loss(logits).backward()
    return logits.grad


# cross-entropy


def test_bce_agrees_with_torch():
    real, fake = torch.linspace(-6, 5, 40).double(), torch.linspace(-3, 7, 24).double()
    expected = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    expected = expected + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    torch.testing.assert_close(losses.bce_loss_d(real, fake), expected)


def test_bce_at_a_hand_computed_point():
    real, fake = torch.tensor([math.log(3)]), torch.tensor([-math.log(3)])  # D = 3/4 and 1/4
    assert losses.bce_loss_d(real, fake).item() == pytest.approx(2 * math.log(4 / 3))


def test_bce_is_lowest_where_real_logits_are_high_and_fake_ones_low():
    high, low = torch.tensor([2.0]), torch.tensor([-2.0])
    assert losses.bce_loss_d(high, low) < losses.bce_loss_d(low, low) < losses.bce_loss_d(low, high)


# generator


@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_generator_always_wants_higher_logits(loss):
    assert (gradient(loss, torch.linspace(-8, 8, 33)) < 0).all()


def test_minimising_minus_log_one_minus_d_is_the_wrong_sign():
    def as_a_report_wrote_it(fake):
        return -torch.log(1 - fake.sigmoid()).mean()

    logits = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(losses.saturating_loss_g(logits), -as_a_report_wrote_it(logits))
    assert (gradient(as_a_report_wrote_it, logits) > 0).all()  # it would teach G to be recognised


def test_gradients_where_the_discriminator_is_sure_of_a_fake():
    sure = torch.tensor([-10.0])
    assert gradient(losses.saturating_loss_g, sure).abs() < 1e-4
    assert gradient(losses.nonsaturating_loss_g, sure).item() == pytest.approx(-1, abs=1e-4)
    assert gradient(losses.hinge_loss_g, sure).item() == -1


def test_both_generator_losses_at_a_hand_computed_point():
    fake = torch.tensor([math.log(1 / 3)])  # D = 1/4
    assert losses.saturating_loss_g(fake).item() == pytest.approx(math.log(3 / 4))
    assert losses.nonsaturating_loss_g(fake).item() == pytest.approx(math.log(4))


# hinge


def test_hinge_d_at_hand_computed_points():
    real, fake = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-3.0, 1.0])
    assert losses.hinge_loss_d(real, fake).item() == pytest.approx((0 + 0 + 1 + 2) / 4 + (0 + 2) / 2)


def test_hinge_d_has_no_gradient_beyond_the_margin():
    beyond = gradient(lambda real: losses.hinge_loss_d(real, torch.zeros(2)), [1.5, 0.5])
    assert beyond.tolist() == [0.0, -0.5]
    beyond = gradient(lambda fake: losses.hinge_loss_d(torch.zeros(2), fake), [-1.5, -0.5])
    assert beyond.tolist() == [0.0, 0.5]


# all


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "loss", [*GENERATOR_LOSSES, lambda x: losses.bce_loss_d(x, x), lambda x: losses.hinge_loss_d(x, x)]
)
def test_extreme_logits_stay_finite(loss, dtype):
    logits = EXTREME.to(dtype)
    assert loss(logits).isfinite()
    assert gradient(loss, logits).isfinite().all()


def test_the_unstable_form_would_fail_that():
    assert not torch.log(1 - EXTREME.sigmoid()).isfinite().all()


@pytest.mark.parametrize("loss", [*GENERATOR_LOSSES, lambda x: losses.bce_loss_d(x, x)])
def test_losses_do_not_depend_on_the_number_of_logits(loss):
    logits = torch.tensor([[-1.0], [2.0]])
    torch.testing.assert_close(loss(logits.repeat(8, 5)), loss(logits))


# hole


def holes():
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    masks[0, :, :1, :2] = True  # 2 pixels
    masks[1, :, :, 2:] = True  # 8 pixels
    return masks


def test_l1_in_hole_at_a_hand_computed_point():
    output, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    output[0, 0, 0, 0] = 6.0  # of 2 pixels x 3 channels: 1
    output[1] -= 3.0  # 3 everywhere
    assert losses.l1_in_hole(output, target, holes()).item() == pytest.approx((1 + 3) / 2)


def test_what_is_known_has_no_part_in_it():
    output, masks = torch.randn(2, 3, 4, 4, requires_grad=True), holes()
    losses.l1_in_hole(output, torch.zeros(2, 3, 4, 4), masks).backward()
    in_hole = masks.expand_as(output)
    assert (output.grad[~in_hole] == 0).all()
    assert (output.grad[in_hole] != 0).all()


def test_each_image_weighs_the_same():
    output = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses.l1_in_hole(output, torch.zeros(2, 3, 4, 4), holes()).backward()
    torch.testing.assert_close(output.grad.abs().sum((1, 2, 3)), torch.tensor([0.5, 0.5]))


def test_an_image_without_a_hole_does_not_pass_for_perfect():
    masks = holes()
    masks[1] = False
    assert losses.l1_in_hole(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), masks).isnan()


@pytest.mark.parametrize(
    ("masks", "match"),
    [
        (torch.ones(2, 1, 4, 4), "float32"),
        (torch.ones(2, 3, 4, 4).bool(), r"\(2, 3, 4, 4\)"),
        (torch.ones(4, 4).bool(), r"\(4, 4\)"),
    ],
)
def test_l1_in_hole_refuses_other_masks(masks, match):
    with pytest.raises(ValueError, match=match):
        losses.l1_in_hole(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), masks)


def test_l1_in_hole_refuses_to_broadcast():
    with pytest.raises(ValueError, match="differ in shape"):
        losses.l1_in_hole(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), holes())


# around the hole


def square(n=1, size=7):
    """One hole of 3x3 pixels in rows and columns 2 to 4."""
    masks = torch.zeros(n, 1, size, size, dtype=torch.bool)
    masks[..., 2:5, 2:5] = True
    return masks


ON_PIXELS = [losses.l1_in_hole, losses.l1_whole, losses.l1_on_rim, losses.l1_towards_border]


@pytest.mark.parametrize("loss", ON_PIXELS)
def test_losses_of_pixels_are_0_for_the_truth_and_grow_with_the_error(loss):
    truth = torch.rand(2, 3, 7, 7)
    assert loss(truth, truth, square(2)) == 0
    torch.testing.assert_close(loss(truth + 0.5, truth, square(2)), torch.tensor(0.5))
    torch.testing.assert_close(loss(truth - 0.5, truth, square(2)), torch.tensor(0.5))


@pytest.mark.parametrize("loss", ON_PIXELS)
def test_losses_of_pixels_refuse_other_masks(loss):
    images = torch.zeros(2, 3, 7, 7)
    with pytest.raises(ValueError, match="float32"):
        loss(images, images, square(2).float())
    with pytest.raises(ValueError, match="differ in shape"):
        loss(images, images[:1], square(2))


def test_whole_image_l1_flatters_by_the_share_of_the_hole():
    target = torch.zeros(1, 3, 7, 7)
    output = torch.where(square(), 4.9, target)  # wrong in 9 of 49 pixels
    assert losses.l1_whole(output, target, square()).item() == pytest.approx(0.9)
    assert losses.l1_in_hole(output, target, square()).item() == pytest.approx(4.9)


def test_rim_l1_at_a_hand_computed_point():
    target, output = torch.zeros(1, 3, 7, 7), torch.zeros(1, 3, 7, 7)
    output[..., 1, 1] = 16.0  # one of the 16 pixels that touch the hole, a corner
    output[..., 3, 3] = 100.0  # in the hole
    output[..., 0, 0] = 24.0  # two pixels away
    assert losses.l1_on_rim(output, target, square(), width=1).item() == pytest.approx(1.0)
    assert losses.l1_on_rim(output, target, square(), width=2).item() == pytest.approx((16 + 24) / 40)


def test_a_rim_ends_with_the_picture():
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    masks[..., 0, 0] = True
    output = torch.zeros(1, 3, 4, 4)
    output[..., 1, 1] = 3.0  # one of three
    assert losses.l1_on_rim(output, torch.zeros(1, 3, 4, 4), masks, width=1).item() == pytest.approx(1.0)


def test_a_rim_of_an_image_without_a_hole_does_not_pass_for_perfect():
    images = torch.zeros(1, 3, 7, 7)
    assert losses.l1_on_rim(images, images, torch.zeros(1, 1, 7, 7, dtype=torch.bool)).isnan()
    with pytest.raises(ValueError, match="width=0"):
        losses.l1_on_rim(images, images, square(), width=0)


def test_weights_fall_from_the_border_inwards():
    """Of a hole of 9x9 in the middle: with reach 2 and emphasis 4, rings weigh 5, 3, 1, 1 and the centre 1."""
    masks = torch.zeros(1, 1, 13, 13, dtype=torch.bool)
    masks[..., 2:11, 2:11] = True
    output = torch.zeros(1, 3, 13, 13, requires_grad=True)
    losses.l1_towards_border(output, torch.ones(1, 3, 13, 13), masks, emphasis=4.0, reach=2).backward()
    weights = -output.grad[0, 0, 6, :7]  # from the left edge to the centre
    torch.testing.assert_close(weights / weights[-1], torch.tensor([0.0, 0.0, 5.0, 3.0, 1.0, 1.0, 1.0]))
    assert output.grad.sum().item() == pytest.approx(-1)


def test_the_edge_of_the_picture_is_no_border():
    masks = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    masks[..., :, :3] = True  # the left half: known pixels on its right only
    output = torch.zeros(1, 3, 6, 6, requires_grad=True)
    losses.l1_towards_border(output, torch.ones(1, 3, 6, 6), masks, emphasis=4.0, reach=2).backward()
    weights = -output.grad[0, 0, 0]  # of the top row
    torch.testing.assert_close(weights / weights[0], torch.tensor([1.0, 3.0, 5.0, 0.0, 0.0, 0.0]))


def test_without_emphasis_it_is_l1_in_the_hole():
    output, target = torch.randn(2, 3, 7, 7), torch.randn(2, 3, 7, 7)
    plain = losses.l1_in_hole(output, target, square(2))
    torch.testing.assert_close(losses.l1_towards_border(output, target, square(2), emphasis=0.0), plain)
    assert not torch.allclose(losses.l1_towards_border(output, target, square(2)), plain)
    with pytest.raises(ValueError, match="reach=0"):
        losses.l1_towards_border(output, target, square(2), reach=0)


def test_the_norm_of_a_gradient_is_that_of_all_weights_together():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    loss = net(torch.randn(5, 3)).square().mean()
    found = losses.gradient_norm(loss, net.parameters())
    assert all(weight.grad is None for weight in net.parameters())  # nothing is left behind
    loss.backward()  # the graph is still there
    torch.testing.assert_close(found, torch.cat([weight.grad.flatten() for weight in net.parameters()]).norm())


def test_a_weight_that_a_loss_does_not_use_has_no_part_in_the_norm():
    used, unused = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    assert losses.gradient_norm(used**2, [used, unused]).item() == 6.0
