import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nblib import attention
from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.layers import SelfAttention2d
from nblib.networks import dcgan
from nblib.networks.sagan import Discriminator, Generator, Stem
from nblib.widgets import AttentionExplorer, explorer, look

ROOT = Path(__file__).resolve().parents[2]


def lively(net, factor=10.0):
    """Make a network's maps differ from uniform ones, which its start values give."""
    with torch.no_grad():
        for conv in (net.attention.query, net.attention.key):
            nn.utils.parametrize.remove_parametrizations(conv, "weight")
            conv.weight.mul_(factor)
        net.attention.gamma.fill_(0.5)
    return net


@pytest.fixture(scope="module")
def images():
    return torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def stems():
    torch.manual_seed(0)
    return {step: lively(Stem(width=8), 20 + step / 50) for step in (1000, 0, 500)}


@pytest.fixture(scope="module")
def drawing():
    torch.manual_seed(0)
    return lively(Generator(width=8), 3000.0), torch.randn(2, 128)


@pytest.fixture
def shown(images, stems, drawing):
    return AttentionExplorer(images, {"D": stems, "G": drawing})


def sent_maps(widget):
    return np.frombuffer(widget.maps, "<f4").reshape(-1, *widget.map_size)


def ask(widget, **content):
    """Say what the browser says."""
    known = {name: getattr(widget, name) for name in ("choice", "step", "picture", "queries")}
    widget._handle_custom_msg({"do": "show", **known, **content}, [])


def test_it_starts_with_the_last_snapshot_and_a_query_in_the_middle(shown):
    assert [choice["name"] for choice in shown.choices] == ["D · attention", "G · attention"]
    assert [choice["steps"] for choice in shown.choices] == [[0, 500, 1000], [0]]
    assert (shown.choice, shown.step, shown.picture, shown.pictures) == (0, 1000, 0, 4)
    assert shown.queries == [{"row": 32, "column": 32, "region": None}]
    assert shown.line == "D · attention · step 1,000 · gamma 0.500 · picture 1 of 4"


def test_a_click_shows_the_pixels_map(shown, images, stems):
    before = shown.version
    shown.select(41, 12)
    maps = attention.record(stems[1000], uint8_to_signed(images))["attention"]
    np.testing.assert_allclose(sent_maps(shown)[0], 256 * maps[0, 20, 6].numpy(), rtol=1e-5)
    assert shown.told == [["query 1: row 41, column 12", *look(maps[0], (41, 12), (64, 64)).measures]]
    assert shown.grid == [32, 32]
    assert shown.version == before + 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.png))), images[0].permute(1, 2, 0))


def test_a_brushed_region_shows_its_average_map(shown, images, stems):
    region = np.zeros((64, 64), bool)
    region[30:41, 7:12] = True
    shown.brush(region)
    maps = attention.record(stems[1000], uint8_to_signed(images[:1]))["attention"]
    np.testing.assert_allclose(sent_maps(shown)[0], 256 * attention.over(maps, region)[0].numpy(), rtol=1e-4)
    assert shown.told[0][0] == "query 1: 55 pixels"
    assert shown.queries[0] == {"row": 35, "column": 9, "region": np.flatnonzero(region).tolist()}
    shown.brush(torch.from_numpy(region), query=2)
    np.testing.assert_array_equal(*sent_maps(shown))


def test_two_queries_stand_side_by_side(shown):
    shown.select(10, 10)
    shown.select(50, 50, query=2)
    alone = sent_maps(shown)
    assert [told[0] for told in shown.told] == ["query 1: row 10, column 10", "query 2: row 50, column 50"]
    assert (alone[0] != alone[1]).any()
    shown.select(50, 50)
    np.testing.assert_array_equal(sent_maps(shown)[0], alone[1])
    shown.remove()
    assert len(shown.queries) == len(shown.told) == len(sent_maps(shown)) == 1


def test_going_through_the_training_keeps_the_queries(shown, images, stems):
    shown.select(20, 30)
    seen = {}
    for step in (0, 500, 1000):
        shown.choose(step=step, picture=2)
        maps = attention.record(stems[step], uint8_to_signed(images[2:3]))["attention"]
        np.testing.assert_allclose(sent_maps(shown)[0], 256 * maps[0, 10, 15].numpy(), rtol=1e-5)
        assert shown.line == f"D · attention · step {step:,} · gamma 0.500 · picture 3 of 4"
        seen[step] = sent_maps(shown)
    assert (seen[0] != seen[1000]).any()


def test_a_generators_pictures_are_its_own(shown, drawing):
    G, z = drawing
    shown.choose(picture=3)
    shown.choose(network="G")
    assert (shown.choice, shown.step, shown.picture, shown.pictures) == (1, 0, 1, 2)  # the nearest it has
    with torch.no_grad():
        expected = signed_to_uint8(G.eval()(z[1:]))[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.png))), expected.permute(1, 2, 0))
    maps = attention.record(G, z[1:])["attention"]
    np.testing.assert_allclose(sent_maps(shown)[0], 256 * maps[0, 16, 16].numpy(), rtol=1e-4)
    shown.choose(network="D", step=500)
    assert (shown.step, shown.picture) == (500, 1)


def test_every_layer_can_be_chosen(images):
    net = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), SelfAttention2d(16), nn.Conv2d(16, 16, 4, 2, 1), SelfAttention2d(16))
    widget = AttentionExplorer(images, {"net": net, "D": Discriminator(width=8)})
    assert [choice["name"] for choice in widget.choices] == ["net · 1", "net · 3", "D · stem.attention"]
    widget.choose(layer="3")
    assert (widget.choice, widget.grid, widget.map_size) == (1, [16, 16], [8, 8])
    assert widget.line == "net · 3 · gamma 0, so without effect · picture 1 of 4"
    widget.choose(picture=2)
    assert widget.choice == 1
    widget.choose(network="D")
    assert (widget.choice, widget.grid) == (2, [32, 32])


def test_queries_move_along_to_pictures_of_another_size(images):
    photo = torch.zeros(1, 3, 96, 128)
    net = Stem(width=8)

    class Photo(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = net

        def forward(self, x):
            self.stem(x)
            return x

    widget = AttentionExplorer(images, {"D": net, "photo": (Photo(), photo)})
    widget.select(32, 63)
    widget.brush(np.eye(64, dtype=bool), query=2)
    widget.choose(network="photo")
    assert widget.size == [96, 128]
    assert widget.queries == [{"row": 48, "column": 127, "region": None}, {"row": 47, "column": 63, "region": None}]
    assert widget.grid == [48, 64]


def test_a_network_runs_once_for_each_picture_and_step(images, monkeypatch):
    runs = []
    monkeypatch.setattr(attention, "record", lambda *args, record=attention.record: runs.append(1) or record(*args))
    widget = AttentionExplorer(images, {"D": {0: Stem(width=8), 1: Stem(width=8)}})
    for row in range(5):
        widget.select(row, row)
    assert len(runs) == 1
    widget.choose(step=0)
    widget.choose(picture=1)
    assert len(runs) == 3
    widget.choose(step=1, picture=0)
    widget.figure()
    assert len(runs) == 3


def test_it_shows_what_it_was_given_while_a_training_goes_on(images):
    torch.manual_seed(0)
    net = lively(Stem(width=8).train())
    widget = AttentionExplorer(images, {"D": net})
    maps = attention.record(net, uint8_to_signed(images[1:2]))["attention"]
    with torch.no_grad():
        net.attention.query.weight.zero_()
    widget.choose(picture=1)
    np.testing.assert_allclose(sent_maps(widget)[0], 256 * maps[0, 16, 16].numpy(), rtol=1e-5)
    assert sent_maps(widget).std() > 1e-3
    assert net.training


def test_the_browser_is_answered(shown):
    ask(shown, queries=[{"row": 1, "column": 2, "region": None}, {"row": 3, "column": 4, "region": [0, 1, 64]}])
    assert [told[0] for told in shown.told] == ["query 1: row 1, column 2", "query 2: 3 pixels"]
    ask(shown, choice=1, step=500, picture=3)
    assert (shown.choice, shown.step, shown.picture) == (1, 0, 1)


def test_errors_are_shown_in_the_browser(shown):
    before = shown.version, shown.queries
    ask(shown, queries=[{"row": 64, "column": 2, "region": None}])
    assert shown.trouble == "ValueError: pixel (64, 2) lies outside a picture of 64x64"
    assert (shown.version, shown.queries) == (before[0] + 1, before[1])
    shown.select(3, 3)
    assert shown.trouble == ""


def test_each_answer_is_one_small_message(shown, monkeypatch):
    sent = []
    monkeypatch.setattr(shown, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    ask(shown, queries=[{"row": 5, "column": 5, "region": None}])
    (message, buffers), = sent  # fmt: skip
    assert set(message["state"]) == {"queries", "told", "version"}  # the map is a buffer; picture and sliders stay
    assert message["buffer_paths"] == [["maps"]]
    assert sum(map(len, buffers)) == 4 * 16 * 16


def test_export_writes_the_figure(shown, tmp_path, monkeypatch):
    shown.select(20, 20, query=2)
    shown.export(tmp_path / "figure.png")
    sent = []
    monkeypatch.setattr(shown, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    shown._handle_custom_msg({"do": "export", "view": "one"}, [])
    (message, (png,)), = sent  # fmt: skip
    assert message["content"] == {"do": "download", "view": "one"}
    with Image.open(tmp_path / "figure.png") as written, Image.open(io.BytesIO(png)) as downloaded:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(downloaded))


def test_the_figure_is_that_of_the_state(shown):
    shown.choose(step=500)
    shown.select(20, 20, query=2)
    figure = shown.figure()
    assert figure.get_suptitle() == shown.line
    assert [ax.get_title() for ax in figure.axes if ax.images][1:] == [told[0] for told in shown.told]
    assert [view.asked for view in shown.views()] == ["row 32, column 32", "row 20, column 20"]


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({}, "no network to explore"),
        ({"D": {}}, "D: no snapshot"),
        ({"D": dcgan.Discriminator(width=8)}, "no attention layer"),
        ({"D": {0: Stem(width=8), 1: Stem(width=8, attention_at=0)}}, "no attention layer"),
    ],
)
def test_networks_that_cannot_be_explored_are_refused(images, networks, message):
    with pytest.raises(ValueError, match=message):
        AttentionExplorer(images, networks)


def test_pictures_are_needed_and_checked(drawing):
    with pytest.raises(ValueError, match="D: images=None"):
        AttentionExplorer(None, {"D": Stem(width=8)})
    with pytest.raises(ValueError, match=r"images are \(4, 1, 64, 64\)"):
        AttentionExplorer(torch.zeros(4, 1, 64, 64), {"D": Stem(width=8)})
    assert AttentionExplorer(None, {"G": drawing}).pictures == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda w: w.choose(network="E"), "network='E'.*known are D · attention, G · attention"),
        (lambda w: w.choose(layer="stem"), "layer='stem'"),
        (lambda w: w.choose(step=501), "step=501: D has the steps 0, 500, 1000"),
        (lambda w: w.choose(network="G", picture=2), "picture=2: G has pictures 0 to 1"),
        (lambda w: w.select(0, 64), "outside a picture"),
        (lambda w: w.select(0, 0, query=3), "query=3"),
        (lambda w: w.brush(np.zeros((64, 64), bool)), "with 0 pixels"),
        (lambda w: w.brush(np.ones((32, 32), bool)), r"expected bool \(64, 64\)"),
        (lambda w: w.brush(np.ones((64, 64))), "float64"),
    ],
)
def test_wrong_wishes_change_nothing(shown, wrong, message):
    before = shown.get_state()
    with pytest.raises(ValueError, match=message):
        wrong(shown)
    assert shown.get_state() == before


def test_the_colours_are_those_of_the_figure(shown):
    table = np.frombuffer(shown.colours, np.uint8).reshape(256, 3)
    np.testing.assert_allclose(table / 255, np.array([explorer.MAP(k)[:3] for k in range(256)]), atol=0.002)


def test_its_name_is_stable(shown):
    assert repr(shown) == "AttentionExplorer()"


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "explorer.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "explorer.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)
