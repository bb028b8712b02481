"""The series in a real JupyterLab, driven as a reader would."""

import papermill
import pytest
from playwright.sync_api import expect

from nblib import datasets, runs


@pytest.mark.slow
def test_the_tour_runs_in_jupyterlab(jupyterlab, tmp_path):
    copy = tmp_path / "root" / "00_tour.ipynb"
    given = {**runs.profile("smoke")["00_tour"], "out": str(tmp_path / "out")}
    datasets.load("toyfaces", n=given["pictures"], progress=False)  # else the notebook shows a bar while it draws
    papermill.execute_notebook(runs.available()["00_tour"], str(copy), given, prepare_only=True)
    jupyterlab.open("00_tour.ipynb")
    jupyterlab.page.locator("[data-command='notebook:restart-run-all']").first.wait_for(state="attached")
    jupyterlab.page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    expect(jupyterlab.page.locator(".jp-OutputArea-output")).to_have_count(0)

    jupyterlab.run_all()
    jupyterlab.page.locator(".jp-OutputArea-output", has_text="best in the hole: ").wait_for()
    figures = jupyterlab.page.locator(".jp-OutputArea-output img")
    assert figures.count() >= 8
    assert all(figures.nth(k).evaluate("image => image.naturalWidth > 200") for k in range(figures.count()))
    expect(jupyterlab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    assert (tmp_path / "out" / "results.json").exists()
    assert jupyterlab.errors == []
    assert jupyterlab.foreign == []
