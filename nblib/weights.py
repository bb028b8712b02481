"""Train a recipe by name and write its weights with their cards: what ``nblib train`` does."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nblib import checkpoints, metrics, tasks
from nblib.answers import Questions, answer
from nblib.datasets.imageset import ImageSet
from nblib.features import feature_distance
from nblib.images import uint8_to_signed
from nblib.inpainting import Inpainter
from nblib.parameters import bind
from nblib.recipes import RECIPES, Recipe
from nblib.recipes.cvae import measure as measure_vae
from nblib.recipes.latent import EncoderTraining
from nblib.training import GANTraining, InpaintTraining, Training, VAETraining, distributed, fit
from nblib.training.average import settle

COMPARED = 2000  # pictures of each kind for the distances on a card
STEM_STEPS = (0, 100, 200, 500, 1000, 2000, 3000, 4000, 6000, 8000)  # of a training with attention in D
FEWEST = 500  # with fewer, the distances say little
FILLED = 200  # test pictures whose holes are filled for a card
HOLES = {"context-encoder": "center"}  # of which protocol, by training; else "seed"
TOLD = ("ssim", "box_ssim", "hole_psnr", "hole_l1")  # metrics of them


def settled(name: str, hyper: Mapping[str, Any], **length: float | None) -> dict[str, Any]:
    """Return the hyper-parameters with the types that the recipe `name` wants; check them and the length.

    Parameters
    ----------
    name : str
        A key of `nblib.recipes.RECIPES`.
    hyper : mapping
        Hyper-parameters by name; text is read as the type of the recipe's default.
    **length : float, optional
        ``steps``, ``epochs`` and ``minutes``: at least one must be given, and positive.

    Raises
    ------
    ValueError
        If there is no such recipe or hyper-parameter, a value has the wrong type, or no length is given.

    Examples
    --------
    >>> settled("dcgan", {"lr": "1e-4"}, steps=100)
    {'lr': 0.0001}
    """
    if name not in RECIPES:
        raise ValueError(f"{name!r}: no such training; choose from {', '.join(RECIPES)}")
    given = {key: value for key, value in length.items() if value is not None}
    if not given:
        raise ValueError("how long? give steps, epochs or minutes")
    for key, value in given.items():
        if not value > 0:
            raise ValueError(f"{key}={value}: how long? more than 0")
    signature = inspect.signature(RECIPES[name]).parameters
    known = {key: entry.default for key, entry in signature.items() if entry.kind is entry.KEYWORD_ONLY}
    if "task" in hyper and "task" not in known:
        raise ValueError(f"task={hyper['task']!r}: {name} has no tasks; cvae and cvae-fine have")
    bound = bind(name, known, hyper)
    if bound.get("task"):
        tasks.find(bound["task"])
    return bound


def train(
    name: str,
    images: ImageSet,
    out: str | Path,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    hyper: Mapping[str, Any] | None = None,
    resume: bool = False,
    devices: int = 1,
) -> list[Path]:
    """Train until the first of the given lengths is reached; write ``weights/`` in `out`, and return what was written.

    Of several processes the first writes.

    Parameters
    ----------
    name : str
        A key of `nblib.recipes.RECIPES`.
    images : ImageSet
        The whole set: its training split is learnt, its test split measured.
    out : path
        Folder for checkpoints, metrics, samples and weights.
    steps, epochs, minutes : optional
        How long; at least one of them.
    hyper : mapping, optional
        Hyper-parameters of the recipe.
    resume : bool, default False
        Go on from the newest checkpoint in `out`.
    devices : int, default 1
        Processes that train together.

    Raises
    ------
    ValueError
        If no length is given, or an argument is wrong: before anything is trained.
    """
    hyper = settled(name, hyper or {}, steps=steps, epochs=epochs, minutes=minutes)
    chosen = RECIPES[name](images.split("train"), **hyper)
    if epochs is not None:
        steps = min(math.ceil(epochs * len(chosen.batches)), steps or math.inf)
    _check_turns(chosen.training, steps)
    if isinstance(chosen.training, InpaintTraining):
        show_validation(chosen, images.split("val"))
    folder = Path(out) / "weights"
    logs = fit(*chosen, steps=steps, minutes=minutes, out=out, resume=resume, devices=devices)
    stems = keep_stem(name, chosen.training, images, folder)
    for _ in logs:
        stems += keep_stem(name, chosen.training, images, folder)
    if not distributed.leading():
        return []
    return stems + write(name, chosen.training, images, folder)


def keep_stem(name: str, training: Training, images: ImageSet, folder: Path) -> list[Path]:
    """Write the front of D, which shows where it looks, if it has one and the training is at one of `STEM_STEPS`."""
    stem = getattr(getattr(training, "D", None), "stem", None)
    if stem is None or training.step not in STEM_STEPS or not distributed.leading():
        return []
    path = folder / f"{name}-d-stem-{training.step}.safetensors"
    checkpoints.save_weights(stem, path, {"data": images.name, "steps": training.step})
    return [path]


def show_validation(recipe: Recipe, images: ImageSet) -> None:
    """Let the pictures of a training of fillers show validation pictures, if there are some."""
    if len(images):
        batches = images.batches(min(len(images), 8), masks=recipe.batches.masks, seed=recipe.batches.seed)
        example = batches.at(0)
        recipe.training.watch(example.images, example.masks)


def write(name: str, training: Training, images: ImageSet, folder: Path) -> list[Path]:
    """Write the networks of a training, with what its test pictures say of them on the cards.

    Returns
    -------
    list of Path
        The ``.safetensors`` files, each with its card beside it.
    """
    card = {
        "data": images.name,
        "crop": images.meta.get("crop"),
        "pictures": len(images.split("train")),
        "steps": training.step,
        "hyper_parameters": training.hyper_parameters(),
        "metrics": measure(name, training, images.split("test")),
    }
    if isinstance(training, InpaintTraining):
        return write_fillers(name, training, images.split("test"), folder, card)
    networks = trained(name, training)
    for key, network in networks.items():
        checkpoints.save_weights(network, folder / f"{key}.safetensors", card)
    return [folder / f"{key}.safetensors" for key in networks]


def trained(name: str, training: Training) -> dict[str, nn.Module]:
    """Return the networks of a training, by what their weights are called: averaged ones where there are some."""
    if isinstance(training, GANTraining):
        return {f"{name}-g": training.averaged(), f"{name}-d": _settled(training.D)}
    if isinstance(training, VAETraining):
        return {name: training.averaged()} | ({} if training.D is None else {f"{name}-d": _settled(training.D)})
    return {name: training.net}


def write_fillers(
    name: str, training: InpaintTraining, test: ImageSet, folder: Path, card: dict[str, Any]
) -> list[Path]:
    """Write a filler and, where there are some, its approximator and D; its card tells which approximator it needs."""
    written = [folder / f"{name}.safetensors"]
    if training.approximator is not None:
        path = folder / "approxnet.safetensors"
        own = card | {"metrics": filling(path.stem, training.approximate, test)}
        about = checkpoints.save_weights(training.approximator, path, own)
        card = card | {"approximator": {"file": path.name, "sha256": about["sha256"]}}
        written.append(path)
    checkpoints.save_weights(training.averaged(), written[0], card)
    if training.D is not None:
        written.append(folder / f"{name}-d.safetensors")
        checkpoints.save_weights(_settled(training.D), written[-1], card)
    return written


def measure(name: str, training: Training, test: ImageSet) -> dict[str, Any]:
    """Return what a card says of the trained networks."""
    if isinstance(training, InpaintTraining):
        return filling(name, training.fill, test, HOLES.get(name, "seed"))
    if isinstance(training, EncoderTraining):
        return training.measure()
    if isinstance(training, VAETraining):
        return measure_vae(training, test)
    if name == "classifier":
        return accuracies(training.net, test)
    key = f"{test.name}/classifier"
    if key not in checkpoints.available(test.name) or len(test) < FEWEST:
        return {}  # nothing to measure with, or too few pictures for a distance
    drawn = training.sample(min(COMPARED, len(test))).cpu()
    distance = feature_distance(checkpoints.load(key), test.images[: len(drawn)], drawn)
    about = {"feature_space": f"{key} {checkpoints.card(key)['sha256'][:12]}", "images": len(drawn)}
    return about | {"frechet": distance.frechet._asdict(), "kernel": distance.kernel._asdict()}


def filling(
    name: str, fill: Callable[[Tensor, Tensor], Tensor], test: ImageSet, protocol: str = "seed"
) -> dict[str, Any]:
    """Return how well holes of a protocol are filled in the first test pictures: mean and 95 % interval."""
    if len(test) < 2:
        return {}  # one picture has no interval
    questions = Questions.pose(test, protocol, "test", seed=0, limit=FILLED, batch_size=50)
    values = answer(questions, Inpainter(name, fill), progress=False).values
    told = {metric: metrics.bootstrap(values[metric])._asdict() for metric in TOLD}
    return {"protocol": protocol, "images": questions.settings.n, **told}


@torch.inference_mode()
def accuracies(classifier: nn.Module, images: ImageSet, batch_size: int = 250) -> dict[str, Any]:
    """Return the balanced accuracy of each attribute: the mean over those who have it and those who do not.

    Attributes that all images have, or none, are left out.
    """
    was_training, device = classifier.training, next(classifier.parameters()).device
    classifier.eval()
    batches = images.images.split(batch_size)
    guessed = torch.cat([classifier(uint8_to_signed(batch.to(device))).cpu() > 0 for batch in batches])  # (N, A)
    classifier.train(was_training)
    truth = images.attributes
    balanced = {
        attribute: round(_balanced(guessed[:, k], truth[:, k]), 4)
        for k, attribute in enumerate(images.attribute_names)
        if truth[:, k].any() and not truth[:, k].all()
    }
    return {
        "accuracy": round((guessed == truth).float().mean().item(), 4),
        "balanced_accuracy": round(sum(balanced.values()) / len(balanced), 4) if balanced else None,
        "by_attribute": balanced,
        "images": len(images),
    }


def _balanced(guessed: Tensor, truth: Tensor) -> float:
    right = (guessed == truth).float()
    return (0.5 * (right[truth].mean() + right[~truth].mean())).item()


def _settled(D: nn.Module) -> nn.Module:
    """Return a copy of D whose spectral norm has found the singular vectors of the weights as they are."""
    D = copy.deepcopy(D)
    settle(D)
    return D


def _check_turns(training: Training, steps: float | None) -> None:
    """Raise a ValueError if the turn of the network that is wanted to learn never comes."""
    turns = {name: getattr(training, name, 0) for name in ("approx_steps", "warm_up")}
    before = sum(turns.values())
    if steps is not None and steps <= before:
        told = " and ".join(f"{name}={turn}" for name, turn in turns.items() if turn)
        raise ValueError(
            f"steps={steps}: the first {before} go to {told}, so the network that is wanted would learn nothing; "
            "train longer, or set them lower"
        )
