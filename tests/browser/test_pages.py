"""The pages for one purpose in a real browser, from disk: all can read them, also small, and nothing leaves them."""

import json

import nbformat
import pytest

from nblib import comparison, pages, runs
from nblib.classroom import guide, stubs
from nblib.comparison import report
from nblib.sweeps import gallery, plans, tables
from tests.test_comparison import board, executed, png, run
from tests.test_sweeps import fill

GRAVE = ("serious", "critical")
VIEWS = (("light", 1280), ("dark", 390))


def assert_readable(page, address):
    """Open a page, on a screen and as small as on a telephone; assert that it fits and that axe finds nothing grave."""
    sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme, width in VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (address, width)
        found = sync_playwright.Axe().run(page, options={"preload": False}).response["violations"]
        grave = [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in GRAVE]
        assert grave == [], (address, width)


def compared_runs(tmp_path):
    """Return the page about two runs with everything in it: settings, metrics, times of cells, pictures."""
    sides = []
    for name, colour, steps in (("a", 0, 2), ("b", 200, 3)):
        shown = [
            (png(((0, 0), (0, colour))), "Four dots, one of them perhaps lighter."),
            (png(), "Dots."),
        ]
        notebook = executed(f"steps = {steps}\nroot = '/a/long/path/to/pictures/{name}'", shown=shown, seconds=steps)
        metrics = {"psnr": 20.0, "a loss with a very long name": 0.5 * steps, "live": {"D": steps}}
        sides.append(run(tmp_path / f"run-{name}", metrics, notebook, seconds=4.0 * steps))
    return report.save(comparison.compare(*sides), tmp_path / "runs")


def compared_boards(tmp_path):
    """Return the page about two evaluations, with paired intervals."""
    one = board(tmp_path / "board-a", {"gray": [20.0, 21.0, 22.0], "lost": [1.0, 2.0, 3.0]})
    other = board(tmp_path / "board-b", {"gray": [22.0, 22.5, 24.5]}, seconds=0.3)
    return report.save(comparison.compare(one, other), tmp_path / "boards")


def swept(tmp_path):
    """Return the page of a sweep with many metrics, and with cells that failed and are missing."""
    plan, source = plans.make("00", {"limit": ["24", "48"], "pictures": ["60", "90"]}, 2, "smoke", {})
    *_, missing, failed = plan.cells
    fill(tmp_path / "sweep", plan, source, failed=[failed], missing=[missing])
    metrics = [f"{method}_hole_psnr" for method in ("gray", "telea", "biharmonic", "patchmatch", "refiner", "exemplar")]
    for number, path in enumerate((tmp_path / "sweep" / "cells").glob("*/results.json")):
        values = {name: 20.123 + number for name in metrics}
        path.write_text(json.dumps({"kind": "notebook", "metrics": values}))
    return gallery.write(tmp_path / "sweep", plan, tables.write(tmp_path / "sweep", plan))


def for_teachers(tmp_path):
    """Return the teacher's page of one chapter."""
    name = "04_latent_search"
    asked = stubs.exercises_of(nbformat.read(runs.available()[name], as_version=4))
    return guide.write(tmp_path / "teacher", {name: asked}, progress=False)


def glance(tmp_path):
    """Return the page that a run leaves beside its notebooks."""
    ended = {"00_tour": runs.Outcome("complete", 2.0, {"seed": 1}, "s", "")}
    ended["01_gan_basics"] = runs.Outcome("failed", 130.0, {}, "s", "cell 3: ValueError: " + "long " * 60)
    path = tmp_path / "index.html"
    path.write_text(pages.index_page(runs.Run(tmp_path, "smoke", ended)), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("write", [compared_runs, compared_boards, swept, for_teachers, glance])
def test_a_page_is_accessible_fits_a_telephone_and_asks_the_network_for_nothing(write, browser_page, tmp_path):
    browser_page.belongs_to("file://")
    assert_readable(browser_page.page, write(tmp_path).as_uri())
    assert (browser_page.errors, browser_page.foreign) == ([], [])


@pytest.mark.slow
def test_a_printed_sweep_shows_its_whole_table(browser_page, tmp_path):
    page = browser_page.page
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 between margins of 14 mm
    page.emulate_media(media="print")
    page.goto(swept(tmp_path).as_uri())
    edges = page.locator("table").bounding_box()
    assert edges["x"] + edges["width"] <= 688
