"""How fast the training engine is: beside the bare loop, beside the idiom of old examples, beside the machine's peak.

All rivals take turns in one process, so that whatever else the machine does disturbs them alike; of each the best
turn counts. Rates depend on the machine, ratios much less.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from nblib.datasets.batches import Batches
from nblib.datasets.imageset import ImageSet
from nblib.networks.dcgan import Discriminator, Generator
from nblib.toys import faces
from nblib.training import GANTraining, fit, precision

BATCH = 128
SIZES = {"small": "the document's DCGAN", "standard": "the standard DCGAN"}
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


def fitted(size: str, batches: Batches, name: str, chunk: int = 1) -> Iterator:
    """Return `fit`'s iterator; each `next` takes `chunk` steps."""
    pace = dict.fromkeys(("log_every", "checkpoint_every", "sample_every"), chunk)
    settings = pace | {"steps": 10**6, "precision": name, "device": "cpu", "progress": False}
    return fit(make_training(size), gan_step, batches, **settings)


def bare(size: str, batches: Batches, name: str) -> Iterator[None]:
    """Take the same steps in a plain loop."""
    training = make_training(size)
    for number in range(10**6):
        batch = training.prepare(batches.at(number), size=batches.size, rank=0, world=1)
        with precision.autocast(name, CPU):
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


def historic(size: str, folder: Path | None) -> Iterator[None]:
    """Train as examples did for years, float32: each line as it was commonly written.

    A sigmoid and ``BCELoss``; D's gradients from real and fake images in two backward passes; G's step fills D's
    gradients too; losses are read at every step; a `DataLoader` decodes a JPEG per item (`folder` None: no loading).
    """
    torch.manual_seed(0)
    netG, netD = getattr(Generator, size)(), nn.Sequential(getattr(Discriminator, size)(), nn.Sigmoid())
    criterion = nn.BCELoss()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for data in _pictures(folder):
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


def _pictures(folder: Path | None) -> Iterator[Tensor]:
    fixed = torch.rand(BATCH, 3, 64, 64) * 2 - 1
    while True:
        if folder is None:
            yield fixed
        else:
            yield from DataLoader(Pictures(folder), batch_size=BATCH, shuffle=True, drop_last=True)


def overhead(images: ImageSet) -> dict[str, float]:
    """Return what `fit` adds to a bare loop, in percent of the loop's time."""
    batches, chunk = images.batches(64), 8
    with_fit, without = fitted("small", batches, "fp32", chunk), bare("small", batches, "fp32")
    rivals = {"fit": lambda: next(with_fit), "bare": lambda: [next(without) for _ in range(chunk)]}
    seconds = side_by_side(rivals, turns=8)
    return {"fit over a bare loop, %": 100 * (seconds["fit"] / seconds["bare"] - 1)}


def against_history(images: ImageSet, folder: Path, size: str, turns: int) -> dict[str, float]:
    """Return images per second of our step and of the historic idiom, and the ratios."""
    names = [name for name in precision.PRECISIONS if name == "fp32" or precision.has_bf16(CPU)]
    runs = {f"ours, {name}": fitted(size, images.batches(BATCH), name) for name in names}
    runs |= {"historic with JPEGs": historic(size, folder), "historic without loading": historic(size, None)}
    seconds = side_by_side({name: lambda run=run: next(run) for name, run in runs.items()}, turns)
    told = {f"{size}: {name}, images/s": BATCH / value for name, value in seconds.items()}
    for name in names:
        for rival in ("historic with JPEGs", "historic without loading"):
            told[f"{size}: {name}, ratio to {rival}"] = seconds[rival] / seconds[f"ours, {name}"]
        told[f"{size}: {name}, share of the matmul peak"] = flops(size) / seconds[f"ours, {name}"] / peak(name)
    return told


def flops(size: str) -> float:
    """Return the floating-point operations of one step of `BATCH` images."""
    training = make_training(size)
    images = ImageSet(torch.zeros(BATCH, 3, 64, 64, dtype=torch.uint8))
    batch = training.prepare(images.batches(BATCH).at(0), size=BATCH, rank=0, world=1)
    with FlopCounterMode(display=False) as counter:
        gan_step(training, batch)
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
    """Return images per second by batch size and by size of the set (the document's DCGAN, float32)."""
    runs = {f"batch {n}": (n, fitted("small", images.batches(n), "fp32")) for n in (32, 128)}
    for count in (512, len(images)):
        runs[f"{count} images"] = (64, fitted("small", ImageSet(images.images[:count]).batches(64), "fp32", 4))
    seconds = side_by_side({name: lambda run=run: next(run) for name, (_, run) in runs.items()}, turns=3)
    steps = {name: 4 if name.endswith("images") else 1 for name in runs}
    return {f"small: {name}, images/s": n * steps[name] / seconds[name] for name, (n, _) in runs.items()}


def measure() -> dict[str, float]:
    """Return everything measured here, by name."""
    images = ImageSet(faces.sample(0, torch.arange(4096)).images)
    measured = overhead(images) | scaling(images)
    measured |= {f"matmul peak, {name}, GFLOP/s": peak(name) / 1e9 for name in precision.PRECISIONS}
    with TemporaryDirectory() as scratch:
        write_pictures(Path(scratch), 4 * BATCH)
        measured |= against_history(images, Path(scratch), "small", turns=4)
        measured |= against_history(images, Path(scratch), "standard", turns=2)
    return measured


if __name__ == "__main__":
    torch.set_num_threads(2)
    for name, value in measure().items():
        print(f"{name:<70}{value:12,.2f}", flush=True)
