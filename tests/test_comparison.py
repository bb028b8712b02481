"""Two runs side by side: what differs, by how much, and what may pass."""

import base64
import io
import itertools
import json
import math
import re
from dataclasses import asdict

import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import EpsImagePlugin, Image

from nblib import comparison, results
from nblib.answers import METRICS, Answers, Settings
from nblib.comparison import Tolerances, compare, measures, sides
from nblib.comparison.report import page, text
from nblib.files import write_json
from nblib.metrics import Interval
from nblib.runs import Outcome
from tests.test_cli import nblib

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n%%EOF\n"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def png(pixels=((0, 0), (0, 0)), level=6):
    written = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(written, "PNG", compress_level=level)
    return base64.b64encode(written.getvalue()).decode()


def executed(parameters="steps = 2\nrate = 0.5", injected=None, shown=(), seconds=1.0, extra=()):
    """Return an executed notebook: parameters, perhaps a cell of papermill's, `extra` cells, one cell with pictures."""
    logged = {"papermill": {"duration": seconds, "status": "completed"}}
    found = [new_markdown_cell("# Title"), new_code_cell(parameters, id="given", metadata={"tags": ["parameters"]})]
    if injected is not None:
        log = {"papermill": {"duration": 0.25, "status": "completed"}}
        found.append(new_code_cell("# Parameters", metadata={"tags": ["injected-parameters"], **log}))
    figures = [
        new_output("display_data", {"image/png": data}, metadata={"image/png": {"alt": alt} if alt else {}})
        for data, alt in shown
    ]
    found += [*extra, new_code_cell("# a remark\nfigure = draw()", id="drawing", metadata=logged, outputs=figures)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    log = {"parameters": injected or {}, "duration": 4 * seconds}
    return new_notebook(cells=found, metadata={"kernelspec": kernel, "papermill": log})


def run(folder, metrics=None, notebook=None, name="00_first", **outcome):
    """Write a run of one notebook into `folder` (adding to what is there); return the folder."""
    path = folder / "run.json"
    before = json.loads(path.read_text())["notebooks"] if path.exists() else {}
    outcome = Outcome(**{"status": "complete", "seconds": 4.0, "parameters": {}, "stamp": "s", **outcome})
    outcomes = before | {name: asdict(outcome)}
    write_json(path, results.record("run", parameters={"profile": "smoke"}, seconds=4, metrics={}, notebooks=outcomes))
    (folder / name).mkdir()
    nbformat.write(notebook or executed(), folder / name / f"{name}.ipynb")
    if metrics is not None:
        results.write(folder / name, results.record("notebook", parameters={"steps": 2}, seconds=1, metrics=metrics))
    return folder


def board(folder, values, pictures="same", seconds=0.1):
    """Write an evaluation: per method the PSNR of each picture (the other metrics are 0)."""
    n = len(next(iter(values.values())))
    asked = Settings("seed", "toyfaces", "test", 0, n, 64, pictures)
    methods = {}
    for name, psnr in values.items():
        columns = {metric: np.zeros(n, np.float32) for metric in METRICS} | {"psnr": np.array(psnr, np.float32)}
        (folder / "methods").mkdir(parents=True, exist_ok=True)
        Answers(columns, seconds, np.zeros((1, 3, 4, 4), np.uint8)).save(folder / "methods" / f"{name}.npz")
        told = {metric: measures.metrics.bootstrap(column)._asdict() for metric, column in columns.items()}
        methods[name] = told | {"seconds_per_image": seconds}
    write_json(folder / "settings.json", asdict(asked))
    np.savez(folder / "questions.npz", shares=np.zeros(n), drawn=np.empty(0), images=np.zeros(1), masks=np.zeros(1))
    parameters = {"methods": list(values), **asdict(asked)}
    results.write(folder, results.record("evaluation", parameters=parameters, seconds=1, metrics={}, methods=methods))
    return folder


def the(found, name):
    return next(entry for entry in found.differences if entry.name == name)


@pytest.fixture
def a(tmp_path):
    return run(tmp_path / "a", {"psnr": 20.0, "ssim": 0.9, "live: loss": 0.5}, executed(shown=[(png(), "Four dots.")]))


# --- what may pass


def test_a_run_compared_with_itself_has_no_difference(a):
    found = compare(a, a)
    assert found.passes
    assert (found.changes, found.only_a, found.only_b, found.reasons) == ([], [], [], [])
    assert {entry.verdict for entry in found.differences} == {"equal"}
    assert [entry.state for entry in found.pictures] == ["identical"]


@pytest.mark.parametrize(
    ("psnr", "tolerances", "verdict"),
    [
        (20.2, [], "within"),  # 1 % of the larger value is 0.202
        (20.21, [], "beyond"),
        (19.79, [], "beyond"),
        (20.3, ["0.5"], "within"),
        (20.3, ["0.5", "psnr=0.2"], "beyond"),
        (20.3, ["psnr=0.2", "p*=5"], "beyond"),  # a name wins over a pattern
        (20.3, ["0.1", "*n*=0.5", "p*=0.2"], "beyond"),  # among patterns the last one
        (20.3, ["00_first/psnr=0.4"], "within"),
        (20.3, ["ssim=5"], "beyond"),  # the others keep the default
        (20.000001, ["0"], "beyond"),
        (None, ["100"], "missing"),
    ],
)
def test_a_difference_beyond_its_tolerance_fails(a, tmp_path, psnr, tolerances, verdict):
    b = run(tmp_path / "b", {"psnr": psnr, "ssim": 0.9, "live: loss": 0.5})
    found = compare(a, b, Tolerances.parse(tolerances))
    assert the(found, "psnr").verdict == verdict
    assert found.passes is (verdict == "within")


def test_relative_tolerances_are_shares_of_the_larger_value(a, tmp_path):
    b = run(tmp_path / "b", {"psnr": 21.0, "ssim": 0.9, "live: loss": 0.5})
    assert compare(a, b, Tolerances(0.048, relative=True)).passes  # of 20 it would be too little
    assert compare(b, a, Tolerances(0.048, relative=True)).passes
    assert not compare(a, b, Tolerances(0.047, relative=True)).passes
    assert not compare(a, b, Tolerances(0.05)).passes


def test_tiny_values_differ_by_rounding_without_being_beyond(tmp_path):
    one, two = run(tmp_path / "a", {"parity": 3e-7}), run(tmp_path / "b", {"parity": 5e-7})
    assert the(compare(one, two), "parity").verdict == "within"
    assert not compare(one, two, Tolerances(0.0)).passes


def test_what_b_lacks_fails_and_what_it_adds_passes(a, tmp_path):
    b = run(tmp_path / "b", {"psnr": 20.0, "ssim": None, "new": 1.0, "other": None})
    found = compare(a, b)
    verdicts = {entry.metric: entry.verdict for entry in found.differences}
    wanted = {"psnr": "equal", "ssim": "missing", "live: loss": "missing", "new": "new", "other": "equal"}
    assert verdicts == wanted
    assert found.reasons == ["2 metrics of A missing in B: 00_first/ssim, 00_first/live: loss"]
    more = run(tmp_path / "c", {"psnr": 20.0, "ssim": 0.9, "live: loss": 0.5, "new": 1.0})
    assert compare(a, more).passes
    assert compare(more, a).reasons == ["1 metric of A missing in B: 00_first/new"]


def test_notebooks_and_methods_in_one_only_are_named(a, tmp_path):
    b = run(run(tmp_path / "b", {"psnr": 20.0, "ssim": 0.9, "live: loss": 0.5}), {}, name="01_second")
    assert (compare(a, b).only_b, compare(a, b).passes) == (["01_second"], True)
    assert compare(b, a).reasons == ["01_second: in A only"]
    one, two = board(tmp_path / "c", {"gray": [1, 2], "mine": [3, 4]}), board(tmp_path / "d", {"gray": [1, 2]})
    assert compare(one, two).reasons == ["mine: in A only"]
    assert compare(two, one).passes


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_notebook_that_stops_completing_fails_whatever_an_earlier_attempt_left(a, tmp_path, status):
    same = {"psnr": 20.0, "ssim": 0.9, "live: loss": 0.5}
    b = run(tmp_path / "b", same, status=status, error="cell 3: it broke")
    assert compare(a, b).reasons == ["00_first is complete in A, not in B: cell 3: it broke"]
    assert compare(b, a).passes
    assert compare(b, b).passes


def test_times_pass_unless_a_ratio_is_asked_for(a, tmp_path):
    b = run(tmp_path / "b", {"psnr": 20.0, "ssim": 0.9, "live: loss": 0.5}, seconds=10.0)
    assert compare(a, b).passes
    assert compare(a, b, time_tolerance=2.5).passes
    assert compare(a, b, time_tolerance=2.4).reasons == ["00_first took 2.50 times as long"]
    assert compare(b, a, time_tolerance=1.0).passes  # faster
    one, two = board(tmp_path / "c", {"gray": [1, 2]}), board(tmp_path / "d", {"gray": [1, 2]}, seconds=0.3)
    assert compare(one, two).passes
    assert compare(one, two, time_tolerance=2).reasons == ["gray, per picture took 3.00 times as long"]


NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), NUMBERS), st.dictionaries(st.sampled_from("abc"), NUMBERS))
def test_swapping_the_sides_turns_every_sign_and_no_verdict(one, two):
    def found(*records):
        return {entry.metric: entry for entry in measures.differences(*map(sheet, records), Tolerances())}

    def sheet(metrics):
        spans = {f"{key} spanned": {"mean": v, "low": v - 1, "high": v + 2} for key, v in metrics.items() if v}
        return sides.Sheet("x", None, {"metrics": metrics | spans})

    there, back = found(one, two), found(two, one)
    turned = {"missing": "new", "new": "missing"}
    assert there.keys() == back.keys()
    for name, entry in there.items():
        assert back[name].verdict == turned.get(entry.verdict, entry.verdict)
        assert back[name].value == -entry.value or math.isnan(entry.value)
        np.testing.assert_allclose([back[name].low, back[name].high], [-entry.high, -entry.low])
    assert {entry.verdict for entry in found(one, one).values()} <= {"equal"}


# --- intervals


def test_two_intervals_give_that_of_the_difference_and_it_must_exclude_zero(tmp_path):
    def write(name, mean, low, high):
        metrics = {"psnr": {"mean": mean, "low": low, "high": high}}
        return run(tmp_path / name, metrics)

    one, near, far = write("a", 10, 9, 11.5), write("b", 11, 8, 12), write("c", 13, 12, 14)
    entry = the(compare(one, far), "psnr")
    assert (entry.low, entry.high) == pytest.approx((3 - math.hypot(1, 1.5), 3 + math.hypot(1, 1)))
    assert (entry.by, entry.verdict) == ("both", "beyond")
    assert the(compare(one, far, Tolerances(3.0)), "psnr").verdict == "within"
    entry = the(compare(one, near), "psnr")
    assert (entry.low, entry.high) == pytest.approx((1 - math.hypot(3, 1.5), 1 + math.hypot(1, 1)))
    assert entry.verdict == "unclear"
    assert compare(one, near).passes


def test_values_of_the_same_pictures_are_compared_picture_by_picture(tmp_path):
    psnr = np.random.default_rng(0).normal(20, 8, 40)
    wobble = np.random.default_rng(1).normal(0, 0.2, 40)
    one = board(tmp_path / "a", {"gray": psnr})
    two = board(tmp_path / "b", {"gray": psnr + 1 + wobble})
    other = board(tmp_path / "c", {"gray": psnr + 1 + wobble}, pictures="others")
    entry = the(compare(one, two), "gray psnr")
    assert (entry.by, entry.verdict) == ("paired", "beyond")
    assert entry.low < entry.value < entry.high < entry.low + 0.2
    entry = the(compare(one, other), "gray psnr")
    assert (entry.by, entry.verdict) == ("both", "unclear")
    for path in (two / "methods").iterdir():  # values that were not kept: no fault
        path.unlink()
    assert the(compare(one, two), "gray psnr").by == "both"


def test_pictures_without_a_value_are_left_out_of_the_pairs(tmp_path):
    one = board(tmp_path / "a", {"gray": [1.0, 2.0, 3.0, math.nan]})
    two = board(tmp_path / "b", {"gray": [2.0, 3.0, 4.0, math.nan]})
    entry = the(compare(one, two), "gray psnr")
    assert (entry.low, entry.value, entry.high) == (1.0, 1.0, 1.0)


# --- what is told


def test_settings_that_differ_are_told_with_defaults_and_once(tmp_path):
    given = "steps = 2\nrate = 0.5\nout = 'x'"
    one = run(tmp_path / "a", {"x": 1}, executed(given))
    notebook = executed(given.replace("0.5", "0.7"), {"steps": 9, "out": "y"})
    two = run(tmp_path / "b", {"x": 1}, notebook, parameters={"steps": 9}, stamp="t")
    path = two / "00_first" / "results.json"
    written = json.loads(path.read_text())
    write_json(path, written | {"device": "cuda: big", "versions": written["versions"] | {"torch": "9.9"}})
    changes = {change.what: (change.a, change.b) for change in compare(one, two).changes}
    assert changes.pop("device")[1] == "cuda: big"
    assert changes.pop("version of torch")[1] == "9.9"
    assert changes == {"parameter steps": (2, 9), "parameter rate": (0.5, 0.7), "code": ("s", "t")}
    run(one, {"x": 1}, name="01_second")
    run(two, {"x": 1}, executed("methods = 'all'"), name="01_second", stamp="t")
    changes = {change.what: change.where for change in compare(one, two).changes}
    assert changes["code"] == ()  # in both notebooks
    assert changes["parameter steps"] == ("00_first",)
    assert changes["parameter methods"] == ("01_second",)  # here a text; of an evaluation it is the list compared
    failed = run(tmp_path / "c", {"x": 1}, executed(given), status="failed", error="two\nlines")
    found = compare(two, failed)
    assert ("status", "complete", "failed") in [(change.what, change.a, change.b) for change in found.changes]
    assert "version of torch" not in {change.what for change in found.changes}  # that record is an earlier attempt's
    assert "two lines" in text(found)


def test_single_notebooks_tell_their_own_status_time_and_code(a, tmp_path):
    found = compare(a / "00_first", a / "00_first")
    assert (found.a.kind, found.passes, found.times[0].a) == ("notebook", True, 4.0)
    b = run(tmp_path / "b", None, executed("steps = 3", {"steps": 7}))
    changes = {change.what: (change.a, change.b) for change in compare(a / "00_first", b / "00_first").changes}
    assert changes["parameter steps"] == (2, 7)
    assert changes["code"][0] != changes["code"][1]
    same = run(tmp_path / "c", None, executed("steps = 2\nrate = 0.5", {"steps": 2}))
    assert "code" not in {change.what for change in compare(a / "00_first", same / "00_first").changes}
    broken = executed()
    broken.metadata["papermill"]["exception"] = True
    b = run(tmp_path / "d", {"psnr": 20.0}, broken)
    assert compare(a / "00_first", b / "00_first").reasons == ["00_first is complete in A, not in B: failed"]


def test_cells_of_a_sweep_are_compared_with_what_the_sweep_says_of_them(a, tmp_path):
    cell = run(tmp_path / "b", {"psnr": 20.0}) / "00_first"
    write_json(cell / "cell.json", asdict(Outcome("failed", 7.0, {"steps": 2}, "s", "the kernel died")))
    assert compare(a / "00_first", cell).reasons == ["00_first is complete in A, not in B: the kernel died"]
    write_json(tmp_path / "sweep" / "cells" / "one" / "cell.json", {})
    write_json(tmp_path / "sweep" / "sweep.json", {})
    nbformat.write(executed(), tmp_path / "sweep" / "00_first.ipynb")  # what is swept
    with pytest.raises(ValueError, match=r"sweep: a whole sweep; compare two of its cells, as in .*cells/one"):
        compare(a, tmp_path / "sweep")


def test_cells_are_matched_by_their_ids_and_the_largest_change_comes_first(tmp_path):
    more = new_code_cell("slow = 1", id="slow", metadata={"papermill": {"duration": 3.0, "status": "completed"}})
    pending = new_code_cell("never = 1", id="never", metadata={"papermill": {"duration": None, "status": "pending"}})
    one = run(tmp_path / "a", {}, executed(injected={}, seconds=1.0, extra=[pending]))
    two = run(tmp_path / "b", {}, executed(injected={}, seconds=1.5, extra=[more, pending]))
    found = [(cell.number, cell.line, cell.a, cell.b) for cell in compare(one, two).cell_times]
    assert found == [(2, "slow = 1", None, 3.0), (3, "figure = draw()", 1.0, 1.5), (0, "", 0.25, 0.25)]


def test_pictures_are_compared_by_their_pixels(tmp_path):
    before, after = ((0, 0), (0, 0)), ((0, 0), (0, 200))
    one = executed(shown=[(png(before), "Dots."), (png(before), "Same."), (png(before), ""), ("QUJD", "x")])
    two = executed(shown=[(png(after), "Dots."), (png(before, level=0), "Same."), (png(((0,),)), ""), ("QUJD", "x")])
    two.cells[-1].outputs.append(new_output("display_data", {"image/png": png()}))
    two.cells.insert(2, new_code_cell("new = 1", id="new"))
    found = compare(run(tmp_path / "a", {}, one), run(tmp_path / "b", {}, two)).pictures
    assert [entry.state for entry in found] == ["changed", "identical", "changed", "unreadable", "in B only"]
    assert found[0].share == 0.25
    marks = np.asarray(Image.open(io.BytesIO(found[0].apart.png)))
    assert marks.tolist() == [[255, 255], [255, 44]]
    assert (found[0].place, found[0].a.alt) == ("cell 2, picture 1", "Dots.")
    assert "no description" in found[2].a.alt
    assert (found[2].apart, math.isnan(found[2].share)) == (None, True)


def test_charts_of_an_evaluation_are_shown(tmp_path):
    one, two = board(tmp_path / "a", {"gray": [1, 2]}), board(tmp_path / "b", {"gray": [1, 2]})
    for folder in (one, two):
        (folder / "gallery.png").write_bytes(base64.b64decode(png()))
    assert [(entry.place, entry.state) for entry in compare(one, two).pictures] == [("gallery.png", "identical")]


# --- page, text, record


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    one = run(tmp_path / "a", {HOSTILE: 1.0, "y": 1.0, "z": 2.0}, executed(shown=[(png(), HOSTILE)]))
    notebook = executed(f"steps = {HOSTILE!r}", shown=[(png(((0, 9), (0, 0))), "Dots."), (png(), "\x1b[31m")])
    program = new_output("display_data", {"image/png": base64.b64encode(EPS).decode()})
    notebook.cells[-1].outputs.append(program)
    two = run(tmp_path / "b", {HOSTILE: 5.0, "y": None, "new": {"mean": 1, "low": 0, "high": 2}}, notebook)
    run(one, {}, name="01_second")
    run(two, {}, name="01_second", status="failed", error=HOSTILE + "\x1b[2J")
    return compare(one, two)


def test_nothing_in_the_records_is_markup_or_steers_the_terminal(hostile):
    shown = page(hostile)
    assert "<script" not in shown
    assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", shown)
    assert shown.count("&lt;script&gt;") >= 4
    assert "\x1b" not in text(hostile)
    assert HOSTILE in text(hostile)


def test_the_page_needs_nothing_but_itself_and_can_be_read_without_seeing(hostile):
    shown = page(hostile)
    assert '<html lang="en">' in shown
    assert not re.findall(r"(?:src|href)=\"(?!data:image/png;base64,)|https?://|url\(|@import", shown)
    for image in re.findall(r"<img[^>]*>", shown):
        assert re.search(r'alt="[^"]{3,}"', image)
    assert all('scope="' in head for head in re.findall(r"<th\b[^>]*>", shown))
    levels = [int(level) for level in re.findall(r"<h([1-6])", shown)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert shown.count("<table") == shown.count("<thead")
    assert "@media print" in shown


def test_the_colours_of_text_stand_out_from_white():
    template = (sides.results.Path(comparison.__file__).parents[1] / "templates" / "comparison.html.jinja").read_text()
    colours = dict(re.findall(r"--(\w+): #(\w{6})", template))
    for name in ("ink", "soft", "good", "bad", "open"):
        parts = [int(colours[name][k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
        assert 1.05 / (luminance + 0.05) >= 4.5, name  # WCAG 2, level AA


def test_identical_pictures_and_equal_metrics_are_folded(a):
    shown = page(compare(a, a))
    assert "Nothing that is on record" in shown
    assert "1 identical on both sides" in shown
    assert shown.count("<img") == 1
    assert "3 equal" in shown
    assert "B is within the tolerances of A" in shown


def test_the_record_is_in_the_schema_and_says_everything(hostile, tmp_path):
    target = comparison.save(hostile, tmp_path / "out")
    found = results.read(target.with_suffix(".json"))
    assert found["kind"] == "comparison"
    assert (found["passes"], found["reasons"]) == (False, hostile.reasons)
    assert found["metrics"]["metrics beyond"] == 1
    entry = next(entry for entry in found["differences"] if entry["metric"] == "y")
    assert (entry["verdict"], entry["a"]["mean"], entry["b"]["mean"], entry["value"]) == ("missing", 1.0, None, None)
    assert {entry["state"] for entry in found["pictures"]} == {"changed", "in B only", "unreadable"}


def test_the_terminal_shows_the_worst_first_and_counts_the_rest(tmp_path):
    one = run(tmp_path / "a", {f"m{k}": 1.0 for k in range(40)} | {"bad": 1.0, "worse": 1.0})
    two = run(tmp_path / "b", {f"m{k}": 1.001 for k in range(40)} | {"bad": 2.0, "worse": 4.0})
    lines = text(compare(one, two)).splitlines()
    rows = [line.split()[0] for line in lines if line.startswith("00_first/")]
    assert rows[:2] == ["00_first/worse", "00_first/bad"]
    assert len(rows) == 22
    assert "… and 20 more within tolerance or new; comparison.json has them" in lines


# --- wrong use

OUTCOME = {"status": "complete", "seconds": 1, "parameters": {}, "stamp": "s", "error": ""}
RUN = {"kind": "run", "parameters": {"profile": "smoke"}}


@pytest.mark.parametrize("given", ["psnr", "psnr=", "psnr=big", "=", "high"])
def test_tolerances_that_are_no_numbers_are_refused(given):
    with pytest.raises(ValueError, match="give a number for all metrics, or NAME=NUMBER"):
        Tolerances.parse([given])


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_tolerances_are_distances(value):
    with pytest.raises(ValueError, match="a number from 0 on"):
        Tolerances(named={"psnr": value})
    with pytest.raises(ValueError, match="a number from 0 on"):
        Tolerances(value)
    with pytest.raises(ValueError, match="relative: of which tolerance"):
        Tolerances(relative=True)


def test_names_may_hold_signs():
    tolerances = Tolerances.parse(["lift >= 3, own=0.1", "a [b]*=0.2"])
    assert tolerances.of(["lift >= 3, own"], 1.0, 1.0) == 0.1
    assert tolerances.of(["a [b] c"], 1.0, 1.0) == 0.2


@pytest.mark.parametrize(("name", "hint"), [("psrn", "did you mean 'psnr'"), ("xyz*", "no metric of that name")])
def test_unknown_tolerances_fail_before_notebooks_are_opened(a, name, hint):
    (a / "00_first" / "00_first.ipynb").write_text("{")
    with pytest.raises(ValueError, match=hint):
        compare(a, a, Tolerances(named={name: 1.0}))


@pytest.mark.parametrize("value", [0.5, -1.0, math.nan, math.inf])
def test_a_time_tolerance_is_a_ratio(a, value):
    with pytest.raises(ValueError, match="a number from 1 on"):
        compare(a, a, time_tolerance=value)


def test_what_is_nothing_to_compare_is_told_what_was_looked_for(a, tmp_path):
    (tmp_path / "empty").mkdir()
    for other in (tmp_path / "empty", tmp_path / "none", a / "00_first" / "00_first.ipynb"):
        with pytest.raises(FileNotFoundError, match=f"{other.name}: nothing .*run.json .*results.json"):
            compare(a, other)
    write_json(tmp_path / "empty" / "run.json", json.loads((a / "run.json").read_text()) | {"notebooks": {}})
    with pytest.raises(ValueError, match="a run without notebooks"):
        compare(tmp_path / "empty", a)


def test_records_of_different_kinds_are_refused(a, tmp_path):
    other = board(tmp_path / "b", {"gray": [1, 2]})
    with pytest.raises(ValueError, match=r"a is of kind 'run', .*b of kind 'evaluation'"):
        compare(a, other)
    with pytest.raises(ValueError, match=r"a run holds a folder for each notebook, as in .*a/00_first"):
        compare(a, a / "00_first")
    second = run(tmp_path / "c", {}, name="01_second") / "01_second"
    with pytest.raises(ValueError, match=r"is of 00_first, .* of 01_second: compare runs of one notebook"):
        compare(a / "00_first", second)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"),
        ("run.json", '{"kind": "run"}'),
        ("run.json", "[]"),
        ("run.json", json.dumps(RUN | {"notebooks": {"00_first": OUTCOME | {"parameters": None}}})),
        ("run.json", json.dumps(RUN | {"notebooks": {"00_first": OUTCOME | {"status": 3}}})),
        ("run.json", json.dumps(RUN | {"notebooks": {"00_first": OUTCOME | {"seconds": "3"}}})),
        ("run.json", json.dumps(RUN | {"notebooks": {"../00_first": OUTCOME}})),
        ("run.json", json.dumps(RUN | {"notebooks": {"first": OUTCOME}})),
        ("00_first/results.json", '{"kind": "notebook", "metrics"'),
        ("00_first/results.json", '{"metrics": {}}'),
        ("00_first/results.json", '{"kind": "notebook", "metrics": 3}'),
        ("00_first/results.json", '{"kind": "notebook", "versions": [1]}'),
        ("00_first/results.json", '{"kind": "evaluation", "methods": {"gray": 1}}'),
        ("00_first/results.json", '{"kind": ["x"], "metrics": {}}'),
        ("00_first/00_first.ipynb", "{"),
        ("00_first/00_first.ipynb", "[]"),
        ("00_first/00_first.ipynb", '{"cells": 1, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'),
        ("00_first/00_first.ipynb", '{"worksheets": []}'),
    ],
)
def test_damaged_files_are_named(a, file, content):
    (a / file).write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(a / file))):
        compare(a, a)


@pytest.mark.parametrize("parameters", [3, [1], "x"])
def test_parameters_that_papermill_never_wrote_are_damaged(a, parameters):
    path = a / "00_first" / "00_first.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.metadata["papermill"]["parameters"] = parameters
    nbformat.write(notebook, path)
    for place in (a, a / "00_first"):
        with pytest.raises(ValueError, match=r"00_first\.ipynb: damaged \(its parameters"):
            compare(place, place)


@pytest.mark.parametrize("file", ["run.json", "00_first", "00_first/results.json", "00_first/00_first.ipynb"])
def test_links_out_of_a_run_are_not_followed(a, tmp_path, file):
    (a / file).rename(tmp_path / "elsewhere")
    (a / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"{re.escape(str(a / file))}: leads out of .*not followed"):
        compare(a, a)
    (a / file).unlink()
    (tmp_path / "elsewhere").rename(a / file)
    (tmp_path / "link").symlink_to(a)
    assert compare(tmp_path / "link", a).passes  # what was named itself may be a link


@pytest.mark.parametrize("file", ["results.json", "gallery.png", "methods/gray.npz", "questions.npz", "cell.json"])
def test_links_out_of_an_evaluation_are_not_followed(tmp_path, file):
    one = board(tmp_path / "a", {"gray": [1, 2]})
    (one / "gallery.png").write_bytes(base64.b64decode(png()))
    write_json(one / "cell.json", asdict(Outcome("complete", 7.0, {}, "s")))
    (one / file).rename(tmp_path / "elsewhere")
    (one / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"{re.escape(str(one / file))}: leads out of .*not followed"):
        compare(one, one)


@pytest.mark.parametrize("file", ["methods/gray.npz", "questions.npz", "settings.json"])
def test_damaged_values_are_named(tmp_path, file):
    one = board(tmp_path / "a", {"gray": [1, 2]})
    (one / file).write_bytes(b"not this")
    with pytest.raises(ValueError, match=re.escape(str(one))):
        compare(one, one)


def test_numbers_that_json_should_not_hold_count_as_missing(a, tmp_path):
    b = run(tmp_path / "b", {})
    (b / "00_first" / "results.json").write_text(
        '{"kind": "notebook", "metrics": {"psnr": NaN, "ssim": HUGE, "live": {"loss": "0.5"}, "list": [1]}, '
        '"seconds": HUGE}'.replace("HUGE", "1" + 400 * "0")
    )
    assert {entry.metric: entry.verdict for entry in compare(a, b).differences} == dict.fromkeys(
        ("psnr", "ssim", "live: loss"), "missing"
    )


def test_an_interval_is_drawn_within_its_frame():
    entry = measures.Difference("", "", "x", Interval(1, 0, 2), Interval(3, 2, 4), 0.6, 3.4, "both", 0.02)
    marks = comparison.report.strip(entry)
    assert all(0 <= mark <= 100 for mark in marks.values())
    assert marks["low"] < marks["value"] < marks["high"]
    assert marks["left"] < 50 < marks["right"] < marks["low"]


# --- the verb


def test_the_verb_gates_by_its_status_and_writes_page_and_record(a, tmp_path, capsys):
    b, out = run(tmp_path / "b", {"psnr": 21.0, "ssim": 0.9, "live: loss": 0.5}), tmp_path / "out"
    status, printed, _ = nblib("compare", a, b, "--out", out, capsys=capsys)
    assert status == 1
    assert "1 metric beyond tolerance: 00_first/psnr" in printed
    assert printed.splitlines()[-1] == str(out / "comparison.html")
    assert results.read(out / "comparison.json")["passes"] is False
    status, printed, _ = nblib("compare", a, b, "--tolerance", "psnr=2", "--out", out, capsys=capsys)
    assert (status, results.read(out / "comparison.json")["passes"]) == (0, True)
    assert "B is within the tolerances of A" in printed
    assert nblib("compare", a, b, "--tolerance", "0.05", "--relative", "--out", out, capsys=capsys)[0] == 0
    given = ("--tolerance", 0, "--time-tolerance", 1)
    assert nblib("compare", a, a, *given, "--out", out, capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "pnsr=1"], "did you mean 'psnr'"),
        (["--tolerance", "psnr"], "--tolerance psnr: give a number for all metrics, or NAME=NUMBER"),
        (["--tolerance=-1"], "a number from 0 on"),
        (["--relative"], "relative: of which tolerance"),
        (["--time-tolerance", "0.5"], "a number from 1 on"),
    ],
)
def test_wrong_use_ends_with_2_and_writes_nothing(a, tmp_path, capsys, arguments, message):
    status, _, err = nblib("compare", a, a, *arguments, "--out", tmp_path / "out", capsys=capsys)
    assert (status, err.startswith("error: ")) == (2, True)
    assert message in err
    status, _, err = nblib("compare", a, tmp_path / "none", "--out", tmp_path / "out", capsys=capsys)
    assert status == 2
    assert "looks for a folder with run.json" in err
    assert not (tmp_path / "out").exists()


def test_the_verb_explains_itself_with_an_example(capsys):
    status, out, _ = nblib("compare", "--help", capsys=capsys)
    assert status == 0
    assert "Example: nblib compare" in " ".join(out.split())
