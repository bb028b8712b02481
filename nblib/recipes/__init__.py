"""Recipes: what ``nblib train NAME`` trains, as one function per name.

A recipe takes an `ImageSet` and hyper-parameters and returns what `nblib.training.fit` needs: the training (networks
and optimisers), the step function (the algorithm) and the batches. Defaults suit two CPU cores and toy pictures.

Examples
--------
>>> import torch
>>> from nblib.datasets.imageset import ImageSet
>>> from nblib.training import fit
>>> images = ImageSet(torch.randint(256, (32, 3, 16, 16), dtype=torch.uint8))
>>> recipe = dcgan(images, width=4, batch_size=8)
>>> for log in fit(*recipe, steps=3, precision="fp32", progress=False):
...     print(log.step, sorted(log.values))
3 ['loss_d', 'loss_g']
"""

from collections.abc import Callable

from nblib.recipes.base import Recipe, Step
from nblib.recipes.cvae import cvae, cvae_fine, cvae_fine_step, cvae_step
from nblib.recipes.gan import GAN_STEPS, dcgan, hinge_step, nonsaturating_step, sagan, sagan_step, saturating_step
from nblib.recipes.inpainting import FILLER_LOSSES, approxnet, inpaint_step, refiner
from nblib.recipes.latent import context_encoder, encoder, encoder_step
from nblib.recipes.supervised import classifier, classifier_step

__all__ = [
    "FILLER_LOSSES",
    "GAN_STEPS",
    "RECIPES",
    "Recipe",
    "Step",
    "approxnet",
    "classifier",
    "classifier_step",
    "context_encoder",
    "cvae",
    "cvae_fine",
    "cvae_fine_step",
    "cvae_step",
    "dcgan",
    "encoder",
    "encoder_step",
    "hinge_step",
    "inpaint_step",
    "nonsaturating_step",
    "refiner",
    "sagan",
    "sagan_step",
    "saturating_step",
]

RECIPES: dict[str, Callable[..., Recipe]] = {
    "dcgan": dcgan,
    "sagan": sagan,
    "approxnet": approxnet,
    "refiner": refiner,
    "encoder": encoder,
    "context-encoder": context_encoder,
    "cvae": cvae,
    "cvae-fine": cvae_fine,
    "classifier": classifier,
}
