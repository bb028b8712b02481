"""A small notebook to sweep, and `nblib` for a series that holds it alone: ``python sweepable.py NOTEBOOKS ARGUMENTS``.

Each execution appends to a log when it begins and when it ends, so that double runs are seen, and waits as long as a
file is there, so that it is at work when it is killed.
"""

import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """steps = 2
rate = 0.5
seed = 0
name = "a"
pause = 0.0
fail_above = 99
log = ""
hold = ""
out = "runs/x\""""
BEGIN = """import json, os, pathlib, time
def note(what):
    if log:
        with open(log, "a") as file:
            file.write(f"{what} {steps} {seed} {os.getpid()}\\n")
note("begin")
if hold and os.path.exists(hold):
    note("held")
    while os.path.exists(hold):
        time.sleep(0.05)
time.sleep(pause)
assert steps <= fail_above, "too many steps"
"""
FIGURE = """from base64 import b64decode
from IPython.display import Image, display
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
display(Image(b64decode(PNG)), metadata={"image/png": {"alt": f"a dot after {steps} steps"}})
"""
END = """metrics = {"loss": 1 / (steps + rate) + 0.01 * seed, "steps": steps}
metrics["threads"] = int(os.environ.get("OMP_NUM_THREADS", "0"))  # set by a sweep
pathlib.Path(out, "results.json").write_text(json.dumps({"kind": "notebook", "metrics": metrics}))
note("end")
"""


def write_series(folder: Path) -> Path:
    """Write the notebook and empty profiles into `folder`."""
    (folder / "profiles").mkdir(parents=True)
    for profile in ("smoke", "class"):
        (folder / "profiles" / f"{profile}.yaml").write_text("")
    cells = [new_markdown_cell("# Small\n\nA promise."), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = new_notebook(cells=cells + [new_code_cell(code) for code in (BEGIN, FIGURE, END)], metadata=kernel)
    nbformat.write(notebook, folder / "00_small.ipynb")
    return folder


if __name__ == "__main__":
    from nblib import cli, paths

    paths.notebooks_dir = lambda: Path(sys.argv[1])
    cli.main(sys.argv[2:])
