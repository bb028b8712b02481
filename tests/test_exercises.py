"""Right solutions pass; each usual mistake fails, also by the trial alone, at the same budget."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from nblib import exercises, losses
from nblib.exercises import check, checking, gan
from nblib.toys.densities import mode_coverage


def bce_twice(real, fake):
    """The loss on probabilities."""
    return -(torch.log(torch.sigmoid(real)) + torch.log(1 - torch.sigmoid(fake))).mean()


def line(z0, z1, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    return (1 - t) * z0 + t * z1


def arc(z0, z1, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    angle = torch.acos((z0 @ z1 / (z0.norm() * z1.norm())).clamp(-1, 1))
    return (
        line(z0, z1, steps) if angle < 1e-3 else (((1 - t) * angle).sin() * z0 + (t * angle).sin() * z1) / angle.sin()
    )


def gan_step(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_wrong_sign(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake.detach()))
    training.descend("D", loss_d)
    loss_g = -losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_one_loss(training, batch):
    """No detach: one loss for both, so G is trained to help D."""
    for player in ("D", "G"):
        loss = losses.bce_loss_d(training.D(batch.images), training.D(training.G(batch.noise)))
        training.descend(player, loss)
    return {"loss": loss}


def step_feeds_d(training, batch):
    """G's loss trains D as well."""
    values = gan_step(training, batch)
    training.descend("D", losses.nonsaturating_loss_g(training.D(training.G(batch.noise).detach())))
    return values


def step_detached_g(training, batch):
    fake = training.G(batch.noise).detach()
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


def step_no_detach(training, batch):
    fake = training.G(batch.noise)
    loss_d = losses.bce_loss_d(training.D(batch.images), training.D(fake))
    training.descend("D", loss_d)
    loss_g = losses.nonsaturating_loss_g(training.D(fake))
    training.descend("G", loss_g)
    return {"loss_d": loss_d, "loss_g": loss_g}


RIGHT = {
    "discriminator_loss": losses.bce_loss_d,
    "generator_loss": losses.nonsaturating_loss_g,
    "gan_step": gan_step,
    "interpolate": line,
    "mode_coverage": lambda samples, centres, radius: mode_coverage(samples, centres, radius),
}
WRONG_D = {
    "wrong sign": lambda real, fake: F.softplus(real).mean() + F.softplus(-fake).mean(),
    "no fakes": lambda real, fake: 2 * F.softplus(-real).mean(),
}
WRONG_G = {
    "wrong sign": lambda fake: F.softplus(fake).mean(),
    "saturating": losses.saturating_loss_g,
    "no log": lambda fake: -fake.sigmoid().mean(),
}
WRONG_STEPS = [step_wrong_sign, step_one_loss, step_feeds_d]


@pytest.fixture(autouse=True)
def _forget():
    checking._PASSED.clear()
    yield
    checking._PASSED.clear()


@pytest.mark.parametrize("name", RIGHT)
def test_right_solutions_pass(name):
    verdict = check(name, RIGHT[name])
    assert verdict.passed, verdict
    assert verdict.measured >= verdict.baseline
    assert f"{verdict.measured:.2f}; to pass: {verdict.baseline:.2f}" in repr(verdict)
    assert [one.name for one in exercises.passed()] == [name]


def test_every_exercise_has_a_right_solution_here():
    assert exercises.available()[: len(RIGHT)] == list(RIGHT)


def test_paths_along_the_sphere_pass_too():
    assert check("interpolate", arc).measured == pytest.approx(1, abs=0.02)
    assert check("interpolate", line).measured == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_the_same_solution_gets_the_same_figure():
    first, again = (check("generator_loss", losses.nonsaturating_loss_g) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("mistake", WRONG_D)
def test_wrong_discriminator_losses_fail_by_the_trial_alone(mistake):
    trial = gan._d_loss_trial(WRONG_D[mistake])
    assert trial.measured < trial.baseline
    assert not check("discriminator_loss", WRONG_D[mistake]).passed


def test_a_loss_on_probabilities_fails():
    verdict = check("discriminator_loss", bce_twice)
    assert not verdict.passed
    assert "log(sigmoid) overflows" in repr(verdict)
    with pytest.raises(RuntimeError, match="diverged"):
        gan._d_loss_trial(bce_twice)


def test_a_sigmoid_before_a_loss_on_logits_fails():
    verdict = check("discriminator_loss", lambda real, fake: losses.bce_loss_d(real.sigmoid(), fake.sigmoid()))
    assert "is 2 log 2 = 1.386; yours is 1.448" in repr(verdict)


@pytest.mark.parametrize("mistake", WRONG_G)
def test_wrong_generator_losses_fail_by_the_trial_alone(mistake):
    trial = gan._g_loss_trial(WRONG_G[mistake])
    assert trial.measured < 0.1 < trial.baseline
    assert not check("generator_loss", WRONG_G[mistake]).passed


def test_the_saturating_loss_is_told_where_it_fails():
    assert "yours falls by 2.1e-09: G learns nothing there" in repr(check("generator_loss", losses.saturating_loss_g))


def test_a_step_with_the_wrong_sign_is_caught_by_training():
    verdict = check("gan_step", step_wrong_sign)
    assert not verdict.passed
    assert verdict.measured == 0


@pytest.mark.slow
@pytest.mark.parametrize("step", WRONG_STEPS)
def test_wrong_steps_stay_below_the_baseline_by_the_trial_alone(step):
    trial = gan._step_trial(step)
    assert trial.measured <= 3 < trial.baseline


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_the_right_step_passes_from_other_starts(seed, monkeypatch):
    players = gan.players
    monkeypatch.setattr(gan, "players", lambda: players(seed))
    trial = gan._step_trial(gan_step)
    assert trial.measured > trial.baseline


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (step_no_detach, "the loss of D hangs on G's weights"),
        (step_one_loss, "the loss of D hangs on G's weights"),
        (step_detached_g, "the loss of G does not hang on G's weights"),
        (lambda training, batch: {"loss_d": torch.zeros(())}, "D takes no step"),
    ],
)
def test_mistakes_that_the_engine_would_hide_are_told(step, told):
    verdict = check("gan_step", step)
    assert not verdict.passed
    assert told in repr(verdict)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (lambda z0, z1, steps: line(z0, z1, steps + 1)[:-1], "the path ends at z1"),
        (lambda z0, z1, steps: line(z0, z1, steps)[1:-1], r"the path is (5, 100)"),
        (lambda z0, z1, steps: line(z0, z1, steps) + 1e-3 * torch.randn(steps, 1), "the path"),
        (lambda z0, z1, steps: z0 + torch.linspace(0, 1, steps)[:, None] ** 2 * (z1 - z0), "equally long"),
        (lambda z0, z1, steps: arc(z0, z1 + 1e-30, steps) / (z1 - z0).norm() * (z1 - z0).norm(), "nothing is NaN"),
    ],
)
def test_wrong_paths_fail(path, told):
    verdict = check("interpolate", path)
    assert not verdict.passed
    assert told in repr(verdict)


def test_counting_strays_fails():
    def stray(samples, centres, radius):
        return (torch.cdist(samples, centres) <= radius).any(0).float().mean()

    assert not check("mode_coverage", stray).passed
    assert gan._coverage_trial(stray).measured < 0.2


def not_written(*inputs): ...


def not_implemented(*inputs):
    raise NotImplementedError


def broken(*inputs):
    return inputs[0].no_such_method()


@pytest.mark.parametrize("name", exercises.available())
@pytest.mark.parametrize(
    ("stub", "told"),
    [
        (not_written, "it returns None"),
        (lambda *inputs: ..., "it returns Ellipsis"),
        (not_implemented, "NotImplementedError"),
        (broken, "AttributeError at `return inputs[0].no_such_method()`"),
        (lambda: 0, "TypeError"),
        (..., "Ellipsis is no function"),
    ],
)
def test_unfinished_functions_get_a_hint_and_raise_nothing(name, stub, told):
    verdict = check(name, stub)
    assert not verdict.passed
    assert "not done yet" in repr(verdict)
    assert told in repr(verdict)
    assert f"Hint: {checking.find(name).hint}" in repr(verdict)
    assert exercises.passed() == []


@pytest.mark.parametrize("name", exercises.available())
@pytest.mark.parametrize("value", [3, "text", torch.zeros(()), torch.full((1, 1), math.nan), [torch.ones(3)], True])
def test_whatever_is_returned_nothing_is_raised(name, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not check(name, lambda *inputs: value).passed


def test_ctrl_c_is_not_swallowed():
    def interrupted(fake_logits):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("generator_loss", interrupted)


def test_a_check_leaves_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check("generator_loss", losses.nonsaturating_loss_g)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_slow_step_is_cut_after_the_time(monkeypatch):
    monkeypatch.setattr(checking, "SECONDS", 0.0)
    verdict = check("gan_step", gan_step)
    assert not verdict.passed
    assert "after 10 steps" in repr(verdict)


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="no exercise 'gan_stop'; choose from discriminator_loss"):
        check("gan_stop", gan_step)
