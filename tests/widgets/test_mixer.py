import io
import shutil
import subprocess
import threading
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
from nblib.widgets import AttributeMixer, Mixed, Still, mix, mixed_figure
from nblib.widgets.mixing import Judge, candidate, draw_hole, draw_noise

ROOT = Path(__file__).resolve().parents[2]
COUNT, UNITS = 3, 4


class Counted(ConditionalVAE):
    """A network that counts how often it is asked; the class counts, since networks are copied."""

    def decode(self, z, labels=None):
        Counted.asked += 1
        return super().decode(z, labels)


class Brightness(nn.Module):
    """A judge whose first attribute is brightness, the second its opposite."""

    def __init__(self):
        super().__init__()
        self.attributes, self.scale = 2, nn.Parameter(torch.tensor(3.0))

    def forward(self, images):
        logit = self.scale * images.mean((1, 2, 3))
        return torch.stack([logit, -logit], 1)


def network(kind=ConditionalVAE, **arguments):
    """Return a network whose samples differ, from level to level and from label to label."""
    torch.manual_seed(7)
    net = kind(width=2, latent_dim=UNITS, **arguments).eval()
    nn.init.normal_(net.dense.weight, std=10.0)
    nn.init.normal_(net.mu.weight, std=1.0)
    return net


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
    return AttributeMixer(images, nets, judge=Brightness(), counterfactuals={"Smiling": flipped})


@pytest.fixture
def hole(images):
    return draw_hole(tasks.find("smiling"), images, 0, 0)


def pixels(png):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)))).permute(2, 0, 1)


def shown(row):
    """Return the samples of a row as they were sent."""
    return torch.stack([pixels(png) for png in row["samples"]])


def drawn_by(ax):
    return torch.from_numpy(np.array(ax.images[0].get_array())).permute(2, 0, 1)


def say(mixer, **wish):
    """Say what the browser says."""
    mixer._handle_custom_msg({"do": "choose", **wish}, [])


@pytest.fixture
def sent(mixer, monkeypatch):
    """What the mixer sends from now on: pairs of message and buffers."""
    found = []
    monkeypatch.setattr(mixer, "_send", lambda message, buffers=None: found.append((message, buffers)))
    return found


@torch.no_grad()
def drawn(net, picture, hole, noise, labels=None, temperature=1.0):
    """Return what a network draws, one sample after the other, by its plain methods."""
    mu, logvar = net.encode(uint8_to_signed(picture)[None], None if hole is None else hole[None])
    codes = [mu + temperature * (0.5 * logvar).exp() * row for row in noise]
    return torch.cat([signed_to_uint8(net.decode(z, labels)) for z in codes])


@pytest.mark.parametrize("label", [0, 1])
def test_samples_are_the_networks_own_and_known_pixels_stay(images, hole, label):
    net, picture, noise = network(), images.images[0], draw_noise(3, 4, UNITS)
    pasted, raw = (mix("a", net, picture, hole, noise, label=label, raw=raw) for raw in (False, True))
    assert_close(raw.pictures, drawn(net, picture, hole, noise, torch.tensor([label])), atol=1, rtol=0)
    known = picture.masked_fill(hole, 0).expand(4, -1, -1, -1)
    assert torch.equal(pasted.pictures.masked_fill(hole, 0), known)
    assert torch.equal(pasted.pictures.masked_fill(~hole, 0), raw.pictures.masked_fill(~hole, 0))
    assert torch.equal(pasted.seen, picture.masked_fill(hole, 128))
    assert len(pasted.pictures.unique(dim=0)) == 4
    other = mix("a", net, picture, hole, noise, label=1 - label)
    assert not torch.equal(pasted.pictures, other.pictures)


def test_a_label_between_mixes_the_embeddings_linearly(images, hole):
    net, picture, noise = network(), images.images[0], draw_noise(3, 2, UNITS)
    mixed = mix("a", net, picture, hole, noise, label=0.25, raw=True)
    no, yes = net.embedding.weight.detach()
    with torch.no_grad():
        net.embedding.weight[0] = 0.75 * no + 0.25 * yes
    assert_close(mixed.pictures, drawn(net, picture, hole, noise, torch.tensor([0])), atol=1, rtol=0)


def test_temperature_0_is_the_mean_and_1_what_was_trained(images, hole):
    net, picture, noise = network(), images.images[1], draw_noise(0, 3, UNITS)
    asked = [mix("a", net, picture, hole, noise, label=1, temperature=t, raw=True) for t in (0, 1, 2)]
    image, told = uint8_to_signed(picture)[None].expand(3, -1, -1, -1), torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        mean = signed_to_uint8(net.decode(net.encode(image, hole[None])[0], told))
        trained = signed_to_uint8(net(image, hole[None], told, noise).images())
    cold, own, hot = asked
    assert_close(cold.pictures, mean, atol=1, rtol=0)
    assert_close(own.pictures, trained, atol=1, rtol=0)
    assert cold.spread.max() < 0.005 < own.spread.max() < hot.spread.max()


def test_without_a_hole_nothing_is_hidden_and_all_is_drawn(images, flipped):
    net, picture, noise = network(mask_channel=True), images.images[0], draw_noise(0, 2, UNITS)
    mixed = mix("a", net, picture, None, noise, label=0, truth=flipped[0])
    assert torch.equal(mixed.seen, picture)
    assert_close(mixed.pictures, drawn(net, picture, None, noise, torch.tensor([0])), atol=1, rtol=0)
    assert_close(mixed.l1, metrics.l1(uint8_to_unit(mixed.pictures), uint8_to_unit(flipped[:1]).expand(2, -1, -1, -1)))


@pytest.mark.parametrize("mask_channel", [False, True])
def test_what_is_hidden_is_not_seen(images, hole, mask_channel):
    net, picture, noise = network(mask_channel=mask_channel), images.images[0], draw_noise(0, 2, UNITS)
    one, other = (mix("a", net, p, hole, noise, label=1) for p in (picture, picture.masked_fill(hole, 9)))
    assert torch.equal(one.pictures, other.pictures)


def test_more_samples_keep_the_first_ones():
    assert torch.equal(draw_noise(5, 3, UNITS), draw_noise(5, 16, UNITS)[:3])
    assert not torch.equal(draw_noise(5, 3, UNITS), draw_noise(6, 3, UNITS))


@pytest.mark.parametrize("raw", [False, True])
def test_l1_is_that_of_the_hole_and_the_judge_sees_what_is_shown(images, flipped, hole, raw):
    judges, noise = [Judge(Brightness(), 1, "Dark"), Judge(Brightness(), 0, "Light")], draw_noise(0, 2, UNITS)
    mixed = mix("a", network(), images.images[0], hole, noise, label=1, truth=flipped[0], judges=judges, raw=raw)
    truth, masks = (part[None].expand(2, -1, -1, -1) for part in (uint8_to_unit(flipped[0]), hole))
    assert_close(mixed.l1, metrics.hole_l1(uint8_to_unit(mixed.pictures), truth, masks))
    dark = (-3 * uint8_to_signed(mixed.pictures).mean((1, 2, 3))).sigmoid()
    assert_close(mixed.judged, {"Dark": dark, "Light": 1 - dark})
    assert mixed.told[1] == f"L1 {mixed.l1[1]:.3f} · Dark {100 * dark[1]:.0f} % · Light {100 * (1 - dark[1]):.0f} %"
    count = int((dark >= 0.5).sum())
    assert mixed.summary == f"mean L1 {mixed.l1.mean():.3f} · Dark {count} of 2 · Light {2 - count} of 2"
    bare = replace(mixed, l1=None, judged={})
    assert (bare.told, bare.summary) == (["", ""], "")


def test_the_spread_is_the_standard_deviation_of_each_pixel(images, hole):
    mixed = mix("a", network(), images.images[0], hole, draw_noise(0, 5, UNITS), label=1)
    values = uint8_to_unit(mixed.pictures).numpy()
    np.testing.assert_allclose(mixed.spread, np.sqrt(values.var(0, ddof=1).mean(0)), rtol=1e-4, atol=1e-6)
    assert mixed.spread[~hole[0]].max() == 0
    assert replace(mixed, pictures=mixed.pictures[:1]).spread is None


def test_holes_are_those_of_the_tasks():
    toys = faces.sample(0, torch.arange(2))
    landmarks = toys.landmarks
    known = ImageSet(toys.images, landmarks=landmarks, landmark_names=faces.LANDMARKS, name="toyfaces")
    for k in range(2):
        rows, columns = draw_hole(tasks.find("smiling"), known, k, 0)[0].nonzero().T
        middle = torch.stack([columns.float().mean(), rows.float().mean()])
        assert_close(middle, landmarks[k, 3:].mean(0) + torch.tensor([-0.25, -0.5]), atol=1.5, rtol=0)
    there = draw_hole(tasks.find("smiling"), replace(known, name="celeba"), 1, 0)[0].nonzero()
    assert (there.amin(0).tolist(), there.amax(0).tolist()) == ([50, 21], [63, 44])
    assert draw_hole(tasks.find("glasses-remover"), known, 0, 0) is None
    for name, low, high in [("general", 0.02, 0.05), ("general-big", 0.08, 0.14)]:
        holes = [draw_hole(tasks.find(name), known, 0, seed) for seed in (0, 0, 1)]
        assert torch.equal(holes[0], holes[1])
        assert not torch.equal(holes[0], holes[2])
        assert low <= holes[2].float().mean() <= high


def test_networks_are_found_by_key_and_copied(data_dir):
    net, folder = network().train(), data_dir / "checkpoints" / "toyfaces"
    checkpoints.save_weights(network(), folder / "cvae-smiling", {"hyper_parameters": {"task": "smiling"}})
    found = candidate("mine", "toyfaces/cvae-smiling", 64)
    assert (found.name, found.task.name, found.net.training) == ("mine", "smiling", False)
    copied = candidate("mine", (net, "smiling"), 64)
    with torch.no_grad():
        net.embedding.weight.zero_()
    assert copied.net.embedding.weight.abs().min() > 0
    assert (copied.net.training, net.training) == (False, True)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({}, "there is no network; give some"),
        ({"a": (nn.Identity(), "smiling")}, "a is Identity; the mixer shows conditional VAEs"),
        ({"a": (network(classes=0), "smiling")}, r"a has classes=0; its task smiling has the label Smiling, classes=2"),
        ({"a": (network(), "general")}, "a has classes=2; its task general has no label"),
        ({"a": (network(classes=3), "smiling")}, "a has classes=3"),
        ({"a": (network(), "smile")}, "no such task; choose from general"),
        ({"a": network()}, r"a is ConditionalVAE; give a key of weights, a run, or a tuple \(network, task\)"),
        ({"a": (network(size=72), "smiling")}, "a was trained for pictures of 72x72; these are 64x64"),
    ],
)
def test_networks_are_checked(images, networks, message):
    with pytest.raises(ValueError, match=message):
        AttributeMixer(images, networks)


def test_weights_that_are_missing_or_gone_are_told(images):
    with pytest.raises(FileNotFoundError, match="toyfaces/none"):
        AttributeMixer(images, {"a": "toyfaces/none"})
    gone = network()
    gone.decoder[-1].bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="b drew values that are not finite; check its weights"):
        AttributeMixer(images, {"a": (network(), "smiling"), "b": (gone, "smiling")})


def test_what_does_not_belong_together_is_refused(images, flipped):
    general, smiling = {"a": (network(classes=0), "general")}, {"a": (network(), "smiling")}
    bare, one = (
        ImageSet(images.images),
        replace(images, attributes=images.attributes[:, :1], attribute_names=("Smiling",)),
    )
    for given, networks, more, message in [
        (images.images, smiling, {}, r"images is Tensor; give an ImageSet, or wrap uint8 pictures: ImageSet\(images\)"),
        (images.take(slice(0, 0)), smiling, {}, "there is no picture"),
        (images, general, {"judge": Brightness()}, "no network has a label that could be judged"),
        (bare, smiling, {"judge": Brightness()}, "judge: images has no attribute Smiling"),
        (one, smiling, {"judge": Brightness()}, "judge tells 2 attributes, the set toyfaces has 1"),
        (images, smiling, {"counterfactuals": {"Hat": flipped}}, "counterfactuals of hat: the labels are smiling"),
        (bare, smiling, {"counterfactuals": {"Smiling": flipped}}, "images does not say which pictures have Smiling"),
        (images, smiling, {"counterfactuals": {"Smiling": flipped[:1]}},
         r"torch.uint8 \(1, 3, 64, 64\); expected uint8 \(3, 3"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            AttributeMixer(given, networks, **more)


def test_it_begins_with_four_samples_of_the_first_picture(mixer):
    settings = (mixer.picture, mixer.pictures, mixer.hole, mixer.samples, mixer.temperature, mixer.seed, mixer.raw)
    assert settings == (0, 3, "own", 4, 1.0, 0, False)
    assert (mixer.attributes, mixer.labels) == ({"smiling": "Smiling"}, {"smiling": 1.0})
    assert mixer.line == "picture 1 of 3 · Smiling yes · holes as trained · 4 samples at temperature 1, seed 0"
    for raw in (False, True):
        mixer.choose(raw=raw)
        for k, row in enumerate(mixer.rows):
            content = getattr(mixer, f"row_{k}")
            assert (content["told"], content["summary"]) == (row.told, row.summary)
            assert torch.equal(pixels(content["seen"]), row.seen)
            assert torch.equal(shown(content), row.pictures)
            lightest = pixels(content["spread"]).sum(0).flatten().argmax()
            assert row.spread.flatten()[lightest] > 0.98 * row.spread.max()


def test_all_networks_are_given_the_same(images):
    mixer = AttributeMixer(images, {name: (network(), "smiling") for name in "ab"})
    mixer.choose(hole="general-big", seed=5, smiling=0.5, samples=2)
    one, other = mixer.rows
    assert torch.equal(one.pictures, other.pictures)
    hole = draw_hole(tasks.find("general-big"), images, 0, 0)
    assert torch.equal(one.seen, images.images[0].masked_fill(hole, 128))


def test_the_truth_goes_with_the_label(mixer, images, flipped):
    for picture, label, expected in [(0, 0, images.images), (0, 1, flipped), (1, 1, images.images), (1, 0, flipped)]:
        mixer.choose(picture=picture, smiling=label)
        for row, task, truth in zip(mixer.rows, ("smiling", "general"), (expected, images.images), strict=True):
            hole = draw_hole(tasks.find(task), images, picture, 0)
            wanted = uint8_to_unit(truth[picture])[None].expand(4, -1, -1, -1)
            l1 = metrics.hole_l1(uint8_to_unit(row.pictures), wanted, hole[None].expand(4, -1, -1, -1))
            assert_close(row.l1, l1)
    mixer.choose(smiling=0.5)
    assert [row.l1 is None for row in mixer.rows] == [True, False]


def test_without_attributes_counterfactuals_or_judge_less_is_told(images):
    mixer = AttributeMixer(ImageSet(images.images), {"a": (network(), "smiling")})
    assert (mixer.rows[0].l1, mixer.rows[0].judged) == (None, {})
    assert [(still["name"], still["told"]) for still in mixer.stills] == [("the picture", "")]


def test_stills_tell_label_and_verdict(mixer, images, flipped):
    mixer.choose(picture=1)
    said = [100 * Judge(Brightness(), 0, "")(some[1:2]).item() for some in (images.images, flipped)]
    expected = [("the picture", f"Smiling yes · judged {said[0]:.0f} %")]
    expected += [("Smiling flipped", f"Smiling no · judged {said[1]:.0f} %")]
    assert [(still["name"], still["told"]) for still in mixer.stills] == expected
    assert torch.equal(pixels(mixer.stills[0]["png"]), images.images[1])
    assert torch.equal(pixels(mixer.stills[1]["png"]), flipped[1])


def test_two_labels_and_the_glasses_remover(images, flipped):
    nets = {"s": (network(), "smiling"), "g": (network(), "glasses-remover"), "x": (network(classes=0), "general")}
    mixer = AttributeMixer(images, nets, judge=Brightness(), counterfactuals={"Eyeglasses": flipped})
    assert mixer.labels == {"smiling": 1, "eyeglasses": 0}
    assert [list(row.judged) for row in mixer.rows] == [["Smiling"], ["Eyeglasses"], ["Smiling", "Eyeglasses"]]
    for row in mixer.rows[1:]:
        assert_close(row.judged["Eyeglasses"], 1 - Judge(Brightness(), 0, "")(row.pictures))
    assert torch.equal(mixer.rows[1].seen, images.images[0])
    assert [row.l1 is None for row in mixer.rows] == [True, False, False]
    before = [row.pictures for row in mixer.rows]
    mixer.choose(Eyeglasses=True)
    changed = [not torch.equal(row.pictures, old) for row, old in zip(mixer.rows, before, strict=True)]
    assert changed == [False, True, False]


def test_holes_by_choice(mixer):
    assert {one["key"]: one["placed"] for one in mixer.holes} == {
        "own": True, "general": True, "general-big": True,
        "smiling": False, "smiling-wide": False, "glasses-remover": False,
    }  # fmt: skip
    for hole, told in [("smiling", "mouth box"), ("glasses-remover", "nothing hidden"), ("general", "small rectangle")]:
        mixer.choose(hole=hole)
        assert told in mixer.line
        assert torch.equal(mixer.rows[0].seen, mixer.rows[1].seen)
    before = mixer.rows[0].seen
    say(mixer, hole_seed=1)
    assert not torch.equal(mixer.rows[0].seen, before)


def test_seeds_decide_and_leave_the_notebooks_own_draws_alone(mixer):
    before, first = torch.get_rng_state(), mixer.rows[0].pictures
    mixer.choose(seed=1)
    assert not torch.equal(mixer.rows[0].pictures, first)
    mixer.choose(seed=0, samples=2)
    assert_close(mixer.rows[0].pictures, first[:2], atol=1, rtol=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"picture": 3}, "picture=3: from 0 to 2"),
        ({"picture": -1}, "picture=-1"),
        ({"hole": "ear"}, "hole='ear': choose from own, general"),
        ({"samples": 0}, "samples=0: from 1 to 16"),
        ({"samples": 17}, "samples=17"),
        ({"seed": -1}, "seed=-1: from 0"),
        ({"hole_seed": 2**64}, "hole_seed="),
        ({"temperature": 2.1}, r"temperature=2\.1: from 0 to 2"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"eyeglasses": 1}, "eyeglasses: the labels are smiling"),
        ({"smiling": 1.5}, r"smiling=1\.5: from 0 to 1"),
        ({"smiling": float("nan")}, "smiling=nan"),
    ],
)
def test_wrong_wishes_change_nothing(mixer, wrong, message):
    before, rows = mixer.get_state(), mixer.rows
    with pytest.raises(ValueError, match=message):
        mixer.choose(**{"seed": 9, **wrong})
    assert mixer.get_state() == before
    assert mixer.rows is rows
    say(mixer, **wrong)
    changed = {name for name, value in mixer.get_state().items() if before[name] != value}
    assert changed == {"trouble", "version"}
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


def test_many_wishes_from_several_sides_end_with_the_last(mixer, images):
    def wish(first):
        for k in range(first, 40, 3):
            mixer.choose(smiling=k / 40, samples=1 + k % 16)

    hands = [threading.Thread(target=wish, args=(first,)) for first in range(3)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    label, count = mixer.labels["smiling"], mixer.samples
    assert round(40 * label) % 16 + 1 == count
    hole = draw_hole(tasks.find("smiling"), images, 0, 0)
    expected = mix("a", network(), images.images[0], hole, draw_noise(0, count, UNITS), label=label)
    assert torch.equal(mixer.rows[0].pictures, expected.pictures)
    assert torch.equal(shown(mixer.row_0), expected.pictures)


def test_each_answer_is_one_message_that_brings_only_what_is_new(mixer, sent):
    for wish, expected in [
        ({"smiling": 0.5}, {"labels", "line", "row_0"}),  # the other network has no label
        ({"smiling": 0.5}, set()),
        ({"hole_seed": 1}, {"hole_seed", "row_1"}),  # mouths stay where they are
        ({"raw": True}, {"raw", "line", "row_0", "row_1"}),
        ({"picture": 1}, {"picture", "line", "stills", "row_0", "row_1"}),
    ]:
        say(mixer, **wish)
        ((message, _),) = sent
        assert set(message["state"]) == expected | {"version"}
        sent.clear()


def test_a_network_that_is_asked_the_same_does_not_draw_again(images):
    Counted.asked = 0
    nets = {"smiling": (network(Counted), "smiling"), "general": (network(Counted, classes=0), "general")}
    mixer = AttributeMixer(images, nets)
    for wish, asked in [({}, 2), ({"smiling": 0}, 3), ({"smiling": 1}, 3), ({"hole_seed": 1}, 4), ({"seed": 1}, 6)]:
        mixer.choose(**wish)
        assert Counted.asked == asked


def test_no_thread_is_left_behind(images):
    """One that computes while Python ends would abort it."""
    before = set(threading.enumerate())
    AttributeMixer(images, {"a": (network(), "smiling")}).choose(samples=16)
    assert set(threading.enumerate()) <= before


def test_the_state_is_small(images):
    mixer = AttributeMixer(images, {"a": (network(), "smiling")})  # noise: nothing takes more room
    mixer.choose(samples=16, raw=True)
    content = mixer.row_0
    assert sum(map(len, [content["seen"], *content["samples"], content["spread"]])) < 350_000


def test_the_figure_is_that_of_the_state(mixer, images, tmp_path, sent):
    mixer.choose(samples=2, hole="general")
    figure = mixer.figure()
    titles = ["the picture", "Smiling flipped", *["what it sees", "sample 1", "sample 2", "spread"] * 2]
    assert [ax.get_title() for ax in figure.axes] == titles
    heads = [part.get_suptitle().replace("\n", " ") for part in figure.subfigs]
    assert heads == [mixer.line, *(f"{row.name}: {row.summary}" for row in mixer.rows)]
    assert torch.equal(drawn_by(figure.axes[0]), images.images[0])
    for row, start in zip(mixer.rows, (2, 6), strict=True):
        found = torch.stack([drawn_by(ax) for ax in figure.axes[start : start + 3]])
        assert torch.equal(found, torch.stack([row.seen, *row.pictures]))
        told = [ax.get_xlabel() for ax in figure.axes[start + 1 : start + 3]]
        assert told == [text.replace(" · ", "\n") for text in row.told]
    mixer.export(tmp_path / "figure.png")
    sent.clear()
    mixer._handle_custom_msg({"do": "export", "view": "one"}, [])
    (message, (png,)) = sent[0]
    assert message["content"] == {"do": "download", "view": "one"}
    with Image.open(tmp_path / "figure.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(Image.open(io.BytesIO(png))))


def test_figures_go_over_several_lines(images):
    picture, many = images.images[0], torch.zeros(16, 3, 64, 64, dtype=torch.uint8)
    figure = mixed_figure(
        [Still("the picture", "Smiling no", picture)], [Mixed("a", picture, many)], title="long " * 40
    )
    assert len(figure.axes) == 1 + 18
    assert {ax.get_subplotspec().rowspan.start for ax in figure.axes[1:]} == {0, 1, 2}
    assert figure.axes[0].get_xlabel() == "Smiling no"
    assert figure.axes[18].get_xlabel() == "all are the same"
    assert "\n" in figure.subfigs[0].get_suptitle()


def test_its_name_is_stable(mixer):
    assert repr(mixer) == "AttributeMixer()"


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "mixer.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "mixer.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)
