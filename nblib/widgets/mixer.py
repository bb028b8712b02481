"""Turn an attribute of a face on and off, mix the two, and see what several networks draw for several codes."""

import copy
import functools
import operator
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from nblib import checkpoints, plots, tasks
from nblib.datasets.imageset import ImageSet
from nblib.widgets.mixing import (
    SAMPLES,
    Judge,
    Mixed,
    Source,
    Still,
    candidate,
    draw_hole,
    draw_noise,
    mix,
    mixed_figure,
    spread_picture,
    spread_told,
)
from nblib.widgets.png import figure_png, picture_png

KEPT = 64  # answers of networks, 0.2 MB each for 16 samples
OWN = "own"
HOLES = {
    OWN: "holes as trained",
    "general": "small rectangle",
    "general-big": "large rectangle",
    "smiling": "mouth box",
    "smiling-wide": "wide mouth box",
    "glasses-remover": "nothing hidden",
}
SEEDS = 2**53 - 1  # what a browser counts exactly
PLACED = ("general", "general-big")  # holes whose place is drawn
START = {"picture": 0, "hole": OWN, "samples": 4, "temperature": 1.0, "seed": 0, "hole_seed": 0, "raw": False}
WHOLE = ("picture", "samples", "seed", "hole_seed")


class AttributeMixer(anywidget.AnyWidget):
    """Fill a hole of a face under a label of your choice, several times, by several networks side by side.

    All networks are given the same picture, label and noise. Each sample is shown with the known pixels as they were,
    or as the network drew it; under it stand its L1 in the hole, where the truth under that label is known, and the
    probability that a judge gives the attribute. The last picture of a row tells where its samples differ.

    Keys, anywhere but in a list: S samples again, F flips the (first) label, H another rectangle, R raw or pasted,
    Page Up and Page Down the picture (on a slider they move it).

    Parameters
    ----------
    images : ImageSet
        Its landmarks place the mouth box, its attributes say what label a picture has. Other pictures:
        ``ImageSet(images)``.
    networks : mapping of str to source
        By the name to be shown: a key of weights, a weights file or the folder of a run; or a tuple (network, task).
        Networks are copied: a training may go on meanwhile.
    judge : nn.Module or str, optional
        A classifier of the attributes of `images`, or the key of one, such as ``"toyfaces/classifier"``.
    counterfactuals : mapping of str to Tensor, uint8 (N, 3, H, W), optional
        By attribute: the same pictures with it turned to its opposite and all else equal. Of toys they are known:
        ``{"Smiling": faces.render(faces.flip(factors, "Smiling"))}``.

    Attributes
    ----------
    rows : list of Mixed
        What is shown, in the order of the networks.

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
    'picture 2 of 2 · Smiling 0.50 · holes as trained · 3 samples at temperature 1, seed 0'
    >>> mixer.rows[0].pictures.shape
    torch.Size([3, 3, 64, 64])
    >>> len(mixer.figure().axes)  # the picture; what the network saw, three samples and their spread
    6
    """

    _esm = Path(__file__).parent / "static" / "mixer.js"
    networks = traitlets.List().tag(sync=True)  # of {"name", "task"}; what each draws is in row_0, row_1, …
    attributes = traitlets.Dict().tag(sync=True)  # names of the labels by keyword
    holes = traitlets.List().tag(sync=True)  # of {"key", "name", "placed"}
    most = traitlets.Dict({"samples": SAMPLES, "temperature": 2}).tag(sync=True)
    size = traitlets.Int().tag(sync=True)  # side of a picture
    pictures = traitlets.Int().tag(sync=True)
    picture = traitlets.Int().tag(sync=True)
    hole = traitlets.Unicode().tag(sync=True)
    samples = traitlets.Int().tag(sync=True)
    temperature = traitlets.Float().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    hole_seed = traitlets.Int().tag(sync=True)
    raw = traitlets.Bool().tag(sync=True)  # whole pictures as they were drawn
    labels = traitlets.Dict().tag(sync=True)  # from 0 to 1, by keyword
    stills = traitlets.List().tag(sync=True)  # of {"name", "told", "png"}: the picture, and counterfactuals
    line = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(
        self,
        images: ImageSet,
        networks: Mapping[str, Source],
        *,
        judge: nn.Module | str | None = None,
        counterfactuals: Mapping[str, Tensor] | None = None,
    ):
        _check_images(images)
        if not networks:
            raise ValueError("there is no network; give some, such as {'smiling': 'toyfaces/cvae-smiling'}")
        size = images.images.shape[-1]
        self._images = images
        self._candidates = [candidate(name, source, size) for name, source in networks.items()]
        attributes = {one.task.keyword: one.task.label for one in self._candidates if one.task.label}
        self._judges = {} if judge is None else _judges(judge, attributes, images)
        self._flipped = _flipped(counterfactuals or {}, attributes, images)
        self._row = functools.lru_cache(KEPT)(self._drawn)  # a network that is asked the same does not draw again
        self._lock = threading.RLock()  # some front ends call from a thread of their own
        # A trait for each row: a message brings only what is new. They must be there before the widget is opened.
        self.add_traits(**{f"row_{k}": traitlets.Dict().tag(sync=True) for k in range(len(self._candidates))})
        told = [{"name": one.name, "task": one.task.name} for one in self._candidates]
        placed = {OWN: any(one.task.name in PLACED for one in self._candidates), **dict.fromkeys(PLACED, True)}
        holes = [{"key": key, "name": name, "placed": placed.get(key, False)} for key, name in HOLES.items()]
        super().__init__(networks=told, attributes=attributes, holes=holes, size=size, pictures=len(images))
        self.on_msg(self._heard)
        # As in TrainingMonitor: ipykernel 7.4 takes messages to the shell that wrote last, which a cell may keep busy.
        self.comm._reply_subshell_for = lambda data, addressed: addressed
        # An attribute is put into a hole, and taken off a whole picture.
        first = {one.task.keyword: float(one.task.masks is not None) for one in self._candidates if one.task.label}
        self._show({**START, "labels": first})

    def __repr__(self) -> str:
        return "AttributeMixer()"  # the same in every run

    def choose(
        self,
        picture: int | None = None,
        hole: str | None = None,
        samples: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        hole_seed: int | None = None,
        raw: bool | None = None,
        **labels: float,
    ) -> None:
        """Change what is shown, as the controls do; what is not given stays.

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
        raw : bool, optional
            Show whole pictures as the networks draw them; else what is known is pasted over them.
        **labels : float
            By the attribute's name: False or 0, True or 1, or a mixture of the two, as in ``smiling=0.5``.

        Raises
        ------
        ValueError
            If a setting is out of its range, or a network draws values that are not finite; then nothing changes.
        TypeError
            If one that counts is no whole number.
        """
        asked = {"picture": picture, "samples": samples, "seed": seed, "hole_seed": hole_seed}
        asked |= {"hole": hole, "temperature": temperature, "raw": raw}
        with self._lock:
            known = {name: getattr(self, name) for name in START}
            known |= {name: value for name, value in asked.items() if value is not None}
            labels = {name.lower(): float(value) for name, value in labels.items()}
            self._show({**known, "labels": {**self.labels, **labels}})

    def figure(self) -> Figure:
        """Return what is shown as a figure, see `nblib.widgets.mixed_figure`."""
        with self._lock:
            shown, title = (self._stills(self.picture), self.rows), self.line
        return mixed_figure(*shown, title=title)

    def export(self, path: str | Path) -> None:
        """Write that figure as PNG, whole or not at all."""
        plots.save(self.figure(), path)

    def _heard(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Answer the browser. An error has no caller who would see it, so it is shown."""
        try:
            if content.pop("do") == "export":
                self.send({"do": "download", "view": content["view"]}, [figure_png(self.figure())])
            else:
                self.choose(**content)
        except Exception as error:
            with self._lock, self.hold_sync():
                self.trouble = f"{type(error).__name__}: {error}"
                self.version += 1

    def _show(self, settings: dict[str, Any]) -> None:
        """Let the networks draw, and send everything that changed in one message."""
        with self._lock:
            settings = self._checked(settings)
            answers = [self._answer(k, **settings) for k in range(len(self._candidates))]
            stills = [{"name": n, "told": t, "png": picture_png(p)} for n, t, p in self._stills(settings["picture"])]
            content = {f"row_{k}": sent for k, (_, sent) in enumerate(answers)}
            self.rows: list[Mixed] = [row for row, _ in answers]
            with self.hold_sync():
                content |= {**settings, "stills": stills, "line": self._told(settings), "trouble": ""}
                for name, value in content.items():
                    setattr(self, name, value)
                self.version += 1

    def _checked(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings; raise if one is out of its range."""
        settings = settings | {name: operator.index(settings[name]) for name in WHOLE}
        if settings["hole"] not in HOLES:
            raise ValueError(f"hole={settings['hole']!r}: choose from {', '.join(HOLES)}")
        if unknown := sorted(set(settings["labels"]) - set(self.attributes)):
            raise ValueError(f"{', '.join(unknown)}: the labels are {', '.join(self.attributes) or 'none'}")
        most = {"picture": self.pictures - 1, "seed": SEEDS, "hole_seed": SEEDS, **self.most}
        most |= dict.fromkeys(self.attributes, 1)
        for name, value in {**settings, **settings["labels"]}.items():
            least = int(name == "samples")
            if name in most and not least <= value <= most[name]:  # written so that NaN is refused too
                raise ValueError(f"{name}={value}: from {least} to {most[name]:g}")
        return settings

    def _answer(
        self, k: int, hole: str, hole_seed: int, labels: Mapping[str, float], **more: Any
    ) -> tuple[Mixed, dict[str, Any]]:
        """Return what network `k` makes of settings, and the same as it is sent; without what does not concern it."""
        task = self._candidates[k].task if hole == OWN else tasks.find(hole)
        label = labels.get(self._candidates[k].task.keyword)
        return self._row(k, task.name, hole_seed if task.name in PLACED else 0, label, **more)

    def _drawn(
        self, k: int, task: str, hole_seed: int, label: float | None, picture: int, samples: int, temperature: float,
        seed: int, raw: bool,
    ) -> tuple[Mixed, dict[str, Any]]:  # fmt: skip
        name, net, own = self._candidates[k]
        row = mix(
            name,
            net,
            self._images.images[picture],
            draw_hole(tasks.find(task), self._images, picture, hole_seed),
            draw_noise(seed, samples, net.latent_dim),
            label=label,
            temperature=temperature,
            raw=raw,
            truth=self._truth(own.keyword, picture, label),
            judges=[one for key, one in self._judges.items() if own.keyword in ("", key)],  # without a label, all
        )
        return row, _content(row)

    def _truth(self, key: str, picture: int, label: float | None) -> Tensor | None:
        """Return the truth under a label, uint8 (3, H, W), if it is known; without a label the picture."""
        own = self._own(key, picture) if key else label
        if label == own:
            return self._images.images[picture]
        return self._flipped[key][picture] if key in self._flipped and label == 1 - own else None

    def _own(self, key: str, picture: int) -> int | None:
        """Return a picture's own label, if it is known."""
        name = self.attributes[key]
        return int(self._images.attribute(name)[picture]) if name in self._images.attribute_names else None

    def _stills(self, k: int) -> list[Still]:
        """Return picture `k`, and what it would be with each label flipped."""
        picture, own = self._images.images[k], {key: self._own(key, k) for key in self.attributes}
        told = [self._verdict(picture, key, value) for key, value in own.items()]
        stills = [Still("the picture", " · ".join(filter(None, told)), picture)]
        for key, pictures in self._flipped.items():
            verdict = self._verdict(pictures[k], key, 1 - own[key])
            stills.append(Still(f"{self.attributes[key]} flipped", verdict, pictures[k]))
        return stills

    def _verdict(self, picture: Tensor, key: str, value: int | None) -> str:
        """Return a picture's label in words, and what the judge says; "" if neither is known."""
        told = [] if value is None else [f"{self.attributes[key]} {_yes(value)}"]
        told += [f"judged {100 * self._judges[key](picture[None]).item():.0f} %"] if key in self._judges else []
        return " · ".join(told)

    def _told(self, settings: dict[str, Any]) -> str:
        told = [f"picture {settings['picture'] + 1} of {self.pictures}"]
        told += [f"{name} {_yes(settings['labels'][key])}" for key, name in self.attributes.items()]
        told += [HOLES[settings["hole"]], f"{settings['samples']} sample{'s' if settings['samples'] > 1 else ''}"]
        told[-1] += f" at temperature {settings['temperature']:g}, seed {settings['seed']}"
        return " · ".join([*told, *(["raw output"] if settings["raw"] else [])])


def _content(row: Mixed) -> dict[str, Any]:
    """Return a row as it is sent."""
    content = {"seen": picture_png(row.seen), "samples": [picture_png(picture) for picture in row.pictures]}
    content |= {"told": row.told, "summary": row.summary, "spread": b"", "spread_told": ""}
    if (spread := row.spread) is not None:
        content |= {"spread": picture_png(spread_picture(spread)), "spread_told": spread_told(spread)}
    return content


def _yes(value: float) -> str:
    """Return a label in words.

    Examples
    --------
    >>> _yes(0), _yes(1.0), _yes(0.25)
    ('no', 'yes', '0.25')
    """
    return {0: "no", 1: "yes"}.get(value, f"{value:.2f}")


def _check_images(images: ImageSet) -> None:
    if not isinstance(images, ImageSet):
        given = type(images).__name__
        raise ValueError(f"images is {given}; give an ImageSet, or wrap uint8 pictures: ImageSet(images)")
    if not len(images):
        raise ValueError("images: there is no picture")


def _judges(judge: nn.Module | str, attributes: Mapping[str, str], images: ImageSet) -> dict[str, Judge]:
    """Return judges by keyword."""
    net = checkpoints.load(judge) if isinstance(judge, str) else copy.deepcopy(judge).eval()
    names = images.attribute_names
    if not attributes:
        raise ValueError("judge: no network has a label that could be judged")
    if missing := [name for name in attributes.values() if name not in names]:
        raise ValueError(f"judge: {images.name} has no attribute {', '.join(missing)} to ask for")
    if (count := getattr(net, "attributes", None)) != len(names):
        raise ValueError(f"judge tells {count} attributes, the set {images.name} has {len(names)}; both must agree")
    return {key: Judge(net, names.index(name), name) for key, name in attributes.items()}


def _flipped(given: Mapping[str, Tensor], attributes: Mapping[str, str], images: ImageSet) -> dict[str, Tensor]:
    """Return counterfactuals by keyword, checked."""
    found = {name.lower(): pictures for name, pictures in given.items()}
    for key, pictures in found.items():
        if key not in attributes:
            raise ValueError(f"counterfactuals of {key}: the labels are {', '.join(attributes) or 'none'}")
        if attributes[key] not in images.attribute_names:
            raise ValueError(f"counterfactuals: {images.name} does not say which pictures have {attributes[key]}")
        if pictures.shape != images.images.shape or pictures.dtype != torch.uint8:
            shape = tuple(images.images.shape)
            raise ValueError(f"counterfactuals are {pictures.dtype} {tuple(pictures.shape)}; expected uint8 {shape}")
    return found
