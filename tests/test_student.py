"""The student edition: stubs and solutions make the original, nothing that shows a solution stays, and it runs."""

import ast
import copy
import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nblib import badges, cli, exercises, paths, runs
from nblib.classroom import answers, edition, formulas, guide, stubs
from nblib.exercises import check

SERIES = runs.available()
ANSWER = '''def my_paste(filling, images, masks):
    """Put fillings into holes."""
    # masks are True in the hole
    ### BEGIN SOLUTION
    return torch.where(masks, filling, images)
    ### END SOLUTION


check("paste", my_paste)'''
STUB = '''def my_paste(filling, images, masks):
    """Put fillings into holes."""
    # masks are True in the hole
    # Write your answer here, in place of the dots.
    ...


check("paste", my_paste)'''


def shown(text):
    return [new_output("execute_result", {"text/plain": text}, execution_count=1)]


def exercise(source=ANSWER, **more):
    cell = new_code_cell(source, execution_count=1, outputs=shown("paste: passed."), **more)
    cell.metadata["tags"] = ["exercise"]
    return cell


def notebook(*cells):
    setup = new_code_cell(
        "import torch\n\nfrom nblib.exercises import check", execution_count=1, outputs=shown("set up")
    )
    parameters = new_code_cell('seed = 0\nout = "runs/x"', metadata={"tags": ["parameters"]})
    title = new_markdown_cell(
        "# A title: and more\n\nIts promise.\n\nAfter this notebook you can\n\n- fill *holes*;\n- stop.\n\n"
        "You need the [tour](00_tour.ipynb)."
    )
    task = new_markdown_cell("## 2. Exercises\n\nA word.\n\n**1. Paste.** Put $x^2$ into the holes.")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=[title, parameters, setup, task, *(cells or [exercise()])], metadata=kernel)


@pytest.fixture(params=[name for name in SERIES if name[:2] in ("01", "02", "03", "04", "05")], scope="module")
def chapter(request):
    """A notebook of the series with exercises, and its student form."""
    complete = nbformat.read(SERIES[request.param], as_version=4)
    return request.param, complete, stubs.student_form(complete, request.param)


def test_stubs_and_solutions_make_the_original(chapter):
    _, complete, student = chapter
    solutions = {one.cell: one.solutions for one in stubs.exercises_of(complete)}
    assert len(solutions) >= 4
    back = stubs.restored(student, solutions)
    assert [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in back.cells] == [
        (cell.id, cell.cell_type, cell.source, cell.metadata) for cell in complete.cells
    ]
    assert runs.stamp(back) == runs.stamp(complete)


def test_only_the_exercises_lost_their_outputs(chapter):
    _, complete, student = chapter
    asked = {one.cell for one in stubs.exercises_of(complete)}
    kept = {cell.id: cell for cell in student.cells}
    for cell in complete.cells:
        if cell.id in asked:
            assert kept[cell.id].outputs == []
            assert kept[cell.id].execution_count is None
        else:
            assert kept[cell.id] == cell


def test_no_student_notebook_holds_a_mark_or_names_an_answer(chapter):
    _, complete, student = chapter
    text = nbformat.writes(student)
    assert "SOLUTION" not in text
    for cell in student.cells:
        if "exercise" in cell.metadata.get("tags", []):
            function = next(node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef))
            assert [ast.unparse(line) for line in function.body] == ["..."]
    nbformat.validate(student)
    assert student.metadata["nblib"]["stamp"] == runs.stamp(student)
    assert student.metadata["nblib"]["made_from"].endswith(runs.stamp(complete))


def test_every_stub_of_the_series_gets_a_hint_and_raises_nothing(chapter):
    _, complete, student = chapter
    for one in stubs.exercises_of(complete):
        cell = next(cell for cell in student.cells if cell.id == one.cell)
        around = {"check": check}
        exec(cell.source.rpartition("check(")[0], around)  # defining it needs nothing
        function = next(value for name, value in around.items() if name.startswith("my_"))
        told = repr(check(one.name, function))
        assert "not done yet: it returns None; write it" in told
        assert "Hint: " in told
        assert "Traceback" not in told


def test_hints_do_not_hold_the_answer(chapter):
    """A line of a solution in the hint would be shown to whoever runs the stub."""
    _, complete, _ = chapter
    for one in stubs.exercises_of(complete):
        hint = re.sub(r"\W", "", exercises.checking.find(one.name).hint)
        lines = [re.sub(r"\W|return", "", line) for line in "\n".join(one.solutions).splitlines()]
        assert not [line for line in lines if len(line) > 12 and line in hint]


def test_every_exercise_has_right_and_wrong_answers_in_the_order_of_the_course():
    asked = [one.name for path in SERIES.values() for one in stubs.exercises_of(nbformat.read(path, as_version=4))]
    assert len(asked) == len(set(asked))
    assert set(asked) == set(exercises.available()) == set(answers.RIGHT) == set(answers.MISTAKES)
    assert all(len(answers.MISTAKES[name]) >= 3 for name in asked)


def test_marks_become_a_comment_and_dots_and_the_rest_of_the_cell_stays():
    student = stubs.student_form(notebook(), "03_holes")
    assert [cell.source for cell in student.cells if cell.metadata.get("tags") == ["exercise"]] == [STUB]
    asked, cell = student.cells[3:5]
    assert "nothing is noted" in asked.source
    assert 'hand_in("", notebook="03_holes@' in cell.source
    assert student.cells[5].source.startswith("## 2. Exercises")


def test_outputs_that_a_solution_made_further_down_are_cleared():
    def more(source):
        return new_code_cell(source, execution_count=2, outputs=shown("a result"))

    sources = (
        *("filled = my_paste(a, b, c)", "table = [filled.mean()]", "rows.append(table)", "print(rows)"),
        *("print(table)", "seen = {}", "seen['x'] = filled", "seen", "harmless = 3", "print(harmless)"),
        *("%time my_paste(a, b, c)", "%%time\nfilled", "first = []", "first.insert(0, filled)", "first"),
    )
    cells = [more("def my_paste_like(x): return x"), exercise(), *map(more, sources)]
    student = stubs.student_form(notebook(*cells), "03_holes")
    kept = [cell.source for cell in student.cells if cell.cell_type == "code" and cell.outputs]
    assert kept[1:] == ["def my_paste_like(x): return x", "seen = {}", "harmless = 3", "print(harmless)", "first = []"]


def test_badges_and_set_up_cells_do_not_lead_to_the_solutions():
    complete = notebook()
    badged = badges.with_badges(complete, "03_holes", badges.Address.parse("https://github.com/someone/course"))
    student = stubs.student_form(badged, "03_holes")
    assert "someone" not in nbformat.writes(student)
    plain = stubs.student_form(complete, "03_holes")
    assert [cell.source for cell in student.cells] == [cell.source for cell in plain.cells]


def test_two_solutions_in_one_cell_come_back_to_their_places():
    source = (
        "def my_paste(x):\n    ### BEGIN SOLUTION\n    y = 1\n    ### END SOLUTION\n    z = 0\n"
        "    if z:\n        ### BEGIN SOLUTION\n        return 2\n        ### END SOLUTION\n\n\n"
        "check('paste', my_paste)"
    )
    complete = notebook(exercise(source))
    student, (one,) = stubs.student_form(complete, "03"), stubs.exercises_of(complete)
    assert "y = 1" not in nbformat.writes(student)
    back = stubs.restored(student, {one.cell: one.solutions})
    assert [cell.source for cell in back.cells] == [cell.source for cell in complete.cells]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (exercise(ANSWER.replace("    ### END SOLUTION\n", "")), "in pairs, alone on their lines"),
        (exercise(ANSWER.replace("### END", "###END")), "in pairs, alone on their lines"),
        (exercise(ANSWER.replace("    ### END", "### END")), "in pairs, alone on their lines"),
        (exercise(ANSWER.replace("### BEGIN SOLUTION", "### begin solution")), "in pairs, alone on their lines"),
        (exercise(STUB), "holds no solution; is this a student edition already"),
        (exercise(ANSWER.replace('check("paste", my_paste)', "")), "ends with check"),
        (
            exercise("### BEGIN SOLUTION\nf = 3\n### END SOLUTION\ncheck('paste', f)"),
            "put the marks inside the function",
        ),
        (exercise("### BEGIN SOLUTION\ndef f(x):\n### END SOLUTION\n    y = 1\ncheck('p', f)"), "not Python"),
        (new_code_cell("1 +"), "not Python"),
        (new_code_cell(ANSWER), "shows a solution; put it between marks in a cell tagged 'exercise'"),
        (new_markdown_cell("```\n### BEGIN SOLUTION\n```"), "shows a solution"),
        (new_markdown_cell("<details><summary>The solution</summary>\n\n4\n</details>"), "shows a solution"),
    ],
)
def test_what_cannot_be_taken_out_is_refused(cell, told):
    with pytest.raises(ValueError, match=told):
        stubs.student_form(notebook(exercise(), cell), "03_holes")


def test_ipythons_own_lines_do_no_harm():
    cells = [new_code_cell(source) for source in ("%%bash\nls", "%matplotlib inline\n!ls\na = 1", "await something()")]
    assert stubs.student_form(notebook(exercise(), *cells), "03_holes").cells[-3:] == cells


def test_a_notebook_without_exercises_stays_as_it_is():
    plain = notebook(new_code_cell("1 + 1"))
    assert stubs.student_form(plain, "00_tour") == plain
    assert stubs.names_of(plain) == []


def test_the_names_are_found_in_student_notebooks_too(chapter):
    _, complete, student = chapter
    assert stubs.names_of(student) == stubs.names_of(complete) == [one.name for one in stubs.exercises_of(complete)]


# the folder


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of two notebooks, with a library that holds a file of answers."""
    folder = tmp_path / "repository"
    for name in ("notebooks/profiles", "nblib/classroom/answers", "nblib/__pycache__", "data/checkpoints/toyfaces"):
        (folder / name).mkdir(parents=True)
    for name in ("nblib/core.py", "nblib/classroom/answers/gan.py", "nblib/__pycache__/core.pyc", "LICENSE"):
        (folder / name).write_text(f"# {name}\n")
    (folder / "notebooks/profiles/smoke.yaml").write_text("00_tour:\n  seed: 1\n03_holes:\n  seed: 2\n")
    nbformat.write(notebook(new_code_cell("1 + 1")), folder / "notebooks/00_tour.ipynb")
    nbformat.write(notebook(), folder / "notebooks/03_holes.ipynb")
    monkeypatch.setattr(paths, "REPOSITORY", folder)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_edition_stands_alone_and_holds_no_answer(repository, tmp_path):
    asked = edition.write(tmp_path / "student")
    assert {name: [one.name for one in found] for name, found in asked.items()} == {
        "00_tour": [],
        "03_holes": ["paste"],
    }
    assert files(tmp_path / "student") == {
        *("LICENSE", "README.md", "nblib/core.py", "notebooks/00_tour.ipynb", "notebooks/03_holes.ipynb"),
        *("notebooks/profiles/smoke.yaml", "student.json"),
    }
    for name in files(tmp_path / "student"):
        assert "torch.where" not in (tmp_path / "student" / name).read_text()
    readme = (tmp_path / "student" / "README.md").read_text()
    for line in ("python3 -m venv .venv", "install -c constraints.txt -e '.[dev]'", ".venv/bin/nblib lab"):
        assert line in readme
    assert "| [03 A title: and more](notebooks/03_holes.ipynb) | Its promise. | 1 |" in readme
    assert "handin.json" in readme
    assert json.loads((tmp_path / "student" / "student.json").read_text())["kind"] == "nblib student edition"


def test_of_some_notebooks_only_their_profiles_are_kept(repository, tmp_path):
    edition.write(tmp_path / "student", ["03"])
    assert (tmp_path / "student/notebooks/profiles/smoke.yaml").read_text() == "03_holes:\n  seed: 2\n"


def test_an_untouched_edition_is_replaced_and_one_with_work_in_it_is_not(repository, tmp_path):
    out = tmp_path / "student"
    out.mkdir()
    edition.write(out)
    edition.write(out, ["03"])
    assert "notebooks/00_tour.ipynb" not in files(out)
    (out / "notebooks" / "handin.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"has worked in this edition \(notebooks/handin\.json differs"):
        edition.write(out)
    (out / "notebooks" / "handin.json").unlink()
    (out / "notebooks" / "03_holes.ipynb").write_text("an answer")
    with pytest.raises(FileExistsError, match=r"03_holes\.ipynb differs"):
        edition.write(out)
    assert (out / "notebooks" / "03_holes.ipynb").read_text() == "an answer"


@pytest.mark.parametrize("manifest", [None, "{", '{"kind": "other", "files": {"a": "b"}}', "[]", '{"kind": 3}'])
def test_folders_of_somebody_else_are_refused(repository, tmp_path, manifest):
    (tmp_path / "thesis.txt").write_text("mine")
    if manifest:
        (tmp_path / "student.json").write_text(manifest)
    with pytest.raises(FileExistsError, match="not empty and no student edition"):
        edition.write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_folders_inside_what_is_copied_are_refused(repository):
    with pytest.raises(ValueError, match="lies in nblib, which is copied"):
        edition.write(repository / "nblib" / "student")


def test_nothing_is_written_if_a_notebook_cannot_be_stripped(repository, tmp_path):
    nbformat.write(notebook(exercise(STUB)), repository / "notebooks/04_bad.ipynb")
    with pytest.raises(ValueError, match=r"04_bad: cell .* holds no solution; is this a student edition already"):
        edition.write(tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_a_failure_halfway_leaves_what_was_there(repository, tmp_path, monkeypatch):
    edition.write(tmp_path / "student")
    before = files(tmp_path / "student")
    monkeypatch.setattr(edition, "_readme", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        edition.write(tmp_path / "student", ["03"])
    assert files(tmp_path / "student") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".partial")] == []


def test_the_verb_says_where_it_wrote(repository, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["student", "--out", str(tmp_path / "student"), "--teacher", str(tmp_path / "student" / "t")])
    assert stopped.value.code == 2
    assert "lies in the students' folder" in capsys.readouterr().err
    assert not (tmp_path / "student").exists()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["student", "03", "--out", str(tmp_path / "student")])
    assert stopped.value.code == 0
    assert f"1 exercises in 1 notebooks: {tmp_path / 'student' / 'README.md'}" in capsys.readouterr().out


# the teacher's page


@pytest.fixture
def teachers_page(tmp_path, monkeypatch):
    """The page for one small notebook, with the measured times of another."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(notebook(), folder / "03_approxnet.ipynb")
    monkeypatch.setattr(paths, "notebooks_dir", lambda: folder)
    asked = {"03_approxnet": stubs.exercises_of(notebook(exercise(id="a")))}
    nbformat.write(notebook(exercise(id="a")), folder / "03_approxnet.ipynb")
    path = guide.write(tmp_path / "teacher", asked, progress=False)
    return path.read_text(encoding="utf-8")


def test_the_teachers_page_says_all_that_it_must(teachers_page):
    measured = json.loads((paths.benchmarks_dir() / "notebooks.json").read_text())["metrics"]["03_approxnet"]
    assert f"<td>{measured['class']['seconds'] / 60:.1f}</td>" in teachers_page
    assert f"<td>{measured['smoke']['seconds'] / 60:.1f}</td>" in teachers_page
    for text in (
        *("<li>fill <em>holes</em>;</li>", "You need the tour.", "return torch.where(masks, filling, images)"),
        *("<strong>1. Paste.</strong>", 'alt="x^2"', "estimate", "can be forged", "nblib collect", "passed."),
        *("the mask turned round", "masks are True in the hole", "1 minus a bool mask"),
    ):
        assert text in teachers_page
    assert "BEGIN SOLUTION" not in teachers_page
    assert len(re.findall("<td>not (yet|done yet): ", teachers_page)) == len(answers.MISTAKES["paste"])


def test_the_teachers_page_asks_nothing_of_the_network(teachers_page):
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', teachers_page) == []
    assert "<script" not in teachers_page


def test_words_are_those_of_the_prose(chapter):
    _, complete, _ = chapter
    assert 1500 < guide.words(complete) < 9000
    longer = copy.deepcopy(complete)
    longer.cells[0].source += " Three more words."
    assert guide.words(longer) == guide.words(complete) + 3


@pytest.mark.parametrize("formula", [r"\mathcal{N}(\mu, \exp(\texttt{logvar}))", r"\sqrt d \pm 3/\sqrt 2", "z_0"])
def test_formulas_are_drawings_with_a_text(formula):
    page = formulas.to_html(f"a ${formula}$ and `$x$`, 5 €")
    assert 'src="data:image/svg+xml;base64,' in page
    assert f'alt="{formula}"' in page
    assert "<code>$x$</code>" in page


def test_formulas_that_cannot_be_drawn_are_shown_as_they_are():
    assert "<code>\\nonsense{&lt;x}</code>" in formulas.to_html(r"$\nonsense{<x}$")


def test_every_formula_of_the_exercises_can_be_drawn(chapter):
    _, complete, _ = chapter
    for one in stubs.exercises_of(complete):
        page = formulas.to_html(one.text)
        assert "$" not in re.sub(r'alt="[^"]*"', "", page)
        assert page.count("<img ") == len(re.findall(r"\$[^$]+\$", one.text))


# for real


@pytest.mark.slow
def test_the_real_edition_stands_alone(tmp_path):
    edition.write(tmp_path / "student")
    assert not (tmp_path / "student/nblib/classroom/answers").exists()
    code = "from nblib.cli import main; main(['run', '--list'])"
    environment = {"PYTHONPATH": str(tmp_path / "student"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if line[:2].isdigit()] == list(SERIES)
    code = (
        "from nblib import paths; print(paths.REPOSITORY); from nblib.cli import main; main(['student', '--out', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "student")
    assert "is this a student edition already" in done.stderr


@pytest.mark.slow
def test_a_chapter_runs_from_top_to_bottom_with_its_stubs(tmp_path):
    name = "04_latent_search"
    student = stubs.student_form(nbformat.read(SERIES[name], as_version=4), name)
    outcome = runs.execute(name, student, runs.profile("smoke")[name], tmp_path, 550, 550, False)
    assert outcome.status == "complete", outcome.error
    executed = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    told = [
        cell.outputs[-1].data["text/plain"] for cell in executed.cells if "exercise" in cell.metadata.get("tags", [])
    ]
    assert len(told) == 4
    assert all("not done yet: it returns None" in text for text in told)
    asked = next(cell for cell in executed.cells if cell.id == "hand-in")
    assert asked.outputs[-1].data["text/plain"].startswith("Nothing is recorded.")
