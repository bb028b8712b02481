"""Who learns when, how the terms are weighed, what the averaged network draws, and learning rates by epoch."""

import copy

import pytest
import torch

from nblib import losses, tasks, variational
from nblib.datasets.imageset import ImageSet
from nblib.networks.cvae import ConditionalVAE
from nblib.networks.dcgan import Discriminator
from nblib.recipes.cvae import cvae_fine_step, cvae_step
from nblib.training import fit
from nblib.training.variational import VAETraining


def pictures(n=24):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(40, 216, (n, 3, 4, 4), dtype=torch.uint8, generator=generator)
    images = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return ImageSet(images, (torch.arange(n) % 2 == 0)[:, None], ("Smiling",), name="tiles")


def batches(size=8, masks=tasks.small):
    return pictures().batches(size, masks=masks)


def make(D=False, classes=2, watched=True, **arguments):
    torch.manual_seed(0)
    arguments = {"adversarial": 10.0, **arguments} if D else arguments
    net = ConditionalVAE(4, 6, classes=classes)
    training = VAETraining(net, Discriminator(4, norm="spectral") if D else None, **arguments)
    if watched:
        training.watch(batches())
    return training


def run(training, step, steps, **arguments):
    arguments = {"precision": "fp32", "progress": False, "log_every": 1, **arguments}
    return list(fit(training, step, batches(), steps=steps, **arguments))


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()]).clone()


def test_d_learns_alone_while_it_warms_up():
    training = make(D=True, warm_up=2)
    before, moved = {name: weights(player.net) for name, player in training.players.items()}, []
    for _ in fit(training, cvae_fine_step, batches(), steps=4, log_every=1, precision="fp32", progress=False):
        now = {name: weights(player.net) for name, player in training.players.items()}
        moved.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now
    assert moved == [{"D"}, {"D"}, {"net", "D"}, {"net", "D"}]


def test_without_a_warm_up_both_learn_from_the_first_step():
    training = make(D=True)
    before = weights(training.net)
    run(training, cvae_fine_step, 1)
    assert not torch.equal(weights(training.net), before)


def test_the_terms_are_added_with_their_weights():
    training = make(recon=2.0, kl=0.5)
    assert training.weighed(torch.tensor(10.0), torch.tensor(4.0)).item() == 22.0
    training = make(D=True, recon=2.0, kl=0.5, adversarial=10.0)
    terms = [(factor * training.net.dense.weight).sum() for factor in (1, 2, 3)]
    total = training.weighed(*terms)
    torch.testing.assert_close(total, 2 * terms[0] + 0.5 * terms[1] + 10 * terms[2])


def test_flipped_labels_need_a_d_that_is_told_them():
    with pytest.raises(ValueError, match=r"flip=0\.5: needs a network with a label, and a D that is told it"):
        make(D=True, flip=0.5)
    with pytest.raises(ValueError, match=r"flip=-0\.5: a share of the batch"):
        make(D=True, flip=-0.5)


def test_the_hole_may_weigh_more_than_what_is_known():
    plain, weighty, batch = make(), make(hole=5.0), batches().at(0)
    truth = (batch.images * 0.5 + 0.5).logit(1e-6)
    base = [training.error(truth, batch.images, batch.masks) for training in (plain, weighty)]
    for factor, wrong in {5.0: batch.masks, 1.0: ~batch.masks}.items():
        logits = torch.where(wrong, truth + 1, truth)
        more = [training.error(logits, batch.images, batch.masks) for training in (plain, weighty)]
        torch.testing.assert_close(more[1] - base[1], factor * (more[0] - base[0]), rtol=1e-2, atol=0)
    whole = variational.bce_reconstruction(truth + 1, batch.images * 0.5 + 0.5)
    torch.testing.assert_close(weighty.error(truth + 1, batch.images, None), whole)  # nothing is hidden


def test_pulls_are_the_norms_of_the_weighted_terms_gradients():
    training, batch = make(D=True, recon=2.0, kl=0.5), batches().at(0)
    found = training.net(batch.images, batch.masks, training.labels(batch))
    recon = variational.bce_reconstruction(found.logits, batch.images * 0.5 + 0.5)
    terms = [recon, variational.kl_divergence(found.mu, found.logvar), training.D(found.images()).mean()]
    training.weighed(*terms)
    own = [losses.gradient_norm(term, training.net.parameters()) for term in terms]
    torch.testing.assert_close(training.pulls, torch.stack(own) * torch.tensor([2.0, 0.5, 10.0]))
    training.step = 1
    before = training.pulls.clone()
    training.weighed(*(5 * term for term in terms))
    assert torch.equal(training.pulls, before)  # it costs a step and a half: now and then only


def test_learning_rates_fall_by_epoch():
    training = make(D=True, lr=1e-3, lr_D=2e-4, lr_decay=0.95, epoch=10)
    rates = []
    for training.step in (0, 9, 10, 25):
        training.anneal(0.3)
        rates.append([player.optimiser.param_groups[0]["lr"] for player in training.players.values()])
    assert rates == [[1e-3, 2e-4]] * 2 + [[1e-3 * 0.95, 2e-4 * 0.95], [1e-3 * 0.95**2, 2e-4 * 0.95**2]]


def test_weight_decay_is_the_networks_alone():
    training = make(D=True)
    decays = {name: player.optimiser.param_groups[0]["weight_decay"] for name, player in training.players.items()}
    assert decays == {"net": 1e-4, "D": 0.0}


def test_pictures_and_holes_are_mirrored_together():
    training, batch = make(), batches().at(3)
    turned = training.prepare(batch, size=8, rank=0, world=1)
    same = [torch.equal(a, b) for a, b in zip(turned.images, batch.images, strict=True)]
    assert True in same
    assert False in same
    for k, kept in enumerate(same):
        assert torch.equal(turned.images[k], batch.images[k] if kept else batch.images[k].flip(-1))
        assert torch.equal(turned.masks[k], batch.masks[k] if kept else batch.masks[k].flip(-1))
    assert make(mirror=False).prepare(batch, size=8, rank=0, world=1) is batch
    half = training.prepare(batches().at(3, rank=1, world=2), size=8, rank=1, world=2)
    assert torch.equal(half.images, turned.images[4:])


def test_averaged_weights_have_statistics_of_their_own():
    """Those of the live network fit other weights."""
    training, seen = make(ema=0.9, lr=0.02), []
    run(training, cvae_step, 12)
    net, batch = training.averaged(), batches().at(0)
    assert not torch.equal(weights(net), weights(training.net))
    norms = [[m for m in each.modules() if isinstance(m, torch.nn.BatchNorm2d)] for each in (net, training.net)]
    for norm in norms[0]:
        norm.register_forward_pre_hook(lambda layer, given: seen.append(given[0].mean((0, 2, 3))))
    with torch.no_grad():
        net(batch.images, batch.masks, training.labels(batch))
    own, live = (
        [((m - n.running_mean) / n.running_var.sqrt()).abs().mean() for m, n in zip(seen, each, strict=True)]
        for each in norms
    )
    assert sum(own) < 0.5 * sum(live), (own, live)
    assert training.averaged() is net
    assert not net.training
    assert training.net.training


def test_averaged_weights_need_pictures():
    with pytest.raises(ValueError, match=r"call training\.watch\(batches\)"):
        make(watched=False).averaged()
    assert make(watched=False, ema=0).averaged().classes == 2
    assert make(watched=False).picture() is None


def test_what_is_drawn_leaves_no_trace_and_is_the_same_each_time():
    training, batch = make(), batches().at(1)
    run(training, cvae_step, 2)
    before, noise = copy.deepcopy(training.state_dict()), torch.random.get_rng_state()
    one = training.reconstruct(batch.images, batch.masks, training.labels(batch))
    assert torch.equal(one, training.reconstruct(batch.images, batch.masks, training.labels(batch)))
    other = training.reconstruct(batch.images, batch.masks, training.labels(batch), torch.Generator().manual_seed(7))
    assert not torch.equal(one, other)
    assert one.abs().max() <= 1
    assert torch.equal(noise, torch.random.get_rng_state())
    after = training.state_dict()
    assert all(
        torch.equal(value, after["players"]["net"]["net"][name])
        for name, value in before["players"]["net"]["net"].items()
    )


def test_pictures_show_both_labels():
    training = make()
    shown = training.picture()
    erased, own, other, truth = shown.split(8)
    batch = batches().at(0)
    assert torch.equal(truth, batch.images)
    assert torch.equal(erased, batch.images.masked_fill(batch.masks, 0))
    assert not torch.equal(own, other)
    assert len(make(classes=0).picture()) == 24  # no label, one row less


def test_samples_come_from_the_prior_with_and_without_the_label():
    training = make()
    run(training, cvae_step, 2)
    samples = training.sample(6)
    assert samples.shape == (6, 3, 64, 64)
    assert torch.equal(training.sample(4), samples[:4])
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    mixed = training.sample(z)
    for row, label in enumerate([True, False, True, False]):
        alone = training.averaged().decode(z[row : row + 1], torch.tensor([label]))
        torch.testing.assert_close(alone[0], mixed[row])
    assert training.net.training
    assert make(classes=0, ema=0).sample(3).shape == (3, 3, 64, 64)


@pytest.mark.parametrize("D", [False, True])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, same, D):
    step = cvae_fine_step if D else cvae_step
    through = make(D=D, warm_up=int(D))
    run(through, step, 5)
    for steps in (3, 5):
        stopped = make(D=D, warm_up=int(D))
        run(stopped, step, steps, out=tmp_path, resume=True)
    same(stopped.state_dict(), through.state_dict())
    assert torch.equal(stopped.averaged()(*_given()).logits, through.averaged()(*_given()).logits)


def _given():
    return torch.zeros(2, 3, 64, 64), None, torch.tensor([0, 1]), torch.zeros(2, 6)


def test_a_copy_does_not_take_the_pictures_along():
    """`fit` copies a training to measure precisions; a set of 200,000 faces would be copied with it."""
    training = make()
    assert copy.deepcopy(training).examples is training.examples


def test_hyper_parameters_say_what_the_result_depends_on():
    told = make(D=True, task="smiling", warm_up=3).hyper_parameters()
    assert (told["task"], told["warm_up"], told["reconstruction"]) == ("smiling", 3, "bce_reconstruction")
    assert told["net"]["arguments"]["latent_dim"] == 6
    assert "examples" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adversarial": 1.0}, r"adversarial=1\.0: a weight above 0 needs D"),
        ({"D": True, "adversarial": 0.0}, r"adversarial=0\.0"),
        ({"kl": -1.0}, r"kl=-1\.0: at least 0"),
        ({"warm_up": 3}, "warm_up=3: of D, and there is none"),
        ({"lr_decay": 0.0}, r"lr_decay=0\.0: the factor per epoch"),
        ({"lr_decay": 0.95}, "the steps per epoch"),
        ({"lr_decay": 0.95, "epoch": 5, "schedule": "cosine"}, "needs schedule='constant'"),
        ({"ema": 1.0}, r"ema=1\.0"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
