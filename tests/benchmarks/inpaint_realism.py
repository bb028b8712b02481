"""How real holes look that networks have filled: distances of the holes' surroundings from the true ones.

``python -m tests.benchmarks.inpaint_realism --data celeba --root DIR --methods l1=RUN_A adversarial=RUN_B
--space WEIGHTS --out FILE`` fills the holes of the validation and the test split (neither was learnt from), cuts out
each hole's box plus 8 px, and measures KID and Fréchet distance to the same cuttings of the true pictures, in the
features of a classifier. Beside them stand SSIM, PSNR and L1 in the hole. All differences are to the first method,
with intervals from a bootstrap in which all methods draw the same images.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nblib import checkpoints, datasets, features, inpainters, metrics, realism, results
from nblib.answers import Questions
from nblib.datasets.imageset import ImageSet
from nblib.files import write_json
from nblib.images import signed_to_unit, uint8_to_signed, uint8_to_unit
from nblib.inpainters import Inpainter
from tests.benchmarks import sweeps

SPLITS, METRICS = ("val", "test"), ("ssim", "box_ssim", "hole_psnr", "hole_l1", "seam", "offset")
BATCH = 50


def posed(images: ImageSet, protocol: str, limit: int | None) -> tuple[Tensor, Tensor]:
    """Return the pictures of both held-out splits, uint8 (N, 3, H, W), and their holes, bool (N, 1, H, W)."""
    parts = [Questions.pose(images, protocol, split, 0, limit, BATCH) for split in SPLITS if len(images.split(split))]
    return torch.cat([part.images for part in parts]), torch.cat([part.masks for part in parts])


def filled(inpainter: Inpainter, images: Tensor, masks: Tensor) -> Tensor:
    """Return the pictures with their holes filled, float (N, 3, H, W) in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    pairs = zip(images.split(BATCH), masks.split(BATCH), strict=True)
    return torch.cat([inpainter(uint8_to_signed(batch), holes, generator=generator) for batch, holes in pairs])


def measured(output: Tensor, images: Tensor, masks: Tensor) -> sweeps.Values:
    """Return the metrics of filled pictures, image by image."""
    parts = zip(output.split(BATCH), images.split(BATCH), masks.split(BATCH), strict=True)
    told = [metrics.measure(signed_to_unit(fill), uint8_to_unit(truth), holes) for fill, truth, holes in parts]
    return {name: torch.cat([batch[name] for batch in told]).numpy() for name in METRICS}


def compare(methods: list[Inpainter], images: Tensor, masks: Tensor, space: nn.Module) -> dict[str, Any]:
    """Return each method's figures, and the others' minus the first one's.

    Parameters
    ----------
    methods : list of Inpainter
    images : Tensor, uint8 (N, 3, H, W)
    masks : Tensor, bool (N, 1, H, W)
    space : nn.Module
        With a method `features`, trained on pictures of this size.
    """
    size, values, vectors = images.shape[-1], {}, {}
    real = features.extract(space, realism.box_crops(images, masks, size=size))
    for method in methods:
        output = filled(method, images, masks)
        values[method.name] = measured(output, images, masks)
        vectors[method.name] = features.extract(space, realism.box_crops(output, masks, size=size))
    kernel, frechet = realism.kernel_comparison(real, vectors), realism.frechet_comparison(real, vectors)
    first = methods[0].name
    found = {name: {"KID": kernel.distances[name], "FD": frechet.distances[name]} for name in vectors}
    changes = {name: {"KID": kernel.differences[name], "FD": frechet.differences[name]} for name in kernel.differences}
    return {
        "methods": {name: _plain(told) | sweeps.bootstrapped(values[name]) for name, told in found.items()},
        f"minus {first}": {
            name: _plain(told) | sweeps.paired(values[name], values[first]) for name, told in changes.items()
        },
    }


def _plain(told: dict[str, metrics.Interval]) -> dict[str, dict[str, float]]:
    return {name: {key: sweeps.rounded(value) for key, value in told[name]._asdict().items()} for name in told}


def main() -> None:
    """Read the command line, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", required=True, help="keys of inpainters, as in l1=runs/refiner")
    parser.add_argument("--data", default="celeba")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--space", required=True, help="weights of a classifier of this data")
    parser.add_argument("--protocol", default="big")
    parser.add_argument("--limit", type=int, help="pictures of each split (all)")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    given = parser.parse_args()
    began, methods = time.perf_counter(), [inpainters.load(key) for key in given.methods]
    images = datasets.load(given.data, given.root)
    pictures, masks = posed(images, given.protocol, given.limit)
    found = compare(methods, pictures, masks, checkpoints.load(given.space))
    about = {"data": images.name, "protocol": given.protocol, "splits": SPLITS, "images": len(pictures)}
    about |= {"methods": [method.name for method in methods], "margin": realism.MARGIN, "resamples": 2000}
    about |= {"feature_space": f"{Path(given.space).stem} {checkpoints.card(given.space)['sha256'][:12]}"}
    seconds = time.perf_counter() - began
    write_json(given.out, results.record("benchmark", parameters=about, seconds=seconds, metrics=found))
    for part, rows in found.items():
        for name, told in rows.items():
            print(part, name, {metric: told[metric] for metric in ("KID", "FD", "ssim", "hole_psnr", "hole_l1")})


if __name__ == "__main__":
    main()
