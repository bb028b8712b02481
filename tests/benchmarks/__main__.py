"""Measure the speeds that the README quotes, each beside the plain way to do the same, and write them down.

``make bench`` runs this. Rates depend on the machine; ratios, measured side by side in one process, much less.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch.utils.data import DataLoader

from nblib import datasets, masks, metrics, paths, refresh, results
from nblib.files import whole_file, write_json
from nblib.images import uint8_to_unit
from nblib.toys import cars, faces
from tests.benchmarks import attention, engine

THREADS = 2


def rate(work: Callable[[], int], seconds: float = 3.0) -> float:
    """Return units per second: the best of repeated calls of `work`, which returns how many units it did."""
    best, end = 0.0, time.perf_counter() + seconds
    work()
    while time.perf_counter() < end:
        start = time.perf_counter()
        count = work()
        best = max(best, count / (time.perf_counter() - start))
    return best


def toys() -> dict[str, float]:
    """Pictures drawn per second."""
    indices = torch.arange(512)
    return {
        "toy faces": rate(lambda: len(faces.sample(0, indices).images)),
        "toy cars": rate(lambda: len(cars.sample(0, indices).images)),
    }


def holes() -> dict[str, float]:
    """Masks drawn per second, and one at a time for comparison."""
    generator = torch.Generator().manual_seed(0)

    def singly() -> int:
        return sum(len(masks.seed(1, generator=generator)) for _ in range(200))

    return {
        "rectangular holes": rate(lambda: len(masks.seed(4096, generator=generator))),
        "rectangular holes, one by one": rate(singly),
        "freeform holes": rate(lambda: len(masks.freeform(512, generator=generator))),
    }


def similarity() -> dict[str, float]:
    """SSIM per second on 1,000 pictures, batched and in scikit-image's loop."""
    truth = uint8_to_unit(faces.sample(0, torch.arange(1000)).images)
    output = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    pairs = list(zip(output.numpy(), truth.numpy(), strict=True))

    def loop() -> int:
        return len([structural_similarity(x, y, channel_axis=0, data_range=1.0) for x, y in pairs])

    return {
        "SSIM, batched": rate(lambda: len(metrics.ssim(output, truth))),
        "SSIM, loop over scikit-image": rate(loop),
    }


def make_celeba(root: Path, n: int) -> None:
    """Write drawn faces in CelebA's layout at half size (89x109 JPEGs)."""
    folder = root / "img_align_celeba"
    folder.mkdir(parents=True)
    for start in range(0, n, 500):
        drawn = faces.sample(0, torch.arange(start, min(start + 500, n)), size=109).images
        for k, image in enumerate(drawn.permute(0, 2, 3, 1).numpy(), start + 1):
            Image.fromarray(image[:, 10:99]).save(folder / f"{k:06d}.jpg", quality=90)


def reading() -> dict[str, float]:
    """Pictures packed per second from JPEGs, then read in batches from the pack; beside one at a time."""
    with tempfile.TemporaryDirectory() as scratch:
        root, n = Path(scratch) / "celeba", 6000
        make_celeba(root, n)
        os.environ["NBLIB_DATA"] = scratch  # the pack belongs to the benchmark
        files = sorted((root / "img_align_celeba").iterdir())

        def decode_singly() -> int:
            for file in files[:1500]:
                picture = Image.open(io.BytesIO(file.read_bytes())).convert("RGB").crop((12, 22, 76, 86))
                np.asarray(picture)
            return 1500

        singly = rate(decode_singly, 2)
        start = time.perf_counter()
        pack = datasets.load("celeba", root, progress=False)
        packed = n / (time.perf_counter() - start)
        batches = pack.batches(256)
        loader = DataLoader(pack, batch_size=256, shuffle=True, drop_last=True)
        return {
            "JPEGs packed, checked and hashed": packed,
            "JPEGs decoded only, one by one": singly,
            "batches(256) from the pack": rate(lambda: sum(len(batch.images) for batch in batches)),
            "DataLoader over the same pack": rate(lambda: 256 * sum(1 for _ in loader)),
        }


def write(name: str, measured: dict[str, float], seconds: float) -> None:
    """Write ``data/benchmarks/NAME.json``."""
    about = {"threads": THREADS, "cores": os.cpu_count()}
    record = results.record("benchmark", parameters=about, seconds=seconds, metrics=measured)
    write_json(paths.benchmarks_dir() / f"{name}.json", record)


def table(head: str, measured: dict[str, float], form: str) -> str:
    """Return a table for the README."""
    rows = [f"| {name} | {value:{form}} |" for name, value in measured.items()]
    return "\n".join([f"\n{head}", "|---|---|", *rows, ""])


def main() -> None:
    """Measure, write three records into ``data/benchmarks``, and rewrite the README's tables."""
    torch.set_num_threads(THREADS)
    started, foundation = time.perf_counter(), {}
    for part in (toys, holes, similarity, reading):
        foundation |= part()
    write("foundation", foundation, time.perf_counter() - started)
    started = time.perf_counter()
    trained = engine.measure()
    write("engine", trained, time.perf_counter() - started)
    started = time.perf_counter()
    attending = attention.measure()
    write("attention", attending, time.perf_counter() - started)
    readme = paths.REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    speeds = table("| on two CPU cores | per second |", foundation, ",.0f")
    overhead = f"Over the same bare loop, `fit` costs {trained[engine.OVERHEAD]:+.1f} % time."
    speeds = "\n".join(
        [
            speeds,
            engine.table(trained),
            "",
            engine.scaling_table(trained),
            "",
            overhead,
            "",
            attention.table(attending),
            "",
        ]
    )
    text = refresh.between_marks(text, "speeds", speeds)
    with whole_file(readme) as partial:
        partial.write_text(text, encoding="utf-8")
    print(speeds)


if __name__ == "__main__":
    main()
