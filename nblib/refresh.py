"""Execute the series in the class profile and rewrite what is committed: notebooks, measured times, README pictures.

Run it as ``python -m nblib.refresh [NUMBER …]`` (``make notebooks``). Times and memory are measured here and written
by this tool alone: into ``data/benchmarks/notebooks.json``, the title cell of each notebook and the README.
"""

import argparse
import base64
import io
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from PIL import Image

from nblib import pages, paths, results, runs
from nblib.files import whole_file, write_json

PROFILES = ("smoke", "class")
PICTURES = {"09_leaderboard": ("leaderboard.png", "completion.png")}  # shown in the README
EXAMPLES = """examples:
  python -m nblib.refresh         the whole series, as `make notebooks` does
  python -m nblib.refresh 00 09   after a change to these two

Nothing is rewritten if a notebook fails."""


def main(arguments: list[str]) -> int:
    """Run the command line; return a status."""
    parser = argparse.ArgumentParser(
        prog="python -m nblib.refresh",
        description=__doc__.split("\n\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", metavar="NUMBER", help="number or name (default: all notebooks)")
    try:
        names = list(runs.select(parser.parse_args(arguments).notebooks))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return refresh(names)


def refresh(names: list[str]) -> int:
    """Execute the chosen notebooks in both measured profiles and rewrite what depends on them; return a status."""
    with tempfile.TemporaryDirectory() as scratch:
        done = {profile: runs.run(names, profile=profile, out=Path(scratch) / profile) for profile in PROFILES}
        if failures := {**done["smoke"].failures, **done["class"].failures}:
            print("\n".join(f"{name}: {error}" for name, error in failures.items()), file=sys.stderr)
            return 1
        measured = measure(done)
        for name, path in runs.select(names).items():
            executed = nbformat.read(done["class"].out / name / f"{name}.ipynb", as_version=4)
            write_notebook(path, committed_form(executed, measured[name]))
            for picture in PICTURES.get(name, ()):
                target = paths.pictures_dir() / picture
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(done["class"].out / name / picture, target)
    write_readme(paths.REPOSITORY / "README.md", measured)
    return 0


def measure(done: dict[str, runs.Run]) -> dict[str, dict[str, Any]]:
    """Return seconds and memory by notebook and profile, new ones laid over those on file, and put them on file."""
    path = paths.benchmarks_dir() / "notebooks.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.exists() else {}
    for profile, run in done.items():
        for name, outcome in run.outcomes.items():
            memory = results.read(run.out / name).get("peak_memory_mb")
            measured.setdefault(name, {})[profile] = {"seconds": outcome.seconds, "peak_memory_mb": memory}
    measured = {name: measured[name] for name in runs.available() if name in measured}
    seconds = sum(entry["seconds"] for profiles in measured.values() for entry in profiles.values())
    write_json(path, results.record("benchmark", parameters={}, seconds=seconds, metrics=measured))
    return measured


def committed_form(notebook: NotebookNode, measured: dict[str, dict[str, Any]]) -> NotebookNode:
    """Return an executed notebook as it is committed.

    Without what papermill injected, progress bars, widget state and per-run metadata; with the stamp of its code and
    the times.
    """
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags" and value}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
        for output in cell.outputs:
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = packed(png)
    renumber(notebook)
    title = notebook.cells[0]
    title.source = between_marks(title.source, "measured", times_line(measured))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata["nblib"] = {"stamp": runs.stamp(notebook)}
    return nbformat.from_dict(notebook)


def renumber(notebook: NotebookNode) -> None:
    """Count the code cells of an executed notebook from 1, as if it had been run once from the top."""
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        for counted in (cell, *(output for output in cell.outputs if "execution_count" in output)):
            counted.execution_count = number


def packed(png: str) -> str:
    """Return a PNG, in base64, in as few bytes as its pixels allow; figures are opaque, so they need no alpha."""
    picture, small = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    picture.convert("RGB").save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _is_progress(output: NotebookNode) -> bool:
    """Whether an output is the progress bar of a pack being made, which only the first run shows."""
    return output.get("name") == "stderr" and all("%|" in line for line in output.text.split("\r") if line.strip())


def times_line(measured: dict[str, dict[str, Any]]) -> str:
    """Return the sentence on time and memory for a title cell."""
    parts = [
        f"{entry['seconds']:.0f} s and {entry['peak_memory_mb'] / 1000:.1f} GB in the *{profile}* profile"
        for profile, entry in measured.items()
    ]
    return f"Time and memory, measured on two CPU cores: {', '.join(parts)}."


def between_marks(text: str, mark: str, content: str) -> str:
    """Return `text` with what stands between ``<!-- mark -->`` and ``<!-- /mark -->`` replaced.

    Raises
    ------
    ValueError
        If the marks are missing.

    Examples
    --------
    >>> between_marks("a <!-- t -->old<!-- /t --> b", "t", "new")
    'a <!-- t -->new<!-- /t --> b'
    """
    pattern = re.compile(rf"(<!-- {mark} -->).*?(<!-- /{mark} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no <!-- {mark} --> … <!-- /{mark} --> to write between")
    return pattern.sub(lambda found: found[1] + content + found[2], text)


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook whole."""
    nbformat.validate(notebook)
    with whole_file(path) as partial:
        nbformat.write(notebook, partial)


def write_readme(path: Path, measured: dict[str, dict[str, Any]]) -> None:
    """Rewrite the README's table of notebooks."""
    rows = ["| notebook | what it shows | smoke | class | memory |", "|---|---|---|---|---|"]
    for name, profiles in measured.items():
        title, promise = pages.title_and_promise(nbformat.read(runs.available()[name], as_version=4))
        times = [f"{profiles[profile]['seconds']:.0f} s" for profile in PROFILES]
        memory = f"{max(entry['peak_memory_mb'] for entry in profiles.values()) / 1000:.1f} GB"
        rows.append(f"| [{name[:2]} {title}](notebooks/{name}.ipynb) | {promise} | {' | '.join(times)} | {memory} |")
    text = between_marks(path.read_text(encoding="utf-8"), "notebooks", "\n" + "\n".join(rows) + "\n")
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
