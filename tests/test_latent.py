"""Latent search: it finds what is there, images do not see each other, and what has been found is kept."""

import contextlib
import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nblib import latent
from nblib import masks as holes
from nblib.images import signed_to_uint8
from nblib.latent import context_loss, context_weights, search
from nblib.networks import dcgan, sagan
from nblib.noise import normal_noise, uniform_noise
from nblib.priors import Latents, onto_shell
from nblib.sensitivity import preconditioner, sensitivity
from nblib.training.average import calibrate

LATENT = 6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def G():
    """A small generator whose pictures differ: batch norm knows its statistics, and the last layer is loud."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = dcgan.Generator(LATENT, width=4, size=16)
        nn.init.normal_(net.stages[-2].weight, std=0.4)
    calibrate(net, (uniform_noise(LATENT)(64, seeded(k)) for k in range(10)))
    return net.eval()


@pytest.fixture(scope="module")
def D():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return dcgan.Discriminator(width=4, size=16, norm="none").eval()


class Bright(nn.Module):
    """A discriminator that takes bright pictures for real."""

    def forward(self, images):
        return 4 * images.mean((1, 2, 3)).unsqueeze(1)


def question(G, n, seed=3):
    """Samples of G with centre holes, and the z they come from."""
    z = uniform_noise(LATENT)(n, seeded(seed))
    with torch.no_grad():
        return z, G(z), holes.center(n, 16)


def hole_psnr(found, images, masks):
    error = ((found.images - images).square() * masks).sum((1, 2, 3)) / (masks.sum((1, 2, 3)) * 3)
    return 10 * torch.log10(4 / error.clamp_min(1e-6))


def test_it_recovers_the_generators_own_samples(G, D):
    _, images, masks = question(G, 20)
    found = search(G, D, images, masks, steps=200, restarts=3, generator=seeded())
    assert (hole_psnr(found, images, masks) >= 30).float().mean() >= 0.9
    others = images.roll(1, 0)  # so that 30 dB says something here
    assert hole_psnr(found, others, masks).median() < 20


def test_an_image_alone_and_in_a_batch_gives_the_same(G, D):
    _, images, masks = question(G, 5)
    starts = uniform_noise(LATENT)(10, seeded(1)).view(5, 2, LATENT)
    together = search(G, D, images, masks, steps=40, starts=starts, prior_weight=0.1)
    for k in (0, 3):
        rows = slice(k, k + 1)
        alone = search(G, D, images[rows], masks[rows], steps=40, starts=starts[rows], prior_weight=0.1)
        assert_close(alone.images, together.images[rows], atol=1e-5, rtol=0)
        assert_close(alone.history.context, together.history.context[:, rows], atol=1e-3, rtol=1e-4)


def test_with_a_preconditioner_it_arrives_sooner_and_still_alone_as_in_a_batch(G):
    """Of a generator to which a direction matters most that is no latent number's own: those Adam evens out itself."""
    turn, _ = torch.linalg.qr(torch.randn(LATENT, LATENT, generator=seeded(5)))
    stretch = turn @ torch.diag(torch.tensor([4.0] + [0.2] * (LATENT - 1))) @ turn.T
    scaled = copy.deepcopy(G)
    scaled.register_forward_pre_hook(lambda _, given: (given[0] @ stretch,))
    P = preconditioner(sensitivity(scaled))
    z = uniform_noise(LATENT)(16, seeded(3)) * 0.9
    with torch.no_grad():
        images, masks = scaled(z), holes.center(16, 16)
    starts = uniform_noise(LATENT)(16, seeded(1))
    given = {"steps": 150, "starts": starts, "patience": 151}
    plain = search(scaled, None, images, masks, **given)
    sooner = search(scaled, None, images, masks, **given, preconditioner=P)
    assert sooner.context.median() < 0.3 * plain.context.median()
    alone = search(scaled, None, images[:1], masks[:1], **given | {"starts": starts[:1]}, preconditioner=P)
    assert_close(alone.images, sooner.images[:1], atol=1e-5, rtol=0)
    same = search(scaled, None, images, masks, **given, preconditioner=torch.eye(LATENT))
    assert_close(same.z, plain.z)


def test_a_preconditioner_works_in_mixed_precision(G):
    _, images, masks = question(G, 2)
    given = {"steps": 10, "preconditioner": preconditioner(sensitivity(G))}
    expected = search(G, None, images, masks, generator=seeded(), **given)
    with torch.autocast("cpu", torch.bfloat16):
        rough = search(G, None, images, masks, generator=seeded(), **given)
    assert rough.z.dtype == torch.float32
    assert_close(rough.images, expected.images, atol=0.2, rtol=0)


def test_the_statistics_of_a_batch_would_let_images_see_each_other(G, D, monkeypatch):
    monkeypatch.setattr(latent, "row_by_row", lambda *networks: contextlib.nullcontext())
    _, images, masks = question(G, 5)
    starts = uniform_noise(LATENT)(5, seeded(1))
    G.train()
    try:
        together = search(G, D, images, masks, steps=40, starts=starts)
        alone = search(G, D, images[:1], masks[:1], steps=40, starts=starts[:1])
    finally:
        calibrate(G.eval(), (uniform_noise(LATENT)(64, seeded(k)) for k in range(10)))
    assert (alone.images - together.images[:1]).abs().max() > 0.01


def test_a_generator_in_train_mode_is_searched_in_eval_mode_and_left_as_it_was(G, D):
    _, images, masks = question(G, 3)
    expected = search(G, D, images, masks, steps=10, generator=seeded())
    G.train()
    G.stages[1].eval()  # modes may be mixed
    modes = [module.training for module in G.modules()]
    before = {key: value.clone() for key, value in G.state_dict().items()}
    try:
        found = search(G, D, images, masks, steps=10, generator=seeded())
        assert [module.training for module in G.modules()] == modes
    finally:
        G.eval()
    assert torch.equal(found.z, expected.z)
    assert all(torch.equal(value, before[key]) for key, value in G.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for net in (G, D) for weight in net.parameters())


def test_what_lies_in_the_hole_is_not_seen(G, D):
    _, images, masks = question(G, 2)
    found = search(G, D, images, masks, steps=10, generator=seeded())
    hidden = images.masked_fill(masks, torch.nan)
    assert torch.equal(search(G, D, hidden, masks, steps=10, generator=seeded()).z, found.z)


@pytest.mark.parametrize("protocol", ["seed", "freeform", "parts", "big"])
def test_a_hole_may_have_any_shape(G, D, protocol):
    z, images, _ = question(G, 4)
    masks = holes.sampler(protocol)(4, 16, generator=seeded())
    found = search(G, D, images, masks, steps=30, generator=seeded())
    assert found.context.mean() < 0.7 * found.history.context[0].mean()
    whole = search(G, D, images, torch.zeros_like(masks), steps=2, starts=z)
    assert_close(whole.images, images)


def test_z_stays_where_the_generator_was_trained(G):
    _, images, masks = question(G, 3)
    bright = torch.ones_like(images)  # nothing in the box draws this
    options = {"steps": 30, "every": 1, "lr": 0.5, "generator": seeded()}
    found = search(G, None, bright, masks, **options)
    assert found.history.z.abs().max() == 1
    assert found.z.abs().max() <= 1
    free = search(G, None, bright, masks, latents=Latents(uniform_noise, lambda z: z), **options)
    assert free.z.abs().max() > 1.5  # so the bound is felt


def test_starts_from_outside_are_put_back_too(G):
    _, images, masks = question(G, 1)
    found = search(G, None, images, masks, steps=1, every=1, starts=torch.full((1, LATENT), 3.0))
    assert (found.history.z[0] == 1).all()


def test_of_several_starts_the_one_with_the_lowest_context_loss_is_kept(G, D):
    _, images, masks = question(G, 4)
    found = search(G, D, images, masks, steps=15, restarts=4, generator=seeded())
    with torch.no_grad():
        drawn = G(found.candidates.flatten(0, 1))
    weights = context_weights(masks).repeat_interleave(4, 0)
    context = context_loss(drawn, images.repeat_interleave(4, 0), weights).view(4, 4)
    assert_close(found.context, context.amin(1), atol=1e-3, rtol=1e-4)
    assert torch.equal(found.chosen, context.argmin(1))
    assert torch.equal(found.z, found.candidates[torch.arange(4), found.chosen])
    assert context.amax(1).min() > found.context.max()  # the starts did differ
    assert_close(found.images, drawn.view(4, 4, 3, 16, 16)[torch.arange(4), found.chosen], atol=1e-5, rtol=0)


def test_a_start_keeps_its_best_step_not_its_last(G):
    z, images, masks = question(G, 3)
    near = z * 0.99
    found = search(G, None, images, masks, steps=12, lr=2.0, starts=near, patience=100)  # wild steps, from the truth
    assert (found.history.context[1:] > 2 * found.context[:, None]).all()
    assert_close(found.z, near)
    wild = search(G, None, images, masks, steps=12, lr=2.0, generator=seeded())
    assert_close(wild.context, wild.history.context.amin(0).amin(1))


def test_which_step_is_best_is_a_matter_of_the_total_loss(G):
    z, images, masks = question(G, 3)
    found = search(G, Bright(), images, masks, steps=30, prior_weight=1000.0, starts=z * 0.99)
    total = (found.history.context + 1000 * found.history.prior)[..., 0]  # (S + 1, B)
    assert_close(found.context + 1000 * found.prior, total.amin(0))
    assert (found.context > found.history.context[..., 0].amin(0) + 1).any()  # which another rule would have kept


def test_one_that_is_done_is_frozen_and_the_others_go_on(G):
    z, images, masks = question(G, 2)
    starts = torch.stack([z[0], uniform_noise(LATENT)(1, seeded(8))[0]])
    rows = []
    handle = G.register_forward_pre_hook(lambda G, given: rows.append(len(given[0])))
    options = {"steps": 150, "patience": 5, "lr": 0.01, "every": 10}
    try:
        found = search(G, None, images, masks, starts=starts, **options)
    finally:
        handle.remove()
    first, second = found.steps[:, 0].tolist()
    assert first == 25 < 100 < second  # five waits of five steps
    assert set(rows[:30]) == {2}
    assert set(rows[31:100]) == {1}  # and costs nothing
    later = found.history.z[4:, 0]
    assert torch.equal(later, later[:1].expand_as(later))
    assert (found.history.context[30:, 0] == found.history.context[30, 0]).all()
    alone = search(G, None, images[1:], masks[1:], starts=starts[1:], **options)
    assert_close(found.images[1:], alone.images, atol=1e-4, rtol=0)


def test_when_all_are_done_the_search_ends(G):
    z, images, masks = question(G, 2)
    found = search(G, None, images, masks, starts=z, steps=1000, patience=3, every=7)
    assert len(found.history.context) < 40
    assert (found.steps == 15).all()
    assert found.history.at[-1] == len(found.history.context) - 1
    patient = search(G, None, images, masks, starts=z, steps=60, patience=100)
    assert (patient.steps == 60).all()


def test_seeds(G, D):
    _, images, masks = question(G, 2)
    first, again, other = (
        search(G, D, images, masks, steps=5, restarts=2, generator=seeded(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first.z, again.z)
    assert torch.equal(first.history.context, again.history.context)
    assert not torch.equal(first.candidates, other.candidates)
    state = torch.get_rng_state()
    search(G, D, images, masks, steps=2, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(9)
        one, two = (search(G, D, images, masks, steps=2).z for _ in range(2))
        torch.manual_seed(9)
        assert torch.equal(search(G, D, images, masks, steps=2).z, one)
    assert not torch.equal(one, two)


def test_a_warm_start_arrives_sooner(G):
    z, images, masks = question(G, 6)
    near = (z + 0.05 * torch.randn(z.shape, generator=seeded())).clamp(-1, 1)
    warm = search(G, None, images, masks, steps=20, starts=near)
    cold = search(G, None, images, masks, steps=20, generator=seeded())
    assert warm.context.mean() < 0.5 * cold.context.mean()


def test_given_starts_come_first_and_the_rest_is_drawn(G):
    z, images, masks = question(G, 2)
    found = search(G, None, images, masks, steps=3, restarts=3, starts=z, every=1, generator=seeded())
    assert torch.equal(found.history.z[0, :, 0], z)
    assert torch.equal(found.history.z[0, :, 1:], uniform_noise(LATENT)(4, seeded()).view(2, 2, LATENT))
    more = search(G, None, images, masks, steps=3, starts=z.unsqueeze(1).expand(2, 4, LATENT))
    assert more.candidates.shape == (2, 4, LATENT)


def test_history(G, D):
    _, images, masks = question(G, 3)
    found = search(G, D, images, masks, steps=25, restarts=2, every=10, generator=seeded())
    history = found.history
    assert history.context.shape == history.prior.shape == (26, 3, 2)
    assert history.at == [0, 10, 20, 25]
    assert history.z.shape == (4, 3, 2, LATENT)
    winner = torch.arange(3), found.chosen
    with torch.no_grad():
        for moment, step in enumerate(history.at):
            drawn = G(history.z[moment][winner])
            assert_close(history.pictures[moment], drawn, atol=1e-5, rtol=0)
            expected = context_loss(drawn, images.masked_fill(masks, 0), context_weights(masks))
            assert_close(history.context[step][winner], expected, atol=1e-3, rtol=1e-4)
            every = signed_to_uint8(G(history.z[moment].flatten(0, 1))).view(3, 2, 3, 16, 16)
            assert_close(history.drawn[moment], every, atol=1, rtol=0)
    assert history.context[-1].mean() < history.context[0].mean()
    assert torch.equal(history.weights, context_weights(masks))
    assert history.prior_weight == 0.003
    none = search(G, D, images, masks, steps=5, generator=seeded()).history
    assert none.at == []
    assert none.pictures.shape == (0, 3, 3, 16, 16)
    assert none.drawn.shape == (0, 3, 1, 3, 16, 16)


@pytest.mark.parametrize("prior", [latent.nonsaturating_prior, lambda logits: -nn.functional.softplus(logits).sum(1)])
def test_the_prior_pulls_towards_what_d_takes_for_real(G, prior):
    _, images, masks = question(G, 3)
    brightness = [
        search(G, Bright(), images, masks, steps=40, prior=prior, prior_weight=weight, generator=seeded()).images.mean()
        for weight in (0.0, 1000.0)
    ]
    assert brightness[1] > brightness[0] + 0.02


def test_lambda_does_not_depend_on_the_batch(G):
    _, images, masks = question(G, 4)
    options = {"steps": 12, "lr": 1.0, "prior_weight": 1000.0}  # wild: which step is best is decided by the prior
    starts = uniform_noise(LATENT)(4, seeded(2))
    together = search(G, Bright(), images, masks, starts=starts, **options)
    for k in range(4):
        rows = slice(k, k + 1)
        alone = search(G, Bright(), images[rows], masks[rows], starts=starts[rows], **options)
        assert_close(alone.z, together.z[rows], atol=1e-3, rtol=0)


def test_weights_are_an_argument(G):
    _, images, masks = question(G, 1)
    found = search(G, None, images, masks, steps=1, weigh=lambda masks: (~masks).float(), starts=torch.zeros(1, LATENT))
    with torch.no_grad():
        expected = ((G(torch.zeros(1, LATENT)) - images).abs() * ~masks).sum()
    assert_close(found.history.context[0, 0, 0], expected)


def test_sagan_with_classes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = sagan.Generator(8, width=8, size=16, attention_at=8, classes=2).eval()
        D = sagan.Discriminator(width=8, size=16, attention_at=8, classes=2).eval()
        for table in (module for module in G.modules() if isinstance(module, nn.Embedding)):
            nn.init.normal_(table.weight)  # they begin alike for all classes
    images, masks = torch.zeros(3, 3, 16, 16), holes.center(3, 16)
    with pytest.raises(ValueError, match="labels=None"):
        search(G, D, images, masks, steps=2)
    labels, starts = torch.tensor([0, 1, 1]), normal_noise(8)(3, seeded())
    found = search(G, D, images, masks, steps=4, labels=labels, starts=starts, every=2)
    alone = search(G, D, images[2:], masks[2:], steps=4, labels=labels[2:], starts=starts[2:], every=2)
    assert_close(found.images[2:], alone.images, atol=1e-5, rtol=0)  # labels by place in the batch would not
    assert found.z.norm(dim=1).max() <= 8**0.5 + 3 * 0.5**0.5 + 1e-4
    twice = search(G, D, images, masks, steps=4, labels=labels, starts=starts.unsqueeze(1).expand(3, 2, 8), every=2)
    expected = found.history.drawn.expand(-1, -1, 2, -1, -1, -1)
    assert_close(twice.history.drawn, expected, atol=1, rtol=0)  # each start with its image's label


def test_each_of_several_normal_starts_is_put_on_the_shell_by_itself():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = sagan.Generator(8, width=8, size=16, attention_at=8).eval()
    images, masks = torch.zeros(2, 3, 16, 16), holes.center(2, 16)
    found = search(G, None, images, masks, steps=1, restarts=3, every=1, generator=seeded())
    expected = onto_shell(normal_noise(8)(6, seeded()))
    assert_close(found.history.z[0], expected.view(2, 3, 8))


def test_it_searches_where_gradients_are_off_and_in_mixed_precision(G, D):
    _, images, masks = question(G, 2)
    expected = search(G, D, images, masks, steps=10, generator=seeded())
    with torch.no_grad():
        assert torch.equal(search(G, D, images, masks, steps=10, generator=seeded()).z, expected.z)
    with torch.autocast("cpu", torch.bfloat16):
        rough = search(G, D, images, masks, steps=10, generator=seeded())
    assert rough.z.dtype == rough.images.dtype == rough.context.dtype == torch.float32
    assert_close(rough.images, expected.images, atol=0.2, rtol=0)
    assert not expected.z.requires_grad
    assert not expected.images.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"lr": -1.0}, r"lr=-1\.0"),
        ({"patience": 0}, "patience=0"),
        ({"prior_weight": -0.1}, r"prior_weight=-0\.1"),
        ({"every": -5}, "every=-5"),
        ({"preconditioner": torch.eye(5)}, rf"preconditioner \(5, 5\): latent_dim={LATENT}"),
        ({"starts": torch.zeros(2, 5)}, r"starts \(2, 1, 5\)"),
        ({"starts": torch.zeros(3, LATENT)}, "2 images"),
    ],
)
def test_wrong_arguments_are_named(G, D, change, message):
    _, images, masks = question(G, 2)
    with pytest.raises(ValueError, match=message):
        search(G, D, images, masks, **change)


def test_wrong_images_are_refused(G, D):
    _, images, masks = question(G, 2)
    with pytest.raises(ValueError, match="a search takes float"):
        search(G, D, images.to(torch.uint8), masks)
    with pytest.raises(ValueError, match="one mask per image"):
        search(G, D, images, masks[:1])
    with pytest.raises(ValueError, match="draws 16x16; the images are 8x8"):
        search(G, D, images[..., :8, :8], holes.center(2, 8))
    with pytest.raises(ValueError, match="image 1: the losses are not finite"):
        search(G, D, torch.stack([images[0], images[1] * torch.nan]), masks, steps=2)
