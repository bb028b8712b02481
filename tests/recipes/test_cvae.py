"""Recipes of the conditional VAE: what is learnt, what the reduction decides, and what D is shown."""

import pytest
import torch
from torch import nn

from nblib import checkpoints, losses, tasks, variational
from nblib.datasets.imageset import ImageSet
from nblib.networks.cvae import ConditionalVAE
from nblib.recipes.cvae import cvae, cvae_fine, cvae_fine_step, cvae_step, judged, measure
from nblib.toys import faces
from nblib.training import fit

SMALL = {"width": 4, "latent_dim": 8, "batch_size": 8}


def lit(n=48):
    """Pictures of one brightness each; the lower half is light where "Smiling", dark where not."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (n, 1, 1, 1), generator=generator).expand(n, 3, 64, 64).clone()
    smiling = torch.rand(n, generator=generator) < 0.5
    images[:, :, 40:] = torch.where(smiling, 230, 25)[:, None, None, None]
    attributes = torch.stack([~smiling, smiling], 1)
    return ImageSet(images.to(torch.uint8), attributes, ("Eyeglasses", "Smiling"), name="lit")


def trained(recipe, steps):
    return list(fit(*recipe, steps=steps, log_every=steps, precision="fp32", progress=False))


def hide_the_lower_half(n, size, *, landmarks=None, generator=None, device=None):
    masks = torch.zeros(n, 1, size, size, dtype=torch.bool)
    masks[:, :, 40:] = True
    return masks


def test_holes_are_filled_from_what_is_around_them():
    recipe = cvae(lit(), **SMALL, lr=1e-2, ema=0.9)
    batch = recipe.batches.at(1000)
    gray = losses.l1_in_hole(torch.zeros_like(batch.images), batch.images, batch.masks)
    trained(recipe, 100)
    found = recipe.training.reconstruct(batch.images, batch.masks)
    assert losses.l1_in_hole(found, batch.images, batch.masks) < 0.6 * gray


def test_the_label_decides_what_nothing_else_tells(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "smiling", tasks.Task("smiling", hide_the_lower_half, "Smiling"))
    recipe = cvae(lit(), task="smiling", **SMALL, lr=1e-2, ema=0.9)
    trained(recipe, 100)
    batch = recipe.batches.at(1000)
    light, dark = (
        recipe.training.reconstruct(batch.images, batch.masks, torch.full((8,), label))[:, :, 44:].mean((1, 2, 3))
        for label in (True, False)
    )
    assert (light > dark + 1).all()


def test_a_mean_over_the_pixels_gives_the_code_up():
    """The divergence then outweighs a picture 12,288 times: posterior collapse."""
    active = {}
    for name, factor in {"sum": 1.0, "mean": 1 / (3 * 64 * 64)}.items():
        recipe = cvae(lit(), **SMALL, lr=1e-2, schedule="constant")
        training = recipe.training
        training.reconstruction = lambda logits, target, factor=factor: (
            factor * variational.bce_reconstruction(logits, target)
        )
        trained(recipe, 80)
        batch = lit().batches(48).at(0)
        mu, _ = training.averaged().encode(batch.images)
        active[name] = variational.active_units(mu).item()
    assert active["sum"] >= 1
    assert active["mean"] == 0


def test_a_step_returns_its_terms():
    recipe = cvae(lit(), **SMALL, mirror=False, kl=0.5)
    training, batch = recipe.training, recipe.batches.at(0)
    torch.manual_seed(3)
    found = training.net(batch.images, batch.masks)
    torch.manual_seed(3)
    values = cvae_step(training, batch)
    recon = variational.bce_reconstruction(found.logits, batch.images * 0.5 + 0.5)
    kl = variational.kl_divergence(found.mu, found.logvar)
    torch.testing.assert_close(values["recon"], recon)
    torch.testing.assert_close(values["loss"], recon + 0.5 * kl)
    assert set(values) == {"loss", "recon", "kl", "active"}


def test_what_a_card_says():
    recipe = cvae(lit(), **SMALL, lr=1e-2, ema=0.9)
    new = measure(recipe.training, lit())
    assert set(new) == {"reconstruction", "divergence", "active_units", "l1_whole", "hole_l1"}
    trained(recipe, 60)
    told = measure(recipe.training, lit())
    assert told == measure(recipe.training, lit())
    assert told["hole_l1"] < new["hole_l1"] < 0.5
    assert told["reconstruction"] < new["reconstruction"]
    assert 1 <= told["active_units"] <= 8
    whole = cvae(lit(), task="glasses-remover", **SMALL).training
    assert "hole_l1" not in measure(whole, lit())
    assert measure(whole, lit(n=1)) == {}


def test_tasks_bring_their_holes_and_labels():
    sample = faces.sample(0, torch.arange(16))
    toys = ImageSet(sample.images, sample.attributes, faces.ATTRIBUTES, sample.landmarks, name="toyfaces")
    shares = {}
    for task in tasks.TASKS:
        recipe = cvae(toys, task=task, **SMALL)
        batch, training = recipe.batches.at(0), recipe.training
        label = tasks.TASKS[task].label
        assert training.net.classes == (2 if label else 0)
        if label:
            assert torch.equal(training.labels(batch), toys.attribute(label)[batch.indices])
        shares[task] = None if batch.masks is None else batch.masks.float().mean((1, 2, 3))
    assert shares["glasses-remover"] is None
    assert shares["general"].max() <= 0.05
    assert shares["general-big"].min() >= 0.08
    assert torch.equal(shares["smiling"], torch.full((8,), 20 * 29 / 4096))


def test_holes_of_another_kind_can_be_asked_for():
    random = cvae(lit(), task="smiling", masks="general-big", **SMALL).batches.at(0).masks
    assert random.float().mean((1, 2, 3)).min() >= 0.08
    protocol = cvae(lit(), masks="center", **SMALL).batches.at(0).masks
    assert torch.equal(protocol.float().mean((1, 2, 3)), torch.full((8,), 0.25))


def test_settings_by_argument():
    training = cvae(
        lit(), **SMALL, loss="mse", learned=False, mask_channel=True, attention=True, lr_decay=0.95, schedule="constant"
    ).training
    assert training.reconstruction is variational.mse_reconstruction
    assert (training.net.mask_channel, training.net.attention, training.net.learned) == (True, True, False)
    assert (training.lr_decay, training.epoch) == (0.95, 6)


def test_d_sees_real_and_drawn_pictures_together_in_one_step():
    recipe = cvae_fine(lit(), task="general", **SMALL, width_D=4, warm_up=0, mirror=False)
    training, batch, seen = recipe.training, recipe.batches.at(0), []
    training.D.register_forward_pre_hook(lambda D, given: seen.append(given[0].detach()))
    steps = []
    training.players["D"].optimiser.register_step_pre_hook(lambda *_: steps.append(len(seen)))
    cvae_fine_step(training, batch)
    assert steps == [1]  # one step, after one pass
    real, fake = seen[0].chunk(2)
    assert torch.equal(real, batch.images)
    assert torch.equal(seen[1], fake)  # then the network is judged by the same pictures
    assert not torch.equal(fake, real)


def test_with_batch_norm_the_network_is_judged_beside_real_pictures():
    recipe = cvae_fine(lit(), task="general", **SMALL, width_D=4, norm_D="batch", warm_up=0)
    training, batch, sizes = recipe.training, recipe.batches.at(0), []
    training.D.register_forward_pre_hook(lambda D, given: sizes.append(len(given[0])))
    cvae_fine_step(training, batch)
    assert sizes == [16, 16]


def test_batch_norm_hides_a_difference_of_all_real_from_all_drawn_pictures_if_they_go_apart():
    """So D is to see both in one batch: here they differ by their brightness and nothing else."""
    torch.manual_seed(0)
    D = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 64, 1))
    real = torch.rand(8, 3, 8, 8)
    together = judged(D, real, real - 0.5)
    apart = D(real), D(real - 0.5)
    torch.testing.assert_close(*apart, atol=1e-2, rtol=0)
    assert (together[0] - together[1]).abs().min() > 10 * (apart[0] - apart[1]).abs().max()


def test_composites_differ_from_real_pictures_in_the_hole_only():
    recipe = cvae_fine(lit(), task="general", **SMALL, width_D=4, warm_up=0, mirror=False, composite=True)
    training, batch, seen = recipe.training, recipe.batches.at(0), []
    training.D.register_forward_pre_hook(lambda D, given: seen.append(given[0].detach()))
    cvae_fine_step(training, batch)
    outside = ~batch.masks.expand_as(batch.images)
    assert torch.equal(seen[1][outside], batch.images[outside])
    assert not torch.equal(seen[1], batch.images)


def test_the_network_learns_to_please_a_d_that_stands_still():
    recipe = cvae_fine(
        lit(), task="general", **SMALL, width_D=4, warm_up=0, recon=0.0, kl=0.0, lr=5e-3, schedule="constant"
    )
    training, batch = recipe.training, recipe.batches.at(0)
    descend = training.descend
    training.descend = lambda player, cost: None if player == "D" else descend(player, cost)
    seen = []
    training.D.register_forward_hook(lambda D, given, logits: seen.append(logits.mean().item()))
    for _ in range(15):
        cvae_fine_step(training, batch)
    alone = seen[1::2]  # every second pass is of drawn pictures alone
    assert alone[-1] > alone[0] + 0.01


def test_the_log_has_the_same_columns_while_d_warms_up():
    recipe = cvae_fine(lit(), task="general", **SMALL, width_D=4, warm_up=2 / 6)
    assert recipe.training.warm_up == 2
    logs = list(fit(*recipe, steps=3, log_every=1, precision="fp32", progress=False))
    names = ["loss", "recon", "kl", "loss_d", "loss_g", "gradient_recon", "gradient_kl", "gradient_adversarial"]
    assert [list(log.values) for log in logs] == [names] * 3
    busy = [{name for name, value in log.values.items() if value} for log in logs]
    assert busy == [{"recon", "kl", "loss_d"}] * 2 + [set(names)]


def test_fine_tuning_starts_where_the_first_stage_ended(tmp_path):
    first = cvae(lit(), task="smiling", **SMALL).training
    card = {"hyper_parameters": first.hyper_parameters()}
    checkpoints.save_weights(first.net, tmp_path / "weights" / "cvae", card, half=False)
    for start in (str(tmp_path), str(tmp_path / "weights" / "cvae.safetensors")):
        training = cvae_fine(lit(), start=start, batch_size=8, width_D=4).training
        assert training.task == "smiling"
        assert (training.recon, training.kl, training.adversarial, training.warm_up) == (2.0, 1.0, 10.0, 1)
        for one, other in zip(training.net.parameters(), first.net.parameters(), strict=True):
            assert torch.equal(one, other)
    training = cvae_fine(lit(), start=ConditionalVAE(4, 8), task="smiling", batch_size=8, width_D=4).training
    assert training.net.width == 4


def test_a_network_may_meet_d_from_the_first_step():
    training = cvae_fine(lit(), task="smiling", **SMALL, width_D=4, warm_up=0.0).training
    assert (training.net.classes, training.warming) == (2, False)


def test_a_share_is_drawn_with_the_other_label_for_a_d_that_is_told_labels():
    recipe = cvae_fine(lit(), task="smiling", **SMALL, width_D=4, warm_up=0, mirror=False, flip=0.25)
    training, batch, seen, told = recipe.training, recipe.batches.at(0), [], []
    training.D.register_forward_pre_hook(lambda D, given: seen.append(given[1]))
    training.net.register_forward_pre_hook(lambda net, given: told.append(given[2]))
    own = training.labels(batch)
    turned = torch.cat([~own[:2], own[2:]])
    torch.manual_seed(3)
    found = training.net(batch.images, batch.masks, turned)
    torch.manual_seed(3)
    values = cvae_fine_step(training, batch)
    assert torch.equal(told[1], turned)
    assert torch.equal(seen[0], torch.cat([own, turned, ~own]))  # real pictures with their own, and with wrong labels
    assert torch.equal(seen[1], turned)
    truth = batch.images[2:] * 0.5 + 0.5  # what has the other label has no truth
    torch.testing.assert_close(values["recon"], variational.bce_reconstruction(found.logits[2:], truth))
    plain = cvae_fine(lit(), task="smiling", **SMALL, width_D=4).training
    assert torch.equal(plain.told(batch), own)
    assert cvae_fine(lit(), task="general", **SMALL, width_D=4).training.told(batch) is None


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        (cvae, {"task": "smile"}, "task='smile': no such task"),
        (cvae, {"loss": "l1"}, "loss='l1': known are 'bce', 'mse'"),
        (cvae, {"masks": "circle"}, "'circle': no such protocol"),
        (cvae_fine, {}, "task: which one?"),
        (cvae_fine, {"task": "smiling", "warm_up": -0.1}, r"warm_up=-0\.1"),
        (cvae_fine, {"task": "general", "flip": 0.5}, r"flip=0\.5: general has no label"),
        (cvae_fine, {"task": "smiling", "flip": 1.0}, r"flip=1\.0: a share of the batch"),
        (
            cvae_fine,
            {"task": "smiling", "start": ConditionalVAE(4, 8, classes=0)},
            "the task ask for 64 px and classes=2",
        ),
        (cvae_fine, {"task": "general", "start": nn.Linear(2, 2)}, r"linear\.Linear, no conditional VAE"),
    ],
)
def test_wrong_settings(recipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        recipe(lit(), batch_size=8, **arguments)


def test_a_set_without_the_attribute_is_refused():
    plain = ImageSet(torch.zeros(8, 3, 64, 64, dtype=torch.uint8), name="plain")
    with pytest.raises(ValueError, match="plain has no attribute 'Smiling'"):
        cvae(plain, task="smiling", **SMALL)
    with pytest.raises(FileNotFoundError, match="no such weights"):
        cvae_fine(plain, start="toyfaces/nothing", **SMALL)
