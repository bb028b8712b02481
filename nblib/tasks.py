"""The four tasks of document 004, and one more: which part of a face is hidden, and what the answer is told.

===================  =================================================  ==================
task                 hidden                                             label
===================  =================================================  ==================
`general`            a rectangle of 2 to 5 % of the area                -
`general-big`        a rectangle of 8 to 14 % of the area               -
`smiling`            a box around the mouth                             ``Smiling``
`smiling-wide`       one that holds the creases of the cheeks, too      ``Smiling``
`glasses-remover`    nothing: the whole picture is drawn anew           ``Eyeglasses``
===================  =================================================  ==================

Each picture has a rectangle of its own. While training, the label is the picture's own; in use, the wanted one.

The document's mouth box is 14 rows by 24 columns at a fixed place of CelebA's crop. A smile does not end there: of all
that turns in a drawn face with its smile, a box of that size around the mouth holds 69 %, and one of 20 by 29 holds
92 % (mean absolute differences, 600 faces). Drawn faces get the wider one for `smiling` as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from nblib import checkpoints
from nblib import masks as holes
from nblib.masks import Sampler

MOUTH_BOX = (50, 64, 21, 45)  # the document's: rows and columns, half-open, of CelebA's 64x64 crop
SMILE_BOX = (43, 63, 18, 47)  # what a smile needs, around a mouth at MOUTH
MOUTH = (32.25, 53.0)  # where the mouth is in that crop on average, (x, y): the middle of its corners
FIXED = ("celeba",)  # sets with that crop
WEIGHTS = ("cvae-fine", "cvae")  # what a run may hold, the better first


@dataclass(frozen=True)
class Task:
    """What a conditional VAE learns.

    Parameters
    ----------
    name : str
    masks : callable, optional
        A sampler of holes as in `nblib.masks`; None: nothing is hidden.
    label : str, default ""
        An attribute of the set, which the decoder is told; "" for none.
    fixed : callable, optional
        The sampler for CelebA's crop, if it is another one there.

    Examples
    --------
    >>> TASKS["smiling"].label, TASKS["smiling"].keyword
    ('Smiling', 'smiling')
    """

    name: str
    masks: Sampler | None
    label: str = ""
    fixed: Sampler | None = None

    @property
    def keyword(self) -> str:
        """How the label is called where one is chosen, as in ``smiling=True``; "" without one."""
        return self.label.lower()

    def sampler(self, set_name: str) -> Sampler | None:
        """Return the sampler for a set: of `smiling`, CelebA has the document's box, other sets the wide one."""
        return self.fixed if self.fixed and set_name in FIXED else self.masks


def small(n: int, size: int = 64, *, landmarks=None, generator: Generator | None = None, device=None) -> Tensor:
    """Draw one rectangle of 2 to 5 % of the area per image, uniformly placed, at most about 1 : 3.

    As `nblib.masks.big`, which covers 8 to 14 %: the height is drawn first, then the width uniformly among those that
    keep the area within the bounds.

    Examples
    --------
    >>> shares = small(500, generator=torch.Generator().manual_seed(0)).float().mean((1, 2, 3))
    >>> 0.02 <= shares.min().item() and shares.max().item() <= 0.05
    True
    """
    device = _device(generator, device)
    chance = torch.rand(4, n, generator=generator, device=device)
    lowest, highest = round(size * 8 / 64), round(size * 17 / 64)
    height = lowest + (chance[0] * (highest - lowest + 1)).long()
    narrow, wide = torch.ceil(0.02 * size**2 / height).long(), torch.floor(0.05 * size**2 / height).long()
    width = narrow + (chance[1] * (wide - narrow + 1)).long()
    top, left = (chance[2] * (size - height + 1)).long(), (chance[3] * (size - width + 1)).long()
    return holes.rectangles(top, left, height, width, size)


def around_mouths(
    box: tuple[int, int, int, int], n: int, size: int = 64, *, landmarks: Tensor | None = None, device=None
) -> Tensor:
    """Return a box for each mouth, where `box` lies around a mouth at `MOUTH`.

    Parameters
    ----------
    box : tuple of int
        Rows and columns of 64, half-open.
    landmarks : Tensor, float (n, 5, 2), optional
        In pixels; the last two are the corners of the mouth. Without landmarks every box lies where `box` says.

    Returns
    -------
    Tensor, bool (n, 1, size, size)
        A box that would leave the picture is moved into it.

    Raises
    ------
    ValueError
        If there are not five landmarks for each of the n masks.

    Examples
    --------
    >>> points = torch.tensor([[[22.0, 30.0], [41.0, 30.0], [32.0, 41.0], [25.0, 48.0], [39.0, 48.0]]])
    >>> mask = around_mouths(MOUTH_BOX, 1, landmarks=points)[0, 0]
    >>> mask.any(1).nonzero().flatten()[[0, -1]].tolist(), mask.any(0).nonzero().flatten()[[0, -1]].tolist()
    ([45, 58], [21, 44])
    """
    top, bottom, left, right = (round(edge * size / 64) for edge in box)
    height, width = (torch.full((n,), side, device=device) for side in (bottom - top, right - left))
    if landmarks is None:
        return holes.rectangles(torch.full_like(height, top), torch.full_like(width, left), height, width, size)
    if landmarks.shape != (n, 5, 2):
        raise ValueError(f"landmarks {tuple(landmarks.shape)}: a mouth box needs five points each for {n} pictures")
    mouth = landmarks[:, 3:].to(height.device).mean(1)  # (n, 2)
    x, y = (mouth - torch.tensor(MOUTH, device=height.device) * (size / 64)).round().long().unbind(1)
    rows, columns = (top + y).clamp(0, size - (bottom - top)), (left + x).clamp(0, size - (right - left))
    return holes.rectangles(rows, columns, height, width, size)


def smile_box(n: int, size: int = 64, *, landmarks: Tensor | None = None, generator=None, device=None) -> Tensor:
    """Return a box around each mouth that holds what a smile changes, 20 rows by 29 columns of 64."""
    return around_mouths(SMILE_BOX, n, size, landmarks=landmarks, device=_device(generator, device))


def mouth_box(n: int, size: int = 64, *, landmarks=None, generator=None, device=None) -> Tensor:
    """Return the document's mouth box, rows 50 to 63 and columns 21 to 44 of 64, for every image.

    It fits CelebA's crop, where eyes and mouths lie in nearly the same place.
    """
    return around_mouths(MOUTH_BOX, n, size, device=_device(generator, device))


def _device(generator: Generator | None, device) -> torch.device:
    return generator.device if generator is not None else torch.device(device or "cpu")


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("general", small),
        Task("general-big", holes.big),
        Task("smiling", smile_box, "Smiling", fixed=mouth_box),
        Task("smiling-wide", smile_box, "Smiling"),
        Task("glasses-remover", None, "Eyeglasses"),
    )
}


def find(name: str) -> Task:
    """Return the task called `name`.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in TASKS:
        raise ValueError(f"task={name!r}: no such task; choose from {', '.join(TASKS)}")
    return TASKS[name]


def of_card(card: Mapping[str, Any]) -> Task:
    """Return the task that weights were trained for, as their card says.

    Raises
    ------
    ValueError
        If it names none.
    """
    return find(card.get("hyper_parameters", {}).get("task", ""))


def fills(card: Mapping[str, Any]) -> bool:
    """Return whether weights with this card fill holes, rather than redraw the whole picture."""
    name = card.get("hyper_parameters", {}).get("task")
    return name in TASKS and TASKS[name].masks is not None


def weights_of(run: str | Path) -> str | Path:
    """Return the weights that a run holds, the fine-tuned ones if there are some; a file or key stays as it is."""
    return checkpoints.of_run(run, WEIGHTS) or run
