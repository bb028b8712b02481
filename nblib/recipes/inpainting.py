"""Recipes for networks that fill holes: a rough approximator, and the refiner that improves its guess [1]_.

References
----------
.. [1] Denoyer, Hivon & Ruin (2019), Attention-based DCGAN for Image Inpainting, project report.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib import checkpoints, losses
from nblib import masks as holes
from nblib.datasets.batches import Batch
from nblib.datasets.imageset import ImageSet
from nblib.layers import SelfAttention2d
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, ConvApproxNet, Discriminator, pasted
from nblib.recipes.base import Recipe
from nblib.training import InpaintTraining


def hole_and_rim(output: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Return L1 in the hole plus L1 on the known rim around it."""
    return losses.l1_in_hole(output, target, masks) + losses.l1_on_rim(output, target, masks)


FILLER_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "hole": losses.l1_in_hole,
    "whole": losses.l1_whole,
    "rim": hole_and_rim,
    "border": losses.l1_towards_border,
}


def approxnet(
    images: ImageSet,
    *,
    network: str = "dense",
    hidden: int = 64,
    dropout: float = 0.3,
    width: int = 32,
    loss: str = "hole",
    masks: str = "seed",
    mirror: bool = True,
    share: float = 1.0,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 1e-2,
    clip: float = 1.0,
    ema: float = 0.0,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return an ApproxNet [1]_ of class size and its training by L1 in the hole.

    The report's protocol: ``share=0.7, mirror=False`` for 200 epochs. For photos of faces, ``hidden=1024``.

    Parameters
    ----------
    images : ImageSet
        Use a split.
    network : {"dense", "conv"}, default "dense"
        `ApproxNet`, with `hidden` and `dropout`, or `ConvApproxNet`, with `width`.
    loss : {"hole", "whole", "rim", "border"}, default "hole"
        A key of `FILLER_LOSSES`.
    masks : str, default "seed"
        A key of `nblib.masks.PROTOCOLS`.
    share : float, default 1
        Of the pictures to learn from, the first ones; the others are for validation, ``images.take(slice(n, None))``
        with ``n = round(share * len(images))``.
    batch_size : int, default 64
    mirror, lr, weight_decay, clip, ema, schedule, seed
        Of `InpaintTraining`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    size = images.images.shape[-1]
    if network not in ("dense", "conv"):
        raise ValueError(f"network={network!r}: known are 'dense', 'conv'")
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: of the pictures to learn from, in (0, 1]")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ApproxNet(size, hidden, dropout) if network == "dense" else ConvApproxNet(size, width)
    training = InpaintTraining(
        net,
        pixel_loss=_loss(loss),
        mirror=mirror,
        lr=lr,
        weight_decay=weight_decay,
        ema=ema,
        clip=clip,
        schedule=schedule,
        seed=seed,
    )
    count = round(share * len(images))
    learnt, others = images.take(slice(0, count)), images.take(slice(count, None))
    return _recipe(training, learnt, others if len(others) else learnt, masks, batch_size, seed)


def refiner(
    images: ImageSet,
    *,
    width: int = 32,
    attention: bool = True,
    approximator: str | nn.Module = "train",
    hidden: int = 64,
    approx_steps: int = 1000,
    joint: bool = False,
    adversarial: float = 0.0,
    alpha: float = 0.0,
    warm_up: int = 200,
    head: str = "global",
    mask_for_D: bool = False,
    width_D: int = 32,
    loss: str = "hole",
    masks: str = "seed",
    mirror: bool = True,
    start: str = "",
    start_D: str = "",
    batch_size: int = 32,
    lr: float = 2e-3,
    lr_A: float = 1e-3,
    lr_D: float = 4e-4,
    weight_decay: float = 1e-2,
    clip: float = 1.0,
    ema: float = 0.999,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return an attention refiner of class size and its training: the approximator alone, D alone, then D and G [1]_.

    By default without D: L1 in the hole is all, and what scores best. For photos of faces, ``width=64``.

    Parameters
    ----------
    images : ImageSet
        Of any size that is a power of two from 16; use a split.
    width, attention
        Of `AttentionRefiner`.
    approximator : {"train", "none"}, path or network, default "train"
        "train": a new `ApproxNet` with `hidden` units learns alone for `approx_steps` steps before all else. "none":
        the refiner sees mid-gray holes. Or one that is trained: a weights file, the folder of a run, a key such as
        "toyfaces/approxnet", or a network; no steps are spent on it.
    joint : bool, default False
        Let the approximator go on learning with the refiner.
    adversarial, alpha, warm_up, lr_A, lr_D
        Of `InpaintTraining`; `warm_up` counts only where D has a say. With `adversarial`, ``lr=5e-4`` is calmer.
    head, mask_for_D, width_D
        Of `Discriminator`.
    loss, masks
        As in `approxnet`.
    start, start_D : str, default ""
        Weights file or key of a trained refiner and of a D to start from; sizes are then theirs.
    batch_size : int, default 32
    mirror, lr, weight_decay, clip, ema, schedule, seed
        Of `InpaintTraining`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    FileNotFoundError
        If there are no weights where some were named.
    """
    size = images.images.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = _started(start, AttentionRefiner, size) or AttentionRefiner(width, size, attention)
        A = _approximator(approximator, size, hidden)
        D = _started(start_D, Discriminator, size) or Discriminator(width_D, size, head, mask_for_D)
    training = InpaintTraining(
        G,
        D if adversarial else None,
        A,
        pixel_loss=_loss(loss),
        adversarial=adversarial,
        alpha=alpha,
        approx_steps=approx_steps if approximator == "train" else 0,
        warm_up=warm_up if adversarial else 0,
        joint=joint,
        mirror=mirror,
        lr=lr,
        lr_A=lr_A,
        lr_D=lr_D,
        weight_decay=weight_decay,
        ema=ema,
        clip=clip,
        schedule=schedule,
        seed=seed,
        origin=checkpoints.card(start)["sha256"] if start else "",
    )
    return _recipe(training, images, images, masks, batch_size, seed)


def inpaint_step(training: InpaintTraining, batch: Batch) -> dict[str, Tensor]:
    """Let those take a step whose turn it is: the approximator A alone, D alone, or D and then G, with A if joint.

    What is not at stake counts as 0 in the log.
    """
    images, masks, learners = batch.images, batch.masks, training.learners
    values = _nothing_yet(training, images)
    guess = training.guess(images, masks)
    if "A" in learners:
        values["loss_A"] = losses.l1_in_hole(guess, images, masks)
    if learners == ("A",):
        training.descend("A", values["loss_A"])
        return _with_norms(training, values)
    output = training.G(pasted(guess, images, masks), masks).float()
    fake = pasted(output, images, masks)  # D sees what a reader would: only the hole is new
    if "D" in learners:
        twice = torch.cat([masks, masks])
        real_logits, fake_logits = judged(training.D, torch.cat([images, fake.detach()]), twice).chunk(2)
        values["loss_d"] = losses.bce_loss_d(real_logits, fake_logits)
        training.descend("D", values["loss_d"])
    if "G" in learners:
        cost = values["loss"] = training.pixel_loss(output, images, masks)
        if training.D is not None:
            values["loss_g"] = losses.nonsaturating_loss_g(judged(training.D, fake, masks))
            cost = training.weighed(cost, values["loss_g"])
            values["alpha"] = training.balance
        training.descend_together([name for name in learners if name != "D"], cost + values.get("loss_A", 0))
    return _with_norms(training, values)


def judged(D: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Return D's logits, float32 (n,): one an image, or one for each patch that a hole touches.

    The patches elsewhere are copies: to call them filled would teach D nothing, and G still less.
    """
    logits = D(images, masks).float()
    if logits.ndim == 2:
        return logits.flatten()  # (B,)
    return logits[F.adaptive_max_pool2d(masks.float(), logits.shape[2:]) > 0]  # (n,)


def _nothing_yet(training: InpaintTraining, images: Tensor) -> dict[str, Tensor]:
    """Return every value that a training logs, at 0: the names must be the same at all steps."""
    names = ["loss"]
    names += ["loss_A"] if training.approx_steps or training.joint else []
    names += ["loss_d", "loss_g", "alpha"] if training.D is not None else []
    return dict.fromkeys(names, images.new_zeros(()))


def _with_norms(training: InpaintTraining, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add how large the gradients were before clipping, and how much attention is let in."""
    zero = torch.zeros_like(values["loss"])
    players = [name for name in training.players if name != "A" or "loss_A" in values]
    if training.clip is not None:
        norms = {name: training.players[name].gradient_norm for name in players if name in training.learners}
        values |= {f"gradient_{name}": norms.get(name, zero) for name in players}
    layers = [layer for layer in training.G.modules() if isinstance(layer, SelfAttention2d)]
    return values | {f"gamma_{k}": layer.gamma.detach().clone() for k, layer in enumerate(layers, 1)}


def _recipe(
    training: InpaintTraining, images: ImageSet, shown: ImageSet, masks: str, batch_size: int, seed: int
) -> Recipe:
    """Return the recipe; until it is told otherwise, the training shows the first of the pictures in `shown`."""
    sampler = holes.sampler(masks)
    example = shown.batches(min(len(shown), 8), masks=sampler, seed=seed).at(0)
    training.watch(example.images, example.masks)
    return Recipe(training, inpaint_step, images.batches(batch_size, masks=sampler, seed=seed))


def _loss(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if name not in FILLER_LOSSES:
        raise ValueError(f"loss={name!r}: known are {', '.join(map(repr, FILLER_LOSSES))}")
    return FILLER_LOSSES[name]


def _approximator(given: str | nn.Module, size: int, hidden: int) -> nn.Module | None:
    """Return a new approximator, a trained one, or none."""
    if isinstance(given, nn.Module) or given == "none":
        return None if given == "none" else given
    if given == "train":
        return ApproxNet(size, hidden)
    run = Path(given).expanduser()
    return _started(run / "weights" / "approxnet" if run.is_dir() else given, (ApproxNet, ConvApproxNet), size)


def _started(key: str | Path, kind: type | tuple[type, ...], size: int) -> nn.Module | None:
    """Return trained weights as a network of this kind for images of this size; None for no key."""
    if not key:
        return None
    net = checkpoints.load(key)
    if not isinstance(net, kind):
        raise ValueError(f"{key} is of the class {checkpoints.class_name(type(net))}, which has another part to play")
    if net.size != size:
        raise ValueError(f"{key} is for images of {net.size}x{net.size}; these are {size}x{size}")
    return net
