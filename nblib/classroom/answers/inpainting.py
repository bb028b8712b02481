"""Right and wrong answers to the exercises on filling holes with a guess and its refinement."""

import torch

from nblib import losses
from nblib import masks as holes
from nblib.classroom.answers.base import Mistake
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
ALSO_RIGHT = {
    "hole_l1": [losses.l1_in_hole, hole_l1_picture_by_picture],
    "paste": [pasted, paste_by_sums, lambda filling, images, masks: images + masks * (filling - images)],
    "gaussian_holes": [lambda n, size, generator: holes.seed(n, size, generator=generator)],
    "balanced_alpha": [balanced_by_the_library],
}
MISTAKES = {
    "hole_l1": [
        Mistake("L1 over the whole picture", whole_l1, "your mean is over the whole picture"),
        Mistake("the mask turned round", known_l1, "masks are True in the hole"),
        Mistake("masked, but a mean over all pixels", diluted_l1, "its gradient, shrinks to 0.23 of what it should be"),
        Mistake(
            "one mean over all pixels of all holes",
            lambda o, t, m: (o - t).abs()[m.expand_as(o)].mean(),
            "large holes count most",
        ),
        Mistake("a sum", lambda o, t, m: ((o - t).abs() * m).sum(), "you add up"),
        Mistake("the three channels forgotten", lambda o, t, m: 3 * hole_l1(o, t, m), "not by pixels times channels"),
        Mistake("squares", lambda o, t, m: hole_l1((o - t) ** 2, torch.zeros_like(o), m), "you take squares"),
        Mistake(
            "only what is too bright",
            lambda o, t, m: hole_l1((o - t).clamp(min=0), torch.zeros_like(o), m),
            "in the hole is 1.031; yours",
        ),
        Mistake("detached", lambda o, t, m: hole_l1(o.detach(), t, m), "does not hang on the output"),
        Mistake("a Python number", lambda o, t, m: hole_l1(o, t, m).item(), "does not hang on the output"),
        Mistake(
            "the right value with another gradient",
            lambda o, t, m: hole_l1(o, t, m) + o.mean() - o.mean().detach(),
            "but its gradient by the output",
        ),
        Mistake(
            "a number for each picture",
            lambda o, t, m: ((o - t).abs() * m).mean((1, 2, 3)),
            "is one number; yours is a tensor (2,)",
        ),
        Mistake("the target changed in place", in_place_l1, "your function changes target itself"),
    ],
    "paste": [
        Mistake(
            "the mask turned round",
            lambda filling, images, masks: torch.where(masks, images, filling),
            "masks are True in the hole",
        ),
        Mistake("the pictures changed in place", paste_in_place, "changes images itself"),
        Mistake("the filling changed in place", paste_into_the_filling, "changes filling itself"),
        Mistake("the filling everywhere", lambda filling, images, masks: filling, "outside the hole yours is up to"),
        Mistake("the pictures as they were", lambda filling, images, masks: images.clone(), "away from the filling"),
        Mistake(
            "a mixture outside the hole",
            lambda filling, images, masks: paste(filling, (images + filling) / 2, masks),
            "outside the hole yours",
        ),
        Mistake(
            "nothing outside the hole",
            lambda filling, images, masks: paste(filling, images * 0, masks),
            "outside the hole yours",
        ),
        Mistake(
            "a mixture in the hole",
            lambda filling, images, masks: paste((images + filling) / 2, images, masks),
            "away from the filling",
        ),
        Mistake(
            "the filling detached",
            lambda filling, images, masks: paste(filling.detach(), images, masks),
            "does not hang on the filling",
        ),
        Mistake("one picture only", lambda filling, images, masks: paste(filling, images, masks)[0], "yours (3, 6, 8)"),
        Mistake(
            "1 minus a bool mask",
            lambda filling, images, masks: filling * masks + images * (1 - masks),
            "not done yet: it raises",
        ),
    ],
    "gaussian_holes": [
        Mistake("a uniform corner", drawn_holes(uniform=True), "a uniform corner has 14.2"),
        Mistake("one hole for the whole batch", one_for_all, "all masks of a batch are alike"),
        Mistake("boxes cut off at the border", drawn_holes(moved=False), "moved inside"),
        Mistake("True where the picture is known", inverted, "your masks are True in 95 % of the picture"),
        Mistake(
            "randint's end taken for the largest side",
            drawn_holes(end=0),
            "have sides 10 ... 19; it is 10 ... 20 inclusive",
        ),
        Mistake(
            "lengths of 64x64 at every size",
            drawn_holes(scale=False),
            "it is 5 ... 10: all lengths scale with the size",
        ),
        Mistake("cut off instead of rounded", drawn_holes(whole=torch.floor), "cuts off instead of rounding"),
        Mistake(
            "half the deviation",
            drawn_holes(std=5.0),
            "standard deviation is 9.85 (of size 64, in 64ths of it); yours is 5.0",
        ),
        Mistake("corners around the middle", drawn_holes(mean=32.0), "is 25 down and across on average"),
        Mistake("sides from 8", drawn_holes(low=8), "yours have sides 8 ... 20"),
        Mistake("sides up to 24", drawn_holes(high=24), "yours have sides 10 ... 24"),
        Mistake("the generator not passed on", without_generator, "pass generator=generator wherever you draw"),
        Mistake("a generator of its own", always_from_the_start, "gives the same again"),
        Mistake("squares", squares, "heights and widths are drawn apart"),
        Mistake("one number for row and column", on_the_diagonal, "rows and columns of the corner are drawn apart"),
        Mistake("boxes that do not fit thrown away", redrawn, "0.71 % touch the upper border"),
        Mistake(
            "masks of floats", lambda n, size, generator: gaussian_holes(n, size, generator).float(), "masks are bool"
        ),
        Mistake(
            "no channel", lambda n, size, generator: gaussian_holes(n, size, generator)[:, 0], "yours (8000, 64, 64)"
        ),
    ],
    "balanced_alpha": [
        Mistake("the ratio of the losses", ratio_of_losses, "yours is the ratio of the losses"),
        Mistake("upside down", upside_down, "yours is upside down"),
        Mistake("the mean of the tensors' norms", mean_of_norms, "yours is the mean of the tensors' norms"),
        Mistake("the mean of the tensors' ratios", mean_of_ratios, "yours is the mean of a ratio for each tensor"),
        Mistake("sums of absolute values", sums_of_sizes, "the root of the sum of their squares"),
        Mistake("squares without the root", squared, "take the root"),
        Mistake(
            "the first tensor alone",
            lambda p, a, weights: balanced_alpha(p, a, weights[:1]),
            "the first of the weights only",
        ),
        Mistake(
            "the last tensor alone",
            lambda p, a, weights: balanced_alpha(p, a, weights[-1:]),
            "the last of the weights only",
        ),
        Mistake("always 1", lambda p, a, weights: 1.0, "one alpha is 2.114; yours is 1.000"),
        Mistake("the graph not kept", freed, "ask for the gradients with retain_graph=True"),
        Mistake("by backward", by_backward, "your gradients stay in weight.grad"),
        Mistake("an alpha with a gradient of its own", with_a_gradient_of_its_own, "leave out create_graph"),
    ],
}
