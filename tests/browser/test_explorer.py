"""The attention explorer in a real JupyterLab: clicked, brushed, moved by keys, through players and steps, exported."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from nblib.widgets import overlay

CELLS = [
    """
import torch
from torch import nn
from nblib.networks.sagan import Generator, Stem
from nblib.toys import cars
from nblib.widgets import AttentionExplorer
torch.set_num_threads(1)
torch.manual_seed(0)
""",
    """
def lively(net, factor):  # start values give uniform maps
    with torch.no_grad():
        for conv in (net.attention.query, net.attention.key):
            nn.utils.parametrize.remove_parametrizations(conv, "weight")
            conv.weight.normal_(0, 0.08 * factor)  # start values are alike, so that a place looks at itself
        net.attention.gamma.fill_(0.5)
    return net
""",
    """
stems = {step: lively(Stem(width=32), 1 + step / 100) for step in (0, 500, 1000)}
G = lively(Generator(), 3000)
images = cars.sample(0, torch.arange(4)).images
explorer = AttentionExplorer(images, {"D": stems, "G": (G, torch.randn(3, G.latent_dim))})
explorer
""",
    """
import time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.1)
print("the wait is over")
""",
]


class Explorer:
    """The widget on a page."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".nblib-explorer")
        self.root.and_(page.locator("[data-ready='1']")).wait_for()
        self.picture = self.root.get_by_role("application")
        self.maps = self.root.locator(".view .area")
        self.titles = self.root.locator(".view:not([hidden]) figcaption b")

    def answers(self, act) -> None:
        """Do something and wait until the widget shows what the kernel answered."""
        before = self.root.get_attribute("data-version")
        act()
        later = "before => Number(document.querySelector('.nblib-explorer').dataset.version) > Number(before)"
        self.page.wait_for_function(later, arg=before)

    def place(self, row: int, column: int) -> dict[str, float]:
        """Return where the middle of a pixel of the picture lies in its element, the border apart."""
        side = self.picture.evaluate("canvas => canvas.clientWidth") / 64
        return {"x": (column + 0.5) * side, "y": (row + 0.5) * side}

    def click(self, row: int, column: int, **keys) -> None:
        self.answers(lambda: self.picture.click(position=self.place(row, column), **keys))

    def drag(self, *places: tuple[int, int]) -> None:
        self.picture.scroll_into_view_if_needed()
        box, border = self.picture.bounding_box(), self.picture.evaluate("canvas => canvas.clientLeft")
        ways = [self.place(*place) for place in places]
        points = [(box["x"] + border + way["x"], box["y"] + border + way["y"]) for way in ways]
        self.page.mouse.move(*points[0])
        self.answers(self.page.mouse.down)
        for point in points[1:]:
            self.answers(lambda point=point: self.page.mouse.move(*point))
        self.page.mouse.up()

    def press(self, key: str) -> None:
        self.answers(lambda: self.page.keyboard.press(key))

    def pixels(self, canvas) -> np.ndarray:
        url = canvas.evaluate("canvas => canvas.toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(int)


@pytest.fixture
def explorer(jupyterlab, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "root" / "explorer.ipynb")
    jupyterlab.open("explorer.ipynb")
    jupyterlab.run_all()
    yield Explorer(jupyterlab.page)
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


@pytest.fixture
def done(explorer, tmp_path):
    """No cell runs any more."""
    (tmp_path / "root" / "go").touch()
    explorer.page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()


@pytest.fixture(scope="module")
def twin():
    """The same explorer, in this process."""
    names = {}
    exec("\n".join(CELLS[:3]), names)
    return names["explorer"]


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_a_picture_is_clicked_brushed_and_moved_through(explorer, twin):
    page = explorer.page
    expect(explorer.titles).to_have_text(["query 1: row 32, column 32"])
    first = explorer.pixels(explorer.maps.first)
    explorer.click(44, 14)
    expect(explorer.titles).to_have_text(["query 1: row 44, column 14"])
    clicked = explorer.pixels(explorer.maps.first)
    assert (clicked != first).mean() > 0.1
    twin.select(44, 14)
    _agree(clicked, twin, 0)
    expect(explorer.root.locator(".view figcaption").first).to_contain_text(twin.told[0][2])
    label = f"map of {': '.join([twin.told[0][0], ', '.join(twin.told[0][1:])])}, largest weight "
    label += f"{twin.views()[0].peak:.1f} times uniform"
    expect(explorer.maps.first).to_have_attribute("aria-label", label)

    explorer.picture.focus()
    explorer.press("ArrowRight")
    explorer.press("Shift+ArrowUp")
    expect(explorer.titles).to_have_text(["query 1: row 36, column 16"])
    assert (explorer.pixels(explorer.maps.first) != clicked).mean() > 0.1
    explorer.press("Enter")
    expect(explorer.titles).to_have_text(["query 1: 29 pixels"])  # a disc of radius 3
    explorer.press("ArrowDown")
    explorer.press("Enter")
    expect(explorer.titles).to_have_text(["query 1: row 38, column 16"])

    explorer.drag((44, 12), (44, 18), (50, 18))
    region = np.zeros((64, 64), bool)
    rows, columns = np.mgrid[:64, :64]
    for row, column in [(44, c) for c in range(12, 19)] + [(r, 18) for r in range(44, 51)]:
        region |= (rows - row) ** 2 + (columns - column) ** 2 <= 9
    expect(explorer.titles).to_have_text([f"query 1: {region.sum()} pixels"])
    twin.brush(region)
    _agree(explorer.pixels(explorer.maps.first), twin, 0)

    explorer.click(44, 48, modifiers=["Shift"])
    expect(explorer.titles).to_have_text([f"query 1: {region.sum()} pixels", "query 2: row 44, column 48"])
    twin.select(44, 48, query=2)
    _agree(explorer.pixels(explorer.maps.nth(1)), twin, 1)
    explorer.answers(lambda: explorer.maps.nth(1).click(position=explorer.place(10, 10)))
    expect(explorer.titles.nth(1)).to_have_text("query 2: row 10, column 10")

    explorer.picture.focus()
    page.keyboard.press("Space")
    expect(explorer.root.get_by_role("button", name="Query 2")).to_have_attribute("aria-pressed", "true")
    explorer.press("ArrowDown")
    expect(explorer.titles.nth(1)).to_have_text("query 2: row 12, column 10")
    explorer.press("Delete")
    expect(explorer.titles).to_have_text([f"query 1: {region.sum()} pixels"])
    explorer.answers(explorer.root.get_by_role("button", name="Query 2").click)
    expect(explorer.titles).to_have_count(2)


@pytest.mark.slow
def test_players_steps_pictures_overlay_and_export(explorer, twin, tmp_path):
    page, root = explorer.page, explorer.root
    explorer.click(20, 20)
    explorer.click(32, 32)
    said = page.locator(".jp-OutputArea-output", has_text="the wait is over")
    expect(said).to_have_count(0)  # both were answered while a cell runs
    (tmp_path / "root" / "go").touch()
    said.wait_for()
    line, strength = root.locator(".line"), root.get_by_role("slider", name="strength of the overlay")
    expect(line).to_have_text("D · attention · step 1,000 · gamma 0.500 · picture 1 of 4")
    before = explorer.pixels(explorer.maps.first)
    root.get_by_role("slider", name="training step").focus()
    explorer.press("ArrowLeft")
    expect(line).to_contain_text("step 500")
    assert (explorer.pixels(explorer.maps.first) != before).mean() > 0.1
    shown = explorer.pixels(explorer.picture)
    root.get_by_role("slider", name="picture").focus()
    explorer.press("ArrowRight")
    expect(line).to_contain_text("picture 2 of 4")
    assert (explorer.pixels(explorer.picture) != shown).mean() > 0.1
    shown = explorer.pixels(explorer.picture)
    explorer.answers(lambda: root.get_by_role("combobox").select_option("G · attention"))
    expect(line).to_have_text("G · attention · gamma 0.500 · picture 2 of 3")
    expect(root.get_by_role("slider", name="training step")).to_be_hidden()
    assert (explorer.pixels(explorer.picture) != shown).mean() > 0.1

    strength.focus()
    page.keyboard.press("Home")
    expect(root.get_by_text("0 %", exact=True)).to_be_visible()
    gray = explorer.pixels(explorer.maps.first)[:200, :200]  # away from the query
    assert np.ptp(gray, axis=2).max() <= 1
    page.keyboard.press("End")
    twin.choose(network="G", picture=1)
    twin.remove()
    twin.select(32, 32)
    twin.strength = 1.0
    _agree(explorer.pixels(explorer.maps.first), twin, 0)

    with page.expect_download() as download:
        root.get_by_role("button", name="Export PNG").click()
    assert download.value.suggested_filename == "attention.png"
    with Image.open(download.value.path()) as figure:
        assert figure.size[0] > figure.size[1] > 300


def _agree(found: np.ndarray, twin, query: int) -> None:
    """Compare what the browser drew with the library's, the outline of the query apart."""
    picture, _ = twin._shown()
    expected = overlay(picture, twin.views()[query].map, twin.strength, len(found) // 64)
    assert (np.abs(found - expected).max(2) > 6).mean() < 0.06  # outlines, and one colour of the table's 256
    assert np.median(np.abs(found - expected)) <= 1
