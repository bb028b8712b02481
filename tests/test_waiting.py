"""How long torch's threads spin while they wait for each other: little, unless the user said otherwise."""

import os
import subprocess
import sys

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def python(code, **own):
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run([sys.executable, "-c", code], env=others | own, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("own", "then"),
    [({}, "1000 None"), ({"GOMP_SPINCOUNT": "7"}, "7 None"), ({"OMP_WAIT_POLICY": "active"}, "None active")],
)
def test_what_a_user_has_set_stays(own, then):
    code = f"import nblib, os; print(*[os.environ.get(name) for name in {VARIABLES}])"
    assert python(code, **own).stdout.strip() == then


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP")
@pytest.mark.parametrize(("imports", "taken"), [("nblib, torch", True), ("torch, nblib", False)])
def test_torch_takes_it_if_nblib_comes_first(imports, taken):
    said = python(f"import {imports}", OMP_DISPLAY_ENV="verbose").stderr
    assert "GOMP_SPINCOUNT = " in said
    assert ("GOMP_SPINCOUNT = '1000'" in said) == taken
