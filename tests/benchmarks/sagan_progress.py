"""How far the shipped SAGANs came: beside the shipped DCGAN, beside themselves without attention, and on their way.

``python -m tests.benchmarks.sagan_progress`` writes ``data/benchmarks/sagan-progress.json``. With ``--bare`` a network
without attention is trained first, with the hyper-parameters and for the steps on the card of the shipped one, in
``runs/sagan-progress`` (ten minutes a set; interrupted, it goes on). What gamma did is read from
``runs/weights/SET-sagan/metrics.csv`` where `make weights` left it, what attention looked like from the snapshots
``SET/sagan-d-stem-STEP``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nblib import attention, checkpoints, datasets, judges, noise, paths, recipes, results
from nblib.datasets.imageset import ImageSet
from nblib.files import write_json
from nblib.images import uint8_to_signed
from nblib.training import fit
from tests.benchmarks.sagan_ablations import DRAWN, drawn, figures, matching
from tests.benchmarks.sweeps import journal

SETS, SEEN = ("toyfaces", "toycars"), 100  # pictures for the statistics of attention
KEPT = ("lr", "lr_D", "betas", "ema", "schedule", "seed")  # of the training; of G: its arguments


def without_attention(images: ImageSet, card: dict[str, Any], folder: Path) -> nn.Module:
    """Train what the card of a SAGAN describes, but for its attention; return the averaged generator."""
    given = card["hyper_parameters"]
    hyper = {key: given[key] for key in KEPT}
    hyper |= {key: given["G"]["arguments"][key] for key in ("width", "backbone", "spectral", "latent_dim")}
    recipe = recipes.sagan(images.split("train"), attention_at=0, **hyper)
    for _ in fit(*recipe, steps=card["steps"], out=folder, resume=True, progress=False):
        pass
    return recipe.training.averaged()


def stems(images: ImageSet) -> dict[str, Any]:
    """Return gamma, entropy and distance of D's attention at the steps of which there are snapshots, then at the end.

    Of test pictures; entropies in nats, distances in sides of the picture.
    """
    seen = uint8_to_signed(images.split("test").images[:SEEN])
    prefix = f"{images.name}/sagan-d-stem-"
    steps = sorted(
        int(key.removeprefix(prefix)) for key in checkpoints.available(images.name) if key.startswith(prefix)
    )
    found = {step: attention.statistics(checkpoints.load(f"{prefix}{step}"), seen)["attention"] for step in steps}
    end = checkpoints.card(f"{images.name}/sagan-d")["steps"]
    found[end] = attention.statistics(checkpoints.load(f"{images.name}/sagan-d").stem, seen)["attention"]
    return found


def gammas(name: str) -> dict[str, list[float]] | None:
    """Return gamma of both players over the training, or None where its journal is not at hand."""
    folder = paths.REPOSITORY / "runs" / "weights" / f"{name}-sagan"
    if not (folder / "metrics.csv").exists():
        return None
    rows = journal(folder)
    return {key: rows[key] for key in ("step", "gamma_G", "gamma_D")}


def measure(name: str, bare: bool) -> dict[str, Any]:
    """Return the figures of one set; if `bare`, those of the network without attention too."""
    images, card = datasets.load(name), checkpoints.card(f"{name}/sagan-g")
    found = {}
    if bare:
        folder = paths.REPOSITORY / "runs" / "sagan-progress" / f"{name}-without-attention"
        found["sagan without attention"] = figures(images, drawn(without_attention(images, card, folder), DRAWN))
    dcgan = checkpoints.load(f"{name}/dcgan-g")
    uniform = noise.uniform_noise(dcgan.latent_dim)(DRAWN, torch.Generator().manual_seed(7))
    with torch.inference_mode():
        by_dcgan = torch.cat([dcgan(part) for part in uniform.split(250)])
    different = judges.scenes(name, 1000, seed=judges.JUDGE_SEED + 2, matching=False)
    return found | {
        "steps": {"sagan": card["steps"], "dcgan": checkpoints.card(f"{name}/dcgan-g")["steps"]},
        "sagan": figures(images, drawn(checkpoints.load(f"{name}/sagan-g"), DRAWN)),
        "dcgan": figures(images, by_dcgan),
        "test pictures": {"consistency": matching(name, images.split("test").images)},
        "toys with two different parts": {"consistency": matching(name, different.images)},
        "gamma": gammas(name),
        "attention of D": stems(images),
    }


def main() -> None:
    """Measure the sets whose weights are there and write the record, keeping what is on file of the others."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bare", action="store_true", help="train and measure the network without attention, too")
    bare = parser.parse_args().bare
    start, path = time.perf_counter(), paths.benchmarks_dir() / "sagan-progress.json"
    found = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.exists() else {}
    about = {"drawn": DRAWN, "sets": SETS, "feature_space": "SET/classifier", "pictures for attention": SEEN}
    for name in SETS:
        if f"{name}/sagan-g" not in checkpoints.available(name):
            print(name, "has no weights sagan-g yet")
            continue
        found[name] = measure(name, bare)
        seconds = time.perf_counter() - start
        write_json(path, results.record("benchmark", parameters=about, seconds=seconds, metrics=found))
        for who in found[name].keys() & {"sagan", "sagan without attention", "dcgan"}:
            print(name, who, found[name][who]["FD"], found[name][who]["consistency"], flush=True)


if __name__ == "__main__":
    main()
