"""How fast the document's full-width conditional VAE learns, beside the same network trained in the plainest way.

Both take turns in one process, so that whatever else the machine does disturbs them alike; of each the best turn
counts.
"""

import os
from typing import Any

import torch
from torch.nn import functional as F

from nblib.datasets.batches import Batches
from nblib.networks.cvae import ConditionalVAE
from nblib.recipes import RECIPES
from nblib.training import distributed, precision
from nblib.training.feeding import arranged
from nblib.training.precision import LAYOUTS, autocast
from tests.benchmarks.cvae_subject import Subject
from tests.benchmarks.engine import side_by_side
from tests.benchmarks.sweeps import rounded

STEPS = 2  # in a turn
CPU = torch.device("cpu")
FULL = {"width": 64, "latent_dim": 512, "ema": 0.0, "mirror": False}


def timed(
    subject: Subject, *, batch_size: int, turns: int, threads: int, pictures: int, size: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return images per second of both ways, their ratio, and how long an epoch of so many pictures would take.

    Ours computes in what `fit` would choose here. Both have the smiling task: its holes and labels.
    """
    before, size = torch.get_num_threads(), FULL if size is None else size
    torch.set_num_threads(threads)
    try:
        images = subject.images.split("train")
        recipe = RECIPES["cvae"](images, task="smiling", batch_size=batch_size, **size)
        team = distributed.join(1, CPU)
        chosen = precision.choose(recipe.training, recipe.step, recipe.batches.at(0), team, "auto")
        rivals = {"plain fp32": plain(recipe.batches, size), "ours": ours(recipe, chosen)}
        seconds = side_by_side({name: work.__next__ for name, work in rivals.items()}, turns)
    finally:
        torch.set_num_threads(before)
    rates = {name: STEPS * batch_size / spent for name, spent in seconds.items()}
    return {
        "images per second": {name: rounded(rate) for name, rate in rates.items()},
        "times plain fp32": rounded(rates["ours"] / rates["plain fp32"]),
        "seconds per epoch, estimated": {name: rounded(pictures / rate) for name, rate in rates.items()},
        "precision": chosen.precision,
        "layout": chosen.layout,
        "parameters": sum(weight.numel() for weight in recipe.training.net.parameters()),
        "load before": [rounded(load) for load in os.getloadavg()],
    }


def ours(recipe, chosen: precision.Setting):
    """Train as `fit` does, without its logs; each `next` takes `STEPS` steps."""
    training, number = recipe.training, 0
    training.arrange(LAYOUTS[chosen.layout])
    training.train()
    while True:
        for _ in range(STEPS):
            batch = training.prepare(recipe.batches.at(number), size=recipe.batches.size, rank=0, world=1)
            with autocast(chosen.precision, CPU):
                recipe.step(training, arranged(batch, LAYOUTS[chosen.layout]))
            number += 1
        yield


def plain(batches: Batches, size: dict[str, Any]):
    """Train the same network as one writes it down at first: float32, sigmoid, Adam weight by weight."""
    net = ConditionalVAE(size["width"], size["latent_dim"])
    optimiser, number = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4, foreach=False), 0
    while True:
        for _ in range(STEPS):
            batch = batches.at(number)
            labels = batch.attributes[:, 0].long()
            mu, logvar = net.encode(batch.images.masked_fill(batch.masks, 0))
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            picture = net.logits(z, labels).sigmoid()
            recon = F.binary_cross_entropy(picture, batch.images * 0.5 + 0.5, reduction="sum")
            kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum()
            loss = (recon + kl) / len(mu)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            number += 1
        yield
