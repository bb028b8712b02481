"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from nblib import exercises, latent_losses, priors
from nblib.exercises import check, checking, waves
from nblib.exercises import latent as room


def context_weights(masks, window, floor):
    missing = F.avg_pool2d(masks.float(), window, stride=1, padding=window // 2, count_include_pad=False)
    return missing.clamp(min=floor) * ~masks


def weights_by_convolution(masks, window, floor):
    box, hole = torch.ones(1, 1, window, window), masks.float()
    share = F.conv2d(hole, box, padding=window // 2) / F.conv2d(torch.ones_like(hole), box, padding=window // 2)
    return torch.where(masks, 0.0, share.clamp(min=floor))


def inverted(masks, window, floor):
    known = F.avg_pool2d((~masks).float(), window, stride=1, padding=window // 2, count_include_pad=False)
    return known.clamp(min=floor) * ~masks


def flat(masks, window, floor):
    return (~masks).float()


def share_alone(masks, window, floor):
    return F.avg_pool2d(masks.float(), window, stride=1, padding=window // 2, count_include_pad=False)


def cut_off(masks, window, floor):
    return F.avg_pool2d(masks.float(), window, stride=1, padding=window // 2).clamp(min=floor) * ~masks


def weights_in_place(masks, window, floor):
    found = context_weights(masks, window, floor)
    masks.logical_not_()
    return found


def context_loss(drawn, images, weights):
    return (weights * (drawn - images).abs()).sum((1, 2, 3))


def loss_picture_by_picture(drawn, images, weights):
    each = zip(drawn, images, weights, strict=True)
    return torch.stack([((one - other).abs() * weight).sum() for one, other, weight in each])


def project(z):
    length, radius = z.norm(dim=1, keepdim=True), z.shape[1] ** 0.5
    return z * length.clamp(radius - 3 * 0.5**0.5, radius + 3 * 0.5**0.5) / length


def same_length(z):
    return z / z.norm(dim=1, keepdim=True) * z.shape[1] ** 0.5


def search_step(G, images, weights, z, rate):
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(context_loss(G(z), images, weights).sum(), z)
    return (z - rate * slope).detach().clamp(-1, 1)


def step_with_backward(G, images, weights, z, rate):
    z = z.clone().requires_grad_()
    context_loss(G(z), images, weights).sum().backward()
    return (z - rate * z.grad).detach().clamp(-1, 1)


def step_uphill(G, images, weights, z, rate):
    return search_step(G, images, weights, z, -rate)


def step_of_the_mean(G, images, weights, z, rate):
    return search_step(G, images, weights, z, rate / len(z))


def step_out_of_the_box(G, images, weights, z, rate):
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(context_loss(G(z), images, weights).sum(), z)
    return (z - rate * slope).detach()


def step_that_remembers(G, images, weights, z, rate):
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(context_loss(G(z), images, weights).sum(), z)
    return (z - rate * slope).clamp(-1, 1)


def step_in_place(G, images, weights, z, rate):
    return z.copy_(search_step(G, images, weights, z.clone(), rate))


def step_by_sign(G, images, weights, z, rate):
    moved = step_out_of_the_box(G, images, weights, z, rate)
    return (z - rate * (z - moved).sign()).clamp(-1, 1)


RIGHT = {
    "context_weights": context_weights,
    "context_loss": context_loss,
    "project": project,
    "search_step": search_step,
}
TRIALS = {
    "context_weights": room._weight_trial,
    "context_loss": room._loss_trial,
    "project": room._projection_trial,
    "search_step": room._step_trial,
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
    assert verdict.measured >= verdict.baseline + 0.1
    assert [one.name for one in exercises.passed()] == [name]


def test_the_exercises_follow_those_on_filling_holes():
    names = exercises.available()
    first = names.index("context_weights")
    assert names[first : first + len(RIGHT)] == list(RIGHT)
    assert first > names.index("balanced_alpha")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("context_weights", latent_losses.context_weights),
        ("context_weights", weights_by_convolution),
        ("context_loss", latent_losses.context_loss),
        ("context_loss", loss_picture_by_picture),
        ("project", priors.onto_shell),
    ],
)
def test_other_ways_to_write_it_pass_too(name, function):
    verdict = check(name, function)
    assert verdict.passed, verdict


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline + 0.05


MISTAKES = [
    ("context_weights", inverted, "the rim of the hole counts least"),
    ("context_weights", lambda m, w, f: inverted(m, w, 0), "the rim of the hole counts least"),
    ("context_weights", flat, "yours are 1 for all known pixels"),
    ("context_weights", share_alone, "nothing is known in the hole"),
    ("context_weights", lambda m, w, f: share_alone(m, w, f).clamp(min=f), "nothing is known in the hole"),
    ("context_weights", lambda m, w, f: context_weights(m, w, 0), "keep a weight of floor=0.02"),
    ("context_weights", lambda m, w, f: (share_alone(m, w, f) + f) * ~m, "not something to add"),
    ("context_weights", cut_off, "only neighbours that exist count"),
    ("context_weights", lambda m, w, f: context_weights(m, 7, f), "for window=3, floor=0.1 the weight is"),
    ("context_weights", lambda m, w, f: (w**2 * share_alone(m, w, f)).clamp(min=f) * ~m, "a weight is a share"),
    ("context_weights", lambda m, w, f: context_weights(m, w, f)[:, 0], "yours (4, 12, 12)"),
    ("context_weights", weights_in_place, "your function changes masks itself"),
    ("context_loss", lambda d, i, w: context_loss(d, i, w).mean(), "one for the whole batch"),
    ("context_loss", lambda d, i, w: (w * (d - i).abs()).mean((1, 2, 3)), "you take the mean"),
    ("context_loss", lambda d, i, w: (d - i).abs().sum((1, 2, 3)), "you leave the weights out"),
    ("context_loss", lambda d, i, w: (w * (d - i) ** 2).sum((1, 2, 3)), "you take squares"),
    ("context_loss", lambda d, i, w: ((w * (d - i)) ** 2).sum((1, 2, 3)), "you weigh and then square"),
    ("context_loss", lambda d, i, w: (w * (d - i)).sum((1, 2, 3)), "take absolute values"),
    ("context_loss", lambda d, i, w: context_loss(d, i, w) / 3, "add up the channels"),
    ("context_loss", lambda d, i, w: context_loss(d, i, w).detach(), "does not hang on the drawn picture"),
    ("context_loss", lambda d, i, w: context_loss(d.sub_(i), 0 * i, w), "changes drawn itself"),
    ("project", lambda z: z, "yours stay where they are"),
    ("project", lambda z: z.clamp(-1, 1), "that is the box of U[-1, 1]"),
    ("project", torch.tanh, "you squeeze each number"),
    ("project", same_length, "vectors whose length is allowed stay as they are"),
    ("project", lambda z: F.normalize(z, dim=1), "vectors whose length is allowed stay as they are"),
    ("project", lambda z: torch.where(z.norm(dim=1, keepdim=True) > z.shape[1] ** 0.5, project(z), z), "too short"),
    ("project", lambda z: z * (z.norm(dim=1, keepdim=True).clamp(max=z.shape[1] ** 0.5) / z.norm(dim=1, keepdim=True)),
     "do not lie around 0"),
    ("project", lambda z: z.mul_(2) / 2, "changes z itself"),
    ("search_step", step_uphill, "you go uphill"),
    ("search_step", step_of_the_mean, "the mean over five pictures"),
    ("search_step", step_out_of_the_box, "may have left the box"),
    ("search_step", step_by_sign, "the gradient's direction only"),
    ("search_step", lambda G, i, w, z, rate: z.clone(), "yours does not move"),
    ("search_step", step_that_remembers, "remembers how it was made"),
    ("search_step", step_with_backward, "leaves gradients in the weights of G"),
    ("search_step", step_in_place, "moves the z that it was given"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "told"), MISTAKES)
def test_mistakes_are_told(name, function, told):
    verdict = check(name, function)
    assert not verdict.passed
    assert told in repr(verdict), verdict
    assert f"Hint: {checking.find(name).hint}" in repr(verdict)


@pytest.mark.parametrize(
    ("name", "function", "reached"),
    [
        ("context_weights", inverted, 0.05),
        ("context_weights", flat, 0.01),
        ("context_weights", share_alone, 0.05),
        ("context_loss", lambda d, i, w: (w * (d - i) ** 2).sum((1, 2, 3)), 0.65),
        ("context_loss", lambda d, i, w: (w * (d - i).abs()).mean((1, 2, 3)), 0.1),
        ("context_loss", lambda d, i, w: (d - i).abs().sum((1, 2, 3)), 0.6),
        ("project", lambda z: z, 0.3),
        ("project", lambda z: z.clamp(-1, 1), 0.5),
        ("project", lambda z: F.normalize(z, dim=1), 0.1),
        ("project", torch.tanh, 0.1),
        ("search_step", step_uphill, 0),
        ("search_step", step_of_the_mean, 0.1),
    ],
)
def test_mistakes_stay_below_the_baseline_by_the_trial_alone(name, function, reached):
    trial = TRIALS[name](function)
    assert trial.measured < reached < trial.baseline


def test_waves_are_pictures_and_holes_hide_them():
    asked = waves.broken(20, 6, seed=3)
    assert asked.whole.abs().max() <= 1
    assert asked.masks.flatten(1).any(1).all()
    assert not asked.images[asked.masks.expand_as(asked.images)].any()
    assert torch.equal(
        asked.images[~asked.masks.expand_as(asked.images)], asked.whole[~asked.masks.expand_as(asked.whole)]
    )
    assert asked.saved(asked.whole) == pytest.approx(1)


def test_a_share_of_the_known_pixels_is_wrong():
    asked = waves.broken(50, 4, seed=3, wrong=0.2)
    off = (asked.images != asked.whole).all(1, keepdim=True)[~asked.masks]
    assert off.float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_a_coarser_generator_cannot_draw_finer_waves():
    asked = waves.broken(8, 6, seed=3)
    G = waves.Waves(4)
    z = waves.searched(lambda z: (G(z) - asked.whole).abs().sum(), torch.zeros(8, G.latent_dim))
    assert asked.saved(G(z).detach()) < 0.9


def test_a_check_leaves_the_number_of_threads_alone():
    used, threads = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check("context_loss", lambda *given: (used.append(torch.get_num_threads()), context_loss(*given))[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used[-1] == 1


def not_written(*inputs): ...


def not_implemented(*inputs):
    raise NotImplementedError


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("stub", "told"),
    [(not_written, "it returns None"), (not_implemented, "NotImplementedError"), (lambda: 0, "TypeError")],
)
def test_unfinished_functions_get_a_hint_and_raise_nothing(name, stub, told):
    verdict = check(name, stub)
    assert "not done yet" in repr(verdict)
    assert told in repr(verdict)
    assert exercises.passed() == []


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("value", [3, "text", torch.zeros(()), torch.full((1, 1), math.nan), [torch.ones(3)], True])
def test_whatever_is_returned_nothing_is_raised(name, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not check(name, lambda *inputs: value).passed
