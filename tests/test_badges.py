"""Links to Binder and Colab, and the set-up cell: written, replaced, removed, and tried out on a Colab of our own."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.parse

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nblib import badges, pages, paths, runs
from nblib.badges import Address

ADDRESS = "https://github.com/some-one/the.course"
HERE = Address("some-one", "the.course", "main")
ROOT = paths.REPOSITORY


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A repository with the README and the two lightest notebooks."""
    copied = tmp_path / "copy"
    (copied / "notebooks").mkdir(parents=True)
    for path in [*runs.select(["00", "09"]).values(), ROOT / "README.md"]:
        shutil.copy(path, copied / path.relative_to(ROOT))
    monkeypatch.setattr(paths, "REPOSITORY", copied)
    badges.rewrite(None)  # should the originals have badges
    return copied


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def notebooks(folder):
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(folder.rglob("*.ipynb"))}


def setup_cells(notebook):
    return [cell for cell in notebook.cells if runs.is_setup(cell)]


def test_once_twice_another_address_and_away(copy, capsys):
    before = contents(copy)
    assert badges.main(["--repository", ADDRESS]) == 0
    assert "wrote README.md" in capsys.readouterr().out
    once = contents(copy)
    assert all(once[name] != before[name] for name in before)
    assert badges.main(["--repository", f"{ADDRESS}.git/"]) == 0
    assert capsys.readouterr().out == "nothing to change\n"
    assert contents(copy) == once

    assert badges.main(["--repository", "https://github.com/other/place", "--branch", "next/one"]) == 0
    for name, text in contents(copy).items():
        assert b"some-one" not in text, name
        assert text.count(b"/gh/other/place/next%2Fone?") == 1, name
        assert text.count(b"/github/other/place/blob/next/one/") == 1, name
    assert badges.main(["--remove"]) == 0
    assert contents(copy) == before


def test_every_notebook_opens_itself(copy):
    badges.rewrite(HERE)
    for name, notebook in notebooks(copy).items():
        title = notebook.cells[0].source
        binder = re.search(r"\*\*\[Open on Binder\]\((\S+)\)\*\*", title)[1]
        parts = urllib.parse.urlsplit(binder)
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "mybinder.org", "/v2/gh/some-one/the.course/main")
        assert urllib.parse.parse_qs(parts.query) == {"urlpath": [f"lab/tree/notebooks/{name}.ipynb"]}
        colab = f"https://colab.research.google.com/github/some-one/the.course/blob/main/notebooks/{name}.ipynb"
        assert f"**[Open on Colab]({colab})**" in title
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert "?urlpath=lab/tree/notebooks)" in readme
    assert "blob/main/notebooks/00_tour.ipynb)" in readme


@pytest.mark.parametrize("name", runs.available())
def test_what_the_committed_notebooks_promise_stays_true(name):
    """Title, promise, stamp, parameters, the order of execution; and nothing is left when links are taken out."""
    found = nbformat.read(runs.available()[name], as_version=4)
    before = badges.with_badges(found, name, None)
    after = badges.with_badges(found, name, HERE)
    nbformat.validate(after)
    assert pages.title_and_promise(after) == pages.title_and_promise(before)
    assert after.metadata == before.metadata
    assert runs.stamp(after) == runs.stamp(before)
    assert runs.defaults(after) == runs.defaults(before)
    assert after.cells[1].metadata["tags"] == ["parameters"]
    assert runs.is_setup(after.cells[2])
    counts = [cell.execution_count for cell in after.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert [cell.source for cell in after.cells[3:]] == [cell.source for cell in before.cells[2:]]
    assert badges.with_badges(after, name, None) == before


def test_a_page_shows_links_and_not_their_markup(copy):
    badges.rewrite(HERE)
    pages.write_notebook_page(copy / "notebooks" / "09_leaderboard.ipynb", copy / "page.html")
    page = (copy / "page.html").read_text(encoding="utf-8")
    assert f'<a href="{HERE.colab("notebooks/09_leaderboard.ipynb")}">Open on Colab</a>' in page


def test_only_set_up_cells_are_left_out_of_the_stamp(copy):
    (cell,) = setup_cells(badges.with_badges(notebooks(copy)["00_tour"], "00_tour", HERE))
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1")])
    more = nbformat.v4.new_notebook(cells=[cell, *plain.cells])
    assert runs.stamp(more) == runs.stamp(plain)
    cell.metadata["tags"] = ["exercise"]
    assert runs.stamp(more) != runs.stamp(plain)


def genuine(cell):
    """Whether a cell is the set-up cell and no more, for whatever address."""
    repository, branch = (re.search(word, cell.source) for word in (r'course = "(.*)"', r'"--branch=(\S*)"'))
    if repository is None or branch is None:
        return False
    return cell.source == badges.setup_cell(Address.parse(repository[1], branch[1]), cell.id).source


@pytest.mark.parametrize("name", runs.available())
def test_nothing_else_hides_behind_the_tag(name):
    """What is tagged is not stamped, so it must be this very cell."""
    assert all(genuine(cell) for cell in setup_cells(nbformat.read(runs.available()[name], as_version=4)))
    cell = badges.setup_cell(HERE, "nb00-setup")
    assert genuine(cell)
    cell.source += "\nsteps = 1"
    assert not genuine(cell)


def test_the_set_up_cell_is_short_and_in_style(tmp_path):
    cell = badges.setup_cell(HERE, "nb00-setup")
    assert len(cell.source.splitlines()) <= 8
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "setup.ipynb")
    for action in (["check", "--ignore=D"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *action, "--config", str(ROOT / "pyproject.toml")]
        checked = subprocess.run([*line, tmp_path / "setup.ipynb"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "repository",
    [
        *("https://github.com/OWNER/NAME", "http://github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a"),
        *("https://github.com/a/b/tree/main", "git@github.com:a/b.git", "https://me:pw@github.com/a/b", ""),
        *("https://github.com/-a/b", "https://github.com/a--b/c", "https://github.com/a/..", 'https://github.com/a/b"c'),
        *("https://github.com/a/b)c", "https://github.com/a/b c", "https://github.com/a/b\n", "https://github.com.evil/a/b"),
    ],
)  # fmt: skip
def test_other_addresses_are_refused(copy, repository, capsys):
    before = contents(copy)
    assert badges.main(["--repository", repository]) == 2
    assert "--repository" in capsys.readouterr().err
    assert contents(copy) == before


@pytest.mark.parametrize(
    "branch", ["", "-x", "a b", "a..b", "/a", "a/", "a.lock", 'a"b', "a)b", "a\\b", "a~1", "a@{1}"]
)
def test_other_branches_are_refused(branch):
    with pytest.raises(ValueError, match=r"--branch .*: not the name of a branch"):
        Address.parse(ADDRESS, branch)


def test_good_names_pass():
    assert Address.parse("https://github.com/a/b.c_d-e", "v1.0/rc-2") == Address("a", "b.c_d-e", "v1.0/rc-2")
    assert Address.parse(ADDRESS + ".git") == HERE


def test_wrong_use(capsys):
    for arguments in ([], ["--remove", "--repository", ADDRESS]):
        with pytest.raises(SystemExit, match="2"):
            badges.main(arguments)


def test_a_text_without_a_title_is_left_alone(copy):
    before = contents(copy)
    path = copy / "notebooks" / "09_leaderboard.ipynb"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"# The leaderboard', '"The leaderboard'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"'The leaderboard.*expected a title"):
        badges.rewrite(HERE)
    assert {**contents(copy), path.name: before[path.name]} == before


# The cell, tried out.

COLAB = """
import sys, types
sys.modules["google"], sys.modules["google.colab"] = types.ModuleType("google"), types.ModuleType("google.colab")
"""
PIP = """
import json, pathlib, sys
pathlib.Path({said!r}).open("a").write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(not pathlib.Path(sys.argv[4]).is_dir())
"""


@pytest.fixture
def server(tmp_path):
    """A bare repository that stands for the public one, with a little course in it."""
    work, bare = tmp_path / "work", tmp_path / "public.git"
    (work / "nblib").mkdir(parents=True)
    (work / "nblib" / "__init__.py").write_text("ORIGIN = 'fetched'\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for action in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"], ["branch", "taught"]):
        subprocess.run([*git, *action], cwd=work, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", work, bare], check=True)
    return bare


def run_cell(source, tmp_path, *, colab, times=1):
    """Execute the cell in a process of its own, where pip only writes down what it is asked for."""
    (tmp_path / "stub" / "pip").mkdir(parents=True, exist_ok=True)
    (tmp_path / "stub" / "pip" / "__init__.py").touch()
    (tmp_path / "stub" / "pip" / "__main__.py").write_text(PIP.format(said=str(tmp_path / "said")))
    source = source.replace("/content", str(tmp_path / "content"))
    code = (COLAB if colab else "") + f"\n{source}\n" * times
    code += "import json, nblib, sys\nprint(json.dumps([nblib.__file__, sys.path[0]]))\n"
    environment = {"PYTHONPATH": str(tmp_path / "stub"), "PATH": "/usr/bin:/bin", "GIT_ALLOW_PROTOCOL": "file"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    said = tmp_path / "said"
    asked = [json.loads(line) for line in said.read_text().splitlines()] if said.exists() else []
    return done, asked


def written_for(server, branch="main"):
    return badges.SETUP.format(repository=f"file://{server}", branch=branch)


@pytest.mark.parametrize("times", [1, 2])
def test_on_colab_the_cell_fetches_the_course(server, tmp_path, times):
    """The second time, the clone is there."""
    done, asked = run_cell(written_for(server, "taught"), tmp_path, colab=True, times=times)
    assert done.returncode == 0, done.stderr
    course = tmp_path / "content" / "course"
    assert json.loads(done.stdout)[0] == str(course / "nblib" / "__init__.py")
    assert asked == [["install", "-q", "-e", str(course), "anywidget"]] * times
    branch = subprocess.run(["git", "branch", "--show-current"], cwd=course, capture_output=True, text=True, check=True)
    assert branch.stdout == "taught\n"


def test_elsewhere_the_cell_does_nothing(server, tmp_path):
    done, asked = run_cell(written_for(server), tmp_path, colab=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [str(ROOT / "nblib" / "__init__.py"), ""]
    assert asked == []
    assert not (tmp_path / "content").exists()
    assert done.stderr == ""


def test_a_course_that_cannot_be_fetched_ends_the_cell(tmp_path):
    done, _ = run_cell(written_for(tmp_path / "nowhere.git"), tmp_path, colab=True)
    assert done.returncode == 1
    assert "nowhere.git" in done.stderr  # git's own words
    assert "CalledProcessError" in done.stderr


# Binder.


def test_binder_builds_what_the_course_asks_for():
    """`.binder` takes the place of what lies at the top; torch comes from conda, the rest from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
    python, pip, torch = environment["dependencies"]
    assert SpecifierSet(project["requires-python"]).contains(python.removeprefix("python="))
    assert pip == "pip"
    (wanted,) = [one for one in map(Requirement, project["dependencies"]) if one.name == "torch"]
    assert torch == f"pytorch-cpu{wanted.specifier}"
    assert environment["channels"] == yaml.safe_load((ROOT / "environment.yml").read_text())["channels"]
    rattler = pytest.importorskip("rattler")
    for entry in environment["dependencies"]:
        rattler.MatchSpec(entry, strict=True)


def test_binder_and_colab_install_the_same():
    post_build = ROOT / ".binder" / "postBuild"
    assert post_build.stat().st_mode & 0o111
    (line,) = [line for line in post_build.read_text().splitlines() if line.startswith("python -m pip")]
    assert line.split(" install ")[1] == "--no-cache-dir -e . anywidget"
    assert '"-e", "/content/course", "anywidget"]' in badges.SETUP


# The workflow.


def test_the_workflow_runs_what_decides_and_nothing_else():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML takes `on` for a truth value
    (job,) = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    assert 60 <= job["timeout-minutes"] <= 120
    checkout, last = job["steps"]
    assert checkout == {"uses": "actions/checkout@v4", "with": {"persist-credentials": False}}
    assert last == {"run": "bash .ci/run"}
    assert (ROOT / ".ci" / "run").exists()
    assert set(job["env"]) == {"TORCH_INDEX"}
    assert "TORCH_INDEX ?=" in (ROOT / "Makefile").read_text()


def test_it_is_the_only_workflow():
    assert [path.name for path in (ROOT / ".github").rglob("*.*ml")] == ["ci.yml"]
