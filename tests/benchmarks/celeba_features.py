"""The feature space for CelebA, and a DCGAN measured in it: figures only, no picture and no weights leave ``runs/``.

``python -m tests.benchmarks.celeba_features --root DIR`` trains an attribute classifier on CelebA's training split,
then a DCGAN of class size, and writes ``data/benchmarks/celeba-features.json``: what the classifier knows about test
faces, and the distances of drawn faces from real ones in its features. Killed, it goes on where it was.

The distances are taken from faces of the test and validation splits together: neither network has seen them, and of a
sample of CelebA the test faces alone would be few for 128 features. Beside them stands the floor, training faces
instead of drawn ones: people differ between the splits, and the classifier knows the training faces.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nblib import checkpoints, datasets, features, paths, results, weights
from nblib.datasets.imageset import ImageSet
from nblib.files import write_json
from nblib.noise import uniform_noise

COMPARED = 2000  # pictures of each kind at most


def held_out(images: ImageSet) -> Tensor:
    """Return pictures that nothing was trained on, uint8 (n, 3, H, W): test split first, then validation split."""
    return torch.cat([images.split("test").images, images.split("val").images])[:COMPARED]


@torch.no_grad()
def drawn(generator: torch.nn.Module, n: int) -> Tensor:
    """Return n pictures in [-1, 1], (n, 3, H, W); always the same ones."""
    noise = uniform_noise(generator.latent_dim)(n, torch.Generator().manual_seed(7))
    return torch.cat([generator(part) for part in noise.split(250)])


def distances(space: torch.nn.Module, real: Tensor, other: Tensor) -> dict[str, Any]:
    """Return the Fréchet and the kernel distance of two sets of pictures, with their 95 % intervals."""
    found = features.feature_distance(space, real, other[: len(real)])
    return {name: interval._asdict() for name, interval in found._asdict().items()}


def spent(folder: Path) -> float:
    """Return the seconds of a training, all its parts together."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def measure(images: ImageSet, runs: Path, steps: dict[str, int]) -> dict[str, Any]:
    """Train what is not trained yet, and return the figures.

    Parameters
    ----------
    images : ImageSet
        With attributes.
    runs : Path
        Folder of the two runs, ``celeba-classifier`` and ``celeba-dcgan``.
    steps : dict of str to int
        Length of "classifier" and "dcgan".
    """
    folders = {name: runs / f"celeba-{name}" for name in steps}
    written = {name: weights.train(name, images, folders[name], steps=steps[name], resume=True)[0] for name in steps}
    space, real = checkpoints.load(written["classifier"]), held_out(images)
    known = checkpoints.card(written["classifier"])["metrics"]
    fakes = drawn(checkpoints.load(written["dcgan"]), len(real))
    trained = {name: {"steps": steps[name], "seconds": spent(folders[name])} for name in steps}
    return {
        "classifier, test split": trained["classifier"] | known,
        "dcgan": trained["dcgan"] | distances(space, real, fakes),
        "training faces": distances(space, real, images.split("train").images),
        "pictures of each kind": len(real),
        "feature_space": f"celeba-classifier {checkpoints.card(written['classifier'])['sha256'][:12]}",
    }


def main() -> None:
    """Read the command line, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of CelebA")
    parser.add_argument("--classifier-steps", type=int, default=1500)
    parser.add_argument("--dcgan-steps", type=int, default=2500)
    given = parser.parse_args()
    images = datasets.load("celeba", given.root)
    steps = {"classifier": given.classifier_steps, "dcgan": given.dcgan_steps}
    found = measure(images, paths.REPOSITORY / "runs", steps)
    about = {"data": images.name} | {part: len(images.split(part)) for part in ("train", "val", "test")}
    about["compared with"] = "test and validation faces"
    seconds = found["classifier, test split"]["seconds"] + found["dcgan"]["seconds"]
    record = results.record("benchmark", parameters=about, seconds=seconds, metrics=found)
    write_json(paths.benchmarks_dir() / "celeba-features.json", record)
    for name in ("dcgan", "training faces"):
        print(name, found[name]["frechet"], found[name]["kernel"])


if __name__ == "__main__":
    main()
