"""What each ingredient of SAGAN is worth at class size: the same short training without it, three times each.

``python -m tests.benchmarks.sagan_ablations`` writes ``data/benchmarks/sagan-ablations.json`` after every cell. A cell
that is on file, with the hyper-parameters that the recipe has now, is not run again; one that was interrupted goes on
in ``runs/sagan-ablations``. Equal steps, batches, latents and test pictures for all: within a seed, settings differ in
nothing else, and so differences are taken seed by seed.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nblib import checkpoints, consistency, datasets, features, judges, paths, recipes, results
from nblib.datasets.imageset import ImageSet
from nblib.files import write_json
from nblib.metrics import Interval
from nblib.training import TrainingDiverged, fit
from tests.benchmarks.sweeps import journal, student

SETTINGS: dict[str, dict[str, Any]] = {
    "base": {},
    "no attention": {"attention_at": 0},
    "attention at 16": {"attention_at": 16},
    "no spectral norm in G": {"spectral": False},
    "one learning rate": {"lr_D": 2e-4},
}
SEEDS, STEPS, DRAWN, PRECISION = (0, 1, 2), 500, 2000, "bf16"


def drawn(generator: torch.nn.Module, n: int) -> Tensor:
    """Return n pictures in [-1, 1], (n, 3, H, W), from standard normal latents; always the same ones."""
    noise = torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        return torch.cat([generator(part) for part in noise.split(250)])


def figures(images: ImageSet, pictures: Tensor) -> dict[str, Any]:
    """Return what pictures are worth beside the test pictures of their set: distances and consistency."""
    space, test = checkpoints.load(f"{images.name}/classifier"), images.split("test").images[: len(pictures)]
    distance = features.feature_distance(space, test, pictures[: len(test)])
    told = {"FD": distance.frechet._asdict(), "KID": distance.kernel._asdict()}
    return told | {"consistency": matching(images.name, pictures)}


def matching(name: str, pictures: Tensor) -> dict[str, Any]:
    """Return the consistency of pictures for each property of their parts; None where too few show both parts."""
    found = {}
    for prop in judges.subject(name).properties:
        try:
            told = consistency.consistency(name, pictures, prop)
        except ValueError:
            found[prop] = None
            continue
        plain = {
            key: value._asdict() if isinstance(value, Interval) else value for key, value in told._asdict().items()
        }
        found[prop] = plain
    return found


def cell(images: ImageSet, setting: str, seed: int, folder: Path, *, steps: int = STEPS, n: int = DRAWN, **more: Any):
    """Train one network, or what is left of it, and return its figures."""
    recipe = recipes.sagan(images.split("train"), **(SETTINGS[setting] | more), seed=seed)
    about = {"setting": setting, "seed": seed, "steps": steps, "hyper_parameters": recipe.training.hyper_parameters()}
    try:
        for _ in fit(*recipe, steps=steps, out=folder, resume=True, precision=PRECISION, progress=False):
            pass
    except TrainingDiverged as error:
        return about | {"diverged": str(error)}
    rows = journal(folder)
    gammas = {name: rows[name][-1] for name in ("gamma_G", "gamma_D") if name in rows}
    told = figures(images, drawn(recipe.training.averaged(), n))
    return about | told | gammas | {"seconds": rows["seconds"][-1]}


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each setting's means over its seeds, and the mean difference to "base" seed by seed.

    The 95 % intervals of differences are Student's; three seeds make them wide (4.3 standard errors).
    """
    found = {}
    for setting in dict.fromkeys(entry["setting"] for entry in cells):
        own = {entry["seed"]: entry for entry in cells if entry["setting"] == setting and "FD" in entry}
        base = {entry["seed"]: entry for entry in cells if entry["setting"] == "base" and "FD" in entry}
        found[setting] = {"seeds": len(own), "diverged": sum("diverged" in e for e in cells if e["setting"] == setting)}
        for name in ("FD", "KID", "kappa") if own else ():
            values = {seed: _figure(entry, name) for seed, entry in own.items()}
            found[setting][name] = float(np.mean(list(values.values())))
            if setting != "base" and (both := sorted(own.keys() & base.keys())):
                found[setting][f"{name} minus base"] = student([values[s] - _figure(base[s], name) for s in both])
    return found


def _figure(entry: dict[str, Any], name: str) -> float:
    """Return one figure of a cell; kappa is that of the first property."""
    if name != "kappa":
        return entry[name]["mean"]
    told = next(iter(entry["consistency"].values()))
    mean = None if told is None else told["kappa"]["mean"]
    return np.nan if mean is None else mean


def main() -> None:
    """Run what is missing, writing after every cell."""
    path, faces = paths.benchmarks_dir() / "sagan-ablations.json", datasets.load("toyfaces")
    done = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    for seed, setting in itertools.product(SEEDS, SETTINGS):
        slug = f"{setting.replace(' ', '-')}-{seed}"
        wanted = recipes.sagan(faces.split("train"), **SETTINGS[setting], seed=seed).training.hyper_parameters()
        same = [e for e in done if (e["setting"], e["seed"]) == (setting, seed)]
        if any(e["hyper_parameters"] == wanted and e["steps"] == STEPS for e in same):
            continue
        done = [e for e in done if e not in same]
        done.append(cell(faces, setting, seed, paths.REPOSITORY / "runs" / "sagan-ablations" / slug))
        print(setting, seed, {key: value for key, value in done[-1].items() if key != "hyper_parameters"}, flush=True)
        write(path, faces, done)


def write(path: Path, faces: ImageSet, cells: list[dict[str, Any]]) -> None:
    """Write the record: all cells, their summary, and the consistency of test pictures."""
    about = {"steps": STEPS, "drawn": DRAWN, "data": faces.name, "precision": PRECISION, "batch_size": 64}
    about["feature_space"] = f"{faces.name}/classifier"
    told = {"settings": summary(cells), "test pictures": matching(faces.name, faces.split("test").images)}
    seconds = sum(entry.get("seconds", 0) for entry in cells)
    write_json(path, results.record("sweep", parameters=about, seconds=seconds, metrics=told, cells=cells))


if __name__ == "__main__":
    main()
