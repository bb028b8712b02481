"""A small GAN training for `test_kills`, in a module of its own so that other processes can run it."""

import csv
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import softplus

from nblib.datasets.imageset import ImageSet
from nblib.training import GANTraining, fit, snapshots
from nblib.training.logs import TIMES

STEPS = 120


def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = (softplus(-training.D(batch.images)) + softplus(training.D(fake.detach()))).mean()
    training.descend("D", loss_d)
    loss_g = softplus(-training.D(fake)).mean()
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def noise(n, generator):
    return torch.randn(n, 8, generator=generator)


def train(out, *, resume=False, lr=1e-3, each=None):
    """Train to the end, with all that a resumed training could get wrong.

    Batch norm, dropout, cosine schedule, average, and filters in channels_last.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    G = nn.Sequential(
        *(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4))),
        *(nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1), nn.Tanh()),
    )
    filters = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    D = nn.Sequential(filters, nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Flatten(), nn.Linear(128, 1))
    training = GANTraining(G, D, noise, lr=lr, schedule="cosine", clip=1.0)
    pixels = torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = {"log_every": 4, "checkpoint_every": 3, "sample_every": 60, "precision": "fp32", "device": "cpu"}
    settings |= {"layout": "channels_last", "steps": STEPS, "out": out, "resume": resume, "progress": False}
    for log in fit(training, gan_step, ImageSet(pixels).batches(16), **settings):
        if each is not None:
            each(log)


def result(out):
    """Return what must be equal: the whole state and the table, without the clock."""
    _, state = snapshots.newest(Path(out))
    with open(Path(out) / "metrics.csv", newline="") as file:
        table = [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    return {name: value for name, value in state.items() if name != "seconds"} | {"table": table}
