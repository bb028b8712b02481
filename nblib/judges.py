"""Judges of pairs: what they look at, the toys they learn from, their training.

A judge (`nblib.networks.judge.PairJudge`) names the properties of both eyes of a face, or both wheels of a car, each
from a crop of its own. It learns from `scenes`, toys whose parts have properties drawn for them; its weights are
``SET/judge``. ``python -m nblib.judges`` trains and writes them.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nblib import checkpoints, paths
from nblib.datasets.batches import Batch
from nblib.datasets.imageset import ImageSet
from nblib.images import uint8_to_signed
from nblib.networks.judge import PARTS, PairJudge
from nblib.toys import car_factors, cars, faces, hashing
from nblib.training import SupervisedTraining, fit

JUDGE_SEED = 1001  # of the scenes that judges learn from: none of the packed sets
EYE_COLOURS = ("brown", "blue", "green", "hazel")
FINISHES = ("silver", "white", "grey", "dark", "gold")


class Subject(NamedTuple):
    """What a judge looks at in one kind of picture.

    Attributes
    ----------
    toys : module
        Draws the pictures.
    part : str
        Parsing label of the parts.
    properties : dict of str to tuple of str
        The classes of each property, by the name of its factor.
    factor : callable
        ``factor(property, classes) -> values``: what to put into the factors for class numbers (N,).
    crop : int
        Side of the square around a part, in pixels of 64x64.
    width : int
        Of `PairJudge`.
    """

    toys: ModuleType
    part: str
    properties: dict[str, tuple[str, ...]]
    factor: Callable[[str, Tensor], Tensor]
    crop: int
    width: int


def _car_factor(name: str, classes: Tensor) -> Tensor:
    return (classes + 0.5) / len(FINISHES) if name == "finish" else classes


SUBJECTS = {
    "toyfaces": Subject(faces, "eyes", {"eye_colour": EYE_COLOURS}, lambda name, classes: classes, 12, 16),
    "toycars": Subject(cars, "rim", {"rim": car_factors.RIMS, "finish": FINISHES}, _car_factor, 16, 32),
}


class Judgement(NamedTuple):
    """What a judge says of N pictures.

    Attributes
    ----------
    points : Tensor, float32 (N, 2, 2)
        Places (x, y) of the left and the right part in pixels.
    shown : Tensor, float32 (N, 2)
        Probability that the part can be seen there.
    answers : dict of str to Tensor, float32 (N, 2, classes)
        Probabilities of the classes of each property.
    """

    points: Tensor
    shown: Tensor
    answers: dict[str, Tensor]


def subject(name: str) -> Subject:
    """Return what is looked at in a set.

    Raises
    ------
    ValueError
        If there is no judge for the set.
    """
    if name not in SUBJECTS:
        raise ValueError(f"{name!r}: no judge of pairs for that set; there is one for {' and '.join(SUBJECTS)}")
    return SUBJECTS[name]


@torch.inference_mode()
def judged(name: str, images: Tensor, *, judge: PairJudge | None = None, batch_size: int = 250) -> Judgement:
    """Return what the judge of a set says of pictures.

    Parameters
    ----------
    name : {"toyfaces", "toycars"}
    images : Tensor, uint8 or float in [-1, 1] (N, 3, 64, 64)
        Real or generated.
    judge : PairJudge, optional
        By default the shipped one, weights ``SET/judge``.
    batch_size : int, default 250
        Pictures at a time.

    Raises
    ------
    ValueError
        If there is no judge for the set, or the pictures have another size.
    """
    about = subject(name)
    if images.shape[1:] != (3, 64, 64):
        raise ValueError(f"images {tuple(images.shape)}: the judges know pictures of (N, 3, 64, 64)")
    judge = checkpoints.load(f"{name}/judge") if judge is None else judge.eval()
    device, points, logits = next(judge.parameters()).device, [], []
    for batch in images.split(batch_size):
        batch = uint8_to_signed(batch.to(device)) if batch.dtype == torch.uint8 else batch.to(device)
        points.append(judge.points(batch))
        logits.append(judge.answers(judge.crops(batch, points[-1])))
    *classes, shown = torch.cat(logits).cpu().split([*judge.classes, 1], dim=2)
    answers = {key: part.softmax(-1) for key, part in zip(about.properties, classes, strict=True)}
    return Judgement(torch.cat(points).cpu(), shown[..., 0].sigmoid(), answers)


def scenes(name: str, n: int, *, seed: int = JUDGE_SEED, matching: bool | None = None) -> ImageSet:
    """Draw toys whose two parts have properties drawn for them, each class as often as any other.

    In the packed sets an eye's colour goes with the skin; here it does not, so that a judge has to look at the iris.

    Parameters
    ----------
    name : {"toyfaces", "toycars"}
    n : int
    seed : int, default 1001
    matching : bool, optional
        Let both parts have the same class of each property (True), different ones (False), or independent ones (by
        default). Of a second drawing, with the right part's classes, the right part is taken and nothing else.

    Returns
    -------
    ImageSet
        With `landmarks`, the left and the right part, and attributes "left PROPERTY=CLASS", …, "left shown", and the
        same for the right one. What is hidden, by dark glasses, is not `shown`.
    """
    about = subject(name)
    numbers = torch.arange(n)
    drawn = about.toys.factors(seed, numbers)
    classes = {key: _drawn(seed, numbers, key, len(names), matching) for key, names in about.properties.items()}
    twice: list[Tensor] = []
    for part in range(PARTS):
        values = {key: about.factor(key, chosen[:, part]) for key, chosen in classes.items()}
        twice.append(about.toys.render(replace(drawn, **values)))
    points = about.toys.landmarks(drawn, 64)[:, :PARTS]
    images = torch.where(_around(points), twice[1], twice[0])
    shown = _shown(about.toys.parsing(drawn) == about.toys.LABELS.index(about.part), points)
    truth = [F.one_hot(classes[key], len(names)).bool() for key, names in about.properties.items()]
    attributes = torch.cat([*truth, shown[..., None]], dim=2).flatten(1)  # (N, 2 (K + 1))
    return ImageSet(images, attributes, _names(about), points, ("left", "right"), name=name)


def _names(about: Subject) -> tuple[str, ...]:
    each = [f"{key}={value}" for key, names in about.properties.items() for value in names]
    return tuple(f"{side} {name}" for side in ("left", "right") for name in [*each, "shown"])


def _drawn(seed: int, numbers: Tensor, key: str, classes: int, matching: bool | None) -> Tensor:
    """Return a class for each part of each picture, int64 (N, 2)."""
    left = hashing.choice(seed, numbers, f"judge/{key}/left", [1.0] * classes)
    right = hashing.choice(seed, numbers, f"judge/{key}/right", [1.0] * classes)
    if matching is not None:
        other = 1 + hashing.choice(seed, numbers, f"judge/{key}/other", [1.0] * (classes - 1))
        right = left if matching else (left + other) % classes
    return torch.stack([left, right], dim=1)


def _around(points: Tensor) -> Tensor:
    """Return the right part's place, bool (N, 1, 64, 64): 21x21 pixels around it, as far as it is the nearer part."""
    x, y = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="xy")
    right, middle = points[:, 1, :, None, None], points[..., 0].mean(1)[:, None, None]
    near = ((x - right[:, 0]).abs() <= 10) & ((y - right[:, 1]).abs() <= 10)
    return (near & (x >= middle))[:, None]


def _shown(pixels: Tensor, points: Tensor) -> Tensor:
    """Return whether at least 6 of the 5x5 pixels (N, H, W) around each point (N, 2, 2) show the part, bool (N, 2)."""
    count = F.avg_pool2d(pixels[:, None].float(), 5, 1, 2)[:, 0] * 25
    x, y = points.round().long().clamp(0, pixels.shape[-1] - 1).unbind(-1)
    return count[torch.arange(len(pixels))[:, None], y, x] >= 6


def train_judge(name: str, *, pictures: int = 8000, steps: int = 1500, seed: int = 0) -> PairJudge:
    """Train the judge of a set on scenes, in one or two minutes on one thread of a CPU.

    Raises
    ------
    ValueError
        If there is none for the set.
    """
    about = subject(name)
    images = scenes(name, pictures)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = PairJudge([len(names) for names in about.properties.values()], about.crop, about.width)
    training = SupervisedTraining(judge, lr=3e-3, weight_decay=1e-2, schedule="cosine", seed=seed)
    for _ in fit(training, judge_step, images.batches(64, seed=seed), steps=steps, precision="fp32", progress=False):
        pass
    return judge.eval()


def judge_step(training: SupervisedTraining, batch: Batch) -> dict[str, Tensor]:
    """Take one step: find the parts, name their properties, and tell parts from what is none.

    Crops are cut a pixel or so off the parts, as the judge's own will be. What is none: places beside the parts, and
    parts with their pixels in disorder, as a generator may draw them.
    """
    judge, truth = training.net, batch.attributes.unflatten(1, (PARTS, -1))  # bool (B, 2, K + 1)
    images = batch.images + 0.03 * torch.randn_like(batch.images)
    loss_points = F.smooth_l1_loss(judge.points(images), batch.landmarks)
    near = batch.landmarks + 0.8 * torch.randn_like(batch.landmarks)
    crops = judge.crops(images, torch.cat([near, batch.landmarks + _aside(batch.landmarks)], dim=1))  # (B, 4, 3, c, c)
    logits = judge.answers(torch.cat([crops, _disordered(crops[:, :PARTS])], dim=1)).float()  # (B, 6, K + 1)
    shown = F.pad(truth[..., -1].float(), (0, 2 * PARTS))
    loss_shown = F.binary_cross_entropy_with_logits(logits[..., -1], shown)
    named, loss_classes = truth[..., -1], torch.zeros(())
    said, right = (each[:, :PARTS, :-1].split(judge.classes, 2) for each in (logits, truth))
    for guessed, known in zip(said, right, strict=True):
        loss_classes = loss_classes + F.cross_entropy(guessed[named], known[named].float())
    training.descend("net", loss_points + loss_shown + loss_classes)
    return {"points": loss_points, "shown": loss_shown, "classes": loss_classes}


def _disordered(crops: Tensor) -> Tensor:
    """Return crops (..., c, c) with their pixels permuted."""
    side = crops.shape[-1]
    return crops.flatten(-2)[..., torch.randperm(side * side)].unflatten(-1, (side, side))


def _aside(points: Tensor) -> Tensor:
    """Return steps of 7 to 14 pixels in all directions, shaped like `points` (B, 2, 2)."""
    angle, length = torch.rand(2, *points.shape[:2], device=points.device)
    return (7 + 7 * length)[..., None] * torch.stack([(6.2832 * angle).cos(), (6.2832 * angle).sin()], dim=-1)


def accuracies(name: str, test: ImageSet, *, judge: PairJudge | None = None) -> dict[str, Any]:
    """Return how good a judge is on `scenes`: where it finds the parts, and how often it names them rightly.

    Accuracies are those of single parts, of the ones that can be seen.
    """
    said, truth = judged(name, test.images, judge=judge), test.attributes.unflatten(1, (PARTS, -1))
    shown = truth[..., -1]
    off = (said.points - test.landmarks).norm(dim=-1)[shown]
    found = {"pixels off, median": off.median().item(), "pixels off, 95 %": off.quantile(0.95).item()}
    found["shown or hidden"] = ((said.shown >= 0.5) == shown).float().mean().item()
    start = 0
    for key, probabilities in said.answers.items():
        right = truth[..., start : start + probabilities.shape[-1]].long().argmax(-1)
        found[key] = (probabilities.argmax(-1) == right)[shown].float().mean().item()
        start += probabilities.shape[-1]
    return {key: round(value, 4) for key, value in found.items()} | {"images": len(test)}


def main(names: list[str]) -> None:
    """Train the judges of some sets and write their weights into the data folder."""
    for name in names or SUBJECTS:
        judge = train_judge(name)
        metrics = accuracies(name, scenes(name, 1000, seed=JUDGE_SEED + 1), judge=judge)
        folder = paths.data_dir() / "checkpoints" / name
        checkpoints.save_weights(
            judge, folder / "judge", {"data": f"{name}, properties drawn anew", "metrics": metrics}
        )
        print(name, metrics)


if __name__ == "__main__":
    main(sys.argv[1:])
