"""Right solutions pass; each usual mistake fails, and where it can also by the trial alone, at the same budget."""

import math

import pytest
import torch
from scipy.stats import norm

from nblib.classroom.answers.inpainting import (
    RIGHT,
    diluted_l1,
    freed,
    gaussian_holes,
    inverted,
    known_l1,
    one_by_one,
    one_for_all,
    paste_in_place,
    ratio_of_losses,
    squared,
    upside_down,
    whole_l1,
)
from nblib.exercises import inpainting as room
from nblib.exercises import wallpaper

TRIALS = {
    "hole_l1": room._loss_trial,
    "paste": room._paste_trial,
    "gaussian_holes": room._hole_trial,
    "balanced_alpha": room._alpha_trial,
}


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
