"""The attribute mixer in a real JupyterLab: labels, holes, samples, keys, an export, and a page without a kernel."""

import base64
import io
import json

import nbformat
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright")
from playwright.sync_api import expect

CELLS = [
    """
import torch
from nblib.datasets.imageset import ImageSet
from nblib.networks.classifier import AttributeClassifier
from nblib.networks.cvae import ConditionalVAE
from nblib.toys import faces
from nblib.widgets import AttributeMixer
torch.set_num_threads(1)
torch.manual_seed(0)
""",
    """
known, toys = faces.factors(0, torch.arange(3)), faces.sample(0, torch.arange(3))
images = ImageSet(toys.images, toys.attributes, faces.ATTRIBUTES, toys.landmarks, faces.LANDMARKS, name="toyfaces")
nets = {"smiling": (ConditionalVAE(4, 8), "smiling"), "general": (ConditionalVAE(4, 8, classes=0), "general")}
for net, _ in nets.values():
    torch.nn.init.normal_(net.dense.weight, std=20.0)  # start values draw nothing but gray, whatever the code
flipped = {"Smiling": faces.render(faces.flip(known, "Smiling"))}
mixer = AttributeMixer(images, nets, judge=AttributeClassifier(len(faces.ATTRIBUTES), 4), counterfactuals=flipped)
mixer
""",
    """
import time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.1)
print("the wait is over")
""",
]
PIXELS = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""
RENDER = """async ([script, written]) => {
    const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    const state = JSON.parse(written, (_, value) => (value?.base64 === undefined ? value : bytes(value.base64)));
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const model = { get: (name) => state[name], on() {}, off() {}, send() {} };
    (await import(url)).default.render({ model, el: document.getElementById("here") });
}"""
START = {
    "picture": 0, "hole": "own", "samples": 4, "temperature": 1, "seed": 0, "hole_seed": 0, "raw": False, "smiling": 1
}  # fmt: skip


class Mixer:
    """The widget on a page, and the same mixer in this process."""

    def __init__(self, page, twin):
        self.page, self.twin, self.root = page, twin, page.locator(".nblib-mixer")
        self.root.and_(page.locator("[data-ready='1']")).wait_for()
        self.trouble = self.root.get_by_role("alert")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def slider(self, name: str):
        return self.root.get_by_role("slider", name=name)

    def choose_hole(self, name: str) -> None:
        self.root.get_by_role("combobox", name="hole").select_option(name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def pixels(self, figure) -> np.ndarray:
        url = figure.locator("img").evaluate(PIXELS)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(int)

    def agrees(self, **settings) -> None:
        """Compare what the browser shows with the twin, whose settings follow."""
        self.twin.choose(**settings)
        self.root.and_(self.page.locator("[data-ready='1'][aria-busy='false']")).wait_for()
        expect(self.root.locator(".line")).to_have_text(self.twin.line)
        stills = self.root.locator(".stills figure").all()
        for figure, (name, told, picture) in zip(stills, self.twin._stills(self.twin.picture), strict=True):
            np.testing.assert_array_equal(self.pixels(figure), picture.permute(1, 2, 0))
            expect(figure.locator("figcaption")).to_have_text("".join([name, *told.split(" · ")]))
        for k, row in enumerate(self.twin.rows):
            figures = self.root.locator(".row").nth(k).locator("figure")
            expect(figures).to_have_count(len(row.pictures) + 1 + (len(row.pictures) > 1))
            for picture, figure in zip([row.seen, *row.pictures], figures.all(), strict=False):
                assert np.abs(self.pixels(figure) - picture.permute(1, 2, 0).numpy()).max() <= 1
            for j, (told, figure) in enumerate(zip(row.told, figures.all()[1:], strict=False), 1):
                expect(figure.locator("figcaption")).to_have_text("".join([f"sample {j}", *told.split(" · ")]))


def notebook(cells: list[str]) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    return nbformat.v4.new_notebook(cells=written, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def twin():
    names = {}
    exec("\n".join(CELLS[:2]), names)
    return names["mixer"]


@pytest.fixture
def mixer(jupyterlab, tmp_path, twin):
    nbformat.write(notebook(CELLS), tmp_path / "root" / "mixer.ipynb")
    jupyterlab.open("mixer.ipynb")
    jupyterlab.run_all()
    mixer = Mixer(jupyterlab.page, twin)
    mixer.root.scroll_into_view_if_needed()
    mixer.agrees(**START)
    yield mixer
    expect(mixer.trouble).to_be_hidden()
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []


@pytest.mark.slow
def test_labels_samples_and_holes(mixer, tmp_path):
    page, said = mixer.page, mixer.page.locator(".jp-OutputArea-output", has_text="the wait is over")
    apart = (row.pictures[1:].int() - row.pictures[:-1].int() for row in mixer.twin.rows)
    assert all((sample.abs().amax((1, 2, 3)) > 10).all() for sample in apart)  # so that they cannot be mixed up

    mixer.button("Smiling: no").click()
    mixer.agrees(smiling=0)
    expect(mixer.button("Smiling: no")).to_have_attribute("aria-pressed", "true")
    mixer.slider("Smiling, mixed from no to yes").focus()
    mixer.press(*["ArrowRight"] * 5)
    mixer.agrees(smiling=0.25)
    for name in ("no", "yes"):
        expect(mixer.button(f"Smiling: {name}")).to_have_attribute("aria-pressed", "false")
    mixer.slider("samples").focus()
    mixer.press("End")
    mixer.agrees(samples=16)
    mixer.press("Home", "ArrowRight")
    mixer.agrees(samples=2)
    mixer.slider("temperature").focus()
    mixer.press("Home")
    mixer.agrees(temperature=0)
    expect(mixer.root.get_by_text("0.0, the mean")).to_be_visible()
    expect(mixer.root.locator(".row").first.locator("figcaption").last).to_have_text("spreadall are the same")

    expect(mixer.button("Other rectangle")).to_be_enabled()  # that of the network called general
    mixer.choose_hole("mouth box")
    mixer.agrees(hole="smiling")
    expect(mixer.button("Other rectangle")).to_be_disabled()
    mixer.choose_hole("nothing hidden")
    mixer.agrees(hole="glasses-remover")
    mixer.choose_hole("large rectangle")
    mixer.agrees(hole="general-big")
    mixer.button("Other rectangle").click()
    mixer.agrees(hole_seed=1)
    mixer.button("Raw output").click()
    mixer.agrees(raw=True)
    with page.expect_download() as download:
        mixer.button("Export PNG").click()
    assert download.value.suggested_filename == "mixed.png"
    mixer.twin.export(tmp_path / "twin.png")
    with Image.open(download.value.path()) as figure, Image.open(tmp_path / "twin.png") as expected:
        assert figure.size == expected.size
    expect(said).to_have_count(0)  # all that while a cell ran
    (tmp_path / "root" / "go").touch()
    said.wait_for()


@pytest.mark.slow
def test_keys_and_pictures(mixer, tmp_path):
    (tmp_path / "root" / "go").touch()
    page = mixer.page
    page.locator(".jp-OutputArea-output", has_text="the wait is over").wait_for()
    cells = page.locator(".jp-Cell").count()
    mixer.slider("samples").focus()
    for key, change in [("s", {"seed": 1}), ("f", {"smiling": 0}), ("h", {"hole_seed": 1}), ("r", {"raw": True})]:
        mixer.press(key)
        mixer.agrees(**change)
    mixer.press(*"rsfhsfs")  # faster than the kernel answers; nothing gets lost
    mixer.agrees(raw=False, seed=4, smiling=0, hole_seed=2)
    mixer.button("Sample again").focus()
    mixer.press("PageDown", "b", "d", "d")  # JupyterLab would insert a cell, and delete one
    mixer.agrees(picture=1)
    mixer.press("PageDown", "PageDown")  # there are three
    mixer.agrees(picture=2)
    expect(mixer.button("next picture")).to_be_disabled()
    mixer.button("previous picture").click()
    mixer.agrees(picture=1)
    assert page.locator(".jp-Cell").count() == cells


@pytest.mark.slow
def test_a_page_without_a_kernel_keeps_its_pictures_and_says_that_none_answers(jupyterlab, twin):
    twin.choose(**START)
    state = {name: value for name, value in twin.get_state().items() if not name.startswith("_") and name != "layout"}
    state["row_0"] = {**state["row_0"], "samples": [*state["row_0"]["samples"], b"older"]}  # a saved page may hold more
    written = json.dumps(state, default=lambda data: {"base64": base64.b64encode(data).decode()})
    jupyterlab.page.set_content("<div id='here'></div>")
    jupyterlab.page.evaluate(RENDER, [twin._esm, written])
    mixer = Mixer(jupyterlab.page, twin)
    mixer.agrees()
    mixer.button("Smiling: no").click()
    mixer.press("s")
    expect(mixer.button("Smiling: no")).to_have_attribute("aria-pressed", "true")
    expect(mixer.root).to_have_attribute("aria-busy", "true")
    expect(mixer.trouble).to_contain_text("No answer from the kernel")
    expect(mixer.button("Smiling: yes")).to_have_attribute("aria-pressed", "true")
    mixer.agrees()
    assert jupyterlab.errors == []
