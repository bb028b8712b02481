import json
import sys

import numpy as np
import pytest
import torch

from nblib import checkpoints
from nblib.datasets.imageset import ImageSet
from nblib.inpainters import Inpainter
from nblib.networks.classifier import AttributeClassifier
from nblib.toys import faces
from tests.benchmarks import inpaint_realism


@pytest.fixture
def images():
    part = np.array([1] * 12 + [2] * 28 + [0] * 4, dtype=np.uint8)
    return ImageSet(faces.sample(0, torch.arange(44), size=32).images, partition=part, name="toyfaces")


@pytest.fixture
def space():
    torch.manual_seed(0)
    return AttributeClassifier(3, width=2).eval()


def test_both_held_out_splits_are_filled(images):
    pictures, masks = inpaint_realism.posed(images, "big", None)
    assert torch.equal(pictures, images.images[:40])
    assert masks.shape == (40, 1, 32, 32)
    assert len(inpaint_realism.posed(images, "big", 5)[0]) == 10


def test_who_knows_the_truth_is_at_no_distance(images, space):
    pictures, masks = inpaint_realism.posed(images, "big", None)
    truth = iter([*(pictures.split(inpaint_realism.BATCH))])
    oracle = Inpainter("oracle", lambda blanked, masks: next(truth).float() * (2 / 255) - 1)
    gray = Inpainter("gray", lambda blanked, masks: blanked)
    told = inpaint_realism.compare([oracle, gray], pictures, masks, space)
    assert told["methods"]["oracle"]["KID"] == pytest.approx({"mean": 0, "low": 0, "high": 0}, abs=1e-6)
    assert told["methods"]["oracle"]["hole_l1"]["mean"] == pytest.approx(0, abs=1e-6)
    change = told["minus oracle"]["gray"]
    assert change["KID"]["low"] > 0
    assert change["FD"]["mean"] > 0
    assert change["ssim"]["high"] < 0
    assert change["hole_l1"]["mean"] == pytest.approx(told["methods"]["gray"]["hole_l1"]["mean"], rel=1e-4)


def test_the_command_writes_a_record(images, space, tmp_path, monkeypatch, capsys):
    checkpoints.save_weights(space, tmp_path / "space")
    monkeypatch.setattr(inpaint_realism.datasets, "load", lambda name, root: images)
    out = tmp_path / "realism.json"
    words = f"realism --data toyfaces --methods gray mean --space {tmp_path / 'space.safetensors'} --out {out}"
    monkeypatch.setattr(sys, "argv", words.split())
    inpaint_realism.main()
    record = json.loads(out.read_text())
    assert record["parameters"]["images"] == 40
    assert record["parameters"]["feature_space"].startswith("space ")
    assert record["metrics"]["minus gray"].keys() == {"mean"}
    assert "minus gray mean {'KID'" in capsys.readouterr().out
