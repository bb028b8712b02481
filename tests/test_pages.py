"""The pages of a run: figures with their texts, titles, nothing unescaped."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nblib import pages, runs


@pytest.mark.parametrize("name", runs.available())
def test_figures_keep_their_texts_on_the_page(name, tmp_path):
    pages.write_notebook_page(runs.available()[name], tmp_path / "page.html")
    images = re.findall(r"<img[^>]*>", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(images) >= 4
    for image in images:
        assert len(re.search(r'alt="([^"]*)"', image)[1]) > 30
        assert "No description" not in image


def test_title_and_promise_come_without_markup():
    notebook = new_notebook(cells=[new_markdown_cell("# A *GAN*\n\nIt `draws`\nand **draws**.\n\nMore.")])
    assert pages.title_and_promise(notebook) == ("A *GAN*", "It draws and draws.")
    assert pages.title_and_promise(new_notebook()) == ("Untitled", "")


def test_the_first_figure_is_found_with_its_text():
    data = {"image/png": "QUJD\nREVG\n"}
    output = new_output("display_data", data=data, metadata={"image/png": {"alt": "Letters."}})
    cells = [new_code_cell("1"), new_code_cell("2", outputs=[output])]
    assert pages.first_figure(new_notebook(cells=cells)) == pages.Figure("QUJDREVG", "Letters.")
    assert pages.first_figure(new_notebook()) is None


def test_the_index_escapes_what_notebooks_and_errors_say(tmp_path):
    (tmp_path / "00_x").mkdir()
    cells = [new_markdown_cell("# <script>alert(1)</script>\n\nA promise.")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "00_x" / "00_x.ipynb")
    outcome = runs.Outcome("failed", 1.0, {}, "stamp", "cell 3: ValueError: <b>")
    page = pages.index_page(runs.Run(tmp_path, "smoke", {"00_x": outcome}))
    assert "<script>alert" not in page
    assert "&lt;b&gt;" in page
    assert "0 of 1 notebooks complete" in page
