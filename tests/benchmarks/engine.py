"""How fast the training engine is: beside the bare loop, beside the idiom of old examples, beside the machine's peak.

All rivals take turns in one process, so that whatever else the machine does disturbs them alike; of each the best
turn counts. Rates depend on the machine, ratios much less. Memory is measured in a fresh process for each.

What is measured has names like "small, bf16 channels_last: images/s", from which `table` and `scaling_table` are made.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from nblib import results
from nblib.datasets.batches import Batches
from nblib.datasets.imageset import ImageSet
from nblib.networks.dcgan import Discriminator, Generator
from nblib.toys import faces
from nblib.training import GANTraining, fit, precision
from nblib.training.precision import Setting

BATCH = 128
TURNS = {"small": 4, "standard": 2}  # the document's DCGAN, the standard one
HISTORIC = ("historic with JPEGs", "historic without loading")
PLAIN, LAST = Setting("fp32", "contiguous"), Setting("fp32", "channels_last")
BATCHES, COUNTS = (16, 32, 64, 128, 256), (512, 4096, 16384)
TAKEN = 256  # images in a turn of `scaling`
REMEMBERED = 3  # steps after which a training needs no more memory
OVERHEAD = "fit over a bare loop, %"
CPU = torch.device("cpu")


def gan_step(training: GANTraining, batch) -> dict[str, Tensor]:
    """Take the non-saturating step of every comparison here."""
    fake = training.G(batch.noise)
    loss_d = F.softplus(-training.D(batch.images)).mean() + F.softplus(training.D(fake.detach())).mean()
    training.descend("D", loss_d)
    loss_g = F.softplus(-training.D(fake)).mean()
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def side_by_side(rivals: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the seconds of each rival's best turn; a first turn warms up."""
    best = dict.fromkeys(rivals, float("inf"))
    for turn in range(turns + 1):
        for name, work in rivals.items():
            start = time.perf_counter()
            work()
            if turn:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def make_training(size: str) -> GANTraining:
    """Return a DCGAN of one of the sizes, the same weights every time."""
    torch.manual_seed(0)
    return GANTraining(getattr(Generator, size)(), getattr(Discriminator, size)())


def settings() -> list[Setting]:
    """Return the ways in which this machine can compute a step."""
    names = [name for name in precision.PRECISIONS if name == "fp32" or precision.has_bf16(CPU)]
    return [Setting(name, layout) for name in names for layout in precision.LAYOUTS]


def fitted(size: str, batches: Batches, setting: Setting, chunk: int = 1) -> Iterator:
    """Return `fit`'s iterator; each `next` takes `chunk` steps."""
    pace = dict.fromkeys(("log_every", "checkpoint_every", "sample_every"), chunk)
    arguments = pace | setting._asdict() | {"steps": 10**6, "device": "cpu", "progress": False}
    return fit(make_training(size), gan_step, batches, **arguments)


def bare(size: str, batches: Batches) -> Iterator[None]:
    """Take the same steps in a plain loop, float32 and contiguous."""
    training = make_training(size)
    for number in range(10**6):
        batch = training.prepare(batches.at(number), size=batches.size, rank=0, world=1)
        gan_step(training, batch)
        yield


class Pictures(Dataset):
    """JPEG files, decoded one by one."""

    def __init__(self, folder: Path):
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as file:
            picture = file.convert("RGB").resize((64, 78), Image.Resampling.BILINEAR).crop((0, 7, 64, 71))
        pixels = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255
        return torch.from_numpy((pixels - 0.5) / 0.5)


def write_pictures(folder: Path, n: int) -> None:
    """Write drawn faces as JPEGs of CelebA's size, 178x218."""
    for start in range(0, n, 64):
        drawn = faces.sample(0, torch.arange(start, min(start + 64, n)), size=218).images
        for k, image in enumerate(drawn.permute(0, 2, 3, 1).numpy(), start):
            Image.fromarray(image[:, 20:198]).save(folder / f"{k:06d}.jpg", quality=90)


def historic(size: str, folder: Path | None, batch: int) -> Iterator[None]:
    """Train as examples did for years, float32: each line as it was commonly written.

    A sigmoid and ``BCELoss``; D's gradients from real and fake images in two backward passes; G's step fills D's
    gradients too; losses are read at every step; a `DataLoader` decodes a JPEG per item (`folder` None: no loading).
    """
    torch.manual_seed(0)
    netG, netD = getattr(Generator, size)(), nn.Sequential(getattr(Discriminator, size)(), nn.Sigmoid())
    criterion = nn.BCELoss()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for data in _pictures(folder, batch):
        netD.zero_grad()
        label = torch.full((len(data),), 1.0)
        errD_real = criterion(netD(data).view(-1), label)
        errD_real.backward()
        fake = netG(torch.randn(len(data), netG.latent_dim))
        errD_fake = criterion(netD(fake.detach()).view(-1), label.fill_(0.0))
        errD_fake.backward()
        optimizerD.step()
        netG.zero_grad()
        errG = criterion(netD(fake).view(-1), label.fill_(1.0))
        errG.backward()
        optimizerG.step()
        errD_real.item(), errD_fake.item(), errG.item()
        yield


def _pictures(folder: Path | None, batch: int) -> Iterator[Tensor]:
    fixed = torch.rand(batch, 3, 64, 64) * 2 - 1
    while True:
        if folder is None:
            yield fixed
        else:
            yield from DataLoader(Pictures(folder), batch_size=batch, shuffle=True, drop_last=True)


def overhead(images: ImageSet) -> dict[str, float]:
    """Return what `fit` adds to a bare loop, in percent of the loop's time."""
    batches, chunk = images.batches(64), 8
    with_fit, without = fitted("small", batches, PLAIN, chunk), bare("small", batches)
    rivals = {"fit": lambda: next(with_fit), "bare": lambda: [next(without) for _ in range(chunk)]}
    seconds = side_by_side(rivals, turns=8)
    return {OVERHEAD: 100 * (seconds["fit"] / seconds["bare"] - 1)}


def against_history(
    images: ImageSet, folder: Path, size: str, peaks: Mapping[str, float], batch: int = BATCH
) -> dict[str, float]:
    """Return images per second of our step in each setting and of the historic idiom, and the ratios."""
    ours = {_named(setting): fitted(size, images.batches(batch), setting) for setting in settings()}
    runs = ours | {HISTORIC[0]: historic(size, folder, batch), HISTORIC[1]: historic(size, None, batch)}
    seconds = side_by_side({name: lambda run=run: next(run) for name, run in runs.items()}, TURNS[size])
    told = {f"{size}, {name}: images/s": batch / value for name, value in seconds.items()}
    for setting, name in zip(settings(), ours, strict=True):
        told |= {f"{size}, {name}: times {rival}": seconds[rival] / seconds[name] for rival in HISTORIC}
        share = flops(size, batch) / seconds[name] / peaks[setting.precision]
        told[f"{size}, {name}: share of the matmul peak"] = share
    return told


def fastest(measured: Mapping[str, float], size: str) -> list[Setting]:
    """Return for each precision the setting with the layout that was faster."""
    rates = {setting: measured.get(f"{size}, {_named(setting)}: images/s", 0.0) for setting in settings()}
    names = dict.fromkeys(setting.precision for setting in rates)
    return [max((s for s in rates if s.precision == name), key=rates.get) for name in names]


def memory(folder: Path, size: str, chosen: list[Setting]) -> dict[str, float]:
    """Return by how many MB some steps raise a process's peak: the historic idiom's and ours."""
    told = {}
    for setting in (None, *chosen):
        # A process that is forked and executed begins with its parent's peak; those of a fork server begin small.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as fresh:
            work = fresh.submit(added_memory, folder, size, setting, BATCH, torch.get_num_threads())
        name = HISTORIC[0] if setting is None else _named(setting)
        told[f"{size}, {name}: memory, MB"] = work.result()
    return told


def added_memory(folder: Path, size: str, setting: Setting | None, batch: int, threads: int) -> float:
    """Return the MB that this process grows by networks, optimisers and a few steps; of the historic idiom if None."""
    torch.set_num_threads(threads)
    images = ImageSet(torch.randint(256, (4 * batch, 3, 64, 64), dtype=torch.uint8))
    before = results.peak_memory_mb()
    run = historic(size, folder, batch) if setting is None else fitted(size, images.batches(batch), setting)
    for _ in range(REMEMBERED):
        next(run)
    return results.peak_memory_mb() - before


def flops(size: str, batch: int = BATCH) -> float:
    """Return the floating-point operations of one step."""
    training = make_training(size)
    images = ImageSet(torch.zeros(batch, 3, 64, 64, dtype=torch.uint8))
    given = training.prepare(images.batches(batch).at(0), size=batch, rank=0, world=1)
    with FlopCounterMode(display=False) as counter:
        gan_step(training, given)
    return counter.get_total_flops()


def peak(name: str, side: int = 2048) -> float:
    """Return the operations per second of a large matrix product in a precision, by the faster of two libraries.

    The product itself (MKL) and the same as a 1x1 convolution (oneDNN): on processors that are not Intel's the first
    leaves half of the speed unused, and shares of it would exceed 1.
    """
    matrix = torch.randn(side, side, dtype=torch.bfloat16 if name == "bf16" else torch.float32)
    picture, filters = matrix.view(1, side, side, 1), matrix.view(side, side, 1, 1)
    rivals = {"product": lambda: matrix @ matrix, "convolution": lambda: F.conv2d(picture, filters)}
    return 2 * side**3 / min(side_by_side(rivals, turns=8).values())


def scaling(images: ImageSet) -> dict[str, float]:
    """Return images per second by batch size and by size of the set; the larger ones repeat the images given."""
    repeated = images.images.repeat(math.ceil(max(COUNTS) / len(images)), 1, 1, 1)
    runs = {
        f"small, {_named(LAST)}, batch {n}, {count} images: images/s": fitted(
            "small", ImageSet(repeated[:count]).batches(n), LAST, chunk=TAKEN // n
        )
        for n in BATCHES
        for count in COUNTS
    }
    seconds = side_by_side({name: lambda run=run: next(run) for name, run in runs.items()}, turns=2)
    return {name: TAKEN / value for name, value in seconds.items()}


def measure() -> dict[str, float]:
    """Return everything measured here, by name."""
    images = ImageSet(faces.sample(0, torch.arange(4096)).images)
    peaks = {name: peak(name) for name in precision.PRECISIONS}
    measured = overhead(images) | scaling(images)
    measured |= {f"matmul peak, {name}, GFLOP/s": value / 1e9 for name, value in peaks.items()}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_pictures(folder, 4 * BATCH)
        for size in TURNS:
            measured |= against_history(images, folder, size, peaks)
            measured |= memory(folder, size, fastest(measured, size))
    return measured


def table(measured: Mapping[str, float]) -> str:
    """Return the README's table: the historic idiom, and in each precision our faster layout."""
    forms = {"images/s": ",.0f"} | {f"times {rival}": ".2f" for rival in HISTORIC}
    forms |= {"share of the matmul peak": ".2f", "memory, MB": ",.0f"}
    lines = [f"| DCGAN, two CPU cores, batch {BATCH} | {' | '.join(forms)} |", "|---" * (len(forms) + 1) + "|"]
    for size in TURNS:
        for name in (HISTORIC[0], *map(_named, fastest(measured, size))):
            values = [measured.get(f"{size}, {name}: {what}") for what in forms]
            cells = ["" if v is None else format(v, f) for v, f in zip(values, forms.values(), strict=True)]
            lines.append(f"| {size}, {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def scaling_table(measured: Mapping[str, float]) -> str:
    """Return the README's table of images per second by batch size and number of images."""
    head = f"| small DCGAN, {_named(LAST)}, images/s | {' | '.join(f'{count:,} images' for count in COUNTS)} |"
    lines = [head, "|---" * (len(COUNTS) + 1) + "|"]
    for n in BATCHES:
        rates = [measured[f"small, {_named(LAST)}, batch {n}, {count} images: images/s"] for count in COUNTS]
        lines.append(f"| batch {n} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |")
    return "\n".join(lines)


def _named(setting: Setting) -> str:
    return " ".join(setting)


if __name__ == "__main__":
    torch.set_num_threads(2)
    for name, value in measure().items():
        print(f"{name:<70}{value:12,.2f}", flush=True)
