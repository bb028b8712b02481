"""Paint a hole into a picture and see how every inpainter fills it.

Inpainters work in two threads, the fast ones in one and the slow ones in another, so that painting goes on meanwhile.
Whatever changes the hole or the picture begins a new turn; what an earlier turn still brings is thrown away.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from nblib import masks, plots, strokes
from nblib.datasets.photos import open_photo
from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.inpainters import Inpainter
from nblib.strokes import Drawing, Stroke
from nblib.widgets.lanes import Job, Lane
from nblib.widgets.png import figure_png, picture_png
from nblib.widgets.tiles import Filling, check_pictures, fill, filled_figure, named
from nblib.widgets.uploads import LIMITS, Upload, square_photo

NO_HOLE, NO_PICTURE = "nothing to fill", "nothing is known"
QUEUED, RUNNING = "queued", "filling …"
UNASKED, UNASKED_AGAIN = "waits for the button", "of an earlier hole; waits for the button"
AT_WORK = ("queued", "running")


class MaskPainter(anywidget.AnyWidget):
    """Paint a hole with a brush, an eraser and a rectangle; every inpainter fills the same hole, side by side.

    Fast inpainters begin when a stroke ends, slow ones when their button is pressed. Each tile appears as soon as it is
    ready, with its time and, where the truth is known, the PSNR of the pixels in the hole. A photo of one's own can be
    dropped onto the painter; it stays in the memory of the kernel.

    While the picture has the focus, arrow keys move the pen (with Shift four times as far), Enter or Space puts it down
    and lifts it, Escape gives a stroke up, B, E and R choose the tool, - and + the radius, Page Up and Page Down the
    picture, Delete clears; Ctrl+Z and Ctrl+Shift+Z undo and redo.

    Parameters
    ----------
    images : Tensor, uint8 or float in [-1, 1], (B, 3, S, S)
    inpainters : mapping of str to Inpainter, or list of str
        By the name to be shown; or keys, see `nblib.inpainters.load`.
    slow : collection of str, default ()
        Those of `inpainters` that wait for the button, by name or key.
    truth : bool, default True
        Whether the pictures are whole, so that a PSNR can be told.

    Raises
    ------
    ValueError
        If there is no picture or no inpainter, or pictures are not of that kind.

    Examples
    --------
    >>> painter = MaskPainter(torch.zeros(1, 3, 64, 64), ["telea", "biharmonic"], slow=["biharmonic"])
    >>> painter.line
    'picture 1 of 1 · no hole yet, nothing to fill'
    >>> painter.paint([{"tool": "rectangle", "points": [[10, 10], [19, 29]]}])
    >>> painter.wait()
    >>> [filling.name for filling in painter.fillings]
    ['telea']
    >>> painter.fill_slow()
    >>> painter.wait()
    >>> len(painter.figure().axes)  # the picture, its hole, two fillings
    4
    """

    _esm = Path(__file__).parent / "static" / "painter.js"
    methods = traitlets.List().tag(sync=True)  # of {"name", "slow"}; what each brings is in tile_0, tile_1, …
    protocols = traitlets.List(list(masks.PROTOCOLS)).tag(sync=True)
    limits = traitlets.Dict(LIMITS).tag(sync=True)  # bytes of files that are sent, by their kind
    picture = traitlets.Int().tag(sync=True)
    pictures = traitlets.Int().tag(sync=True)
    size = traitlets.Int().tag(sync=True)  # side of a picture
    png = traitlets.Bytes().tag(sync=True)  # the picture
    hole = traitlets.Bytes().tag(sync=True)  # a bit per pixel, row by row
    fillable = traitlets.Bool().tag(sync=True)
    undoable = traitlets.Bool().tag(sync=True)
    redoable = traitlets.Bool().tag(sync=True)
    heard = traitlets.List().tag(sync=True)  # the view and the number of the stroke that was heard last
    line = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(
        self,
        images: Tensor,
        inpainters: Mapping[str, Inpainter] | Iterable[str],
        *,
        slow: Collection[str] = (),
        truth: bool = True,
    ):
        check_pictures(images)
        self._inpainters, slow = named(inpainters, slow)
        self._images, self._photos, self._truth = images, [], truth
        self._drawing = Drawing(images.shape[-1])
        self._fillings: dict[int, Filling] = {}
        self._turn, self._upload = 0, Upload()
        self._idle = threading.Condition()  # its lock guards everything here
        self._lanes = {slow: Lane(self._idle) for slow in (False, True)}
        # A trait for each tile: a message brings only what is new. They must be there before the widget is opened.
        self.add_traits(**{f"tile_{k}": traitlets.Dict().tag(sync=True) for k in range(len(self._inpainters))})
        methods = [{"name": name, "slow": name in slow} for name in self._inpainters]
        super().__init__(methods=methods, size=images.shape[-1])
        self.on_msg(self._hear)
        # As in TrainingMonitor: ipykernel 7.4 takes messages to the shell that wrote last, which a cell may keep busy.
        self.comm._reply_subshell_for = lambda data, addressed: addressed
        self.choose(0)

    def __repr__(self) -> str:
        return "MaskPainter()"  # the same in every run

    @property
    def strokes(self) -> list[Stroke]:
        """What was painted, see `nblib.strokes`."""
        return self._drawing.strokes

    @property
    def mask(self) -> Tensor:
        """The hole, bool (1, S, S)."""
        return self._drawing.mask

    @property
    def fillings(self) -> list[Filling]:
        """What is there of the present hole, in the order of the inpainters."""
        with self._idle:
            return [self._fillings[k] for k in sorted(self._fillings)]

    def paint(self, strokes: Iterable[Stroke]) -> None:
        """Add strokes, as the mouse does; fast inpainters begin.

        Raises
        ------
        ValueError
            If a stroke is not as `nblib.strokes` describes them; then none is added.
        """
        self._draw(self._drawing.paint, strokes)

    def undo(self) -> None:
        """Take the last stroke back, if there is one."""
        if self._drawing.undoable:
            self._draw(self._drawing.undo)

    def redo(self) -> None:
        """Paint the stroke that was taken back last once more, if there is one."""
        if self._drawing.redoable:
            self._draw(self._drawing.redo)

    def clear(self) -> None:
        """Remove the hole; this can be undone."""
        self.paint([{"tool": "clear"}])

    def random(self, protocol: str = "seed", seed: int | None = None) -> None:
        """Draw a hole by a protocol of `nblib.masks`, instead of what was there; by default another one each time."""
        seed = secrets.randbelow(2**31) if seed is None else seed
        self.paint([{"tool": "random", "protocol": protocol, "seed": seed}])

    def choose(self, picture: int) -> None:
        """Show another picture under the same hole; photos of one's own come last.

        Raises
        ------
        ValueError
            If there is no such picture (counted from 0).
        """
        with self._idle, self.hold_sync():
            count = len(self._images) + len(self._photos)
            if not 0 <= picture < count:
                raise ValueError(f"picture={picture}: there are pictures 0 to {count - 1}")
            self.picture, self.pictures = picture, count
            self._begin()

    def photo(self, path: str | Path) -> None:
        """Show a photo of your own: its central square, at the size of the pictures; as dropping it does.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no JPEG, PNG, WebP or BMP picture, is cut short or too large.
        """
        self._add(open_photo(path, self.size).image)

    def fill_slow(self) -> None:
        """Have the slow inpainters fill the hole too, as their button does."""
        with self._idle:
            if self.fillable:
                waiting = [k for k in self._those(slow=True) if self._tile(k)["status"] == "unasked"]
                self._show(**{f"tile_{k}": {**self._tile(k), "status": "queued", "told": QUEUED} for k in waiting})
                self._lanes[True].add(self._jobs(waiting))

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all that began to fill the present hole have ended.

        Raises
        ------
        TimeoutError
            If that takes more than `timeout` seconds.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        with self._idle:
            while busy := [name for k, name in enumerate(self._inpainters) if self._tile(k)["status"] in AT_WORK]:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{', '.join(busy)} did not end within {timeout} s")
                self._idle.wait(min(left, 0.2))  # in portions: one long wait cannot be interrupted everywhere

    def figure(self) -> Figure:
        """Return what is shown as a figure, see `nblib.widgets.filled_figure`."""
        with self._idle:
            shown = self._pixels(), self.mask, self.fillings
        return filled_figure(*shown)

    def export(self, path: str | Path) -> None:
        """Write that figure as PNG, whole or not at all."""
        plots.save(self.figure(), path)

    def save(self, path: str | Path) -> None:
        """Write the strokes as JSON, whole or not at all."""
        strokes.write(path, self.strokes, self.size)

    def load(self, path: str | Path) -> None:
        """Paint the strokes of a file instead of those that are there; see `nblib.strokes.read` for what is refused."""
        self._draw(self._drawing.replace, strokes.read(path, self.size))

    def _draw(self, change: Callable, *arguments: Any) -> None:
        """Change the drawing, and begin."""
        with self._idle:
            change(*arguments)
            self._begin()

    def _add(self, image: Tensor) -> None:
        with self._idle:
            self._photos.append(image)
            self.choose(len(self._images) + len(self._photos) - 1)

    def _begin(self) -> None:
        """Begin a turn: show the hole and the picture, and let fast inpainters fill it."""
        hole, png = self.mask, picture_png(self._pixels())
        self._turn += 1
        self._fillings.clear()
        fillable = bool(hole.any()) and not bool(hole.all())
        tiles = {f"tile_{k}": self._begun(k, png) for k in range(len(self._inpainters))}
        self._show(
            png=png, hole=np.packbits(hole.numpy()).tobytes(), fillable=fillable, line=self._told(), trouble="",
            undoable=self._drawing.undoable, redoable=self._drawing.redoable, **tiles,
        )  # fmt: skip
        self._lanes[False].put(self._jobs(self._those(slow=False)) if fillable else [])
        self._lanes[True].put([])
        self._idle.notify_all()

    def _begun(self, k: int, png: bytes) -> dict[str, Any]:
        """Return a tile at the beginning of a turn; it keeps what it had of this picture until it has its own."""
        hole, before = self.mask, self._tile(k)
        if not hole.any():
            return {"status": "empty", "told": NO_HOLE, "png": png}
        if hole.all():
            return {"status": "empty", "told": NO_PICTURE, "png": b""}
        earlier = before.get("png", b"") if png == self.png else b""
        if not self.methods[k]["slow"]:
            return {"status": "queued", "told": QUEUED, "png": earlier}
        earlier = b"" if before.get("status") == "empty" else earlier  # a whole picture might wait there for long
        return {"status": "unasked", "told": UNASKED_AGAIN if earlier else UNASKED, "png": earlier}

    def _jobs(self, those: list[int]) -> list[Job]:
        turn, picture, hole = self._turn, self._signed(), self.mask
        return [lambda k=k: self._fill(k, turn, picture, hole) for k in those]

    def _fill(self, k: int, turn: int, picture: Tensor, hole: Tensor) -> None:
        """Fill one tile, in the thread of its lane."""
        with self._idle:
            if turn != self._turn:
                return
            self._show(**{f"tile_{k}": {**self._tile(k), "status": "running", "told": RUNNING}})
        name = self.methods[k]["name"]
        filling = fill(name, self._inpainters[name], picture, hole, truth=self._truth)
        with self._idle:
            if turn != self._turn:
                return  # the tile belongs to a newer hole
            self._fillings[k] = filling
            status, png = ("failed", b"") if filling.image is None else ("done", picture_png(filling.image))
            self._show(**{f"tile_{k}": {"status": status, "told": filling.told, "png": png}})
            self._idle.notify_all()

    def _those(self, *, slow: bool) -> list[int]:
        return [k for k, method in enumerate(self.methods) if method["slow"] == slow]

    def _tile(self, k: int) -> dict[str, Any]:
        return getattr(self, f"tile_{k}")

    def _pixels(self) -> Tensor:
        """Return the picture, uint8 (3, S, S)."""
        image = self._shown()
        return image if image.dtype == torch.uint8 else signed_to_uint8(image)

    def _signed(self) -> Tensor:
        """Return the picture, float (3, S, S) in [-1, 1]."""
        image = self._shown()
        return uint8_to_signed(image) if image.dtype == torch.uint8 else image

    def _shown(self) -> Tensor:
        own = self.picture - len(self._images)
        return (self._images[self.picture] if own < 0 else self._photos[own]).detach().cpu()

    def _told(self) -> str:
        pixels, own = int(self.mask.sum()), self.picture >= len(self._images)
        told = f"hole of {pixels:,} pixels, {100 * pixels / self.size**2:.1f} %"
        if not pixels:
            told = f"no hole yet, {NO_HOLE}"
        elif pixels == self.size**2:
            told = f"the whole picture is hole, {NO_PICTURE} to fill it from: erase or undo some of it"
        parts = [f"picture {self.picture + 1} of {self.pictures}", *(["your own photo"] if own else []), told]
        return " · ".join(parts)

    def _show(self, **content: Any) -> None:
        """Send everything that changed in one message."""
        with self._idle, self.hold_sync():
            for name, value in content.items():
                setattr(self, name, value)
            self.version += 1

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """Do what the browser says. An error has no caller who would see it, so it is shown."""
        try:
            self._obey(content, buffers)
        except Exception as error:
            self._show(trouble=f"{type(error).__name__}: {error}")

    def _obey(self, content: dict[str, Any], buffers: list[memoryview]) -> None:
        match content["do"]:
            case "paint":
                with self._idle, self.hold_sync():  # one message says that it was heard, and shows it
                    self.heard = [content["view"], content["number"]]
                    self.paint([content["stroke"]])
            case "choose":
                self.choose(content["picture"])
            case "random":
                self.random(content["protocol"])
            case "upload":
                self._receive(content, buffers[0])
            case "save":
                text = strokes.dumps(self.strokes, self.size)
                self._offer(content["view"], "strokes.json", "application/json", text.encode())
            case "export":
                self._offer(content["view"], "filled.png", "image/png", figure_png(self.figure()))
            case "undo" | "redo" | "clear" | "fill_slow" as wish:
                getattr(self, wish)()

    def _offer(self, view: str, name: str, kind: str, data: bytes) -> None:
        """Let the view that asked download something."""
        self.send({"do": "download", "view": view, "name": name, "type": kind}, [data])

    def _receive(self, content: dict[str, Any], data: memoryview) -> None:
        whole = self._upload.part(content, data)
        if whole is not None and content["kind"] == "photo":
            self._add(square_photo(whole, self.size, content["name"]))
        elif whole is not None:
            self._draw(self._drawing.replace, strokes.loads(whole, self.size))
