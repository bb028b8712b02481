import io
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from nblib import checkpoints, metrics, tasks
from nblib.datasets.imageset import ImageSet
from nblib.images import signed_to_uint8, uint8_to_signed, uint8_to_unit
from nblib.networks.cvae import ConditionalVAE
from nblib.toys import faces
from nblib.widgets import AttributeMixer, Mixed, mix, mixed_figure
from nblib.widgets.mixing import Candidate, Judge, candidates, draw_hole, draw_noise

ROOT = Path(__file__).resolve().parents[2]
COUNT, UNITS = 3, 4


class Gate(ConditionalVAE):
    """A network that waits to be let through; the class has the locks, since networks are copied."""

    def decode(self, z, labels=None):
        Gate.begun.release()
        assert Gate.turns.acquire(timeout=20)
        return super().decode(z, labels)


class Broken(ConditionalVAE):
    def decode(self, z, labels=None):
        raise ValueError("the weights are gone")


class Brightness(nn.Module):
    """A judge whose first attribute is brightness, the second its opposite."""

    def __init__(self):
        super().__init__()
        self.attributes, self.scale = 2, nn.Parameter(torch.tensor(3.0))

    def forward(self, images):
        logit = self.scale * images.mean((1, 2, 3))
        return torch.stack([logit, -logit], 1)


class BrokenJudge(Brightness):
    def forward(self, images):
        if len(images) > 1:
            raise ValueError("no verdict")
        return super().forward(images)


def network(kind=ConditionalVAE, **arguments):
    """Return a network whose samples differ, from level to level and from label to label."""
    torch.manual_seed(7)
    net = kind(width=2, latent_dim=UNITS, **arguments).eval()
    nn.init.normal_(net.dense.weight, std=10.0)
    nn.init.normal_(net.mu.weight, std=1.0)
    return net


def candidate(task="smiling", net=None, name="net"):
    return Candidate(name, net or network(classes=2 if tasks.find(task).label else 0), tasks.find(task))


@pytest.fixture(scope="module")
def images():
    pictures = torch.randint(256, (COUNT, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    attributes = torch.tensor([[False, True], [True, True], [False, False]])
    return ImageSet(pictures, attributes, ("Smiling", "Eyeglasses"), name="toyfaces")


@pytest.fixture(scope="module")
def flipped(images):
    return 255 - images.images


@pytest.fixture
def mixer(images, flipped):
    nets = {"smiling": (network(), "smiling"), "general": (network(classes=0), "general")}
    return AttributeMixer(images, nets, judge=Brightness(), counterfactuals=flipped)


@pytest.fixture
def gate():
    Gate.begun, Gate.turns = threading.Semaphore(0), threading.Semaphore(0)
    return (network(Gate), "smiling")


@pytest.fixture
def hole(images):
    return draw_hole(tasks.find("smiling"), images, 0, 0)


def pixels(png):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)))).permute(2, 0, 1)


def statuses(mixer):
    return [status for status, _ in mixer.states]


def say(mixer, number=1, **wish):
    """Say what the browser says."""
    mixer._handle_custom_msg({"do": "choose", "view": "one", "number": number, "wish": wish}, [])


def listen(mixer, monkeypatch):
    sent = []
    monkeypatch.setattr(mixer, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    return sent


@torch.no_grad()
def drawn(net, picture, hole, noise, labels=None, temperature=1.0):
    """Return what a network draws, one sample after the other, by its plain methods."""
    mu, logvar = net.encode(uint8_to_signed(picture)[None], None if hole.all() else hole[None])
    codes = [mu + temperature * (0.5 * logvar).exp() * row for row in noise]
    return torch.cat([signed_to_uint8(net.decode(z, labels)) for z in codes])


@pytest.mark.parametrize("label", [0, 1])
def test_samples_are_the_networks_own_and_known_pixels_stay(images, hole, label):
    net, picture, noise = network(), images.images[0], draw_noise(3, 4, UNITS)
    mixed = mix(candidate(net=net), picture, hole, noise, label=label)
    expected = drawn(net, picture, hole, noise, torch.tensor([label]))
    assert_close(mixed.raw, expected, atol=1, rtol=0)
    assert torch.equal(mixed.composite.masked_fill(hole, 0), picture.masked_fill(hole, 0).expand(4, -1, -1, -1))
    assert torch.equal(mixed.composite.masked_fill(~hole, 0), mixed.raw.masked_fill(~hole, 0))
    assert torch.equal(mixed.seen, picture.masked_fill(hole, 128))
    assert len(mixed.raw.unique(dim=0)) == 4
    assert not torch.equal(mixed.raw, mix(candidate(net=net), picture, hole, noise, label=1 - label).raw)


def test_a_label_between_mixes_the_embeddings_linearly(images, hole):
    net, picture, noise = network(), images.images[0], draw_noise(3, 2, UNITS)
    mixed = mix(candidate(net=net), picture, hole, noise, label=0.25)
    no, yes = net.embedding.weight.detach()
    with torch.no_grad():
        net.embedding.weight[0] = 0.75 * no + 0.25 * yes
    assert_close(mixed.raw, drawn(net, picture, hole, noise, torch.tensor([0])), atol=1, rtol=0)


def test_temperature_0_is_the_mean_and_1_what_was_trained(images, hole):
    net, picture, noise = network(), images.images[1], draw_noise(0, 3, UNITS)
    cold, own, hot = (mix(candidate(net=net), picture, hole, noise, label=1, temperature=t) for t in (0, 1, 2))
    image, told = uint8_to_signed(picture)[None].expand(3, -1, -1, -1), torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        mean = signed_to_uint8(net.decode(net.encode(image, hole[None])[0], told))
        trained = signed_to_uint8(net(image, hole[None], told, noise).images())
    assert_close(cold.raw, mean, atol=1, rtol=0)
    assert_close(own.raw, trained, atol=1, rtol=0)
    assert cold.spread().max() < 0.005 < own.spread().max() < hot.spread().max()


def test_where_all_is_hole_nothing_is_hidden_and_all_is_drawn(images):
    net, everything = network(mask_channel=True), torch.ones(1, 64, 64, dtype=torch.bool)
    mixed = mix(candidate("glasses-remover", net), images.images[0], everything, draw_noise(0, 2, UNITS), label=0)
    assert torch.equal(mixed.seen, images.images[0])
    assert torch.equal(mixed.raw, mixed.composite)
    expected = drawn(net, images.images[0], everything, draw_noise(0, 2, UNITS), torch.tensor([0]))
    assert_close(mixed.raw, expected, atol=1, rtol=0)


@pytest.mark.parametrize("mask_channel", [False, True])
def test_what_is_hidden_is_not_seen(images, hole, mask_channel):
    net, picture, noise = network(mask_channel=mask_channel), images.images[0], draw_noise(0, 2, UNITS)
    one, other = (mix(candidate(net=net), p, hole, noise, label=1) for p in (picture, picture.masked_fill(hole, 9)))
    assert torch.equal(one.composite, other.composite)
    assert_close(one.raw, drawn(net, picture, hole, noise, torch.tensor([1])), atol=1, rtol=0)


def test_more_samples_keep_the_first_ones():
    assert torch.equal(draw_noise(5, 3, UNITS), draw_noise(5, 16, UNITS)[:3])
    assert not torch.equal(draw_noise(5, 3, UNITS), draw_noise(6, 3, UNITS))


def test_l1_is_that_of_the_hole_and_the_judge_sees_what_is_shown(images, flipped, hole):
    judge, noise = Judge(Brightness(), 1, "Dark"), draw_noise(0, 2, UNITS)
    mixed = mix(candidate(), images.images[0], hole, noise, label=1, truth=flipped[0], judge=judge)
    truth, masks = (part[None].expand(2, -1, -1, -1) for part in (uint8_to_unit(flipped[0]), hole))
    assert_close(mixed.l1, metrics.hole_l1(uint8_to_unit(mixed.composite), truth, masks))
    for said, pictures in [(mixed.judged, mixed.composite), (mixed.judged_raw, mixed.raw)]:
        assert_close(said, (-3 * uint8_to_signed(pictures).mean((1, 2, 3))).sigmoid())
    assert not torch.equal(mixed.judged, mixed.judged_raw)
    assert mixed.told(raw=True)[1] == f"L1 {mixed.l1[1]:.3f} · Dark {100 * mixed.judged_raw[1]:.0f} %"
    count = int((mixed.judged >= 0.5).sum())
    assert mixed.summary().endswith(f" · mean L1 in the hole {mixed.l1.mean():.3f} · Dark {count} of 2")
    whole = mix(candidate(), images.images[0], torch.ones_like(hole), noise, label=1, truth=flipped[0])
    assert_close(whole.l1, metrics.l1(uint8_to_unit(whole.raw), truth))


def test_the_spread_is_the_standard_deviation_of_each_pixel(images, hole):
    mixed = mix(candidate(), images.images[0], hole, draw_noise(0, 5, UNITS), label=1)
    for raw in (False, True):
        values = uint8_to_unit(mixed.shown(raw)).numpy()
        np.testing.assert_allclose(mixed.spread(raw), np.sqrt(values.var(0, ddof=1).mean(0)), rtol=1e-4, atol=1e-6)
    assert mixed.spread()[~hole[0]].max() == 0
    assert replace(mixed, composite=mixed.composite[:1]).spread() is None


def test_errors_are_told_in_the_result(images, hole):
    noise, gone = draw_noise(0, 2, UNITS), network()
    failed = mix(candidate(net=network(Broken)), images.images[0], hole, noise, label=1)
    assert (len(failed.raw), failed.summary()) == (0, "ValueError: the weights are gone")
    assert torch.equal(failed.seen, images.images[0].masked_fill(hole, 128))
    gone.decoder[-1].bias.data.fill_(torch.nan)
    assert "not finite; check its weights" in mix(candidate(net=gone), images.images[0], hole, noise, label=1).trouble
    assert "needs Smiling from 0" in mix(candidate(), images.images[0], hole, noise).trouble
    judged = mix(candidate(), images.images[0], hole, noise, label=1, judge=Judge(BrokenJudge(), 0, "Smiling"))
    assert (len(judged.composite), judged.judged) == (2, None)
    assert judged.summary().endswith(" · the judge: ValueError: no verdict")


def test_holes_are_those_of_the_tasks():
    toys = faces.sample(0, torch.arange(2))
    landmarks = toys.landmarks
    known = ImageSet(toys.images, landmarks=landmarks, landmark_names=faces.LANDMARKS, name="toyfaces")
    for k in range(2):
        rows, columns = draw_hole(tasks.find("smiling"), known, k, 0)[0].nonzero().T
        middle = torch.stack([columns.float().mean(), rows.float().mean()])
        assert_close(middle, landmarks[k, 3:].mean(0) + torch.tensor([0.25, 3.5]), atol=1.5, rtol=0)
    there = draw_hole(tasks.find("smiling"), replace(known, name="celeba"), 1, 0)[0].nonzero()
    assert (there.amin(0).tolist(), there.amax(0).tolist()) == ([50, 21], [63, 44])
    assert draw_hole(tasks.find("glasses-remover"), known, 0, 0).all()
    for name, low, high in [("general", 0.02, 0.05), ("general-big", 0.08, 0.14)]:
        holes = [draw_hole(tasks.find(name), known, 0, seed) for seed in (0, 0, 1)]
        assert torch.equal(holes[0], holes[1])
        assert not torch.equal(holes[0], holes[2])
        assert low <= holes[2].float().mean() <= high


def test_networks_are_found_by_key_and_copied(data_dir):
    net, folder = network().train(), data_dir / "checkpoints" / "toyfaces"
    checkpoints.save_weights(network(), folder / "cvae-smiling", {"hyper_parameters": {"task": "smiling"}})
    found = candidates(["toyfaces/cvae-smiling", "again=toyfaces/cvae-smiling"], 64)
    assert [(name, c.task.name) for name, c in found.items()] == [("cvae-smiling", "smiling"), ("again", "smiling")]
    (copied,) = candidates({"mine": (net, "smiling")}, 64).values()
    with torch.no_grad():
        net.embedding.weight.zero_()
    assert copied.net.embedding.weight.abs().min() > 0
    assert (copied.net.training, net.training) == (False, True)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({}, "there is no network; give keys"),
        ({"a": (nn.Identity(), "smiling")}, "a is Identity; the mixer shows conditional VAEs"),
        ({"a": (network(classes=0), "smiling")}, r"a has classes=0; its task smiling has the label Smiling, classes=2"),
        ({"a": (network(), "general")}, "a has classes=2; its task general has no label"),
        ({"a": (network(classes=3), "smiling")}, "a has classes=3"),
        ({"a": (network(), "smile")}, "no such task; choose from general"),
        ({"a": network()}, r"a is ConditionalVAE; give a key of weights, a run, or a tuple \(network, task\)"),
        ({"a": (network(size=72), "smiling")}, "a was trained for pictures of 72x72; these are 64x64"),
        (["x/cvae", "y/cvae"], "two have the same name"),
    ],
)
def test_networks_are_checked(images, networks, message):
    with pytest.raises(ValueError, match=message):
        AttributeMixer(images, networks)


def test_weights_that_are_missing_are_told(images):
    with pytest.raises(FileNotFoundError, match="cvae-smiling"):
        AttributeMixer(images, "toyfaces/cvae-smiling")


def test_what_does_not_belong_together_is_refused(images, flipped):
    general, smiling = {"a": (network(classes=0), "general")}, {"a": (network(), "smiling")}
    both = {**smiling, "b": (network(), "glasses-remover")}
    bare = ImageSet(images.images)
    for given, networks, more, message in [
        (images.images, smiling, {}, r"images is Tensor; give an ImageSet, or wrap uint8 pictures: ImageSet\(images\)"),
        (images.take(slice(0, 0)), smiling, {}, "there is no picture"),
        (images, general, {"judge": Brightness()}, "no network has a label that could be judged"),
        (bare, smiling, {"judge": Brightness()}, "judge: images has no attribute Smiling"),
        (replace(images, attributes=images.attributes[:, :1], attribute_names=("Smiling",)), smiling,
         {"judge": Brightness()}, "judge tells 2 attributes, the set toyfaces has 1"),
        (images, general, {"counterfactuals": flipped}, "counterfactuals: of which label.*none"),
        (images, both, {"counterfactuals": flipped}, "of which label.*smiling, eyeglasses"),
        (images, smiling, {"counterfactuals": {"Hat": flipped}}, "counterfactuals of hat: the labels are smiling"),
        (bare, smiling, {"counterfactuals": flipped}, "images does not say which pictures have Smiling"),
        (images, smiling, {"counterfactuals": flipped[:1]}, r"torch.uint8 \(1, 3, 64, 64\); expected uint8 \(3, 3"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            AttributeMixer(given, networks, **more)


def test_it_begins_with_four_samples_of_the_first_picture(mixer, images):
    mixer.wait(20)
    settings = (mixer.picture, mixer.pictures, mixer.hole, mixer.samples, mixer.temperature, mixer.seed, mixer.raw)
    assert settings == (0, 3, "own", 4, 1.0, 0, False)
    assert mixer.labels == [{"key": "smiling", "name": "Smiling", "value": 1.0, "own": 0}]
    assert mixer.line == "picture 1 of 3 · Smiling yes · holes as trained · 4 samples at temperature 1, seed 0"
    assert statuses(mixer) == ["done", "done"]
    for k, row in enumerate(mixer.rows):
        content = getattr(mixer, f"row_{k}")
        assert (content["count"], content["told"]) == (4, [row.told(False), row.told(True)])
        assert torch.equal(pixels(content["seen"]), row.seen)
        for raw in (False, True):
            assert torch.equal(pixels(content["samples"][raw]), torch.cat(list(row.shown(raw)), 2))
            assert content["summary"][raw] == row.summary(raw)
            lightest = pixels(content["spread"][raw]).sum(0).flatten().argmax()
            assert row.spread(raw).flatten()[lightest] > 0.98 * row.spread(raw).max()


def test_all_networks_are_given_the_same(images):
    nets = {name: (network(), "smiling") for name in "ab"}
    mixer = AttributeMixer(images, nets)
    mixer.choose(hole="general-big", seed=5, smiling=0.5, samples=2)
    mixer.wait(20)
    one, other = mixer.rows
    assert torch.equal(one.composite, other.composite)
    assert torch.equal(
        one.seen, images.images[0].masked_fill(mixer._known.hole(mixer._candidates[0], mixer._wish), 128)
    )


def test_the_truth_goes_with_the_label(mixer, images, flipped):
    for picture, label, expected in [(0, 0, images.images), (0, 1, flipped), (1, 1, images.images), (1, 0, flipped)]:
        mixer.choose(picture=picture, smiling=label)
        mixer.wait(20)
        smiling, general = mixer.rows
        holes = [mixer._known.hole(one, mixer._wish) for one in mixer._candidates]
        for row, truth, hole in zip((smiling, general), (expected, images.images), holes, strict=True):
            wanted = uint8_to_unit(truth[picture])[None].expand(4, -1, -1, -1)
            l1 = metrics.hole_l1(uint8_to_unit(row.composite), wanted, hole[None].expand(4, -1, -1, -1))
            assert_close(row.l1, l1)
    mixer.choose(smiling=0.5)
    mixer.wait(20)
    assert [row.l1 is None for row in mixer.rows] == [True, False]


def test_without_attributes_counterfactuals_or_judge_less_is_told(images):
    mixer = AttributeMixer(ImageSet(images.images), {"a": (network(), "smiling")})
    mixer.wait(20)
    assert mixer.labels[0]["own"] is None
    assert (mixer.rows[0].l1, mixer.rows[0].judged) == (None, None)
    assert [(still["name"], still["told"]) for still in mixer.stills] == [("the picture", "")]


def test_stills_tell_label_and_verdict(mixer, images, flipped):
    mixer.choose(picture=1)
    said = [100 * Judge(Brightness(), 0, "")(some[1:2]).item() for some in (images.images, flipped)]
    expected = [("the picture", f"Smiling yes, judged {said[0]:.0f} %")]
    expected += [("Smiling flipped", f"Smiling no, judged {said[1]:.0f} %")]
    assert [(still["name"], still["told"]) for still in mixer.stills] == expected
    assert torch.equal(pixels(mixer.stills[0]["png"]), images.images[1])
    assert torch.equal(pixels(mixer.stills[1]["png"]), flipped[1])


def test_two_labels_and_the_glasses_remover(images, flipped):
    nets = {"s": (network(), "smiling"), "g": (network(), "glasses-remover"), "x": (network(classes=0), "general")}
    mixer = AttributeMixer(images, nets, judge=Brightness(), counterfactuals={"Eyeglasses": flipped})
    mixer.wait(20)
    assert [(one["key"], one["value"], one["own"]) for one in mixer.labels] == [("smiling", 1, 0), ("eyeglasses", 0, 1)]
    assert [row.attribute for row in mixer.rows] == ["Smiling", "Eyeglasses", "Smiling"]
    assert_close(mixer.rows[1].judged, 1 - Judge(Brightness(), 0, "")(mixer.rows[1].composite))
    assert torch.equal(mixer.rows[1].seen, images.images[0])
    assert [row.l1 is None for row in mixer.rows] == [True, False, False]
    before = [row.composite for row in mixer.rows]
    mixer.choose(Eyeglasses=True)
    mixer.wait(20)
    changed = [not torch.equal(row.composite, old) for row, old in zip(mixer.rows, before, strict=True)]
    assert changed == [False, True, False]


def test_holes_by_choice(mixer):
    assert mixer.placed  # of the network called general
    for hole, placed, told in [
        ("smiling", False, "hole of 336 pixels"),
        ("glasses-remover", False, "nothing hidden"),
        ("general", True, "hole of"),
    ]:
        mixer.choose(hole=hole)
        mixer.wait(20)
        assert mixer.placed is placed
        assert told in mixer.line
        assert torch.equal(mixer.rows[0].seen, mixer.rows[1].seen)
    before = mixer.rows[0].seen
    say(mixer, hole_seed="next")
    mixer.wait(20)
    assert not torch.equal(mixer.rows[0].seen, before)


def test_sampling_again_takes_the_next_seed(mixer):
    before = torch.get_rng_state()
    mixer.wait(20)
    first = mixer.rows[0].raw
    mixer.again()
    mixer.wait(20)
    assert (mixer.seed, torch.equal(mixer.rows[0].raw, first)) == (1, False)
    mixer.choose(seed=0, samples=2)
    mixer.wait(20)
    assert_close(mixer.rows[0].raw, first[:2], atol=1, rtol=0)
    assert torch.equal(torch.get_rng_state(), before)  # a notebook's own draws stay what they were


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"picture": 3}, "picture=3: there are pictures 0 to 2"),
        ({"picture": -1}, "picture=-1"),
        ({"hole": "ear"}, "hole='ear': choose from own, general"),
        ({"samples": 0}, "samples=0: from 1 to 16"),
        ({"samples": 17}, "samples=17"),
        ({"seed": -1}, "seed=-1: a whole number from 0"),
        ({"hole_seed": 2**64}, "hole_seed="),
        ({"temperature": 2.1}, r"temperature=2\.1: from 0, the mean, to 2; 1 is as trained"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"eyeglasses": 1}, "eyeglasses: the labels are smiling"),
        ({"smiling": 1.5}, r"smiling=1\.5: from 0 \(no\) to 1 \(yes\)"),
        ({"smiling": float("nan")}, "smiling=nan"),
    ],
)
def test_wrong_wishes_change_nothing(mixer, wrong, message):
    mixer.wait(20)
    before = mixer.get_state()
    with pytest.raises(ValueError, match=message):
        mixer.choose(**{"seed": 9, **wrong})
    assert mixer.get_state() == before
    say(mixer, number=8, **wrong)
    changed = {name for name, value in mixer.get_state().items() if before[name] != value}
    assert changed == {"trouble", "heard", "version"}
    assert mixer.heard == ["one", 8]
    assert mixer.trouble.startswith("ValueError: ")
    mixer.choose(seed=9)
    assert mixer.trouble == ""
    with pytest.raises(TypeError, match="integer"):
        mixer.choose(samples=2.0)


def test_landmarks_that_are_no_faces_are_told_and_change_nothing(images):
    cars = replace(images, landmarks=torch.zeros(COUNT, 2, 2), landmark_names=("a", "b"))
    with pytest.raises(ValueError, match="a mouth box needs five points"):
        AttributeMixer(cars, {"a": (network(), "smiling")})
    mixer = AttributeMixer(cars, {"a": (network(classes=0), "general")})
    say(mixer, hole="smiling")
    assert "a mouth box needs five points" in mixer.trouble
    assert mixer.hole == "own"


def test_what_is_drawn_late_never_replaces_what_is_newer(images, gate):
    mixer = AttributeMixer(images, {"gate": gate, "plain": (network(), "smiling")})
    assert Gate.begun.acquire(timeout=20)
    assert statuses(mixer) == ["running", "queued"]
    mixer.choose(samples=2)
    mixer.choose(samples=3)
    assert statuses(mixer) == ["queued", "queued"]
    Gate.turns.release()  # the first is ready now, and late
    assert Gate.begun.acquire(timeout=20)
    assert (mixer.rows, mixer.row_0) == ([], {})
    with pytest.raises(TimeoutError, match=r"gate, plain did not end within 0\.05 s"):
        mixer.wait(0.05)
    Gate.turns.release()
    mixer.wait(20)
    assert [len(row.raw) for row in mixer.rows] == [3, 3]
    assert not Gate.begun.acquire(blocking=False)  # two samples were never drawn


def test_controls_answer_while_a_network_draws_and_other_faces_go_at_once(images, gate):
    mixer = AttributeMixer(images, {"plain": (network(), "smiling"), "gate": gate})
    Gate.turns.release()
    mixer.wait(20)
    assert Gate.begun.acquire(timeout=20)
    say(mixer, samples=2)
    assert Gate.begun.acquire(timeout=20)
    assert (mixer.row_1["count"], statuses(mixer)) == (4, ["done", "running"])  # of the same face
    say(mixer, number=2, picture=2)
    assert (mixer.row_0, mixer.row_1) == ({}, {})
    assert mixer.line.startswith("picture 3 of 3")
    assert torch.equal(pixels(mixer.stills[0]["png"]), images.images[2])
    for _ in range(2):
        Gate.turns.release()
    mixer.wait(20)
    assert torch.equal(mixer.rows[1].composite[0].masked_fill(mixer.rows[1].seen == 128, 0)[:, :40],
                       images.images[2].masked_fill(mixer.rows[1].seen == 128, 0)[:, :40])  # fmt: skip


def test_many_wishes_from_several_sides_end_with_the_last(mixer):
    def wish(first):
        for k in range(first, 40, 3):
            mixer.choose(smiling=k / 40, samples=1 + k % 16)
            time.sleep(0.001)

    hands = [threading.Thread(target=wish, args=(first,)) for first in range(3)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(20)
    mixer.wait(20)
    label, count = mixer.labels[0]["value"], mixer.samples
    assert round(40 * label) % 16 + 1 == count
    picture, noise = mixer._known.images.images[0], draw_noise(0, count, UNITS)
    for k, (row, one) in enumerate(zip(mixer.rows, mixer._candidates, strict=True)):
        expected = mix(one, picture, mixer._known.hole(one, mixer._wish), noise, label=label)
        assert torch.equal(row.raw, expected.raw)
        assert getattr(mixer, f"row_{k}")["count"] == count


def test_threads_end_when_there_is_nothing_to_do(mixer):
    mixer.wait(20)
    for thread in threading.enumerate():
        if thread.name == "lane":
            thread.join(5)
            assert not thread.is_alive()


def test_one_that_fails_says_so_in_its_own_row(images):
    mixer = AttributeMixer(images, {"broken": (network(Broken), "smiling"), "fine": (network(), "smiling")})
    mixer.wait(20)
    assert mixer.states == [["failed", "ValueError: the weights are gone"], ["done", ""]]
    assert (mixer.row_0["count"], mixer.trouble) == (0, "")
    assert torch.equal(pixels(mixer.row_0["seen"]), mixer.rows[0].seen)


def test_each_answer_brings_only_what_is_new(mixer, monkeypatch):
    mixer.wait(20)
    sent = listen(mixer, monkeypatch)
    say(mixer, smiling=0.5)
    mixer.wait(20)
    first, *others = [set(message["state"]) for message, _ in sent]
    assert first == {"heard", "labels", "line", "states", "version"}
    assert others[:2] == [{"states", "version"}] * 2 or others[0] == {"states", "version"}
    assert {"row_0", "row_1"} <= set().union(*others)
    assert not {"stills", "holes", "picture"} & set().union(*others)
    sent.clear()
    say(mixer, picture=1)
    assert {("stills", 0, "png"), ("stills", 1, "png")} <= {tuple(path) for path in sent[0][0]["buffer_paths"]}


def test_the_state_is_small(images):
    mixer = AttributeMixer(images, {"a": (network(), "smiling")})  # noise: nothing takes more room
    mixer.choose(samples=16)
    mixer.wait(20)
    content = mixer.row_0
    assert sum(map(len, [content["seen"], *content["samples"], *content["spread"]])) < 700_000


def test_the_figure_is_that_of_the_state(mixer, images, tmp_path, monkeypatch):
    mixer.choose(samples=2, hole="general")
    figure = mixer.figure()  # waits
    titles = ["the picture", "Smiling flipped", *["what it sees", "sample 1", "sample 2", "spread"] * 2]
    assert [ax.get_title() for ax in figure.axes] == titles
    assert figure.get_suptitle().replace("\n", " ") == mixer.line
    shown = [torch.from_numpy(np.array(ax.images[0].get_array())).permute(2, 0, 1) for ax in figure.axes]
    assert torch.equal(shown[0], images.images[0])
    for row, start in zip(mixer.rows, (2, 6), strict=True):
        assert torch.equal(torch.stack(shown[start : start + 3]), torch.stack([row.seen, *row.composite]))
        told = [ax.get_xlabel() for ax in figure.axes[start + 1 : start + 3]]
        assert told == [text.replace(" · ", "\n") for text in row.told()]
    mixer.raw = True
    raw = mixer.figure()
    assert raw.get_suptitle().endswith("raw output")
    assert torch.equal(
        torch.from_numpy(np.array(raw.axes[3].images[0].get_array())).permute(2, 0, 1), mixer.rows[0].raw[0]
    )
    mixer.export(tmp_path / "figure.png")
    sent = listen(mixer, monkeypatch)
    mixer._handle_custom_msg({"do": "export", "view": "one"}, [])
    ((_, (png,)),) = sent
    with Image.open(tmp_path / "figure.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(Image.open(io.BytesIO(png))))


def test_an_export_from_the_browser_shows_what_is_there(images, gate, monkeypatch):
    mixer = AttributeMixer(images, {"plain": (network(), "smiling"), "gate": gate})
    assert Gate.begun.acquire(timeout=20)
    sent = listen(mixer, monkeypatch)
    mixer._handle_custom_msg({"do": "export", "view": "one"}, [])  # the kernel does not wait for the gate
    assert sent[-1][0]["content"] == {"do": "download", "view": "one"}
    Gate.turns.release()
    mixer.wait(20)


def test_figures_go_over_several_lines_and_show_messages(images):
    picture, many = images.images[0], torch.zeros(16, 3, 64, 64, dtype=torch.uint8)
    rows = [Mixed("a", picture, many, many, 0.01), Mixed("b", picture, many[:0], many[:0], 0.0, trouble="gone " * 40)]
    figure = mixed_figure({"the picture": picture}, rows, told=["Smiling no, judged 3 %"], title="a title")
    assert len(figure.axes) == 1 + 18 + 1
    lines = {ax.get_subplotspec().rowspan.start for ax in figure.axes[1:19]}
    assert lines == {0, 1, 2}
    assert "gone" in figure.subfigs[2].get_suptitle()
    assert figure.axes[18].get_xlabel() == "all are the same"
    with pytest.raises(ValueError, match="there is no picture"):
        mixed_figure({}, rows)


def test_its_name_is_stable(mixer):
    assert repr(mixer) == "AttributeMixer()"


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "mixer.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "mixer.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)
