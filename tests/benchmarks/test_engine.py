import re

import pytest
import torch

from nblib.datasets.imageset import ImageSet
from nblib.toys import faces
from nblib.training import precision
from nblib.training.precision import Setting
from tests.benchmarks import engine


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(engine, "TURNS", {"small": 1})
    monkeypatch.setattr(engine, "BATCHES", (2, 4))
    monkeypatch.setattr(engine, "COUNTS", (8, 16))
    monkeypatch.setattr(engine, "TAKEN", 4)
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)


@pytest.fixture(scope="module")
def images():
    return ImageSet(faces.sample(0, torch.arange(8)).images)


def figures(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


@pytest.mark.slow
def test_every_rival_is_measured_and_shown(images, tmp_path):
    engine.write_pictures(tmp_path, 8)
    measured = engine.against_history(images, tmp_path, "small", {"fp32": 1e9, "bf16": 1e9}, batch=2)
    names = ["fp32 contiguous", "fp32 channels_last", "bf16 contiguous", "bf16 channels_last", *engine.HISTORIC]
    assert [key for key in measured if key.endswith("images/s")] == [f"small, {name}: images/s" for name in names]
    for name in names[:4]:
        rate, rival = (measured[f"small, {which}: images/s"] for which in (name, engine.HISTORIC[1]))
        assert measured[f"small, {name}: times {engine.HISTORIC[1]}"] == pytest.approx(rate / rival)
    rows = figures(engine.table(measured))
    assert [re.sub("contiguous|channels_last", "*", row[0]) for row in rows[2:]] == [
        "small, historic with JPEGs",
        "small, fp32 *",
        "small, bf16 *",
    ]
    assert all(len(row) == len(rows[0]) for row in rows)


def test_the_table_shows_the_faster_layout_of_each_precision():
    rates = {"fp32 contiguous": 2, "fp32 channels_last": 1, "bf16 contiguous": 3, "bf16 channels_last": 4}
    measured = {f"small, {name}: images/s": rate for name, rate in rates.items()}
    assert engine.fastest(measured, "small") == [Setting("fp32", "contiguous"), Setting("bf16", "channels_last")]
    rows = figures(engine.table(measured))
    assert [row[:2] for row in rows[3:]] == [["small, fp32 contiguous", "2"], ["small, bf16 channels_last", "4"]]


@pytest.mark.slow
def test_scaling_has_a_row_per_batch_size(images):
    rows = figures(engine.scaling_table(engine.scaling(images)))
    assert [row[0] for row in rows[2:]] == ["batch 2", "batch 4"]
    assert rows[0][1:] == ["8 images", "16 images"]
    assert all(float(cell.replace(",", "")) > 0 for row in rows[2:] for cell in row[1:])


@pytest.mark.slow
def test_memory_is_that_of_a_fresh_process(tmp_path, monkeypatch):
    """However large this process is or was, what the steps add is seen."""
    monkeypatch.setattr(engine, "BATCH", 8)
    engine.write_pictures(tmp_path, 8)
    ballast = torch.ones(2**27)  # 0.5 GB
    added = engine.memory(tmp_path, "small", [Setting("fp32", "contiguous")])
    assert list(added) == ["small, historic with JPEGs: memory, MB", "small, fp32 contiguous: memory, MB"]
    assert all(5 < megabytes < ballast.nbytes / 1e6 for megabytes in added.values())
