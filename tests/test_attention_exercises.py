"""Right solutions pass; each usual mistake fails, most also by the trial alone, at the same budget."""

import math

import pytest
import torch
from torch.nn import functional as F

from nblib import attention, exercises
from nblib.exercises import attention as room
from nblib.exercises import check, checking, puzzles
from nblib.layers import SelfAttention2d


def attention_map(q, k):
    return (q @ k.transpose(1, 2)).softmax(-1)


def attention_map_by_hand(q, k):
    scores = torch.einsum("bnk,bmk->bnm", q, k)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def naive_exp(q, k):
    weights = (q @ k.mT).exp()
    return weights / weights.sum(-1, keepdim=True)


def columns(x):
    return x.flatten(2).transpose(1, 2)  # (B, HW, C)


def as_map(o, x):
    return o.transpose(1, 2).unflatten(2, x.shape[2:])


def self_attention(x, query, key, value, out, gamma):
    o = attention_map(columns(query(x)), columns(key(x))) @ columns(value(x))
    return x + gamma * out(as_map(o, x))


def self_attention_fused(x, query, key, value, out, gamma):
    o = F.scaled_dot_product_attention(columns(query(x)), columns(key(x)), columns(value(x)), scale=1.0)
    return x + gamma * out(as_map(o, x))


def weighed(weigh):
    def layer(x, query, key, value, out, gamma):
        return x + gamma * out(as_map(weigh(columns(query(x)), columns(key(x))) @ columns(value(x)), x))

    return layer


def no_transpose(x, query, key, value, out, gamma):
    """The rows of o are cut up and laid out as channels."""
    o = attention_map(columns(query(x)), columns(key(x))) @ columns(value(x))  # (B, HW, C')
    return x + gamma * out(o.reshape(len(x), -1, *x.shape[2:]))


def columns_first(x, query, key, value, out, gamma):
    """Height and width change places on the way back."""
    o = attention_map(columns(query(x)), columns(key(x))) @ columns(value(x))
    return x + gamma * out(o.transpose(1, 2).unflatten(2, x.shape[2:][::-1]).transpose(2, 3))


def gamma_at_x(x, query, key, value, out, gamma):
    return gamma * x + self_attention(x, query, key, value, out, 1) - x


def gamma_squared(x, query, key, value, out, gamma):
    return self_attention(x, query, key, value, out, gamma**2)


def detached_keys(x, query, key, value, out, gamma):
    return self_attention(x, query, lambda x: key(x).detach(), value, out, gamma)


def no_attention(x, query, key, value, out, gamma):
    return x


def spectral_norm(weight, u, steps):
    matrix = weight.flatten(1)
    with torch.no_grad():
        for _ in range(steps):
            v = F.normalize(matrix.T @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
    return u @ matrix @ v


def spectral_norm_all_with_gradient(weight, u, steps):
    matrix = weight.flatten(1)
    for _ in range(steps):
        v = F.normalize(matrix.T @ u, dim=0)
        u = F.normalize(matrix @ v, dim=0)
    return (matrix @ v).norm()


def eigenvalue(weight, u, steps):
    for _ in range(steps):
        u = F.normalize(weight @ u, dim=0)
    return u @ weight @ u


def not_normalised(weight, u, steps):
    matrix = weight.flatten(1)
    for _ in range(steps):
        u = matrix @ (matrix.T @ u)
    return u.norm()


def kernels_summed(weight, u, steps):
    return spectral_norm(weight if weight.ndim == 2 else weight.sum((2, 3)), u, steps)


def distance_from(shift, pair=torch.hypot):
    """The distance between the points `shift` of the way through each cell."""

    def distance(maps):
        down, across, key_down, key_across = ((torch.arange(n) + shift) / n for n in maps.shape[1:])
        rows = (down[:, None] - key_down)[:, None, :, None]
        columns = (across[:, None] - key_across)[None, :, None, :]
        return torch.einsum("bhwkl,hwkl->bhw", maps, pair(rows, columns))

    return distance


def to_the_mean_place(maps):
    down, across, key_down, key_across = ((torch.arange(n) + 0.5) / n for n in maps.shape[1:])
    rows = (maps.sum(-1) * key_down).sum(-1) - down[:, None]
    columns = (maps.sum(-2) * key_across).sum(-1) - across
    return torch.hypot(rows, columns)


def to_the_largest(maps):
    peak = F.one_hot(maps.flatten(3).argmax(-1), maps[0, 0, 0].numel()).view(maps.shape).float()
    return distance_from(0.5)(peak)


def rows_for_columns(maps):
    return distance_from(0.5)(maps.transpose(3, 4))  # (B, H, W, W', H')


RIGHT = {
    "attention_map": attention_map,
    "self_attention": self_attention,
    "spectral_norm": spectral_norm,
    "attention_distance": distance_from(0.5),
}
TRIALS = {
    "attention_map": room._map_trial,
    "self_attention": room._layer_trial,
    "spectral_norm": room._norm_trial,
    "attention_distance": room._distance_trial,
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
    assert verdict.measured >= verdict.baseline
    assert [one.name for one in exercises.passed()] == [name]


def test_the_exercises_follow_those_on_gans():
    names = exercises.available()
    first = names.index("attention_map")
    assert names[first : first + len(RIGHT)] == list(RIGHT)
    assert first > names.index("mode_coverage")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("attention_map", attention_map_by_hand),
        ("self_attention", self_attention_fused),
        ("spectral_norm", spectral_norm_all_with_gradient),
        ("attention_distance", attention.distance),
    ],
)
def test_other_ways_to_write_it_pass_too(name, function):
    verdict = check(name, function)
    assert verdict.passed, verdict


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass_from_other_starts(name, seed):
    trial = TRIALS[name](RIGHT[name], seed=seed)
    assert trial.measured > trial.baseline


MISTAKES = [
    ("attention_map", lambda q, k: (q @ k.mT).softmax(1), "sum to 1 over the queries"),
    ("attention_map", lambda q, k: (q @ k.mT).softmax(0), "those of the first query sum to"),
    ("attention_map", lambda q, k: q @ k.mT, "as softmax makes them"),
    ("attention_map", lambda q, k: (q @ k.mT / 2).softmax(-1), "SAGAN does not divide by sqrt(K)"),
    ("attention_map", lambda q, k: attention_map(k, q), "the weights are (2, 3, 5); yours (2, 5, 3)"),
    ("attention_map", lambda q, k: attention_map(q.detach(), k.detach()), "do not hang on q and k"),
    ("attention_map", naive_exp, "exp overflows"),
    ("attention_map", lambda q, k: attention_map(q, -k), "yours are 0.25, 0.75"),
    ("self_attention", weighed(lambda q, k: (q @ k.mT).softmax(1)), "softmax runs over the queries"),
    ("self_attention", weighed(lambda q, k: (q @ k.mT / math.sqrt(k.shape[-1])).softmax(-1)), "you divide by sqrt(K)"),
    ("self_attention", weighed(lambda q, k: q @ k.mT), "softmax over the keys is missing"),
    ("self_attention", weighed(lambda q, k: attention_map(k, q)), "is up to"),
    ("self_attention", no_transpose, "is transposed before it becomes"),
    ("self_attention", columns_first, "rows come before columns"),
    ("self_attention", gamma_at_x, "with gamma = 0 the layer returns x as it is"),
    ("self_attention", gamma_squared, "twice the gamma adds twice as much"),
    ("self_attention", detached_keys, "y does not hang on key"),
    ("self_attention", no_attention, "softmax_j(q_i . k_j) v_j"),
    ("spectral_norm", lambda weight, u, steps: weight.norm(), "yours says 3.74, the root of the sum of all squares"),
    ("spectral_norm", lambda weight, u, steps: spectral_norm(weight, u, steps).detach(), "must hang on W"),
    ("spectral_norm", lambda weight, u, steps: spectral_norm(weight, u, steps).item(), "a tensor of one number"),
    ("spectral_norm", lambda weight, u, steps: torch.linalg.svdvals(weight.flatten(1))[0], "a single step"),
    ("spectral_norm", lambda weight, u, steps: spectral_norm(weight, u, steps + 1), "gives 1.84; yours says 1.99"),
    ("spectral_norm", eigenvalue, "though its eigenvalues are 0: sigma is 2.00; yours says 0.00"),
    ("spectral_norm", not_normalised, "stretches no vector more than 3 times"),
    ("spectral_norm", kernels_summed, "taken as 6x36"),
    ("attention_distance", rows_for_columns, "(its centre is 1/4) are 0.125"),
    ("attention_distance", distance_from(0), "(its centre is 1/4)"),
    ("attention_distance", to_the_mean_place, "half left and half right are 0.25 sides; yours are 0"),
    ("attention_distance", lambda maps: distance_from(0.5)(maps).mean((1, 2)), "have distances (1, 2, 2), one a query"),
    ("attention_distance", distance_from(0.5, lambda rows, columns: rows.abs() + columns.abs()), "0.707 sides"),
    ("attention_distance", lambda maps: 8 * distance_from(0.5)(maps), "sides; yours are 0, 4, 4"),
    ("attention_distance", to_the_largest, "nblib.attention.distance differs by up to"),
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


def test_a_check_leaves_the_number_of_threads_alone():
    used, threads = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check("attention_distance", lambda maps: (used.append(torch.get_num_threads()), attention.distance(maps))[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used[-1] == 1


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
