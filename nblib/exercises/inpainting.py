"""Exercises on filling holes: the loss in the hole, pasting, the report's holes, and alpha by gradient norms.

The baselines of the trials lie well above what the usual mistakes reach (see the tests). Some mistakes can be trained
around, as squares in the loss, holes spread too widely, or norms that are not taken over all weights together; there
the properties tell.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nblib import losses, masks
from nblib.exercises import boxes, returned
from nblib.exercises.checking import Exercise, Trial, Unmet, register, require, taught
from nblib.exercises.puzzles import TEST, Puzzles
from nblib.exercises.wallpaper import SIZE, WALLPAPERS, Filler, Holed, by_sgd, filled, gained, portraits, unseen
from nblib.networks.approxnet import ApproxNet, pasted
from nblib.training import SupervisedTraining

LEARNT, TESTED = 896, 128  # faces
ASKED = 8000  # holes looked at

# hole_l1


def _loss_properties(loss: Callable) -> None:
    output, target, holes = _pictures()
    given = [value.clone() for value in (output, target, holes)]
    found = returned.number(loss(*given), "the loss")
    error, shares = (output - target).abs(), holes.float().mean((1, 2, 3))  # (2, 3, 6, 8), (2,)
    in_hole, beside = (losses.l1_in_hole(output, target, one).item() for one in (holes, ~holes))
    inside = error[holes.expand_as(error)]
    wrong = {
        "your mean is over the whole picture: what is known counts too": error.mean(),
        "you take what is known for the hole: masks are True in the hole": beside,
        "the hole's differences are divided by the pixels of the whole picture: the loss, and its gradient, "
        f"shrinks to {shares.mean().item():.2f} of what it should be": (error * holes).mean(),
        "you add up; a mean does not grow with the hole": inside.sum(),
        "you divide by the pixels of the hole, not by pixels times channels": 3 * in_hole,
        "your mean is over all hole pixels of the batch, so large holes count most; take the mean of each picture's "
        "hole first, then the mean of those": inside.mean(),
        "you take squares; L1 takes absolute values": losses.l1_in_hole(error**2, torch.zeros_like(error), holes),
    }
    returned.compare(found, in_hole, wrong, "the mean absolute difference in the hole", tolerance=1e-3)
    returned.untouched(given, {"output": output, "target": target, "masks": holes})
    _require_hole_slopes(loss, output.requires_grad_(), target, holes)


def _require_hole_slopes(loss: Callable, output: Tensor, target: Tensor, holes: Tensor) -> None:
    value = loss(output, target, holes)
    hangs = isinstance(value, Tensor) and value.requires_grad
    require(hangs, "the loss does not hang on the output: without a gradient nothing can be learnt")
    (slope,) = torch.autograd.grad(value, output)
    (expected,) = torch.autograd.grad(losses.l1_in_hole(output, target, holes), output)
    require(torch.allclose(slope, expected, atol=1e-5), "the value is right, but its gradient by the output is not")


def _loss_trial(loss: Callable, seed: int = 0) -> Trial:
    """By plain gradient descent: Adam divides by the size of the gradient, so that a tiny one would not show."""
    torch.manual_seed(seed)
    net = Filler()
    done = taught(by_sgd(net, lr=0.1), lambda one: loss(filled(net, one), one.images, one.masks), WALLPAPERS, 150)
    what = f"share of the mean colour's error in the hole that is gone after {done} steps"
    return Trial(what, gained(net, unseen()), 0.5, "L1 over the whole picture reaches 0.24")


# paste


def _paste_properties(paste: Callable) -> None:
    filling, images, holes = _pictures()
    given = [value.clone() for value in (filling, images, holes)]
    found = paste(*given)
    require(isinstance(found, Tensor), f"return a tensor, not {type(found).__name__}")
    told = f"the composite has the shape of the images, {tuple(images.shape)}; yours {tuple(found.shape)}"
    require(found.shape == images.shape, told)
    require(
        not torch.equal(found, pasted(images, filling, holes)),
        "yours has the filling where the picture is known: masks are True in the hole",
    )
    _compare_composites(found, filling, images, holes)
    returned.untouched(given, {"filling": filling, "images": images, "masks": holes})
    given[0].requires_grad_()
    found = paste(*given)
    require(found.requires_grad, "the composite does not hang on the filling: what made it cannot learn from it")
    (slope,) = torch.autograd.grad(found.sum(), given[0])
    expected = holes.expand_as(slope).float()
    require(torch.equal(slope, expected), "the composite's gradient by the filling is 1 in the hole, 0 beside it")


def _compare_composites(found: Tensor, filling: Tensor, images: Tensor, holes: Tensor) -> None:
    beside, inside = (found - images).abs() * ~holes, (found - filling).abs() * holes
    require(
        beside.max() == 0,
        f"what is known stays as it is, to the last bit; outside the hole yours is up to {beside.max().item():.2f} off",
    )
    require(inside.max() < 1e-5, f"in the hole yours is up to {inside.max().item():.2f} away from the filling")


def _paste_trial(paste: Callable, seed: int = 0) -> Trial:
    """Compare the composite with the whole picture: only where it hangs on the network can that learn.

    The gradient of that loss is as small as the hole, about a twentieth, and the learning rate is larger by as much.
    """
    torch.manual_seed(seed)
    net = Filler()

    def loss(one: Holed) -> Tensor:
        composite = paste(filled(net, one), one.images, one.masks)
        return (composite - one.images).abs().mean()

    done = taught(by_sgd(net, lr=2.0), loss, WALLPAPERS, 150)
    what = f"share of the mean colour's error in the hole that is gone after {done} steps on composites"
    return Trial(what, gained(net, unseen()), 0.5, "pasted the wrong way round it is 0.08")


# gaussian_holes


def _hole_properties(gaussian_holes: Callable) -> None:
    holes = _drawn_holes(gaussian_holes, ASKED, 64, seed=0)
    share = holes.float().mean().item()
    require(share < 0.5, f"your masks are True in {100 * share:.0f} % of the picture: True means hole, False known")
    _require_seeded(gaussian_holes, holes[:50])
    places = {size: boxes.corners_and_sides(_drawn_holes(gaussian_holes, ASKED, size, seed=1)) for size in (64, 32)}
    for size, (corners, sides) in places.items():
        boxes.compare_sides(sides, size)
        boxes.compare_corners(corners, size)
    boxes.compare_borders(*places[64])


def _drawn_holes(gaussian_holes: Callable, n: int, size: int, seed: int) -> Tensor:
    holes = gaussian_holes(n, size, torch.Generator().manual_seed(seed))
    require(isinstance(holes, Tensor), f"return a tensor, not {type(holes).__name__}")
    shape = (n, 1, size, size)
    require(holes.shape == shape, f"{n} holes of size {size} have the shape {shape}; yours {tuple(holes.shape)}")
    require(holes.dtype == torch.bool, f"masks are bool; yours are {holes.dtype}")
    return holes


def _require_seeded(gaussian_holes: Callable, holes: Tensor) -> None:
    same = (holes == holes[:1]).all()
    require(not same, "all masks of a batch are alike; every picture has a hole of its own, so draw n of each number")
    state = torch.Generator().manual_seed(0)
    first, second = (gaussian_holes(50, 64, state) for _ in range(2))
    require(not torch.equal(first, second), "a generator that goes on gives other holes; yours gives the same again")
    again = gaussian_holes(50, 64, torch.Generator().manual_seed(0))
    told = "equal generators give equal holes; yours differ, so pass generator=generator wherever you draw"
    require(torch.equal(first, again), told)


def _hole_trial(gaussian_holes: Callable, seed: int = 0) -> Trial:
    """Train a dense approximator with the learner's holes, as far as they go round, and test it on the report's.

    Where no hole ever was, a dense layer has not learnt to fill one.
    """
    torch.manual_seed(seed)
    net, (learnt, tested) = ApproxNet(SIZE, hidden=128, dropout=0), portraits(LEARNT + TESTED).split([LEARNT, TESTED])
    holes = gaussian_holes(LEARNT, SIZE, torch.Generator().manual_seed(seed))

    def draw(n: int, generator: torch.Generator) -> Holed:
        return Holed(*(pool[torch.randint(LEARNT, (n,), generator=generator)] for pool in (learnt, holes)))

    def loss(one: Holed) -> Tensor:
        return losses.l1_in_hole(filled(net, one), one.images, one.masks)

    done = taught(SupervisedTraining(net, lr=2e-3, betas=(0.9, 0.99)), loss, Puzzles(draw, 32), 200)
    test = Holed(tested, masks.seed(TESTED, SIZE, generator=torch.Generator().manual_seed(TEST)))
    what = f"share of the mean colour's error in the report's holes that is gone after {done} steps with yours"
    return Trial(what, gained(net, test), 0.2, "with one hole for all pictures it is below 0")


# balanced_alpha


def _alpha_properties(balanced_alpha: Callable) -> None:
    weights = _weights()
    pixel, adversarial = _two_losses(_squares(weights), _squares(weights))
    found = returned.number(balanced_alpha(pixel, adversarial, weights), "alpha")
    p, a = torch.tensor([18**0.5, 4.0]), torch.tensor([8**0.5, 12.0])  # norms of each loss's gradient, tensor by tensor
    wrong = {
        "yours is the ratio of the losses; a loss can be large where it is flat": adversarial / pixel,
        "yours is upside down: the adversarial gradient's norm goes above, that of the pixel loss below": (
            p.norm() / a.norm()
        ),
        "the norm is that of all weights together, as if they were one long vector; yours is the mean of the tensors' "
        "norms": a.mean() / p.mean(),
        "the norm is that of all weights together; yours is the mean of a ratio for each tensor": (a / p).mean(),
        "you add the sizes of all entries; a norm is the root of the sum of their squares": 16 / 10,
        "yours is the ratio of the squared norms; take the root": (a.norm() / p.norm()) ** 2,
        "yours takes the first of the weights only": a[0] / p[0],
        "yours takes the last of the weights only": a[1] / p[1],
    }
    told = "for gradients (3, 3), 4 of the pixel loss and (2, 2), 12 of the adversarial one alpha"
    returned.compare(found, (a.norm() / p.norm()).item(), wrong, told, tolerance=1e-3)
    _require_usable(balanced_alpha)


def _require_usable(balanced_alpha: Callable) -> None:
    """Require what the step that follows needs: the graph of both, no gradients left behind, and alpha as a number."""
    weights = _weights()
    shared = _squares(weights)  # as both losses share the picture that a network filled
    pixel, adversarial = _two_losses(shared, shared)
    try:
        alpha = balanced_alpha(pixel, adversarial, weights)
        left = [weight.grad for weight in weights if weight.grad is not None]
        (pixel + adversarial / alpha).backward()
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        told = "the losses' graph is freed before the step is done; ask for the gradients with retain_graph=True"
        raise Unmet(told) from error
    told = "your gradients stay in weight.grad, where the next step adds its own; torch.autograd.grad returns them"
    require(not left, told)
    require(
        not (isinstance(alpha, Tensor) and alpha.requires_grad),
        "your alpha has a gradient of its own, so the step would also change weights to change alpha; leave out "
        "create_graph",
    )


def _weights() -> list[Tensor]:
    return [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(5.0, requires_grad=True)]


def _squares(weights: list[Tensor]) -> list[Tensor]:
    """Return something whose gradients are (2, 4) and 10, and need its graph."""
    return [weight.square() for weight in weights]


def _two_losses(one: list[Tensor], other: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return a pixel loss of gradients (3, 3), 4 by the weights, and an adversarial one of (2, 2), 12."""
    pixel = 3 / 2 * one[0][0] + 3 / 4 * one[0][1] + 4 / 10 * one[1]
    adversarial = 2 / 2 * other[0][0] + 2 / 4 * other[0][1] + 12 / 10 * other[1]
    return pixel, adversarial - 30


def _alpha_trial(balanced_alpha: Callable, seed: int = 0) -> Trial:
    """Let a judge want red fillings: so softly that the pixel loss drowns it, then so loudly that it drowns that."""
    shares = [share for volume in (0.01, 100) for share in _shares(balanced_alpha, volume, seed)]
    what = "least share that either loss gets of its wish, next to a judge 100 times too soft and too loud"
    return Trial(what, min(shares), 0.5, "with alpha = 1 it is -0.02")


def _shares(balanced_alpha: Callable, volume: float, seed: int) -> tuple[float, float]:
    """Return how far green and blue come to the truth, and red to 1, from where they start (0) to the end (1)."""
    torch.manual_seed(seed)
    net, test = Filler(), unseen()
    weights = list(net.parameters())

    def loss(one: Holed) -> Tensor:
        output = filled(net, one)
        pixel = losses.l1_in_hole(output, one.images, one.masks)
        adversarial = volume * (_from_red(output, one.masks) - 2)  # below 0, as a hinge's may be
        return pixel + adversarial / balanced_alpha(pixel, adversarial, weights)

    taught(by_sgd(net, lr=0.15, clip=1.0, schedule="cosine"), loss, WALLPAPERS, 100)
    with torch.no_grad():
        output = filled(net, test)
        others = [losses.l1_in_hole(one[:, 1:], test.images[:, 1:], test.masks) for one in (output, 0 * output)]
        return 1 - (others[0] / others[1]).item(), 1 - _from_red(output, test.masks).item()


def _from_red(output: Tensor, holes: Tensor) -> Tensor:
    """Return how far fillings are from a red of 1, on average; 1 for fillings of 0."""
    red = output[:, :1]
    return losses.l1_in_hole(red, torch.ones_like(red), holes)


# shared


def _pictures() -> tuple[Tensor, Tensor, Tensor]:
    """Return two pictures (2, 3, 6, 8) that differ everywhere, and holes of 2x3 and 4x4 pixels."""
    one, other = torch.randn(2, 2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(2, 1, 6, 8, dtype=torch.bool)
    holes[0, :, 1:3, 4:7] = holes[1, :, 2:6, 1:5] = True
    return one, other, holes


register(
    Exercise(
        "hole_l1",
        "make the differences 0 beside the hole, add up each picture's, and divide by how many numbers its hole "
        "holds; only then average over the pictures.",
        _loss_properties,
        _loss_trial,
    )
)
register(
    Exercise(
        "paste",
        "torch can choose between two tensors by a mask, and changes neither.",
        _paste_properties,
        _paste_trial,
    )
)
register(
    Exercise(
        "gaussian_holes",
        "sides, corner, rounding, and moving inside, in this order; how far a corner may go depends on the side. "
        "Every length scales, the deviation, too.",
        _hole_properties,
        _hole_trial,
    )
)
register(
    Exercise(
        "balanced_alpha",
        "torch.autograd.grad returns a gradient for each tensor, and keeps the graph if you ask; the norm is that of "
        "all of them strung together as one vector.",
        _alpha_properties,
        _alpha_trial,
    )
)
