"""What each ingredient of ApproxNet and the attention refiner is worth at class size: short trainings without it.

``python -m tests.benchmarks.inpaint_ablations`` writes ``data/benchmarks/inpaint-ablations.json`` after every cell (a
setting and a seed). A cell on file whose slug is unchanged (it stands for hyper-parameters, steps, data and what it
starts from) is not run again; one that was interrupted goes on in ``runs/inpaint-ablations/SLUG``. Several processes
can share the work: each takes some ``--cells`` or ``--seeds`` and an ``--out`` of its own, and waits for weights that
another one is training; then ``--merge`` brings the records together.

All settings of a seed see the same batches, and all fill the same holes of the same 500 test pictures, so differences
are taken image by image within a seed, and over the seeds by Student.
"""

import argparse
import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from nblib import datasets, inpainters, paths, results, weights
from nblib.answers import Answers, Questions, answer
from nblib.blending import poisson
from nblib.datasets.imageset import ImageSet
from nblib.files import whole_folder
from nblib.inpainters import Inpainter
from nblib.recipes import RECIPES, Recipe
from nblib.training import InpaintTraining, TrainingDiverged, fit
from tests.benchmarks import sweeps
from tests.benchmarks.inpaint_settings import SETTINGS, Data, Need, Setting
from tests.benchmarks.sweeps import Values

PRECISION, POINTS = "bf16", 40
PROTOCOLS = ("seed", "uniform")
METRICS = ("ssim", "hole_psnr", "hole_l1", "box_ssim", "seam", "bias", "offset")
CURVES = ("loss", "gradient_", "gamma_", "alpha", "step")  # beginnings of the columns of a log that are kept
REMEDIES = {  # for the seam, and where each is found: setting and sheet
    "none": ("base", "seed"),
    "rim L1": ("rim L1", "seed"),
    "border-weighted L1": ("border-weighted L1", "seed"),
    "Poisson": ("base", "seed, blended"),
    "rim L1, Poisson": ("rim L1", "seed, blended"),
    "whole-image L1": ("whole-image L1", "seed"),
    "whole-image L1, Poisson": ("whole-image L1", "seed, blended"),
    "adversarial 0.3": ("adversarial 0.3", "seed"),
    "adversarial 0.3, Poisson": ("adversarial 0.3", "seed, blended"),
    "adversarial 0.3 with mask for D": ("adversarial 0.3 with mask for D", "seed"),
}
TABLE = ("bias", "offset", "seam", "ssim", "hole_psnr")


@cache
def drawn(data: Data) -> ImageSet:
    """Return a drawn set, packed on the first call."""
    images = datasets.load(data.name, n=data.n, size=data.size, progress=False)
    if data.first is None:
        return images
    train = np.flatnonzero(np.asarray(images.partition) == 0)
    others = np.flatnonzero(np.asarray(images.partition) != 0)
    return images.take(np.concatenate([train[: data.first], others]))


@dataclass(frozen=True, eq=False)
class Sweep:
    """Where the cells are trained, on what, and how many test pictures they fill."""

    folder: Path
    settings: dict[str, Setting]
    load: Callable[[Data], ImageSet] = drawn
    limit: int = 500

    def cells(self) -> list[tuple[str, int]]:
        """Return setting and seed of all cells; the first seed of all settings first."""
        seeds = sorted({seed for setting in self.settings.values() for seed in setting.seeds})
        return [(name, seed) for seed, name in itertools.product(seeds, self.settings) if seed in self[name].seeds]

    def __getitem__(self, name: str) -> Setting:
        return self.settings[name]

    def seed_of(self, need: Need, seed: int) -> int:
        """Return the seed of the cell whose weights are needed."""
        seeds = self[need.setting].seeds
        return need.fixed if need.fixed is not None else seeds[(seeds.index(seed) + need.shift) % len(seeds)]


def recipe(sweep: Sweep, name: str, seed: int, **given: Any) -> Recipe:
    """Return the recipe of a cell; `given` are the weights that it needs."""
    setting = sweep[name]
    images = sweep.load(setting.data).split("train")
    return RECIPES[setting.recipe](images, **(setting.options | given), seed=seed)


def described(sweep: Sweep, name: str, seed: int) -> dict[str, Any]:
    """Return everything that the weights of a cell depend on, without training what it needs."""
    setting = sweep[name]
    told = {"setting": name, "seed": seed, "data": setting.data._asdict(), "test pictures": sweep.limit}
    if setting.recipe == "classical":
        return told | setting.options
    needed = {option: slug(sweep, need.setting, sweep.seed_of(need, seed)) for option, need in setting.needs.items()}
    stand_in = {}
    if (need := setting.needs.get("approximator")) is not None:
        stand_in["approximator"] = recipe(sweep, need.setting, 0).training.G  # untrained: only its sizes are told
    chosen = recipe(sweep, name, seed, **stand_in)
    masks = setting.options.get("masks", inspect.signature(RECIPES[setting.recipe]).parameters["masks"].default)
    told |= {"steps": setting.steps, "masks": masks, "batch_size": chosen.batches.size, "precision": PRECISION}
    return told | {"needs": needed, "hyper_parameters": chosen.training.hyper_parameters()}


@cache
def slug(sweep: Sweep, name: str, seed: int) -> str:
    """Return the name of a cell's folder: setting, seed, and a digest of what it depends on."""
    digest = hashlib.sha256(json.dumps(described(sweep, name, seed), sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}-{seed}-{digest[:8]}"


def weights_of(sweep: Sweep, need: Need, seed: int) -> str:
    """Return the weights file that a cell needs, trained first if it is not there."""
    seed = sweep.seed_of(need, seed)
    path = sweep.folder / slug(sweep, need.setting, seed) / "weights" / f"{need.file}.safetensors"
    if not path.is_file():
        trained(sweep, need.setting, seed)
    return str(path)


def trained(sweep: Sweep, name: str, seed: int) -> InpaintTraining:
    """Train a cell, or what is left of it, and write its weights; wait if another process is at it."""
    setting, folder = sweep[name], sweep.folder / slug(sweep, name, seed)
    given = {option: weights_of(sweep, need, seed) for option, need in setting.needs.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        chosen = recipe(sweep, name, seed, **given)
        pace = {"log_every": max(1, setting.steps // POINTS), "checkpoint_every": 200, "sample_every": setting.steps}
        how = {"precision": PRECISION, "threads": 1, "progress": False}
        for _ in fit(*chosen, steps=setting.steps, out=folder, resume=True, **pace, **how):
            pass
        if not (folder / "weights").is_dir():
            images = sweep.load(setting.data)
            card = {"data": images.name, "steps": setting.steps}
            card["hyper_parameters"] = chosen.training.hyper_parameters()
            with whole_folder(folder / "weights") as partial:
                weights.write_fillers(setting.recipe, chosen.training, images.split("test"), partial, card)
    return chosen.training


def blending(training: InpaintTraining) -> Inpainter:
    """Return the training's filler with Poisson blending of what it drew, known pixels included, into the picture."""

    def fill(images: Tensor, masks: Tensor) -> Tensor:
        with torch.no_grad():
            whole = training.averaged()(training.approximate(images, masks), masks.to(training.device))
        return poisson(whole.to(images), images, masks)  # not pasted: its rim tells how far it is off

    return Inpainter("blended", fill)


def fillers(sweep: Sweep, name: str, seed: int) -> dict[str, Inpainter]:
    """Return how a cell fills holes: plainly ("") and, if the setting says so, "blended"."""
    setting = sweep[name]
    if setting.recipe == "classical":
        return {"": inpainters.load(setting.options["method"])}
    training = trained(sweep, name, seed)
    found = {"": Inpainter(name, training.fill)}
    return found | {"blended": blending(training)} if setting.blended else found


def asked(sweep: Sweep, name: str) -> dict[str, Callable[[], Questions]]:
    """Return what the fillers of a setting are asked: test pictures, and for a split those learnt and those not."""
    setting = sweep[name]
    images = sweep.load(setting.data)

    def pose(pictures: ImageSet, protocol: str, split: str) -> Callable[[], Questions]:
        return lambda: Questions.pose(pictures, protocol, split, seed=0, limit=sweep.limit, batch_size=50)

    found = {protocol: pose(images, protocol, "test") for protocol in PROTOCOLS}
    if "share" in setting.options:
        train = images.split("train")
        learnt = round(setting.options["share"] * len(train))
        found["learnt"] = pose(train.take(slice(0, learnt)), "seed", "train")
        found["held out"] = pose(train.take(slice(learnt, None)), "seed", "train")
    return found


def scored(sweep: Sweep, name: str, seed: int) -> dict[str, Values]:
    """Return all metrics per image by sheet ("seed", "uniform, blended" …); kept as files in the cell's folder."""
    folder = sweep.folder / slug(sweep, name, seed) / "answers"
    kinds = ("", "blended") if sweep[name].blended else ("",)
    sheets = {f"{what}, {kind}".rstrip(", "): (what, kind) for what in asked(sweep, name) for kind in kinds}
    files = {sheet: folder / f"{sheet.replace(', ', '-').replace(' ', '-')}.npz" for sheet in sheets}
    missing = [sheet for sheet, path in files.items() if not path.is_file()]
    found = fillers(sweep, name, seed) if missing else {}
    for sheet in missing:
        what, kind = sheets[sheet]
        answer(asked(sweep, name)[what](), found[kind], progress=False).save(files[sheet])
    read = {sheet: Answers.load(path).values for sheet, path in files.items()}
    return {sheet: {metric: values[metric] for metric in METRICS} for sheet, values in read.items()}


def cell(sweep: Sweep, name: str, seed: int) -> dict[str, Any]:
    """Return the figures of a cell, after training what is left to train."""
    about = {**described(sweep, name, seed), "slug": slug(sweep, name, seed), "against": rival(sweep, name, seed)}
    try:
        sheets = scored(sweep, name, seed)
    except TrainingDiverged as error:
        return about | {"diverged": str(error)}
    about |= {"scores": {sheet: sweeps.bootstrapped(values) for sheet, values in sheets.items()}}
    about |= {"differences": differences(sweep, name, seed, sheets)}
    if sweep[name].recipe == "classical":
        return about
    rows = sweeps.journal(sweep.folder / about["slug"])
    kept = {column: values for column, values in rows.items() if column.startswith(CURVES)}
    return about | {"curves": sweeps.thinned(kept, POINTS), "seconds": rows["seconds"][-1]}


def rival(sweep: Sweep, name: str, seed: int) -> str | None:
    """Return the slug of the cell that one is compared with, None if there is none."""
    against = sweep[name].against
    return None if against is None else slug(sweep, against, seed)


def differences(sweep: Sweep, name: str, seed: int, sheets: dict[str, Values]) -> dict[str, Any]:
    """Return the paired differences of a cell's sheets to the setting it is compared with, and of blended to plain."""
    found, against = {}, sweep[name].against
    try:
        others = scored(sweep, against, seed) if against not in (None, name) else {}
    except TrainingDiverged:
        others = {}
    for sheet, values in sheets.items():
        plain = sheet.partition(", ")[0]
        if plain in others:
            found[f"{sheet} minus {against}, {plain}"] = sweeps.paired(values, others[plain])
        if plain != sheet:
            found[f"{sheet} minus {plain}"] = sweeps.paired(values, sheets[plain])
    return found


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each setting's means over its seeds, and those of its paired differences, with Student's 95 % intervals.

    Three seeds make the intervals wide (4.3 standard errors).
    """
    found = {}
    for name in dict.fromkeys(entry["setting"] for entry in cells):
        own = [entry for entry in cells if entry["setting"] == name]
        whole = [entry for entry in own if "scores" in entry]
        found[name] = {"seeds": len(whole), "diverged": len(own) - len(whole)}
        for part in ("scores", "differences") if whole else ():
            found[name][part] = {
                key: {metric: _over_seeds([entry[part].get(key) for entry in whole], metric) for metric in METRICS}
                for key in whole[0][part]
            }
        if whole and "held out" in whole[0]["scores"]:
            told = [(e["scores"]["held out"]["hole_l1"], e["scores"]["learnt"]["hole_l1"]) for e in whole]
            found[name]["gap"] = sweeps.student([held["mean"] - learnt["mean"] for held, learnt in told])
    return found


def _over_seeds(sheets: list[dict[str, Any] | None], metric: str) -> dict[str, float]:
    return sweeps.student([sheet[metric]["mean"] for sheet in sheets if sheet is not None])


def remedies(told: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the table of what helps against a visible hole: means over the seeds, protocol "seed"."""
    return {
        remedy: {metric: told[setting]["scores"][sheet][metric]["mean"] for metric in TABLE}
        for remedy, (setting, sheet) in REMEDIES.items()
        if sheet in told.get(setting, {}).get("scores", {})
    }


def on_file(sweep: Sweep, cells: list[dict[str, Any]], name: str, seed: int) -> bool:
    """Return whether a record holds a cell as it would be made now."""
    now = (slug(sweep, name, seed), rival(sweep, name, seed))
    return any((entry["slug"], entry["against"]) == now for entry in cells)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a record; none if there is no such file."""
    return results.read(path)["cells"] if path.is_file() else []


def write(path: Path, sweep: Sweep, cells: list[dict[str, Any]]) -> None:
    """Write the record: all cells in the order of the sweep, their summary, and the table of remedies."""
    order = {cell: place for place, cell in enumerate(sweep.cells())}
    cells = sorted(cells, key=lambda entry: order.get((entry["setting"], entry["seed"]), len(order)))
    about = {"protocols": PROTOCOLS, "test pictures": sweep.limit, "precision": PRECISION, "threads": 1}
    told = summary(cells)
    seconds = sum(entry.get("seconds", 0) for entry in cells)
    figures = {"settings": told, "remedies": remedies(told)}
    sweeps.write_dense(path, results.record("sweep", parameters=about, seconds=seconds, metrics=figures, cells=cells))


def run(sweep: Sweep, path: Path, chosen: list[tuple[str, int]]) -> None:
    """Run what is missing of the chosen cells, writing after every cell."""
    done = read(path)
    for name, seed in chosen:
        if on_file(sweep, done, name, seed):
            continue
        done = sweeps.union(done, [cell(sweep, name, seed)])
        write(path, sweep, done)
        told = done[-1].get("scores", {}).get("seed", {})
        print(name, seed, {metric: value["mean"] for metric, value in told.items()}, flush=True)


def picked(sweep: Sweep, names: str | None, seeds: str | None) -> list[tuple[str, int]]:
    """Return the cells of some settings and seeds; of all where nothing is said.

    Raises
    ------
    ValueError
        If there is no such setting.
    """
    wanted = None if names is None else [name.strip() for name in names.split(",")]
    for name in wanted or ():
        if name not in sweep.settings:
            raise ValueError(f"{name!r}: no such setting; choose from {', '.join(sweep.settings)}")
    numbers = None if seeds is None else [int(seed) for seed in seeds.split(",")]
    return [
        (name, seed)
        for name, seed in sweep.cells()
        if (wanted is None or name in wanted) and (numbers is None or seed in numbers)
    ]


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", help="settings, as in 'base, no attention' (all)")
    parser.add_argument("--seeds", help="as in 0,1 (all)")
    parser.add_argument("--out", type=Path, default=paths.benchmarks_dir() / "inpaint-ablations.json")
    parser.add_argument("--merge", type=Path, nargs="+", help="records to take into --out; nothing is run")
    parser.add_argument("--list", action="store_true", help="print the cells; nothing is run")
    given = parser.parse_args()
    sweep = Sweep(paths.REPOSITORY / "runs" / "inpaint-ablations", SETTINGS)
    chosen = picked(sweep, given.cells, given.seeds)
    if given.merge:
        cells = read(given.out)
        for path in given.merge:
            cells = sweeps.union(cells, results.read(path)["cells"])
        write(given.out, sweep, cells)
    elif given.list:
        done = read(given.out)
        for name, seed in chosen:
            print(f"{'done   ' if on_file(sweep, done, name, seed) else 'missing'} {slug(sweep, name, seed)}  {name}")
    else:
        torch.set_num_threads(1)
        run(sweep, given.out, chosen)


if __name__ == "__main__":
    main()
