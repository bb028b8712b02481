"""Of every exercise: right answers pass, mistakes are told, unwritten functions get a hint, and nothing is raised."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from nblib import exercises, losses
from nblib.classroom import answers
from nblib.classroom.answers.gan import (
    arc,
    bce_twice,
    gan_step,
    line,
    step_feeds_d,
    step_one_loss,
    step_wrong_sign,
    stray_coverage,
)
from nblib.exercises import check, checking, gan

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


def slow_if(condition):
    return [pytest.mark.slow] if condition else []


RIGHT = [(name, function) for name, one in answers.RIGHT.items() for function in (one, *answers.ALSO_RIGHT[name])]
MISTAKES = [
    pytest.param(name, one, id=f"{name}: {one.what}", marks=slow_if(one.function is step_feeds_d))  # a whole game
    for name, some in answers.MISTAKES.items()
    for one in some
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_right_answers_pass(name, function):
    verdict = check(name, function)
    assert verdict.passed, verdict
    assert verdict.measured >= verdict.baseline
    assert f"{verdict.measured:.2f}; to pass: {verdict.baseline:.2f}" in repr(verdict)
    assert [one.name for one in exercises.passed()] == [name]


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_mistakes_are_told(name, mistake):
    verdict = check(name, mistake.function)
    assert not verdict.passed
    assert mistake.told in repr(verdict), verdict
    assert f"Hint: {checking.find(name).hint}" in repr(verdict)
    assert exercises.passed() == []


def test_every_exercise_has_right_and_wrong_answers():
    assert exercises.available() == list(answers.RIGHT) == list(answers.MISTAKES)
    assert all(len(some) >= 3 for some in answers.MISTAKES.values())


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


def test_a_loss_on_probabilities_diverges():
    with pytest.raises(RuntimeError, match="diverged"):
        gan._d_loss_trial(bce_twice)


@pytest.mark.parametrize("mistake", WRONG_G)
def test_wrong_generator_losses_fail_by_the_trial_alone(mistake):
    trial = gan._g_loss_trial(WRONG_G[mistake])
    assert trial.measured < 0.1 < trial.baseline


def test_the_saturating_loss_is_told_where_it_fails():
    assert "yours falls by 2.1e-09: G learns nothing there" in repr(check("generator_loss", losses.saturating_loss_g))


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


def test_counting_strays_fails_by_the_trial_alone():
    assert gan._coverage_trial(stray_coverage).measured < 0.2


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


@pytest.mark.parametrize("name", ["attention_distance", "paste", "context_loss"])
def test_a_check_leaves_the_number_of_threads_alone(name):
    used, threads, right = [], torch.get_num_threads(), answers.RIGHT[name]
    torch.set_num_threads(2)
    try:
        check(name, lambda *given: (used.append(torch.get_num_threads()), right(*given))[1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used[-1] == 1
