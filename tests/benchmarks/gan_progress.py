"""How far the shipped face generator came: its Fréchet distance beside that of the same training at step 100.

``python -m tests.benchmarks.gan_progress`` writes ``data/benchmarks/gan-progress.json``.
"""

import time

import torch

from nblib import checkpoints, datasets, features, paths, recipes, results
from nblib.files import write_json
from nblib.training import fit

STEPS, DRAWN = 100, 2000


def main() -> None:
    """Train for 100 steps, draw from both, and measure against the test pictures."""
    start = time.perf_counter()
    faces = datasets.load("toyfaces")
    test = faces.split("test").images[:DRAWN]
    recipe = recipes.dcgan(faces.split("train"))
    for _ in fit(*recipe, steps=STEPS, log_every=STEPS, progress=False):
        pass
    noise = recipe.training.noise(DRAWN, torch.Generator().manual_seed(7))
    with torch.no_grad():
        drawn = {
            f"step {STEPS}": recipe.training.sample(noise),
            "shipped": torch.cat([checkpoints.load("toyfaces/dcgan-g")(part) for part in noise.split(250)]),
        }
    space = checkpoints.load("toyfaces/classifier")
    real = features.extract(space, test)
    found = {}
    for name, pictures in drawn.items():
        found[name] = features.frechet_interval(real, features.extract(space, pictures))._asdict()
    found["times lower"] = found[f"step {STEPS}"]["mean"] / found["shipped"]["mean"]
    about = {"steps": STEPS, "drawn": DRAWN, "data": faces.name, "feature_space": "toyfaces/classifier"}
    record = results.record("benchmark", parameters=about, seconds=time.perf_counter() - start, metrics=found)
    write_json(paths.benchmarks_dir() / "gan-progress.json", record)
    print(found)


if __name__ == "__main__":
    main()
