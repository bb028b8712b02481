"""The mask painter in a real JupyterLab: painted and undone by mouse and keys, filled fast and slow, with own files."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from nblib import strokes
from nblib.datasets.photos import open_photo

CELLS = [
    """
import time
from pathlib import Path
import torch
from nblib.inpainters import Inpainter, load
from nblib.networks.approxnet import ApproxNet
from nblib.toys import faces
from nblib.widgets import MaskPainter
torch.set_num_threads(1)
torch.manual_seed(0)
""",
    """
net = ApproxNet(hidden=16).eval()

def search(images, masks):
    while not Path("found").exists():
        time.sleep(0.05)
    return torch.ones_like(images)

def broken(images, masks):
    raise ValueError("the weights are gone")
""",
    """
ways = {
    "telea": load("telea"),
    "broken": Inpainter("broken", broken),
    "approxnet": Inpainter("approxnet", torch.no_grad()(lambda images, masks: net(images, masks))),
    "search": Inpainter("search", search),
}
painter = MaskPainter(faces.sample(0, torch.arange(3)).images, ways, slow=["search"])
painter
""",
    """
while not Path("go").exists():
    time.sleep(0.1)
print("the wait is over")
""",
]


class Painter:
    """The widget on a page."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".nblib-painter")
        self.root.and_(page.locator("[data-ready='1']")).wait_for()
        self.area, self.tiles = self.root.get_by_role("application"), self.root.locator(".tile")
        self.line, self.trouble = self.root.locator(".line"), self.root.locator(".trouble")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def point(self, row: float, column: float) -> tuple[float, float]:
        """Return where a place of the picture lies on the page."""
        box = self.area.bounding_box()
        return box["x"] + (column + 0.5) * box["width"] / 64, box["y"] + (row + 0.5) * box["height"] / 64

    def drag(self, *places: tuple[float, float], lift: bool = True) -> None:
        self.page.mouse.move(*self.point(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.point(*place))
        if lift:
            self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def settled(self, pixels: int, *, slow: str = "unasked") -> None:
        """Wait until the hole has so many pixels, and all have filled it."""
        expect(self.line).to_contain_text(f"hole of {pixels:,} pixels")
        for k, status in enumerate(("done", "failed", "done", slow)):
            expect(self.tiles.nth(k)).to_have_attribute("data-status", status)

    def strokes(self) -> list[dict]:
        with self.page.expect_download() as download:
            self.button("Save strokes").click()
        assert download.value.suggested_filename == "strokes.json"
        return strokes.read(download.value.path(), 64)

    def pixels(self, canvas) -> torch.Tensor:
        """Return a canvas as uint8 (3, height, width)."""
        url = canvas.evaluate("canvas => canvas.toDataURL()")
        picture = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    def shows(self, picture: torch.Tensor, hole: torch.Tensor) -> bool:
        """Return whether the hole is drawn over the picture, by the middles of the pixels; a cursor may hide some."""
        shown = self.pixels(self.area)
        side = shown.shape[-1] // 64
        middle = shown[:, side // 2 :: side, side // 2 :: side].float()
        expected = torch.where(hole, 0.15 * picture + 0.85 * 128, picture.float())
        return ((middle - expected).abs().amax(0) > 3).float().mean() < 0.02


@pytest.fixture
def painter(jupyterlab, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "root" / "painter.ipynb")
    jupyterlab.open("painter.ipynb")
    jupyterlab.run_all()
    painter = Painter(jupyterlab.page)
    painter.area.scroll_into_view_if_needed()
    yield painter
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


@pytest.fixture(scope="module")
def twin():
    """The same painter, in this process."""
    names = {}
    exec("\n".join(CELLS[:3]), names)
    return names["painter"]


def _agree(painter: Painter, twin) -> None:
    """Compare hole and tiles with what the library makes of the strokes that the browser saved."""
    twin.clear()
    twin.paint(painter.strokes())
    twin.wait(60)
    painter.settled(int(twin.mask.sum()))
    expected = {filling.name: filling.image for filling in twin.fillings}
    torch.testing.assert_close(painter.pixels(painter.tiles.nth(0).locator("canvas")), expected["telea"])
    found = painter.pixels(painter.tiles.nth(2).locator("canvas")).int()
    assert (found - expected["approxnet"].int()).abs().max() <= 1
    for k, psnr in ((0, twin.fillings[0].psnr), (2, twin.fillings[2].psnr)):
        expect(painter.tiles.nth(k).locator("figcaption")).to_contain_text(f" · {psnr:.1f} dB")


@pytest.mark.slow
def test_a_hole_is_painted_undone_and_filled_by_all(painter, twin, tmp_path):
    page = painter.page
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for(state="hidden")  # a cell runs
    expect(painter.line).to_have_text("picture 1 of 3 · no hole yet, nothing to fill")
    expect(painter.button("Undo")).to_be_disabled()
    picture = twin._pixels()
    torch.testing.assert_close(painter.pixels(painter.tiles.first.locator("canvas")), picture)

    painter.drag((20, 20), (22, 30), (24, 44), lift=False)
    line = {"tool": "brush", "radius": 4, "points": [[20, 20], [22, 30], [24, 44]]}
    assert painter.shows(picture, strokes.mask([line], 64))  # while it is painted
    expect(painter.line).to_contain_text("no hole yet")
    page.mouse.up()
    _agree(painter, twin)
    (saved,) = painter.strokes()
    assert (saved["tool"], saved["radius"]) == ("brush", 4)
    np.testing.assert_allclose(saved["points"], line["points"], atol=0.02)
    assert painter.shows(picture, twin.mask)
    first = int(twin.mask.sum())
    failed = painter.tiles.nth(1)
    expect(failed).to_have_attribute("data-status", "failed")
    expect(failed.locator(".blank")).to_have_text("ValueError: the weights are gone")
    label = painter.tiles.first.locator("canvas").get_attribute("aria-label")
    assert re.fullmatch(r"telea: [\d.]+ m?s · [\d.]+ dB", label)
    expect(painter.root.locator(".said")).to_contain_text(label.replace(": ", " "))

    painter.button("Rectangle").click()
    painter.drag((40, 10), (49, 29))
    painter.settled(first + 200)
    page.keyboard.down("Shift")
    painter.button("Brush").click()
    painter.drag((45, 20), (45, 21))
    page.keyboard.up("Shift")
    assert [stroke["tool"] for stroke in painter.strokes()] == ["brush", "rectangle", "eraser"]
    _agree(painter, twin)
    painter.button("Undo").click()
    painter.settled(first + 200)
    painter.area.focus()
    painter.press("Control+z")
    painter.settled(first)
    painter.press("Control+Shift+Z")
    painter.settled(first + 200)
    painter.press("Delete")
    expect(painter.line).to_contain_text("nothing to fill")
    (tmp_path / "root" / "go").touch()
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()  # all that while a cell ran

    painter.button("Random hole").focus()
    painter.press("Enter")
    _agree(painter, twin)
    button = painter.button("Fill with slow methods")
    button.click()
    expect(painter.tiles.nth(3)).to_have_attribute("data-status", "running")
    expect(button).to_be_disabled()
    painter.drag((10, 50), (14, 55))  # while the slow one works on the hole before
    _agree(painter, twin)
    (tmp_path / "root" / "found").touch()  # it ends, too late
    expect(painter.tiles.nth(3)).to_have_attribute("data-status", "unasked")
    button.click()
    painter.settled(int(twin.mask.sum()), slow="done")
    filled = painter.pixels(painter.tiles.nth(3).locator("canvas"))
    assert (filled.masked_select(twin.mask) == 255).all()


@pytest.mark.slow
def test_keys_pictures_photos_and_files(painter, twin, tmp_path):
    (tmp_path / "root" / "go").touch()
    page = painter.page
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()
    painter.area.focus()
    cells = page.locator(".jp-Cell").count()
    painter.press("r", "Enter", *["ArrowDown"] * 3, *["Shift+ArrowRight"] * 2)
    expect(painter.root.locator(".said")).to_have_text("row 35, column 40, pen down")
    painter.press("Enter")
    painter.settled(4 * 9)
    expected = [{"tool": "rectangle", "points": [[32, 32], [35, 40]]}]
    assert painter.strokes() == expected
    painter.area.focus()
    painter.press("b", "-", "-", "Space", *["ArrowLeft"] * 5, "Space", "e", "Enter", "Escape", "PageDown")
    expect(painter.line).to_contain_text("picture 2 of 3")
    expected.append({"tool": "brush", "radius": 3, "points": [[35, 40 - k] for k in range(6)]})
    assert painter.strokes() == expected
    assert page.locator(".jp-Cell").count() == cells  # JupyterLab's own keys were not pressed
    twin.choose(1)
    _agree(painter, twin)
    painter.button("previous picture").click()
    expect(painter.line).to_contain_text("picture 1 of 3")

    noise = np.random.default_rng(0).integers(0, 256, (1900, 2300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.bmp")  # 13 MB: more than one message may have
    painter.root.get_by_label("own photo").set_input_files(tmp_path / "photo.bmp")
    expect(painter.line).to_contain_text("picture 4 of 4 · your own photo · hole of")
    twin.photo(tmp_path / "photo.bmp")
    _agree(painter, twin)
    shown = painter.pixels(painter.tiles.first.locator("canvas"))
    expected_photo = open_photo(tmp_path / "photo.bmp", 64).image
    torch.testing.assert_close(shown.masked_fill(twin.mask, 0), expected_photo.masked_fill(twin.mask, 0))
    _drop(painter, "note.png", b"a note, no picture")
    expect(painter.trouble).to_contain_text("note.png is not a JPEG, PNG, WebP or BMP picture")
    small = io.BytesIO()
    Image.new("RGB", (80, 100), (10, 200, 30)).save(small, "JPEG")
    _drop(painter, "green.jpg", small.getvalue())
    expect(painter.line).to_contain_text("picture 5 of 5")
    expect(painter.trouble).to_be_hidden()

    given = [{"tool": "random", "protocol": "parts", "seed": 3}, {"tool": "eraser", "radius": 2.5, "points": [[9, 9]]}]
    _drop(painter, "given.json", strokes.dumps(given, 64).encode())
    painter.settled(int(strokes.mask(given, 64).sum()))
    assert painter.strokes() == given
    painter.root.get_by_label("strokes", exact=True).set_input_files(
        {"name": "wrong.json", "mimeType": "application/json", "buffer": json.dumps({"format": 1}).encode()}
    )
    expect(painter.trouble).to_contain_text("these are no strokes")
    with page.expect_download() as download:
        painter.button("Export PNG").click()
    assert download.value.suggested_filename == "filled.png"
    with Image.open(download.value.path()) as figure:
        assert figure.size[0] > 2 * figure.size[1] > 300
    whole = [{"tool": "rectangle", "points": [[-5, -5], [70, 70]]}]
    _drop(painter, "whole.json", strokes.dumps(whole, 64).encode())
    expect(painter.line).to_contain_text("the whole picture is hole, nothing is known to fill it from")
    expect(painter.tiles.first.locator(".blank")).to_have_text("nothing is known")


def _drop(painter: Painter, name: str, data: bytes) -> None:
    """Drop a file onto the widget."""
    painter.root.evaluate(
        """(root, [name, data]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
            for (const kind of ["dragenter", "dragover", "drop"]) {
                root.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
            }
        }""",
        [name, base64.b64encode(data).decode()],
    )
