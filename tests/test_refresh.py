"""`python -m nblib.refresh`: what it says of itself, what it refuses, and what it leaves alone."""

import pytest

from nblib import refresh, runs


@pytest.fixture
def asked(monkeypatch):
    """Whatever is refreshed, in place of doing it."""
    found = []
    monkeypatch.setattr(refresh, "refresh", lambda names: found.append(names) or 0)
    return found


def test_help_has_examples_and_starts_nothing(asked, capsys):
    with pytest.raises(SystemExit) as end:
        refresh.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "python -m nblib.refresh 00 09" in said
    assert "default: all notebooks" in said
    assert asked == []


def test_chapters_go_by_number_and_name_and_all_is_the_default(asked):
    assert refresh.main(["09", "tour"]) == 0
    assert refresh.main([]) == 0
    assert asked == [["00_tour", "09_leaderboard"], list(runs.available())]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["77"], "error: '77': no such notebook; choose from 00_tour"), (["--profile"], "unrecognized arguments")],
)
def test_wrong_use_ends_with_2_and_starts_nothing(asked, capsys, arguments, message):
    try:
        status = refresh.main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert asked == []


def test_nothing_is_rewritten_if_a_notebook_fails(monkeypatch, capsys):
    def run(names, *, profile, out):
        error = "cell 3: ValueError: no" if profile == "class" else ""
        outcome = runs.Outcome(runs.FAILED if error else runs.COMPLETE, 1.0, {}, "", error)
        return runs.Run(out, profile, dict.fromkeys(names, outcome))

    monkeypatch.setattr(runs, "run", run)
    for writer in ("measure", "write_notebook", "write_readme"):
        monkeypatch.setattr(refresh, writer, None)  # would fail if called
    assert refresh.refresh(["00_tour"]) == 1
    assert capsys.readouterr().err == "00_tour: cell 3: ValueError: no\n"
