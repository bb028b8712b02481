"""Figures that must come out on CelebA's test faces, and the series run on them; skipped where there are none."""

import pytest

from nblib import datasets, evaluation, results, runs

pytestmark = pytest.mark.real


def test_the_yardstick_reproduces_the_published_protocol(real_data):
    """Whole-image SSIM: the report's unrepaired baseline (0.9268), and classical methods above its networks."""
    faces = datasets.load("celeba", real_data / "celeba", progress=False)
    board = evaluation.evaluate(faces, "seed", ["gray", "telea", "biharmonic"], limit=400, progress=False).table()
    assert board["ssim"]["gray"] == pytest.approx(0.925, abs=0.006)
    assert board["ssim"]["telea"] == pytest.approx(0.964, abs=0.004)
    assert board["ssim"]["biharmonic"] == pytest.approx(0.967, abs=0.004)
    assert board["hole_psnr"]["gray"] == pytest.approx(12.5, abs=0.4)
    assert board["hole_psnr"]["biharmonic"] == pytest.approx(19.9, abs=0.5)


@pytest.mark.slow
def test_the_first_notebooks_run_on_them(real_data, tmp_path):
    given = {"dataset": "celeba", "root": str(real_data / "celeba")}
    done = runs.run(["00", "09"], profile="smoke", parameters=given, out=tmp_path / "run", progress=False)
    assert done.failures == {}
    assert results.read(tmp_path / "run" / "09_leaderboard")["data"] == "celeba"
