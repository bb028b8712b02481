"""Right and wrong answers to the exercises on latent search."""

import torch
from torch.nn import functional as F

from nblib import latent_losses, priors
from nblib.classroom.answers.base import Mistake


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
ALSO_RIGHT = {
    "context_weights": [latent_losses.context_weights, weights_by_convolution],
    "context_loss": [latent_losses.context_loss, loss_picture_by_picture],
    "project": [priors.onto_shell],
    "search_step": [],
}
MISTAKES = {
    "context_weights": [
        Mistake("the public code's inverted weights", inverted, "the rim of the hole counts least"),
        Mistake("inverted, and no floor", lambda m, w, f: inverted(m, w, 0), "the rim of the hole counts least"),
        Mistake("1 for every known pixel", flat, "yours are 1 for all known pixels"),
        Mistake("weights in the hole, too", share_alone, "nothing is known in the hole"),
        Mistake(
            "the floor in the hole, too",
            lambda m, w, f: share_alone(m, w, f).clamp(min=f),
            "nothing is known in the hole",
        ),
        Mistake("no floor", lambda m, w, f: context_weights(m, w, 0), "keep a weight of floor=0.02"),
        Mistake("the floor added", lambda m, w, f: (share_alone(m, w, f) + f) * ~m, "not something to add"),
        Mistake("the border padded with known pixels", cut_off, "only neighbours that exist count"),
        Mistake(
            "a window of 7 whatever is asked",
            lambda m, w, f: context_weights(m, 7, f),
            "for window=3, floor=0.1 the weight is",
        ),
        Mistake(
            "counts instead of shares",
            lambda m, w, f: (w**2 * share_alone(m, w, f)).clamp(min=f) * ~m,
            "a weight is a share",
        ),
        Mistake("no channel", lambda m, w, f: context_weights(m, w, f)[:, 0], "yours (4, 12, 12)"),
        Mistake("the masks changed in place", weights_in_place, "your function changes masks itself"),
    ],
    "context_loss": [
        Mistake("one number for the batch", lambda d, i, w: context_loss(d, i, w).mean(), "one for the whole batch"),
        Mistake("a mean over the pixels", lambda d, i, w: (w * (d - i).abs()).mean((1, 2, 3)), "you take the mean"),
        Mistake("no weights", lambda d, i, w: (d - i).abs().sum((1, 2, 3)), "you leave the weights out"),
        Mistake("squares", lambda d, i, w: (w * (d - i) ** 2).sum((1, 2, 3)), "you take squares"),
        Mistake(
            "squares of what was weighed",
            lambda d, i, w: ((w * (d - i)) ** 2).sum((1, 2, 3)),
            "you weigh and then square",
        ),
        Mistake("signs kept", lambda d, i, w: (w * (d - i)).sum((1, 2, 3)), "take absolute values"),
        Mistake("a mean over the channels", lambda d, i, w: context_loss(d, i, w) / 3, "add up the channels"),
        Mistake("detached", lambda d, i, w: context_loss(d, i, w).detach(), "does not hang on the drawn picture"),
        Mistake("in place", lambda d, i, w: context_loss(d.sub_(i), 0 * i, w), "changes drawn itself"),
    ],
    "project": [
        Mistake("nothing done", lambda z: z, "yours stay where they are"),
        Mistake("each number clipped, as for a box", lambda z: z.clamp(-1, 1), "that is the box of U[-1, 1]"),
        Mistake("each number squeezed", torch.tanh, "you squeeze each number"),
        Mistake("one length for all", same_length, "vectors whose length is allowed stay as they are"),
        Mistake("length 1", lambda z: F.normalize(z, dim=1), "vectors whose length is allowed stay as they are"),
        Mistake(
            "only long vectors shortened",
            lambda z: torch.where(z.norm(dim=1, keepdim=True) > z.shape[1] ** 0.5, project(z), z),
            "too short",
        ),
        Mistake(
            "everything inside the ball allowed",
            lambda z: z * (z.norm(dim=1, keepdim=True).clamp(max=z.shape[1] ** 0.5) / z.norm(dim=1, keepdim=True)),
            "do not lie around 0",
        ),
        Mistake("in place", lambda z: z.mul_(2) / 2, "changes z itself"),
    ],
    "search_step": [
        Mistake("uphill", step_uphill, "you go uphill"),
        Mistake("the mean over the pictures", step_of_the_mean, "the mean over five pictures"),
        Mistake("z not put back into the box", step_out_of_the_box, "may have left the box"),
        Mistake("the sign of the gradient", step_by_sign, "the gradient's direction only"),
        Mistake("z as it was", lambda G, i, w, z, rate: z.clone(), "yours does not move"),
        Mistake("a z that remembers", step_that_remembers, "remembers how it was made"),
        Mistake("by backward", step_with_backward, "leaves gradients in the weights of G"),
        Mistake("in place", step_in_place, "moves the z that it was given"),
    ],
}
