"""Training: what changes stands in one dataclass, the algorithm in a step function, and `fit` drives it.

Examples
--------
>>> import torch
>>> from torch import nn
>>> from torch.nn.functional import softplus
>>> from nblib.datasets.imageset import ImageSet
>>> def gan_step(training, batch):
...     fake = training.G(batch.noise)
...     loss_d = (softplus(-training.D(batch.images)) + softplus(training.D(fake.detach()))).mean()
...     training.descend("D", loss_d)
...     loss_g = softplus(-training.D(fake)).mean()
...     training.descend("G", loss_g)
...     return {"loss_d": loss_d, "loss_g": loss_g}
>>> G = nn.Sequential(nn.Linear(4, 192), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
>>> D = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
>>> training = GANTraining(G, D, noise=lambda n, generator: torch.randn(n, 4, generator=generator))
>>> pictures = ImageSet(torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8))
>>> for log in fit(training, gan_step, pictures.batches(16), steps=100, progress=False):
...     print(log.step, *log.values)
50 loss_d loss_g
100 loss_d loss_g
>>> training.sample(8).shape
torch.Size([8, 3, 8, 8])
"""

from nblib.training.errors import TrainingDiverged
from nblib.training.fit import fit
from nblib.training.inpaint import InpaintTraining
from nblib.training.logs import Log
from nblib.training.player import Player
from nblib.training.state import GANTraining, SupervisedTraining, Training
from nblib.training.variational import VAETraining

__all__ = [
    "GANTraining",
    "InpaintTraining",
    "Log",
    "Player",
    "SupervisedTraining",
    "Training",
    "TrainingDiverged",
    "VAETraining",
    "fit",
]
