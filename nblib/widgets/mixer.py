"""Turn an attribute of a face on and off, mix the two, and see what several networks draw for several codes.

Networks work in a thread of their own, so that the controls answer meanwhile. Whatever changes a setting begins a new
turn; what an earlier turn still brings is thrown away.
"""

import operator
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from nblib import plots
from nblib.datasets.imageset import ImageSet
from nblib.widgets.lanes import Lane
from nblib.widgets.mixer_known import Known, Wish, checked, first_labels, yes
from nblib.widgets.mixer_views import mixed_figure, spread_picture, spread_told
from nblib.widgets.mixing import HOLES, HOTTEST, OWN, PLACED, SAMPLES, Mixed, Source, candidates, draw_noise, mix
from nblib.widgets.png import figure_png, picture_png

QUEUED, RUNNING = "queued", "drawing …"
AT_WORK = ("queued", "running")


class AttributeMixer(anywidget.AnyWidget):
    """Fill a hole of a face under a label of your choice, several times, by several networks side by side.

    All networks are given the same picture, label and noise. Each sample is shown with the known pixels as they were,
    or as the network drew it; under it stand its L1 in the hole, where the truth under that label is known, and the
    probability that a judge gives the attribute. The last picture of a row tells where its samples differ.

    Keys, anywhere but in a list: S samples again, F flips the (first) label, H another hole, R raw or pasted,
    Page Up and Page Down the picture (on a slider they move it).

    Parameters
    ----------
    images : ImageSet
        Its landmarks place the mouth box, its attributes say what label a picture has. Other pictures:
        ``ImageSet(images)``.
    networks : mapping of str to source, or list of str
        A source is a key of weights, a weights file or the folder of a run; or a tuple (network, task). Networks are
        copied: a training may go on meanwhile.
    judge : nn.Module or str, optional
        A classifier of the attributes of `images`, or the key of one, such as ``"toyfaces/classifier"``.
    counterfactuals : mapping of str to Tensor, or Tensor, uint8 (N, 3, H, W), optional
        By label: the same pictures with that attribute turned to its opposite and all else equal. Of toys they are
        known, see `nblib.toys.faces.flip`. With one label the mapping may be left out.

    Raises
    ------
    ValueError
        If there is no picture or no network, or the arguments do not fit together.
    FileNotFoundError
        If there are no weights where some were named.

    Examples
    --------
    >>> from nblib.networks.cvae import ConditionalVAE
    >>> faces = ImageSet(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    >>> mixer = AttributeMixer(faces, {"cvae": (ConditionalVAE(width=2, latent_dim=4), "smiling")})
    >>> mixer.choose(picture=1, samples=3, smiling=0.5)
    >>> mixer.line
    'picture 2 of 2 · Smiling 0.50 · hole of 336 pixels · 3 samples at temperature 1, seed 0'
    >>> mixer.wait()
    >>> mixer.rows[0].composite.shape
    torch.Size([3, 3, 64, 64])
    >>> len(mixer.figure().axes)  # the picture; what the network saw, three samples and their spread
    6
    """

    _esm = Path(__file__).parent / "static" / "mixer.js"
    networks = traitlets.List().tag(sync=True)  # of {"name", "task"}; what each draws is in row_0, row_1, …
    holes = traitlets.List().tag(sync=True)  # of {"key", "name"}
    most = traitlets.Dict({"samples": SAMPLES, "temperature": HOTTEST}).tag(sync=True)
    size = traitlets.Int().tag(sync=True)  # side of a picture
    pictures = traitlets.Int().tag(sync=True)
    picture = traitlets.Int().tag(sync=True)
    labels = traitlets.List().tag(sync=True)  # of {"key", "name", "value", "own": 0, 1 or None}
    hole = traitlets.Unicode().tag(sync=True)
    placed = traitlets.Bool().tag(sync=True)  # the place of the hole is drawn
    samples = traitlets.Int().tag(sync=True)
    temperature = traitlets.Float().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    raw = traitlets.Bool(False).tag(sync=True)  # show whole pictures as they were drawn
    states = traitlets.List().tag(sync=True)  # by network its status, and what is wrong
    stills = traitlets.List().tag(sync=True)  # of {"name", "told", "png"}: the picture, and counterfactuals
    heard = traitlets.List().tag(sync=True)  # the view and the number of the wish that was heard last
    line = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(
        self,
        images: ImageSet,
        networks: Mapping[str, Source] | Iterable[str | Path],
        *,
        judge: nn.Module | str | None = None,
        counterfactuals: Mapping[str, Tensor] | Tensor | None = None,
    ):
        size = checked(images).images.shape[-1]
        self._candidates = list(candidates(networks, size).values())
        self._known = Known(images, self._candidates, judge, counterfactuals)
        self._turn, self._wish, self._rows = 0, Wish(labels=first_labels(self._candidates)), {}
        self._idle = threading.Condition()  # its lock guards everything here
        self._lane = Lane(self._idle)
        # A trait for each row: a message brings only what is new. They must be there before the widget is opened.
        self.add_traits(**{f"row_{k}": traitlets.Dict().tag(sync=True) for k in range(len(self._candidates))})
        told = [{"name": c.name, "task": c.task.name} for c in self._candidates]
        super().__init__(networks=told, size=size, pictures=len(images), holes=self._hole_names())
        self.on_msg(self._hear)
        # As in TrainingMonitor: ipykernel 7.4 takes messages to the shell that wrote last, which a cell may keep busy.
        self.comm._reply_subshell_for = lambda data, addressed: addressed
        self._begin(self._wish)

    def __repr__(self) -> str:
        return "AttributeMixer()"  # the same in every run

    @property
    def rows(self) -> list[Mixed]:
        """What is there of the present settings, in the order of the networks."""
        with self._idle:
            return [self._rows[k] for k in sorted(self._rows)]

    def choose(
        self,
        picture: int | None = None,
        hole: str | None = None,
        samples: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        hole_seed: int | None = None,
        **labels: float,
    ) -> None:
        """Change settings, as the controls do, and begin; what is not given stays.

        Parameters
        ----------
        picture : int, optional
            Counted from 0.
        hole : str, optional
            A key of `nblib.tasks.TASKS`, for all networks alike; or "own", for each that of its own task.
        samples : int, optional
            From 1 to 16.
        temperature : float, optional
            Of the codes: 0 the mean, 1 as trained, at most 2.
        seed, hole_seed : int, optional
            Of the noise, and of the place of a rectangle.
        **labels : float
            By the attribute's name: False or 0, True or 1, or a mixture of the two, as in ``smiling=0.5``.

        Raises
        ------
        ValueError
            If a setting is out of its range; then nothing changes.
        TypeError
            If one that counts is no whole number.
        """
        with self._idle:
            whole = {"picture": picture, "samples": samples, "seed": seed, "hole_seed": hole_seed}
            changes = {name: operator.index(value) for name, value in whole.items() if value is not None}
            others = {"hole": hole, "temperature": temperature}
            changes |= {name: value for name, value in others.items() if value is not None}
            labels = {name.lower(): float(value) for name, value in labels.items()}
            wish = replace(self._wish, **changes, labels={**self._wish.labels, **labels})
            self._known.check(wish)
            self._begin(wish)

    def again(self) -> None:
        """Draw other samples, with the next seed, as the button does."""
        self.choose(seed=self._wish.seed + 1)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all networks have drawn.

        Raises
        ------
        TimeoutError
            If that takes more than `timeout` seconds.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        with self._idle:
            while len(self._rows) < len(self._candidates):
                left = end - time.monotonic()
                if left <= 0:
                    busy = [c.name for k, c in enumerate(self._candidates) if k not in self._rows]
                    raise TimeoutError(f"{', '.join(busy)} did not end within {timeout} s")
                self._idle.wait(min(left, 0.2))  # in portions: one long wait cannot be interrupted everywhere

    def figure(self) -> Figure:
        """Wait, and return what is shown as a figure, see `nblib.widgets.mixed_figure`."""
        with self._idle:
            self.wait()
            return self._figure()

    def export(self, path: str | Path) -> None:
        """Write that figure as PNG, whole or not at all."""
        plots.save(self.figure(), path)

    def _begin(self, wish: Wish) -> None:
        """Begin a turn: show the settings, and let the networks draw."""
        holes = [self._known.hole(candidate, wish) for candidate in self._candidates]  # complains before all changes
        other = wish.picture != self._wish.picture or not self.version
        pictures: dict[str, Any] = {}
        if other:
            stills = [{"name": n, "told": t, "png": picture_png(p)} for n, t, p in self._known.stills(wish.picture)]
            pictures = {"stills": stills, **{f"row_{k}": {} for k in range(len(holes))}}  # not another face's
        with self._idle:
            self._turn, self._wish = self._turn + 1, wish
            self._rows.clear()
            self._show(
                picture=wish.picture, hole=wish.hole, samples=wish.samples, temperature=wish.temperature,
                seed=wish.seed, placed=self._placed(wish), labels=self._told_labels(wish),
                line=self._told(wish, holes), states=[[QUEUED, ""]] * len(holes), trouble="", **pictures,
            )  # fmt: skip
            turn = self._turn
            self._lane.put([lambda k=k, hole=hole: self._draw(k, turn, wish, hole) for k, hole in enumerate(holes)])
            self._idle.notify_all()

    def _draw(self, k: int, turn: int, wish: Wish, hole: Tensor) -> None:
        """Let one network draw, in the thread."""
        candidate, known = self._candidates[k], self._known
        with self._idle:
            if turn != self._turn:
                return
            self._state(k, "running", RUNNING)
        keyword = candidate.task.keyword
        mixed = mix(
            candidate,
            known.images.images[wish.picture],
            hole,
            draw_noise(wish.seed, wish.samples, candidate.net.latent_dim),
            label=wish.labels.get(keyword),
            temperature=wish.temperature,
            truth=known.truth(keyword, wish),
            judge=known.judge(keyword),
        )
        content = _content(mixed)
        with self._idle:
            if turn != self._turn:
                return  # the row belongs to a newer wish
            self._rows[k] = mixed
            with self.hold_sync():
                setattr(self, f"row_{k}", content)
                self._state(k, "done" if len(mixed.raw) else "failed", mixed.trouble)
            self._idle.notify_all()

    def _state(self, k: int, status: str, told: str) -> None:
        self._show(states=[*self.states[:k], [status, told], *self.states[k + 1 :]])

    def _figure(self) -> Figure:
        """Return what is there as a figure."""
        with self._idle:
            names, told, pictures = zip(*self._known.stills(self._wish.picture), strict=True)
            stills = dict(zip(names, pictures, strict=True))
            title = f"{self.line} · raw output" if self.raw else self.line
            return mixed_figure(stills, self.rows, raw=self.raw, told=told, title=title)

    def _placed(self, wish: Wish) -> bool:
        """Return whether another seed gives another hole."""
        names = [c.task.name for c in self._candidates] if wish.hole == OWN else [wish.hole]
        return bool(set(names) & set(PLACED))

    def _hole_names(self) -> list[dict[str, str]]:
        own = {c.task.name for c in self._candidates}
        names = HOLES if len(own) > 1 else {**HOLES, OWN: f"as trained: {HOLES[own.pop()]}"}
        return [{"key": key, "name": name} for key, name in names.items()]

    def _told_labels(self, wish: Wish) -> list[dict[str, Any]]:
        return [
            {"key": key, "name": name, "value": wish.labels[key], "own": self._known.own(key, wish.picture)}
            for key, name in self._known.labels.items()
        ]

    def _told(self, wish: Wish, holes: list[Tensor]) -> str:
        pixels = int(holes[0].sum())
        hole = "nothing hidden" if pixels == self.size**2 else f"hole of {pixels:,} pixels"
        if any(not torch.equal(hole, holes[0]) for hole in holes):
            hole = "holes as trained"
        labels = [f"{name} {yes(wish.labels[key])}" for key, name in self._known.labels.items()]
        count = f"{wish.samples} sample{'s' if wish.samples > 1 else ''}"
        drawn = f"{count} at temperature {wish.temperature:g}, seed {wish.seed}"
        return " · ".join([f"picture {wish.picture + 1} of {self.pictures}", *labels, hole, drawn])

    def _show(self, **content: Any) -> None:
        """Send everything that changed in one message."""
        with self._idle, self.hold_sync():
            for name, value in content.items():
                setattr(self, name, value)
            self.version += 1

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Do what the browser says. An error has no caller who would see it, so it is shown."""
        try:
            self._obey(content)
        except Exception as error:
            self._show(trouble=f"{type(error).__name__}: {error}")

    def _obey(self, content: dict[str, Any]) -> None:
        if content["do"] == "export":
            self.send({"do": "download", "view": content["view"]}, [figure_png(self._figure())])
            return
        with self._idle, self.hold_sync():  # one message says that it was heard, and shows it
            self.heard = [content["view"], content["number"]]
            wish = dict(content["wish"])
            for name in ("seed", "hole_seed"):
                if wish.get(name) == "next":
                    wish[name] = getattr(self._wish, name) + 1
            self.choose(**wish)


def _content(mixed: Mixed) -> dict[str, Any]:
    """Return a row as it is sent; of all that depends on it, first for composites, then for raw pictures."""
    content: dict[str, Any] = {"seen": picture_png(mixed.seen), "count": len(mixed.raw), "summary": [], "told": []}
    content |= {"samples": [], "spread": [], "spread_told": []}
    if not len(mixed.raw):
        return content
    for raw in (False, True):
        spread = mixed.spread(raw)
        content["summary"].append(mixed.summary(raw))
        content["told"].append(mixed.told(raw))
        content["samples"].append(picture_png(torch.cat(list(mixed.shown(raw)), 2)))  # side by side
        content["spread"].append(b"" if spread is None else picture_png(spread_picture(spread)))
        content["spread_told"].append("" if spread is None else spread_told(spread))
    return content
