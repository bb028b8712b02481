"""The report site as files: every link leads somewhere, every picture has words, nothing of a stranger's can act."""

import base64
import hashlib
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import bs4
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from nblib import cli, results, site
from nblib.site import api, gather, html, widgets
from nblib.site.build import Site

FORMULA = r"$$W_i = \frac{1}{|N(i)|}\sum_{j \in N(i)} m_j, \qquad \log p(x)$$"
ACT = "window.acted=true;fetch('https://elsewhere.example/x')"
HOSTILE = f"""
# A <script>{ACT}</script> title " onmouseover="{ACT}

<script>{ACT}</script><img src="https://elsewhere.example/a.png" onerror="{ACT}"><svg onload="{ACT}"></svg>
<iframe src="https://elsewhere.example"></iframe><object data="https://elsewhere.example"></object>
<style>body {{ background: url(https://elsewhere.example/b.png) }}</style><base href="https://elsewhere.example/">
<meta http-equiv="refresh" content="0; url=https://elsewhere.example"><form action="https://elsewhere.example"></form>
<input autofocus onfocus="{ACT}">
<math><mtext><table><mglyph><style><!--</style>
<img title="--&gt;&lt;img src=1 onerror={ACT}&gt;"></table></mtext></math>
<details ontoggle="{ACT}" open><summary style="background: url(https://elsewhere.example/c.png)">s</summary></details>

[one](javascript:{ACT}) [two](JaVaScRiPt:{ACT}) [three](data:text/html,<script>{ACT}</script>) [four](file:///etc/passwd)
[five](../../../etc/passwd) [six](//elsewhere.example/x) ![secret](../../secret.png) ![etc](file:///etc/passwd)

$\\text{{<img src=x onerror={ACT}>}}$ $\\href{{javascript:{ACT}}}{{x}}$ $\\style{{background:url(https://elsewhere.example/d.png)}}{{y}}$
"""


def picture(colour: str = "teal") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 200), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shown(alt: str | None = "A teal field.", data: str = ""):
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return new_output(
        "display_data", data={"image/png": data or picture(), "text/plain": "<Figure>"}, metadata=metadata
    )


def board(methods=("best", "worst", "middle"), values=(22.5, 12.25, 18.0)):
    rows = {
        name: {
            "hole_psnr": {"mean": value, "low": value - 1, "high": value + 1},
            "ssim": {"mean": value / 25, "low": value / 26, "high": value / 24},
            "bias": {"mean": -value / 100, "low": -0.5, "high": 0.5},
            "seconds_per_image": value / 1000,
        }
        for name, value in zip(methods, values, strict=True)
    }
    return results.record(
        "evaluation", parameters={}, seconds=1, metrics={}, protocol="seed", data="toyfaces", split="test", seed=0,
        n=64, methods=rows,
    )  # fmt: skip


def first(*more):
    code = new_code_cell(
        "picture = 1  # a comment\nprint('done')",
        outputs=[
            new_output("stream", name="stderr", text="drawing: 10%|#"),
            new_output("stream", name="stderr", text="\rdrawing: 100%|####\n"),
            shown(),
            new_output("display_data", data={"text/html": "<table><tr><td>cell</td></tr></table>"}),
        ],
        metadata={"papermill": {"duration": 2.34}},
    )
    prose = (
        "## Same\n\nSee [the third](03_third.ipynb), [its end](03_third.ipynb#The-End), [later](09_later.ipynb), "
        f"[here](#Same), [paper](https://arxiv.org/abs/1).\n\n{FORMULA}\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    title = "# The first\n\nIts *promise*.\n\n<!-- measured -->Took *long*.<!-- /measured -->"
    return new_notebook(cells=[new_markdown_cell(title), new_markdown_cell(prose), code, *more])


def third():
    error = new_output(
        "error", ename="ValueError", evalue="<b>no</b>", traceback=["\x1b[31mValueError\x1b[0m: <b>no</b>"]
    )
    cells = [new_markdown_cell("# The third"), new_code_cell("raise ValueError", outputs=[error])]
    return new_notebook(cells=[*cells, new_markdown_cell("## The End\n\n## The End")])


def write_run(folder: Path, notebooks: dict, failed=("03_third",), record=None) -> Path:
    """Write what `nblib run` leaves."""
    outcomes = {}
    for name, notebook in notebooks.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / name / f"{name}.ipynb")
        ended = (
            {"status": "failed", "error": "cell 2: ValueError: <b>no</b>"} if name in failed else {"status": "complete"}
        )
        outcomes[name] = {"seconds": 3.5, "parameters": {"steps": 4}, "stamp": "s", "error": ""} | ended
    if record:
        results.write(folder / next(iter(notebooks)), record)
    run = results.record("run", parameters={"profile": "smoke"}, seconds=7, metrics={}, notebooks=outcomes)
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def soup(path: Path) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The site of a run with a complete and a failed notebook and a leaderboard: its pages by name."""
    folder = write_run(tmp_path_factory.mktemp("run"), {"00_first": first(), "03_third": third()}, record=board())
    front = site.build(folder)
    assert front == folder / "site" / "index.html"
    return {path.name: soup(path) for path in front.parent.glob("*.html")}


@pytest.fixture
def quick(monkeypatch):
    """Sites without the reference, which takes a second to read."""
    monkeypatch.setattr(api, "modules", lambda: [])


def test_chapters_whose_names_give_one_address_have_pages_of_their_own_everywhere(tmp_path, quick):
    names = ["03_a b", "03_a-b", "03_A-B"]
    said = {name: new_notebook(cells=[new_markdown_cell(f"# It is {name}.")]) for name in names}
    front = site.build(write_run(tmp_path / "run", said, failed=()))
    shown = {link.get_text(): link["href"] for link in soup(front).select(".card h2 a")}
    assert len({address.casefold() for address in shown.values()}) == 3
    for text, address in shown.items():
        assert text.removeprefix("03").strip() == soup(front.parent / address).h1.get_text()
    printed = soup(front.parent / "print.html")
    assert len({article["id"] for article in printed.select("article.sheet")}) == 3


def test_every_link_of_every_page_leads_somewhere(pages):
    ids = {name: [tag["id"] for tag in page.find_all(id=True)] for name, page in pages.items()}
    assert len(pages) > 60
    for name, page in pages.items():
        assert len(ids[name]) == len(set(ids[name])), name
        for link in page.find_all("a", href=True):
            if link["href"].startswith("https://"):
                continue
            target, _, fragment = link["href"].partition("#")
            assert (target or name) in pages, (name, link)
            assert not fragment or unquote(fragment) in ids[target or name], (name, link)


def test_every_picture_has_words_and_a_file(pages, tmp_path):
    images = [image for page in pages.values() for image in page.find_all("img")]
    assert {image["src"] for image in images} == {"figures/00_first-1.png", "figures/board-00_first.png"}
    assert all(len(image["alt"]) > 10 and int(image["width"]) > 99 for image in images)


def test_links_between_notebooks_lead_to_pages_and_to_missing_ones_nowhere(pages):
    links = {link.get_text(): link["href"] for link in pages["00_first.html"].main.find_all("a")}
    assert links["the third"] == "03_third.html"
    assert links["its end"] == "03_third.html#03_third--the-end"
    assert links["here"] == "#00_first--same"
    assert links["paper"] == "https://arxiv.org/abs/1"
    assert "later" not in links
    assert "later" in pages["00_first.html"].main.get_text()
    assert pages["00_first.html"].find("a", rel="next")["href"] == "03_third.html"
    assert pages["03_third.html"].find("a", rel="prev")["href"] == "00_first.html"


def test_failures_are_shown_where_one_looks(pages):
    assert "1 of 2 notebooks complete" in pages["index.html"].get_text()
    for name in ("index.html", "03_third.html", "print.html"):
        assert "cell 2: ValueError: <b>no</b>" in pages[name].get_text(), name
    link = pages["03_third.html"].find("a", string="Where it stopped")
    assert "ValueError" in pages["03_third.html"].find(id=link["href"][1:]).find_next("pre", class_="error").get_text()


def test_formulas_are_mathml_that_keeps_its_tex(pages):
    formula = pages["00_first.html"].find("math", display="block")
    assert formula["alttext"] == FORMULA.strip("$")
    assert formula.find("mfrac")
    assert formula.find("mi", string="log").find_next_sibling().name == "mspace"
    assert html.mathml(r"\left(x", "inline") == r"<code>\left(x</code>"


def test_text_printed_in_pieces_is_shown_as_a_terminal_would(pages):
    assert [pre.get_text() for pre in pages["00_first.html"].find_all("pre", class_="stderr")] == ["drawing: 100%|####"]
    assert pages["00_first.html"].find("p", class_="time").get_text() == "2.3 s"
    assert "Took long." in pages["00_first.html"].get_text()


def test_the_leaderboard_is_sorted_and_says_how_to_sort(pages):
    rows = pages["leaderboard.html"].find("table").tbody.find_all("tr")
    assert [row.th.get_text() for row in rows] == ["best", "middle", "worst"]
    assert [cell.get_text() for cell in rows[0].find_all("td")] == [
        "22.50 [21.50, 23.50]", "0.9000 [0.8654, 0.9375]", "-0.2250 [-0.5000, 0.5000]", "22.5",
    ]  # fmt: skip
    heads = {
        head.get_text(strip=True): head.button["data-first"] for head in pages["leaderboard.html"].thead.find_all("th")
    }
    assert heads["PSNR in the hole (dB)"] == "descending"
    assert heads["bias"] == "ascending"


def test_search_knows_prose_code_formulas_outputs_and_the_library(pages):
    index = json.loads(pages["search.html"].find(id="index").get_text())
    found = {place: text for place, _, _, text in index}
    same = found["00_first.html#00_first--same"]
    assert all(word in same for word in ("the third", r"\frac{1}", "a comment", "A teal field."))
    assert "ValueError: <b>no</b>" in found["03_third.html#03_third--the-third"]
    assert "api-nblib.masks.html#nblib.masks.sampler" in found


def test_the_reference_has_signatures_sections_and_links(pages):
    page = pages["api-nblib.layers.html"]
    entry = page.find(id="nblib.layers.SelfAttention2d").parent
    assert "SelfAttention2d(channels: int, *, pool: bool = True" in entry.get_text()
    assert [part.get_text() for part in entry.find_all("p", class_="part", recursive=False)][:2] == [
        "Parameters",
        "Raises",
    ]
    assert entry.find(id="nblib.layers.SelfAttention2d.attention_maps")
    assert not any("]_" in other.get_text() for other in pages.values() if "nblib.layers" in str(other.title))
    assert "api-nblib.metrics.html" in {link["href"] for link in pages["api.html"].find_all("a")}


def test_the_page_for_printing_holds_everything_and_stays_on_itself(pages):
    page = pages["print.html"]
    assert page.header is None
    assert {tag["id"] for tag in page.find_all(class_="sheet")} == {"00_first", "03_third", "sheet-00_first"}
    assert page.find("a", string="the third")["href"] == "#03_third"
    assert page.find("a", string="its end")["href"] == "#03_third--the-end"
    assert len(page.find_all("img")) == 2


def check_harmless(page: bs4.BeautifulSoup) -> None:
    """Nothing on the page can act but our own programs, which its policy names."""
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    for script in page.find_all("script"):
        digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
        assert script.get("type") == "application/json" or f"'sha256-{digest}'" in policy
    for tag in page.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on") or name in ("style", "srcdoc", "srcset")], tag
        assert tag.name not in ("iframe", "object", "embed", "svg", "base", "style"), tag
        assert re.fullmatch(r"(https?://\S+|mailto:\S+|[\w.#%-]*)", tag.get("href", "")), tag
        assert re.fullmatch(r"(figures/[\w.-]+|data:image/(png|jpeg);base64,\S+)?", tag.get("src", "")), tag
    assert [tag["action"] for tag in page.find_all("form", action=True)] in ([], ["search.html"])
    assert len(page.find_all("meta", attrs={"http-equiv": True})) == 1


def hostile_run(folder: Path) -> Path:
    """Write a run of someone who means harm."""
    evil = f"</script><script>{ACT}</script>"
    state = {
        "a": {"state": {"_anywidget_id": "nblib.widgets.monitor.TrainingMonitor", "_esm": ACT, "line": evil,
                        "caption": evil, "status": evil, "trouble": evil, "version": 1,
                        "curves": {"steps": [1, 2], "series": {evil: [1, 2]}}},
              "buffers": [{"encoding": "base64", "path": ["picture"], "data": picture()},
                          {"encoding": "base64", "path": ["__proto__", "x"], "data": ""},
                          {"encoding": "base64", "path": ["constructor", "prototype", "acted"], "data": ""},
                          {"encoding": "base64", "path": ["curves", "constructor", "prototype", "acted"], "data": ""}]},
        "b": {"state": {"_anywidget_id": "evil.Widget", "_esm": ACT}},
        "c": {"state": {"_anywidget_id": "nblib.widgets.../../x.Y", "_esm": ACT}},
    }  # fmt: skip
    view = "application/vnd.jupyter.widget-view+json"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{ACT}"><script>{ACT}</script></svg>'
    outputs = [
        new_output("display_data", data={"text/html": HOSTILE}),
        new_output("display_data", data={"text/markdown": HOSTILE}),
        new_output("display_data", data={"application/javascript": ACT, "text/plain": "nothing"}),
        new_output("display_data", data={"image/svg+xml": svg, "text/plain": "a drawing"}),
        new_output("display_data", data={"text/latex": f"$\\text{{<img src=x onerror={ACT}>}}$"}),
        new_output("stream", name="stdout", text=evil),
        shown(f'"><script>{ACT}</script>'),
        shown("A broken picture.", base64.b64encode(svg.encode()).decode()),
        *(new_output("display_data", data={view: {"model_id": model}, "text/plain": evil}) for model in "abc"),
    ]
    cells = [new_markdown_cell(HOSTILE), new_code_cell(evil, outputs=outputs), new_markdown_cell("## The end")]
    metadata = {"widgets": {widgets.STATE: {"state": state, "version_major": 2, "version_minor": 0}}}
    run = write_run(folder, {"00_first": new_notebook(cells=cells, metadata=metadata)}, record=board([evil, "b", "c"]))
    text = (run / "run.json").read_text()
    text = text.replace('"steps": 4', f'"steps": {json.dumps(evil)}').replace('"smoke"', json.dumps(evil))
    (run / "run.json").write_text(text.replace('"error": ""', f'"error": {json.dumps(evil)}'))
    return run


def test_nothing_that_a_run_brings_along_can_act(pages, tmp_path, quick):
    for page in pages.values():
        check_harmless(page)
    front = site.build(hostile_run(tmp_path / "run"))
    for path in front.parent.glob("*.html"):
        check_harmless(soup(path))
    page = soup(front.parent / "00_first.html")
    assert page.find("figure", class_="widget")["data-module"] == "monitor"
    assert len(page.find_all("figure", class_="widget")) == 1
    assert ACT not in "".join(script.string for script in page.find_all("script", type=None))
    assert '"_esm"' not in str(page)
    saved = json.loads(page.find("figure", class_="widget").find("script").string)
    assert [buffer["path"] for buffer in saved["buffers"]] == [["picture"]]
    assert "[picture: secret]" in page.get_text()
    assert "[A picture that cannot be read: A broken picture.]" in page.get_text()


@pytest.mark.parametrize("name", ["../other", "/etc", "00_a/../../b", "..", "00_\\..\\x", ""])
def test_names_that_lead_out_of_the_run_are_refused(name, tmp_path, quick):
    run = write_run(tmp_path / "run", {"00_first": first()})
    record = json.loads((run / "run.json").read_text())
    record["notebooks"] = {name: record["notebooks"]["00_first"]}
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"run\.json: not the record of a run .*is no name of a notebook"):
        site.build(run)


def test_links_to_files_outside_the_run_are_not_followed(tmp_path, quick):
    run = write_run(tmp_path / "run", {"00_first": first(), "03_third": third()})
    secret = tmp_path / "secret.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# The secret")]), secret)
    results.write(tmp_path / "hidden", board(["secret method", "b", "c"]))
    (run / "00_first" / "00_first.ipynb").unlink()
    (run / "00_first" / "00_first.ipynb").symlink_to(secret)
    (run / "03_third" / "results.json").symlink_to(tmp_path / "hidden" / "results.json")
    text = "".join(path.read_text() for path in site.build(run).parent.glob("*.html"))
    assert "a link to a file outside the run" in text
    assert "The secret" not in text
    assert "secret method" not in text


def test_damaged_notebooks_and_results_become_notes(tmp_path, quick):
    run = write_run(tmp_path / "run", {"00_first": first(), "03_third": third(), "04_x": first()})
    (run / "00_first" / "00_first.ipynb").write_text("{")
    (run / "04_x" / "04_x.ipynb").unlink()
    (run / "03_third" / "results.json").write_text("[]")
    front = site.build(run)
    assert "Its copy cannot be read" in soup(front.parent / "00_first.html").get_text()
    assert "There is no copy of this notebook" in soup(front).get_text()
    (run / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="not the record of a run"):
        site.build(run)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("run notebooks 00_first parameters", ["x"]),
        ("run notebooks 00_first parameters", None),
        ("run parameters", {}),
        ("run parameters", [1]),
        ("run versions", []),
        ("run device", [1]),
        ("notebook widgets", []),
        ("notebook widgets", {widgets.STATE: []}),
        ("notebook widgets", {widgets.STATE: {"state": None}}),
        ("picture", "x"),
        ("picture", {"alt": ["x"]}),
        ("model", None),
        ("model state", None),
        ("model state", []),
        ("model buffers", None),
        ("model buffers", {"a": 1}),
        ("model buffers", ["x", None, {}, {"encoding": "base64"}]),
        ("model buffers", [{"encoding": "base64", "path": path, "data": ""} for path in (3, [], [[]], [None], "x")]),
        ("model buffers", [{"encoding": "base64", "path": ["picture"], "data": data} for data in (3, None, ["x"])]),
        ("model buffers", [{"encoding": "base64", "path": ["line", 0, "x"], "data": ""}]),
        ("results", []),
        ("results metrics", ["x"]),
        ("results metrics", {"x": 10**400, "y": "z"}),
        ("results peak_memory_mb", "much"),
        ("results methods", {"a": 3, "b": {"ssim": [1]}}),
    ],
)
def test_fields_of_a_wrong_kind_end_nothing(where, value, tmp_path, quick):
    view = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "a"}})
    model = {"state": {"_anywidget_id": "nblib.widgets.monitor.TrainingMonitor", "line": "x"}, "buffers": []}
    notebook = first(new_code_cell("1", outputs=[shown(), view]))
    notebook.metadata["widgets"] = {widgets.STATE: {"state": {"a": model}}}
    run = write_run(tmp_path / "run", {"00_first": notebook}, record=board())
    files = {name: run / place for name, place in (("run", "run.json"), ("results", "00_first/results.json"))}
    found = {name: json.loads(path.read_text()) for name, path in files.items()}
    found |= {
        "notebook": notebook.metadata,
        "model": notebook.metadata["widgets"][widgets.STATE]["state"]["a"],
        "picture": notebook.cells[-1].outputs[0].metadata,
    }
    *path, last = {"picture": "picture image/png", "model": "notebook widgets " + widgets.STATE + " state a",
                   "results": "results"}.get(where, where).split()  # fmt: skip
    if path:
        owner = found
        for name in path:
            owner = owner[name]
        owner[last] = value
    else:
        found[last] = value
    nbformat.write(notebook, run / "00_first" / "00_first.ipynb")
    for name, file in files.items():
        file.write_text(json.dumps(found[name]))
    front = site.build(run)
    page = soup(front.parent / "00_first.html")
    assert "Same" in page.get_text()
    if where == "run notebooks 00_first parameters":
        assert "Its parameters cannot be read." in page.get_text()
    for kept in page.select("figure.widget script"):
        assert json.loads(kept.string)["buffers"] == []


def test_boards_with_nothing_to_draw_odd_names_or_a_broken_gallery_are_shown(tmp_path, quick):
    record = board(["a $\\foo{$", "b $x$", "c"])
    results.write(tmp_path / "all" / "named", record)
    for scores in record["methods"].values():
        del scores["hole_psnr"], scores["ssim"]
    results.write(tmp_path / "all" / "empty", record)
    (tmp_path / "all" / "empty" / "gallery.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    front = site.build(tmp_path / "all")
    page = soup(front.parent / "leaderboard.html")
    assert [image["src"] for image in page.find_all("img")] == ["figures/board-2-named-board.png"]
    assert "[The picture of the fills cannot be read.]" in page.get_text()
    assert page.get_text().count("a $\\foo{$") == 2
    assert len(page.find_all("table")) == 2


@pytest.mark.parametrize("file", ["run.json", "results.json"])
def test_records_that_are_links_to_elsewhere_are_not_followed(file, tmp_path, quick):
    if file == "run.json":
        write_run(tmp_path / "secret", {"00_first": first()})
    else:
        results.write(tmp_path / "secret", board())
    for place in ("all", "all/one"):
        (tmp_path / place).mkdir()
        (tmp_path / place / file).symlink_to(tmp_path / "secret" / file)
    with pytest.raises(FileNotFoundError, match="no run and no evaluation in it"):
        site.build(tmp_path / "all")


def test_results_of_an_earlier_attempt_are_not_shown(tmp_path, quick):
    record = board() | {"metrics": {"loss": 0.125, "psnr": {"mean": 20, "low": 19, "high": 21}}, "peak_memory_mb": 4000}
    run = write_run(tmp_path / "run", {"00_first": first()}, failed=("00_first",), record=record)
    (part,) = gather.gather(run)
    assert (part.boards, part.chapters[0].metrics, part.chapters[0].peak_memory_mb) == ((), {}, None)
    (part,) = gather.gather(write_run(tmp_path / "run", {"00_first": first()}, record=record))
    found = {name: str(value) for name, value in part.chapters[0].metrics.items()}
    assert (len(part.boards), found) == (1, {"loss": "0.125", "psnr": "20 [19, 21]"})


def test_figures_without_a_description_say_so(tmp_path, quick):
    run = write_run(tmp_path / "run", {"00_first": first(new_code_cell("1", outputs=[shown(alt=None)]))})
    alts = [image["alt"] for image in soup(site.build(run).parent / "gallery.html").find_all("img")]
    assert alts == ["A teal field.", "Figure 2 of “The first”; it has no description."]


def test_several_runs_and_evaluations_share_a_site(tmp_path, quick):
    write_run(tmp_path / "all" / "monday", {"00_first": first(), "03_third": third()}, record=board())
    write_run(tmp_path / "all" / "later" / "tuesday", {"00_first": first(), "03_third": third()})
    results.write(tmp_path / "all" / "measured", board(["x", "y", "z"]))
    Image.new("RGB", (300, 200)).save(tmp_path / "all" / "measured" / "gallery.png")
    front = site.build(tmp_path / "all", tmp_path / "site")
    names = {path.name for path in front.parent.glob("*.html")}
    assert {"1-later-tuesday-00_first.html", "3-monday-00_first.html"} < names
    assert (
        soup(front.parent / "3-monday-00_first.html").find("a", string="the third")["href"] == "3-monday-03_third.html"
    )
    assert [head.get_text() for head in soup(front).find_all("h2")] == ["later/tuesday", "measured", "monday"]
    boards = soup(front.parent / "leaderboard.html")
    assert len(boards.find_all("table")) == 2
    assert boards.find("img", src="figures/board-2-measured-board-fills.png")
    alone = site.build(tmp_path / "all" / "measured")
    assert soup(alone.parent / "leaderboard.html").h2.get_text() == "measured"
    assert "An evaluation: 64 pictures; data toyfaces" in soup(alone).get_text()


def test_numbers_that_are_missing_stay_empty(tmp_path, quick):
    record = board()
    record["methods"]["worst"] = {"hole_psnr": {"mean": None}, "ssim": "much"}
    results.write(tmp_path / "run", record)
    rows = soup(site.build(tmp_path / "run").parent / "leaderboard.html").tbody.find_all("tr")
    assert [cell.get_text() for cell in rows[-1].find_all("td")] == ["–"] * 4
    assert rows[-1].td["data-value"] == ""
    record["methods"] = {}
    results.write(tmp_path / "run", record)
    with pytest.raises(ValueError, match="an evaluation without methods"):
        gather.gather(tmp_path / "run")


def test_only_a_site_is_replaced_and_only_by_a_whole_one(tmp_path, quick, monkeypatch):
    run, out = write_run(tmp_path / "run", {"00_first": first()}), tmp_path / "site"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is no report site; choose another --out"):
        site.build(run, out)
    (out / "thesis.txt").unlink()
    site.build(run, out)
    nbformat.write(third(), run / "00_first" / "00_first.ipynb")
    site.build(run, out)
    assert "The third" in (out / "00_first.html").read_text()

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(Site, "_printed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        site.build(run, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "site"]

    (out / "figures" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds figures/notes\.txt, which is no part of the site"):
        site.build(run, out)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(FileExistsError, match="is no folder"):
        site.build(run, tmp_path / "link")


def test_the_command_prints_the_front_page_and_says_what_is_wrong(tmp_path, quick, capsys, monkeypatch):
    run = write_run(tmp_path / "run", {"00_first": first()})
    status = _status(["report", str(run), "--out", str(tmp_path / "site")])
    assert (status, capsys.readouterr().out.strip()) == (0, str(tmp_path / "site" / "index.html"))
    assert _status(["report", str(tmp_path / "none")]) == 2
    assert "no such folder; name one that `nblib run`" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert _status(["report", str(tmp_path / "empty")]) == 2
    assert "no run and no evaluation in it" in capsys.readouterr().err

    for name in [name for name in sys.modules if name.startswith("nblib.site")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("nblib.site")
    monkeypatch.setitem(sys.modules, "nh3", None)
    assert _status(["report", str(run)]) == 1
    assert "nh3" in (said := capsys.readouterr().err)
    assert "pip install -e" in said


def _status(arguments: list[str]) -> int:
    try:
        cli.main(arguments)
    except SystemExit as end:
        return end.code or 0
    return 0
