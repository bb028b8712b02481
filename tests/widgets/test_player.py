import dataclasses
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from nblib import masks as holes
from nblib import metrics
from nblib.blending import poisson
from nblib.images import signed_to_uint8, uint8_to_signed, uint8_to_unit
from nblib.latent import Found, History, context_weights
from nblib.widgets import SearchPlayer, player, search_figure, search_views

ROOT = Path(__file__).resolve().parents[2]
AT = [0, 10, 20, 25]
IMAGES, STARTS, SIDE = 3, 2, 16


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.rand(IMAGES, 3, SIDE, SIDE, generator=seeded()) * 2 - 1


@pytest.fixture(scope="module")
def masks():
    return holes.seed(IMAGES, SIDE, generator=seeded(1))


@pytest.fixture(scope="module")
def found(masks):
    """What a search could have found; every picture and every loss is another."""
    drawn = torch.randint(256, (len(AT), IMAGES, STARTS, 3, SIDE, SIDE), dtype=torch.uint8, generator=seeded(2))
    context, prior = 100 * torch.rand(2, AT[-1] + 1, IMAGES, STARTS, generator=seeded(3))
    chosen, rows = torch.tensor([1, 0, 1]), torch.arange(IMAGES)
    z = torch.zeros(IMAGES, STARTS, 8)
    pictures = uint8_to_signed(drawn)[:, rows, chosen]
    path = z.expand(len(AT), -1, -1, -1)
    history = History(context, prior, AT, path, pictures, drawn, context_weights(masks), prior_weight=0.1)
    last = (context[-1, rows, chosen], prior[-1, rows, chosen])
    return Found(z[:, 0], pictures[-1], *last, chosen, z, torch.tensor([[25, 25], [12, 25], [25, 25]]), history)


@pytest.fixture
def shown(found, images, masks):
    return SearchPlayer(found, images, masks, truth=images)


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def frame(png, start, moment):
    """Cut a picture out of a sprite, as the browser does."""
    row, column = divmod(start * len(AT) + moment, player.ACROSS)
    return decoded(png)[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


def ask(widget, **content):
    """Say what the browser says."""
    widget._handle_custom_msg({"do": "show", **content}, [])


def test_all_moments_of_all_starts_of_an_image_are_in_the_state(shown, found, images, masks):
    shown.choose(image=2)
    for start in range(STARTS):
        for moment in range(len(AT)):
            drawn = found.history.drawn[moment, 2, start]
            np.testing.assert_array_equal(frame(shown.drawn, start, moment), drawn.permute(1, 2, 0))
            completed = torch.where(masks[2], drawn, signed_to_uint8(images[2]))
            np.testing.assert_array_equal(frame(shown.completed, start, moment), completed.permute(1, 2, 0))


def test_long_searches_take_several_lines_of_a_sprite():
    pictures = torch.randint(256, (30, 3, 3, 4, 6), dtype=torch.uint8)
    sprite = player.sprite(pictures)
    assert sprite.shape == (6 * 4, 16 * 6, 3)
    row, column = divmod(2 * 30 + 7, 16)
    cut = sprite[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
    np.testing.assert_array_equal(cut, pictures[7, 2].permute(1, 2, 0))


def test_stills_curves_and_hole(shown, found, images, masks):
    shown.choose(image=1)
    known, _, truth = np.split(decoded(shown.stills), 3, 1)
    np.testing.assert_array_equal(truth, signed_to_uint8(images[1]).permute(1, 2, 0))
    np.testing.assert_array_equal(known, signed_to_uint8(images[1]).masked_fill(masks[1], 128).permute(1, 2, 0))
    curves = np.frombuffer(shown.curves, "<f4").reshape(3, STARTS, AT[-1] + 1)
    context, prior = found.history.context[:, 1], found.history.prior[:, 1]
    np.testing.assert_array_equal(curves[0], context.T)
    np.testing.assert_array_equal(curves[1], prior.T)
    np.testing.assert_allclose(curves[2], (context + 0.1 * prior).T, rtol=1e-6)
    hole = np.unpackbits(np.frombuffer(shown.hole, np.uint8)).reshape(SIDE, SIDE)
    np.testing.assert_array_equal(hole, masks[1, 0])
    assert (shown.kept, shown.frozen, shown.largest) == (0, [12, 25], pytest.approx(context_weights(masks)[1].max()))


def test_the_quality_is_that_of_the_completion(shown, found, images, masks):
    psnr = np.frombuffer(shown.psnr, "<f4").reshape(STARTS, len(AT))
    for start in range(STARTS):
        drawn = uint8_to_unit(found.history.drawn[:, 0, start])
        whole = uint8_to_unit(signed_to_uint8(images[:1])).expand_as(drawn)
        expected = metrics.hole_psnr(drawn, whole, masks[:1].expand(len(AT), -1, -1, -1))
        np.testing.assert_allclose(psnr[start], expected, rtol=1e-5)
    assert len(np.unique(psnr)) == psnr.size


def test_it_begins_with_the_first_image_its_winner_and_the_last_step(shown):
    assert (shown.image, shown.restart, shown.step, shown.images, shown.at) == (0, 1, 25, 3, AT)
    assert shown.line.startswith("image 1 of 3 · start 2 of 2, kept · step 25 of 25 · context loss ")


def test_choosing(shown, found):
    shown.choose(image=1, step=20, restart=0)
    context, prior = found.history.context[20, 1, 0], found.history.prior[20, 1, 0]
    told = f"context loss {context:.1f} · prior loss {prior:.2f} · sum {context + 0.1 * prior:.1f}"
    assert f"start 1 of 2, kept · step 20 of 25 (frozen) · {told} · " in shown.line
    shown.choose(step=10)
    assert "step 10 of 25 · " in shown.line  # not yet frozen
    shown.choose(restart=1, step=25)
    assert "step 25 of 25 · " in shown.line
    shown.choose(step=20)
    assert (shown.image, shown.restart, shown.step) == (1, 1, 20)
    shown.choose(step=10)
    assert (shown.image, shown.restart, shown.step) == (1, 1, 10)
    shown.choose(image=0)
    assert (shown.image, shown.restart, shown.step) == (0, 1, 10)
    shown.choose(image=1)
    assert shown.restart == 0  # its winner


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": 3}, "image=3: there are images 0 to 2"),
        ({"image": -1}, "image=-1"),
        ({"image": 1, "restart": 2}, "restart=2: there are starts 0 to 1"),
        ({"restart": -1}, "restart=-1"),
        ({"image": 1, "step": 11}, "step=11: this search kept pictures of the steps 0, 10, 20, 25"),
    ],
)
def test_wrong_wishes_change_nothing(shown, found, images, masks, wrong, message):
    before = shown.get_state()
    with pytest.raises(ValueError, match=message):
        shown.choose(**wrong)
    assert shown.get_state() == before
    with pytest.raises(ValueError, match=message):
        search_figure(found, images, masks, **{("cursor" if key == "step" else key): v for key, v in wrong.items()})


@pytest.mark.parametrize("make", [SearchPlayer, search_figure])
def test_what_does_not_belong_together_is_refused(make, found, images, masks):
    without = dataclasses.replace(found, history=dataclasses.replace(found.history, at=[]))
    with pytest.raises(ValueError, match=r"kept no pictures of its way: search\(…, every=10\) does"):
        make(without, images, masks)
    with pytest.raises(ValueError, match=r"images are torch.float32 \(2, 3, 16, 16\).*float \(3, 3, 16, 16\)"):
        make(found, images[:2], masks[:2])
    with pytest.raises(ValueError, match=r"truth are torch.uint8"):
        make(found, images, masks, truth=signed_to_uint8(images))
    with pytest.raises(ValueError, match="expected bool"):
        make(found, images, masks.float())


def test_another_step_is_a_small_message_and_another_image_one_message(shown, monkeypatch):
    sent = []
    monkeypatch.setattr(shown, "_send", lambda message, buffers=None: sent.append((message, buffers)))
    shown.choose(step=10)
    ask(shown, image=1)
    (first, _), (second, _) = sent
    assert set(first["state"]) == {"step", "version"}
    assert {"image", "restart", "kept", "version"} <= set(second["state"])
    assert {"drawn", "completed", "stills", "curves"} <= {path for (path,) in second["buffer_paths"]}
    assert "step" not in second["state"]  # the browser may be elsewhere by now


def test_errors_are_shown_in_the_browser(shown):
    before = shown.version, shown.image
    ask(shown, image=7)
    assert shown.trouble == "ValueError: image=7: there are images 0 to 2"
    assert (shown.version, shown.image) == (before[0] + 1, before[1])
    shown.choose(step=0)
    assert shown.trouble == ""


def test_the_state_is_small():
    drawn = torch.randint(256, (10, 1, 1, 3, 64, 64), dtype=torch.uint8)  # noise: nothing takes more room
    images, masks = uint8_to_signed(drawn[0, :, 0]), holes.center(1)
    z, zero = torch.zeros(10, 1, 1, 8), torch.zeros(10, 1, 1)
    history = History(zero, zero, list(range(10)), z, images.expand(10, 1, -1, -1, -1), drawn, masks.float(), 0.0)
    found = Found(z[0, 0], images, *torch.zeros(2, 1), torch.tensor([0]), z[0], torch.tensor([[9]]), history)
    state = SearchPlayer(found, images, masks, truth=images).get_state()
    assert sum(len(value) for value in state.values() if isinstance(value, bytes)) < 500_000


def test_without_truth_and_without_discriminator(found, images, masks):
    history = dataclasses.replace(found.history, prior=torch.zeros_like(found.history.prior))
    widget = SearchPlayer(dataclasses.replace(found, history=history), images, masks)
    assert (widget.truth, widget.judged, widget.psnr) == (False, False, b"")
    assert decoded(widget.stills).shape == (SIDE, 2 * SIDE, 3)
    assert widget.line.endswith(f"step 25 of 25 · context loss {history.context[-1, 0, 1]:.1f}")
    titles = [ax.get_title() for ax in widget.figure().axes]
    assert "context loss" in titles
    assert not {"prior loss", "PSNR in the hole (dB)"} & set(titles)


def test_what_lies_in_the_hole_is_not_seen(found, images, masks):
    for blend in (False, True):
        hidden = SearchPlayer(found, images.masked_fill(masks, torch.nan), masks, blend=blend)
        seen = SearchPlayer(found, images, masks, blend=blend)
        assert (hidden.stills, hidden.completed) == (seen.stills, seen.completed)


def test_blending(found, images, masks):
    seen = search_views.replay(found, images, masks, 1, truth=images, blend=True)
    drawn = uint8_to_signed(found.history.drawn[2, 1, 1])[None]
    expected = signed_to_uint8(poisson(drawn, images[1:2], masks[1:2]))[0]
    assert_close(seen.completed[2, 1], expected, atol=1, rtol=0)
    assert (seen.completed != search_views.replay(found, images, masks, 1).completed).any()
    assert torch.equal(
        seen.completed.masked_fill(masks[1], 0)[0, 0], signed_to_uint8(images[1]).masked_fill(masks[1], 0)
    )


def test_differences(found, images, masks):
    with_truth = search_views.replay(found, images, masks, truth=images)
    assert (search_views.difference(with_truth.truth, with_truth) == search_views.TABLE[0]).all()
    half = torch.full((3, SIDE, SIDE), 128, dtype=torch.uint8)
    dark = dataclasses.replace(with_truth, truth=torch.zeros_like(half))
    assert (search_views.difference(half, dark) == search_views.TABLE[255]).all()
    assert (search_views.difference(half // 2, dark) == search_views.TABLE[128]).all()
    without = search_views.replay(found, images, masks)
    shown = search_views.difference(without.broken, without)
    assert (shown[masks[0, 0]] == 128).all()
    assert (shown[~masks[0, 0]] == search_views.TABLE[0]).all()


def test_the_figure_is_that_of_the_state(shown, found, images, masks):
    shown.choose(image=1, restart=1, step=10)
    figure = shown.figure()
    assert figure.get_suptitle() == shown.line
    titles = [ax.get_title() for ax in figure.axes]
    assert [title for title in titles if title.startswith("step")] == ["step 0", "step 10", "step 20", "step 25"]
    drawn = next(ax for ax in figure.axes if ax.get_title() == "step 10")
    np.testing.assert_array_equal(drawn.images[0].get_array(), found.history.drawn[1, 1, 1].permute(1, 2, 0))
    assert drawn.title.get_weight() == "bold"
    (prior,) = (ax for ax in figure.axes if ax.get_title() == "prior loss")
    np.testing.assert_array_equal(prior.lines[0].get_ydata(), found.history.prior[:, 1, 1])
    assert list(prior.lines[-1].get_xdata()) == [10, 10]
    shown.difference = True
    assert len(shown.figure().axes) == len(figure.axes) + 4


def test_a_figure_shows_the_steps_it_is_told(found, images, masks):
    figure = search_figure(found, images, masks, image=2, steps=(0, 20))
    assert [ax.get_title() for ax in figure.axes if ax.get_title().startswith("step")] == ["step 0", "step 20"]
    assert figure.get_suptitle().startswith("image 3 of 3 · start 2 of 2, kept · step 25 of 25")
    with pytest.raises(ValueError, match="step=5: this search kept"):
        search_figure(found, images, masks, steps=(0, 5))


def test_export_writes_the_figure(shown, tmp_path):
    shown.export(tmp_path / "search.png")
    with Image.open(tmp_path / "search.png") as written:
        assert written.size[0] > written.size[1] > 300


def test_its_name_is_stable(shown):
    assert repr(shown) == "SearchPlayer()"


def test_the_script_is_valid(tmp_path):
    node = shutil.which("node") or pytest.skip("no node here")
    module = tmp_path / "player.mjs"
    shutil.copy(ROOT / "nblib" / "widgets" / "static" / "player.js", module)
    subprocess.run([node, "--check", str(module)], check=True, capture_output=True)
