"""One interface over everything that can fill a hole; the leaderboard, the notebooks and the command line share it.

`load` finds an inpainter by its key, `available` lists the keys:

=============================  =================================================================
key                            what
=============================  =================================================================
``telea``                      a classical method of `nblib.baselines`
``toyfaces/refiner``           weights that come with the repository, or lie in the data folder
``mine=runs/refiner``          a training of your own, by a name of your choice
=============================  =================================================================
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from nblib import checkpoints, paths
from nblib import masks as holes
from nblib.baselines import BASELINES, STOCHASTIC
from nblib.datasets import KNOWN
from nblib.networks.approxnet import pasted

FILLERS = {  # the classes of networks that fill holes, and what training calls their weights; the best first
    "approxnet.AttentionRefiner": "refiner",
    "approxnet.ApproxNet": "approxnet",
    "approxnet.ConvApproxNet": "approxnet",
}


@dataclass(frozen=True)
class Inpainter:
    """A way to fill holes, held to the rules: it never sees what is hidden and never changes what is known.

    Parameters
    ----------
    name : str
        How tables and figures call it.
    fill : callable
        ``fill(images, masks) -> images``, float (B, 3, H, W) in [-1, 1]; only its values in the holes are used. If
        `stochastic`, it also takes the keyword `generator`.
    stochastic : bool, default False
        Whether it draws random numbers.

    Examples
    --------
    >>> white = Inpainter("white", lambda images, masks: torch.ones_like(images))
    >>> images, masks = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:4, 2:4] = True
    >>> int(white(images, masks).sum())  # 3 channels of 2 x 2 pixels
    12
    """

    name: str
    fill: Callable[..., Tensor]
    stochastic: bool = False

    def __call__(self, images: Tensor, masks: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Fill the holes.

        Parameters
        ----------
        images : Tensor, float (B, 3, H, W) in [-1, 1]
        masks : Tensor, bool (B, 1, H, W)
            True in the hole.
        generator : torch.Generator, optional
            Of a stochastic inpainter; by default torch's global one.

        Returns
        -------
        Tensor, like `images`
            Bit by bit equal to `images` outside the holes, clipped to [-1, 1] inside.

        Raises
        ------
        ValueError
            If images or masks are not of that kind, an image is all hole, or the filling is not finite.
        """
        _check_images(images)
        holes.check(masks, images)
        blanked = images.masked_fill(masks, 0)  # mid-gray; what was there is gone
        filled = self.fill(blanked, masks, **({"generator": generator} if self.stochastic else {}))
        if filled.shape != images.shape:
            raise ValueError(f"{self.name} returned {tuple(filled.shape)} for images {tuple(images.shape)}")
        filled = torch.where(masks, filled.to(images).clamp(-1, 1), images)
        if not filled.isfinite().all():  # a NaN would count as "no hole" in every metric, and flatter
            raise ValueError(f"{self.name} filled with values that are not finite; check its weights and its input")
        return filled


def load(key: str) -> Inpainter:
    """Return the inpainter called `key`.

    Parameters
    ----------
    key : str
        The name of a baseline; ``SET/NAME`` of weights that fill holes; or ``NAME=RUN``, where RUN is the folder of a
        training (of its networks the refiner, if there is one) or a weights file.

    Raises
    ------
    ValueError
        If there is none, the nearest names are given; or if the weights are of a network that fills no holes.
    FileNotFoundError
        If there is no such run, or it has no weights yet.

    Examples
    --------
    >>> load("telea").name, load("patchmatch").stochastic
    ('telea', True)
    >>> load("teela")
    Traceback (most recent call last):
    ValueError: there is no inpainter 'teela'; did you mean telea?
    """
    if key in BASELINES:
        return Inpainter(key, BASELINES[key], stochastic=key in STOCHASTIC)
    if "=" in key:
        name, _, run = key.partition("=")
        return _trained(name, _weights_of(name, run))
    if key in checkpoints.available():
        return _trained(key.rpartition("/")[2], key)
    known = [*BASELINES, *_shipped()]
    near = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    raise ValueError(f"there is no inpainter {key!r}; {hint}")


def available(set_name: str, size: int | None = None) -> list[str]:
    """Return the keys of all inpainters that can fill images of a set: the classical ones take any.

    Then come the weights for the set, and the trainings on it under ``runs/`` that are complete, as ``NAME=RUN``.

    Parameters
    ----------
    set_name : str
    size : int, optional
        Side of the images; without it networks for any size are listed.
    """
    shipped = [key for key in _shipped(set_name) if size in (None, _size(_card(key)))]
    runs = [folder for folder in sorted((paths.REPOSITORY / "runs").glob("*")) if _fits(folder, set_name, size)]
    return [*BASELINES, *shipped, *(f"{folder.name}={folder}" for folder in runs)]


def listed(methods: str, set_name: str, size: int | None = None) -> list[str]:
    """Return the keys in ``"a, b"``; those of all inpainters for a set if it is "all".

    A name of weights for that set needs no set before it.

    Raises
    ------
    ValueError
        If there is no such set.

    Examples
    --------
    >>> listed("telea, biharmonic", "toyfaces")
    ['telea', 'biharmonic']
    """
    if set_name not in KNOWN:
        raise ValueError(f"{set_name!r} is no data set; known are {', '.join(KNOWN)}")
    if methods == "all":
        return available(set_name, size)
    names, shipped = [name.strip() for name in methods.split(",")], _shipped(set_name)
    return [f"{set_name}/{name}" if f"{set_name}/{name}" in shipped else name for name in names]


def _shipped(set_name: str | None = None) -> list[str]:
    """Return the keys of weights that fill holes."""
    return [key for key in checkpoints.available(set_name) if _card(key).get("class") in FILLERS]


def _card(key: str | Path) -> dict[str, Any]:
    """Return a card, empty if it is missing or damaged: whoever loads the weights is told."""
    try:
        return checkpoints.card(key)
    except (FileNotFoundError, ValueError):
        return {}


def _size(card: dict[str, Any]) -> int | None:
    return card.get("arguments", {}).get("size")


def _fits(run: Path, set_name: str, size: int | None) -> bool:
    """Return whether a run has weights that fill holes in pictures of this set and size."""
    cards = [_card(path) for path in _filler_files(run) if path.is_file()]
    return bool(cards) and cards[0].get("data") == set_name and size in (None, _size(cards[0]))


def _filler_files(run: Path) -> list[Path]:
    """Return where a run may have weights that fill holes, the refiner's first."""
    return [run / "weights" / f"{name}.safetensors" for name in dict.fromkeys(FILLERS.values())]


def _weights_of(name: str, run: str) -> Path:
    """Return the weights file of a run: that of the refiner, if there is one."""
    path = Path(run).expanduser()
    if not name or not run:
        raise ValueError(f"{name}={run}: give a name and the folder of a training, as in refiner=runs/refiner")
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such run; give the folder that `nblib train … --out` was given")
    for file in _filler_files(path):
        if file.is_file():
            return file
    names = " or ".join(file.name for file in _filler_files(path))
    raise FileNotFoundError(
        f"{path} has no weights that fill holes ({names} in weights/); "
        "a training of approxnet or refiner writes them when it ends"
    )


def _trained(name: str, weights: str | Path) -> Inpainter:
    """Return weights as an inpainter, together with the approximator that they were trained with."""
    card = checkpoints.card(weights)
    if card.get("class") not in FILLERS:
        raise ValueError(f"{weights} is of the class {card.get('class')}, which fills no holes")
    net, needed = checkpoints.load(weights), card.get("approximator")
    return Inpainter(name, _filling(name, net, _approximator(weights, needed) if needed else None))


def _approximator(weights: str | Path, needed: dict[str, str]) -> nn.Module:
    """Return the approximator that a refiner's card asks for; it lies beside the refiner."""
    beside = str(Path(weights).parent / Path(needed["file"]).stem)
    try:
        card = checkpoints.card(beside)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{weights} refines what {needed['file']} guesses, which is missing: {error}") from None
    if card.get("sha256") != needed["sha256"]:
        raise ValueError(f"{beside} is not the approximator that {weights} was trained with (SHA-256 differs)")
    return checkpoints.load(beside)


def _filling(name: str, net: nn.Module, approximator: nn.Module | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that fills holes, which come mid-gray: by the approximator if there is one, then by `net`."""

    @torch.no_grad()
    def fill(images: Tensor, masks: Tensor) -> Tensor:
        if images.shape[-2:] != (net.size, net.size):
            given = "x".join(map(str, images.shape[-2:]))
            raise ValueError(f"{name} was trained for pictures of {net.size}x{net.size}; these are {given}")
        guess = images if approximator is None else pasted(approximator(images, masks), images, masks)
        return net(guess, masks)

    return fill


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are {tuple(images.shape)}; an inpainter takes a batch (B, 3, H, W)")
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; convert them with nblib.images.uint8_to_signed")
    if not len(images):
        return
    low, high = images.aminmax()
    if not (low >= -1.001 and high <= 1.001):  # a little room for rounding; written so that NaN is refused too
        raise ValueError(f"images reach from {low:.3g} to {high:.3g}; an inpainter takes [-1, 1]")
