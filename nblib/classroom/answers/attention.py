"""Right and wrong answers to the exercises on self-attention."""

import math

import torch
from torch.nn import functional as F

from nblib import attention
from nblib.classroom.answers.base import Mistake


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
ALSO_RIGHT = {
    "attention_map": [attention_map_by_hand],
    "self_attention": [self_attention_fused],
    "spectral_norm": [spectral_norm_all_with_gradient],
    "attention_distance": [attention.distance],
}
MISTAKES = {
    "attention_map": [
        Mistake("softmax over the queries", lambda q, k: (q @ k.mT).softmax(1), "sum to 1 over the queries"),
        Mistake("softmax over the batch", lambda q, k: (q @ k.mT).softmax(0), "those of the first query sum to"),
        Mistake("no softmax", lambda q, k: q @ k.mT, "as softmax makes them"),
        Mistake("divided by sqrt(K)", lambda q, k: (q @ k.mT / 2).softmax(-1), "SAGAN does not divide by sqrt(K)"),
        Mistake(
            "queries and keys swapped", lambda q, k: attention_map(k, q), "the weights are (2, 3, 5); yours (2, 5, 3)"
        ),
        Mistake("detached", lambda q, k: attention_map(q.detach(), k.detach()), "do not hang on q and k"),
        Mistake("exp over its sum, as the formula stands", naive_exp, "exp overflows"),
        Mistake("a wrong sign", lambda q, k: attention_map(q, -k), "yours are 0.25, 0.75"),
    ],
    "self_attention": [
        Mistake(
            "softmax over the queries", weighed(lambda q, k: (q @ k.mT).softmax(1)), "softmax runs over the queries"
        ),
        Mistake(
            "divided by sqrt(K)",
            weighed(lambda q, k: (q @ k.mT / math.sqrt(k.shape[-1])).softmax(-1)),
            "you divide by sqrt(K)",
        ),
        Mistake("no softmax", weighed(lambda q, k: q @ k.mT), "softmax over the keys is missing"),
        Mistake("queries and keys swapped", weighed(lambda q, k: attention_map(k, q)), "is up to"),
        Mistake("reshaped without the transpose", no_transpose, "is transposed before it becomes"),
        Mistake("height and width swapped on the way back", columns_first, "rows come before columns"),
        Mistake("gamma at x", gamma_at_x, "with gamma = 0 the layer returns x as it is"),
        Mistake("gamma squared", gamma_squared, "twice the gamma adds twice as much"),
        Mistake("keys detached", detached_keys, "y does not hang on key"),
        Mistake("x returned as it is", no_attention, "softmax_j(q_i . k_j) v_j"),
    ],
    "spectral_norm": [
        Mistake(
            "the Frobenius norm",
            lambda weight, u, steps: weight.norm(),
            "yours says 3.74, the root of the sum of all squares",
        ),
        Mistake(
            "no gradient at all", lambda weight, u, steps: spectral_norm(weight, u, steps).detach(), "must hang on W"
        ),
        Mistake(
            "a Python number", lambda weight, u, steps: spectral_norm(weight, u, steps).item(), "a tensor of one number"
        ),
        Mistake(
            "all singular values computed instead of the steps asked for",
            lambda weight, u, steps: torch.linalg.svdvals(weight.flatten(1))[0],
            "a single step",
        ),
        Mistake(
            "one step more than asked for",
            lambda weight, u, steps: spectral_norm(weight, u, steps + 1),
            "gives 1.84; yours says 1.99",
        ),
        Mistake(
            "the largest eigenvalue: W applied twice, never its transpose",
            eigenvalue,
            "though its eigenvalues are 0: sigma is 2.00; yours says 0.00",
        ),
        Mistake("never normalised", not_normalised, "stretches no vector more than 3 times"),
        Mistake("kernels summed instead of unrolled", kernels_summed, "taken as 6x36"),
    ],
    "attention_distance": [
        Mistake("rows and columns of the keys swapped", rows_for_columns, "(its centre is 1/4) are 0.125"),
        Mistake("from corner to corner of the cells", distance_from(0), "(its centre is 1/4)"),
        Mistake(
            "the distance to the mean place", to_the_mean_place, "half left and half right are 0.25 sides; yours are 0"
        ),
        Mistake(
            "a mean over the queries",
            lambda maps: distance_from(0.5)(maps).mean((1, 2)),
            "have distances (1, 2, 2), one a query",
        ),
        Mistake(
            "rows plus columns, the way of a rook",
            distance_from(0.5, lambda rows, columns: rows.abs() + columns.abs()),
            "0.707 sides",
        ),
        Mistake("counted in cells", lambda maps: 8 * distance_from(0.5)(maps), "sides; yours are 0, 4, 4"),
        Mistake("the distance to the largest weight", to_the_largest, "nblib.attention.distance differs by up to"),
    ],
}
