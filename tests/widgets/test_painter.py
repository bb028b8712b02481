import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nblib import inpainters, masks, metrics, strokes
from nblib.datasets.photos import open_photo
from nblib.images import signed_to_uint8, signed_to_unit, uint8_to_signed
from nblib.inpainters import Inpainter
from nblib.widgets import Filling, MaskPainter, fill, filled_figure, uploads
from nblib.widgets.tiles import named

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 250  # seconds, for a machine that does much else
BOX = {"tool": "rectangle", "points": [[20, 10], [29, 29]]}
DISC = {"tool": "brush", "radius": 4, "points": [[40, 40], [40, 50]]}
WHOLE = {"tool": "rectangle", "points": [[0, 0], [63, 63]]}
WHITE = Inpainter("white", lambda images, masks: torch.ones_like(images))
BLACK = Inpainter("black", lambda images, masks: -torch.ones_like(images))
NOISE = Inpainter("noise", lambda x, m, generator: torch.rand(x.shape, generator=generator) * 2 - 1, stochastic=True)


class Gate:
    """An inpainter that waits to be let through, and remembers the holes it was given."""

    def __init__(self, level=0.0):
        self.holes, self.level, self.turns = [], level, threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.inpainter = Inpainter("gate", self.fill)

    def fill(self, images, masks):
        self.holes.append(int(masks.sum()))
        self.begun.release()
        assert self.turns.acquire(timeout=PATIENCE)
        return torch.full_like(images, self.level)


def broken(images, masks):
    raise ValueError("the weights are gone")


@pytest.fixture(scope="module")
def images():
    return torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def painter(images):
    return MaskPainter(images, {"white": WHITE, "noise": NOISE, "black": BLACK}, slow=["noise"])


@pytest.fixture
def photo(tmp_path):
    """A photo that is wider than high, as a path."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "holiday.png")
    return tmp_path / "holiday.png"


def tile(painter, k):
    return getattr(painter, f"tile_{k}")


def statuses(painter):
    return [tile(painter, k)["status"] for k in range(len(painter.methods))]


def pixels(png):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)))).permute(2, 0, 1)


def sent_hole(painter):
    return torch.from_numpy(np.unpackbits(np.frombuffer(painter.hole, np.uint8)).reshape(1, 64, 64).astype(bool))


def say(painter, wish, buffers=(), **content):
    """Say what the browser says."""
    painter._handle_custom_msg({"do": wish, "view": "one", **content}, list(buffers))


def send_file(painter, kind, name, data, part=1000, upload=1):
    pieces = [data[at : at + part] for at in range(0, max(len(data), 1), part)]
    for k, piece in enumerate(pieces):
        about = {"upload": upload, "kind": kind, "name": name, "part": k, "last": k == len(pieces) - 1}
        say(painter, "upload", [memoryview(piece)], **about)


def test_without_a_hole_it_shows_the_picture_and_says_so(painter, images):
    assert painter.line == "picture 1 of 3 · no hole yet, nothing to fill"
    assert statuses(painter) == ["empty"] * 3
    assert {tile(painter, k)["told"] for k in range(3)} == {"nothing to fill"}
    for png in (painter.png, tile(painter, 0)["png"], tile(painter, 1)["png"]):
        torch.testing.assert_close(pixels(png), images[0])
    assert (painter.fillable, painter.undoable, painter.fillings) == (False, False, [])
    painter.fill_slow()
    painter.wait(1)
    assert statuses(painter) == ["empty"] * 3


def test_a_stroke_is_filled_by_the_fast_ones_at_once(painter, images):
    painter.paint([BOX])
    painter.wait(PATIENCE)
    torch.testing.assert_close(sent_hole(painter), strokes.mask([BOX], 64))
    assert painter.line == "picture 1 of 3 · hole of 200 pixels, 4.9 %"
    assert statuses(painter) == ["done", "unasked", "done"]
    truth, hole = uint8_to_signed(images[:1]), painter.mask[None]
    for filling, inpainter, k in zip(painter.fillings, (WHITE, BLACK), (0, 2), strict=True):
        expected = inpainter(truth, hole)
        torch.testing.assert_close(filling.image, signed_to_uint8(expected[0]))
        torch.testing.assert_close(pixels(tile(painter, k)["png"]), filling.image)
        psnr = metrics.hole_psnr(signed_to_unit(expected), signed_to_unit(truth), hole)
        assert filling.psnr == pytest.approx(psnr.item())
        assert tile(painter, k)["told"] == filling.told == f"{filling.told.split(' · ')[0]} · {psnr.item():.1f} dB"
    assert [filling.name for filling in painter.fillings] == ["white", "black"]


def test_slow_ones_wait_for_their_button(painter):
    painter.paint([BOX])
    painter.wait(PATIENCE)
    assert tile(painter, 1) == {"status": "unasked", "told": "waits for the button", "png": b""}
    say(painter, "fill_slow")
    painter.wait(PATIENCE)
    assert statuses(painter) == ["done"] * 3
    assert [filling.name for filling in painter.fillings] == ["white", "noise", "black"]
    done = tile(painter, 1)["png"]
    painter.paint([DISC])
    painter.wait(PATIENCE)
    assert tile(painter, 1) == {"status": "unasked", "told": "of an earlier hole; waits for the button", "png": done}
    assert [filling.name for filling in painter.fillings] == ["white", "black"]


def test_the_same_hole_is_filled_alike_again(painter):
    found = []
    for _ in range(2):
        painter.paint([BOX])
        painter.fill_slow()
        painter.wait(PATIENCE)
        found.append(painter.fillings[1].image)
    torch.testing.assert_close(*found)


def test_what_is_filled_late_never_replaces_what_is_newer(images):
    gate = Gate()
    painter = MaskPainter(images, {"gate": gate.inpainter, "white": WHITE})
    painter.paint([BOX])
    assert gate.begun.acquire(timeout=PATIENCE)
    assert statuses(painter) == ["running", "queued"]
    gate.level = 1.0
    painter.paint([DISC])
    painter.paint([DISC, {"tool": "clear"}, BOX, DISC, {**DISC, "tool": "eraser"}])  # the first hole, once more
    assert statuses(painter) == ["queued", "queued"]
    gate.turns.release()  # the first is ready now, and late
    assert gate.begun.acquire(timeout=PATIENCE)
    assert painter.fillings == []
    gate.level = -1.0
    gate.turns.release()
    painter.wait(PATIENCE)
    expected = signed_to_uint8(BLACK(uint8_to_signed(images[:1]), strokes.mask([BOX], 64)[None])[0])
    torch.testing.assert_close(painter.fillings[0].image, expected)
    assert gate.holes == [200, 200]  # the hole between them was dropped


def test_slow_ones_do_not_keep_fast_ones_waiting(images):
    gate = Gate()
    painter = MaskPainter(images, {"gate": gate.inpainter, "white": WHITE}, slow=["gate"])
    painter.paint([BOX])
    painter.fill_slow()
    assert gate.begun.acquire(timeout=PATIENCE)
    painter.paint([DISC])
    painter.wait(PATIENCE)  # the gate is still shut
    assert statuses(painter) == ["unasked", "done"]
    gate.turns.release()
    painter.fill_slow()
    assert gate.begun.acquire(timeout=PATIENCE)
    assert statuses(painter) == ["running", "done"]
    painter.fill_slow()  # asked once is enough
    gate.turns.release()
    painter.wait(PATIENCE)
    assert gate.holes == [200, int(painter.mask.sum())]
    assert statuses(painter) == ["done", "done"]


def test_painting_goes_on_while_a_hole_is_filled(images):
    gate = Gate()
    painter = MaskPainter(images, {"gate": gate.inpainter})
    painter.paint([BOX])
    assert gate.begun.acquire(timeout=PATIENCE)
    say(painter, "paint", number=1, stroke=DISC)
    torch.testing.assert_close(sent_hole(painter), strokes.mask([BOX, DISC], 64))
    with pytest.raises(TimeoutError, match=r"gate did not end within 0\.05 s"):
        painter.wait(0.05)
    say(painter, "clear")
    painter.wait(0.05)  # nothing is asked for
    gate.turns.release()


def test_many_strokes_from_several_sides_end_with_the_last_hole(images):
    rng = np.random.default_rng(0)

    def lazy(images, masks):
        time.sleep(rng.uniform(0, 0.002))
        return masks.float().mean() * torch.ones_like(images)  # tells which hole it was given

    painter = MaskPainter(images, {name: Inpainter(name, lazy) for name in "abcd"}, slow=["c", "d"])

    def scribble(column):
        for row in range(0, 60, 2):
            painter.paint([{"tool": "rectangle", "points": [[row, column], [row, column]]}])
            if row % 3 == 0:
                painter.fill_slow()

    hands = [threading.Thread(target=scribble, args=(column,)) for column in (10, 30, 50)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(PATIENCE)
    painter.fill_slow()
    painter.wait(PATIENCE)
    assert int(painter.mask.sum()) == 90
    expected = signed_to_uint8(torch.tensor(90 / 4096))
    for filling, k in zip(painter.fillings, range(4), strict=True):
        assert filling.image.masked_select(painter.mask).unique().tolist() == [expected]
        torch.testing.assert_close(pixels(tile(painter, k)["png"]), filling.image)


def test_threads_end_when_there_is_nothing_to_do(painter):
    painter.paint([BOX])
    painter.fill_slow()
    painter.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "lane":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_one_that_fails_says_so_in_its_own_tile(images):
    ways = {"broken": Inpainter("broken", broken), "white": WHITE, "nan": Inpainter("nan", lambda x, m: x / 0)}
    painter = MaskPainter(images, ways)
    painter.paint([BOX])
    painter.wait(PATIENCE)
    assert statuses(painter) == ["failed", "done", "failed"]
    assert tile(painter, 0) == {"status": "failed", "told": "ValueError: the weights are gone", "png": b""}
    assert "not finite" in tile(painter, 2)["told"]
    assert painter.trouble == ""
    assert [filling.image is None for filling in painter.fillings] == [True, False, True]


def test_all_hole_is_told_and_not_filled(painter):
    painter.paint([WHOLE])
    painter.wait(PATIENCE)
    told = "the whole picture is hole, nothing is known to fill it from: erase or undo some of it"
    assert painter.line == f"picture 1 of 3 · {told}"
    assert tile(painter, 0) == {"status": "empty", "told": "nothing is known", "png": b""}
    assert (painter.fillable, painter.fillings) == (False, [])
    painter.fill_slow()
    painter.paint([{**DISC, "tool": "eraser"}])
    painter.wait(PATIENCE)
    assert statuses(painter) == ["done", "unasked", "done"]


def test_strokes_are_undone_redone_and_cleared(painter):
    say(painter, "undo")
    for stroke in (BOX, DISC):
        say(painter, "paint", number=1, stroke=stroke)
    say(painter, "clear")
    assert statuses(painter) == ["empty"] * 3
    for wish, left in [("undo", [BOX, DISC]), ("undo", [BOX]), ("redo", [BOX, DISC]), ("undo", [BOX])]:
        say(painter, wish)
        assert painter.strokes == left
        torch.testing.assert_close(sent_hole(painter), strokes.mask(left, 64))
    assert (painter.undoable, painter.redoable) == (True, True)
    painter.wait(PATIENCE)
    assert int((painter.fillings[0].image == 255).all(0).sum()) >= 200
    painter.paint([DISC])
    assert painter.redoable is False


@pytest.mark.parametrize("protocol", masks.PROTOCOLS)
def test_random_holes_are_those_of_the_protocols(painter, protocol):
    painter.paint([BOX])
    painter.random(protocol, seed=5)
    expected = masks.PROTOCOLS[protocol](1, 64, generator=torch.Generator().manual_seed(5))[0]
    torch.testing.assert_close(painter.mask, expected)
    assert painter.strokes[-1] == {"tool": "random", "protocol": protocol, "seed": 5}


def test_the_random_button_draws_another_hole_each_time(painter):
    before = torch.get_rng_state()
    for _ in range(3):
        say(painter, "random", protocol="freeform")
    holes = [strokes.mask([stroke], 64) for stroke in painter.strokes]
    assert not torch.equal(holes[0], holes[1])
    torch.testing.assert_close(holes[2], painter.mask)
    torch.testing.assert_close(torch.get_rng_state(), before)  # a notebook's own draws stay what they were


def test_another_picture_under_the_same_hole(painter, images):
    painter.paint([BOX])
    painter.fill_slow()
    painter.wait(PATIENCE)
    say(painter, "choose", picture=2)
    assert tile(painter, 1) == {"status": "unasked", "told": "waits for the button", "png": b""}  # not the other one's
    painter.wait(PATIENCE)
    torch.testing.assert_close(pixels(painter.png), images[2])
    expected = WHITE(uint8_to_signed(images[2:]), painter.mask[None])
    torch.testing.assert_close(painter.fillings[0].image, signed_to_uint8(expected[0]))
    assert painter.line.startswith("picture 3 of 3 · hole of 200")


def test_pictures_may_be_floats_and_the_truth_unknown(images):
    one, other = (MaskPainter(x, {"white": WHITE}, truth=False) for x in (images, uint8_to_signed(images)))
    for painter in (one, other):
        painter.choose(1)
        painter.paint([BOX])
        painter.wait(PATIENCE)
    assert one.png == other.png
    torch.testing.assert_close(one.fillings[0].image, other.fillings[0].image)
    assert one.fillings[0].psnr is None
    assert "dB" not in tile(one, 0)["told"]


def test_the_users_photo_is_shown_and_filled(painter, photo):
    painter.paint([BOX])
    painter.photo(photo)
    painter.wait(PATIENCE)
    expected = open_photo(photo, 64).image
    torch.testing.assert_close(pixels(painter.png), expected)
    assert painter.line == "picture 4 of 4 · your own photo · hole of 200 pixels, 4.9 %"
    assert painter.fillings[0].psnr is not None
    painter.choose(0)
    assert "your own" not in painter.line
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        painter.photo(photo.with_name("none.png"))


def test_a_dropped_photo_comes_in_parts_and_is_written_nowhere(painter, photo, monkeypatch):
    data = photo.read_bytes()
    assert len(data) > 3000
    opened = []
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: opened.append(args))
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: opened.append(args))
    send_file(painter, "photo", "holiday.png", data)
    monkeypatch.undo()
    assert opened == []
    torch.testing.assert_close(pixels(painter.png), open_photo(photo, 64).image)
    assert (painter.trouble, painter.picture, painter.pictures) == ("", 3, 4)


def bomb(side):
    """Return a small PNG that says it is a large square."""
    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "ValueError: x.png is not a JPEG, PNG, WebP or BMP picture"),
        (b"", "it is empty"),
        (bomb(9000), "ValueError: x.png has 9000x9000 pixels; at most"),
        (bomb(30_000), "ValueError: x.png cannot be decoded (Image size (900000000 pixels) exceeds limit"),
    ],
    ids=["pickle", "empty", "large", "bomb"],
)
def test_a_file_that_is_no_photo_is_refused_in_words(painter, data, message):
    painter.paint([BOX])
    painter.wait(PATIENCE)
    before = painter.get_state()
    send_file(painter, "photo", "x.png", data)
    assert message in painter.trouble
    changed = {name for name, value in painter.get_state().items() if before[name] != value}
    assert changed == {"trouble", "version"}
    painter.paint([DISC])
    assert painter.trouble == ""


def test_files_that_are_too_large_are_refused_before_they_end(painter, monkeypatch):
    monkeypatch.setitem(uploads.LIMITS, "photo", 2500)
    send_file(painter, "photo", "x.png", bytes(5000))
    assert painter.trouble == "ValueError: x.png has more than 2,500 bytes"
    assert painter.pictures == 3


def test_a_file_that_was_given_up_does_not_mix_with_the_next(painter, photo):
    data = photo.read_bytes()
    about = {"kind": "photo", "name": "a.png"}
    say(painter, "upload", [data[:500]], upload=1, part=0, last=False, **about)
    say(painter, "upload", [data[:2000]], upload=2, part=0, last=False, **about)
    say(painter, "upload", [b"nonsense"], upload=1, part=1, last=True, **about)
    say(painter, "upload", [data[2000:]], upload=2, part=1, last=True, **about)
    torch.testing.assert_close(pixels(painter.png), open_photo(photo, 64).image)
    assert painter.trouble == ""


def test_strokes_are_saved_and_loaded(painter, images, tmp_path):
    painter.paint([BOX, DISC])
    painter.random("freeform")
    painter.paint([{**DISC, "tool": "eraser"}])
    painter.save(tmp_path / "strokes.json")
    other = MaskPainter(images, {"white": WHITE})
    other.paint([WHOLE])
    other.load(tmp_path / "strokes.json")
    assert other.strokes == painter.strokes
    torch.testing.assert_close(other.mask, painter.mask)
    (tmp_path / "strokes.json").write_text(strokes.dumps([BOX], 64).replace("rectangle", "circle"))
    with pytest.raises(ValueError, match=r"strokes\.json: stroke 1"):
        other.load(tmp_path / "strokes.json")
    assert other.strokes == painter.strokes


def test_the_browser_saves_and_loads_strokes(painter, monkeypatch):
    painter.paint([BOX, DISC])
    painter.wait(PATIENCE)
    sent = []
    monkeypatch.setattr(painter, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    say(painter, "save")
    (message, (text,)), = sent  # fmt: skip
    about = {"do": "download", "view": "one", "name": "strokes.json", "type": "application/json"}
    assert message["content"] == about
    assert json.loads(text)["strokes"] == [BOX, DISC]
    say(painter, "clear")
    send_file(painter, "strokes", "strokes.json", text, part=40)
    assert painter.strokes == [BOX, DISC]
    send_file(painter, "strokes", "strokes.json", b"{}")
    assert painter.trouble.startswith("ValueError: these are no strokes")
    assert painter.strokes == [BOX, DISC]


def test_the_browser_is_told_which_stroke_was_heard(painter):
    say(painter, "paint", number=7, stroke=DISC)
    assert painter.heard == ["one", 7]
    say(painter, "paint", number=8, stroke={**DISC, "radius": -1})
    assert painter.heard == ["one", 8]  # it is not painted, and the browser may forget it
    assert painter.trouble == "ValueError: stroke 1: radius=-1; expected pixels, more than 0 and at most 10000"
    assert painter.strokes == [DISC]


def test_each_answer_brings_only_what_is_new(painter, monkeypatch):
    painter.paint([BOX])
    painter.wait(PATIENCE)
    sent = []
    monkeypatch.setattr(painter, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    say(painter, "paint", number=1, stroke=DISC)
    painter.wait(PATIENCE)
    first, *others = [(set(message["state"]), message["buffer_paths"]) for message, _ in sent]
    assert first[0] == {"heard", "line", "tile_0", "tile_2", "version"}
    assert sorted(first[1]) == [["hole"], ["tile_0", "png"], ["tile_2", "png"]]
    assert [state for state, _ in others] == [{"tile_0", "version"}] * 2 + [{"tile_2", "version"}] * 2


def test_wrong_wishes_change_nothing(painter):
    painter.paint([BOX])
    painter.wait(PATIENCE)
    before = painter.get_state()
    for wrong, message in [
        (lambda: painter.choose(3), "picture=3: there are pictures 0 to 2"),
        (lambda: painter.choose(-1), "picture=-1"),
        (lambda: painter.paint([DISC, {"tool": "pen"}]), "stroke 2: tool='pen'"),
        (lambda: painter.random("square"), "no such protocol"),
        (lambda: painter.random(seed=-1), "seed=-1"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()
    assert painter.get_state() == before


@pytest.mark.parametrize(
    ("given", "slow", "message"),
    [
        ({}, (), "no inpainter; choose some"),
        ([], (), "no inpainter"),
        ({"f": lambda images, masks: images}, (), "f is function; wrap it as Inpainter"),
        ({"white": WHITE}, ["black"], r"slow=\['black'\]: the inpainters are white"),
        (["teela"], (), "did you mean telea"),
        (["telea", "telea"], (), "telea, telea: two have the same name"),
    ],
)
def test_inpainters_are_checked(images, given, slow, message):
    with pytest.raises(ValueError, match=message):
        MaskPainter(images, given, slow=slow)


def test_inpainters_may_be_keys():
    chosen, slow = named(["telea", "exemplar"], slow="exemplar")
    assert (list(chosen), slow) == (["telea", "exemplar"], {"exemplar"})
    assert chosen["telea"].fill is inpainters.load("telea").fill


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(1, 1, 64, 64), r"images are \(1, 1, 64, 64\); expected square ones"),
        (torch.zeros(1, 3, 64, 48), "expected square ones"),
        (torch.zeros(0, 3, 64, 64), "at least one"),
        (torch.full((1, 3, 8, 8), 1.5), r"torch\.float32.*beyond \[-1, 1\]"),
        (torch.full((1, 3, 8, 8), float("nan")), "beyond"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "expected uint8, or float"),
    ],
)
def test_pictures_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskPainter(wrong, {"white": WHITE})


def test_the_figure_is_that_of_the_state(painter, images, tmp_path, monkeypatch):
    assert [ax.get_title() for ax in painter.figure().axes] == ["original", "hole"]
    painter.paint([BOX])
    painter.fill_slow()
    painter.wait(PATIENCE)
    figure = painter.figure()
    assert [ax.get_title() for ax in figure.axes] == ["original", "hole", "white", "noise", "black"]
    assert [ax.get_xlabel() for ax in figure.axes][2:] == [filling.told for filling in painter.fillings]
    shown = [torch.from_numpy(np.array(ax.images[0].get_array())).permute(2, 0, 1) for ax in figure.axes]
    torch.testing.assert_close(shown[0], images[0])
    torch.testing.assert_close(shown[1], images[0].masked_fill(painter.mask, 128))
    torch.testing.assert_close(shown[4], painter.fillings[2].image)
    painter.export(tmp_path / "figure.png")
    sent = []
    monkeypatch.setattr(painter, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    say(painter, "export")
    (message, (png,)), = sent  # fmt: skip
    assert message["content"]["name"] == "filled.png"
    with Image.open(tmp_path / "figure.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(Image.open(io.BytesIO(png))))


def test_figures_go_over_several_rows_and_show_messages(images):
    fillings = [Filling(f"way {k}", images[k % 3], 0.01) for k in range(7)]
    fillings.append(Filling("broken", None, 0.0, trouble="ValueError: " + "gone " * 20))
    figure = filled_figure(images[0], strokes.mask([BOX], 64), fillings, title="a title")
    assert len(figure.axes) == 10
    rows = {round(ax.get_subplotspec().rowspan.start) for ax in figure.axes}
    assert rows == {0, 1}
    assert figure.axes[2].get_xlabel() == "10 ms"
    assert "gone" in figure.axes[-1].texts[0].get_text()
    assert figure.get_suptitle() == "a title"


def test_filling_measures_and_draws_from_one_seed(images):
    picture, hole = uint8_to_signed(images[0]), strokes.mask([BOX], 64)
    first, second = (fill("noise", NOISE, picture, hole) for _ in range(2))
    torch.testing.assert_close(first.image, second.image)
    torch.testing.assert_close(first.image.masked_fill(hole, 0), images[0].masked_fill(hole, 0))
    assert first.seconds > 0
    perfect = fill("perfect", Inpainter("perfect", lambda x, m: picture[None]), picture, hole)
    assert perfect.psnr == 60.0


def test_its_name_is_stable(painter):
    assert repr(painter) == "MaskPainter()"


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "painter.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "painter.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)


def test_python_may_end_while_a_network_fills():
    """A thread in torch at the interpreter's end would abort it."""
    code = """
import threading
import torch
from nblib.widgets.lanes import Lane
lane, begun = Lane(threading.Condition()), threading.Event()
def job():
    begun.set()
    for _ in range(300):
        torch.randn(200, 200) @ torch.randn(200, 200)
lane.put([job, job])
begun.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
