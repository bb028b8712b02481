import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import draw

from nblib import masks, strokes
from nblib.strokes import Drawing

ROOT = Path(__file__).resolve().parents[1]
BRUSH = {"tool": "brush", "radius": 3.3, "points": [[10, 20]]}
LINE = {"tool": "brush", "radius": 2.5, "points": [[5.25, 6], [30.5, 40.75], [12, 60]]}
RECTANGLE = {"tool": "rectangle", "points": [[3, 4], [6, 9]]}
RANDOM = {"tool": "random", "protocol": "freeform", "seed": 7}
CLEAR = {"tool": "clear"}

places = st.integers(-2000, 9000).map(lambda value: value / 100)
points = st.lists(st.lists(places, min_size=2, max_size=2), min_size=1, max_size=6)
discs = st.fixed_dictionaries(
    {"tool": st.sampled_from(["brush", "eraser"]), "radius": st.integers(1, 32).map(lambda k: k / 2), "points": points}
)
corners = st.lists(st.lists(places, min_size=2, max_size=2), min_size=2, max_size=2)
boxes = st.fixed_dictionaries({"tool": st.just("rectangle"), "points": corners})


def painted(*some, size=64):
    hole = strokes.mask(some, size)
    assert hole.dtype == torch.bool
    assert hole.shape == (1, size, size)
    return hole[0].numpy()


@pytest.mark.parametrize(("place", "radius"), [((10, 20), 3.3), ((0.25, 63.5), 7.1), ((-4, 30), 5.2), ((32, 32), 0.8)])
def test_a_click_is_a_disc(place, radius):
    expected = np.zeros((64, 64), bool)
    expected[draw.disk(place, radius, shape=(64, 64))] = True
    np.testing.assert_array_equal(painted({"tool": "brush", "radius": radius, "points": [list(place)]}), expected)


def test_a_disc_covers_what_is_exactly_its_radius_away():
    assert painted({"tool": "brush", "radius": 5, "points": [[20, 20]]})[[25, 23, 20], [20, 24, 15]].all()


def test_a_line_is_all_that_lies_near_it():
    ends = np.array(LINE["points"])
    along = np.linspace(0, 1, 4000)[:, None]
    line = np.concatenate([a + along * (b - a) for a, b in itertools.pairwise(ends)])
    pixels = np.stack(np.mgrid[:64, :64], -1).reshape(-1, 1, 2)
    distance = np.concatenate([np.hypot(*(some - line).transpose(2, 0, 1)).min(1) for some in np.split(pixels, 64)])
    sure = np.abs(distance - LINE["radius"]) > 0.01
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(painted(LINE).ravel()[sure], (distance <= LINE["radius"])[sure])


@pytest.mark.parametrize("ends", [([3, 4], [6, 9]), ([6, 9], [3, 4]), ([6.4, 3.5], [2.5, 9.49])])
def test_a_rectangle_holds_both_corners(ends):
    expected = np.zeros((64, 64), bool)
    expected[3:7, 4:10] = True
    np.testing.assert_array_equal(painted({"tool": "rectangle", "points": ends}), expected)


def test_a_rectangle_is_cut_off_at_the_border():
    assert painted({"tool": "rectangle", "points": [[-9, 60], [2, 99]]}).sum() == 3 * 4
    assert not painted({"tool": "rectangle", "points": [[-9, 60], [-2, 99]]}).any()
    assert not painted({"tool": "rectangle", "points": [[70, 3], [99, 9]]}).any()


def test_strokes_follow_one_another():
    eraser = {**LINE, "tool": "eraser"}
    np.testing.assert_array_equal(painted(RECTANGLE, LINE, eraser), painted(RECTANGLE) & ~painted(LINE))
    np.testing.assert_array_equal(painted(eraser, RECTANGLE, LINE), painted(RECTANGLE) | painted(LINE))
    np.testing.assert_array_equal(painted(LINE, CLEAR, RECTANGLE), painted(RECTANGLE))
    assert not painted().any()


@pytest.mark.parametrize("protocol", masks.PROTOCOLS)
@pytest.mark.parametrize("size", [64, 32])
def test_a_random_hole_is_that_of_its_protocol(protocol, size):
    generator = torch.Generator().manual_seed(11)
    expected = masks.PROTOCOLS[protocol](1, size, generator=generator)[0, 0].numpy()
    hole = painted(RECTANGLE, {"tool": "random", "protocol": protocol, "seed": 11}, size=size)
    np.testing.assert_array_equal(hole, expected)


def test_painting_leaves_earlier_holes_as_they_were():
    hole = strokes.mask([RECTANGLE], 64)
    before = hole.clone()
    for stroke in (LINE, {**LINE, "tool": "eraser"}, RANDOM, CLEAR):
        strokes.applied(hole, stroke)
        torch.testing.assert_close(hole, before)


@settings(max_examples=40, deadline=None)
@given(st.lists(discs | boxes, max_size=5), st.sampled_from([16, 64]))
def test_what_was_written_is_read_again_bit_by_bit(some, size):
    some = [*some, RANDOM, BRUSH, *some]
    again = strokes.loads(strokes.dumps(some, size), size)
    assert again == some
    torch.testing.assert_close(strokes.mask(again, size), strokes.mask(some, size))


def test_files_are_written_whole_and_one_stroke_a_line(tmp_path):
    path = tmp_path / "new" / "strokes.json"
    strokes.write(path, [BRUSH, RANDOM], 64)
    assert strokes.read(path, 64) == [BRUSH, RANDOM]
    assert json.loads(path.read_text()) == {"format": "nblib strokes 1", "size": 64, "strokes": [BRUSH, RANDOM]}
    assert len(path.read_text().splitlines()) == 4
    with pytest.raises(ValueError, match="stroke 1"):
        strokes.write(path, [{"tool": "pen"}], 64)
    assert strokes.read(path, 64) == [BRUSH, RANDOM]
    assert [file.name for file in path.parent.iterdir()] == ["strokes.json"]


def test_strokes_are_scaled_to_the_picture(tmp_path):
    strokes.write(tmp_path / "a.json", [RECTANGLE], 64)
    large = strokes.mask(strokes.read(tmp_path / "a.json", 128), 128)[0].numpy()
    np.testing.assert_array_equal(large, np.kron(painted(RECTANGLE), np.ones((2, 2), bool)))
    (twice,) = strokes.loads(strokes.dumps([LINE], 64), 128)
    assert (twice["tool"], twice["radius"], twice["points"][0]) == ("brush", 5.0, [11.0, 12.5])
    near = np.kron(painted(LINE), np.ones((2, 2), bool))
    assert (painted(twice, size=128) != near).mean() < 0.03
    assert strokes.loads(strokes.dumps([RANDOM, CLEAR], 64), 32) == [RANDOM, CLEAR]


@pytest.mark.parametrize(
    ("stroke", "message"),
    [
        ({"tool": "pen"}, "tool='pen'; choose from brush, eraser, rectangle, random, clear"),
        ({"radius": 3}, "tool=None"),
        ({"tool": ["brush"]}, "tool="),
        (["brush"], "list, not a dict"),
        ({"tool": "brush", "points": [[1, 2]]}, "brush has points; expected points, radius"),
        ({**BRUSH, "colour": "red"}, "brush has colour, points, radius"),
        ({**CLEAR, "radius": 1}, "clear has radius; expected no key"),
        ({**BRUSH, "radius": 0}, "radius=0; expected pixels"),
        ({**BRUSH, "radius": True}, "radius=True"),
        ({**BRUSH, "radius": float("nan")}, "radius=nan"),
        ({**BRUSH, "radius": "3"}, "radius='3'"),
        ({**BRUSH, "radius": 10**400}, "radius=1000"),
        ({**BRUSH, "points": []}, "0 of them; expected at least one point"),
        ({**BRUSH, "points": 3}, "points of type int"),
        ({**BRUSH, "points": [[1, 2], [3]]}, r"point \[3\]; expected \[row, column\]"),
        ({**BRUSH, "points": [[1, float("inf")]]}, "point .*inf"),
        ({**BRUSH, "points": [[1, None]]}, "point .*None"),
        ({**BRUSH, "points": [[1, -1e5]]}, "at most 10000 pixels"),
        ({**RECTANGLE, "points": [[1, 2]]}, "1 of them; expected two corners"),
        ({**RANDOM, "protocol": "square"}, "masks='square': no such protocol; choose from seed"),
        ({**RANDOM, "protocol": 3}, "no such protocol"),
        ({**RANDOM, "seed": -1}, "seed=-1; expected a whole number"),
        ({**RANDOM, "seed": 1.5}, "seed=1.5"),
    ],
)
def test_wrong_strokes_are_named(stroke, message):
    with pytest.raises(ValueError, match=f"stroke 2: .*{message}"):
        strokes.mask([BRUSH, stroke], 64)
    drawing = Drawing(64)
    with pytest.raises(ValueError, match="stroke 2"):
        drawing.paint([BRUSH, stroke])
    assert drawing.strokes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[]", 'expected JSON with "format": "nblib strokes 1"'),
        (b'{"format": "nblib strokes 2", "size": 64, "strokes": []}', "expected JSON with"),
        (b'{"format": "nblib strokes 1", "size": 0, "strokes": []}', "size=0"),
        (b'{"format": "nblib strokes 1", "size": 64.0, "strokes": []}', "size=64.0"),
        (b'{"format": "nblib strokes 1", "size": 64, "strokes": {}}', "strokes of type dict"),
        (strokes.dumps([BRUSH], 64).replace("3.3", "NaN").encode(), "stroke 1: radius=nan"),
    ],
)
def test_what_is_no_strokes_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        strokes.loads(text, 64)
    (tmp_path / "wrong.json").write_bytes(text)
    with pytest.raises(ValueError, match=f"wrong.json: .*{message}"):
        strokes.read(tmp_path / "wrong.json", 64)


def test_files_are_looked_for_and_limited(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such strokes"):
        strokes.read(tmp_path / "none.json", 64)
    strokes.write(tmp_path / "a.json", [BRUSH], 64)
    monkeypatch.setattr(strokes, "MAX_BYTES", 50)
    with pytest.raises(ValueError, match=r"a\.json: more than 50 bytes"):
        strokes.read(tmp_path / "a.json", 64)


def test_there_is_a_limit_to_all_strokes_together(monkeypatch):
    monkeypatch.setattr(strokes, "MAX_POINTS", 5)
    drawing = Drawing(64)
    drawing.paint([LINE])
    with pytest.raises(ValueError, match="the strokes have 6 points; at most 5"):
        drawing.paint([LINE])
    assert drawing.strokes == [LINE]


def test_a_drawing_is_undone_and_redone():
    drawing = Drawing(64)
    assert (drawing.undoable, drawing.redoable, int(drawing.mask.sum())) == (False, False, 0)
    drawing.undo()
    drawing.redo()
    some = [RECTANGLE, LINE, CLEAR, RANDOM, BRUSH]
    for stroke in some:
        drawing.paint([stroke])
    for count in (4, 3, 2, 1, 0):
        drawing.undo()
        assert drawing.strokes == some[:count]
        torch.testing.assert_close(drawing.mask, strokes.mask(some[:count], 64))
    for count in (1, 2, 3):
        drawing.redo()
        torch.testing.assert_close(drawing.mask, strokes.mask(some[:count], 64))
    drawing.paint([BRUSH])
    assert (drawing.strokes, drawing.redoable) == ([RECTANGLE, LINE, CLEAR, BRUSH], False)
    drawing.replace([RANDOM])
    assert drawing.strokes == [RANDOM]
    torch.testing.assert_close(drawing.mask, strokes.mask([RANDOM], 64))


def test_a_drawing_keeps_strokes_of_its_own():
    drawing, stroke = Drawing(64), {**BRUSH, "points": [[10, 20]]}
    drawing.paint([stroke])
    stroke["points"].append("nonsense")
    drawing.strokes[0]["points"].append("more of it")
    assert drawing.strokes == [BRUSH]


def test_the_browser_finds_the_same_pixels(tmp_path):
    """What is shown while a stroke is painted is what Python makes of it, bit by bit."""
    node = shutil.which("node") or pytest.skip("no node here")
    rng = np.random.default_rng(0)
    some = []
    for k in range(60):
        place = np.round(rng.uniform(-10, 74, (1 + k % 7, 2)) * (100 if k % 3 else 2)) / (100 if k % 3 else 2)
        radius = float(rng.integers(2, 33)) / 2
        some.append({"tool": ("brush", "eraser")[k % 4 == 3], "radius": radius, "points": place.tolist()})
        some.append({"tool": "rectangle", "points": np.round(rng.uniform(-10, 74, (2, 2)) * 2).tolist()})
        some[-1]["points"] = [[value / 2 for value in point] for point in some[-1]["points"]]
    module = tmp_path / "painter.mjs"
    source = (ROOT / "nblib" / "widgets" / "static" / "painter.js").read_text(encoding="utf-8")
    module.write_text(source + "\nexport { applied };\n", encoding="utf-8")
    script = f"""
        import {{ applied }} from {json.dumps(module.as_uri())};
        const found = {json.dumps(some)}.map((stroke) =>
            Array.from(applied(new Uint8Array(4096).fill(stroke.tool === "eraser" ? 1 : 0), stroke, 64)).join(""));
        console.log(JSON.stringify(found));
    """
    command = [node, "--input-type=module", "--eval", script]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for stroke, pixels in zip(some, json.loads(told), strict=True):
        before = torch.full((1, 64, 64), stroke["tool"] == "eraser")
        expected = strokes.applied(before, stroke)[0].numpy()
        np.testing.assert_array_equal(np.array(list(pixels)).reshape(64, 64) == "1", expected)
