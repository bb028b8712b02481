"""Change a face as told: inpainters that are told a label, and editors, which redraw the whole picture.

===================  =========  ==========================================================================
weights for          load by    what it does
===================  =========  ==========================================================================
`general`            inpainter  fills small holes
`general-big`        inpainter  fills large ones
`smiling`            inpainter  fills a hole at the mouth, smiling or serious: ``smiling=True`` or ``False``
`glasses-remover`    load       draws the whole face anew, without glasses
===================  =========  ==========================================================================

All draw a code for each picture, so each call gives another answer. `nblib.inpainters.load` calls `inpainter`; editors
stay off the leaderboard, as they leave no pixel as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from nblib import checkpoints, tasks
from nblib.inpainting import Inpainter, check_size
from nblib.networks.cvae import ConditionalVAE
from nblib.tasks import Task, weights_of
from nblib.variational import reparameterise

CLASS = "cvae.ConditionalVAE"


@dataclass(frozen=True)
class Editor:
    """A way to redraw pictures, known pixels and all.

    Parameters
    ----------
    name : str
        How tables and figures call it.
    edit : callable
        ``edit(images, *, generator) -> images``, float (B, 3, H, W) in [-1, 1].

    Examples
    --------
    >>> negative = Editor("negative", lambda images, *, generator: -images)
    >>> negative(torch.full((1, 3, 8, 8), 0.5)).unique().item()
    -0.5
    """

    name: str
    edit: Callable[..., Tensor]

    def __call__(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return new pictures, shaped like `images`, clipped to [-1, 1].

        Parameters
        ----------
        images : Tensor, float (B, 3, H, W) in [-1, 1]
        generator : torch.Generator, optional
            By default torch's global one.

        Raises
        ------
        ValueError
            If images are not of that kind, or the new ones are not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; an editor takes float (B, 3, H, W)")
        if len(images) and not images.abs().max() <= 1.001:  # written so that NaN is refused too
            raise ValueError(f"images reach up to {images.abs().max():.3g}; an editor takes [-1, 1]")
        edited = self.edit(images, generator=generator).to(images).clamp(-1, 1)
        if edited.shape != images.shape or not edited.isfinite().all():
            raise ValueError(f"{self.name} drew {tuple(edited.shape)}, or values that are not finite")
        return edited


def inpainter(name: str, weights: str | Path, **label: bool) -> Inpainter:
    """Return a conditional VAE as an inpainter.

    Parameters
    ----------
    name : str
        How tables and figures call it.
    weights : str or path
        Key or file of the weights, or the folder of a run of ``cvae`` or ``cvae-fine``.
    **label : bool
        What the decoder is told, by the attribute's name: ``smiling=False``. By default True.

    Raises
    ------
    ValueError
        If the weights are of another network or of an editor, or have no such label.
    FileNotFoundError
        If there are no such weights.
    """
    weights = weights_of(weights)
    task = _task(weights)
    if task.masks is None:
        raise ValueError(f"{weights} is trained for {task.name}: it fills no holes; use nblib.editors.load")
    wanted = _label(task, label, default=True)
    return Inpainter(name, filling(name, checkpoints.load(weights), wanted), stochastic=True)


def load(key: str | Path, **label: bool) -> Editor:
    """Return an editor.

    Parameters
    ----------
    key : str or path
        ``SET/NAME`` of weights, a weights file, the folder of a run, or ``NAME=RUN``.
    **label : bool
        What the decoder is told; by default that the attribute is absent, ``eyeglasses=False``.

    Raises
    ------
    ValueError
        If the weights are of another network or of an inpainter, or have no such label.
    FileNotFoundError
        If there are no such weights.
    """
    name, _, run = str(key).rpartition("=")
    weights = weights_of(run)
    task = _task(weights)
    if task.masks is not None:
        raise ValueError(f"{weights} is trained for {task.name}: it fills holes; use nblib.inpainters.load")
    fill = filling(name or task.name, checkpoints.load(weights), _label(task, label, default=False))
    return Editor(name or task.name, lambda images, *, generator: fill(images, None, generator=generator))


def filling(name: str, net: ConditionalVAE, label: bool | None) -> Callable[..., Tensor]:
    """Return ``fill(images, masks, *, generator=None) -> images``: whole pictures as the network draws them.

    Parameters
    ----------
    name : str
        For messages.
    net : ConditionalVAE
        In eval mode, where the pictures of a batch do not influence each other.
    label : bool or None
        What the decoder is told of every picture; None for a network without a label.
    """

    @torch.no_grad()
    def fill(images: Tensor, masks: Tensor | None, *, generator: Generator | None = None) -> Tensor:
        check_size(name, net, images)
        device = next(net.parameters()).device
        mu, logvar = net.encode(images.to(device), None if masks is None else masks.to(device))
        noise = torch.randn(mu.shape, generator=generator, device=device if generator is None else generator.device)
        labels = None if label is None else torch.full((len(images),), label, device=device)
        return net.decode(reparameterise(mu, logvar, noise.to(mu)), labels).to(images)

    return fill


def available(set_name: str | None = None) -> list[str]:
    """Return the keys of the weights of editors, of one set or of all."""
    return [key for key in checkpoints.available(set_name) if _edits(key)]


def _edits(key: str) -> bool:
    try:
        card = checkpoints.card(key)
        return card.get("class") == CLASS and tasks.of_card(card).masks is None
    except (FileNotFoundError, ValueError):  # whoever loads the weights is told
        return False


def _task(weights: str | Path) -> Task:
    """Return what weights were trained for."""
    card = checkpoints.card(weights)
    if card.get("class") != CLASS:
        raise ValueError(f"{weights} is of the class {card.get('class')}, which is no conditional VAE")
    return tasks.of_card(card)


def _label(task: Task, given: dict[str, bool], default: bool) -> bool | None:
    """Return what the decoder is told, checked; None for a task without a label."""
    given = {name.lower(): value for name, value in given.items()}  # Smiling, as the set calls it, is smiling
    unknown = set(given) - {task.keyword} if task.label else set(given)
    if unknown:
        known = f"its label is {task.keyword}" if task.label else "it has no label"
        raise ValueError(f"{', '.join(sorted(unknown))}: {task.name} is not told that; {known}")
    wanted = given.get(task.keyword, default)
    if wanted not in (True, False):
        raise ValueError(f"{task.keyword}={wanted!r}: a label is True or False")
    return bool(wanted) if task.label else None
