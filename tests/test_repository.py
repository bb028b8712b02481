"""The files around the code agree with it and with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_environment_has_the_keys_and_nothing_else():
    assert set(ENVIRONMENT) == {"name", "channels", "dependencies"}
    assert ENVIRONMENT["name"] == PROJECT["name"]
    assert ENVIRONMENT["channels"] == ["conda-forge"]


def test_environment_takes_the_packages_from_pyproject():
    plain = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-e .[dev]"]
    assert [entry for entry in plain if not entry.startswith("python")] == ["pip"]


def test_environment_and_pyproject_ask_for_the_same_python():
    (python,) = [entry for entry in ENVIRONMENT["dependencies"] if str(entry).startswith("python")]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])


def test_environment_specs_parse_as_conda_would():
    rattler = pytest.importorskip("rattler")
    for entry in ENVIRONMENT["dependencies"]:
        if isinstance(entry, str):
            rattler.MatchSpec(entry, strict=True)


def test_constraints_satisfy_pyproject():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in lines if "==" in line}
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(line) for line in PROJECT["dependencies"] + extras["dev"] + extras["scale"] + extras["app"]]
    for requirement in (one for one in wanted if one.name != "nblib"):
        pinned = pins.get(requirement.name.lower().replace("_", "-"))
        assert pinned, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pinned), f"constraints.txt: {requirement.name}=={pinned}"


def test_the_package_imports_nothing_by_itself():
    code = "import sys, nblib; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_training_half_needs_no_jupyter():
    """A GPU machine without the notebook tools can import data, masks, metrics and inpainters."""
    absent = ("IPython", "ipywidgets", "anywidget", "papermill", "nbformat")
    code = f"import sys; sys.modules |= dict.fromkeys({absent})\n"
    code += "from nblib import cli, datasets, evaluation, exercises, inpainters, masks, training, weights"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_make_lists_its_targets():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "lab", "lint", "notebooks", "bench"):
        assert re.search(rf"make {target} +\S", said), f"`make` does not describe {target}"


def test_links_in_the_documents_lead_somewhere():
    for path in tracked("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_commands_in_the_documents_exist():
    from nblib.cli import app
    from nblib.cli.pictures import data_app

    verbs = {command.callback.__name__ for command in app.registered_commands} | {"data"}
    sub = {command.callback.__name__.removeprefix("data_") for command in data_app.registered_commands}
    for path in tracked("*.md"):
        for verb, second in re.findall(r"(?:^|`|bin/)nblib ([a-z]+) ?([a-z]*)", path.read_text("utf-8"), re.MULTILINE):
            assert verb in verbs, f"{path.name}: nblib {verb}"
            assert verb != "data" or second in sub | {""}, f"{path.name}: nblib data {second}"
        targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for target in re.findall(r"`make ([a-z-]+)", path.read_text(encoding="utf-8")):
            assert target in targets, f"{path.name}: make {target}"


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 50


def test_no_large_files():
    assert [path for path in tracked("*") if path.stat().st_size > 10_000_000] == []
