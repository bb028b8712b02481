"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import pytest
import torch
from torch.nn import functional as F

from nblib.classroom.answers.latent import RIGHT, flat, inverted, share_alone, step_of_the_mean, step_uphill
from nblib.exercises import latent as room
from nblib.exercises import waves

TRIALS = {
    "context_weights": room._weight_trial,
    "context_loss": room._loss_trial,
    "project": room._projection_trial,
    "search_step": room._step_trial,
}


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline + 0.05


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
