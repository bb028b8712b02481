"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import math

import pytest
import torch
from scipy.stats import norm

from nblib import exercises, losses
from nblib import masks as holes
from nblib.exercises import check, checking, wallpaper
from nblib.exercises import inpainting as room
from nblib.networks.approxnet import pasted


def hole_l1(output, target, masks):
    error = ((output - target).abs() * masks).sum((1, 2, 3))  # (B,)
    return (error / (3 * masks.sum((1, 2, 3)))).mean()


def hole_l1_picture_by_picture(output, target, masks):
    each = zip(output, target, masks, strict=True)
    return torch.stack([(one[:, mask[0]] - other[:, mask[0]]).abs().mean() for one, other, mask in each]).mean()


def whole_l1(output, target, masks):
    return (output - target).abs().mean()


def known_l1(output, target, masks):
    return hole_l1(output, target, ~masks)


def diluted_l1(output, target, masks):
    return ((output - target).abs() * masks).mean()


def in_place_l1(output, target, masks):
    target.sub_(output.detach())
    return hole_l1(output - output.detach(), target, masks)


def paste(filling, images, masks):
    return torch.where(masks, filling, images)


def paste_by_sums(filling, images, masks):
    return filling * masks + images * ~masks


def paste_in_place(filling, images, masks):
    images[masks.expand_as(images)] = filling[masks.expand_as(filling)]
    return images


def paste_into_the_filling(filling, images, masks):
    filling[~masks.expand_as(filling)] = images[~masks.expand_as(images)]
    return filling


def drawn_holes(low=10, high=20, mean=25.0, std=10.0, whole=torch.round, scale=True, moved=True, end=1, uniform=False):
    """The solution, with room for mistakes."""

    def gaussian_holes(n, size, generator):
        ratio = size / 64 if scale else 1
        ends = round(low * ratio), round(high * ratio) + end
        height, width = torch.randint(*ends, (2, n), generator=generator)
        top, left = whole((mean + std * torch.randn(2, n, generator=generator)) * ratio).long()
        if uniform:
            across, down = torch.rand(2, n, generator=generator)
            top, left = (down * (size - height + 1)).long(), (across * (size - width + 1)).long()
        if moved:
            top, left = top.clamp(min=0).minimum(size - height), left.clamp(min=0).minimum(size - width)
        return holes.rectangles(top, left, height, width, size)

    return gaussian_holes


gaussian_holes = drawn_holes()


def one_by_one(n, size, generator):
    masks = torch.zeros(n, 1, size, size, dtype=torch.bool)
    for mask in masks:
        height, width = torch.randint(round(10 * size / 64), round(20 * size / 64) + 1, (2,), generator=generator)
        corner = (torch.normal(25.0, 10.0, (2,), generator=generator) * size / 64).round().long().clamp(min=0)
        top, left = min(corner[0], size - height), min(corner[1], size - width)
        mask[:, top : top + height, left : left + width] = True
    return masks


def one_for_all(n, size, generator):
    return gaussian_holes(1, size, generator).expand(n, 1, size, size)


def inverted(n, size, generator):
    return ~gaussian_holes(n, size, generator)


def without_generator(n, size, generator):
    return gaussian_holes(n, size, None)


def always_from_the_start(n, size, generator):
    return gaussian_holes(n, size, torch.Generator().manual_seed(0))


def squares(n, size, generator):
    side = torch.randint(round(10 * size / 64), round(20 * size / 64) + 1, (n,), generator=generator)
    top, left = ((25 + 10 * torch.randn(2, n, generator=generator)) * size / 64).round().long().clamp(min=0)
    return holes.rectangles(top.minimum(size - side), left.minimum(size - side), side, side, size)


def on_the_diagonal(n, size, generator):
    height, width = torch.randint(round(10 * size / 64), round(20 * size / 64) + 1, (2, n), generator=generator)
    corner = ((25 + 10 * torch.randn(n, generator=generator)) * size / 64).round().long().clamp(min=0)
    return holes.rectangles(corner.minimum(size - height), corner.minimum(size - width), height, width, size)


def redrawn(n, size, generator):
    """Boxes that do not fit are thrown away."""
    height, width = torch.randint(round(10 * size / 64), round(20 * size / 64) + 1, (2, 2 * n), generator=generator)
    top, left = ((25 + 10 * torch.randn(2, 2 * n, generator=generator)) * size / 64).round().long()
    fits = (top >= 0) & (left >= 0) & (top + height <= size) & (left + width <= size)
    return holes.rectangles(*(value[fits][:n] for value in (top, left, height, width)), size)


def gradient_norm(loss, weights):
    gradients = torch.autograd.grad(loss, weights, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


def balanced_alpha(pixel_loss, adversarial_loss, weights):
    return gradient_norm(adversarial_loss, weights) / gradient_norm(pixel_loss, weights)


def balanced_by_the_library(pixel_loss, adversarial_loss, weights):
    return (losses.gradient_norm(adversarial_loss, weights) / losses.gradient_norm(pixel_loss, weights)).item()


def ratio_of_losses(pixel_loss, adversarial_loss, weights):
    return (adversarial_loss / pixel_loss).detach()


def upside_down(pixel_loss, adversarial_loss, weights):
    return 1 / balanced_alpha(pixel_loss, adversarial_loss, weights)


def squared(pixel_loss, adversarial_loss, weights):
    return balanced_alpha(pixel_loss, adversarial_loss, weights) ** 2


def mean_of_norms(pixel_loss, adversarial_loss, weights):
    pixel, adversarial = (
        torch.stack([gradient_norm(loss, [weight]) for weight in weights]).mean()
        for loss in (pixel_loss, adversarial_loss)
    )
    return adversarial / pixel


def mean_of_ratios(pixel_loss, adversarial_loss, weights):
    return torch.stack([balanced_alpha(pixel_loss, adversarial_loss, [weight]) for weight in weights]).mean()


def sums_of_sizes(pixel_loss, adversarial_loss, weights):
    pixel, adversarial = (
        sum(gradient.abs().sum() for gradient in torch.autograd.grad(loss, weights, retain_graph=True))
        for loss in (pixel_loss, adversarial_loss)
    )
    return adversarial / pixel


def freed(pixel_loss, adversarial_loss, weights):
    pixel, adversarial = (torch.autograd.grad(loss, weights) for loss in (pixel_loss, adversarial_loss))
    return torch.cat([one.flatten() for one in adversarial]).norm() / torch.cat([one.flatten() for one in pixel]).norm()


def by_backward(pixel_loss, adversarial_loss, weights):
    norms = []
    for loss in (pixel_loss, adversarial_loss):
        for weight in weights:
            weight.grad = None
        loss.backward(retain_graph=True)
        norms.append(torch.cat([weight.grad.flatten() for weight in weights]).norm())
    return norms[1] / norms[0]


def with_a_gradient_of_its_own(pixel_loss, adversarial_loss, weights):
    pixel, adversarial = (
        torch.cat([one.flatten() for one in torch.autograd.grad(loss, weights, create_graph=True)]).norm()
        for loss in (pixel_loss, adversarial_loss)
    )
    return adversarial / pixel


RIGHT = {
    "hole_l1": hole_l1,
    "paste": paste,
    "gaussian_holes": gaussian_holes,
    "balanced_alpha": balanced_alpha,
}
TRIALS = {
    "hole_l1": room._loss_trial,
    "paste": room._paste_trial,
    "gaussian_holes": room._hole_trial,
    "balanced_alpha": room._alpha_trial,
}


@pytest.fixture(autouse=True)
def _forget():
    checking._PASSED.clear()
    yield
    checking._PASSED.clear()


@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass(name):
    verdict = check(name, RIGHT[name])
    assert verdict.passed, verdict
    assert verdict.measured >= verdict.baseline + 0.15
    assert [one.name for one in exercises.passed()] == [name]


def test_the_exercises_follow_those_on_attention():
    names = exercises.available()
    first = names.index("hole_l1")
    assert names[first : first + len(RIGHT)] == list(RIGHT)
    assert first > names.index("attention_distance")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("hole_l1", losses.l1_in_hole),
        ("hole_l1", hole_l1_picture_by_picture),
        ("paste", pasted),
        ("paste", paste_by_sums),
        ("paste", lambda filling, images, masks: images + masks * (filling - images)),
        ("gaussian_holes", lambda n, size, generator: holes.seed(n, size, generator=generator)),
        ("balanced_alpha", balanced_by_the_library),
    ],
)
def test_other_ways_to_write_it_pass_too(name, function):
    verdict = check(name, function)
    assert verdict.passed, verdict


@pytest.mark.parametrize("seed", range(8))
def test_the_statistics_leave_room_for_chance(seed, monkeypatch):
    """The properties ask for holes from two seeds; right ones pass from any."""
    monkeypatch.setattr(room, "ASKED", 8000)

    def shifted(n, size, generator):
        torch.randn(1000 * seed + n % 7, generator=generator)
        return gaussian_holes(n, size, generator)

    room._hole_properties(shifted)


def test_holes_drawn_one_by_one_have_the_properties():
    room._hole_properties(one_by_one)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline + 0.1


MISTAKES = [
    ("hole_l1", whole_l1, "your mean is over the whole picture"),
    ("hole_l1", known_l1, "masks are True in the hole"),
    ("hole_l1", diluted_l1, "its gradient, shrinks to 0.23 of what it should be"),
    ("hole_l1", lambda o, t, m: (o - t).abs()[m.expand_as(o)].mean(), "large holes count most"),
    ("hole_l1", lambda o, t, m: ((o - t).abs() * m).sum(), "you add up"),
    ("hole_l1", lambda o, t, m: 3 * hole_l1(o, t, m), "not by pixels times channels"),
    ("hole_l1", lambda o, t, m: hole_l1((o - t) ** 2, torch.zeros_like(o), m), "you take squares"),
    ("hole_l1", lambda o, t, m: hole_l1((o - t).clamp(min=0), torch.zeros_like(o), m), "in the hole is 1.031; yours"),
    ("hole_l1", lambda o, t, m: hole_l1(o.detach(), t, m), "does not hang on the output"),
    ("hole_l1", lambda o, t, m: hole_l1(o, t, m).item(), "does not hang on the output"),
    ("hole_l1", lambda o, t, m: hole_l1(o, t, m) + o.mean() - o.mean().detach(), "but its gradient by the output"),
    ("hole_l1", lambda o, t, m: ((o - t).abs() * m).mean((1, 2, 3)), "is one number; yours is a tensor (2,)"),
    ("hole_l1", in_place_l1, "your function changes target itself"),
    ("paste", lambda filling, images, masks: torch.where(masks, images, filling), "masks are True in the hole"),
    ("paste", paste_in_place, "changes images itself"),
    ("paste", paste_into_the_filling, "changes filling itself"),
    ("paste", lambda filling, images, masks: filling, "outside the hole yours is up to"),
    ("paste", lambda filling, images, masks: images.clone(), "away from the filling"),
    ("paste", lambda filling, images, masks: paste(filling, (images + filling) / 2, masks), "outside the hole yours"),
    ("paste", lambda filling, images, masks: paste(filling, images * 0, masks), "outside the hole yours"),
    ("paste", lambda filling, images, masks: paste((images + filling) / 2, images, masks), "away from the filling"),
    ("paste", lambda filling, images, masks: paste(filling.detach(), images, masks), "does not hang on the filling"),
    ("paste", lambda filling, images, masks: paste(filling, images, masks)[0], "yours (3, 6, 8)"),
    ("paste", lambda filling, images, masks: filling * masks + images * (1 - masks), "not done yet: it raises"),
    ("gaussian_holes", drawn_holes(uniform=True), "a uniform corner has 14.2"),
    ("gaussian_holes", one_for_all, "all masks of a batch are alike"),
    ("gaussian_holes", drawn_holes(moved=False), "moved inside"),
    ("gaussian_holes", inverted, "your masks are True in 95 % of the picture"),
    ("gaussian_holes", drawn_holes(end=0), "have sides 10 ... 19; it is 10 ... 20 inclusive"),
    ("gaussian_holes", drawn_holes(scale=False), "it is 5 ... 10: all lengths scale with the size"),
    ("gaussian_holes", drawn_holes(whole=torch.floor), "cuts off instead of rounding"),
    ("gaussian_holes", drawn_holes(std=5.0), "standard deviation is 9.85 (of size 64, in 64ths of it); yours is 5.0"),
    ("gaussian_holes", drawn_holes(mean=32.0), "is 25 down and across on average"),
    ("gaussian_holes", drawn_holes(low=8), "yours have sides 8 ... 20"),
    ("gaussian_holes", drawn_holes(high=24), "yours have sides 10 ... 24"),
    ("gaussian_holes", without_generator, "pass generator=generator wherever you draw"),
    ("gaussian_holes", always_from_the_start, "gives the same again"),
    ("gaussian_holes", squares, "heights and widths are drawn apart"),
    ("gaussian_holes", on_the_diagonal, "rows and columns of the corner are drawn apart"),
    ("gaussian_holes", redrawn, "0.71 % touch the upper border"),
    ("gaussian_holes", lambda n, size, generator: gaussian_holes(n, size, generator).float(), "masks are bool"),
    ("gaussian_holes", lambda n, size, generator: gaussian_holes(n, size, generator)[:, 0], "yours (8000, 64, 64)"),
    ("balanced_alpha", ratio_of_losses, "yours is the ratio of the losses"),
    ("balanced_alpha", upside_down, "yours is upside down"),
    ("balanced_alpha", mean_of_norms, "yours is the mean of the tensors' norms"),
    ("balanced_alpha", mean_of_ratios, "yours is the mean of a ratio for each tensor"),
    ("balanced_alpha", sums_of_sizes, "the root of the sum of their squares"),
    ("balanced_alpha", squared, "take the root"),
    ("balanced_alpha", lambda p, a, weights: balanced_alpha(p, a, weights[:1]), "the first of the weights only"),
    ("balanced_alpha", lambda p, a, weights: balanced_alpha(p, a, weights[-1:]), "the last of the weights only"),
    ("balanced_alpha", lambda p, a, weights: 1.0, "one alpha is 2.114; yours is 1.000"),
    ("balanced_alpha", freed, "ask for the gradients with retain_graph=True"),
    ("balanced_alpha", by_backward, "your gradients stay in weight.grad"),
    ("balanced_alpha", with_a_gradient_of_its_own, "leave out create_graph"),
]


@pytest.mark.parametrize(("name", "function", "told"), MISTAKES)
def test_mistakes_are_told(name, function, told):
    verdict = check(name, function)
    assert not verdict.passed
    assert told in repr(verdict), verdict
    assert f"Hint: {checking.find(name).hint}" in repr(verdict)


@pytest.mark.parametrize(
    ("name", "function", "reached"),
    [
        ("hole_l1", whole_l1, 0.35),
        ("hole_l1", known_l1, 0.1),
        ("hole_l1", diluted_l1, 0.35),
        ("paste", lambda filling, images, masks: torch.where(masks, images, filling), 0.2),
        ("paste", lambda filling, images, masks: filling, 0.25),
        ("paste", paste_in_place, 0.1),
        ("gaussian_holes", one_for_all, 0.05),
        ("gaussian_holes", inverted, 0.05),
        ("balanced_alpha", lambda p, a, weights: 1.0, 0.1),
        ("balanced_alpha", ratio_of_losses, 0.1),
        ("balanced_alpha", upside_down, 0.1),
        ("balanced_alpha", squared, 0.15),
    ],
)
def test_mistakes_stay_below_the_baseline_by_the_trial_alone(name, function, reached):
    trial = TRIALS[name](function)
    assert trial.measured < reached < trial.baseline


def test_a_freed_graph_stops_the_trial():
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        room._alpha_trial(freed)


def test_what_is_asked_of_the_corners_follows_from_the_report():
    """Mean, deviation and the shares at the borders of a clamped normal corner, from its distribution function."""
    corner, sides = torch.arange(-100, 200).double(), torch.arange(10, 21).double()
    weight = torch.from_numpy(norm.cdf(corner + 0.5, 25, 10) - norm.cdf(corner - 0.5, 25, 10))
    moved = corner.clamp(min=0).minimum(64 - sides[:, None])  # (11, 300)
    mean = (moved @ weight).mean()
    assert mean.item() == pytest.approx(25, abs=0.05)
    assert ((moved - mean).square() @ weight).mean().sqrt().item() == pytest.approx(9.85, abs=0.005)
    assert 100 * norm.cdf(0.5, 25, 10) == pytest.approx(0.71, abs=0.005)
    assert 100 * norm.sf(64 - sides - 0.5, 25, 10).mean() == pytest.approx(1.25, abs=0.005)


def test_wallpapers_continue_into_their_holes():
    drawn = wallpaper.wallpapers(50, torch.Generator().manual_seed(3))
    images, period = drawn.images, wallpaper.PERIOD
    assert images.abs().max() <= 1
    assert drawn.masks.flatten(1).any(1).all()
    assert (images - images.roll(period, 3)).abs().mean() < 0.2  # noise alone
    assert (images - images.roll(period // 2, 3)).abs().mean() > 0.4


def test_a_filler_sees_nothing_of_the_hole():
    drawn, net = wallpaper.wallpapers(4, torch.Generator().manual_seed(3)), wallpaper.Filler()
    broken = torch.where(drawn.masks, math.nan, drawn.images)
    torch.testing.assert_close(net(broken, drawn.masks), net(drawn.images, drawn.masks))


def test_the_mean_colour_gains_nothing():
    class Flat(torch.nn.Module):
        def forward(self, images, masks):
            known = (images * ~masks).sum((2, 3), keepdim=True) / (~masks).sum((2, 3), keepdim=True)
            return known.expand_as(images)

    assert wallpaper.gained(Flat(), wallpaper.unseen(20)) == pytest.approx(0, abs=1e-5)


def test_a_check_leaves_the_number_of_threads_alone():
    used, threads = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check("paste", lambda *given: (used.append(torch.get_num_threads()), paste(*given))[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used[-1] == 1
