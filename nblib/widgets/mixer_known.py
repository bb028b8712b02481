"""What the networks of an `nblib.widgets.AttributeMixer` are asked, and what is known of the pictures beforehand."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nblib import checkpoints, tasks
from nblib.datasets.imageset import ImageSet
from nblib.widgets.mixing import HOLES, HOTTEST, OWN, SAMPLES, Candidate, Judge, draw_hole


@dataclass(frozen=True)
class Wish:
    """What is asked of the networks; all of them are asked the same."""

    picture: int = 0
    hole: str = OWN
    samples: int = 4
    temperature: float = 1.0
    seed: int = 0
    hole_seed: int = 0
    labels: Mapping[str, float] = field(default_factory=dict)  # by keyword


class Known:
    """Pictures with their labels, the truth under another label, and judges.

    Parameters
    ----------
    images : ImageSet
    chosen : list of Candidate
        Their labels are those that are known here, by keyword.
    judge, counterfactuals
        As for `nblib.widgets.AttributeMixer`.

    Raises
    ------
    ValueError
        If they do not fit together.
    """

    def __init__(
        self,
        images: ImageSet,
        chosen: list[Candidate],
        judge: nn.Module | str | None = None,
        counterfactuals: Mapping[str, Tensor] | Tensor | None = None,
    ):
        self.images = images
        self.labels = {c.task.keyword: c.task.label for c in chosen if c.task.label}
        self.flipped = _flipped(counterfactuals, self.labels, images)
        self.judges = _judges(judge, self.labels, images)

    def own(self, key: str, picture: int) -> int | None:
        """Return a picture's own label, if it is known."""
        name = self.labels[key]
        known = name in self.images.attribute_names
        return int(self.images.attribute(name)[picture]) if known else None

    def truth(self, key: str, wish: Wish) -> Tensor | None:
        """Return the truth under the wished label, uint8 (3, H, W), if it is known; without a label the picture."""
        own = self.own(key, wish.picture) if key else None
        if not key or wish.labels[key] == own:
            return self.images.images[wish.picture]
        flipped = key in self.flipped and wish.labels[key] == 1 - own
        return self.flipped[key][wish.picture] if flipped else None

    def hole(self, candidate: Candidate, wish: Wish) -> Tensor:
        """Return the hole that a network is given, bool (1, H, W)."""
        task = candidate.task if wish.hole == OWN else tasks.find(wish.hole)
        return draw_hole(task, self.images, wish.picture, wish.hole_seed)

    def judge(self, key: str) -> Judge | None:
        """Return the judge of a label, if there is one; networks without a label are asked for the first one."""
        return self.judges.get(key or next(iter(self.labels), ""))

    def stills(self, k: int) -> list[tuple[str, str, Tensor]]:
        """Return name, label and verdict in words, and pixels of picture `k`, and of it with each label flipped."""
        picture, own = self.images.images[k], {key: self.own(key, k) for key in self.labels}
        told = [self._told(picture, key, value) for key, value in own.items()]
        stills = [("the picture", " · ".join(filter(None, told)), picture)]
        for key, pictures in self.flipped.items():
            told_flipped = self._told(pictures[k], key, 1 - own[key])
            stills.append((f"{self.labels[key]} flipped", told_flipped, pictures[k]))
        return stills

    def check(self, wish: Wish) -> None:
        """Raise a ValueError if a setting is out of its range."""
        if wish.picture not in range(len(self.images)):
            raise ValueError(f"picture={wish.picture}: there are pictures 0 to {len(self.images) - 1}")
        if wish.hole not in HOLES:
            raise ValueError(f"hole={wish.hole!r}: choose from {', '.join(HOLES)}")
        if wish.samples not in range(1, SAMPLES + 1):
            raise ValueError(f"samples={wish.samples}: from 1 to {SAMPLES}")
        for name in ("seed", "hole_seed"):
            if not 0 <= getattr(wish, name) < 2**63:
                raise ValueError(f"{name}={getattr(wish, name)}: a whole number from 0, below 2**63")
        if not 0 <= wish.temperature <= HOTTEST:
            raise ValueError(f"temperature={wish.temperature}: from 0, the mean, to {HOTTEST:g}; 1 is as trained")
        if unknown := set(wish.labels) - set(self.labels):
            known = f"the labels are {', '.join(self.labels)}" if self.labels else "no network has a label"
            raise ValueError(f"{', '.join(sorted(unknown))}: {known}")
        for name, value in wish.labels.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: from 0 (no) to 1 (yes)")

    def _told(self, picture: Tensor, key: str, value: int | None) -> str:
        """Return a picture's label in words, and what the judge says; "" if neither is known."""
        told = [] if value is None else [yes(value)]
        told += [f"judged {100 * self.judges[key](picture[None]).item():.0f} %"] if key in self.judges else []
        return f"{self.labels[key]} {', '.join(told)}" if told else ""


def first_labels(chosen: list[Candidate]) -> dict[str, float]:
    """Return labels to begin with: an attribute is put into a hole, and taken off a whole picture."""
    return {c.task.keyword: float(c.task.masks is not None) for c in chosen if c.task.label}


def yes(value: float) -> str:
    """Return a label in words.

    Examples
    --------
    >>> yes(0), yes(1.0), yes(0.25)
    ('no', 'yes', '0.25')
    """
    return {0: "no", 1: "yes"}.get(value, f"{value:.2f}")


def checked(images: ImageSet) -> ImageSet:
    """Return a set; raise a ValueError if it is none or empty."""
    if not isinstance(images, ImageSet):
        raise ValueError(
            f"images is {type(images).__name__}; give an ImageSet, or wrap uint8 pictures: ImageSet(images)"
        )
    if not len(images):
        raise ValueError("images: there is no picture")
    return images


def _judges(judge: nn.Module | str | None, labels: Mapping[str, str], images: ImageSet) -> dict[str, Judge]:
    if judge is None:
        return {}
    if not labels:
        raise ValueError("judge: no network has a label that could be judged")
    net = checkpoints.load(judge) if isinstance(judge, str) else copy.deepcopy(judge).eval()
    names = images.attribute_names
    if missing := [name for name in labels.values() if name not in names]:
        raise ValueError(f"judge: {images.name} has no attribute {', '.join(missing)} to ask for")
    if (count := getattr(net, "attributes", None)) != len(names):
        raise ValueError(
            f"judge tells {count} attributes, the set {images.name} has {len(names)}; both must be the same"
        )
    return {key: Judge(net, names.index(name), name) for key, name in labels.items()}


def _flipped(
    given: Mapping[str, Tensor] | Tensor | None, labels: Mapping[str, str], images: ImageSet
) -> dict[str, Tensor]:
    """Return counterfactuals by keyword, checked."""
    if given is None:
        return {}
    if isinstance(given, Tensor):
        if len(labels) != 1:
            raise ValueError(f"counterfactuals: of which label? give a mapping, by {', '.join(labels) or 'none'}")
        given = dict.fromkeys(labels, given)
    found = {name.lower(): pictures for name, pictures in given.items()}
    if unknown := set(found) - set(labels):
        raise ValueError(
            f"counterfactuals of {', '.join(sorted(unknown))}: the labels are {', '.join(labels) or 'none'}"
        )
    for key, pictures in found.items():
        if labels[key] not in images.attribute_names:
            raise ValueError(f"counterfactuals: {images.name} does not say which pictures have {labels[key]}")
        if pictures.shape != images.images.shape or pictures.dtype != torch.uint8:
            shape = tuple(images.images.shape)
            raise ValueError(f"counterfactuals are {pictures.dtype} {tuple(pictures.shape)}; expected uint8 {shape}")
    return found
