"""The search of document 001 in small: width, activation and number of pictures of a DCGAN, by Fréchet distance.

``python -m tests.benchmarks.gan_sweep`` writes ``data/benchmarks/gan-sweep.json``, which notebook 01 shows; a cell of
the sweep that is on file already is not run again.
"""

import itertools
import json
import time
from typing import Any

import torch

from nblib import checkpoints, datasets, features, paths, recipes, results
from nblib.files import write_json
from nblib.training import fit

WIDTHS, ACTIVATIONS, PICTURES, SEEDS = (8, 16, 32), ("relu", "elu"), (200, 4000), (0, 1)
STEPS, BATCH_SIZE, DRAWN = 200, 64, 1000


def cell(faces: datasets.ImageSet, width: int, activation: str, pictures: int, seed: int) -> dict[str, Any]:
    """Train one generator and return its distances to training and to unseen pictures."""
    train, test = faces.split("train"), faces.split("test")
    few = train.take(slice(0, pictures))
    hyper = {"width": width, "activation": activation, "batch_size": BATCH_SIZE, "seed": seed, "ema": 0.99}
    recipe = recipes.dcgan(few, **hyper)
    start = time.perf_counter()
    for _ in fit(*recipe, steps=STEPS, log_every=STEPS, progress=False):
        pass
    seconds = time.perf_counter() - start
    space = checkpoints.load(f"{faces.name}/classifier")
    noise = recipe.training.noise(DRAWN, torch.Generator().manual_seed(7))
    drawn = features.extract(space, recipe.training.sample(noise))
    unseen = features.extract(space, test.images[:DRAWN])
    return {
        **{"width": width, "activation": activation, "pictures": pictures, "seed": seed},
        "FD": features.frechet_distance(unseen, drawn),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run what is missing, writing after every cell."""
    path = paths.benchmarks_dir() / "gan-sweep.json"
    done = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    keys = ("width", "activation", "pictures", "seed")
    faces = datasets.load("toyfaces", n=12_000)
    for values in itertools.product(WIDTHS, ACTIVATIONS, PICTURES, SEEDS):
        if values in [tuple(entry[key] for key in keys) for entry in done]:
            continue
        done.append(cell(faces, *values))
        print(done[-1], flush=True)
        seconds = sum(entry["seconds"] for entry in done)
        about = {"steps": STEPS, "batch_size": BATCH_SIZE, "drawn": DRAWN, "data": faces.name}
        write_json(path, results.record("sweep", parameters=about, seconds=seconds, metrics={}, cells=done))


if __name__ == "__main__":
    main()
