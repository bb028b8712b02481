"""What each ingredient of a conditional VAE and of its fine-tuning is worth: short trainings without it, on toy faces.

``python -m tests.benchmarks.cvae_ablations`` writes ``data/benchmarks/cvae-ablations.json`` after every cell. A cell on
file whose slug is unchanged (it stands for hyper-parameters, steps and what it starts from) is not run again; one that
was interrupted goes on in ``runs/cvae-ablations/SLUG``. Several processes can share the work: each takes some
``--cells`` and an ``--out`` of its own; then ``--merge`` brings the records together.

All cells fill the same mouths of the same 500 validation pictures, so errors are compared picture by picture. Every
setting has one seed: differences that are small beside those between the settings may be chance.
"""

import argparse
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from nblib import checkpoints, datasets, features, paths, realism, results, tasks, variational
from nblib.datasets.imageset import ImageSet
from nblib.images import uint8_to_signed, uint8_to_unit
from nblib.networks.cvae import ConditionalVAE
from nblib.recipes import RECIPES, Recipe
from nblib.training import fit
from tests.benchmarks import cvae_subject as subjects
from tests.benchmarks import sweeps
from tests.benchmarks.cvae_parts import flipped, plain, sharpness
from tests.benchmarks.latent_subject import apart

STEPS, FINE_STEPS = 500, 250
SMALL = {"task": "smiling", "width": 16, "latent_dim": 32, "lr": 2e-3, "hole": 20.0}
FINE = {"task": "smiling", "hole": 20.0, "width_D": 16}
MOUTH = "smiling"  # the task whose holes all cells fill
PRECISION, POINTS = "bf16", 40


@dataclass(frozen=True)
class Setting:
    """One row of the sweep.

    Attributes
    ----------
    options : dict
        Of the recipe: "cvae", or "cvae-fine" if there is a `start`, or if they name the weight of D.
    steps : int
    start : str
        The setting whose network is fine-tuned; "" for a new one.
    against : str
        The setting it is compared with.
    halved : bool
        Draw codes with 0.5 exp(logvar) for a standard deviation, as public code does.
    """

    options: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    start: str = ""
    against: str = "base"
    halved: bool = False

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return "cvae-fine" if self.start or "adversarial" in self.options else "cvae"


def _first(**changed: Any) -> Setting:
    return Setting(SMALL | changed)


def _fine(**changed: Any) -> Setting:
    return Setting(FINE | changed, FINE_STEPS, "base", "fine-tuned")


SETTINGS = {
    "base": _first(),
    "fine-tuned": Setting(FINE, FINE_STEPS, "base", "base"),
    "hole 1": _first(hole=1.0),
    "KL 0.01": _first(kl=0.01),
    "KL 0.1": _first(kl=0.1),
    "KL 10": _first(kl=10.0),
    "KL 100": _first(kl=100.0),
    "mean reduction": _first(kl=3.0 * 64 * 64),  # as if the error were a mean over the pixels
    "label off": _first(task="general", masks="smiling"),
    "random rectangles": _first(masks="general-big"),
    "halved variance": Setting(SMALL, halved=True),
    "no warm-up": _fine(warm_up=0.0),
    "adversarial from step 0": Setting(
        SMALL | FINE | {"adversarial": 10.0, "warm_up": 0.0}, STEPS + FINE_STEPS, against="fine-tuned"
    ),
    "D sees composites": _fine(composite=True),
    "flipped labels": _fine(composite=True, flip=0.5),
    "adversarial 100": _fine(adversarial=100.0),
    "MSE": _first(loss="mse"),
    "fixed embedding": _first(learned=False),
    "attention": _first(attention=True),
    "mask channel": _first(mask_channel=True),
}


def halved(mu: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw codes as public code does, with half the variance where the standard deviation belongs."""
    noise = torch.randn_like(mu) if noise is None else noise
    return mu + 0.5 * logvar.exp() * noise


@dataclass(frozen=True, eq=False)
class Sweep:
    """Where the cells are trained, on what, by whom they are judged, on how many validation pictures."""

    folder: Path
    settings: dict[str, Setting]
    images: ImageSet
    judge: nn.Module
    limit: int = 500

    def part(self) -> ImageSet:
        """Return the pictures that all cells fill."""
        part = self.images.split("val")
        return part.take(slice(0, min(self.limit, len(part))))


def drawing(setting: Setting) -> contextlib.AbstractContextManager:
    """Return a context in which codes are drawn as a setting has it."""
    stack = contextlib.ExitStack()
    if setting.halved:
        stack.enter_context(mock.patch("nblib.networks.cvae.reparameterise", halved))
        stack.enter_context(mock.patch.object(subjects, "reparameterise", halved))
    return stack


def recipe(sweep: Sweep, name: str, start: str = "") -> Recipe:
    """Return the recipe of a cell; `start` is the weights file that it begins with."""
    setting = sweep.settings[name]
    options = setting.options | ({"start": start} if start else {})
    return RECIPES[setting.recipe](sweep.images.split("train"), **options)


def slug(sweep: Sweep, name: str) -> str:
    """Return the name of a cell's folder: the setting, and a digest of what it depends on."""
    setting = sweep.settings[name]
    told = {"options": setting.options, "steps": setting.steps, "halved": setting.halved, "precision": PRECISION}
    told |= {"start": slug(sweep, setting.start) if setting.start else "", "recipe": setting.recipe}
    told |= {"box": tasks.SMILE_BOX, "data": sweep.images.name, "pictures": len(sweep.images), "limit": sweep.limit}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{digest[:8]}"


def trained(sweep: Sweep, name: str) -> Path:
    """Return the weights file of a cell, trained first if it is not there; wait if another process is at it."""
    setting, folder = sweep.settings[name], sweep.folder / slug(sweep, name)
    path = folder / "weights" / f"{setting.recipe}.safetensors"
    start = str(trained(sweep, setting.start)) if setting.start else ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if path.is_file():
            return path
        with drawing(setting):
            chosen = recipe(sweep, name, start)
            pace = {
                "log_every": max(1, setting.steps // POINTS),
                "checkpoint_every": 200,
                "sample_every": setting.steps,
            }
            how = {"precision": PRECISION, "layout": "channels_last", "threads": 1, "progress": False}
            for _ in fit(*chosen, steps=setting.steps, out=folder, resume=True, **pace, **how):
                pass
            card = {"data": sweep.images.name, "steps": setting.steps}
            card["hyper_parameters"] = chosen.training.hyper_parameters()
            checkpoints.save_weights(chosen.training.averaged(), path, card, half=False)
    return path


def cell(sweep: Sweep, name: str) -> dict[str, Any]:
    """Return the figures of a cell, after training what is left to train."""
    setting, part = sweep.settings[name], sweep.part()
    net = checkpoints.load(trained(sweep, name))
    with drawing(setting):
        figures, errors = measured(sweep, net, part)
    rows = sweeps.journal(sweep.folder / slug(sweep, name))
    about = {"setting": name, "seed": 0, "slug": slug(sweep, name), "steps": setting.steps, "recipe": setting.recipe}
    about |= {"options": setting.options, "start": setting.start, "against": setting.against}
    if setting.against != name:
        rival, kept = checkpoints.load(trained(sweep, setting.against)), sweep.settings[setting.against]
        with drawing(kept):
            other = measured(sweep, rival, part)[1]
        figures["hole_l1 minus"] = sweeps.paired({"": errors}, {"": other})[""]
    curves = {column: values for column, values in rows.items() if "seconds" not in column}
    return about | {"figures": figures, "curves": sweeps.thinned(curves, POINTS), "seconds": rows["seconds"][-1]}


def measured(sweep: Sweep, net: ConditionalVAE, part: ImageSet) -> tuple[dict[str, Any], np.ndarray]:
    """Return what a network makes of mouths and of nothing, and its error in each hole."""
    task = tasks.find(MOUTH)
    subject = subjects.Subject(sweep.images, sweep.judge, {}, {})
    holes, truth, images = subjects.holes_of(subject, MOUTH, part), part.attribute(task.label), part.images
    mu, logvar = subjects.means(net, images, holes)
    logits = subjects.logits(net, images, holes, truth)
    whole = logits.sigmoid() * 2 - 1
    fills = subjects.pasted(whole, images, holes)
    errors = subjects.hole_l1(fills, images, holes)
    real, drawn = (
        features.extract(sweep.judge, realism.box_crops(pictures, holes))
        for pictures in (uint8_to_signed(images), fills)
    )
    z = torch.randn(len(part), net.latent_dim, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        samples = net.decode(z, truth if net.classes else None)
    faces = features.extract(sweep.judge, images), features.extract(sweep.judge, samples)
    found = {
        "active": int(variational.active_units(mu)),
        "divergence": sweeps.rounded(variational.kl_divergence(mu, logvar).item()),
        "reconstruction": sweeps.rounded(variational.bce_reconstruction(logits, uint8_to_unit(images)).item()),
        "hole_l1": sweeps.bootstrapped({"": errors})[""],
        "KID of the box": plain(realism.kernel_comparison(real, {"": drawn}).distances[""]),
        "sharpness minus real": apart(sharpness(whole), sharpness(uint8_to_signed(images))),
        "KID of samples": plain(features.kernel_interval(*faces)),
        "sharpness of samples": sweeps.bootstrapped({"": sharpness(samples)})[""],
    }
    if net.classes:
        for label, name in {True: "with", False: "without"}.items():
            told = subjects.pasted(subjects.drawn(net, images, holes, label), images, holes)
            found[name] = flipped(subject.sees(told, task.label), truth, label)
        other = subjects.pasted(subjects.drawn(net, images, holes, ~truth), images, holes)
        far = subjects.hole_l1(other, subjects.counterfactual(part, task.label), holes)
        found["hole_l1, flipped truth"] = sweeps.bootstrapped({"": far})[""]
    return found, errors


def read(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a record; none if there is no such file."""
    return results.read(path)["cells"] if path.is_file() else []


def write(path: Path, sweep: Sweep, cells: list[dict[str, Any]]) -> None:
    """Write the record: all cells in the order of the settings."""
    order = {name: place for place, name in enumerate(sweep.settings)}
    cells = sorted(cells, key=lambda entry: order.get(entry["setting"], len(order)))
    about = {"split": "val", "pictures": sweep.limit, "precision": PRECISION, "threads": 1, "seeds": 1}
    told = {entry["setting"]: entry["figures"]["hole_l1"] for entry in cells}
    seconds = sum(entry["seconds"] for entry in cells)
    sweeps.write_dense(path, results.record("sweep", parameters=about, seconds=seconds, metrics=told, cells=cells))


def run(sweep: Sweep, path: Path, chosen: list[str]) -> None:
    """Run what is missing of the chosen cells, writing after every cell."""
    for name in chosen:
        if any(entry["slug"] == slug(sweep, name) for entry in read(path)):
            continue
        made = cell(sweep, name)
        write(path, sweep, sweeps.union(read(path), [made]))
        print(name, {key: value for key, value in made["figures"].items() if not isinstance(value, dict)}, flush=True)


def picked(sweep: Sweep, names: str | None) -> list[str]:
    """Return the settings that are named, or all.

    Raises
    ------
    ValueError
        If there is no such setting.
    """
    wanted = list(sweep.settings) if names is None else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in sweep.settings:
            raise ValueError(f"{name!r}: no such setting; choose from {', '.join(sweep.settings)}")
    return [name for name in sweep.settings if name in wanted]


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", help="settings, as in 'base, KL 10' (all)")
    parser.add_argument("--out", type=Path, default=paths.benchmarks_dir() / "cvae-ablations.json")
    parser.add_argument("--merge", type=Path, nargs="+", help="records to take into --out; nothing is run")
    parser.add_argument("--list", action="store_true", help="print the cells; nothing is run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images, judge = datasets.load("toyfaces", progress=False), checkpoints.load("toyfaces/classifier")
    sweep = Sweep(paths.REPOSITORY / "runs" / "cvae-ablations", SETTINGS, images, judge)
    chosen = picked(sweep, given.cells)
    if given.merge:
        cells = read(given.out)
        for path in given.merge:
            cells = sweeps.union(cells, results.read(path)["cells"])
        write(given.out, sweep, cells)
    elif given.list:
        done = {entry["slug"] for entry in read(given.out)}
        for name in chosen:
            print(f"{'done   ' if slug(sweep, name) in done else 'missing'} {slug(sweep, name)}  {name}")
    else:
        run(sweep, given.out, chosen)


if __name__ == "__main__":
    main()
