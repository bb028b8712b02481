"""The explorers as a page: how it is started, and the stage that builds them; tests/browser/test_app.py opens it."""

import os
import threading

import ipywidgets
import nbformat
import pytest

from nblib import app
from nblib.widgets import AttentionExplorer, AttributeMixer, MaskPainter, SearchPlayer, Stage, TrainingMonitor

NOTEBOOK = nbformat.read(app.FOLDER / "explorers.ipynb", as_version=4)


def test_the_server_is_for_this_machine_and_asks_for_a_token():
    server = app.server()
    assert "--token" in server.line  # Voila lets everybody in without; the token itself is in the environment
    assert not any(server.token in part for part in server.line)
    assert "--Voila.ip=127.0.0.1" in server.line
    assert f"--Voila.port={server.port}" in server.line
    assert server.url == f"http://127.0.0.1:{server.port}/?token={server.token}"


def test_a_users_own_jupyter_path_stays(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/mine")
    assert app.server().variables["JUPYTER_PATH"] == os.pathsep.join([str(app.FOLDER), "/mine"])
    monkeypatch.delenv("JUPYTER_PATH")
    assert app.server().variables["JUPYTER_PATH"] == str(app.FOLDER)


def test_without_voila_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install -e '\.\[app\]'"):
        app.server()


def test_the_notebook_is_plain_short_and_without_outputs():
    nbformat.validate(NOTEBOOK)
    code = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert all(len(cell.source.splitlines()) <= 17 for cell in code)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert code[-1].source == "stage"


@pytest.mark.slow
def test_every_explorer_is_built_from_what_is_shipped():
    """The cells in order, as the page runs them, and then a visit to the one that waits for it."""
    names = {}
    for cell in NOTEBOOK.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    stage = names["stage"]
    stage.wait(300)
    stage.selected_index = len(stage.children) - 1
    stage.wait(300)
    assert stage.errors == {}
    built = [panel.children[1] for panel in stage.children]
    kinds = (MaskPainter, AttentionExplorer, SearchPlayer, AttributeMixer, TrainingMonitor)
    assert all(isinstance(one, kind) for one, kind in zip(built, kinds, strict=True))
    built[0].wait(60)
    assert {filling.name for filling in built[0].fillings} >= {"telea", "approxnet", "refiner"}
    built[-1].stop()
    built[-1].wait()
    assert built[-1].status == "stopped"


# The stage.


@pytest.fixture
def gate():
    """Builds wait for it, so that tests know which has begun."""
    opened = threading.Event()
    yield opened
    opened.set()


def add(stage, title, *, said=None, gate=None, begun=None, **how):
    @stage.add(title, f"About {title}.", **how)
    def build():
        if begun is not None:
            begun.set()
        if gate is not None:
            assert gate.wait(60)
        if said is not None:
            said.append(title)
        return ipywidgets.Label(title)


def test_tabs_are_there_before_anything_is_built(gate):
    stage = Stage()
    add(stage, "a", gate=gate)
    add(stage, "b", gate=gate)
    assert stage.titles == ("a", "b")
    for panel, about in zip(stage.children, ("About a.", "About b."), strict=True):
        assert about in panel.children[0].value
        assert 'role="status"' in panel.children[1].value
    with pytest.raises(TimeoutError, match="still 2 explorers to build"):
        stage.wait(0.01)
    gate.set()
    stage.wait(60)
    assert [panel.children[1].value for panel in stage.children] == ["a", "b"]


def test_nothing_is_built_before_a_browser_shows_it():
    stage, said = Stage(), []
    add(stage, "a", said=said)
    add(stage, "b", said=said, on_visit=True)
    stage.selected_index = 1  # a visit alone does not do
    assert not any(thread.name == "lane" for thread in threading.enumerate())
    assert said == []
    arrival = stage.children[0].children[2]
    arrival._handle_custom_msg({"shown": True}, [])
    arrival._handle_custom_msg({"shown": True}, [])  # a second browser changes nothing
    add(stage, "c", said=said)
    stage.wait(60)
    assert sorted(said) == ["a", "b", "c"]
    assert len(stage.children[0].children) == 2


def test_what_is_looked_at_comes_first(gate):
    stage, said, begun = Stage(), [], threading.Event()
    for title in "abcd":
        add(stage, title, said=said, gate=gate, begun=begun)
    stage.begin()
    assert begun.wait(60)
    stage.selected_index = 2  # while the first is at work
    gate.set()
    stage.wait(60)
    assert said == ["a", "c", "b", "d"]


def test_some_wait_for_a_visit_and_are_built_once():
    stage, said = Stage(), []
    add(stage, "a", said=said)
    add(stage, "b", said=said, on_visit=True)
    add(stage, "c", said=said)
    stage.wait(60)
    assert said == ["a", "c"]
    assert "Starts when you come here" in stage.children[1].children[1].value
    for visited in (1, 0, 1):
        stage.selected_index = visited
        stage.wait(60)
    assert said == ["a", "c", "b"]


def test_the_first_tab_is_visited_from_the_start():
    stage, said = Stage(), []
    add(stage, "a", said=said, on_visit=True)
    stage.wait(60)
    assert said == ["a"]


def test_one_that_fails_says_so_and_takes_no_other_along(capfd):
    stage = Stage()
    add(stage, "a")

    @stage.add("b", "It will fail.")
    def broken():
        raise FileNotFoundError("no <weights> & no hope")

    add(stage, "c")
    stage.wait(60)
    assert stage.errors == {"b": "FileNotFoundError: no <weights> & no hope"}
    told = stage.children[1].children[1].value
    assert 'role="alert"' in told
    assert "no &lt;weights&gt; &amp; no hope" in told
    assert [stage.children[k].children[1].value for k in (0, 2)] == ["a", "c"]
    assert "in broken" in capfd.readouterr().err  # the traceback, for whoever runs the server
