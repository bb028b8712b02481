"""How networks of your own fill holes in real pictures, beside the classical methods and the report's figures.

``python -m tests.benchmarks.real_pictures --celeba DIR --cars DIR`` fills the test pictures of both sets (protocol
seed), writes ``data/benchmarks/inpaint-celeba.json`` and ``inpaint-cars.json``, and rewrites the README's table. A set
without a folder keeps its record. Its networks are the trainings ``runs/celeba-…`` and ``runs/cars-…``; how they were
made stands in the records. Figures only: nothing that learnt real pictures is part of the repository, nor is a picture.
"""

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from nblib import checkpoints, datasets, evaluation, inpainters, paths, refresh, results
from nblib.blending import poisson
from nblib.files import whole_file, write_json
from nblib.inpainters import Inpainter

CLASSICAL = ("gray", "mean", "telea", "biharmonic")
SETS = ("celeba", "cars")
TRAININGS = ("approxnet", "refiner", "adversarial")  # runs/SET-NAME
BLENDED = ("approxnet", "refiner")
REPORTED = {  # SSIM in Table 1 of Denoyer, Hivon & Ruin (2019); its text swaps the two of the baseline
    "celeba": {"gray": 0.9268, "approxnet": 0.9578, "refiner": 0.9460},
    "cars": {"gray": 0.9262, "approxnet": 0.9506, "refiner": 0.9454},
}
SHOWN = {"ssim": "{:.4f}", "hole_psnr": "{:.2f}", "hole_l1": "{:.4f}", "offset": "{:.4f}", "seam": "{:.4f}"}


def measured(name: str, root: Path, runs: Path) -> dict[str, Any]:
    """Return the record of one set; trainings that are not there are left out."""
    images = datasets.load(name, root)
    found = {method: runs / f"{name}-{method}" for method in TRAININGS}
    found = {method: run for method, run in found.items() if (run / "weights").is_dir()}
    trained = [inpainters.load(f"{method}={run}") for method, run in found.items()]
    more = [blended(inpainter) for inpainter in trained if inpainter.name in BLENDED]
    record = evaluation.evaluate(images, "seed", [*CLASSICAL, *trained, *more]).record()
    return record | {"trainings": {method: described(method, run) for method, run in found.items()}}


def blended(inpainter: Inpainter) -> Inpainter:
    """Return a network whose whole output, known pixels included, is blended into the picture (Poisson)."""

    def fill(images: Tensor, masks: Tensor) -> Tensor:
        return poisson(inpainter.fill(images, masks), images, masks)  # not pasted: its rim tells how far it is off

    return Inpainter(f"{inpainter.name}, Poisson", fill)


def described(method: str, run: Path) -> dict[str, Any]:
    """Return how a network was made, from its card."""
    card = checkpoints.card(run / "weights" / ("approxnet" if method == "approxnet" else "refiner"))
    return {key: card[key] for key in ("steps", "seconds", "hyper_parameters") if key in card}


def table(records: dict[str, dict[str, Any]]) -> str:
    """Return the README's table."""
    head = "| test pictures | method | SSIM | the report | PSNR in the hole, dB | L1 in the hole | offset | seam |"
    lines = [head, "|" + "---|" * 8]
    for name, record in records.items():
        for method, told in record["methods"].items():
            spans = {key: told[key] for key in SHOWN}
            texts = {key: form.format(spans[key]["mean"]) for key, form in SHOWN.items()}
            for key in ("ssim", "hole_psnr"):
                form = SHOWN[key]
                texts[key] += f" [{form.format(spans[key]['low'])}, {form.format(spans[key]['high'])}]"
            report = f"{REPORTED[name][method]:.4f}" if method in REPORTED[name] else ""
            where = f"{record['n']} of {name}"
            cells = [where, method, texts["ssim"], report, *(texts[key] for key in list(SHOWN)[1:])]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Measure the sets whose folders are given, and write records and table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in SETS:
        parser.add_argument(f"--{name}", type=Path, help=f"folder of {name}")
    parser.add_argument("--runs", type=Path, default=paths.REPOSITORY / "runs")
    given = parser.parse_args()
    records = {}
    for name in SETS:
        path = paths.benchmarks_dir() / f"inpaint-{name}.json"
        if (root := getattr(given, name)) is not None:
            write_json(path, measured(name, root, given.runs))
        if path.is_file():
            records[name] = results.read(path)
    readme = paths.REPOSITORY / "README.md"
    text = refresh.between_marks(readme.read_text(encoding="utf-8"), "real", table(records))
    with whole_file(readme) as partial:
        partial.write_text(text, encoding="utf-8")
    print(table(records))


if __name__ == "__main__":
    main()
