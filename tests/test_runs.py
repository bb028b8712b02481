import json
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from nblib import paths, runs
from nblib.locks import LOCKS, alone


def notebook(*code: str, parameters: str = 'steps = 2\nrate = 0.5\nname = "a"\nquick = False\nout = "runs/x"'):
    cells = [new_markdown_cell("# A title\n\nIts *promise*.\n\nMore.")]
    cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells + [new_code_cell(cell) for cell in code], metadata=kernel)


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A repository with two small notebooks and a profile."""
    folder = tmp_path / "repository" / "notebooks"
    (folder / "profiles").mkdir(parents=True)
    write = "import json, pathlib; pathlib.Path(out, 'results.json').write_text(json.dumps(RECORD))"
    record = "RECORD = {'kind': 'notebook', 'metrics': {'steps': steps}}"
    nbformat.write(notebook("total = steps * 2", record, write), folder / "00_first.ipynb")
    nbformat.write(notebook("print(name)", "assert steps < 5, 'too many'"), folder / "03_second.ipynb")
    (folder / "profiles" / "smoke.yaml").write_text("00_first:\n  steps: 1\n")
    (folder / "profiles" / "class.yaml").write_text("")
    monkeypatch.setattr(paths, "REPOSITORY", folder.parent)
    monkeypatch.setattr(paths, "notebooks_dir", lambda: folder)
    return folder


@pytest.mark.parametrize("name", ["03", "03_second", "second", "03_second.ipynb"])
def test_notebooks_go_by_number_and_name(series, name):
    assert list(runs.select([name])) == ["03_second"]
    assert list(runs.select([])) == ["00_first", "03_second"]


def test_unknown_notebooks_are_refused_with_the_known_ones(series):
    with pytest.raises(ValueError, match="'07': no such notebook; choose from 00_first, 03_second"):
        runs.select(["07"])


def test_parameters_override_the_profile_and_the_profile_the_defaults(series):
    assert runs.plan(["00"], "smoke", {})["00_first"][1] == {"steps": 1}
    assert runs.plan(["00"], "smoke", {"steps": 7})["00_first"][1] == {"steps": 7}
    assert runs.plan(["00"], "class", {})["00_first"][1] == {}


def test_unknown_parameters_are_errors_that_name_the_nearest(series):
    with pytest.raises(ValueError, match="00_first has no parameter 'step'; did you mean 'steps'"):
        runs.run(["00"], parameters={"step": 1})
    assert not (series.parent / "runs").exists()


def test_unknown_profiles_and_sections_are_errors(series):
    with pytest.raises(ValueError, match="'huge': there is none; choose from class, smoke"):
        runs.profile("huge")
    (series / "profiles" / "smoke.yaml").write_text("01_missing:\n  steps: 1\n")
    with pytest.raises(ValueError, match="'01_missing' is not a notebook"):
        runs.profile("smoke")


def test_parameters_must_be_literals():
    with pytest.raises(ValueError, match="not a literal"):
        runs.defaults(notebook(parameters="steps = 2 * 3 + len('a')"))
    with pytest.raises(ValueError, match="no cell tagged"):
        runs.defaults(new_notebook(cells=[new_code_cell("steps = 2")]))


def test_the_stamp_follows_the_code_alone():
    plain = notebook("a = 1")
    executed = notebook("a = 1")
    executed.cells[2].execution_count = 5
    executed.cells[0].source += " more prose"
    assert runs.stamp(plain) == runs.stamp(executed)
    assert runs.stamp(plain) != runs.stamp(notebook("a = 2"))


@pytest.mark.slow
def test_a_run_executes_writes_pages_and_goes_on_where_it_failed(series, tmp_path):
    out = tmp_path / "run {1}"  # braces are format characters to papermill
    first = runs.run(profile="smoke", parameters={"steps": "9"}, out=out, progress=False)
    assert first.outcomes["00_first"].status == "complete"
    assert "AssertionError: too many" in first.failures["03_second"]
    assert json.loads((out / "00_first" / "results.json").read_text())["metrics"] == {"steps": 9}
    assert "too many" in (out / "03_second" / "03_second.html").read_text()
    index = (out / "index.html").read_text()
    assert "A title" in index
    assert "Its promise." in index
    assert "too many" in index
    copy = nbformat.read(out / "00_first" / "00_first.ipynb", as_version=4)
    assert "cells" not in copy.metadata.papermill.input_path  # else the copy holds the notebook twice

    with pytest.raises(FileExistsError, match="holds a run already"):
        runs.run(profile="smoke", out=out)
    with pytest.raises(ValueError, match="profile 'smoke', not 'class'"):
        runs.run(profile="class", out=out, resume=True)

    before = (out / "00_first" / "00_first.ipynb").stat().st_mtime_ns
    nbformat.write(notebook("print(name)", "assert steps < 50"), series / "03_second.ipynb")
    second = runs.run(profile="smoke", parameters={"steps": "9"}, out=out, resume=True, progress=False)
    assert second.failures == {}
    assert (out / "00_first" / "00_first.ipynb").stat().st_mtime_ns == before  # not run again
    assert runs.Run.load(out) == second


@pytest.mark.slow
def test_time_limits_end_a_notebook_and_keep_what_it_wrote(series, tmp_path):
    nbformat.write(notebook("print('before')", "import time; time.sleep(3600)"), series / "00_first.ipynb")
    done = runs.run(["00"], out=tmp_path / "run", cell_timeout=15, progress=False)  # in which any machine prints a word
    assert "took too long (15 s a cell" in done.failures["00_first"]
    assert "before" in (tmp_path / "run" / "00_first" / "00_first.ipynb").read_text()


def test_a_cell_has_its_limit_or_what_the_notebook_has_left(series, tmp_path, monkeypatch):
    now, limits = [100.0], []

    def executed(*_, timeout_func, **__):
        for passed in (0, 45, 14.5):
            now[0] += passed
            limits.append(timeout_func(None))

    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(runs.papermill, "execute_notebook", executed)
    done = runs.run(["00"], out=tmp_path / "run", cell_timeout=30, total_timeout=60, progress=False)
    assert limits == [30, 15, 1]  # a last second, in which to be interrupted
    assert done.outcomes["00_first"].seconds == 59.5


def test_a_folder_with_another_run_file_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="not the record of a run"):
        runs.Run.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no run there"):
        runs.Run.load(tmp_path / "none")


def test_two_processes_do_not_work_on_one_run(series, tmp_path):
    """See `faults/test_run_kills.py` for real ones."""
    out = tmp_path / "run"
    with alone(out):
        for resume in (False, True):
            with pytest.raises(RuntimeError, match=f"another process is at work in {out}"):
                runs.run(["00"], out=out, resume=resume, progress=False)
        assert not (out / "run.json").exists()
    runs.run(["00"], out=out, progress=False)
    assert not (out / LOCKS).exists()


def test_a_killed_run_does_not_look_complete_and_old_results_go(series, tmp_path, monkeypatch):
    out = tmp_path / "run"
    runs.run(["00"], profile="smoke", out=out, progress=False)
    assert (out / "00_first" / "results.json").exists()
    seen = []

    def killed(*_args, **_options):
        seen.append((runs.Run.load(out).outcomes["00_first"].status, (out / "00_first" / "results.json").exists()))
        raise RuntimeError("no kernel")

    monkeypatch.setattr(runs.papermill, "execute_notebook", killed)
    again = runs.run(["00"], profile="smoke", parameters={"steps": "8"}, out=out, resume=True, progress=False)
    assert seen == [("interrupted", False)]
    assert again.failures == {"00_first": "the kernel failed: no kernel"}


def test_a_copy_that_was_cut_off_does_not_stop_the_index(series, tmp_path):
    out = tmp_path / "run"
    done = runs.run(["00"], profile="smoke", out=out, progress=False)
    copy = out / "00_first" / "00_first.ipynb"
    copy.write_text(copy.read_text()[:100])
    (out / "00_first" / "results.json").write_text("{}")
    done.save()
    assert "00_first" in (out / "index.html").read_text()
