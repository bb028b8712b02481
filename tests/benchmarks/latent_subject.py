"""Who is measured by `tests.benchmarks.latent_search`: a generator with what belongs to it, and searches in it.

Pictures are uint8 (N, 3, H, W) wherever they are kept, G's own samples too; the hole is the centre, half the side.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from nblib import checkpoints, learned
from nblib import masks as holes
from nblib.blending import poisson
from nblib.datasets.batches import seeded
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.inpainters import Inpainter
from nblib.latent import search
from nblib.latent_losses import context_loss, context_weights
from nblib.metrics import Interval
from nblib.priors import latents_of
from nblib.sensitivity import preconditioner, sensitivity
from nblib.training.precision import autocast
from tests.benchmarks import sweeps

TOGETHER = 128  # starts that are searched as one batch
SPREAD = 0.2  # of the starts around an encoder's guess, as in `nblib.learned.latent_search`
GENERATORS, ENCODERS, RIVALS = ("dcgan-g", "sagan-g"), ("encoder",), ("context-encoder",)  # how weights are called


@dataclass(frozen=True, eq=False)
class Subject:
    """A generator, what was trained with it or for it, and the set that it was to learn.

    Attributes
    ----------
    images : ImageSet
    G : nn.Module
    D, encoder : nn.Module or None
    rivals : dict of str to Inpainter
        Context Encoders of this set, by name.
    known_as : dict of str to str
        "generator", "encoder" and the rivals: set, name and the start of the SHA-256.
    device : torch.device
    precision : {"bf16", "fp32"}
        Of the networks in a search.
    """

    images: ImageSet
    G: nn.Module
    D: nn.Module | None
    encoder: nn.Module | None
    rivals: dict[str, Inpainter]
    known_as: dict[str, str]
    device: torch.device
    precision: str

    def pictures(self, split: str, n: int | None) -> Tensor:
        """Return the first n pictures of a split, or all of them."""
        return self.images.split(split).images[:n]

    @torch.no_grad()
    def samples(self, n: int) -> Tensor:
        """Return n samples of G, always the same ones."""
        z = latents_of(self.G).noise(self.G.latent_dim)(n, seeded("cpu", "samples"))
        return signed_to_uint8(self.drawn(z))

    @torch.no_grad()
    def drawn(self, z: Tensor) -> Tensor:
        """Return G's pictures of latents (N, latent_dim), float (N, 3, H, W) in [-1, 1], in full precision."""
        return torch.cat([self.G(part.to(self.device)).cpu() for part in z.split(TOGETHER)])

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return what D says of pictures in [-1, 1], shape (N,)."""
        return torch.cat([self.D(part.to(self.device)).cpu().flatten() for part in images.split(TOGETHER)])

    @functools.cached_property
    def preconditioner(self) -> Tensor:
        """What `nblib.latent.search` multiplies steps by, of `nblib.sensitivity`."""
        return preconditioner(sensitivity(self.G))

    @torch.no_grad()
    def guesses(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return the encoder's guesses (N, latent_dim) for pictures in [-1, 1]."""
        return self.encoder(images.to(self.device), masks.to(self.device)).cpu()

    def noise(self, n: int, *address: int | str) -> Tensor:
        """Return latents (n, latent_dim) to begin with; their address is not that of the samples."""
        return latents_of(self.G).noise(self.G.latent_dim)(n, seeded("cpu", "starts", *address))


class Answer(NamedTuple):
    """What searches found for N pictures: as `nblib.latent.Found` calls it, but for the candidates' own losses."""

    images: Tensor
    context: Tensor
    candidates: Tensor


def load(
    images: ImageSet,
    generator: str | Path,
    *,
    encoders: Sequence[str] = (),
    rivals: Sequence[str] = (),
    device: str = "cpu",
    precision: str = "bf16",
) -> Subject:
    """Return a generator, the D beside it, the first encoder that was trained for it, and rivals for its set.

    Parameters
    ----------
    images : ImageSet
    generator : str or path
        Key or weights file, or the folder of a training.
    encoders, rivals : sequences of str
        The same of encoders and Context Encoders; those for other generators and sets are left out. Last come the files
        ``encoder`` and ``context-encoder`` beside the generator, if they are there.

    Raises
    ------
    ValueError
        If the generator was trained on another set.
    FileNotFoundError
        If there are no such weights.
    """
    device, weights = torch.device(device), _file(generator, GENERATORS)
    about, G = checkpoints.card(weights), checkpoints.load(weights, device=device)
    if about["data"] != images.name:
        raise ValueError(f"{weights} has learnt {about['data']}, not {images.name}")
    known_as, D, encoder = {"generator": _named(images, weights)}, None, None
    beside = weights.with_stem(f"{weights.stem.removesuffix('-g')}-d")
    if beside.is_file():
        D = checkpoints.load(beside, device=device)
    for file in _files(encoders, ENCODERS, weights):
        if encoder is None and _made_for(checkpoints.card(file), about):
            encoder, known_as["encoder"] = checkpoints.load(file, device=device), _named(images, file)
    others = {}
    for file in _files(rivals, RIVALS, weights):
        if checkpoints.card(file)["data"] == images.name and file.stem not in others:
            others[file.stem], known_as[file.stem] = _rival(file), _named(images, file)
    return Subject(images, G, D, encoder, others, known_as, device, precision)


def _file(key: str | Path, names: tuple[str, ...]) -> Path:
    return checkpoints.of_run(key, names) or checkpoints.find(key)


def _files(keys: Sequence[str], names: tuple[str, ...], generator: Path) -> list[Path]:
    """Return the weights files of keys, and those beside the generator."""
    beside = [generator.with_name(f"{name}{checkpoints.SUFFIX}") for name in names]
    return [_file(key, names) for key in keys] + [file for file in beside if file.is_file()]


def _made_for(encoder: dict[str, Any], generator: dict[str, Any]) -> bool:
    """Return whether an encoder was trained on the samples of a generator, by their cards."""
    source = encoder["hyper_parameters"]["source"].rpartition(" ")[2]
    return bool(source) and generator["sha256"].startswith(source)


def _named(images: ImageSet, file: Path) -> str:
    """Return how a record calls weights, wherever they lie."""
    return f"{images.name}/{file.stem} {checkpoints.card(file)['sha256'][:12]}"


def _rival(file: Path) -> Inpainter:
    return learned.context_encoder(checkpoints.load(file), name=file.stem)


def searched(
    subject: Subject,
    images: Tensor,
    masks: Tensor,
    *,
    restarts: int = 1,
    warm: bool = False,
    judged: bool = True,
    preconditioned: bool = False,
    **options,
) -> Answer:
    """Search latents for pictures in [-1, 1], `TOGETHER` starts at a time.

    Parameters
    ----------
    subject : Subject
    images, masks : Tensor, float (N, 3, H, W) and bool (N, 1, H, W)
    restarts : int, default 1
        The same starts for every call with as many.
    warm : bool, default False
        Start around the encoder's guess.
    judged : bool, default True
        With the prior loss; without, D is not asked and a step costs half.
    preconditioned : bool, default False
    **options
        Of `nblib.latent.search`.
    """
    parts, few = [], max(1, TOGETHER // restarts)
    matrix = subject.preconditioner if preconditioned else None
    for first in range(0, len(images), few):
        rows = slice(first, first + few)
        starts = subject.noise(len(images[rows]) * restarts, first).unflatten(0, (-1, restarts))
        if warm:
            noise = torch.randn(starts.shape, generator=seeded("cpu", "spread", first))
            starts = subject.guesses(images[rows], masks[rows]).unsqueeze(1) + SPREAD * noise
        with autocast(subject.precision, subject.device):
            D = subject.D if judged else None
            given = {"starts": starts, "preconditioner": matrix}
            parts.append(search(subject.G, D, images[rows], masks[rows], **given, **options))
    return Answer(*(torch.cat([getattr(part, name) for part in parts]).cpu() for name in Answer._fields))


def filled(drawn: Tensor, images: Tensor, masks: Tensor, blend: bool) -> Tensor:
    """Return pictures in [-1, 1] with their holes filled from what G drew, as the inpainter `latent-search` does."""
    source = poisson(drawn, images.masked_fill(masks, 0), masks) if blend else drawn
    return torch.where(masks, source.clamp(-1, 1), images)


def context_of(drawn: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Return the context loss with the usual weights, shape (N,), whatever was minimised."""
    return context_loss(drawn, images, context_weights(masks))


def hidden(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures in [-1, 1] and their centre holes."""
    return uint8_to_signed(pictures), holes.center(len(pictures), pictures.shape[-1])


def share(hits: Tensor) -> dict[str, float]:
    """Return the share of a bool tensor (N,) that is True, with Wilson's 95 % interval."""
    test = stats.binomtest(int(hits.sum()), len(hits))
    ends = test.proportion_ci(method="wilson")
    return {"mean": test.statistic, "low": sweeps.rounded(ends.low), "high": sweeps.rounded(ends.high)}


def apart(values: np.ndarray, other: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the difference of the means of two sets of pictures, with its 95 % bootstrap interval; nothing is paired.

    Examples
    --------
    >>> told = apart(np.full(20, 3.0) + np.arange(20) % 2, np.full(9, 1.0))
    >>> told["mean"], told["low"] < 2.5 < told["high"]
    (2.5, True)
    """
    rng = np.random.default_rng(seed)
    ends = stats.bootstrap((values, other), _difference, n_resamples=2000, method="percentile", rng=rng)
    interval = Interval(values.mean() - other.mean(), *ends.confidence_interval)
    return {name: sweeps.rounded(float(value)) for name, value in interval._asdict().items()}


def _difference(values: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    return values.mean(axis) - other.mean(axis)
