"""What a recipe returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from nblib.datasets.batches import Batch, Batches
from nblib.training import Training

Step = Callable[[Any, Batch], dict[str, Tensor]]


class Recipe(NamedTuple):
    """The arguments of `fit`, in its order."""

    training: Training
    step: Step
    batches: Batches
