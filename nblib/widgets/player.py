"""Go through a latent search step by step: what G drew, what that makes of the hole, and how the losses fell."""

import functools
import threading
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from nblib import plots
from nblib.latent import Found
from nblib.widgets.png import picture_png
from nblib.widgets.search_views import FULL, TABLE, Replay, check, check_choice, replay, search_figure, weight_picture

ACROSS = 16  # frames side by side in a sprite; in one line, a long search would be wider than browsers draw
KEPT = 16  # images, so that going back and forth is quick


class SearchPlayer(anywidget.AnyWidget):
    """Play a finished search for each of its images and starts, or go through it step by step.

    All pictures of an image are sent at once, as two sprites: from then on the browser needs no kernel, and a saved
    notebook plays as well. In the state, and so in the notebook, one moment of one start of 64x64 takes about 10 kB.

    Left and Right go a moment back or on, Home and End to the first and the last, Space plays and pauses.

    Parameters
    ----------
    found : Found
        With a history: ``search(…, every=10)``.
    images : Tensor, float (B, 3, H, W) in [-1, 1]
        As given to the search; what lies in the holes is not looked at.
    masks : Tensor, bool (B, 1, H, W)
        True = hole.
    truth : Tensor, like `images`, optional
        Without holes, to compare with; often it is `images` once more.
    blend : bool, default False
        Adjust the filling to the rim by Poisson blending; else it is pasted as it is.

    Raises
    ------
    ValueError
        If the search kept no pictures, or images, masks or truth are not those of the search.

    Examples
    --------
    >>> from nblib.latent import search
    >>> from nblib.networks.dcgan import Generator
    >>> G = Generator(latent_dim=8, width=4, size=8).eval()
    >>> images, masks = G(torch.zeros(2, 8)).detach(), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:6, 2:6] = True
    >>> found = search(G, None, images, masks, steps=20, starts=torch.zeros(2, 8), every=10)
    >>> player = SearchPlayer(found, images, masks, truth=images)
    >>> player.choose(image=1, step=10)
    >>> player.line
    'image 2 of 2 · step 10 of 20 · context loss 0.0 · 60.0 dB in the hole'
    """

    _esm = Path(__file__).parent / "static" / "player.js"
    image = traitlets.Int().tag(sync=True)
    images = traitlets.Int().tag(sync=True)
    restart = traitlets.Int().tag(sync=True)
    kept = traitlets.Int().tag(sync=True)  # the start that won
    frozen = traitlets.List().tag(sync=True)  # by start, the steps it took
    step = traitlets.Int().tag(sync=True)
    at = traitlets.List().tag(sync=True)  # the steps that have pictures
    size = traitlets.List().tag(sync=True)  # height and width of a picture
    across = traitlets.Int(ACROSS).tag(sync=True)
    drawn = traitlets.Bytes().tag(sync=True)  # PNG of G(z): all moments of the first start, of the second …
    completed = traitlets.Bytes().tag(sync=True)  # PNG, likewise
    stills = traitlets.Bytes().tag(sync=True)  # PNG: what is known, W over it, and the truth if it is known
    hole = traitlets.Bytes().tag(sync=True)  # a bit per pixel, row by row
    curves = traitlets.Bytes().tag(sync=True)  # float32 (3, R, S + 1): context, prior, sum
    psnr = traitlets.Bytes().tag(sync=True)  # float32 (R, T), or nothing
    truth = traitlets.Bool().tag(sync=True)
    judged = traitlets.Bool().tag(sync=True)  # there is a prior loss
    largest = traitlets.Float().tag(sync=True)  # of W
    difference = traitlets.Bool(False).tag(sync=True)  # show it instead of pictures
    weights = traitlets.Bool(False).tag(sync=True)  # show W over what is known
    speed = traitlets.Float(5).tag(sync=True)  # moments per second
    full = traitlets.Float(FULL).tag(sync=True)
    colours = traitlets.Bytes(TABLE.tobytes()).tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(
        self, found: Found, images: Tensor, masks: Tensor, *, truth: Tensor | None = None, blend: bool = False
    ):
        check(found, images, masks, truth)
        self._given = (found, images, masks)
        self._more = {"truth": truth, "blend": blend}
        self._replay = functools.lru_cache(KEPT)(lambda image: replay(*self._given, image, **self._more))
        self._lock = threading.RLock()  # some front ends call from a thread of their own
        super().__init__(images=len(images), at=list(found.history.at), step=found.history.at[-1])
        self.on_msg(self._heard)
        # As in TrainingMonitor: ipykernel 7.4 takes messages to the shell that wrote last, which a cell may keep busy.
        self.comm._reply_subshell_for = lambda data, addressed: addressed
        self._show(image=0)

    def __repr__(self) -> str:
        return "SearchPlayer()"  # the same in every run

    @property
    def line(self) -> str:
        """What is shown, in words."""
        return f"image {self.image + 1} of {self.images} · {self._replay(self.image).told(self.restart, self.step)}"

    def choose(self, image: int | None = None, restart: int | None = None, step: int | None = None) -> None:
        """Change what is shown, as the controls do; what is not given stays, but another image begins with its winner.

        Raises
        ------
        ValueError
            If there is no such image or start (counted from 0), or no picture of this step.
        """
        if image is not None and not 0 <= image < self.images:
            raise ValueError(f"image={image}: there are images 0 to {self.images - 1}")
        seen = self._replay(self.image if image is None else image)
        check_choice(seen, restart or 0, *([] if step is None else [step]))
        self._show(image, restart, step)

    def figure(self) -> Figure:
        """Return image and start that are shown as a figure, the step marked, see `nblib.widgets.search_figure`."""
        shown = {"image": self.image, "restart": self.restart, "cursor": self.step, "difference": self.difference}
        return search_figure(*self._given, **self._more, **shown)

    def export(self, path: str | Path) -> None:
        """Write that figure as PNG, whole or not at all."""
        plots.save(self.figure(), path)

    def _heard(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Answer the browser. An error has no caller who would see it, so it is shown."""
        try:
            self.choose(image=content["image"])
        except Exception as error:
            with self._lock, self.hold_sync():
                self.trouble = f"{type(error).__name__}: {error}"
                self.version += 1

    def _show(self, image: int | None = None, restart: int | None = None, step: int | None = None) -> None:
        """Send everything that changed in one message."""
        with self._lock:
            other = image is not None and (image != self.image or not self.version)
            content = _content(self._replay(image)) | {"image": image} if other else {}
            content["restart"] = restart if restart is not None else content.get("kept", self.restart)
            content["step"] = self.step if step is None else step
            with self.hold_sync():
                for name, value in (content | {"trouble": ""}).items():
                    setattr(self, name, value)
                self.version += 1


def _content(seen: Replay) -> dict[str, Any]:
    """Return the state for an image."""
    stills = [seen.broken.permute(1, 2, 0).numpy(), weight_picture(seen)]
    stills += [] if seen.truth is None else [seen.truth.permute(1, 2, 0).numpy()]
    return {
        "kept": seen.kept, "frozen": seen.frozen, "size": list(seen.hole.shape),
        "drawn": picture_png(sprite(seen.drawn)), "completed": picture_png(sprite(seen.completed)),
        "stills": picture_png(np.concatenate(stills, 1)), "hole": np.packbits(seen.hole.numpy()).tobytes(),
        "curves": _floats(torch.stack([seen.context, seen.prior, seen.total]).transpose(1, 2)),
        "psnr": b"" if seen.psnr is None else _floats(seen.psnr.T),
        "truth": seen.truth is not None, "judged": seen.judged, "largest": float(seen.weights.max()),
    }  # fmt: skip


def sprite(pictures: Tensor) -> np.ndarray:
    """Return pictures, uint8 (T, R, 3, H, W), in one: the T moments of the first start, then of the next one.

    Examples
    --------
    >>> sprite(torch.zeros(11, 3, 3, 8, 8, dtype=torch.uint8)).shape  # 33 pictures, 16 in a row
    (24, 128, 3)
    """
    every = pictures.transpose(0, 1).flatten(0, 1)  # (R * T, 3, H, W)
    rows = -(-len(every) // ACROSS)
    every = torch.cat([every, every.new_zeros(rows * ACROSS - len(every), *every.shape[1:])])
    every = every.unflatten(0, (rows, ACROSS)).permute(0, 3, 1, 4, 2)  # (rows, H, ACROSS, W, 3)
    return every.flatten(2, 3).flatten(0, 1).numpy()


def _floats(values: Tensor) -> bytes:
    return values.contiguous().numpy().astype("<f4").tobytes()
