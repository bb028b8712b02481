import contextlib
import io
import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import CancelledError, KilledWorker
from rich.console import Console
from scipy import stats

from nblib import cli, paths, runs
from nblib.comparison import measures
from nblib.locks import alone, lock
from nblib.sweeps import cells, clusters, drive, figures, gallery, plans, tables, tasks
from nblib.sweeps.live import Board

sys.path.insert(0, str(Path(__file__).parent / "faults"))
import sweepable

ARGUMENTS = {"steps": [1, 2, 4], "rate": [0.5, 1.0]}


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A series of one small notebook."""
    folder = sweepable.write_series(tmp_path / "repository" / "notebooks")
    monkeypatch.setattr(paths, "REPOSITORY", folder.parent)
    monkeypatch.setattr(paths, "notebooks_dir", lambda: folder)
    return folder


def make(grid=ARGUMENTS, seeds=2, profile="class", given=None):
    return plans.make("00", grid, seeds, profile, given or {})


def fill(out, plan, source, *, failed=(), missing=()):
    """Write what the cells of a sweep leave, without running them."""
    plan.save(out, source)
    for name, given in plan.cells.items():
        if name in missing:
            continue
        folder = plans.cell_folder(out, name)
        folder.mkdir(parents=True)
        status, error = (runs.FAILED, "cell 2: <b>too many</b>") if name in failed else (runs.COMPLETE, "")
        nbformat.write(source, folder / f"{plan.notebook}.ipynb")
        (folder / f"{plan.notebook}.html").write_text("page")
        if status == runs.COMPLETE:
            steps = given.get("steps", 2)
            metrics = {"loss": 1 / steps + given["seed"], "deep": {"er": 2}, "steps": steps, "w": None}
            (folder / "results.json").write_text(json.dumps({"kind": "notebook", "metrics": metrics}))
        outcome = runs.Outcome(status, 2.0, given, plan.stamp, error)
        (folder / "cell.json").write_text(json.dumps(asdict(outcome)))


@pytest.fixture
def filled(series, tmp_path):
    """A sweep folder with ten complete cells, one that failed and one that is missing."""
    plan, source = make()
    out = tmp_path / "out"
    names = list(plan.cells)
    source.cells[3].outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": 'a "dot" & more'}})
    ]
    fill(out, plan, source, failed=names[-1:], missing=names[-2:-1])
    return out, plan


# the plan


def test_a_plan_has_every_combination_and_seed(series):
    plan, _ = make(given={"pause": "1"})
    assert len(plan.cells) == 12
    assert plan.cells["steps=2_rate=0.5_seed=1"] == {"pause": 1.0, "steps": 2, "rate": 0.5, "seed": 1}
    assert plan.grid == {"steps": [1, 2, 4], "rate": [0.5, 1.0]}


def test_values_are_of_the_type_of_the_default_and_override_the_profile(series):
    (series / "profiles" / "class.yaml").write_text("00_small:\n  rate: 0.25\n  pause: 2\n")
    plan, _ = make({"rate": ["1", "0.5"]}, seeds=1)
    assert [given["rate"] for given in plan.cells.values()] == [1.0, 0.5]
    assert all(given["pause"] == 2.0 for given in plan.cells.values())


def test_seeds_count_from_the_one_that_is_set(series):
    assert [given["seed"] for given in make({}, 3, given={"seed": 7})[0].cells.values()] == [7, 8, 9]
    assert [given["seed"] for given in make({"steps": [1, 2]}, 1)[0].cells.values()] == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"grid": {"stepz": [1]}}, "00_small has no parameter 'stepz'; did you mean 'steps'"),
        ({"given": {"paus": 1}}, "did you mean 'pause'"),
        ({"grid": {"steps": ["few"]}}, "steps='few' is not of type int"),
        ({"grid": {"steps": [1, "1"]}}, "steps has the value 1 twice"),
        ({"grid": {"rate": ["0.1", "0.10"]}}, "rate has the value 0.1 twice"),
        ({"grid": {"rate": ["1e999"]}}, "rate=inf is not a number"),
        ({"grid": {"steps": []}}, r"steps=\[\]; give a list of at least one value"),
        ({"grid": {"name": "ab"}}, "name='ab'; give a list"),
        ({"grid": {}, "seeds": 1}, "nothing to sweep"),
        ({"given": {"steps": 3}}, "steps is both swept and fixed"),
        ({"grid": {"out": ["a", "b"]}}, "out: each cell of a sweep writes into its own folder"),
        ({"given": {"out": "a"}}, "out: each cell"),
        ({"grid": {"seed": [1, 2]}}, "seed is swept already; leave --seeds out"),
        ({"seeds": 0}, "--seeds 0: give at least 1"),
        ({"profile": "huge"}, "profile 'huge': there is none"),
    ],
)
def test_what_is_wrong_with_a_plan_is_found_before_anything_starts(series, call, message):
    with pytest.raises(ValueError, match=message):
        make(**call)


@pytest.mark.parametrize("change", [("seed = 0", "start = 0"), ("seed = 0", "seed = None")])
def test_seeds_need_a_seed(series, change):
    path = series / "00_small.ipynb"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match="--seeds 2: 00_small has no whole-number parameter 'seed'"):
        make()
    assert len(make(seeds=1)[0].cells) == 6


@pytest.mark.parametrize("text", ["steps", "steps=", "=1,2", "steps=1,,2"])
def test_a_malformed_grid_is_refused(text):
    with pytest.raises(ValueError, match="give a name and its values"):
        plans.read_grid([text])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="--grid steps is given twice"):
        plans.read_grid(["steps=1", "rate=2", "steps=3"])


def test_names_of_cells_are_distinct_and_can_be_folders():
    names = [plans.cell_name({"root": root}) for root in ("/a b", "/a-b", "/a/b", "x" * 300, "x" * 299 + "y")]
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[\w.=+-]{1,100}", name) for name in names)


def test_cells_that_differ_in_capitals_alone_have_folders_of_their_own_everywhere(series):
    plan, _ = make({"name": ["a", "A"]}, 1)
    first, second = plan.cells
    assert first == "name=a_seed=0"
    assert re.fullmatch(r"name=A_seed=0-[0-9a-f]{8}", second)
    assert [given["name"] for given in plan.cells.values()] == ["a", "A"]


def test_a_plan_is_read_back_as_it_was(series, tmp_path):
    plan, source = make()
    plan.save(tmp_path / "out", source)
    assert plans.Plan.load(tmp_path / "out") == plan
    (tmp_path / "out" / "sweep.json").write_text("{}")
    with pytest.raises(ValueError, match="not the plan of a sweep"):
        plans.Plan.load(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no sweep there"):
        plans.Plan.load(tmp_path / "none")


def test_a_folder_with_another_sweep_is_refused_with_each_difference(filled):
    out, plan = filled
    with pytest.raises(FileExistsError, match="add --resume"):
        plans.admit(out, plan, resume=False)
    plans.admit(out, plan, resume=True)
    other, _ = make({"steps": [1, 2], "name": ["a", "b"]}, 1, "smoke", {"pause": 1})
    with pytest.raises(ValueError, match="holds another sweep") as error:
        plans.admit(out, other, resume=True)
    listed = ["profile: 'class' there, 'smoke' now", "fixed: {} there, {'pause': 1.0} now", "steps has 4 there"]
    listed += ["rate is swept only there", "name is swept only now", "seeds: 2 there, 1 now"]
    assert all(line in str(error.value) for line in listed)


def test_a_sweep_may_grow(filled):
    out, _ = filled
    larger, _ = make({"steps": [8, 1, 2, 4], "rate": [0.5, 1.0]}, 3)
    plans.admit(out, larger, resume=True)
    assert len(larger.missing(out)) == 24 - 10  # one had failed, one was missing


def test_cells_of_another_notebook_or_parameters_or_that_are_damaged_count_as_missing(filled):
    out, plan = filled
    names = list(plan.cells)
    assert plan.missing(out) == names[-2:]
    assert replace(plan, stamp="another").missing(out) == names
    changed = {**plan.cells, names[0]: {**plan.cells[names[0]], "pause": 1.0}}
    assert replace(plan, cells=changed).missing(out) == [names[0], *names[-2:]]
    (plans.cell_folder(out, names[1]) / "cell.json").write_text('{"status": "comp')
    assert plan.missing(out) == [names[1], *names[-2:]]


# cells and tasks


def test_a_complete_cell_is_not_run_again_and_a_failed_one_starts_from_nothing(filled, monkeypatch):
    out, plan = filled
    first, last = next(iter(plan.cells)), list(plan.cells)[-1]
    ran = []

    def execute(name, notebook, given, folder, *limits, progress):
        ran.append((given, limits, folder.exists()))
        folder.mkdir(parents=True)
        return runs.Outcome(runs.COMPLETE, 1.0, given, runs.stamp(notebook))

    monkeypatch.setattr(runs, "execute", execute)
    assert cells.execute(out, first, 5, 9).seconds == 2.0
    assert ran == []
    cells.execute(out, last, 5, 9)
    assert ran == [(plan.cells[last], (5, 9), False)]
    cells.execute(out, last, 5, 9)
    assert len(ran) == 1
    assert plan.outcome(out, last).status == runs.COMPLETE


def run_task(out, name, monkeypatch, statuses):
    """Run a task whose process ends with the given statuses one after the other; return the record and the starts."""
    told, endings = [], iter(statuses)
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(log_event=lambda *event: told.append(event)))
    monkeypatch.setattr(tasks, "_in_own_process", lambda *_: next(endings))
    identity = {"parameters": {"steps": 1}, "stamp": "s"}
    return tasks.run_cell(str(out), name, identity, (1, None), (5, 9), "topic"), told


def test_a_killed_process_is_tried_again_once(tmp_path, monkeypatch):
    record, told = run_task(tmp_path, "a", monkeypatch, [(-9, ""), (-9, "")])
    assert told == [("topic", "a")] * 2
    assert record["status"] == "failed"
    assert "signal 9, most often for want of memory" in record["error"]
    assert json.loads((tmp_path / "cells" / "a" / "cell.json").read_text()) == record


def test_what_a_process_said_before_it_failed_is_kept(tmp_path, monkeypatch):
    record, told = run_task(tmp_path, "a", monkeypatch, [(1, "the disk is full")])
    assert len(told) == 1
    assert record["error"] == "its process ended with status 1: the disk is full"


def test_the_cores_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert [tasks.threads(share) for share in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    assert tasks.threads(2, 6) == 3  # a job's, whatever the machine has


def test_the_cores_of_a_job_are_those_of_its_file(tmp_path, monkeypatch):
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: slurm\ncores: 6\nprocesses: 2")
    monkeypatch.setattr(clusters, "_queue", contextlib.nullcontext)
    monkeypatch.setattr("distributed.Client", contextlib.nullcontext)
    with clusters.opened(1, None, path) as found:
        assert (found.share, found.cores) == (2, 6)


@pytest.mark.parametrize(("stamp", "kept"), [("s", True), ("another", False)])
def test_a_complete_record_is_not_overwritten_by_an_unclean_end(tmp_path, monkeypatch, stamp, kept):
    path = tmp_path / "cells" / "a" / "cell.json"
    path.parent.mkdir(parents=True)
    whole = {"status": "complete", "seconds": 3.0, "parameters": {"steps": 1}, "stamp": stamp, "error": ""}
    path.write_text(json.dumps(whole))
    record, _ = run_task(tmp_path, "a", monkeypatch, [(1, "")])
    assert (record == whole) is kept
    assert json.loads(path.read_text()) == record


def test_a_lost_worker_does_not_overwrite_a_complete_record(filled):
    out, plan = filled
    first, *_, last = plan.cells
    future = SimpleNamespace(status="error", exception=lambda: ValueError("killed"))
    assert drive._ended(future, out, plan, first) == plan.outcome(out, first)
    assert plan.outcome(out, first).status == runs.COMPLETE
    assert drive._ended(future, out, plan, last).error == "ValueError: killed"


def test_a_cell_that_kills_its_workers_is_on_file_with_the_reason(filled):
    out, plan = filled
    missing = list(plan.cells)[-2]
    killer = KilledWorker(missing, SimpleNamespace(address="tcp://10.0.0.7:1"), allowed_failures=3)
    ended = drive._ended(SimpleNamespace(status="error", exception=lambda: killer), out, plan, missing)
    assert ended.status == runs.FAILED
    assert "KilledWorker: Attempted to run task 'steps=4_rate=1.0_seed=0' on 4 different workers" in ended.error
    assert plan.outcome(out, missing) == ended


@pytest.mark.parametrize("status", ["cancelled", "lost", "pending"])
def test_a_lost_scheduler_ends_the_sweep_with_its_table_and_how_to_go_on(filled, status):
    out, plan = filled
    missing = list(plan.cells)[-2]
    with pytest.raises(
        RuntimeError, match=f"the scheduler is gone .* is {status}.; 10 of 12 cells are complete"
    ) as told:
        drive._ended(SimpleNamespace(status=status), out, plan, missing)
    assert f"--out {out} --resume" in str(told.value)
    assert list(pd.read_csv(out / "table.csv")["status"]) == ["complete"] * 10 + ["missing", "failed"]
    assert plan.outcome(out, missing) is None


def test_a_process_without_its_worker_ends_even_if_a_child_ends_first(monkeypatch):
    killed = []

    def gone():
        raise psutil.NoSuchProcess(1)

    below = [SimpleNamespace(kill=gone), SimpleNamespace(kill=lambda: killed.append("kernel"))]
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(children=lambda recursive: below))
    monkeypatch.setattr(os, "_exit", lambda status: killed.append(status))
    reading, writing = os.pipe()
    os.close(writing)
    cells.end_with(reading)
    os.close(reading)
    assert killed == ["kernel", 1]


# workers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: 4", "say which queue, as in `kind: slurm`"),
        ("- a", "say which queue"),
        ("kind: slrm", "kind 'slrm' is unknown; choose from slurm, pbs"),
        ("kind: slurm\nqueu: gpu", "no parameter 'queu'; did you mean 'queue'"),
        ("kind: pbs\ncores: many", "cores='many' is not of type int"),
        ("kind: pbs\njobs: 0", "jobs: 0; give at least 1"),
        ("kind: [", "not YAML"),
    ],
)
def test_a_wrong_cluster_file_is_refused(tmp_path, text, message):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        clusters.read_cluster(path)


def test_hours_that_yaml_takes_for_a_number_are_read_as_hours(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: slurm\nwalltime: 2:30:00\nprologue: [module load python]")
    settings = clusters.read_cluster(path)
    assert settings["walltime"] == "02:30:00"
    assert settings["prologue"] == ["module load python"]
    assert settings["memory"] == "4GB"


def test_the_cluster_file_of_the_readme_is_a_right_one(tmp_path):
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    path = tmp_path / "slurm.yaml"
    path.write_text(re.search(r"```yaml\n(kind: slurm.*?)```", readme, re.DOTALL)[1])
    assert clusters.read_cluster(path)["directives"] == ["--gres=gpu:1"]


def test_a_machine_without_the_queue_says_so(tmp_path, monkeypatch):
    path = tmp_path / "cluster.yaml"
    path.write_text("kind: pbs")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no qsub on this machine"):
        clusters.check(None, None, path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        clusters.check(None, None, tmp_path / "none.yaml")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # dask-jobqueue takes it when imported


def test_there_is_one_kind_of_workers():
    with pytest.raises(ValueError, match="--workers and --scheduler: choose one"):
        clusters.check(2, "tcp://host:1", None)
    with pytest.raises(ValueError, match="--workers 0"):
        clusters.check(0, None, None)


def test_without_dask_nothing_starts_and_the_remedy_is_named(series, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as end:
        cli.main(["sweep", "00", "--grid", "steps=1,2", "--out", str(tmp_path / "out")])
    assert end.value.code == 1
    assert "pip install -e '.[dev]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_named_and_nothing_stays(series, tmp_path, monkeypatch, address):
    monkeypatch.setattr(clusters, "PATIENCE", 0.3)
    with pytest.raises(ConnectionError, match=f"--scheduler {address}: no dask scheduler answers there"):
        drive.sweep("00", {"steps": [1]}, scheduler=address, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_two_drivers_do_not_work_on_one_sweep(filled):
    out, _ = filled
    with alone(out), pytest.raises(RuntimeError, match="another process is at work in"):
        drive.sweep("00", ARGUMENTS, seeds=2, out=out, resume=True)


def test_a_folder_that_workers_do_not_see_stays_as_it_was(series, tmp_path, monkeypatch):
    seen = []

    def submit(task, probe, pure):
        seen.append(task(probe))
        return SimpleNamespace(result=lambda: False)

    workers = clusters.Workers(SimpleNamespace(submit=submit), 1)
    monkeypatch.setattr(clusters, "opened", lambda *_: contextlib.nullcontext(workers))
    with pytest.raises(RuntimeError, match="a worker does not see"):
        drive.sweep("00", {"steps": [1]}, out=tmp_path / "out", progress=False)
    assert seen == [True]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'nblib'"), r"cannot import nblib \(No module .*same environment"),
        (CancelledError("key"), r"the workers are gone before anything began \(CancelledError\)"),
        (KilledWorker("key", None, 3), r"the workers are gone before anything began \(KilledWorker\)"),
    ],
)
def test_workers_that_cannot_answer_are_an_error_and_nothing_stays(series, tmp_path, monkeypatch, error, message):
    def submit(*_, **__):
        def result():
            raise error

        return SimpleNamespace(result=result)

    workers = clusters.Workers(SimpleNamespace(submit=submit), 1)
    monkeypatch.setattr(clusters, "opened", lambda *_: contextlib.nullcontext(workers))
    with pytest.raises(RuntimeError, match=message):
        drive.sweep("00", {"steps": [1]}, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


# table


def test_the_table_has_a_row_per_cell(filled):
    out, plan = filled
    table = tables.write(out, plan)
    first = ["cell", "steps", "rate", "seed", "status", "seconds", "error", "loss", "deep: er", "steps (metric)"]
    assert list(table.columns)[:10] == first
    assert list(table["status"]) == ["complete"] * 10 + ["missing", "failed"]
    assert table["error"].iloc[-1] == "cell 2: <b>too many</b>"
    assert table["loss"].iloc[3] == 1 + 1
    assert table["loss"].iloc[-2:].isna().all()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "table.parquet"), table)
    assert list(pd.read_csv(out / "table.csv")["loss"].dropna()) == list(table["loss"].dropna())


def test_metrics_have_the_names_and_values_that_a_comparison_gives_them(filled):
    out, plan = filled
    nested = {"live": {"D": 0.5, "best": {"psnr": {"mean": 20.0, "low": 19.0, "high": 21.0}}}, "words": "few"}
    folder = plans.cell_folder(out, next(iter(plan.cells)))
    (folder / "results.json").write_text(json.dumps({"kind": "notebook", "metrics": nested}))
    row = tables.collect(out, plan).iloc[0]
    known = {name: value.mean for (_, name), value in measures.measured({"metrics": nested}).items()}
    assert known == {"live: D": 0.5, "live: best: psnr": 20.0}
    assert {name: row[name] for name in known} == known
    assert row["words"] == "few"
    (folder / "results.json").write_text(json.dumps({"kind": "notebook", "metrics": 5}))
    assert np.isnan(tables.collect(out, plan)["loss"].iloc[0])


def test_damaged_results_are_named_in_the_table(filled):
    out, plan = filled
    (plans.cell_folder(out, next(iter(plan.cells))) / "results.json").write_text('{"kind"')
    assert "not JSON" in tables.collect(out, plan)["error"].iloc[0]


def test_intervals_are_students():
    values = np.array([1.0, 4.0, 2.5, 3.0])
    table = pd.DataFrame({"status": "complete", "steps": 3, "loss": values})
    row = tables.intervals(table, ["steps"], "loss").iloc[0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [values.mean(), *expected])
    assert tables.intervals(table.assign(status="failed"), ["steps"], "loss").empty
    assert tables.intervals(table, [], "loss")["runs"].tolist() == [4]


# figures and page


def test_a_figure_shows_each_mean_and_its_whole_interval(filled):
    out, plan = filled
    table = tables.collect(out, plan)
    ax = figures.metric_figure(table, plan, "steps", "loss").axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rate 0.5", "rate 1"]
    expected = figures.curves(table, plan, "steps", "loss")
    for container, part in zip(ax.containers, expected.values(), strict=True):
        np.testing.assert_allclose(container.lines[0].get_ydata(), part["mean"])
    low, high = ax.get_ylim()
    every = pd.concat(expected.values())
    assert low < every["low"].min() < every["high"].max() < high
    assert ax.get_xlim()[0] < 1 < 4 < ax.get_xlim()[1]


def test_the_words_of_a_figure_hold_its_numbers(filled):
    out, plan = filled
    words = figures.alt_text(tables.collect(out, plan), plan, "steps", "loss")
    assert words.startswith("loss against steps. rate 0.5: at 1 1.5 [-4.853, 7.853], at 2 1 [")
    assert "Means and 95 % intervals of up to 2 runs" in words


def test_the_words_of_a_figure_name_large_values_in_full():
    table = pd.DataFrame({"status": "complete", "steps": [12345, 20000], "loss": [0.5, 0.25]})
    plan = plans.Plan("00_small", "class", {"steps": [12345, 20000]}, {}, 1, "s", {})
    assert "at 12345 0.5, at 20000 0.25" in figures.alt_text(table, plan, "steps", "loss")


def test_wide_ranges_are_logarithmic_words_and_pairs_are_ranks(series):
    assert figures._wide(figures._positions([0.001, 0.01, 0.1]))
    assert not figures._wide(figures._positions([1, 2, 4]))
    assert figures._positions(["b", "a"]) == {"b": 0, "a": 1}
    assert figures._positions([True, False]) == {True: 0, False: 1}


def test_metrics_that_differ_are_drawn_and_unknown_ones_named(filled):
    out, plan = filled
    table = tables.collect(out, plan)
    assert figures.chosen(table) == ["loss", "steps (metric)", "seconds"]
    assert figures.chosen(table, ["deep: er"]) == ["deep: er"]
    with pytest.raises(ValueError, match="no metric 'los' in the table; did you mean 'loss'"):
        figures.chosen(table, ["los"])


def test_figures_of_metrics_that_differ_in_capitals_alone_have_files_of_their_own_everywhere(filled):
    out, plan = filled
    for name, given in plan.cells.items():
        values = {"l1": given["seed"], "L1": 5 * given["seed"] + 1}
        path = plans.cell_folder(out, name) / "results.json"
        if path.exists():
            path.write_text(json.dumps({"kind": "notebook", "metrics": values}))
    text = gallery.write(out, plan, tables.write(out, plan), ["l1", "L1"]).read_text()
    files = [path.name for path in (out / "plots").iterdir()]
    assert len(files) == len({name.casefold() for name in files}) == 2 * 2  # two metrics, two swept parameters
    assert "plots/l1-by-steps.png" in text
    shown = dict(re.findall(r'<img src="plots/([^"]+)" alt="(\S+) against', text))
    assert {name[:2] for name, metric in shown.items() if metric == "L1"} == {"L1"}
    assert set(shown) == set(files)


def test_the_page_works_offline_and_has_words_for_every_picture(filled):
    out, plan = filled
    text = gallery.write(out, plan, tables.write(out, plan)).read_text()
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', text)
    assert len(pictures) == text.count("<img") == 2 * 3 + 11  # two swept parameters, three metrics; one cell is missing
    linked = [path for path, _ in pictures] + re.findall(r'href="([^"]+)"', text)
    assert all((out / path.replace("%3D", "=")).is_file() for path in linked)
    assert "http" not in text
    assert "steps 1 · rate 0.5 · seed 0: a &#34;dot&#34; &amp; more" in text
    assert "&lt;b&gt;too many" in text
    assert "10 complete" in text


def test_a_copy_that_was_cut_off_has_no_picture(filled):
    out, plan = filled
    path = plans.cell_folder(out, next(iter(plan.cells))) / "00_small.ipynb"
    path.write_bytes(path.read_bytes()[:200])
    text = gallery.write(out, plan, tables.write(out, plan)).read_text()
    assert text.count('src="gallery/') == 10
    assert text.count("no picture") == 2  # and the one that is missing


def test_a_swept_seed_is_listed_once(series, tmp_path):
    plan, source = make({"seed": [0, 1, 2]}, 1)
    fill(tmp_path, plan, source)
    text = gallery.write(tmp_path, plan, tables.write(tmp_path, plan)).read_text()
    assert text.count('<th scope="col">seed</th>') == 1
    assert ">seed 2</a>" in text


def test_a_mistyped_metric_costs_a_warning_and_not_the_page(series, tmp_path, capsys):
    plan, source = make()
    fill(tmp_path / "out", plan, source)
    arguments = ["sweep", "00", "--grid", "steps=1,2,4", "--grid", "rate=0.5,1.0", "--seeds", "2", "--resume"]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--out", str(tmp_path / "out"), "--metric", "los", "--metric", "deep: er"])
    assert end.value.code == 0
    assert "warning: no metric 'los' in the table; did you mean 'loss'" in capsys.readouterr().err
    text = (tmp_path / "out" / "index.html").read_text()
    assert "deep: er against steps" in text
    assert "loss against steps" not in text


def test_ctrl_c_while_the_page_is_made_says_what_is_kept(series, tmp_path, monkeypatch):
    plan, source = make()
    fill(tmp_path / "out", plan, source)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery, "write", interrupted)
    with pytest.raises(KeyboardInterrupt, match="12 of 12 cells are complete and kept"):
        drive.sweep("00", ARGUMENTS, seeds=2, out=tmp_path / "out", resume=True)


def test_after_ctrl_c_the_cells_are_counted_when_none_is_at_work_any_more(filled, monkeypatch):
    """A cell ends a moment after its worker: this one completes in that moment."""
    out, plan = filled
    name = list(plan.cells)[-1]
    at_work = threading.Event()

    def last_act():
        with lock(out, name):
            at_work.set()
            time.sleep(0.5)
            outcome = runs.Outcome(runs.COMPLETE, 2.0, plan.cells[name], plan.stamp, "")
            (plans.cell_folder(out, name) / "cell.json").write_text(json.dumps(asdict(outcome)))

    cell = threading.Thread(target=last_act)

    def interrupted(*_):
        cell.start()
        at_work.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(clusters, "opened", interrupted)
    with pytest.raises(KeyboardInterrupt, match="11 of 12 cells are complete and kept"):
        drive.sweep("00", ARGUMENTS, seeds=2, out=out, resume=True)
    cell.join()
    assert (pd.read_csv(out / "table.csv")["status"] == "complete").sum() == 11


def test_a_sweep_over_seeds_alone_has_its_page(series, tmp_path):
    plan, source = make({}, 3)
    fill(tmp_path, plan, source)
    text = gallery.write(tmp_path, plan, tables.write(tmp_path, plan)).read_text()
    assert "loss. 1.5 [-0.9841, 3.984]. Means and 95 % intervals of up to 3 runs." in text


def test_a_sweep_that_is_complete_is_only_drawn_anew(series, tmp_path, monkeypatch):
    plan, source = make()
    fill(tmp_path / "out", plan, source)
    monkeypatch.setattr(clusters, "opened", None)  # would fail if called
    done = drive.sweep("00", ARGUMENTS, seeds=2, out=tmp_path / "out", resume=True)
    assert done.failures == {}
    assert done.missing == []
    assert (tmp_path / "out" / "index.html").exists()


# what is shown meanwhile


def outcome(seconds=2.0, status="complete", error=""):
    return runs.Outcome(status, seconds, {}, "", error)


def test_the_board_counts_and_says_what_failed(monkeypatch):
    told = io.StringIO()
    with Board(5, 1, Console(file=told, width=60)) as board:
        for name in "abc":
            board.start(name)
        board.end("a", outcome())
        board.end("b", outcome(status="failed", error="\ncell 3: ValueError: [x]\nmore"))
        board.start("c")
    lines = told.getvalue().splitlines()
    assert lines[0].startswith("5 cells: 1 done, 0 running, 0 failed, 4 left")
    assert lines[1].startswith("2/5 a: complete in 2.0 s")
    assert lines[2].startswith("3/5 b: failed in 2.0 s")
    assert lines[3] == "    cell 3: ValueError: [x]"
    assert lines[4] == "c: was killed, started again"
    assert board.summary().startswith("5 cells: 2 done, 1 running, 1 failed, 1 left")


def test_the_time_left_follows_from_the_mean_and_what_runs(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("nblib.sweeps.live.time.monotonic", lambda: now[0])
    board = Board(8, 0, Console(file=io.StringIO()))
    assert board.eta() is None
    board.start("a")
    board.start("b")
    now[0] += 4
    board.end("a", outcome())
    assert board.eta() == (6 * 4.0 + 0.0) / 2


def test_in_a_terminal_the_board_is_a_table():
    told = io.StringIO()
    console = Console(file=told, width=80, force_terminal=True)
    with Board(3, 0, console) as board:
        board.start("steps=1")
        board.end("steps=2", outcome(status="failed", error="ValueError: no"))
        console.print(board.render())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.getvalue())
    assert re.search(r"running +time", text)
    assert re.search(r"steps=1 +0:00", text)
    assert re.search(r"1/3 steps=2: failed in 2.0 s\s+ValueError: no", text)


def test_the_verb_explains_itself_and_refuses_what_is_wrong(series, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    assert "Example: nblib sweep 04 --grid" in " ".join(capsys.readouterr().out.split())
    for wrong, message in (
        (["--grid", "stepz=1,2"], "did you mean 'steps'"),
        (["--grid", "steps=1,2", "-p", "rate", "fast"], "rate='fast' is not of type float"),
        (["--grid", "steps=1,2", "--resume"], "which sweep? give its folder with --out"),
        (["--grid", "steps=1", "--workers", "1", "--scheduler", "h:1"], "choose one"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["sweep", "00", *wrong, *([] if "--resume" in wrong else ["--out", str(tmp_path / "out")])])
        assert end.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# for real


@pytest.mark.slow
def test_failures_are_kept_with_their_notebook_and_retried(series, tmp_path, monkeypatch):
    arguments = {"seeds": 1, "parameters": {"fail_above": 1}, "out": tmp_path / "out", "progress": False}
    done = drive.sweep("00", {"steps": [1, 2]}, workers=2, **arguments)
    assert list(done.failures) == ["steps=2_seed=0"]
    assert "AssertionError: too many steps" in done.failures["steps=2_seed=0"]
    assert "too many steps" in (plans.cell_folder(done.out, "steps=2_seed=0") / "00_small.ipynb").read_text()
    assert done.table["threads"].iloc[0] == tasks.threads(2)

    before = (plans.cell_folder(done.out, "steps=1_seed=0") / "cell.json").stat().st_mtime_ns
    path = series / "00_small.ipynb"
    mended = nbformat.read(path, as_version=4)
    mended.cells[0].source += " Mended prose, the same code."
    nbformat.write(mended, path)
    fake_submit(tmp_path, monkeypatch)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"kind: slurm\ncores: 3\nlog_directory: {tmp_path}")
    again = drive.sweep("00", {"steps": [1, 2, 0]}, cluster=cluster, resume=True, **arguments)
    assert (plans.cell_folder(done.out, "steps=1_seed=0") / "cell.json").stat().st_mtime_ns == before
    assert list(again.failures) == ["steps=2_seed=0"]
    assert list(again.table["status"]) == ["complete", "failed", "complete"]
    assert again.table["threads"].iloc[-1] == 3


def fake_submit(folder, monkeypatch):
    """Put an ``sbatch`` on the path that starts its job on this machine at once, and an ``scancel`` that ends it."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    job = 'cp "$1" "$0.job"\nsetsid sh "$0.job" >/dev/null 2>&1 &'  # a queue copies the script, which goes at once
    (bin_folder / "sbatch").write_text(f'#!/bin/sh\n{job}\necho "Submitted batch job $!"\n')
    (bin_folder / "scancel").write_text('#!/bin/sh\nkill -- -"$1" 2>/dev/null; exit 0\n')
    for script in bin_folder.iterdir():
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
