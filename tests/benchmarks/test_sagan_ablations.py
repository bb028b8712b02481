import json

import numpy as np
import pytest
import torch

from nblib.datasets.imageset import ImageSet
from nblib.toys import faces
from tests.benchmarks import sagan_ablations


def entry(setting, seed, distance, kappa=0.5):
    told = {
        "FD": {"mean": distance},
        "KID": {"mean": distance / 100},
        "consistency": {"eye": {"kappa": {"mean": kappa}}},
    }
    return {"setting": setting, "seed": seed, **told}


def test_differences_are_taken_seed_by_seed():
    cells = [entry("base", seed, 100 * seed) for seed in (1, 2, 3)]
    cells += [entry("other", seed, 100 * seed + 10 + shift) for seed, shift in ((1, -1), (2, 0), (3, 1))]
    told = sagan_ablations.summary(cells)["other"]["FD minus base"]
    assert told["mean"] == pytest.approx(10)
    assert told["high"] - told["mean"] == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)  # t(2) times s / sqrt(3), s = 1


def test_a_diverged_cell_is_counted_and_left_out():
    cells = [entry("base", 0, 5.0), {"setting": "wild", "seed": 0, "diverged": "step 3"}, entry("wild", 1, 7.0)]
    told = sagan_ablations.summary(cells)["wild"]
    assert (told["seeds"], told["diverged"], told["FD"]) == (1, 1, 7.0)
    assert "FD minus base" not in told  # no seed in common


@pytest.mark.slow
def test_a_cell_is_trained_and_goes_on(tmp_path):
    toys = faces.sample(0, torch.arange(400))
    part = np.array([0] * 200 + [2] * 200, dtype=np.uint8)
    images = ImageSet(toys.images, partition=part, name="toyfaces")
    told = sagan_ablations.cell(images, "base", 0, tmp_path, steps=2, n=200, width=8)
    assert json.loads(json.dumps(told, allow_nan=False, default=str))["FD"]["mean"] > 0
    assert {"gamma_G", "gamma_D", "seconds"} <= told.keys()
    again = sagan_ablations.cell(images, "base", 0, tmp_path, steps=2, n=200, width=8)
    assert again == told
