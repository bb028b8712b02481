"""The report site in a real browser, from disk: nothing leaves it, nothing of a stranger's acts, all can read it."""

import re

import pytest
import torch
from ipywidgets import Widget
from nbformat.v4 import new_code_cell, new_output

from nblib import site
from nblib.networks.sagan import Stem
from nblib.site.widgets import STATE
from nblib.widgets import AttentionExplorer
from tests.browser.test_pages import assert_readable
from tests.test_site import board, first, hostile_run, third, write_run

KINDS = ("index", "00_first", "03_third", "leaderboard", "gallery", "api", "api-nblib.layers", "search", "print")


def with_widgets(count=1):
    """Return a notebook with the saved state of explorers, as a run leaves it, and their states."""
    explorers = [AttentionExplorer(torch.zeros(2, 3, 64, 64), {"D": Stem(width=8)}) for _ in range(count)]
    for explorer in explorers:
        explorer.select(8, 32, query=2)
    views = [{"model_id": explorer.model_id, "version_major": 2, "version_minor": 0} for explorer in explorers]
    shown = [new_output("display_data", data={"application/vnd.jupyter.widget-view+json": view}) for view in views]
    notebook = first(new_code_cell("explorer", outputs=shown))
    notebook.metadata["widgets"] = {STATE: Widget.get_manager_state(widgets=explorers)}
    saved = notebook.metadata["widgets"][STATE]["state"]
    return notebook, [saved[explorer.model_id] for explorer in explorers]


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    run = write_run(
        tmp_path_factory.mktemp("run"), {"00_first": with_widgets()[0], "03_third": third()}, record=board()
    )
    return site.build(run)


@pytest.mark.slow
def test_every_kind_of_page_is_accessible_and_asks_the_network_for_nothing(front, browser_page):
    browser_page.belongs_to("file://")
    for kind in KINDS:
        address = (front.parent / f"{kind}.html").as_uri() + ("?q=the" if kind == "search" else "")
        assert_readable(browser_page.page, address)
    assert (browser_page.errors, browser_page.foreign) == ([], [])


@pytest.mark.slow
def test_a_reader_searches_sorts_turns_pages_and_sees_widgets(front, browser_page):
    browser_page.belongs_to("file://")
    page = browser_page.page
    page.goto(front.as_uri())
    page.get_by_placeholder("Search all pages").fill("teal field")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("place").wait_for()
    page.locator("#found a").first.click()
    page.wait_for_url(re.compile(r"00_first\.html#00_first--same$"))
    assert page.locator("math mfrac").first.bounding_box()["height"] > 20  # drawn as a fraction, not as text
    assert page.locator("main img").first.evaluate("image => image.naturalWidth") == 640

    page.locator("figure.widget[data-ready='1'] .nblib-explorer canvas.area").first.wait_for()
    line = page.locator(".nblib-explorer .line")
    assert line.inner_text().startswith("D · attention")
    page.locator(".nblib-explorer canvas.area").first.click()  # no kernel answers: it stays as it was saved
    assert page.locator(".nblib-explorer figcaption b").first.inner_text() == "query 1: row 32, column 32"

    page.get_by_role("link", name="03 The third →").click()
    page.wait_for_url(re.compile("03_third"))
    page.get_by_role("link", name="Leaderboard", exact=True).click()
    names = page.locator("table.sortable tbody th")
    assert names.all_inner_texts() == ["best", "middle", "worst"]
    page.get_by_role("button", name="bias").press("Enter")
    assert names.all_inner_texts() == ["worst", "middle", "best"]
    page.get_by_role("button", name="method").click()
    assert names.all_inner_texts() == ["best", "middle", "worst"]
    page.get_by_role("button", name="method").click()
    assert names.all_inner_texts() == ["worst", "middle", "best"]
    assert page.locator("th[aria-sort]").inner_text().startswith("method")
    assert (browser_page.errors, browser_page.foreign) == ([], [])


@pytest.mark.slow
def test_a_widget_whose_saved_state_is_cut_off_says_so_and_the_others_are_shown(browser_page, tmp_path, monkeypatch):
    monkeypatch.setattr("nblib.site.api.modules", lambda: [])
    notebook, states = with_widgets(4)
    cuts = {"png": (100, "the picture png is cut off"), "maps": (684, "multiple of 4"), "colours": (5, "atob")}
    for state, (name, (length, _)) in zip(states, cuts.items(), strict=False):
        (buffer,) = (buffer for buffer in state["buffers"] if buffer["path"] == [name])
        buffer["data"] = buffer["data"][:length]
    run = write_run(tmp_path / "run", {"00_first": notebook})
    browser_page.belongs_to("file://")
    page = browser_page.page
    page.goto((site.build(run).parent / "00_first.html").as_uri())
    figures = page.locator("figure.widget")
    figures.nth(3).locator("xpath=self::*[@data-ready='1']").wait_for()
    for figure, (_, reason) in zip(figures.all(), cuts.values(), strict=False):
        told = figure.locator(".stage").inner_text()
        assert told.startswith("This widget's saved state cannot be shown (")
        assert reason in told
        assert figure.get_attribute("data-ready") is None
    assert figures.nth(3).locator(".nblib-explorer .line").inner_text().startswith("D · attention")
    assert (browser_page.errors, browser_page.foreign) == ([], [])


@pytest.mark.slow
def test_a_printed_widget_is_on_one_sheet(front, browser_page):
    page = browser_page.page
    page.set_viewport_size({"width": 672, "height": 1000})  # A4 between margins of 16 mm
    page.emulate_media(media="print")
    page.goto((front.parent / "print.html").as_uri())
    page.locator("figure.widget[data-ready='1']").wait_for()
    box = page.locator("figure.widget").bounding_box()
    assert box["height"] < 980  # what is left between margins of 18 mm


@pytest.mark.slow
def test_a_hostile_run_does_nothing_even_without_the_policy(browser_page, tmp_path, monkeypatch):
    monkeypatch.setattr("nblib.site.api.modules", lambda: [])
    front = site.build(hostile_run(tmp_path / "run"))
    browser_page.belongs_to("file://")
    page, tried = browser_page.page, 0
    page.on("dialog", lambda dialog: browser_page.errors.append(dialog.message))
    for guarded in (True, False):
        for path in sorted(front.parent.glob("*.html")):
            if not guarded:  # two walls stand; each must hold alone
                path.write_text(re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", path.read_text()))
            page.goto(path.as_uri() + ("?q=script" if path.name == "search.html" else ""))
            for summary in page.locator("main details summary").all():
                summary.click()
            for link in page.locator("main a:not([href])").all():
                link.click()
            page.locator("main").hover()
            assert page.evaluate("window.acted") is None, (path.name, guarded)
            assert page.evaluate("[({}).acted, ({}).x].every((value) => value === undefined)"), path.name
            tried += 1
    assert tried >= 14
    assert page.url.startswith("file://")
    assert browser_page.foreign == []
    assert browser_page.errors == []


@pytest.mark.slow
def test_the_printed_page_begins_each_notebook_on_a_new_sheet(front, browser_page):
    browser_page.belongs_to("file://")
    browser_page.page.goto((front.parent / "print.html").as_uri())
    printed = browser_page.page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 4  # contents, two notebooks, leaderboard
    browser_page.page.goto((front.parent / "00_first.html").as_uri())
    browser_page.page.emulate_media(media="print")
    assert not browser_page.page.locator("header").is_visible()
    assert not browser_page.page.get_by_role("navigation", name="in this notebook").is_visible()
    assert browser_page.foreign == []
