"""Fill one hole by several codes under one label: what `nblib.widgets.AttributeMixer` shows of one network."""

import copy
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nblib import checkpoints, metrics, tasks
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_uint8, uint8_to_signed, uint8_to_unit
from nblib.inpainting import check_size
from nblib.networks.cvae import ConditionalVAE
from nblib.plots import with_hole
from nblib.tasks import Task
from nblib.variational import reparameterise
from nblib.widgets.tiles import duration

SAMPLES = 16  # at most
HOTTEST = 2.0  # temperature
OWN = "own"
HOLES = {
    OWN: "as each network was trained",
    "general": "small rectangle",
    "general-big": "large rectangle",
    "smiling": "mouth box",
    "glasses-remover": "nothing hidden, all drawn anew",
}
PLACED = ("general", "general-big")  # holes whose place is drawn

Source = str | Path | tuple[nn.Module, str]


@dataclass(frozen=True)
class Candidate:
    """A network and what it was trained for.

    Parameters
    ----------
    name : str
    net : ConditionalVAE
        In eval mode.
    task : Task

    Raises
    ------
    ValueError
        If the network is no conditional VAE, or lacks the label of its task, or has more than its two classes.
    """

    name: str
    net: ConditionalVAE
    task: Task

    def __post_init__(self):
        if not isinstance(self.net, ConditionalVAE):
            raise ValueError(f"{self.name} is {type(self.net).__name__}; the mixer shows conditional VAEs")
        if self.net.classes != (2 if self.task.label else 0):
            wants = f"the label {self.task.label}, classes=2" if self.task.label else "no label, classes=0"
            raise ValueError(f"{self.name} has classes={self.net.classes}; its task {self.task.name} has {wants}")


@dataclass(frozen=True)
class Judge:
    """A classifier as a judge of one attribute.

    Parameters
    ----------
    net : nn.Module
        Images (B, 3, H, W) in [-1, 1] to logits (B, A); in eval mode.
    column : int
        Of the attribute.
    attribute : str
        Its name.
    """

    net: nn.Module
    column: int
    attribute: str

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the probability of the attribute in each picture, uint8 (B, 3, H, W) to float (B,)."""
        device = next(self.net.parameters()).device
        return self.net(uint8_to_signed(pictures.to(device)))[:, self.column].float().sigmoid().cpu()


@dataclass(frozen=True)
class Mixed:
    """What one network made of a hole, n times; `raw` is empty if it made nothing, then `trouble` says why.

    Attributes
    ----------
    name : str
        Of the network.
    seen : Tensor, uint8 (3, H, W)
        What it was shown, the hole mid-gray.
    raw : Tensor, uint8 (n, 3, H, W)
        The whole pictures that it drew.
    composite : Tensor, uint8 (n, 3, H, W)
        The known pixels with `raw` in the hole.
    seconds : float
        How long that took.
    l1 : Tensor, float (n,), or None
        Mean absolute difference to the truth in the hole, in [0, 1] units; None if that is not known.
    attribute : str
        What a judge was asked; "" without one.
    judged, judged_raw : Tensor, float (n,), or None
        The judge's probability of the attribute in `composite` and in `raw`.
    trouble : str
        The error of the network, or of the judge; empty if there was none.
    """

    name: str
    seen: Tensor
    raw: Tensor
    composite: Tensor
    seconds: float
    l1: Tensor | None = None
    attribute: str = ""
    judged: Tensor | None = None
    judged_raw: Tensor | None = None
    trouble: str = ""

    def shown(self, raw: bool = False) -> Tensor:
        """Return the raw pictures or the composites."""
        return self.raw if raw else self.composite

    def spread(self, raw: bool = False) -> Tensor | None:
        """Return the standard deviation of each pixel over the samples, float (H, W) in [0, 1]; None for fewer than 2.

        The root of the variance, averaged over the three colours.
        """
        pictures = uint8_to_unit(self.shown(raw))
        return pictures.var(0).mean(0).sqrt() if len(pictures) > 1 else None

    def told(self, raw: bool = False) -> list[str]:
        """Return in words how each sample came out: its L1 in the hole, and the judge's verdict."""
        judged = self.judged_raw if raw else self.judged
        parts = [[f"L1 {value:.3f}" for value in self.l1.tolist()] if self.l1 is not None else []]
        parts += [[f"{self.attribute} {100 * p:.0f} %" for p in judged.tolist()] if judged is not None else []]
        return [" · ".join(part[k] for part in parts if part) for k in range(len(self.raw))]

    def summary(self, raw: bool = False) -> str:
        """Return in words the time, the mean L1, and how many samples have the attribute, for the judge."""
        if not len(self.raw):
            return self.trouble
        judged = self.judged_raw if raw else self.judged
        parts = [duration(self.seconds)]
        parts += [f"mean L1 in the hole {self.l1.mean():.3f}"] if self.l1 is not None else []
        parts += [f"{self.attribute} {int((judged >= 0.5).sum())} of {len(judged)}"] if judged is not None else []
        return " · ".join([*parts, self.trouble] if self.trouble else parts)


def mix(
    candidate: Candidate,
    picture: Tensor,
    hole: Tensor,
    noise: Tensor,
    *,
    label: float | None = None,
    temperature: float = 1.0,
    truth: Tensor | None = None,
    judge: Judge | None = None,
) -> Mixed:
    """Fill a hole once for each row of noise. What the network or the judge raises is told in the result.

    The codes are mu + temperature * exp(logvar / 2) * noise: 0 draws the mean alone, 1 what the network was trained
    with.

    Parameters
    ----------
    candidate : Candidate
    picture : Tensor, uint8 (3, H, W)
    hole : Tensor, bool (1, H, W)
        Where all is hole, nothing is hidden and all is drawn anew.
    noise : Tensor, float (n, latent_dim)
        Standard normal.
    label : float, optional
        0 for no, 1 for yes; between them the two embeddings are mixed. Not looked at if the network has no label.
    temperature : float, default 1
    truth : Tensor, uint8 (3, H, W), optional
        What a perfect answer would be.
    judge : Judge, optional

    Examples
    --------
    >>> net = ConditionalVAE(width=2, latent_dim=4).eval()
    >>> picture, hole = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.bool)
    >>> hole[:, 50:64, 21:45] = True
    >>> mixed = mix(Candidate("cvae", net, tasks.find("smiling")), picture, hole, torch.zeros(2, 4), label=0.5)
    >>> mixed.raw.shape, int(mixed.composite.masked_select(~hole).max())  # what is known stays
    (torch.Size([2, 3, 64, 64]), 0)
    """
    none, seen = picture.new_zeros(0, *picture.shape), _seen(picture, hole)
    start = time.perf_counter()
    try:
        raw = _drawn(candidate, picture, hole, noise, label, temperature)
    except Exception as error:  # the others go on
        return Mixed(candidate.name, seen, none, none, time.perf_counter() - start, trouble=_words(error))
    seconds, composite = time.perf_counter() - start, torch.where(hole, raw, picture)
    l1 = None if truth is None else _hole_l1(composite, truth, hole)
    found: dict[str, Any] = {}
    if judge is not None:
        try:
            found = {"attribute": judge.attribute, "judged": judge(composite), "judged_raw": judge(raw)}
        except Exception as error:  # the pictures are there all the same
            found = {"trouble": f"the judge: {_words(error)}"}
    return Mixed(candidate.name, seen, raw, composite, seconds, l1, **found)


def draw_noise(seed: int, samples: int, units: int) -> Tensor:
    """Return noise (samples, units) of which a seed's first rows stay when more are asked for."""
    return torch.randn(SAMPLES, units, generator=torch.Generator().manual_seed(seed))[:samples]


def draw_hole(task: Task, images: ImageSet, picture: int, seed: int) -> Tensor:
    """Return the hole of a task in one picture of a set, bool (1, H, W); all of it if the task hides nothing.

    Raises
    ------
    ValueError
        If the set's landmarks are not those of a face.
    """
    size, sampler = images.images.shape[-1], task.sampler(images.name)
    if sampler is None:
        return torch.ones(1, size, size, dtype=torch.bool)
    landmarks = None if images.landmarks is None else images.landmarks[picture : picture + 1]
    return sampler(1, size, landmarks=landmarks, generator=torch.Generator().manual_seed(seed))[0]


def candidates(networks: Mapping[str, Source] | Iterable[str | Path], size: int) -> dict[str, Candidate]:
    """Return networks by the name to be shown, for pictures of a side.

    Parameters
    ----------
    networks : mapping of str to source, or list of str
        A source is a key of weights, a weights file or the folder of a run, which know their task; or a tuple of a
        network, which is copied, and the name of its task. In a list, sources are named by their last part, or as in
        ``NAME=RUN``.
    size : int

    Raises
    ------
    ValueError
        If there is none, two have the same name, or one is no conditional VAE, fits not its task or not the size.
    FileNotFoundError
        If there are no such weights.
    """
    if not isinstance(networks, Mapping):
        given = [networks] if isinstance(networks, str | Path) else list(networks)
        pairs = [_named(key) for key in given]
        networks = dict(pairs)
        if len(networks) < len(pairs):
            raise ValueError(f"{', '.join(map(str, given))}: two have the same name; give a mapping from name to key")
    if not networks:
        raise ValueError("there is no network; give keys such as 'toyfaces/cvae-smiling', or (network, task)")
    found = {name: _candidate(name, source) for name, source in networks.items()}
    for name, candidate in found.items():
        check_size(name, candidate.net, torch.empty(0, 3, size, size))
    return found


def _named(key: str | Path) -> tuple[str, str]:
    name, _, source = str(key).rpartition("=")
    return name or Path(source).name, source


def _candidate(name: str, source: Source) -> Candidate:
    if isinstance(source, tuple):
        net, task = source
        return Candidate(name, copy.deepcopy(net).eval(), tasks.find(task))  # a training may go on meanwhile
    if not isinstance(source, str | Path):
        raise ValueError(f"{name} is {type(source).__name__}; give a key of weights, a run, or a tuple (network, task)")
    weights = tasks.weights_of(source)
    return Candidate(name, checkpoints.load(weights), tasks.of_card(checkpoints.card(weights)))


def _seen(picture: Tensor, hole: Tensor) -> Tensor:
    """Return what is shown of a picture to a network, the hole mid-gray; all of it if nothing is hidden."""
    return picture if bool(hole.all()) else with_hole(picture[None], hole[None])[0]


@torch.no_grad()
def _drawn(
    candidate: Candidate, picture: Tensor, hole: Tensor, noise: Tensor, label: float | None, temperature: float
) -> Tensor:
    """Return what a network draws for each row of noise, uint8 (n, 3, H, W)."""
    net = candidate.net
    device = next(net.parameters()).device
    image, noise = uint8_to_signed(picture[None]).to(device), noise.to(device)
    mu, logvar = net.encode(image, None if bool(hole.all()) else hole[None].to(device))  # (1, z)
    z = reparameterise(mu, logvar, temperature * noise)  # (n, z)
    drawn = net.decode(z, _labels(candidate, label, len(noise), device))  # (n, 3, H, W)
    if not drawn.isfinite().all():
        raise ValueError(f"{candidate.name} drew values that are not finite; check its weights")
    return signed_to_uint8(drawn).cpu()


def _labels(candidate: Candidate, label: float | None, n: int, device: torch.device) -> Tensor | None:
    if not candidate.task.label:
        return None
    if label is None or not 0 <= label <= 1:
        raise ValueError(f"label={label}: {candidate.name} needs {candidate.task.label} from 0 (no) to 1 (yes)")
    weights = torch.tensor([[1 - label, label]], dtype=torch.float32, device=device)  # of the embeddings
    return weights.expand(n, -1)  # (n, 2)


def _hole_l1(composite: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    n = len(composite)
    wanted, holes = uint8_to_unit(truth).expand(n, -1, -1, -1), hole.expand(n, -1, -1, -1)
    return metrics.hole_l1(uint8_to_unit(composite), wanted, holes)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
