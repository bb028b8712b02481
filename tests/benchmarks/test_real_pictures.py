"""The table of real pictures: what a record says, beside what the report said."""

import json
import sys

import pytest
import torch
from PIL import Image

from nblib import paths
from nblib.toys import faces
from tests.benchmarks import real_pictures


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Drawn pictures in the place of photos, a README, and a folder for records."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, image in enumerate(faces.sample(0, torch.arange(60)).images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(photos / f"{k:05d}.jpg")
    (tmp_path / "README.md").write_text("before\n<!-- real -->old<!-- /real -->\nafter\n")
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setenv("NBLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    monkeypatch.setattr(paths, "benchmarks_dir", lambda: tmp_path / "benchmarks")
    return tmp_path


def test_a_set_is_measured_written_and_shown_beside_the_report(folders, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["real_pictures", "--cars", str(folders / "photos"), "--runs", str(folders)])
    real_pictures.main()
    record = json.loads((folders / "benchmarks" / "inpaint-cars.json").read_text())
    assert set(record["methods"]) == set(real_pictures.CLASSICAL)  # no training lies there
    text = (folders / "README.md").read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    (gray,) = (line for line in text.splitlines() if "| gray |" in line)
    assert f"{record['methods']['gray']['ssim']['mean']:.4f} [" in gray
    assert "| 0.9262 |" in gray


def test_a_network_with_a_colour_cast_is_mended_by_blending():
    def reddish(images, masks):
        return torch.full_like(images, 0.2) + torch.tensor([0.3, 0.0, 0.0]).view(3, 1, 1)

    images, masks = torch.full((1, 3, 16, 16), 0.2), torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    masks[..., 4:10, 5:12] = True
    plain = real_pictures.Inpainter("refiner", reddish)
    mended = real_pictures.blended(plain)
    assert mended.name == "refiner, Poisson"
    assert (plain(images, masks) - images).abs().max() > 0.2
    torch.testing.assert_close(mended(images, masks), images, rtol=0, atol=1e-4)
