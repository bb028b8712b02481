"""Right solutions pass; each usual mistake fails, most also by the trial alone, at the same budget."""

import pytest
import torch

from nblib.classroom.answers.attention import (
    RIGHT,
    attention_map,
    columns,
    columns_first,
    distance_from,
    no_attention,
    no_transpose,
    to_the_mean_place,
)
from nblib.exercises import attention as room
from nblib.exercises import check, puzzles
from nblib.layers import SelfAttention2d

TRIALS = {
    "attention_map": room._map_trial,
    "self_attention": room._layer_trial,
    "spectral_norm": room._norm_trial,
    "attention_distance": room._distance_trial,
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline


@pytest.mark.parametrize(
    ("name", "function", "reached"),
    [
        ("attention_map", lambda q, k: (q @ k.mT).softmax(1), 0.5),
        ("attention_map", lambda q, k: q @ k.mT, 0.82),
        ("self_attention", no_attention, 0.05),
        ("self_attention", no_transpose, 0.45),
        ("self_attention", columns_first, 0.45),
        ("spectral_norm", lambda weight, u, steps: weight.new_ones(()), 0.05),
        ("spectral_norm", lambda weight, u, steps: weight.abs().max(), 0.05),
        ("attention_distance", distance_from(0), 0.8),
        ("attention_distance", to_the_mean_place, 0.7),
        ("attention_distance", lambda maps: -distance_from(0.5)(maps), 0.05),
    ],
)
def test_mistakes_stay_below_the_baseline_by_the_trial_alone(name, function, reached):
    trial = TRIALS[name](function)
    assert trial.measured < reached < trial.baseline


def test_height_and_width_mixed_up_is_an_error_that_is_shown():
    def mixed(x, query, key, value, out, gamma):
        o = attention_map(columns(query(x)), columns(key(x))) @ columns(value(x))
        return x + gamma * out(o.transpose(1, 2).unflatten(2, x.shape[2:][::-1]))

    verdict = check("self_attention", mixed)
    assert "RuntimeError at `return x + gamma * out(" in repr(verdict)
    assert "The size of tensor a (6) must match the size of tensor b (4)" in repr(verdict)


def test_the_mistakes_that_are_named_are_far_from_right_on_the_layer_compared():
    layer, x = room._layer(), 2 * room._normal(2, 32, 4, 6)
    for weigh in (lambda s: s.softmax(1), lambda s: (s / 2).softmax(2), lambda s: s):
        assert (room._explicit(layer, x, weigh) - layer(x)).abs().max() > 0.3
    torch.testing.assert_close(room._explicit(layer, x, lambda s: s.softmax(2)), layer(x), rtol=1e-4, atol=1e-4)


def test_the_layer_of_the_library_is_a_right_answer():
    def borrowed(x, query, key, value, out, gamma):
        layer = SelfAttention2d(x.shape[1], pool=False)
        layer.query, layer.key, layer.value, layer.out = query, key, value, out
        layer.gamma = torch.nn.Parameter(gamma.detach())
        return layer(x)

    told = repr(check("self_attention", borrowed))
    assert "y does not hang on gamma" in told  # all else agrees


def test_grey_dots_have_their_colour_at_the_other_end():
    puzzle = puzzles.twins(50, torch.Generator().manual_seed(3))
    kinds, coloured, colours = puzzle.maps[:, : puzzles.KINDS], puzzle.maps[:, -2], puzzle.maps[:, -1]
    assert (puzzle.columns >= puzzles.WIDTH - puzzles.SIDE).all()
    assert not coloured[:, :, puzzles.SIDE :].any()  # farther than the 5 cells that convolutions see
    assert (kinds.sum((1, 2, 3)) == 2 * puzzles.DOTS).all()
    for b in range(50):
        kind = kinds[b, :, puzzle.rows[b, 0], puzzle.columns[b, 0]].argmax()
        alike = (kinds[b, kind] * coloured[b]).bool()
        torch.testing.assert_close(colours[b][alike].mean(), puzzle.colours[b, 0])


def test_strips_ask_for_a_shape_that_they_show_once():
    strip = puzzles.strips(50, torch.Generator().manual_seed(3))
    found = strip.shapes == strip.asked
    assert (found.sum(1) == 1).all()
    assert (strip.colours[found] == strip.answer[:, 0]).all()
