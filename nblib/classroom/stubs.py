"""Notebooks without solutions: what stands between the marks of a cell tagged ``exercise`` becomes a stub.

All that could show a solution goes with it: the outputs of those cells, and of every later cell that uses what they
define. Everything else stays as it is, so the edition can be taken back (`restored`).
"""

import ast
import re
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from nblib import badges, runs

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = ("# Write your answer here, in place of the dots.", "...")
TAG = "exercise"
CHANGING = ("append", "extend", "update", "add", "insert", "setdefault")  # methods that change what they belong to
ASKED = ("hand-in-asked", "hand-in")  # ids of the two cells that ask for a name

_MARK = re.compile(r"#\s*(BEGIN|END)\s+SOLUTION", re.IGNORECASE)
_FOLDED = re.compile(r"<summary>[^<]*(solution|answer)", re.IGNORECASE)
_REGION = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)^\1{END}$", re.DOTALL | re.MULTILINE)
_STUB = re.compile(rf"^[ \t]*{re.escape(STUB[0])}\n[ \t]*{re.escape(STUB[1])}$", re.MULTILINE)
_CHECK = re.compile(r"\bcheck\(\s*[\"'](\w+)[\"']")


@dataclass(frozen=True)
class Asked:
    """An exercise as a notebook asks it.

    Attributes
    ----------
    name : str
        As its check knows it.
    cell : str
        Id of the cell.
    text : str
        The task, in Markdown.
    solutions : tuple of str
        What stands in the cell from each begin mark to its end mark.
    source : str
        The cell, solution included.
    """

    name: str
    cell: str
    text: str
    solutions: tuple[str, ...]
    source: str


def exercises_of(notebook: NotebookNode) -> list[Asked]:
    """Return the exercises of a notebook in order.

    Raises
    ------
    ValueError
        If marks are unpaired or misspelt, or a solution is shown outside a cell tagged ``exercise`` (also folded, in
        prose); if such a cell has none, or calls no ``check("name", …)``; or if its stub would not define what the cell
        defines.
    """
    found = []
    for number, cell in enumerate(notebook.cells):
        if not _is_exercise(cell):
            if _MARK.search(cell.source) or _FOLDED.search(cell.source):
                raise ValueError(f"cell {cell.id} shows a solution; put it between marks in a cell tagged {TAG!r}")
            continue
        before = notebook.cells[number - 1] if number else None
        text = _task(before.source) if before and before.cell_type == "markdown" else ""
        found.append(_asked(cell, text))
    return found


def names_of(notebook: NotebookNode) -> list[str]:
    """Return the names of a notebook's exercises in order, of a student edition's as well."""
    cells = [cell.source for cell in notebook.cells if _is_exercise(cell)]
    return [found[1] for source in cells if (found := _CHECK.search(stub(source)))]


def student_form(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return a copy of the notebook `name` without solutions, with the two cells that ask who hands it in.

    Badges and the set-up cell of Colab go, as they lead to the solutions. A notebook without exercises has nothing else
    to lose. Raises `ValueError` as `exercises_of` does.
    """
    badged = any(runs.is_setup(cell) for cell in notebook.cells)
    copy = badges.with_badges(notebook, name, None) if badged else nbformat.from_dict(notebook)
    if not exercises_of(copy):
        return copy
    edition = f"{name}@{runs.stamp(copy)}"
    for cell in copy.cells:
        if _is_exercise(cell):
            cell.source = stub(cell.source)
    _clear(copy)
    first = next(number for number, cell in enumerate(copy.cells) if _is_exercise(cell))
    copy.cells[max(first - 1, 0) : max(first - 1, 0)] = _who_hands_in(edition)  # before the text of the first exercise
    copy.metadata["nblib"] = {"stamp": runs.stamp(copy), "edition": "student", "made_from": edition}
    nbformat.validate(copy)
    return copy


def restored(student: NotebookNode, solutions: dict[str, tuple[str, ...]]) -> NotebookNode:
    """Return a student's notebook with `solutions` (by cell id) put back in place of the stubs."""
    copy = nbformat.from_dict(student)
    copy.cells = [cell for cell in copy.cells if cell.id not in ASKED]
    for cell in copy.cells:
        parts = iter(solutions.get(cell.id, ()))
        cell.source = _STUB.sub(lambda found: next(parts, found[0]), cell.source)  # noqa: B023 -- used at once
    return copy


def stub(source: str) -> str:
    r"""Return the source of a cell with each solution replaced by a comment and dots.

    Examples
    --------
    >>> print(stub("def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"))
    def f(x):
        # Write your answer here, in place of the dots.
        ...
    """
    return _REGION.sub(lambda found: "\n".join(found[1] + line for line in STUB), source)


def _is_exercise(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])


def _asked(cell: NotebookNode, text: str) -> Asked:
    """Return the exercise in a cell; see `exercises_of` for what is refused."""
    solutions = tuple(found[0] for found in _REGION.finditer(cell.source))
    if not solutions and not _MARK.search(cell.source):
        raise ValueError(f"cell {cell.id} is tagged {TAG!r} but holds no solution; is this a student edition already?")
    written = stub(cell.source)
    if _MARK.search(written):
        raise ValueError(f"cell {cell.id}: write {BEGIN} and {END} in pairs, alone on their lines, equally indented")
    check = _CHECK.search(written)
    if not check:
        raise ValueError(f'cell {cell.id}: an exercise ends with check("name", function)')
    try:
        kept = _bound(written) == _bound(cell.source)
    except SyntaxError as error:
        raise ValueError(f"cell {cell.id}: not Python without its solution ({error.msg})") from error
    if not kept:
        raise ValueError(f"cell {cell.id}: put the marks inside the function, so that its first line stays")
    return Asked(check[1], cell.id, text, solutions, cell.source)


def _task(markdown: str) -> str:
    """Return the last task of a cell: what begins at its last line that starts with a number in bold."""
    starts = [found.start() for found in re.finditer(r"^\*\*\d+\.", markdown, re.MULTILINE)]
    return markdown[starts[-1] :].strip() if starts else markdown.strip()


def _clear(notebook: NotebookNode) -> None:
    """Remove the outputs that a solution made: of the exercises, and of every cell that uses what they define."""
    tainted: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            uses = {node.id for node in ast.walk(_parsed(cell.source)) if isinstance(node, ast.Name)}
        except SyntaxError as error:
            raise ValueError(f"cell {cell.id}: not Python ({error.msg})") from error
        if _is_exercise(cell) or uses & tainted:
            tainted |= _bound(cell.source)
            cell.outputs, cell.execution_count = [], None


def _bound(source: str) -> set[str]:
    """Return the names that a cell defines or assigns at its top level, or changes by an index or as `append` does."""
    names = set()
    for node in _parsed(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        else:
            names |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
            names |= {_root(each) for each in ast.walk(node) if _is_changed(each)}
    return names - {""}


def _is_changed(node: ast.AST) -> bool:
    if not isinstance(node, (ast.Subscript, ast.Attribute)):
        return False
    return isinstance(node.ctx, ast.Store) or getattr(node, "attr", "") in CHANGING


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _parsed(source: str) -> ast.Module:
    """Return the tree of a cell without IPython's own words, such as ``%time`` before what is timed."""
    lines = [re.sub(r"^%%?(time|timeit|prun)\b\s*", "", line) for line in source.splitlines()]
    if lines and lines[0].startswith("%%"):
        return ast.Module([], [])  # another language
    return ast.parse("\n".join("pass" if line.startswith(("%", "!")) else line for line in lines))


def _who_hands_in(edition: str) -> list[NotebookNode]:
    told = (
        "**To hand in.** Write your name, or the number your teacher gave you, between the quotes and run the cell. "
        "From then on every check is noted in `handin.json` beside this notebook: whether it passed, when, how many "
        "answers you tried, and the answer. Without a name nothing is noted, and nothing leaves your machine by itself."
    )
    code = f'from nblib.exercises import hand_in\n\nhand_in("", notebook="{edition}")'
    return [
        nbformat.v4.new_markdown_cell(told, id=ASKED[0]),
        nbformat.v4.new_code_cell(code, id=ASKED[1]),
    ]
