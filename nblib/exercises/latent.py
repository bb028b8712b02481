"""Exercises on latent search: the weights of the context loss, the loss, the way back to the prior, and a step.

The baselines of the trials lie well above what the usual mistakes reach (see the tests). Some mistakes cost little in a
search, as weights without a floor or a length that is always the same; there the properties tell.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nblib import latent_losses, priors
from nblib import masks as holes
from nblib.exercises.checking import Exercise, Trial, Unmet, register, require
from nblib.exercises.puzzles import TEST
from nblib.exercises.waves import Broken, Waves, broken, falling, one_thread, searched

PICTURES, FINEST, FINER = 48, 4, 6  # pictures of a trial; waves that are searched, and waves that are there

# context_weights


def _weight_properties(weights: Callable) -> None:
    for masks in (_holes(), holes.center(2, 16)):
        for window, floor in ((7, 0.02), (3, 0.1)):
            given = masks.clone()
            found = _tensor(weights(given, window, floor), masks.shape, "the weights")
            require(torch.equal(given, masks), "your function changes masks itself; whoever called may still need it")
            _compare_weights(found, masks, window, floor)


def _compare_weights(found: Tensor, masks: Tensor, window: int, floor: float) -> None:
    missing, right = masks.float(), latent_losses.context_weights(masks, window, floor)
    share = F.avg_pool2d(missing, window, stride=1, padding=window // 2, count_include_pad=False)
    cut_off = F.avg_pool2d(missing, window, stride=1, padding=window // 2)
    wrong = {
        "masks are True in the hole; yours count what is known around a pixel instead of what is missing, so that the "
        "rim of the hole counts least": [(1 - share) * ~masks, ((1 - share) * ~masks).clamp(min=floor) * ~masks],
        "nothing is known in the hole: its weight is 0": [share.clamp(min=floor), share],
        f"known pixels far from the hole keep a weight of floor={floor}": [share * ~masks],
        "the floor is a least weight, not something to add": [(share + floor) * ~masks],
        "at the picture's border you divide by the whole window; only neighbours that exist count": [
            cut_off.clamp(min=floor) * ~masks
        ],
        "yours are 1 for all known pixels": [(~masks).float()],
        "divide by the number of neighbours: a weight is a share": [(window**2 * share).clamp(min=floor) * ~masks],
    }
    _compare(found, right, wrong, f"for window={window}, floor={floor} the weight")


def _weight_trial(weights: Callable, seed: int = 0) -> Trial:
    """Search pictures that have finer waves than the generator: it can be right near the hole, or far from it."""
    asked = broken(PICTURES, FINER, seed)
    errors = [_fitted(asked, weigh) for weigh in (lambda masks: weights(masks, 7, 0.02), lambda masks: ~masks)]
    what = "share of the error in the hole, with all known pixels alike, that your weights save"
    return Trial(what, 1 - errors[0] / errors[1], 0.15, "inverted weights lose 0.03")


def _fitted(asked: Broken, weigh: Callable) -> float:
    """Return the error in the holes after a search with some weights."""
    G, W = Waves(FINEST), weigh(asked.masks.clone()).float()
    z = searched(lambda z: (W * (G(z) - asked.images).abs()).sum(), torch.zeros(PICTURES, G.latent_dim))
    return asked.error(G(z).detach())


# context_loss


def _loss_properties(loss: Callable) -> None:
    drawn, images = torch.randn(2, 4, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    weights = latent_losses.context_weights(_holes()[:4, :, :6, :8], 3, 0.1)
    given = [value.clone() for value in (drawn, images, weights)]
    found = loss(*given)
    told = "the loss is one number for each picture, (4,); yours is one for the whole batch, and the balance with a "
    alone = isinstance(found, Tensor) and found.numel() == 1
    require(not alone, told + "prior loss would depend on how many are searched at once")
    found = _tensor(found, (4,), "the loss")
    apart = weights * (drawn - images).abs()
    wrong = {
        "you take the mean; a sum over each picture gives lambda its meaning": [apart.mean((1, 2, 3))],
        "you leave the weights out": [(drawn - images).abs().sum((1, 2, 3))],
        "you take squares; L1 takes absolute values": [(weights * (drawn - images) ** 2).sum((1, 2, 3))],
        "you weigh and then square": [((weights * (drawn - images)) ** 2).sum((1, 2, 3))],
        "differences below 0 cancel those above; take absolute values": [(weights * (drawn - images)).sum((1, 2, 3))],
        "add up the channels, too": [apart.mean(1).sum((1, 2))],
    }
    _compare(found, apart.sum((1, 2, 3)), wrong, "the weighted absolute difference")
    names = ("drawn", "images", "weights")
    for value, old, name in zip(given, (drawn, images, weights), names, strict=True):
        require(torch.equal(value, old), f"your function changes {name} itself; whoever called may still need it")
    given[0].requires_grad_()
    found = loss(*given)
    require(found.requires_grad, "the loss does not hang on the drawn picture: no z can be found without a gradient")


def _loss_trial(loss: Callable, seed: int = 0) -> Trial:
    """Search pictures of which one known pixel in five is wrong, with a pull to the middle of the latent space."""
    asked = broken(PICTURES, FINEST, seed, wrong=0.2)
    G, W = Waves(FINEST), latent_losses.context_weights(asked.masks)

    def total(z: Tensor) -> Tensor:
        return (loss(G(z), asked.images, W) + 0.03 * z.square().sum(1)).sum()

    z = searched(total, torch.zeros(PICTURES, G.latent_dim))
    what = "share of the mean colour's error in the hole that is gone, one known pixel in five being wrong"
    return Trial(what, asked.saved(G(z).detach()), 0.75, "squares reach 0.53, means -0.18")


# project


def _projection_properties(project: Callable) -> None:
    for dim in (32, 128):
        radius = math.sqrt(dim)
        z = F.normalize(torch.randn(7, dim, generator=torch.Generator().manual_seed(dim)), dim=1)
        z = z * torch.tensor([0.5, radius - 3, radius - 1, radius, radius + 1, radius + 3, 9 * radius])[:, None]
        given = z.clone()
        found = _tensor(project(given), z.shape, "what is projected")
        require(torch.equal(given, z), "your function changes z itself; whoever called may still need it")
        _compare_projections(found, z, radius)


def _compare_projections(found: Tensor, z: Tensor, radius: float) -> None:
    length = z.norm(dim=1, keepdim=True)
    inner, outer = radius - 3 * priors.SPREAD, radius + 3 * priors.SPREAD
    wrong = {
        "yours stay where they are": [z],
        "you clip each number; that is the box of U[-1, 1], and N(0, 1) has numbers beyond 1 all the time": [
            z.clamp(-1, 1),
            z.clamp(-3, 3),
        ],
        "you squeeze each number": [z.tanh()],
        "vectors whose length is allowed stay as they are; yours all have the same length": [
            z / length * radius,
            z / length,
        ],
        "too short vectors need a length, too": [z * length.clamp(max=outer) / length],
        "normal vectors do not lie around 0: too short ones are no better than too long ones": [
            z * length.clamp(max=radius) / length
        ],
        "the deviation is 1/sqrt(2), in any dimension; you allow lengths up to three whole units away": [
            z * length.clamp(radius - 3, radius + 3) / length
        ],
        "the length is that of each vector; yours is one of the whole batch": [
            z * z.norm().clamp(inner, outer) / z.norm()
        ],
    }
    _compare(found, z * length.clamp(inner, outer) / length, wrong, "a number of a projected vector")


DIM = 32  # latent numbers in the trial


def _projection_trial(project: Callable, seed: int = 0) -> Trial:
    """Search pictures of more contrast than the generator has, which on the shell draws from the direction alone.

    Long vectors come nearer to what is known. Off the shell, what is drawn in the hole fades and then turns round.
    """
    random = torch.Generator().manual_seed(seed)
    outside, inside = torch.randn(2, 60, DIM, generator=random) / math.sqrt(DIM)
    true, start = torch.randn(2, 64, DIM, generator=random)
    known = 1.6 * true @ outside.T

    def hidden(z: Tensor) -> Tensor:
        away = (z - priors.onto_shell(z)).norm(dim=1, keepdim=True)
        return F.normalize(z, dim=1) @ inside.T * torch.cos(1.5 * away)

    z = searched(lambda z: (z @ outside.T - known).abs().sum(), start, lr=0.2, project=project)
    errors = [(hidden(some) - hidden(true)).abs().mean().item() for some in (z, torch.zeros_like(z))]
    what = "share of the error in the hole that a search in 32 dimensions saves with your projection"
    return Trial(what, 1 - errors[0] / errors[1], 0.7, "clipped to [-1, 1] it is 0.33, without a projection 0.13")


# search_step


def _step_properties(step: Callable) -> None:
    G, z = Waves(FINEST), 0.5 * torch.randn(5, 3 * FINEST**2, generator=torch.Generator().manual_seed(0))
    asked, rate = broken(5, FINER, seed=1), 0.05
    W = latent_losses.context_weights(asked.masks)
    z.data[0, 0] = 1.7  # as if it had left the box
    given = [value.clone() for value in (asked.images, W, z)]
    found = _tensor(step(G, *given, rate), z.shape, "the new z")
    wrong = dict(_wrong_steps(G, asked, W, z, rate))
    right = _stepped(G, asked, W, z, rate).clamp(-1, 1)
    require(
        not found.requires_grad, "the new z remembers how it was made, and a search would keep all steps; detach it"
    )
    told = "your step leaves gradients in the weights of G, where somebody's optimiser may find them"
    require(all(weight.grad is None for weight in G.parameters()), told)
    require(torch.equal(given[2], z), "your step moves the z that it was given; return a new one")
    _compare(found, right, wrong, "a number of the new z")


def _stepped(G: Waves, asked: Broken, W: Tensor, z: Tensor, rate: float) -> Tensor:
    z = z.clone().requires_grad_()
    loss = latent_losses.context_loss(G(z), asked.images, W).sum()
    (slope,) = torch.autograd.grad(loss, z)
    return (z - rate * slope).detach()


def _wrong_steps(G: Waves, asked: Broken, W: Tensor, z: Tensor, rate: float) -> Mapping[str, list[Tensor]]:
    free, clipped = _stepped(G, asked, W, z, rate), _stepped(G, asked, W, z.clamp(-1, 1), rate)
    slope = (z - free) / rate
    return {
        "you go uphill: the gradient points to where the loss grows": [
            (z + rate * slope).clamp(-1, 1),
            z + rate * slope,
        ],
        "after the step z may have left the box [-1, 1]; put it back": [free, clipped],
        "the gradient is five times too small: you take the mean over five pictures, so each step would depend on how "
        "many are searched at once": [(z - rate * slope / len(z)).clamp(-1, 1), z - rate * slope / len(z)],
        "the size of the step is the rate times the gradient; you take the gradient's direction only": [
            (z - rate * slope.sign()).clamp(-1, 1),
            (z - rate * F.normalize(slope, dim=1)).clamp(-1, 1),
        ],
        "yours does not move": [z, z.clamp(-1, 1)],
    }


def _step_trial(step: Callable, seed: int = 0) -> Trial:
    """Take 200 of the learner's steps at falling rates."""
    asked, G = broken(PICTURES, FINEST, seed), Waves(FINEST)
    W = latent_losses.context_weights(asked.masks)
    z = 2 * torch.rand(PICTURES, G.latent_dim, generator=torch.Generator().manual_seed(seed + TEST)) - 1
    with one_thread():
        for number in range(200):
            z = step(G, asked.images, W, z, falling(0.04, number, 200))
    with torch.no_grad():
        saved = asked.saved(G(z))
    what = "share of the mean colour's error in the hole that is gone after 200 of your steps"
    return Trial(what, saved, 0.7, "with a mean over the pictures it is -0.20, uphill -4.2")


# shared


def _holes() -> Tensor:
    """Return holes (4, 1, 12, 12), two of them at the border."""
    masks = torch.zeros(4, 1, 12, 12, dtype=torch.bool)
    masks[0, :, 3:7, 4:9] = masks[1, :, :4, 2:5] = masks[2, :, 5:, 6:] = masks[3, :, 2, 2] = True
    return masks


def _tensor(found: Any, shape: tuple[int, ...], name: str) -> Tensor:
    require(isinstance(found, Tensor), f"{name}: a tensor; yours is {type(found).__name__}")
    told = f"{name} have the shape {tuple(shape)}; yours {tuple(found.shape)}"
    require(found.shape == torch.Size(shape), told.replace("loss have", "loss has").replace("z have", "z has"))
    return found


def _compare(found: Tensor, right: Tensor, wrong: Mapping[str, list[Tensor]], told: str) -> None:
    """Require values; name the mistake if it is a known one."""
    shown = found.detach().float()
    if torch.allclose(shown, right, rtol=1e-4, atol=1e-5):
        return
    for mistake, values in wrong.items():
        known = any(torch.allclose(shown, value, rtol=1e-4, atol=1e-5) for value in values)
        require(not known, mistake)
    place = int((shown - right).abs().nan_to_num(math.inf).flatten().argmax())
    raise Unmet(f"{told} is {right.flatten()[place]:.3f} where yours is {shown.flatten()[place]:.3f}")


register(
    Exercise(
        "context_weights",
        "the mean of a mask over a window is the share that is missing; at the border fewer pixels enter that mean. "
        "Then the floor, and the hole last of all.",
        _weight_properties,
        _weight_trial,
    )
)
register(
    Exercise(
        "context_loss",
        "difference, absolute value, weight; the sum runs over everything but the batch.",
        _loss_properties,
        _loss_trial,
    )
)
register(
    Exercise(
        "project",
        "a vector is a direction times a length; put the length, each vector's own, between two numbers and leave the "
        "direction.",
        _projection_properties,
        _projection_trial,
    )
)
register(
    Exercise(
        "search_step",
        "make a z of your own that may have a gradient, ask for the slope of the losses' sum, and step down; what you "
        "return hangs on no graph.",
        _step_properties,
        _step_trial,
    )
)
