import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from nblib import inpainters
from nblib.datasets.imageset import ImageSet
from nblib.toys import faces
from tests.benchmarks import inpaint_ablations, sweeps
from tests.benchmarks.inpaint_settings import SETTINGS

SMALL = {"width": 8, "hidden": 4, "warm_up": 1}


@cache
def toys(data):
    """Tiny pictures of 32 px whatever was asked for: 48 to learn from, 8 to test with."""
    part = np.array([0] * 48 + [2] * 8, dtype=np.uint8)
    return ImageSet(faces.sample(0, torch.arange(56), size=32).images, partition=part, name=data.name)


def tiny(setting):
    """The same setting, three steps long."""
    options = {name: SMALL.get(name, value) for name, value in setting.options.items()}
    more = {"classical": {}, "approxnet": {"batch_size": 8}, "refiner": {"batch_size": 8, "width_D": 4}}[setting.recipe]
    return replace(setting, options=options | more, steps=3 if setting.steps else 0)


@pytest.fixture
def sweep(tmp_path):
    settings = {name: tiny(setting) for name, setting in SETTINGS.items()}
    return inpaint_ablations.Sweep(tmp_path / "runs", settings, toys, limit=6)


def test_settings_refer_to_settings():
    for setting in SETTINGS.values():
        assert setting.against is None or SETTINGS[setting.against].seeds == setting.seeds
        for need in setting.needs.values():
            assert need.fixed in (None, *SETTINGS[need.setting].seeds)
            assert SETTINGS[need.setting].data.size == setting.data.size
    assert not any("," in name for name in SETTINGS)  # --cells takes them with commas between
    assert {setting for setting, _ in inpaint_ablations.REMEDIES.values()} <= SETTINGS.keys()


def test_a_slug_changes_with_what_a_cell_depends_on(sweep):
    changed = replace(sweep, settings=sweep.settings | {"approxnet": replace(sweep["approxnet"], steps=4)})
    same = {
        name
        for name in sweep.settings
        if inpaint_ablations.slug(sweep, name, 0) == inpaint_ablations.slug(changed, name, 0)
    }
    assert {"no ApproxNet", "neither", "from scratch", "cars", "conv", "biharmonic"} <= same
    assert not {"approxnet", "base", "trained on cars before", "adversarial 0.3 with trained D"} & same
    assert not sweep.folder.exists()  # nothing was trained to find out


def test_what_is_on_file_is_not_run_again(sweep, tmp_path, monkeypatch, capsys):
    path, chosen = tmp_path / "record.json", [("base", 0), ("gray", 0)]
    inpaint_ablations.run(sweep, path, chosen)
    first = path.read_text()
    monkeypatch.setattr(inpaint_ablations, "cell", lambda *_: pytest.fail("run again"))
    inpaint_ablations.run(sweep, path, chosen)
    assert path.read_text() == first
    record = json.loads(first)
    assert record["metrics"]["remedies"].keys() == {"none", "Poisson"}
    base = record["cells"][0]
    assert base["scores"].keys() == {"seed", "uniform", "seed, blended", "uniform, blended"}
    assert base["curves"]["step"] == [1, 2, 3]
    assert {"loss", "gradient_G", "gamma_1"} <= base["curves"].keys()
    assert capsys.readouterr().out.startswith("base 0 {'ssim'")


def test_an_interrupted_cell_goes_on_and_ends_the_same(sweep, monkeypatch):
    straight = inpaint_ablations.cell(sweep, "joint", 0)
    other = replace(sweep, folder=sweep.folder.with_name("other"))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inpaint_ablations, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            inpaint_ablations.cell(other, "joint", 0)
    again = inpaint_ablations.cell(other, "joint", 0)
    assert {key: straight[key] for key in ("scores", "slug")} == {key: again[key] for key in ("scores", "slug")}
    assert straight["differences"].keys() == {"seed minus base, seed", "uniform minus base, uniform"}


def test_cells_can_be_loaded_as_inpainters(sweep):
    folder = sweep.folder / inpaint_ablations.slug(sweep, "adversarial 0.3", 1)
    training = inpaint_ablations.trained(sweep, "adversarial 0.3", 1)
    images, masks = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[..., 8:20, 10:20] = True
    loaded = inpainters.load(f"mine={folder}")(images, masks)
    torch.testing.assert_close(loaded, training.fill(images, masks), atol=5e-3, rtol=0)  # stored in half precision
    assert (folder / "weights" / "refiner-d.safetensors").is_file()


def test_blending_is_given_what_was_drawn_not_what_was_pasted(sweep):
    training = inpaint_ablations.trained(sweep, "base", 0)
    torch.nn.init.constant_(training.averaged().colour.bias, 0.25)  # everything it draws is too bright
    images, masks = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[..., 8:20, 10:20] = True
    training.approximator = None
    plain, blended = training.fill(images, masks), inpaint_ablations.blending(training)(images, masks)
    assert plain[masks.expand_as(plain)].mean() > 0.2
    assert abs(blended[masks.expand_as(plain)].mean()) < 0.05


def entry(setting, seed, value, minus=None):
    scores = {"seed": {metric: {"mean": value} for metric in inpaint_ablations.METRICS}}
    sheet = {metric: {"mean": minus} for metric in inpaint_ablations.METRICS}
    return {"setting": setting, "seed": seed, "scores": scores, "differences": {"d": sheet} if minus else {}}


def test_summary_is_over_seeds_and_counts_the_diverged():
    cells = [entry("wild", seed, 10.0 * seed, minus=5.0 + shift) for seed, shift in ((1, -1), (2, 0), (3, 1))]
    told = inpaint_ablations.summary([*cells, {"setting": "wild", "seed": 4, "diverged": "step 3"}])["wild"]
    assert (told["seeds"], told["diverged"]) == (3, 1)
    assert told["scores"]["seed"]["ssim"]["mean"] == pytest.approx(20)
    difference = told["differences"]["d"]["ssim"]
    assert difference["mean"] == pytest.approx(5)
    assert difference["high"] - 5 == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)  # t(2) times s / sqrt(3), s = 1


def test_pairs_cancel_what_both_share():
    hard = np.random.default_rng(0).normal(0, 10, 200)
    told = sweeps.paired({"offset": (hard + 1).astype(np.float32)}, {"offset": hard.astype(np.float32)})["offset"]
    assert 0.999 < told["low"] <= told["high"] < 1.001


def test_records_are_merged():
    one, two = [entry("base", 0, 1.0), entry("base", 1, 2.0)], [entry("base", 1, 3.0), entry("gray", 0, 4.0)]
    found = {(e["setting"], e["seed"]): e["scores"]["seed"]["ssim"]["mean"] for e in sweeps.union(one, two)}
    assert found == {("base", 0): 1.0, ("base", 1): 3.0, ("gray", 0): 4.0}


def test_a_dense_record_reads_the_same(tmp_path):
    record = {
        "kind": "sweep",
        "cells": [{"curves": {"loss": [1.0, None, 2e-05]}, "x": {"mean": 1.0, "low": None, "high": 2.0}}],
        "none": [[], {}, "a  {b}"],
    }
    sweeps.write_dense(tmp_path / "record.json", record)
    text = (tmp_path / "record.json").read_text()
    assert json.loads(text) == record
    assert '"loss": [ 1.0, null, 2e-05 ]' in text
    assert '"x": { "mean": 1.0, "low": null, "high": 2.0 }' in text


def test_cells_are_picked_by_name_and_seed(sweep):
    assert inpaint_ablations.picked(sweep, "joint, base", "0,2") == [
        ("base", 0),
        ("joint", 0),
        ("base", 2),
        ("joint", 2),
    ]
    with pytest.raises(ValueError, match="'bass': no such setting; choose from approxnet, base"):
        inpaint_ablations.picked(sweep, "bass", None)


@pytest.mark.slow
def test_every_setting_runs(sweep, tmp_path):
    path = tmp_path / "record.json"
    inpaint_ablations.run(sweep, path, inpaint_ablations.picked(sweep, None, "0"))
    record = json.loads(path.read_text())
    assert [entry["setting"] for entry in record["cells"]] == list(SETTINGS)
    assert all("scores" in entry for entry in record["cells"])
    assert record["metrics"]["remedies"].keys() == inpaint_ablations.REMEDIES.keys()
    assert record["metrics"]["settings"]["70 % without dropout"]["gap"]["mean"] is not None
