import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from nblib import results
from nblib.datasets.imageset import ImageSet
from nblib.networks.classifier import AttributeClassifier
from nblib.toys import faces
from nblib.variational import reparameterise
from tests.benchmarks import cvae_ablations
from tests.benchmarks import cvae_subject as subjects
from tests.benchmarks.cvae_ablations import SETTINGS, Setting

TINY = {"width": 4, "latent_dim": 6, "batch_size": 4}


def tiny(setting):
    """The same setting with a small network, few steps and pictures."""
    options = {key: TINY.get(key, value) for key, value in setting.options.items()} | {"batch_size": 4}
    options |= {"width_D": 4} if setting.recipe == "cvae-fine" else {}
    return replace(setting, options=options, steps=2)


@pytest.fixture
def sweep(tmp_path):
    drawn = faces.sample(0, torch.arange(170))
    part = np.array([0] * 20 + [1] * 140 + [2] * 10, dtype=np.uint8)
    files = np.array([f"toyfaces-0-{number:07d}" for number in range(170)])
    more = {"partition": part, "files": files, "name": "toyfaces"}
    images = ImageSet(drawn.images, drawn.attributes, faces.ATTRIBUTES, drawn.landmarks, **more)
    torch.manual_seed(0)
    judge = AttributeClassifier(len(faces.ATTRIBUTES), width=2).eval()
    return cvae_ablations.Sweep(tmp_path, {name: tiny(one) for name, one in SETTINGS.items()}, images, judge)


def test_settings_differ_from_what_they_are_compared_with_in_little():
    for name, setting in SETTINGS.items():
        rival = SETTINGS[setting.against]
        keys = setting.options.keys() | rival.options.keys()
        changed = [key for key in keys if setting.options.get(key) != rival.options.get(key)]
        expected = {"base": 0, "label off": 2, "halved variance": 0, "flipped labels": 2}
        if name not in ("fine-tuned", "adversarial from step 0"):
            assert len(changed) == expected.get(name, 1), name
    assert [name for name, one in SETTINGS.items() if one.halved] == ["halved variance"]
    assert {one.start for one in SETTINGS.values() if one.recipe == "cvae-fine"} == {"base", ""}
    alone = SETTINGS["adversarial from step 0"]
    assert alone.steps == SETTINGS["base"].steps + SETTINGS["fine-tuned"].steps


def test_the_public_codes_deviation_is_half_of_the_variance():
    mu, logvar, noise = torch.zeros(1, 1), torch.full((1, 1), 9.0).log(), torch.ones(1, 1)
    assert cvae_ablations.halved(mu, logvar, noise).item() == pytest.approx(4.5)
    assert reparameterise(mu, logvar, noise).item() == pytest.approx(3)
    with cvae_ablations.drawing(Setting(halved=True)):
        assert subjects.reparameterise is cvae_ablations.halved
    assert subjects.reparameterise is reparameterise


def test_a_slug_stands_for_what_a_cell_depends_on(sweep):
    slugs = {name: cvae_ablations.slug(sweep, name) for name in sweep.settings}
    assert len(set(slugs.values())) == len(slugs)
    longer = replace(sweep, settings=sweep.settings | {"base": replace(sweep.settings["base"], steps=3)})
    again = {name: cvae_ablations.slug(longer, name) for name in sweep.settings}
    assert {name for name in slugs if slugs[name] != again[name]} == {
        "base",
        *(name for name, setting in sweep.settings.items() if setting.start == "base"),
    }


def test_a_cell_is_trained_once_and_compared_picture_by_picture(sweep, tmp_path, monkeypatch):
    out = tmp_path / "out.json"
    cvae_ablations.run(sweep, out, ["base", "KL 100", "fine-tuned"])
    cells = {entry["setting"]: entry for entry in results.read(out)["cells"]}
    assert list(cells) == ["base", "fine-tuned", "KL 100"]  # in the order of the settings
    base, high = cells["base"]["figures"], cells["KL 100"]["figures"]
    difference = high["hole_l1"]["mean"] - base["hole_l1"]["mean"]
    assert high["hole_l1 minus"]["mean"] == pytest.approx(difference, abs=1e-4)
    assert "hole_l1 minus" not in base
    assert set(base["with"]) == {"flipped", "kept"}
    assert base["hole_l1, flipped truth"]["low"] > 0
    assert {"recon", "kl", "active", "step"} <= cells["base"]["curves"].keys()
    assert {"loss_d", "gradient_adversarial"} <= cells["fine-tuned"]["curves"].keys()
    monkeypatch.setattr(cvae_ablations, "fit", None)  # would fail if anything was trained again
    cvae_ablations.run(sweep, out, ["base", "fine-tuned"])


def test_cells_are_chosen_by_name(sweep):
    assert cvae_ablations.picked(sweep, "MSE, base") == ["base", "MSE"]
    with pytest.raises(ValueError, match="'BCE': no such setting"):
        cvae_ablations.picked(sweep, "BCE")


@pytest.mark.slow
def test_every_cell_is_made_and_merged(sweep, tmp_path, monkeypatch, capsys):
    parts = [tmp_path / "one.json", tmp_path / "two.json"]
    names = list(sweep.settings)
    for out, chosen in zip(parts, (names[::2], names[1::2]), strict=True):
        cvae_ablations.run(sweep, out, chosen)
    monkeypatch.setattr(cvae_ablations, "Sweep", lambda *_: sweep)
    monkeypatch.setattr(cvae_ablations.datasets, "load", lambda *_, **__: sweep.images)
    merged = tmp_path / "all.json"
    monkeypatch.setattr(sys, "argv", ["sweep", "--out", str(merged), "--merge", *map(str, parts)])
    cvae_ablations.main()
    assert [entry["setting"] for entry in results.read(merged)["cells"]] == names
    assert "with" not in next(e for e in results.read(merged)["cells"] if e["setting"] == "label off")["figures"]
    monkeypatch.setattr(sys, "argv", ["sweep", "--out", str(merged), "--list"])
    capsys.readouterr()
    cvae_ablations.main()
    assert all(line.startswith("done") for line in capsys.readouterr().out.splitlines())
