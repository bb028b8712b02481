import json
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from nblib import checkpoints, paths, results
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_uint8
from nblib.networks import dcgan
from nblib.networks.context_encoder import ContextEncoder
from nblib.networks.encoder import LatentEncoder
from nblib.noise import uniform_noise
from nblib.toys import cars, faces
from nblib.training.average import calibrate
from tests.benchmarks import by_parts, latent_parts, latent_search, latent_subject
from tests.benchmarks.latent_subject import Answer

LATENT, SIZE = 6, 16
DRAWN = {"toyfaces": faces, "toycars": cars, "celeba": faces}
SEARCHED = {"steps": 2, "restarts": 2}
SMALL = SEARCHED | {"n": 3, "plain": 4, "warm": 2, "repeats": 1, "count": 3}
FEW = {
    "threads": 1,
    "windows": [3, 7],
    "values": [0, 0.003, 1],
    "precisions": ["fp32"],
    "methods": ["biharmonic", "mean"],
    "protocols": ["center", "freeform"],
}


@cache
def toys(name):
    """Tiny pictures whatever was asked for: 8 to learn from, 4 to choose by and 6 to test with."""
    part = np.array([0] * 8 + [1] * 4 + [2] * 6, dtype=np.uint8)
    return ImageSet(DRAWN[name].sample(0, torch.arange(18), size=SIZE).images, partition=part, name=name)


def tiny(part):
    """The same part with few pictures and steps."""
    given = SMALL | FEW
    if isinstance(part.options.get("steps"), list):
        given |= {"steps": [2, 3], "restarts": [1, 2]}
    kept = ("warm",) if isinstance(part.options.get("warm"), bool) else ()
    headline = tuple({"1000": "3", "300": "3", "4": "2"}.get(key, key) for key in part.headline)
    headline = tuple("fp32" if key == "bf16" else key for key in headline)
    options = {key: value if key in kept else given.get(key, value) for key, value in part.options.items()}
    return replace(part, options=options, headline=headline)


def written(folder, data, seed=0):
    """Write the weights of a small GAN, an encoder for it and a Context Encoder; return the generator's file."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        G, D = dcgan.Generator(LATENT, width=4, size=SIZE), dcgan.Discriminator(width=4, size=SIZE, norm="spectral")
        nn.init.normal_(G.stages[-2].weight, std=0.4)
        calibrate(G, (uniform_noise(LATENT)(64, torch.Generator().manual_seed(k)) for k in range(5)))
        others = {"encoder": LatentEncoder(LATENT, width=8, size=SIZE), "context-encoder": ContextEncoder(8, SIZE)}
    card = checkpoints.save_weights(G, folder / "dcgan-g", {"data": data})
    source = {"hyper_parameters": {"source": f"{data}/dcgan-g {card['sha256'][:12]}"}}
    checkpoints.save_weights(D, folder / "dcgan-d", {"data": data})
    for name, net in others.items():
        checkpoints.save_weights(net, folder / name, {"data": data} | (source if name == "encoder" else {}))
    return folder / "dcgan-g.safetensors"


@pytest.fixture
def bench(data_dir):
    for seed, name in enumerate(("toyfaces", "toycars")):
        written(data_dir / "checkpoints" / name, name, seed)
    run = data_dir / "celeba-run"
    written(run / "weights", "celeba", 2)
    generators = {"toyfaces": "toyfaces/dcgan-g", "toycars": "toycars/dcgan-g", "celeba": str(run)}
    parts = {name: tiny(part) for name, part in latent_search.PARTS.items()}
    return latent_search.Bench(parts, toys, generators, precision="fp32")


def test_a_generator_comes_with_what_belongs_to_it(bench, data_dir):
    subject = bench.subject("toyfaces")
    assert isinstance(subject.D, dcgan.Discriminator)
    assert isinstance(subject.encoder, LatentEncoder)
    assert subject.rivals.keys() == {"context-encoder"}
    other = written(data_dir / "other", "toyfaces", seed=5)
    (data_dir / "other" / "encoder.safetensors").unlink()
    encoders = ["toyfaces/encoder"]
    assert latent_subject.load(toys("toyfaces"), other, encoders=encoders).encoder is None  # of another generator
    with pytest.raises(FileNotFoundError, match="no/such: no such weights"):
        latent_subject.load(toys("toyfaces"), other, rivals=["no/such"])
    with pytest.raises(ValueError, match="has learnt toyfaces, not toycars"):
        latent_subject.load(toys("toycars"), other)


def test_what_is_missing_is_named(bench, data_dir, capsys):
    (data_dir / "checkpoints" / "toyfaces" / "encoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"own-warm: no encoder that was trained for toyfaces/dcgan-g [0-9a-f]"):
        bench.subject("own-warm")
    no_celeba = replace(bench, generators={"toyfaces": "toyfaces/dcgan-g", "toycars": "toycars/dcgan-g"})
    with pytest.raises(ValueError, match="celeba: which generator"):
        no_celeba.subject("celeba")
    chosen = latent_search.picked(no_celeba, None)
    assert {"own", "batch", "toycars", "lambda"} <= set(chosen)
    assert not {"own-warm", "warm-start", "toyfaces-warm", "celeba", "celeba-gap"} & set(chosen)
    assert "left out: own-warm: no encoder" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'lamda': no such part; choose from own, own-warm"):
        latent_search.picked(bench, "own, lamda")
    assert latent_search.picked(bench, "batch, own") == ["own", "batch"]


def test_what_is_on_file_is_not_made_again(bench, tmp_path, monkeypatch, data_dir):
    path = tmp_path / "record.json"
    latent_search.run(bench, path, ["own", "answers"])
    first = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(latent_subject, "search", lambda *_, **__: pytest.fail("searched again"))
        latent_search.run(bench, path, ["answers", "own"])
    assert path.read_text() == first
    changed = replace(bench.parts["answers"], options=bench.parts["answers"].options | {"n": 2})
    latent_search.run(replace(bench, parts=bench.parts | {"answers": changed}), path, ["answers"])
    assert by_parts.read(path)["answers"]["asked"]["n"] == 2
    assert by_parts.read(path)["own"] == json.loads(first)["parts"]["own"]
    written(data_dir / "checkpoints" / "toyfaces", "toyfaces", seed=7)
    assert bench.asked("own", bench.subject("own")) != json.loads(first)["parts"]["own"]["asked"]


def test_only_what_starts_from_an_encoder_depends_on_it(bench):
    cold, warm = (bench.asked(name, bench.subject(name)) for name in ("toyfaces", "toyfaces-warm"))
    assert "encoder" in warm
    assert "encoder" not in cold
    assert "context-encoder" in cold  # it is one of the methods


def test_parts_of_another_process_are_kept(bench, tmp_path, monkeypatch):
    path, given = tmp_path / "record.json", {"asked": {}, "seconds": 1, "figures": {"bf16": {"ratio": 4.0}}}
    meanwhile = {"batch": given}

    def measure(subject, **options):
        results.write(tmp_path, results.record("b", parameters={}, seconds=1, metrics={}, parts=meanwhile))
        (tmp_path / "results.json").rename(path)
        return {"deviation": {"inside over outside": 2.0}}

    parts = bench.parts | {"answers": replace(bench.parts["answers"], measure=measure)}
    parts["batch"] = latent_search.PARTS["batch"]
    latent_search.run(replace(bench, parts=parts), path, ["answers"])
    record = results.read(path)
    assert list(record["parts"]) == ["batch", "answers"]
    assert record["metrics"] == {"batch": 4.0, "answers": 2.0}


def test_a_search_does_not_begin_where_the_samples_come_from(bench, monkeypatch):
    subject, begun = bench.subject("own"), []

    def search(G, D, images, masks, *, starts, **options):
        begun.append(starts)
        z = starts[:, 0]
        return Answer(G(z).detach(), z[:, 0], starts)

    monkeypatch.setattr(latent_subject, "search", search)
    monkeypatch.setattr(latent_subject, "TOGETHER", 4)
    images, masks = latent_subject.hidden(subject.samples(5))
    answer = latent_subject.searched(subject, images, masks, restarts=2, steps=1)
    assert [len(starts) for starts in begun] == [2, 2, 1]
    assert len(torch.cat(begun).flatten(0, 1).unique(dim=0)) == 10  # every start its own
    assert (answer.images - images).abs().mean((1, 2, 3)).min() > 0.05
    warm = latent_subject.searched(subject, images, masks, restarts=2, warm=True, steps=1)
    guess = subject.guesses(images, masks)
    assert (warm.candidates - guess.unsqueeze(1)).std() == pytest.approx(latent_subject.SPREAD, rel=0.3)


def test_samples_are_recovered_by_many_steps_and_not_by_few(bench):
    found = latent_parts.own_samples(bench.subject("own"), n=10, steps=[1, 150], restarts=[1, 3], warm=False)
    table = found["steps, restarts"]
    assert table["150"]["3"]["share"]["mean"] >= 0.8
    assert table["1"]["3"]["share"]["mean"] <= 0.2
    assert table["150"]["3"]["median context loss"] <= table["150"]["1"]["median context loss"]


def test_who_does_not_know_the_hole_chooses_by_the_context():
    psnr, context = torch.tensor([[40.0, 20.0], [10.0, 35.0]]), torch.tensor([[2.0, 1.0], [2.0, 1.0]])
    told = latent_parts.recovered(psnr, context)
    assert told["share"]["mean"] == 0.5
    assert told["10, 50, 90 %"][1] == pytest.approx(27.5)


def test_a_warm_start_is_compared_with_what_the_same_picture_had(bench, monkeypatch):
    subject = bench.subject("warm-start")
    told = latent_parts.warm_start(subject, n=4, plain=40, warm=10)
    assert {len(values) for values in told["context loss"].values()} == {4}
    assert told["median curves"]["plain"]["step"][-1] == 40
    assert told["median curves"]["warm"]["step"][-1] == 10
    assert all(np.diff(curve["context"]).max() <= 0 for curve in told["median curves"].values())  # the best so far
    samples = subject.samples(4)
    known = uniform_noise(LATENT)(4, latent_subject.seeded("cpu", "samples"))
    monkeypatch.setattr(latent_subject.Subject, "guesses", lambda *_: known)
    monkeypatch.setattr(latent_subject.Subject, "pictures", lambda *_: samples)
    told = latent_parts.warm_start(subject, n=4, plain=40, warm=10)["reaches plain's end"]
    for name in ("warm", "warm, preconditioned"):
        assert told[name]["steps"] == [0, 0, 0, 0]  # it begins at the truth
        assert told[name]["share"]["mean"] == 1
    assert told["short"]["share"]["mean"] <= 0.5


def test_steps_to_a_target():
    curve = torch.tensor([[4.0, 9.0, 8.0], [3.0, 9.0, 2.0], [2.0, 9.0, 1.0]])
    told = latent_parts.reaching(curve, torch.tensor([3.0, 3.0, 3.0]))
    assert told["steps"] == [1, None, 1]
    assert told["share"]["mean"] == pytest.approx(2 / 3)
    assert told["median of curves"] == 1


def test_batch_and_singles_find_the_same(bench):
    before = torch.get_num_threads()
    told = latent_parts.batched(bench.subject("batch"), n=3, steps=3, repeats=2, precisions=["fp32"], threads=1)
    assert torch.get_num_threads() == before
    assert {name: len(seconds) for name, seconds in told["fp32"]["seconds"].items()} == {"batch": 2, "single": 2}
    assert told["fp32"]["largest relative difference"] < 1e-4
    assert told["fp32"]["ratio"] > 0


def test_who_draws_the_truth_is_ahead(bench, monkeypatch):
    truth = latent_subject.hidden(toys("toyfaces").split("test").images)[0]
    none = torch.zeros(len(truth), 2, LATENT)
    monkeypatch.setattr(latent_parts, "searched", lambda subject, images, *_, **__: Answer(truth + 0.2, None, none))
    monkeypatch.setattr(latent_subject.Subject, "drawn", lambda *_: truth.repeat_interleave(2, 0) + 0.2)
    told = latent_parts.compared(bench.subject("toyfaces"), n=None, methods=["biharmonic"], warm=False, **SEARCHED)
    own = {"latent-search, pasted", "latent-search", "latent-search, mean of its starts"}
    assert told["methods"].keys() == own | {"biharmonic", "context-encoder"}
    mean = told["methods"]["latent-search, mean of its starts"]["hole_psnr"]["mean"]
    assert mean == pytest.approx(told["methods"]["latent-search"]["hole_psnr"]["mean"], abs=0.1)
    assert told["methods"]["latent-search, pasted"]["hole_psnr"]["mean"] == pytest.approx(20, abs=1.5)  # 0.1 of 1
    assert told["methods"]["latent-search"]["hole_psnr"]["mean"] > 35  # blending takes the 0.2 away
    assert told["differences"]["latent-search minus biharmonic"]["hole_psnr"]["low"] > 5
    assert told["differences"]["latent-search minus latent-search, pasted"]["hole_l1"]["high"] < 0


def test_the_gap_has_terms_that_add_up(bench, monkeypatch):
    off = {"own samples": 0.02, "train": 0.1, "test": 0.3}
    subject = bench.subject("celeba-gap")
    own = subject.samples(3)

    def searched(subject, images, masks, **options):
        same = torch.equal(signed_to_uint8(images), own)
        of_train = torch.equal(signed_to_uint8(images), subject.pictures("train", 3))
        error = off["own samples" if same else "train" if of_train else "test"] * (1 if masks.any() else 0.5)
        return Answer(images - error * images.sign(), None, None)

    monkeypatch.setattr(latent_parts, "searched", searched)
    told = latent_parts.gap(subject, n=3, **SEARCHED)
    errors = {name: told["errors, hole hidden"][name]["hole_psnr"]["mean"] for name in ("search", "prior", "unseen")}
    assert errors["prior"] == pytest.approx(20 * np.log10(5), abs=0.7)
    assert errors["unseen"] == pytest.approx(20 * np.log10(3), abs=0.7)
    test = told["test pictures"]["hole hidden"]["hole_psnr"]["mean"]
    assert errors["search"] - errors["prior"] - errors["unseen"] == pytest.approx(test, abs=0.01)
    assert told["training pictures"]["hole"]["hole_psnr"]["mean"] == pytest.approx(20 * np.log10(2), abs=0.7)


def test_every_shape_has_its_holes_and_its_own_base(bench, monkeypatch):
    truth, asked = latent_subject.hidden(toys("toyfaces").split("test").images)[0], []

    def searched(subject, images, masks, **options):
        asked.append(masks)
        return Answer(truth[: len(images)] + 0.2, None, None)

    monkeypatch.setattr(latent_parts, "searched", searched)
    given = {"n": 4, "protocols": ["center", "seed", "freeform"], "methods": ["biharmonic"]} | SEARCHED
    told = latent_parts.shapes(bench.subject("shapes"), **given)["protocols"]
    assert list(told) == ["center", "seed", "freeform"]
    assert [len(masks) for masks in asked] == [4, 4, 4]
    assert len({masks.float().mean().item() for masks in asked}) == 3
    for sheet in told.values():
        assert sheet["methods"].keys() == {"latent-search", "biharmonic", "context-encoder"}
        assert sheet["minus biharmonic"].keys() == {"latent-search", "context-encoder"}
        found, base = (sheet["methods"][name]["hole_psnr"]["mean"] for name in ("latent-search", "biharmonic"))
        assert sheet["minus biharmonic"]["latent-search"]["hole_psnr"]["mean"] == pytest.approx(found - base, abs=0.01)


def test_inverted_weights_are_least_at_the_rim():
    _, masks = latent_subject.hidden(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))
    line = latent_parts.inverted(masks, window=5)[0, 0, 8]
    assert line[0] == 1
    assert (line[:4].diff() <= 0).all()
    assert line[3] < 0.7
    assert line[4:12].sum() == 0


def test_terms_are_measured_by_one_yardstick(bench):
    told = latent_parts.weightings(bench.subject("weights"), n=3, steps=3, windows=[3, 7], base=7)
    assert told["kinds"].keys() == {"flat", "right 3", "inverted 3", "right 7", "inverted 7"}
    assert told["minus right 7"].keys() == told["kinds"].keys() - {"right 7"}
    assert told["kinds"]["flat"]["context"]["mean"] < 200  # of the usual weights; flat ones add up to more
    told = latent_parts.lambdas(bench.subject("lambda"), n=3, steps=3, values=[0, 0.003, 5], base=0.003)
    assert told["kinds"].keys() == {
        "0",
        "saturating 0.003",
        "saturating 5",
        "nonsaturating 0.003",
        "nonsaturating 5",
    }
    assert told["minus nonsaturating 0.003"]["nonsaturating 5"]["logit"]["mean"] > 0


def test_deviations_are_told_apart_by_the_hole(bench, monkeypatch):
    subject = bench.subject("answers")
    images, masks = latent_subject.hidden(subject.pictures("val", 3))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 4, *images.shape[1:], generator=generator) * torch.where(masks, 0.2, 0.04).unsqueeze(1)
    monkeypatch.setattr(latent_parts, "searched", lambda *_, **__: Answer(None, None, torch.zeros(3, 4, LATENT)))
    monkeypatch.setattr(latent_subject.Subject, "drawn", lambda *_: (images.unsqueeze(1) + noise).flatten(0, 1))
    told = latent_parts.answers(subject, n=3, steps=2, count=4)
    assert told["deviation"]["inside"]["mean"] == pytest.approx(0.1, rel=0.05)  # half of 0.2: of [0, 1]
    assert told["deviation"]["inside over outside"]["mean"] == pytest.approx(5, rel=0.1)
    rings = told["deviation by distance from the rim"]
    assert list(rings) == ["-4", "-3", "-2", "-1", "1", "2", "3", "4"]
    assert rings["1"] == pytest.approx(0.1, rel=0.1)
    psnr = {kind: interval["mean"] for kind, interval in told["hole_psnr of the answers"].items()}
    assert psnr["best"] >= psnr["chosen"]
    assert psnr["mean"] == pytest.approx(20, abs=0.3)
    assert psnr["average picture"] == pytest.approx(20 + 20 * np.log10(2), abs=0.5)  # four independent errors


def test_the_readmes_table_tells_what_is_on_file():
    span = {"mean": 3.163, "low": 2.8268, "high": 3.4858}
    sheet = {"hole_psnr": span | {"mean": 18.0}}
    warm = {"differences": {"latent-search minus biharmonic": {"hole_psnr": span}}}
    own = {"steps, restarts": {"1000": {"4": {"share": {"mean": 0.97, "low": 0.893, "high": 0.991}}}}}
    names = ("latent-search", "latent-search, mean of its starts", "biharmonic", "context-encoder")
    parts = {"toyfaces-warm": warm, "own": own, "celeba": {"methods": dict.fromkeys(names, sheet)}}
    told = latent_search.table({name: {"figures": figures} for name, figures in parts.items()})
    assert "| +3.16 [2.83, 3.49] dB |" in told
    assert "| 97 [89, 99] % |" in told
    assert told.count("| 18.00 [2.83, 3.49] dB |") == 4
    assert told.count("\n| ") == 7  # nothing of parts that are not there


def test_the_readme_says_what_the_record_says():
    text = (paths.REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert latent_search.table(by_parts.read(paths.benchmarks_dir() / "latent-search.json")) in text


def test_shares_and_differences_have_intervals():
    told = latent_subject.share(torch.tensor([True] * 64))
    assert told["mean"] == 1
    assert told["low"] == pytest.approx(0.943, abs=0.001)  # Wilson: 1 / (1 + 1.96^2 / 64)
    rng = np.random.default_rng(0)
    told = latent_subject.apart(rng.normal(3, 1, 400), rng.normal(1, 2, 100))
    assert told["mean"] == pytest.approx(2, abs=0.4)
    assert (told["high"] - told["low"]) / 2 == pytest.approx(1.96 * np.sqrt(1 / 400 + 4 / 100), rel=0.15)


@pytest.mark.slow
def test_every_part_is_made_and_listed(bench, tmp_path, monkeypatch, capsys):
    path = tmp_path / "record.json"
    chosen = latent_search.picked(bench, None)
    assert chosen == list(latent_search.PARTS)
    latent_search.run(bench, path, chosen)
    record = results.read(path)
    assert list(record["parts"]) == list(record["metrics"]) == chosen
    assert all(entry["figures"] and entry["seconds"] >= 0 for entry in record["parts"].values())
    monkeypatch.setattr(latent_search, "PARTS", bench.parts)
    monkeypatch.setattr(latent_search.datasets, "load", lambda name, root: toys(name))
    words = f"latent_search --list --out {path} --precision fp32 --generator {bench.generators['celeba']}"
    monkeypatch.setattr(sys, "argv", words.split())
    capsys.readouterr()
    latent_search.main()
    assert capsys.readouterr().out.splitlines() == [f"done    {name}" for name in chosen]
