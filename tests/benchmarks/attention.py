"""How fast and how small self-attention is, beside the layer and the SAGAN that public code spells out.

The plain layer makes the whole map of all pairs with two batched products and does not pool its keys; the plain SAGAN
has that layer, computes in float32, judges real and fake images apart and reads its losses at every step.

``python -m tests.benchmarks.attention`` prints the figures; ``make bench`` writes them to
``data/benchmarks/attention.json``.
"""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib import recipes, results
from nblib.datasets.imageset import ImageSet
from nblib.layers import SelfAttention2d
from nblib.training import fit, precision
from tests.benchmarks.engine import CPU, side_by_side

BATCH, CHANNELS, SIDE = 64, 64, 32
LARGE = 64  # side of the maps whose memory is measured


class PlainAttention(nn.Module):
    """SAGAN's layer with the map of all pairs."""

    def __init__(self, channels: int, pool: bool = False):
        super().__init__()
        self.pool = pool
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.pool:
            k, v = F.max_pool2d(k, 2), F.max_pool2d(v, 2)
        attention = torch.softmax(torch.bmm(q.flatten(2).transpose(1, 2), k.flatten(2)), dim=-1)
        found = torch.bmm(v.flatten(2), attention.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.out(found)


def one_pass(layer: nn.Module, side: int, batch: int, name: str) -> Callable[[], None]:
    """Return a call that goes forwards and backwards through a layer."""
    x = torch.randn(batch, CHANNELS, side, side, requires_grad=True)

    def work() -> None:
        with precision.autocast(name, CPU):
            layer(x).float().sum().backward()

    return work


def layer_times() -> dict[str, float]:
    """Return the ratios of the layer's time, forward and backward, at 32x32 with 64 channels."""
    plain = {"unpooled": PlainAttention(CHANNELS), "pooled": PlainAttention(CHANNELS, pool=True)}
    rivals = {f"plain {kind}, {name}": (layer, name) for kind, layer in plain.items() for name in _precisions()}
    rivals |= {f"ours, {name}": (SelfAttention2d(CHANNELS), name) for name in _precisions()}
    seconds = side_by_side({key: one_pass(layer, SIDE, 16, name) for key, (layer, name) in rivals.items()}, turns=6)
    best = min(_precisions(), key=lambda name: seconds[f"ours, {name}"])
    told = {
        "layer: plain fp32 unpooled over ours at best, times": seconds["plain unpooled, fp32"]
        / seconds[f"ours, {best}"]
    }
    for name in _precisions():
        for kind in plain:
            told[f"layer, {name}: plain {kind} over ours, times"] = (
                seconds[f"plain {kind}, {name}"] / seconds[f"ours, {name}"]
            )
    return told


def plain_sagan(images: ImageSet) -> Callable[[], None]:
    """Return a call that takes a step of a SAGAN as public code writes it, in float32."""
    torch.manual_seed(0)
    training = recipes.sagan(images, batch_size=BATCH).training
    G, D = training.G, training.D
    G.attention, D.stem.attention = PlainAttention(G.attention.channels), PlainAttention(D.stem.attention.channels)
    for layer in (G.attention, D.stem.attention):
        layer.apply(_bounded)
    optimizer_G = torch.optim.Adam(G.parameters(), 1e-4, (0.0, 0.9))
    optimizer_D = torch.optim.Adam(D.parameters(), 4e-4, (0.0, 0.9))
    data = images.batches(BATCH).at(0).images

    def step() -> None:
        loss_real = F.relu(1 - D(data)).mean()
        fake = G(torch.randn(BATCH, G.latent_dim))
        loss_fake = F.relu(1 + D(fake.detach())).mean()
        optimizer_D.zero_grad()
        (loss_real + loss_fake).backward()
        optimizer_D.step()
        loss_G = -D(fake).mean()
        optimizer_G.zero_grad()
        loss_G.backward()
        optimizer_G.step()
        loss_real.item(), loss_fake.item(), loss_G.item()

    return step


def step_times() -> dict[str, float]:
    """Return the ratios of the time of a training step of SAGAN, batch 64, 32 channels at 32x32."""
    images = ImageSet(torch.randint(256, (4 * BATCH, 3, 64, 64), dtype=torch.uint8))
    pace = dict.fromkeys(("log_every", "checkpoint_every", "sample_every"), 1) | {"sample_every": 10**6}
    rivals: dict[str, Callable[[], object]] = {}
    for name in _precisions():
        logs = fit(*recipes.sagan(images, batch_size=BATCH), steps=10**6, precision=name, progress=False, **pace)
        rivals[f"ours, {name}"] = lambda logs=logs: next(logs)
        plain = plain_sagan(images)
        rivals[f"plain, {name}"] = lambda plain=plain, name=name: _in(name, plain)
    seconds = side_by_side(rivals, turns=4)
    told = {f"step: {key}, images/s": BATCH / value for key, value in seconds.items()}
    best = min(_precisions(), key=lambda name: seconds[f"ours, {name}"])
    told["step: plain fp32 over ours at best, times"] = seconds["plain, fp32"] / seconds[f"ours, {best}"]
    return told | {
        f"step, {name}: plain over ours, times": seconds[f"plain, {name}"] / seconds[f"ours, {name}"]
        for name in _precisions()
    }


def memory() -> dict[str, float]:
    """Return the memory that a pass forwards and backwards through 64x64 positions adds, each in a fresh process."""
    told = {}
    for layer in (SelfAttention2d, PlainAttention):
        # A process that is forked and executed begins with its parent's peak; those of a fork server begin small.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as fresh:
            told[layer] = fresh.submit(added_memory, layer, torch.get_num_threads()).result()
    ours, plain = told.values()
    return {
        "memory at 64x64, MB: ours": ours,
        "memory at 64x64, MB: plain": plain,
        "memory at 64x64: plain over ours, times": plain / ours,
    }


def added_memory(layer: Callable[[int], nn.Module], threads: int) -> float:
    """Return the MB by which this process grows in a pass; a small pass loads the code first."""
    torch.set_num_threads(threads)
    one_pass(layer(CHANNELS), 8, 1, "fp32")()
    work, before = one_pass(layer(CHANNELS), LARGE, 8, "fp32"), results.peak_memory_mb()
    work()
    return results.peak_memory_mb() - before


def measure() -> dict[str, float]:
    """Return everything measured here, by name."""
    return layer_times() | memory() | step_times()


def table(measured: Mapping[str, float]) -> str:
    """Return the rows that the README shows."""
    rows = {
        "the layer at 32x32, 64 channels, there and back": "layer: plain fp32 unpooled over ours at best, times",
        "the same, plain in bf16 and with pooled keys": "layer, bf16: plain pooled over ours, times",
        "memory of the layer at 64x64": "memory at 64x64: plain over ours, times",
        "a training step of SAGAN": "step: plain fp32 over ours at best, times",
        "the same, plain in bf16": "step, bf16: plain over ours, times",
    }
    lines = [f"| {name} | {measured[key]:.1f} |" for name, key in rows.items() if key in measured]
    return "\n".join(
        ["| self-attention, ours beside the plain way (fp32, all pairs, no pooling) | times |", "|---|---|", *lines]
    )


def _precisions() -> tuple[str, ...]:
    return precision.PRECISIONS if precision.has_bf16(CPU) else ("fp32",)


def _bounded(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.utils.parametrizations.spectral_norm(module)


def _in(name: str, work: Callable[[], None]) -> None:
    with precision.autocast(name, CPU):
        work()


if __name__ == "__main__":
    torch.set_num_threads(2)
    for key, value in measure().items():
        print(f"{key:<60}{value:10,.2f}", flush=True)
