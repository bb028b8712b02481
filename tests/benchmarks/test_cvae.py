import json
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from nblib import checkpoints, results, tasks
from nblib.datasets.imageset import ImageSet
from nblib.images import uint8_to_signed
from nblib.networks import dcgan
from nblib.networks.classifier import AttributeClassifier
from nblib.networks.cvae import ConditionalVAE
from nblib.toys import faces
from nblib.training.average import calibrate
from tests.benchmarks import cvae, cvae_parts, cvae_step, cvae_subject
from tests.benchmarks.cvae_subject import Subject

COUNTS = (10, 60, 150)  # to learn from, to choose by, to test with


@cache
def toys(name):
    """Drawn faces, whatever was asked for; photographs among them have no known flipped truth."""
    drawn = faces.sample(0, torch.arange(sum(COUNTS)))
    part = np.repeat(np.arange(3, dtype=np.uint8), COUNTS)
    files = np.array([f"{name}-0-{number:07d}" for number in range(sum(COUNTS))])
    more = {"files": files, "partition": part, "name": name}
    return ImageSet(drawn.images, drawn.attributes, faces.ATTRIBUTES, drawn.landmarks, **more)


class Oracle(torch.nn.Module):
    """A judge that has learnt the pictures that it is to see by heart."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def forward(self, images):
        rows = torch.stack([((pictures - images[:, None]) ** 2).flatten(2).sum(2) for pictures, _ in self.known], 1)
        nearest, which = rows.min(2)
        attributes = torch.stack([labels[which[:, k]] for k, (_, labels) in enumerate(self.known)], 1)
        return attributes[torch.arange(len(images)), nearest.argmin(1)].float() * 2 - 1


class Painter(torch.nn.Module):
    """A network that knows the truth of the test pictures with each label, by heart."""

    def __init__(self, part, attribute, obeys=True):
        super().__init__()
        own, other = uint8_to_signed(part.images), uint8_to_signed(cvae_subject.counterfactual(part, attribute))
        truth = part.attribute(attribute).view(-1, 1, 1, 1)
        self.answers = {True: torch.where(truth, own, other), False: torch.where(truth, other, own)}
        self.classes, self.latent_dim, self.obeys, self.seen = 2, 1, obeys, 0

    def encode(self, images, masks=None):
        self.seen = self.seen % COUNTS[2]
        places = torch.arange(self.seen, self.seen + len(images)).float()[:, None]
        self.seen += len(images)
        return places, torch.full_like(places, -100.0)

    def logits(self, z, labels):
        rows = z[:, 0].round().long()
        labels = labels if self.obeys else torch.ones_like(labels)
        told = torch.where(labels.view(-1, 1, 1, 1), self.answers[True][rows], self.answers[False][rows])
        return torch.logit((told * 0.5 + 0.5).clamp(1e-4, 1 - 1e-4))


def oracle(part, attribute):
    other = part.attributes.clone()
    other[:, part.attribute_names.index(attribute)] ^= True
    flipped = uint8_to_signed(cvae_subject.counterfactual(part, attribute))
    return Oracle([(uint8_to_signed(part.images), part.attributes), (flipped, other)])


def written(folder, data, seed=0):
    """Write a small network for each task and stage, and a judge."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for task in tasks.TASKS:
            net = ConditionalVAE(4, 6, classes=2 if tasks.find(task).label else 0)
            about = {"data": data, "steps": 3, "hyper_parameters": {"task": task}}
            checkpoints.save_weights(net, folder / f"{data}-{task}" / "weights" / "cvae", about)
            checkpoints.save_weights(net, folder / f"{data}-{task}-fine" / "weights" / "cvae-fine", about)
        judge = AttributeClassifier(len(faces.ATTRIBUTES), width=2)
        checkpoints.save_weights(judge, folder / f"{data}-judge" / "weights" / "classifier", {"data": data})
    return folder / f"{data}-judge"


@pytest.fixture
def bench(tmp_path):
    judges = {name: written(tmp_path, name, seed) for seed, name in enumerate(("toyfaces", "celeba"))}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = dcgan.Generator(6, width=4)
        calibrate(G, (torch.randn(64, 6) for _ in range(5)))
    checkpoints.save_weights(G, tmp_path / "dcgan-g", {"data": "toyfaces"})
    parts = {}
    for name, part in cvae.PARTS.items():
        given = {"generator": str(tmp_path / "dcgan-g.safetensors"), "batch_size": 4, "turns": 1, "threads": 1}
        options = {key: given.get(key, value) for key, value in part.options.items()}
        options |= {"size": {"width": 4, "latent_dim": 6, "ema": 0.0, "mirror": False}} if name == "step" else {}
        parts[name] = replace(part, options=options)
    return cvae.Bench(parts, toys, tmp_path, judges)


def test_flipped_faces_are_the_same_but_for_one_attribute():
    part = toys("toyfaces").split("test")
    flipped = cvae_subject.counterfactual(part, "Smiling")
    again = cvae_subject.counterfactual(replace(part, images=flipped), "Smiling")
    changed = (flipped != part.images).any(1).float().mean((1, 2))
    assert changed.max() < 0.35
    assert changed.min() > 0.001
    assert torch.equal(again, flipped)  # of the names, not of the pictures
    with pytest.raises(ValueError, match="celeba: nobody knows these people with Smiling flipped"):
        cvae_subject.counterfactual(toys("celeba").split("test"), "Smiling")


def test_who_paints_the_flipped_truth_flips_every_smile():
    part = toys("toyfaces").split("test")
    nets = {("smiling", "first"): Painter(part, "Smiling", obeys=False), ("smiling", "fine"): Painter(part, "Smiling")}
    told = cvae_parts.smiles(Subject(toys("toyfaces"), oracle(part, "Smiling"), nets, {}), n=None)
    fine, first = told["stages"]["fine"], told["stages"]["first"]
    assert fine["with"]["flipped"]["mean"] > 0.95
    assert fine["without"]["flipped"]["mean"] > 0.95
    assert fine["with"]["kept"]["mean"] == fine["without"]["kept"]["mean"] == 1
    assert fine["hole_l1, own label"]["mean"] < 0.001
    assert fine["hole_l1, flipped truth"]["mean"] < 0.001
    assert fine["over biharmonic, flipped truth"]["high"] < 0.05
    assert fine["hole_l1, flipped truth, own label"]["mean"] > 0.01  # the label makes the difference
    assert first["with"]["flipped"]["mean"] > 0.95  # smiles whatever it is told
    assert first["without"]["flipped"]["mean"] < 0.05
    ceiling = told["ceilings"]["true mouth of the other class"]
    assert min(ceiling["with"]["mean"], ceiling["without"]["mean"]) > 0.95


def test_who_draws_without_glasses_removes_them_and_nothing_else():
    part = toys("toyfaces").split("test")
    nets = {("glasses-remover", "first"): Painter(part, "Eyeglasses")}
    told = cvae_parts.glasses(Subject(toys("toyfaces"), oracle(part, "Eyeglasses"), nets, {}), n=None)
    rows = told["stages"]["first"]
    assert told["with glasses"] == int(part.attribute("Eyeglasses").sum())
    assert rows["removed"]["mean"] == rows["none are added"]["mean"] == 1
    assert rows["put on"]["mean"] == 1
    assert rows["l1 of the rest"]["mean"] < 0.001
    assert rows["l1 where the glasses were"]["mean"] < 0.001 < rows["that of the picture with its glasses"]["mean"]
    assert rows["other attributes stay"]["mean"] == 1
    assert "Eyeglasses" not in told["other attributes"]


def test_a_real_mouth_is_borrowed_where_no_truth_is_known():
    part = toys("celeba").split("test")
    truth = part.attribute("Smiling")
    mouths = cvae_parts._mouths(part, truth)
    for row in (0, 1, 40):
        (giver,) = (uint8_to_signed(part.images) == mouths[row]).flatten(1).all(1).nonzero()[:1, 0].tolist()
        assert truth[giver] != truth[row]


def test_fine_tuning_that_paints_the_truth_is_found_better(bench):
    subject = bench.subject("toyfaces: smiles")
    nets = subject.nets | {("smiling", "fine"): Painter(subject.test(None), "Smiling")}
    told = cvae_parts.fine_tuned(replace(subject, nets=nets), n=None)
    assert told.keys() == {"smiling"}
    assert told["smiling"]["fine minus first"]["KID"]["high"] < 0
    assert told["smiling"]["fine minus first"]["hole_l1"]["high"] < 0
    assert told["smiling"]["fine over first"]["hole_l1"]["high"] < 0.05


def test_every_network_fills_every_kind_of_hole(bench):
    told = cvae_parts.specialised(bench.subject("toyfaces: specialists"), n=20, stage="fine")
    assert told.keys() == {"small", "big", "mouth"}
    for sheet in told.values():
        assert sheet.keys() == {"biharmonic", "general", "general-big", "smiling", "differences"}
        difference = sheet["differences"]["smiling minus general"]["hole_l1"]["mean"]
        means = [sheet[name]["hole_l1"]["mean"] for name in ("smiling", "general")]
        assert difference == pytest.approx(means[0] - means[1], abs=1e-4)


def test_a_ratio_is_that_of_the_means_and_paired():
    rng = np.random.default_rng(0)
    other = rng.uniform(0.5, 20, 300)
    told = cvae_subject.ratio(0.6 * other + rng.normal(0, 0.01, 300), other)
    assert told["mean"] == pytest.approx(0.6, abs=1e-3)
    assert told["high"] - told["low"] < 0.001  # hard pictures are hard for both


def test_blurred_pictures_are_less_sharp():
    images = uint8_to_signed(toys("toyfaces").images[:4])
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    assert (cvae_parts.sharpness(blurred) < 0.6 * cvae_parts.sharpness(images)).all()


def test_pictures_show_both_labels_before_and_after(bench, tmp_path):
    told = cvae_parts.rows(bench.subject("toyfaces: smiles"), "smiling", count=3)
    assert list(told) == ["hole", "first, with", "first, without", "fine, with", "fine, without", "truth"]
    assert all(pictures.shape == (3, 3, 64, 64) for pictures in told.values())
    told = cvae_parts.rows(bench.subject("toyfaces: glasses"), "glasses-remover", count=3)
    part = toys("toyfaces").split("test")
    assert torch.equal(told["picture"][1], part.images[part.attribute("Eyeglasses")][1] / 255)
    assert [path.name for path in cvae.show(bench, "celeba", tmp_path / "new")][:2] == [
        "celeba-general.png",
        "celeba-general-big.png",
    ]


def test_trainings_are_found_and_missing_ones_named(bench, tmp_path):
    assert set(bench.nets("toyfaces")) == {(task, stage) for task in tasks.TASKS for stage in ("first", "fine")}
    (tmp_path / "celeba-smiling-fine" / "weights" / "cvae-fine.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no training in .* of smiling, fine"):
        bench.subject("celeba: smiles")
    assert "celeba: smiles" not in cvae.picked(bench, None)
    assert cvae.picked(bench, "celeba: judge, toyfaces: units") == ["toyfaces: units", "celeba: judge"]
    with pytest.raises(ValueError, match="'units': no such part"):
        cvae.picked(bench, "units")


def test_networks_of_another_set_are_refused(bench, tmp_path):
    with pytest.raises(ValueError, match="has learnt celeba, not toyfaces"):
        cvae_subject.load(
            toys("toyfaces"), bench.judges["toyfaces"], {("smiling", "first"): tmp_path / "celeba-smiling"}
        )


def test_what_is_on_file_is_not_made_again(bench, tmp_path):
    calls = []

    def measure(subject, **options):
        calls.append(options)
        return {"figure": len(calls)}

    bench = replace(bench, parts={"units": cvae.Part(measure, "toyfaces", {"n": 3})})
    out = tmp_path / "out.json"
    cvae.run(bench, out, ["units"])
    cvae.run(bench, out, ["units"])
    assert len(calls) == 1
    cvae.run(replace(bench, parts={"units": cvae.Part(measure, "toyfaces", {"n": 4})}), out, ["units"])
    assert results.read(out)["parts"]["units"]["figures"] == {"figure": 2}
    other = replace(bench, parts={"toyfaces: judge": cvae.Part(measure, "toyfaces", {"n": 4})})
    cvae.run(other, out, ["toyfaces: judge"])
    assert list(results.read(out)["parts"]) == ["toyfaces: judge", "units"]  # nothing is lost


def test_another_box_or_generator_is_another_question(bench, tmp_path, monkeypatch):
    before = {name: bench.asked(name, bench.subject(name)) for name in ("toyfaces: smiles", "toyfaces: samples")}
    assert before["toyfaces: samples"]["DCGAN"] == checkpoints.card(tmp_path / "dcgan-g.safetensors")["sha256"][:12]
    monkeypatch.setattr(tasks, "SMILE_BOX", (42, 63, 18, 47))
    assert bench.asked("toyfaces: smiles", bench.subject("toyfaces: smiles")) != before["toyfaces: smiles"]


def test_the_plain_step_and_ours_are_timed(bench):
    before = torch.get_num_threads()
    told = cvae_step.timed(bench.subject("step"), **bench.parts["step"].options)
    assert torch.get_num_threads() == before
    rates = told["images per second"]
    assert told["times plain fp32"] == pytest.approx(rates["ours"] / rates["plain fp32"], rel=1e-3)
    assert told["seconds per epoch, estimated"]["ours"] == pytest.approx(202_599 / rates["ours"], rel=1e-3)


@pytest.mark.slow
def test_every_part_is_made_and_listed(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cvae, "PARTS", bench.parts)
    monkeypatch.setattr(cvae.datasets, "load", lambda name, root: toys(name))
    weights = tmp_path / "data" / "checkpoints" / "toyfaces"
    checkpoints.save_weights(
        checkpoints.load(bench.judges["toyfaces"] / "weights" / "classifier"),
        weights / "classifier",
        {"data": "toyfaces"},
    )
    monkeypatch.setenv("NBLIB_DATA", str(tmp_path / "data"))
    out = tmp_path / "cvae.json"
    words = f"cvae --celeba {tmp_path} --runs {tmp_path} --judge {bench.judges['celeba']} --out {out}"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--list"])
    cvae.main()
    listed = capsys.readouterr().out.splitlines()
    assert listed == [f"missing {name}" for name in bench.parts if name != "step"]
    monkeypatch.setattr(sys, "argv", words.split())
    cvae.main()
    record = json.loads(out.read_text())
    assert list(record["parts"]) == [name for name in bench.parts if name != "step"]
    assert "celeba: glasses, fine: removed" in record["metrics"]
    assert "toyfaces: smiles, fine: over biharmonic, flipped truth" in record["metrics"]
    monkeypatch.setattr(sys, "argv", [*words.split(), "--list"])
    capsys.readouterr()
    cvae.main()
    assert all(line.startswith("done") for line in capsys.readouterr().out.splitlines())
