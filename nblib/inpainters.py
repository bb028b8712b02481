"""One interface over everything that can fill a hole; the leaderboard, the notebooks and the command line share it.

`load` finds an inpainter by its key, `available` lists the keys:

=============================  =================================================================
key                            what
=============================  =================================================================
``telea``                      a classical method of `nblib.baselines`
``toyfaces/refiner``           weights that come with the repository, or lie in the data folder
``toyfaces/latent-search``     a search for a picture of ``toyfaces/dcgan-g`` that fits around the hole
``mine=runs/refiner``          a training of your own, by a name of your choice
=============================  =================================================================
"""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nblib import checkpoints, editors, learned, paths, tasks
from nblib.baselines import BASELINES, STOCHASTIC
from nblib.datasets import KNOWN
from nblib.inpainting import Inpainter, check_size
from nblib.learned import SEARCH
from nblib.networks.approxnet import pasted

FILLERS = {  # the classes of networks that fill holes, and what trainings call their weights; the best first
    "approxnet.AttentionRefiner": ("refiner",),
    "approxnet.ApproxNet": ("approxnet",),
    "approxnet.ConvApproxNet": ("approxnet",),
    "context_encoder.ContextEncoder": ("context-encoder",),
    editors.CLASS: tasks.WEIGHTS,
}
SEARCHED = {  # the classes of networks that a latent search goes through, or starts from
    "encoder.LatentEncoder": ("encoder",),
    "dcgan.Generator": ("dcgan-g",),
    "sagan.Generator": ("sagan-g",),
}
GENERATOR = "dcgan-g"  # ``SET/latent-search`` is the search in ``SET/dcgan-g``


def load(key: str, **label: bool) -> Inpainter:
    """Return the inpainter called `key`.

    Parameters
    ----------
    key : str
        The name of a baseline; ``SET/NAME`` of weights that fill holes; ``SET/latent-search``; or ``NAME=RUN``, where
        RUN is the folder of a training (of its networks the refiner, if there is one) or a weights file. With
        generators, such as ``toyfaces/sagan-g``, and encoders it is the latent search.
    **label : bool
        What a network that takes a label is told, such as ``smiling=False``; see `labels`.

    Raises
    ------
    ValueError
        If there is none, the nearest names are given; if the weights are of a network that fills no holes; or if it is
        told a label that it does not take.
    FileNotFoundError
        If there is no such run, it has no weights yet, or those that they need are missing.

    Examples
    --------
    >>> load("telea").name, load("patchmatch").stochastic
    ('telea', True)
    >>> load("teela")
    Traceback (most recent call last):
    ValueError: there is no inpainter 'teela'; did you mean telea?
    """
    if key not in BASELINES:
        return _trained(*_found(key), label)
    _refuse(label, key)
    return Inpainter(key, BASELINES[key], stochastic=key in STOCHASTIC)


def labels(key: str) -> tuple[str, ...]:
    """Return the names of the labels that `load` takes for an inpainter.

    Raises
    ------
    ValueError, FileNotFoundError
        As `load`.

    Examples
    --------
    >>> labels("telea")
    ()
    """
    card = {} if key in BASELINES else checkpoints.card(_found(key)[1])
    task = tasks.of_card(card) if card.get("class") == editors.CLASS else None
    return (task.keyword,) if task is not None and task.label else ()


def available(set_name: str, size: int | None = None) -> list[str]:
    """Return the keys of all inpainters that can fill images of a set: the classical ones take any.

    Then come the weights for the set, and the trainings on it under ``runs/`` that are complete, as ``NAME=RUN``. Those
    of GANs and encoders are not among them: every latent search takes its minutes, so that in one's own GAN is named.

    Parameters
    ----------
    set_name : str
    size : int, optional
        Side of the images; without it networks for any size are listed.
    """
    shipped = [key for key in _shipped(set_name) if size in (None, _size(_card(_weights_key(key))))]
    runs = [folder for folder in sorted((paths.work_dir() / "runs").glob("*")) if _fits(folder, set_name, size)]
    return [*BASELINES, *shipped, *(f"{folder.name}={folder}" for folder in runs)]


def listed(methods: str, set_name: str, size: int | None = None) -> list[str]:
    """Return the keys in ``"a, b"``; those of all inpainters for a set if it is "all", but for latent searches.

    A name of weights for that set needs no set before it. A search takes seconds a picture, so it must be named.

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
        return [key for key in available(set_name, size) if not key.endswith(f"/{SEARCH}")]
    names, shipped = [name.strip() for name in methods.split(",")], _shipped(set_name)
    return [f"{set_name}/{name}" if f"{set_name}/{name}" in shipped else name for name in names]


def _shipped(set_name: str | None = None) -> list[str]:
    """Return the keys of weights that fill holes, and of latent searches."""
    shipped = checkpoints.available(set_name)
    searches = [f"{key.removesuffix(GENERATOR)}{SEARCH}" for key in shipped if key.endswith(f"/{GENERATOR}")]
    return sorted([*searches, *(key for key in shipped if _fills(_card(key)))])


def _fills(card: dict[str, Any]) -> bool:
    """Return whether a card is of weights that fill holes: not of editors, which redraw the whole picture."""
    return card.get("class") in FILLERS and (card["class"] != editors.CLASS or tasks.fills(card))


def _weights_key(key: str) -> str:
    """Return the key of the weights behind the key of an inpainter."""
    return key.removesuffix(SEARCH) + GENERATOR if key.endswith(f"/{SEARCH}") else key


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
    file = checkpoints.of_run(run, _names(FILLERS))
    card = {} if file is None else _card(file)
    return _fills(card) and card.get("data") == set_name and size in (None, _size(card))


def _names(classes: dict[str, tuple[str, ...]]) -> list[str]:
    """Return what trainings call the weights of these classes, without repetition."""
    return list(dict.fromkeys(name for names in classes.values() for name in names))


def _found(key: str) -> tuple[str, str | Path]:
    """Return the name and the weights of a trained inpainter."""
    if "=" in key:
        name, _, run = key.partition("=")
        return name, _weights_of(name, run)
    weights = _weights_key(key)
    if weights in checkpoints.available():
        return key.rpartition("/")[2], weights
    if weights != key and weights.partition("/")[0] in KNOWN:
        raise FileNotFoundError(f"{key} searches in {weights}, and there are no such weights; NAME=RUN takes a run's")
    known = [*BASELINES, *_shipped()]
    near = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    raise ValueError(f"there is no inpainter {key!r}; {hint}")


def _weights_of(name: str, run: str) -> Path:
    """Return the weights file of a run: that of the refiner, if there is one."""
    path, names = Path(run).expanduser(), _names(FILLERS | SEARCHED)
    if not name or not run:
        raise ValueError(f"{name}={run}: give a name and the folder of a training, as in refiner=runs/refiner")
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such run; give the folder that `nblib train … --out` was given")
    if (file := checkpoints.of_run(path, names)) is not None:
        return file
    wanted = " or ".join(f"{name}.safetensors" for name in names)
    raise FileNotFoundError(
        f"{path} has no weights that fill holes ({wanted} in weights/); a training of such networks writes them when "
        "it ends"
    )


def _trained(name: str, weights: str | Path, label: dict[str, bool]) -> Inpainter:
    """Return weights as an inpainter, together with those that they were trained with."""
    card = checkpoints.card(weights)
    kind = card.get("class")
    if kind == editors.CLASS:
        return editors.inpainter(name, weights, **label)
    _refuse(label, name)
    if kind in SEARCHED:
        return learned.load(weights, name=name)
    if kind not in FILLERS:
        raise ValueError(f"{weights} is of the class {kind}, which fills no holes")
    net, needed = checkpoints.load(weights), card.get("approximator")
    return Inpainter(name, _filling(name, net, _approximator(weights, needed) if needed else None))


def _refuse(label: dict[str, bool], name: str) -> None:
    """Raise a ValueError if there is a label, for an inpainter that takes none."""
    if label:
        raise ValueError(f"{', '.join(label)}: {name} is not told that; it has no label")


def _approximator(weights: str | Path, needed: dict[str, str]) -> nn.Module:
    """Return the approximator that a refiner's card asks for; it lies beside the refiner."""
    beside = checkpoints.find(weights).with_name(needed["file"])
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
        check_size(name, net, images)
        guess = images if approximator is None else pasted(approximator(images, masks), images, masks)
        return net(guess, masks)

    return fill
