"""Who is measured by `tests.benchmarks.cvae`: the conditional VAEs of a set, their judge, and what they draw.

Pictures are uint8 (N, 3, H, W) where they are kept, and in [-1, 1] where networks drew them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nblib import checkpoints, inpainters, metrics, tasks
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_unit, uint8_to_signed, uint8_to_unit, unit_to_signed
from nblib.networks.cvae import ConditionalVAE
from nblib.toys import faces
from nblib.variational import reparameterise
from tests.benchmarks import sweeps

TOGETHER = 100  # pictures that go through a network at once
STAGES = ("first", "fine")  # before and after fine-tuning
DRAWN = "toyfaces"  # the set whose flipped truth is known


@dataclass(frozen=True, eq=False)
class Subject:
    """The networks of a set.

    Attributes
    ----------
    images : ImageSet
    judge : nn.Module
        A classifier of all attributes of the set, which learnt from its training split.
    nets : dict of (task, stage) to ConditionalVAE
    cards : dict of str to dict
        Of "judge" and of "TASK, STAGE".
    """

    images: ImageSet
    judge: nn.Module
    nets: dict[tuple[str, str], ConditionalVAE]
    cards: dict[str, dict[str, Any]]

    def test(self, n: int | None) -> ImageSet:
        """Return the first n test pictures, or all of them."""
        part = self.images.split("test")
        return part if n is None else part.take(slice(0, n))

    def stages(self, task: str) -> list[str]:
        """Return which networks there are for a task."""
        return [stage for stage in STAGES if (task, stage) in self.nets]

    @torch.no_grad()
    def says(self, pictures: Tensor) -> Tensor:
        """Return which attributes the judge sees in pictures in [-1, 1], bool (N, A)."""
        return torch.cat([self.judge(part) > 0 for part in pictures.split(TOGETHER)])

    def sees(self, pictures: Tensor, attribute: str) -> Tensor:
        """Return in which pictures the judge sees an attribute, bool (N,)."""
        return self.says(pictures)[:, self.images.attribute_names.index(attribute)]


def load(images: ImageSet, judge: str | Path, nets: dict[tuple[str, str], str | Path]) -> Subject:
    """Return a set with its judge and networks, each by key, weights file or the folder of its training.

    Raises
    ------
    ValueError
        If weights are of another set.
    FileNotFoundError
        If there are no such weights.
    """
    files = {"judge": _file(judge, ("classifier",))}
    files |= {f"{task}, {stage}": _file(key, tasks.WEIGHTS) for (task, stage), key in nets.items()}
    cards = {name: checkpoints.card(file) for name, file in files.items()}
    for name, card in cards.items():
        if card["data"] != images.name:
            raise ValueError(f"{files[name]} has learnt {card['data']}, not {images.name}")
    loaded = {(task, stage): checkpoints.load(files[f"{task}, {stage}"]) for task, stage in nets}
    return Subject(images, checkpoints.load(files["judge"]), loaded, cards)


def _file(key: str | Path, names: Sequence[str]) -> Path:
    return checkpoints.of_run(key, names) or checkpoints.find(key)


def holes_of(subject: Subject, task: str, part: ImageSet, seed: int = 0) -> Tensor | None:
    """Return the holes of a task for some pictures, bool (N, 1, H, W); None where nothing is hidden."""
    sampler, generator = tasks.find(task).sampler(subject.images.name), torch.Generator().manual_seed(seed)
    size = part.images.shape[-1]
    return None if sampler is None else sampler(len(part), size, landmarks=part.landmarks, generator=generator)


def drawn(
    net: ConditionalVAE, images: Tensor, masks: Tensor | None, labels: Tensor | bool | None, seed: int = 0
) -> Tensor:
    """Return whole pictures as a network draws them, (N, 3, H, W) in [-1, 1]; parameters as in `logits`."""
    return unit_to_signed(logits(net, images, masks, labels, seed).sigmoid())


@torch.no_grad()
def logits(
    net: ConditionalVAE, images: Tensor, masks: Tensor | None, labels: Tensor | bool | None, seed: int = 0
) -> Tensor:
    """Return the logits of whole pictures, (N, 3, H, W); of each picture one code is drawn.

    Parameters
    ----------
    net : ConditionalVAE
    images : Tensor, uint8 (N, 3, H, W)
    masks : Tensor, bool (N, 1, H, W), optional
    labels : Tensor, bool (N,), or bool, or None
        One for each, or one for all; not used by a network without labels.
    """
    labels = torch.full((len(images),), labels) if isinstance(labels, bool) else labels
    generator, parts = torch.Generator().manual_seed(seed), []
    for first in range(0, len(images), TOGETHER):
        rows = slice(first, first + TOGETHER)
        mu, logvar = net.encode(uint8_to_signed(images[rows]), None if masks is None else masks[rows])
        z = reparameterise(mu, logvar, torch.randn(mu.shape, generator=generator))
        parts.append(net.logits(z, labels[rows] if net.classes else None))
    return torch.cat(parts)


@torch.no_grad()
def means(net: ConditionalVAE, images: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the codes, (N, latent_dim) each."""
    pairs = zip(*_batches(images, masks), strict=True)
    told = [net.encode(uint8_to_signed(part), hidden) for part, hidden in pairs]
    return torch.cat([mu for mu, _ in told]), torch.cat([logvar for _, logvar in told])


def pasted(pictures: Tensor, images: Tensor, masks: Tensor | None) -> Tensor:
    """Return pictures in [-1, 1] with all that was known put back; without holes as they are."""
    return pictures if masks is None else torch.where(masks, pictures, uint8_to_signed(images))


def classical(name: str, images: Tensor, masks: Tensor) -> Tensor:
    """Return pictures filled by a baseline, in [-1, 1]."""
    parts = zip(images.split(TOGETHER), masks.split(TOGETHER), strict=True)
    return torch.cat([inpainters.load(name)(uint8_to_signed(part), hole) for part, hole in parts])


def hole_l1(pictures: Tensor, images: Tensor, masks: Tensor) -> np.ndarray:
    """Return the mean absolute error in each hole, in [0, 1] units, of pictures in [-1, 1] against uint8 ones."""
    return _chunked(metrics.hole_l1, pictures, images, masks)


def measured(pictures: Tensor, images: Tensor, masks: Tensor, names: Sequence[str]) -> sweeps.Values:
    """Return metrics of filled pictures, image by image."""
    return {name: _chunked(getattr(metrics, name), pictures, images, masks) for name in names}


def _chunked(metric: Callable[..., Tensor], pictures: Tensor, images: Tensor, masks: Tensor) -> np.ndarray:
    parts = zip(*(values.split(TOGETHER) for values in (pictures, images, masks)), strict=True)
    told = [metric(signed_to_unit(drawn.clamp(-1, 1)), uint8_to_unit(truth), hole) for drawn, truth, hole in parts]
    return torch.cat(told).double().numpy()


def _batches(images: Tensor, masks: Tensor | None) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    parts = images.split(TOGETHER)
    return parts, [None] * len(parts) if masks is None else masks.split(TOGETHER)


def counterfactual(part: ImageSet, attribute: str) -> Tensor:
    """Return the same drawn faces with one attribute flipped and all else equal, uint8 (N, 3, H, W).

    Raises
    ------
    ValueError
        If the pictures are not drawn, so nobody knows.
    """
    if part.name != DRAWN:
        raise ValueError(f"{part.name}: nobody knows these people with {attribute} flipped; only {DRAWN} are drawn")
    seed, numbers = _origin(part)
    return faces.render(faces.flip(faces.factors(seed, numbers), attribute), part.images.shape[-1])


def _origin(part: ImageSet) -> tuple[int, Tensor]:
    """Return the seed of drawn pictures and which they are, from names like ``toyfaces-0-0000027``."""
    names = [str(file).split("-") for file in part.files]
    return int(names[0][-2]), torch.tensor([int(name[-1]) for name in names])


def ratio(values: np.ndarray, other: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the ratio of two means over the same pictures, with its 95 % interval from a paired bootstrap.

    Examples
    --------
    >>> told = ratio(np.arange(1.0, 50.0) / 2, np.arange(1.0, 50.0))
    >>> told["mean"], told["low"], told["high"]
    (0.5, 0.5, 0.5)
    """
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=2000)
    drawn = (counts @ values) / (counts @ other)
    low, high = np.quantile(drawn, [0.025, 0.975])
    told: dict[str, Any] = {"mean": values.mean() / other.mean(), "low": low, "high": high}
    return {name: sweeps.rounded(float(value)) for name, value in told.items()}
