"""Recipes for networks that learn from examples with answers: the attribute classifier."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nblib.datasets.batches import Batch
from nblib.datasets.imageset import ImageSet
from nblib.networks.classifier import AttributeClassifier
from nblib.recipes.base import Recipe
from nblib.training import SupervisedTraining


def classifier(
    images: ImageSet,
    *,
    width: int = 32,
    batch_size: int = 32,
    lr: float = 2e-3,
    weight_decay: float = 1e-2,
    schedule: str = "cosine",
    seed: int = 0,
) -> Recipe:
    """Return an attribute classifier for all attributes of a set, and its training with AdamW.

    The same for every set with attributes: 19 of toy faces, those of toy cars, 40 of CelebA.

    Parameters
    ----------
    images : ImageSet
        With attributes; use a split.
    width : int, default 32
        Of `AttributeClassifier`.
    batch_size : int, default 32
    lr, weight_decay, schedule, seed
        Of `SupervisedTraining`.

    Raises
    ------
    ValueError
        If the set has no attributes, or an argument is out of its range.
    """
    if not images.attribute_names:
        raise ValueError(f"{images.name} has no attributes to learn; toyfaces, toycars and celeba have some")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = AttributeClassifier(len(images.attribute_names), width)
    training = SupervisedTraining(net, lr=lr, weight_decay=weight_decay, schedule=schedule, seed=seed)
    return Recipe(training, classifier_step, images.batches(batch_size, seed=seed))


def classifier_step(training: SupervisedTraining, batch: Batch) -> dict[str, Tensor]:
    """Take one step on the mean cross-entropy of all attributes; no mirror images, a car may be "Facing_Left"."""
    loss = F.binary_cross_entropy_with_logits(training.net(batch.images).float(), batch.attributes.float())
    training.descend("net", loss)
    return {"loss": loss}
