import json

import numpy as np
import pytest
import torch

from nblib.datasets.imageset import ImageSet
from nblib.toys import faces
from tests.benchmarks import celeba_features


@pytest.mark.slow
def test_it_trains_measures_and_goes_on(tmp_path):
    toys = faces.sample(0, torch.arange(400))
    names, part = ("Smiling", "Eyeglasses"), np.array([0] * 200 + [1] * 100 + [2] * 100, dtype=np.uint8)
    attributes = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    images = ImageSet(toys.images, attributes, names, partition=part, name="celeba")
    steps = {"classifier": 3, "dcgan": 2}
    found = celeba_features.measure(images, tmp_path, steps)
    assert json.loads(json.dumps(found)) == found
    assert found["pictures of each kind"] == 200
    assert found["classifier, test split"]["by_attribute"].keys() == set(names)
    assert found["classifier, test split"]["images"] == 100
    assert found["training faces"]["frechet"]["mean"] < found["dcgan"]["frechet"]["mean"]
    again = celeba_features.measure(images, tmp_path, steps)  # both runs are complete
    assert again == found
