"""Watch a training from a notebook, stop it and go on: curves, samples, rate and remaining time.

The training runs in a thread of its own: a kernel that is busy with a cell may not hear a button. JupyterLab from 4.4
with ipykernel from 7 hears it even then, other front ends as soon as the cell is done, and a cell that starts the
training is done at once. The kernel's own interrupt button stops a training that `TrainingMonitor.wait` waits for.
"""

import atexit
import contextlib
import io
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import traitlets
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from nblib import plots
from nblib.images import signed_to_uint8
from nblib.training import Log, Training, fit

POINTS, PICTURES = 512, 16  # samples shown
CURVE_POINTS = 400  # sent to the browser; more cannot be told apart, and a saved notebook keeps them
PAUSE = 0.1  # seconds between messages to the browser
DRAWING_SHARE = 0.05  # of the time may go into drawing samples


class TrainingMonitor(anywidget.AnyWidget):
    """Curves, samples and two buttons, Stop and Resume.

    Stop ends the training after the current step; with ``out=…`` a checkpoint is left, as by ``training.stop()``.

    Parameters
    ----------
    training : Training
        What will be trained.

    Attributes
    ----------
    logs : list of Log
        All so far.
    samples : Tensor or None
        The latest, (n, 3, H, W) in [-1, 1] or points (n, 2).
    status : str
        "ready", "running", "stopping", "stopped", "finished" or "failed".

    Examples
    --------
    >>> from nblib.losses import bce_loss_d, nonsaturating_loss_g
    >>> from nblib.networks.mlp import Discriminator2d, Generator2d
    >>> from nblib.toys import densities
    >>> from nblib.training import GANTraining
    >>> def gan_step(training, batch):
    ...     fake = training.G(batch.noise)
    ...     loss_d = bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    ...     training.descend("D", loss_d)
    ...     loss_g = nonsaturating_loss_g(training.D(fake))
    ...     training.descend("G", loss_g)
    ...     return {"loss_d": loss_d, "loss_g": loss_g}
    >>> monitor = TrainingMonitor(GANTraining(Generator2d(), Discriminator2d()))
    >>> monitor.fit(gan_step, densities.ring().batches(16), steps=100, precision="fp32")  # returns at once
    >>> monitor.wait()
    >>> monitor.status, [log.step for log in monitor.logs]
    ('finished', [50, 100])
    """

    _esm = Path(__file__).parent / "static" / "monitor.js"
    curves = traitlets.Dict({"steps": [], "series": {}}).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)  # PNG
    caption = traitlets.Unicode().tag(sync=True)
    line = traitlets.Unicode().tag(sync=True)
    status = traitlets.Unicode("ready").tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(self, training: Training):
        self.training = training
        self.logs: list[Log] = []
        self.samples: Tensor | None = None
        self._real: Tensor | None = None
        self._again: Callable[[], Iterator[Log]] | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._lock = threading.RLock()  # the thread and the buttons both change what is shown
        self._shown = self._drawn = -math.inf  # when curves were sent, and when samples were drawn last
        self._drawing = 0.0  # seconds that took
        super().__init__()
        self.on_msg(self._pressed)
        # ipykernel 7.4 takes a button's message to the shell that wrote last, which a cell may keep busy, and not to
        # the one that JupyterLab addressed. Where this does nothing, buttons are heard as soon as the cell is done.
        self.comm._reply_subshell_for = lambda data, addressed: addressed

    def __repr__(self) -> str:
        return "TrainingMonitor()"  # the same in every run

    def fit(self, step: Callable, batches: Any, **arguments: Any) -> None:
        """Start `nblib.training.fit` on the training, with the same arguments, and return at once.

        Call `wait` before using what was trained.

        Raises
        ------
        ValueError
            If a training runs already, and whatever `fit` raises at its start.
        """
        if self.running:
            raise ValueError("this monitor's training runs already; wait() for its end, or stop() it")
        arguments = {"progress": False, **arguments}
        again = {**arguments, "resume": arguments.get("resume", False) or arguments.get("out") is not None}
        logs = fit(self.training, step, batches, **arguments)
        self._again = lambda: fit(self.training, step, batches, **again)
        self._total = arguments.get("steps")
        first = batches.at(0).images
        self._real = first[:POINTS].cpu() if first.ndim == 2 else None
        self._start(logs)

    @property
    def running(self) -> bool:
        """Whether the training runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Stop after the current step, as the button does."""
        if self.running:
            self.training.stop()
            self._show(status="stopping")

    def resume(self) -> None:
        """Go on after a stop, as the button does: from the checkpoint, if there is one."""
        if self.running or self._again is None:
            return
        try:
            self._start(self._again())
        except Exception as error:  # a button has no caller who would see it
            self._fail(error)

    def wait(self) -> None:
        """Wait until the training has ended or was stopped; raise here what it raised.

        Interrupting the kernel meanwhile stops the training like the button, and raises KeyboardInterrupt.
        """
        try:
            while self.running:
                self._thread.join(0.2)  # in portions: one long wait cannot be interrupted everywhere
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
            raise
        error, self._error = self._error, None
        if error is not None:
            raise error

    def figure(self) -> Figure:
        """Return curves and samples as a figure, see `monitor_figure`."""
        return monitor_figure(self.logs, self.samples, self._real)

    def _pressed(self, _: Any, content: dict[str, str], __: Any) -> None:
        {"stop": self.stop, "resume": self.resume}[content["do"]]()

    def _start(self, logs: Iterator[Log]) -> None:
        self._error = None
        self._show(status="running", trouble="")
        self._thread = threading.Thread(target=self._follow, args=(logs,), name="training", daemon=True)
        atexit.register(self._leave)
        self._thread.start()

    def _follow(self, logs: Iterator[Log]) -> None:
        """Iterate the training; this runs in the thread."""
        try:
            with contextlib.closing(logs):
                for log in logs:
                    self._take(log)
            done = self._total is not None and self.training.step >= self._total
            stopped = self.training.stopping and not done
            self._show(status="stopped" if stopped else "finished", **self._progress(), **self._drawn_samples())
        except BaseException as error:
            self._fail(error)
        finally:
            atexit.unregister(self._leave)

    def _take(self, log: Log) -> None:
        self.logs.append(log)
        now = time.perf_counter()
        if now - self._shown < PAUSE:
            return
        self._shown = now
        due = now - self._drawn >= self._drawing / DRAWING_SHARE
        self._show(**self._progress(), **(self._drawn_samples() if due else {}))

    def _drawn_samples(self) -> dict[str, Any]:
        """Return samples, or pictures of another kind, as the browser shows them; empty for a training without."""
        start = time.perf_counter()
        if hasattr(self.training, "sample"):
            drawn = self.training.sample(PICTURES if self._real is None else POINTS)
        else:
            drawn = self.training.picture()  # rows of 8, such as broken, filled and true pictures
        if drawn is None:
            return {}
        self.samples = drawn.cpu()
        content = {"picture": _png(self.samples, self._real), "caption": _caption(self.samples, self.training.step)}
        self._drawn = time.perf_counter()
        self._drawing = self._drawn - start
        return content

    def _progress(self) -> dict[str, Any]:
        return {"curves": thinned(self.logs), "line": self._told()}

    def _told(self) -> str:
        total = "" if self._total is None else f" of {self._total:,}"
        told = f"step {self.training.step:,}{total}"
        if self.logs:
            log = self.logs[-1]
            told += f" · {log.images_per_second:,.0f} {'images' if self._real is None else 'points'}/s"
            told += f" · {_duration(log.remaining)} left" if log.remaining >= 1 else ""
        return told

    def _show(self, **content: Any) -> None:
        """Send everything that changed in one message."""
        with self._lock, self.hold_sync():
            for name, value in content.items():
                setattr(self, name, value)
            self.version += 1

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._show(status="failed", trouble=f"{type(error).__name__}: {error}")

    def _leave(self) -> None:
        """Leave a checkpoint when the kernel ends or restarts; it grants five seconds."""
        self.training.stop()
        self._thread.join(4)


def monitor_figure(logs: Sequence[Log], samples: Tensor | None = None, real: Tensor | None = None) -> Figure:
    """Draw the curves of a training and its latest samples.

    Parameters
    ----------
    logs : sequence of Log
        As `nblib.training.fit` yields them; every value gets a curve.
    samples : Tensor, float (n, 3, H, W) in [-1, 1] or points (n, 2), optional
        Samples of a generator, or what else a training shows of itself.
    real : Tensor (m, 2), optional
        Real points, drawn in gray under `samples`.

    Raises
    ------
    ValueError
        If there are no logs.

    Examples
    --------
    >>> import torch
    >>> logs = [Log(step, {"loss_d": 1.4, "loss_g": 0.7}, 100.0, 1.0, 0.0) for step in (50, 100)]
    >>> len(monitor_figure(logs, torch.zeros(8, 3, 16, 16)).axes)
    2
    """
    if not logs:
        raise ValueError("there are no logs yet: nothing to draw")
    with sns.axes_style("whitegrid"), sns.plotting_context("talk"):
        figure = plt.figure(figsize=(9 if samples is None else 15, 5), layout="constrained")
        plt.close(figure)  # else a notebook would show it a second time at the end of the cell
        widths = [1.4] if samples is None else [1.4, 1]
        panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        _draw_curves(panels[0], logs)
        if samples is not None:
            panels[1].imshow(_picture(samples, real), interpolation="nearest")
            panels[1].set(xticks=[], yticks=[], title=_caption(samples, logs[-1].step))
    return figure


def thinned(logs: Sequence[Log]) -> dict[str, Any]:
    """Return steps and values for the browser, at most `CURVE_POINTS` of each, the last one included.

    Examples
    --------
    >>> thinned([Log(step, {"loss": 1.0 / step}, 0.0, 0.0, 0.0) for step in (1, 2)])
    {'steps': [1, 2], 'series': {'loss': [1.0, 0.5]}}
    """
    every = max(1, math.ceil(len(logs) / CURVE_POINTS))
    kept = logs[::-1][::every][::-1]
    names = kept[-1].values if kept else ()
    return {"steps": [log.step for log in kept], "series": {n: [log.values[n] for log in kept] for n in names}}


def _draw_curves(ax: Any, logs: Sequence[Log]) -> None:
    steps, styles = [log.step for log in logs], itertools.cycle(("-", "--", ":", "-."))
    colours = itertools.cycle(sns.color_palette(plots.PALETTE))
    for name, style, colour in zip(logs[-1].values, styles, colours, strict=False):
        ax.plot(steps, [log.values[name] for log in logs], style, color=colour, label=name, linewidth=3)
    ax.set(xlabel="step", ylabel="value")
    ax.legend()


def _caption(samples: Tensor, step: int) -> str:
    return f"{'points' if samples.ndim == 2 else 'pictures'} at step {step:,}"


def _picture(samples: Tensor, real: Tensor | None = None) -> np.ndarray:
    """Return samples as one picture, uint8 (H, W, 3)."""
    if samples.ndim == 2:
        return _points(samples, real)
    return plots.image_grid(signed_to_uint8(samples), columns=4 if len(samples) <= PICTURES else 8)


def _points(samples: Tensor, real: Tensor | None, side: int = 840) -> np.ndarray:
    """Return points as a picture, by hand: matplotlib's pyplot belongs to the main thread."""
    frame = 1.25 * (samples if real is None else real).abs().max().clamp_min(1e-6)  # real points keep the frame still
    canvas = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(canvas)
    for points, colour in ((real, "#b0b0b0"), (samples, "#0072b2")):
        for x, y in () if points is None else ((points / frame + 1) * side / 2).clamp(-side, 2 * side).tolist():
            pen.ellipse((x - 6, side - y - 6, x + 6, side - y + 6), fill=colour)
    return np.asarray(canvas.resize((side // 2, side // 2), Image.Resampling.LANCZOS))


def _png(samples: Tensor, real: Tensor | None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_picture(samples, real)).save(buffer, "PNG")
    return buffer.getvalue()


def _duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> _duration(42.3), _duration(190)
    ('42 s', '3 min 10 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
