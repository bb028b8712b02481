"""The committed notebooks: outputs that belong to the code, the anatomy, nothing private, and a smoke run of each."""

import ast
import base64
import io
import subprocess
import sys

import nbformat
import papermill
import pytest
import torch
from PIL import Image

from nblib import baselines, blending, losses, masks, metrics, paths, recipes, runs
from nblib.datasets.imageset import ImageSet
from nblib.layers import SelfAttention2d
from nblib.networks.approxnet import ApproxNet, pasted
from nblib.networks.mlp import Discriminator2d, Generator2d
from nblib.toys.densities import ring
from nblib.training import GANTraining, fit

SERIES = runs.available()
PROFILES = sorted(path.stem for path in (paths.REPOSITORY / "notebooks" / "profiles").glob("*.yaml"))


@pytest.fixture(params=SERIES, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(name):
    return nbformat.read(SERIES[name], as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_the_outputs_belong_to_the_code(notebook):
    """The stamp was written by `make notebooks` right after it executed these very cells."""
    assert notebook.metadata["nblib"]["stamp"] == runs.stamp(notebook), "edited since it was executed: make notebooks"


def test_it_is_executed_in_order_without_an_error(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output for output in outputs(notebook) if output.get("name") == "stderr"] == []


def test_its_format_is_the_common_one(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook.metadata
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_it_begins_with_title_promise_and_parameters(notebook):
    title, parameters = notebook.cells[:2]
    assert title.source.startswith("# ")
    assert "measured on two CPU cores" in title.source
    assert parameters.metadata["tags"] == ["parameters"]
    known = runs.defaults(notebook)
    assert {"seed", "out"} <= set(known)
    assert len(parameters.source.splitlines()) == len(known)
    h1 = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert len([line for line in h1 if line.startswith("# ")]) == 1


def test_prose_is_at_least_half_and_cells_are_short(notebook):
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(prose) >= len([cell for cell in notebook.cells if not runs.is_setup(cell)]) / 2
    for cell in code_cells(notebook):
        assert (count := counted(cell.source)) <= 15, f"cell {cell.id} has {count} lines"


def counted(source):
    """Return the lines of a cell but for blank ones, comments and imports."""
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    skipped = {line for node in imports for line in range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(map(str.strip, source.splitlines()), start=1)
    return sum(1 for number, line in lines if line and not line.startswith("#") and number not in skipped)


def test_an_import_is_not_counted_however_many_lines_it_takes():
    assert counted("import a\nfrom b import (\n    c,\n    d,\n)\n\n# said\nx = c(\n    d\n)\n") == 3


def test_every_figure_has_a_text_for_those_who_cannot_see_it(notebook):
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert pictures
    for output in pictures:
        assert len(output.metadata.get("image/png", {}).get("alt", "")) > 30


def test_it_is_light_enough_for_a_repository(name, notebook):
    assert SERIES[name].stat().st_size < 3_000_000
    for output in outputs(notebook):
        if data := output.get("data", {}).get("image/png"):
            assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) < 2500


def test_it_shows_toy_data_only_and_no_private_path(name, notebook):
    assert runs.defaults(notebook)["dataset"].startswith("toy")
    assert str(paths.REPOSITORY) not in SERIES[name].read_text(encoding="utf-8")


def test_every_definition_is_used(notebook):
    """A function that a cell defines is called later, so its words are tried and not only shown."""
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    defined = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert defined <= named


def definition(name, function, **around):
    """A function as a cell of a notebook defines it."""
    for cell in code_cells(nbformat.read(SERIES[name], as_version=4)):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef) and node.name == function:
                exec(compile(ast.Module([node], []), name, "exec"), around)
                return around[function]
    raise LookupError(f"{name} does not define {function}")


def test_the_tours_ssim_is_the_librarys():
    output, truth = torch.rand(2, 5, 3, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = definition("00_tour", "ssim", torch=torch)(output, truth)
    torch.testing.assert_close(found, metrics.ssim(output, truth), rtol=0, atol=1e-6)


def test_the_leaderboards_harmonic_fill_is_the_librarys():
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    holes = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    holes[0, :, 4:14, 8:20], holes[1, :, 20:32, 0:9] = True, True  # one of them at the border
    found = definition("09_leaderboard", "harmonic", torch=torch)(images, holes)
    torch.testing.assert_close(found, baselines.harmonic(images, holes), rtol=0, atol=5e-3)


def test_the_first_chapters_losses_and_step_are_the_librarys():
    real, fake = torch.randn(2, 9, 1, generator=torch.Generator().manual_seed(0)) * 5
    around = {"F": torch.nn.functional}
    d_loss, g_loss = (definition("01_gan_basics", f"{who}_loss", **around) for who in ("discriminator", "generator"))
    torch.testing.assert_close(d_loss(real, fake), losses.bce_loss_d(real, fake))
    torch.testing.assert_close(g_loss(fake), losses.nonsaturating_loss_g(fake))

    written = definition("01_gan_basics", "gan_step", discriminator_loss=d_loss, generator_loss=g_loss)
    weights = []
    for step in (written, recipes.nonsaturating_step):
        torch.manual_seed(0)
        training = GANTraining(Generator2d(), Discriminator2d())
        logs = list(fit(training, step, ring().batches(16), steps=5, log_every=5, precision="fp32", progress=False))
        weights.append((logs[-1].values, [*training.G.parameters(), *training.D.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_fit_the_notebooks(profile):
    assert set(runs.profile(profile)) == set(SERIES)
    assert set(runs.plan([], profile, {})) == set(SERIES)


def test_there_is_a_profile_of_each_kind():
    assert {"smoke", "class", "paper"} <= set(PROFILES)


def test_its_smoke_copy_runs_cell_by_cell(name, notebook, tmp_path):
    """Papermill sets the parameters of the smoke profile; nbval runs the copy and fails on the first error."""
    given = {**runs.profile("smoke")[name], "out": str(tmp_path)}
    copy = papermill.execute_notebook(notebook, str(tmp_path / f"{name}.ipynb"), given, prepare_only=True)
    for cell in code_cells(copy):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(copy, tmp_path / f"{name}.ipynb")
    options = ["--nbval-lax", "--nbval-cell-timeout=300", "-p", "no:cacheprovider", "-W", "ignore", "-q"]
    checked = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", "-c", "/dev/null", f"{name}.ipynb"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout[-3000:] + checked.stderr[-2000:]
    assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_the_second_chapters_attention_is_the_librarys(scale):
    around = {"F": torch.nn.functional}
    around["attention_map"] = definition("02_self_attention_maps", "attention_map", **around)
    written = definition("02_self_attention_maps", "self_attention", **around)
    torch.manual_seed(0)
    layer, x = SelfAttention2d(32, scale=scale), torch.randn(2, 32, 16, 8)
    torch.nn.init.constant_(layer.gamma, 0.7)
    torch.nn.init.normal_(layer.key.weight)
    torch.testing.assert_close(written(x, layer), layer(x), rtol=1e-4, atol=1e-4)


def test_the_second_chapters_step_is_the_librarys():
    images = ImageSet(
        torch.randint(256, (32, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    )
    written = definition("02_self_attention_maps", "sagan_step", torch=torch, losses=losses)
    values = []
    for step in (written, recipes.sagan_step):
        training, _, batches = recipes.sagan(images, width=8, attention_at=8, batch_size=8)
        logs = list(fit(training, step, batches, steps=3, log_every=3, precision="fp32", progress=False))
        values.append((logs[-1].values, [*training.G.parameters(), *training.D.parameters()]))
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)


def test_the_third_chapters_holes_loss_and_network_are_the_librarys():
    around = {"torch": torch, "nn": torch.nn}
    drawn = definition("03_approxnet", "gaussian_holes", **around)(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, masks.seed(500, generator=torch.Generator().manual_seed(0)))

    output, target = torch.rand(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    written = definition("03_approxnet", "hole_l1", **around)
    torch.testing.assert_close(written(output, target, drawn[:4]), losses.l1_in_hole(output, target, drawn[:4]))

    torch.manual_seed(0)
    ours, theirs = ApproxNet(size=16, hidden=8).eval(), definition("03_approxnet", "approxnet", **around)(16, 8).eval()
    theirs.load_state_dict({name.removeprefix("layers."): value for name, value in ours.state_dict().items()})
    holes = masks.uniform(4, 16, generator=torch.Generator().manual_seed(0))
    images = (torch.rand(4, 3, 16, 16) * 2 - 1).masked_fill(holes, 0)
    torch.testing.assert_close(theirs(torch.cat([images, holes.float()], 1)), ours(images, holes))


def test_the_third_chapters_alpha_and_blending_are_the_librarys():
    torch.manual_seed(0)
    weights = [torch.randn(5, requires_grad=True), torch.randn(2, 3, requires_grad=True)]
    pixel, adversary = (sum((k * w).sin().sum() for w in weights) for k in (1.0, 7.0))
    found = definition("03_approxnet", "balance", torch=torch)(pixel, adversary, weights)
    torch.testing.assert_close(found, losses.gradient_norm(adversary, weights) / losses.gradient_norm(pixel, weights))

    source, target = torch.rand(2, 2, 3, 32, 32)
    holes = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    holes[0, :, 4:14, 8:20], holes[1, :, 20:32, 0:9] = True, True  # one of them at the border
    around = {"torch": torch, "F": torch.nn.functional}
    blended = definition("03_approxnet", "jacobi_blend", **around)(source, target, holes)
    torch.testing.assert_close(blended, blending.poisson(source, target, holes), rtol=0, atol=1e-2)


def test_the_third_chapters_step_is_the_librarys():
    images = ImageSet(
        torch.randint(256, (32, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    )
    around = {"torch": torch, "F": torch.nn.functional, "losses": losses, "pasted": pasted}
    around["hole_l1"] = losses.l1_in_hole
    written = definition("03_approxnet", "inpaint_gan_step", **around)
    weights = []
    for step in (written, recipes.inpaint_step):
        options = {"width": 8, "width_D": 8, "batch_size": 8, "adversarial": 0.3, "warm_up": 0, "approximator": "none"}
        training, _, batches = recipes.refiner(images, **options)
        list(fit(training, step, batches, steps=5, log_every=5, precision="fp32", progress=False))
        weights.append([*training.G.parameters(), *training.D.parameters()])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
