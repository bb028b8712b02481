"""Exercises on self-attention: its map, the layer, the norm that tames the weights, and how far a layer looks.

The baselines of the trials lie well above what the usual mistakes reach (see the tests). Some mistakes can be trained
around, as division by sqrt(K) or, in the layer, a softmax over the queries; there the properties tell.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib import attention
from nblib.exercises.checking import Exercise, Trial, register, require, taught
from nblib.exercises.puzzles import TEST, Bounded, Free, Lookup, Painter, Puzzles, Strip, Twins, clouds, strips, twins
from nblib.layers import SelfAttention2d
from nblib.training import SupervisedTraining

# attention_map


def _map_properties(attention_map: Callable) -> None:
    q, k = _normal(2, 3, 4).requires_grad_(), _normal(2, 5, 4).requires_grad_()
    told = "for 3 queries (2, 3, 4) and 5 keys (2, 5, 4) the weights are (2, 3, 5)"
    maps = _shaped(attention_map(q, k), (2, 3, 5), told)
    for_queries, for_keys = maps.sum(2), maps.sum(1)  # (2, 3), (2, 5)
    shared_out = torch.allclose(for_queries, torch.ones(2, 3), atol=1e-4)
    require(
        shared_out or not torch.allclose(for_keys, torch.ones(2, 5), atol=1e-4),
        "your weights sum to 1 over the queries; each query shares out its attention among the keys, dim=-1",
    )
    require(
        shared_out and bool((maps >= 0).all()),
        "each query's weights are positive and sum to 1 over the keys, as softmax makes them; in yours those of the "
        f"first query sum to {for_queries[0, 0].item():.2f}",
    )
    _compare_maps(attention_map)
    require(torch.allclose(maps, (q @ k.mT).softmax(-1), atol=1e-4), "weights are softmax over j of q_i . k_j")
    require(maps.requires_grad, "your weights do not hang on q and k: without a gradient nothing can be learnt")


def _compare_maps(attention_map: Callable) -> None:
    """Require what one can compute by hand: for products of log 3 and 0, and for huge ones."""
    q, k = torch.tensor([[[1.0, 0, 0, 0]]]), torch.tensor([[[math.log(3), 0, 0, 0], [0, 0, 0, 0]]])
    weights = attention_map(q.clone(), k.clone())[0, 0]
    require(
        torch.allclose(weights, torch.tensor([0.75, 0.25]), atol=1e-3),
        f"for products q . k of log 3 and 0 the weights are 0.75 and 0.25; yours are {_listed(weights)}"
        + ("; SAGAN does not divide by sqrt(K)" if abs(weights[0].item() - 0.634) < 1e-3 else ""),
    )
    huge = attention_map(1000 * q, 1000 * k)
    require(huge.isfinite().all(), "for products of a million your weights are not finite: exp overflows, softmax not")


def _map_trial(attention_map: Callable, seed: int = 0) -> Trial:
    torch.manual_seed(seed)
    net = Lookup(attention_map)

    def loss(strip: Strip) -> Tensor:
        return F.cross_entropy(net(strip), strip.answer[:, 0])

    done = _taught(net, loss, Puzzles(strips, 256), steps=300, lr=0.03)
    test = strips(2000, torch.Generator().manual_seed(TEST))
    with torch.no_grad():
        right = (net(test).argmax(1) == test.answer[:, 0]).float().mean().item()
    what = f"share of questions about one of 8 cells answered right after {done} steps"
    return Trial(what, right, 0.95, "weighing all cells alike gives 0.47, products without softmax 0.76")


# self_attention


def _layer_properties(self_attention: Callable) -> None:
    layer, x = _layer(), 2 * _normal(2, 32, 4, 6)  # 4 x 6: height and width cannot be confused without notice
    found = {gamma: _applied(self_attention, layer, x, gamma) for gamma in (0.0, 1.0, 2.0)}
    off = (found[0.0] - x).abs().max().item()
    require(
        off < 1e-5,
        f"with gamma = 0 the layer returns x as it is; yours is up to {off:.2f} off: y = x + gamma * out(o), gamma "
        "multiplies what attention found",
    )
    require(
        torch.allclose(found[2.0] - x, 2 * (found[1.0] - x), atol=1e-3),
        "twice the gamma adds twice as much to x; in yours it does not",
    )
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    moved = _applied(self_attention, layer, _reordered(x, order), 1.0)
    require(
        torch.allclose(moved, _reordered(found[1.0], order), atol=1e-3),
        "when the positions of x change places, those of y change places alike; in yours channels and positions get "
        "mixed: o (B, HW, C') is transposed before it becomes (B, C', H, W), and rows come before columns",
    )
    _compare_layers(found[1.0], layer, x)
    _require_slopes(self_attention, layer, x)


def _compare_layers(y: Tensor, layer: SelfAttention2d, x: Tensor) -> None:
    """Require what the library computes; name the mistake if it is a known one."""
    shrink = layer.query.out_channels**-0.5
    known = {
        "your softmax runs over the queries; each query shares out its attention among the keys, dim=-1": (
            lambda products: products.softmax(1)
        ),
        "you divide by sqrt(K), as transformers do; SAGAN does not": lambda products: (shrink * products).softmax(2),
        "your weights are the products themselves; softmax over the keys is missing": lambda products: products,
    }
    for told, weigh in known.items():
        require(not torch.allclose(y, _explicit(layer, x, weigh), atol=1e-3), told)
    off = (y - layer(x)).abs().max().item()
    require(
        off < 1e-3,
        f"y = x + gamma * out(o) with o_i = sum over j of softmax_j(q_i . k_j) v_j; on random weights yours is up to "
        f"{off:.2f} off",
    )


def _explicit(layer: SelfAttention2d, x: Tensor, weigh: Callable[[Tensor], Tensor]) -> Tensor:
    q, k, v = (part(x).flatten(2) for part in (layer.query, layer.key, layer.value))  # each (B, C', HW)
    weights = weigh(q.mT @ k)  # (B, HW, HW)
    return x + layer.out((v @ weights.mT).view(len(x), -1, *x.shape[2:]))


def _require_slopes(self_attention: Callable, layer: SelfAttention2d, x: Tensor) -> None:
    parts = {name: getattr(layer, name).weight for name in ("query", "key", "value", "out")}
    gamma = torch.ones((), requires_grad=True)
    y = self_attention(x, layer.query, layer.key, layer.value, layer.out, gamma)
    require(y.requires_grad, "y hangs on no weight: without a gradient nothing can be learnt")
    slopes = torch.autograd.grad(y.square().mean(), [*parts.values(), gamma], allow_unused=True)
    idle = [name for name, slope in zip([*parts, "gamma"], slopes, strict=True) if slope is None]
    require(not idle, f"y does not hang on {', '.join(idle)}: without a gradient it cannot be learnt")


def _layer_trial(self_attention: Callable, seed: int = 0) -> Trial:
    torch.manual_seed(seed)
    net = Painter(self_attention)

    def loss(puzzle: Twins) -> Tensor:
        return F.mse_loss(net(puzzle), puzzle.colours)

    done = _taught(net, loss, Puzzles(twins, 32), steps=400, lr=0.03)
    test = twins(500, torch.Generator().manual_seed(TEST))
    with torch.no_grad():
        missed = loss(test) / test.colours.var()
    what = f"share explained of the colours, which only the far end of the map tells, after {done} steps"
    return Trial(what, 1 - missed.item(), 0.7, "without attention 0.00, with the same for all dots 0.32")


# spectral_norm


def _norm_properties(spectral_norm: Callable) -> None:
    diagonal = torch.diag(torch.tensor([1.0, 3.0, 2.0])).requires_grad_()
    sigma = spectral_norm(diagonal, torch.ones(3), 50)
    require(isinstance(sigma, Tensor) and sigma.numel() == 1, "return the estimate as a tensor of one number")
    require(
        abs(sigma.item() - 3) < 0.01,
        f"diag(1, 3, 2) stretches no vector more than 3 times; yours says {sigma.item():.2f}"
        + (", the root of the sum of all squares (Frobenius)" if abs(sigma.item() - 14**0.5) < 0.01 else ""),
    )
    require(sigma.requires_grad, "sigma = u . W v must hang on W: only u and v are found without gradient")
    (slope,) = torch.autograd.grad(sigma.sum(), diagonal)
    require(
        torch.allclose(slope, torch.diag(torch.tensor([0.0, 1.0, 0.0])), atol=0.01),
        "at diag(1, 3, 2) sigma rises by 1 with the entry 3 and by 0 with all others; in yours it does not",
    )
    _compare_norms(spectral_norm)


def _compare_norms(spectral_norm: Callable) -> None:
    """Require the norms of a few matrices, by hand or from their singular values."""
    tilted, nilpotent = torch.diag(torch.tensor([2.0, 1.0])), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    wide, kernels = _normal(6, 9), _normal(6, 4, 3, 3)
    largest = [torch.linalg.svdvals(weight.flatten(1))[0].item() for weight in (wide, kernels)]
    cases = (
        (nilpotent, 50, 2, "((0, 2), (0, 0)) stretches (0, 1) to 2, though its eigenvalues are 0: sigma is"),
        (wide, 300, largest[0], "the largest singular value of a random 6x9 matrix is"),
        (kernels, 300, largest[1], "the largest singular value of a 6x4x3x3 convolution, taken as 6x36, is"),
        (tilted, 1, 17 / 85**0.5, "for diag(2, 1) a single step from u = (1, 1) gives"),
    )
    for weight, steps, expected, told in cases:
        found = spectral_norm(weight.clone(), torch.ones(len(weight)), steps).item()
        require(abs(found / expected - 1) < 0.01, f"{told} {expected:.2f}; yours says {found:.2f}")


def _norm_trial(spectral_norm: Callable, seed: int = 0) -> Trial:
    """Let D tear real and fake apart as far as it can: nothing but the norm of its weights holds it back."""
    torch.manual_seed(seed)
    net = Bounded(spectral_norm)

    def loss(points: Tensor) -> Tensor:
        real, fake = net(points.flatten(0, 1)).view(2, -1).mean(1)
        return fake - real

    done = _taught(net, loss, Puzzles(clouds, 64), steps=200, lr=0.01)
    slope = net.steepest(6 * torch.rand(1000, 2, generator=torch.Generator().manual_seed(TEST)) - 3)
    what = f"how near to 1, the bound, D's steepest slope of {slope:.3g} comes in {done} steps"
    told = "a slope s counts as s, or as 1 / s above 1; undivided weights give 0.00"
    return Trial(what, min(slope, 1 / max(slope, 1e-9)), 0.9, told)


# attention_distance


def _distance_properties(distance: Callable) -> None:
    corner, left, halves = torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 1, 4, 1, 2), torch.full((1, 1, 1, 1, 2), 0.5)
    corner[..., 0, 0] = left[..., 0] = 1
    cases = (
        (corner, [0, 0.5, 0.5, 0.5**0.5], "of 2x2 cells that all look at the top left one"),
        (left, [1 / 8, 1 / 8, 3 / 8, 5 / 8], "of 4 cells in a row to the left one of 2 keys (its centre is 1/4)"),
        (halves, [0.25], "of one cell that looks half left and half right"),
    )
    for maps, expected, told in cases:
        shape = tuple(maps.shape)
        found = _shaped(distance(maps.clone()), shape[:3], f"maps {shape} have distances {shape[:3]}, one a query")
        expected = torch.tensor(expected)
        require(
            torch.allclose(found.flatten(), expected, atol=1e-4),
            f"the distances {told} are {_listed(expected)} sides; yours are {_listed(found.flatten())}",
        )
    maps = _normal(2, 4, 6, 6).softmax(-1).unflatten(-1, (2, 3))
    off = (distance(maps.clone()) - attention.distance(maps)).abs().max().item()
    require(off < 1e-4, f"on random maps (2, 4, 6, 2, 3) nblib.attention.distance differs by up to {off:.3f}")


def _distance_trial(distance: Callable, seed: int = 0) -> Trial:
    """Take the distance for a loss: maps that look nowhere far look at the key of their own cell."""
    torch.manual_seed(seed)
    net = Free()
    done = _taught(net, lambda _: distance(net()).mean(), Puzzles(lambda n, generator: None, 1), steps=150, lr=0.1)
    with torch.no_grad():
        maps = net()[0]
    own = torch.stack([maps[row, column, row // 2, column // 2] for row in range(6) for column in range(8)])
    what = f"attention that each of 6x8 cells pays to its own of 3x4 keys, after {done} steps down your distance"
    return Trial(what, own.mean().item(), 0.9, "at the start 0.08, with distances from corner to corner 0.71")


# shared


def _taught(net: nn.Module, loss: Callable[[Any], Tensor], batches: Puzzles, steps: int, lr: float) -> int:
    """Train a network down a loss; return the steps done."""
    return taught(SupervisedTraining(net, lr=lr, betas=(0.9, 0.99)), loss, batches, steps)


def _applied(self_attention: Callable, layer: SelfAttention2d, x: Tensor, gamma: float) -> Tensor:
    y = self_attention(x.clone(), layer.query, layer.key, layer.value, layer.out, torch.tensor(gamma))
    return _shaped(y, x.shape, f"y has the shape of x, here {tuple(x.shape)}")


def _layer() -> SelfAttention2d:
    """Return a layer with gamma = 1; at its start 0 nothing could be compared."""
    torch.manual_seed(0)
    layer = SelfAttention2d(32, pool=False)
    with torch.no_grad():
        layer.gamma.fill_(1)
        layer.key.reset_parameters()  # else queries and keys are alike, and who swaps them is not found out
    return layer


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(2)[..., order].view_as(x)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _shaped(value: Any, shape: tuple[int, ...], told: str) -> Tensor:
    require(isinstance(value, Tensor), f"return a tensor, not {type(value).__name__}")
    require(value.shape == shape, f"{told}; yours {tuple(value.shape)}")
    return value.float()


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())


register(
    Exercise(
        "attention_map",
        "all products at once are one matrix product, of shape (B, N, M); then ask along which axis a query shares "
        "out its attention.",
        _map_properties,
        _map_trial,
    )
)
register(
    Exercise(
        "self_attention",
        "a map (B, C, H, W) becomes a list of positions (B, HW, C) by flatten and transpose; compare, mix, and go "
        "back by the same two steps in the reverse order.",
        _layer_properties,
        _layer_trial,
    )
)
register(
    Exercise(
        "spectral_norm",
        "unroll the weight to a matrix; a step takes u through its transpose and back, each time made as long as 1; "
        "at the end ask how far W stretches v, with the gradient on.",
        _norm_properties,
        _norm_trial,
    )
)
register(
    Exercise(
        "attention_distance",
        "where between 0 and 1 lies the centre of cell i of n? Let the differences of rows and of columns broadcast "
        "to (H, W, H', W').",
        _distance_properties,
        _distance_trial,
    )
)
