"""Who learns when, what each sees, and how two losses are weighed."""

import copy

import pytest
import torch
from torch import nn

from nblib import losses
from nblib import masks as holes
from nblib.datasets.imageset import ImageSet
from nblib.networks.approxnet import ApproxNet, AttentionRefiner, Discriminator
from nblib.recipes import inpaint_step
from nblib.training import InpaintTraining, fit

SIZE = 16


def pictures(n=24):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(40, 216, (n, 3, 4, 4), dtype=torch.uint8, generator=generator)
    return ImageSet(coarse.repeat_interleave(4, 2).repeat_interleave(4, 3), name="tiles")


def batches(size=8):
    return pictures().batches(size, masks=holes.seed)


def make(D=False, A=True, **arguments):
    torch.manual_seed(0)
    players = {"approximator": ApproxNet(SIZE, 8) if A else None, "D": Discriminator(4, SIZE) if D else None}
    if D:
        arguments = {"adversarial": 0.5, **arguments}
    return InpaintTraining(AttentionRefiner(8, SIZE), **players, **arguments)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()]).clone()


class Constant(nn.Module):
    """Fills with one colour."""

    def __init__(self, colour=0.5):
        super().__init__()
        self.colour = colour
        self.weight = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, images, masks):
        self.saw = images
        return self.colour + self.weight + 0 * images


def test_each_phase_has_its_learners():
    training = make(D=True, approx_steps=2, warm_up=3)
    phases = []
    for training.step in range(7):
        phases.append("".join(training.learners))
    assert phases == ["A", "A", "D", "D", "D", "DG", "DG"]
    joint = make(D=True, joint=True)
    assert joint.learners == ("D", "G", "A")
    assert make(A=False).learners == ("G",)


def test_only_learners_move():
    training = make(D=True, approx_steps=1, warm_up=1, lr=0.01, lr_A=0.01, lr_D=0.01, schedule="constant")
    moved = []
    before = {name: weights(player.net) for name, player in training.players.items()}
    for _ in fit(training, inpaint_step, batches(), steps=3, log_every=1, precision="fp32", progress=False):
        now = {name: weights(player.net) for name, player in training.players.items()}
        moved.append({name for name in now if not torch.equal(now[name], before[name])})
        before = now
    assert moved == [{"A"}, {"D"}, {"D", "G"}]


def test_the_filler_sees_the_guess_and_never_the_truth():
    training = InpaintTraining(Constant(), approximator=Constant(-0.25), mirror=False)
    batch = batches().at(0)
    inpaint_step(training, batch)
    seen, masks = training.G.saw, batch.masks.expand_as(batch.images)
    assert (seen[masks] == -0.25).all()
    assert torch.equal(seen[~masks], batch.images[~masks])


def test_without_an_approximator_the_filler_sees_gray():
    training = InpaintTraining(Constant())
    batch = batches().at(0)
    inpaint_step(training, batch)
    assert torch.equal(training.G.saw, batch.images.masked_fill(batch.masks, 0))
    assert torch.equal(training.approximate(batch.images, batch.masks), training.G.saw)


def test_filling_changes_the_hole_only_and_does_not_see_it():
    training = make(ema=0)
    for player in training.players.values():
        nn.init.normal_([*player.net.parameters()][-1])
    batch = batches().at(0)
    filled = training.fill(batch.images, batch.masks)
    masks = batch.masks.expand_as(filled)
    assert torch.equal(filled[~masks], batch.images[~masks])
    assert not torch.equal(filled, batch.images)
    assert filled.abs().max() <= 1
    raw = training.G(training.approximate(batch.images, batch.masks), batch.masks)
    assert not torch.allclose(raw[~masks], batch.images[~masks])  # the network itself leaves nothing alone
    hidden = torch.where(batch.masks, torch.rand_like(batch.images), batch.images)
    assert torch.equal(training.fill(hidden, batch.masks), filled)


def test_filling_leaves_no_trace():
    training = make()
    training.train()
    batch, state = batches().at(0), torch.get_rng_state()
    first = training.fill(batch.images, batch.masks)
    assert torch.equal(training.fill(batch.images, batch.masks), first)  # no dropout
    assert torch.get_rng_state().equal(state)
    assert training.G.training
    assert training.approximator.training
    assert not first.requires_grad


def test_dropout_and_gradients_are_there_while_the_approximator_learns():
    training, batch = make(approx_steps=1), batches().at(0)
    assert not torch.equal(training.guess(batch.images, batch.masks), training.guess(batch.images, batch.masks))
    assert training.guess(batch.images, batch.masks).requires_grad
    training.step = 1
    training.train()
    guess = training.guess(batch.images, batch.masks)
    assert torch.equal(guess, training.guess(batch.images, batch.masks))
    assert not guess.requires_grad


def test_together_both_learn_from_both_losses():
    batch = batches().at(0)

    def gradients(joint):
        training = make(joint=joint, clip=None)
        nn.init.normal_(training.G.colour.weight, std=0.1)
        inpaint_step(training, batch)
        return [p.grad for p in training.approximator.parameters()]

    assert all(gradient is None for gradient in gradients(joint=False))
    torch.manual_seed(1)
    both = gradients(joint=True)
    training = make(joint=True, clip=None)
    torch.manual_seed(1)
    own = losses.l1_in_hole(training.guess(batch.images, batch.masks), batch.images, batch.masks)
    alone = torch.autograd.grad(own, list(training.approximator.parameters()))
    assert not all(torch.allclose(one, other) for one, other in zip(both, alone, strict=True))


def test_at_one_half_both_losses_pull_equally():
    training, batch = make(D=True, A=False), batches().at(0)
    nn.init.normal_(training.G.colour.weight, std=0.1)
    output = training.G(batch.images.masked_fill(batch.masks, 0), batch.masks)
    pixel = losses.l1_in_hole(output, batch.images, batch.masks)
    adversarial = losses.nonsaturating_loss_g(training.D(torch.where(batch.masks, output, batch.images), batch.masks))
    weights = list(training.G.parameters())
    apart = [losses.gradient_norm(loss, weights) for loss in (pixel, adversarial)]
    total = training.weighed(pixel, adversarial)
    torch.testing.assert_close(training.balance, apart[1] / apart[0])
    torch.testing.assert_close(total, 0.5 * pixel + 0.5 * adversarial / training.balance)
    torch.testing.assert_close(apart[1] / training.balance, apart[0])


def test_alpha_is_measured_now_and_then_and_moves_slowly():
    training = make(D=True, A=False, warm_up=2)
    weight = next(training.G.parameters())

    def ask(step, ratio):
        training.step = step
        training.weighed(weight.sum(), ratio * weight.sum())
        return training.balance.item()

    assert ask(2, 4.0) == pytest.approx(4.0)  # G's first step
    assert ask(3, 9.0) == pytest.approx(4.0)
    assert ask(22, 9.0) == pytest.approx(4.0 + 0.2 * 5.0)


def test_a_given_alpha_stays():
    training = make(D=True, A=False, alpha=10.0, adversarial=0.25)
    pixel, adversarial = torch.tensor(2.0), torch.tensor(4.0)
    assert training.weighed(pixel, adversarial).item() == pytest.approx(0.75 * 2 + 0.25 * 4 / 10)
    assert training.balance == 10


def test_half_of_the_pictures_are_mirrored_and_their_holes_are_not():
    training = make()
    batch = batches().at(0)
    prepared = training.prepare(batch, size=8, rank=0, world=1)
    turned = [torch.equal(a, b.flip(-1)) for a, b in zip(prepared.images, batch.images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(prepared.images, batch.images, strict=True)]
    assert 0 < sum(turned) < 8
    assert all(one != other for one, other in zip(turned, kept, strict=True))
    assert torch.equal(prepared.masks, batch.masks)
    assert make(mirror=False).prepare(batch, size=8, rank=0, world=1) is batch


def test_ranks_mirror_what_one_process_would():
    training, whole = make(), batches()
    expected = training.prepare(whole.at(0), size=8, rank=0, world=1).images
    shares = [training.prepare(whole.at(0, rank, 2), size=8, rank=rank, world=2).images for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), expected)


def test_batches_without_holes_are_refused():
    with pytest.raises(ValueError, match=r"no holes; make them with images\.batches"):
        make().prepare(pictures().batches(8).at(0), size=8, rank=0, world=1)


def test_the_picture_shows_masked_guess_filled_and_truth():
    training, batch = make(), batches().at(0)
    assert training.picture() is None
    training.watch(batch.images[:3], batch.masks[:3])
    masked, guess, filled, truth = training.picture().split(8)
    images, masks = (value[torch.arange(8) % 3] for value in (batch.images, batch.masks))
    assert torch.equal(truth, images)
    assert torch.equal(masked, images.masked_fill(masks, 0))
    assert torch.equal(guess, training.approximate(images, masks))
    assert torch.equal(filled, training.fill(images, masks))
    without = make(A=False)
    without.watch(batch.images, batch.masks)
    assert len(without.picture()) == 24


def test_a_resumed_training_ends_with_the_same_bits(tmp_path, same):
    arguments = {"D": True, "approx_steps": 2, "warm_up": 1, "schedule": "cosine"}
    settings = {"precision": "fp32", "progress": False, "checkpoint_every": 4}
    whole, first, second = (make(**arguments) for _ in range(3))
    list(fit(whole, inpaint_step, batches(), steps=9, **settings))
    for _ in fit(first, inpaint_step, batches(), steps=9, out=tmp_path, log_every=4, **settings):
        break  # after step 4, in the middle of things
    list(fit(second, inpaint_step, batches(), steps=9, out=tmp_path, resume=True, **settings))
    assert first.step == 4
    same(second.state_dict(), whole.state_dict())
    assert whole.balance != 1


def test_while_it_is_alone_the_approximator_has_a_schedule_of_its_own():
    training = make(approx_steps=4, schedule="cosine", lr_A=1.0)

    def rate(step):
        training.step = step
        training.anneal(step / 100)
        return training.players["A"].optimiser.param_groups[0]["lr"]

    assert [round(rate(step), 3) for step in (0, 2)] == [1.0, 0.5]


def test_a_copy_can_take_steps_of_its_own():
    """What `fit` does to choose a precision."""
    training, batch = make(D=True), batches().at(0)
    before = weights(training.G)
    inpaint_step(copy.deepcopy(training), batch)
    assert torch.equal(weights(training.G), before)
    assert training.balance == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adversarial": 0.1}, "a share above 0 needs D"),
        ({"D": True, "adversarial": 0.0}, "and D a share above 0"),
        ({"D": True, "adversarial": 1.5}, r"adversarial=1\.5"),
        ({"D": True, "alpha": -1.0}, r"alpha=-1\.0"),
        ({"approx_steps": -1}, "approx_steps=-1"),
        ({"A": False, "approx_steps": 5}, "there is none"),
        ({"A": False, "joint": True}, "there is none"),
        ({"warm_up": 5}, "warm_up=5: of D"),
        ({"ema": 1.0}, r"ema=1\.0"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
