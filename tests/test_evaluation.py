"""The leaderboard: the same questions for all, results that add up, and interruptions that cost little."""

import json
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nblib import answers, evaluation, metrics
from nblib import masks as holes
from nblib.datasets import ImageSet
from nblib.evaluation import BIN_EDGES, Evaluation, evaluate
from nblib.images import signed_to_unit, uint8_to_signed, uint8_to_unit
from nblib.inpainters import Inpainter, load

NAMES = ["ssim", "psnr", "l1", "hole_psnr", "hole_l1", "box_ssim", "seam", "bias", "offset"]
TEST = 2  # in ImageSet.partition


def pictures(n: int = 12, landmarks: bool = False, salt: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(salt)
    coarse = torch.rand(n, 3, 6, 6, generator=generator)
    images = (torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear") * 255).to(torch.uint8)
    points = torch.tensor(holes.CELEBA_POINTS).repeat(n, 1, 1) if landmarks else None
    return ImageSet(images, landmarks=points, partition=np.full(n, TEST, np.uint8), name="blobs")


def white(name: str = "white") -> Inpainter:
    return Inpainter(name, lambda images, masks: torch.ones_like(images))


def noise() -> Inpainter:
    def fill(images, masks, generator):
        return torch.rand(images.shape, generator=generator)

    return Inpainter("noise", fill, stochastic=True)


def run(methods, dataset=None, protocol="seed", **options) -> Evaluation:
    return evaluate(dataset or pictures(), protocol, methods, **{"progress": False, **options})


def test_the_values_are_those_of_the_metrics_on_the_filled_images():
    dataset = pictures(7)
    found = run(["telea"], dataset, batch_size=3, seed=4)
    masks = holes.seed(7, generator=torch.Generator().manual_seed(4))
    filled = load("telea")(uint8_to_signed(dataset.images), masks)
    expected = metrics.measure(signed_to_unit(filled), uint8_to_unit(dataset.images), masks)
    for name in NAMES:
        assert_close(torch.from_numpy(found.answers["telea"].values[name]), expected[name])
        mean, low, high = metrics.bootstrap(expected[name], seed=4)
        row = found.table().loc["telea"]
        assert (row[name], row[f"{name} low"], row[f"{name} high"]) == pytest.approx((mean, low, high), abs=1e-6)
    assert found.shares == pytest.approx(masks.float().mean((1, 2, 3)).numpy())


def test_a_limit_keeps_the_holes_of_the_first_images():
    full, short = run(["mean"], pictures(12)), run(["mean"], pictures(12), limit=5)
    assert short.settings.n == 5
    assert full.settings.n == run(["mean"], pictures(12), limit=99).settings.n == 12
    assert np.array_equal(short.answers["mean"].values["hole_l1"], full.answers["mean"].values["hole_l1"][:5])


def test_the_seed_draws_other_holes():
    assert not np.array_equal(run(["gray"]).shares, run(["gray"], seed=1).shares)


def test_only_the_split_asked_for_is_used():
    dataset = pictures(12)
    dataset.partition[:8] = 0
    found = run(["gray"], dataset)
    assert found.settings.n == 4
    assert torch.equal(found.images, dataset.images[8:])


def test_what_a_stochastic_method_draws_depends_on_nothing_but_the_seed():
    alone, among = run([noise()], batch_size=5), run(["gray", "patchmatch", noise()], batch_size=5)
    one, other = alone.answers["noise"].values["hole_l1"], among.answers["noise"].values["hole_l1"]
    assert np.array_equal(one, other)
    assert not np.array_equal(one, run([noise()], seed=1, batch_size=5).answers["noise"].values["hole_l1"])


def test_every_batch_draws_anew():
    drawn = []

    def fill(images, masks, generator):
        drawn.append(torch.rand(4, generator=generator))
        return images

    run([Inpainter("noise", fill, stochastic=True)], batch_size=6)
    assert not torch.equal(*drawn[1:])  # the first call warms up


def test_the_table_is_sorted_and_timed():
    table = run(["gray", white(), "biharmonic", "mean"]).table()
    assert table.index[0] == "biharmonic"
    assert table["hole_psnr"].is_monotonic_decreasing
    assert (table["seconds_per_image"] > 0).all()
    for name in NAMES:
        assert ((table[f"{name} low"] <= table[name]) & (table[name] <= table[f"{name} high"])).all()


def test_the_text_for_a_terminal_has_a_line_per_method():
    lines = run(["gray", "mean"]).text().splitlines()
    assert "blobs, split test, protocol seed, seed 0: 12 images" in lines[0]
    assert {line.split()[0] for line in lines[2:]} == {"gray", "mean"}


def test_results_json_keeps_the_schema(tmp_path):
    run(["gray", "telea"], out=tmp_path, seed=3)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    found = json.loads(text)
    for key in (
        "kind",
        "parameters",
        "versions",
        "seconds",
        "device",
        "metrics",
        "protocol",
        "data",
        "split",
        "n",
        "bins",
    ):
        assert key in found, key
    assert (found["kind"], found["protocol"], found["data"], found["seed"], found["n"]) == (
        "evaluation", "seed", "blobs", 3, 12,
    )  # fmt: skip
    assert list(found["methods"]) == ["gray", "telea"]
    for scores in found["methods"].values():
        assert list(scores) == [*NAMES, "seconds_per_image"]
        assert list(scores["ssim"]) == ["mean", "low", "high"]
    assert sum(group["n"] for group in found["bins"]) == 12
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "leaderboard.png", "gallery.png", "results.json"}


def test_a_single_image_has_no_interval_and_json_says_null(tmp_path):
    run(["gray"], limit=1, out=tmp_path)
    scores = json.loads((tmp_path / "results.json").read_text())["methods"]["gray"]["hole_psnr"]
    assert scores["mean"] > 0
    assert scores["low"] is scores["high"] is None


def test_bins_group_images_by_the_size_of_their_holes():
    found = run(["gray"], pictures(30))
    groups = found.by_hole_size()
    assert [group["share"][0] for group in groups] == sorted(group["share"][0] for group in groups)
    for group in groups:
        low, high = group["share"]
        rows = (found.shares > low) & (found.shares <= high)
        assert group["n"] == rows.sum() > 0
        mean = found.answers["gray"].values["hole_l1"][rows].mean()
        assert group["methods"]["gray"]["hole_l1"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert BIN_EDGES[0] == 0
    assert BIN_EDGES[-1] == 1


def test_the_parts_of_the_face_are_reported_apart(tmp_path):
    dataset = pictures(30, landmarks=True)
    found = run(["gray"], dataset, "parts", out=tmp_path)
    _, drawn = holes.parts_drawn(30, landmarks=dataset.landmarks, generator=torch.Generator().manual_seed(0))
    groups = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert {group["part"]: group["n"] for group in groups} == {
        holes.PARTS[part]: int((drawn == part).sum()) for part in drawn.unique()
    }
    assert Evaluation.load(tmp_path).record()["parts"] == groups
    assert [group["n"] for group in found.by_part()] == [group["n"] for group in groups]
    with pytest.raises(ValueError, match="protocol 'seed' has no parts"):
        run(["gray"]).by_part()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    saved = run(["gray", "mean"], out=tmp_path)
    loaded = Evaluation.load(tmp_path)
    assert loaded.settings == saved.settings
    assert loaded.drawn is None
    assert loaded.table().equals(saved.table())
    assert torch.equal(loaded.images, saved.images)
    assert torch.equal(loaded.masks, saved.masks)
    assert (loaded.record() | {"seconds": 0}) == (saved.record() | {"seconds": 0})


def test_the_figures_show_all_methods():
    found = run(["gray", "mean"], pictures(3))
    assert [label.get_text() for label in found.figure().axes[0].get_yticklabels()] == list(found.table().index)
    gallery = found.gallery()
    assert [ax.get_ylabel() for ax in gallery.axes[::3]] == ["original", "masked", *found.table().index]
    value = found.answers["gray"].values["hole_psnr"][0]
    row = 3 * (2 + list(found.table().index).index("gray"))
    assert gallery.axes[row].get_xlabel().startswith(f"{value:.1f} dB")


def test_interrupted_it_keeps_the_complete_methods_and_resumes(tmp_path):
    calls = []

    def counting(images, masks):
        calls.append("first")
        return torch.ones_like(images)

    def interrupted(images, masks):
        raise KeyboardInterrupt

    methods = [Inpainter("first", counting), Inpainter("second", interrupted)]
    with pytest.raises(KeyboardInterrupt):
        run(methods, out=tmp_path)
    assert not (tmp_path / "results.json").exists()
    asked = len(calls)
    found = run([methods[0], white("second")], out=tmp_path, resume=True)
    assert len(calls) == asked  # not asked again
    assert list(found.answers) == ["first", "second"]
    uninterrupted = run([white("first"), white("second")])
    for name in NAMES:
        assert np.array_equal(found.answers["first"].values[name], uninterrupted.answers["first"].values[name])
    run(methods[:1], out=tmp_path)  # without resume all is asked anew, and what was there is gone
    assert len(calls) == 2 * asked > 0
    assert [path.stem for path in (tmp_path / "methods").iterdir()] == ["first"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "center"}, "protocol: 'seed' there, 'center' now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"limit": 5}, "n: 12 there, 5 now"),
        ({"dataset": pictures(salt=1)}, "pictures: '.*' there, '.*' now"),
    ],
)
def test_other_questions_are_not_resumed(tmp_path, change, message):
    run(["gray"], out=tmp_path)
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(ValueError, match=message):
        run(["gray", "mean"], **change, out=tmp_path, resume=True)
    assert (tmp_path / "results.json").read_text() == before


def test_damaged_answers_are_named(tmp_path):
    run(["gray"], out=tmp_path)
    (tmp_path / "methods" / "gray.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"gray.npz: damaged .* delete it"):
        run(["gray"], out=tmp_path, resume=True)


@pytest.mark.parametrize("text", ["", "[]"])
def test_damaged_settings_are_named(tmp_path, text):
    run(["gray"], out=tmp_path)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json: damaged .*choose a new folder"):
        run(["gray"], out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["gray", "biharmonics"]}, "no inpainter 'biharmonics'"),
        ({"methods": []}, "no methods"),
        ({"methods": ["gray", white("gray")]}, "'gray' is given twice"),
        ({"methods": ["gray"], "protocol": "centre"}, "masks='centre'"),
        ({"methods": ["gray"], "split": "exam"}, "exam"),
        ({"methods": ["gray"], "split": "train"}, "the split 'train' is empty"),
        ({"methods": ["gray"], "limit": 0}, "limit=0"),
    ],
)
def test_wrong_requests_fail_before_anything_is_done(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(evaluation, "answer", lambda *_, **__: pytest.fail("a method was asked"))
    with pytest.raises(ValueError, match=message):
        run(out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_results_is_not_an_evaluation(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results there"):
        Evaluation.load(tmp_path)
    (tmp_path / "results.json").write_text('{"kind": "notebook"}')
    with pytest.raises(ValueError, match="is of a notebook, not of an evaluation"):
        Evaluation.load(tmp_path)


def test_images_without_a_hole_are_left_out_of_the_hole_metrics(monkeypatch):
    def some_empty(n, size=64, **_):
        masks = torch.zeros(n, 1, size, size, dtype=torch.bool)
        masks[: n // 2, :, 20:30, 20:30] = True
        return masks

    monkeypatch.setitem(holes.PROTOCOLS, "seed", some_empty)
    found = run(["gray"], pictures(8))
    values = found.answers["gray"].values["hole_l1"]
    assert np.isnan(values).tolist() == [False] * 4 + [True] * 4
    assert found.table().loc["gray", "hole_l1"] == pytest.approx(values[:4].mean(), abs=1e-6)
    assert found.table().loc["gray", "ssim"] < 1
    assert sum(group["n"] for group in found.by_hole_size()) == 4


def test_names_with_slashes_make_flat_files(tmp_path):
    run([white("toyfaces/white")], out=tmp_path)
    assert [path.name for path in (tmp_path / "methods").iterdir()] == ["toyfaces_white.npz"]
    assert list(Evaluation.load(tmp_path).answers) == ["toyfaces/white"]


def test_time_is_that_of_the_method_alone(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(answers.time, "perf_counter", lambda: float(next(clock)))
    questions = answers.Questions.pose(pictures(10), "seed", "test", 0, None, batch_size=4)
    found = answers.answer(questions, white(), progress=False)
    assert found.seconds_per_image == pytest.approx(3 / 10)  # three batches, one tick each
    assert found.shown.shape == (6, 3, 64, 64)
    assert math.isfinite(found.values["ssim"].mean())
