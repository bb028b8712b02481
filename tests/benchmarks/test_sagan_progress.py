import numpy as np
import pytest
import torch

from nblib import recipes
from nblib.datasets.imageset import ImageSet
from tests.benchmarks import sagan_progress


@pytest.mark.slow
def test_the_network_without_attention_is_that_of_the_card(tmp_path):
    pictures = torch.randint(256, (80, 3, 64, 64), dtype=torch.uint8)
    images = ImageSet(pictures, partition=np.zeros(80, np.uint8), name="toyfaces")
    trained = recipes.sagan(images, width=8, batch_size=8, lr=3e-4, spectral=False).training
    card = {"steps": 2, "hyper_parameters": trained.hyper_parameters()}
    bare = sagan_progress.without_attention(images, card, tmp_path)
    assert bare.attention is None
    assert (bare.width, bare.spectral) == (8, False)
    rows = sagan_progress.journal(tmp_path)
    assert rows["step"][-1] == 2
    assert "gamma_G" not in rows
