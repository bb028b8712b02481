"""Links that open the notebooks on Binder and on Colab, and the cell that fetches the course there.

``python -m nblib.badges --repository https://github.com/OWNER/NAME [--branch main]`` writes them into every notebook
and into the README; once the project moves, a second call replaces them; ``--remove`` takes them out again. The links
are plain text: an image from another host would be asked for by everyone who opens a notebook.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbformat import NotebookNode

from nblib import paths, runs
from nblib.files import whole_file
from nblib.refresh import renumber, write_notebook

OWNER = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}"
NAME = r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
BRANCH = r"(?![-/.])(?!.*(?:\.\.|//|/\.|@\{))[A-Za-z0-9._/@+-]{1,200}(?<![/.])(?<!\.lock)"
EXAMPLE = ("OWNER", "NAME")
LINKS = re.compile(r"\n\n<!-- badges -->.*?<!-- /badges -->", re.DOTALL)
SETUP = """import subprocess
import sys

if "google.colab" in sys.modules:  # fetch the course and what it needs; elsewhere this cell does nothing
    course = "{repository}"
    subprocess.run(["git", "clone", "-q", "--depth=1", "--branch={branch}", course, "/content/course"])
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "/content/course", "anywidget"], check=True)
    sys.path.insert(0, "/content/course")"""


@dataclass(frozen=True)
class Address:
    """Where a repository lies on GitHub, the one host that both Binder and Colab open by name.

    Examples
    --------
    >>> here = Address("someone", "course", "main")
    >>> here.binder("notebooks/00_tour.ipynb")
    'https://mybinder.org/v2/gh/someone/course/main?urlpath=lab/tree/notebooks/00_tour.ipynb'
    >>> here.colab("notebooks/00_tour.ipynb")
    'https://colab.research.google.com/github/someone/course/blob/main/notebooks/00_tour.ipynb'
    """

    owner: str
    name: str
    branch: str

    @classmethod
    def parse(cls, repository: str, branch: str = "main") -> "Address":
        """Read ``https://github.com/OWNER/NAME``; an end of ``.git`` or ``/`` may follow.

        Raises
        ------
        ValueError
            If it is no such address, or `branch` no name of a branch.
        """
        found = re.fullmatch(rf"https://github\.com/({OWNER})/({NAME})", repository.rstrip("/").removesuffix(".git"))
        if found is None:
            raise ValueError(
                f"--repository {repository}: give https://github.com/OWNER/NAME; Colab opens no other host"
            )
        if found.groups() == EXAMPLE:
            raise ValueError(f"--repository {repository}: that is the example; give the project's own address")
        if not re.fullmatch(BRANCH, branch):
            raise ValueError(f"--branch {branch}: not the name of a branch")
        return cls(*found.groups(), branch)

    @property
    def repository(self) -> str:
        """The address to clone from."""
        return f"https://github.com/{self.owner}/{self.name}"

    def binder(self, path: str) -> str:
        """Return the address that opens `path`, a file or folder of the repository, in a JupyterLab on Binder."""
        return (
            f"https://mybinder.org/v2/gh/{self.owner}/{self.name}/{quote(self.branch, safe='')}?urlpath=lab/tree/{path}"
        )

    def colab(self, path: str) -> str:
        """Return the address that opens a notebook on Colab."""
        return f"https://colab.research.google.com/github/{self.owner}/{self.name}/blob/{quote(self.branch)}/{path}"


def with_badges(notebook: NotebookNode, name: str, address: Address | None) -> NotebookNode:
    """Return a notebook with the links of `address` and its set-up cell in place of those it had; None: without any.

    Parameters
    ----------
    notebook : NotebookNode
        Left as it is.
    name : str
        Such as "00_tour".
    address : Address or None

    Raises
    ------
    ValueError
        If the notebook does not begin with a title and a sentence below it.
    """
    changed = nbformat.from_dict(notebook)
    changed.cells = [cell for cell in changed.cells if not runs.is_setup(cell)]
    path = f"notebooks/{name}.ipynb"
    links = None if address is None else links_line(address, path, path)
    changed.cells[0].source = linked(changed.cells[0].source, links)
    if address is not None:
        tags = [cell.metadata.get("tags", []) for cell in changed.cells]
        place = next((k for k, found in enumerate(tags, 1) if "parameters" in found), 1)
        changed.cells.insert(place, setup_cell(address, f"nb{name[:2]}-setup"))
    if any(cell.get("execution_count") for cell in changed.cells):
        renumber(changed)
    return changed


def setup_cell(address: Address, id: str) -> NotebookNode:
    """Return the cell that clones the course on Colab and installs it; anywhere else it does nothing.

    The second time it runs there the clone exists already, and git says so. Of Jupyter the notebooks need anywidget
    alone beside what Colab has, so that its own versions stay.
    """
    source = SETUP.format(repository=address.repository, branch=address.branch)
    return nbformat.v4.new_code_cell(source, id=id, metadata={"tags": ["setup"]})


def links_line(address: Address, binder: str, colab: str) -> str:
    """Return both links in Markdown, to a path each."""
    return f"**[Open on Binder]({address.binder(binder)})** · **[Open on Colab]({address.colab(colab)})**"


def linked(text: str, links: str | None) -> str:
    r"""Return Markdown with `links` below its title and first paragraph, in place of earlier ones; None: without.

    Raises
    ------
    ValueError
        If it does not begin with a title and a paragraph.

    Examples
    --------
    >>> print(linked("# A tour\n\nMeet the pictures.\n\nYou need nothing.", "[Open](there)"))
    # A tour
    <BLANKLINE>
    Meet the pictures.
    <BLANKLINE>
    <!-- badges -->
    [Open](there)
    <!-- /badges -->
    <BLANKLINE>
    You need nothing.
    """
    parts = LINKS.sub("", text).split("\n\n")
    if len(parts) < 2 or not parts[0].startswith("# "):
        raise ValueError(f"{parts[0][:40]!r}: expected a title and a paragraph below it, to put links after")
    if links is not None:
        parts.insert(2, f"<!-- badges -->\n{links}\n<!-- /badges -->")  # on lines of their own, or they are no Markdown
    return "\n\n".join(parts)


def rewrite(address: Address | None) -> list[Path]:
    """Write the links of `address` into notebooks and README, or take them out; return the files that changed."""
    readme = paths.REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    series = runs.available()
    first = f"notebooks/{next(iter(series))}.ipynb"
    written = linked(text, None if address is None else links_line(address, "notebooks", first))
    found = {path: nbformat.read(path, as_version=4) for path in series.values()}
    changed = {path: with_badges(notebook, path.stem, address) for path, notebook in found.items()}
    changed = {path: notebook for path, notebook in changed.items() if notebook != found[path]}
    for path, notebook in changed.items():  # only now, when nothing is left that could be refused
        write_notebook(path, notebook)
    if written != text:
        with whole_file(readme) as partial:
            partial.write_text(written, encoding="utf-8")
    return [*changed, *([readme] if written != text else [])]


def main(arguments: list[str]) -> int:
    """Run the command line; return a status."""
    parser = argparse.ArgumentParser(prog="python -m nblib.badges", description=__doc__.split("\n\n")[0])
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--repository", help="the project's public address, https://github.com/OWNER/NAME")
    wanted.add_argument("--remove", action="store_true", help="take links and set-up cells out")
    parser.add_argument("--branch", default="main", help="the branch that is opened (default: main)")
    given = parser.parse_args(arguments)
    try:
        changed = rewrite(None if given.remove else Address.parse(given.repository, given.branch))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"wrote {path.relative_to(paths.REPOSITORY)}" for path in changed) or "nothing to change")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
