import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nblib.networks import dcgan
from nblib.priors import UNIFORM
from nblib.sensitivity import preconditioner, sensitivity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Skewed(nn.Module):
    """Pictures of two latents, of which the first matters ten times as much: known derivatives."""

    latent_dim = 2

    def __init__(self):
        super().__init__()
        turn = torch.tensor([[3.0, 1.0], [-1.0, 3.0]]) / 10**0.5
        self.weight = nn.Parameter(torch.diag(torch.tensor([10.0, 1.0])) @ turn)

    def forward(self, z):
        return (z @ self.weight.T).view(-1, 1, 1, 2)


def test_it_is_the_mean_square_of_the_derivative():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G = dcgan.Generator(5, width=4, size=8).eval()
        nn.init.normal_(G.stages[-2].weight, std=0.4)
    found = sensitivity(G, samples=30_000)
    z = UNIFORM.noise(5)(300, seeded(1))
    with torch.no_grad():
        slopes = [torch.autograd.functional.jacobian(G, one[None]).view(-1, 5) for one in z]
    expected = torch.stack([J.T @ J for J in slopes]).mean(0)
    assert_close(found, expected, rtol=0.15, atol=0.05 * expected.abs().max().item())
    assert not found.requires_grad


def test_it_is_measured_in_full_precision_whoever_calls():
    G = dcgan.Generator(5, width=4, size=8)
    with torch.autocast("cpu", torch.bfloat16):
        rough = sensitivity(G, samples=70)
    assert torch.equal(rough, sensitivity(G, samples=70))
    other = sensitivity(G, samples=70, generator=seeded(9))
    assert not torch.equal(other, rough)


def test_it_leaves_the_generator_as_it_was_and_says_the_same_twice():
    G = dcgan.Generator(5, width=4, size=8).train()
    before = [value.clone() for value in G.state_dict().values()]
    first, again = sensitivity(G, samples=70), sensitivity(G, samples=70)
    assert torch.equal(first, again)
    assert G.training
    assert all(weight.grad is None for weight in G.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, G.state_dict().values(), strict=True))


def test_steps_that_are_conditioned_change_the_picture_alike_in_all_directions():
    G = Skewed()
    M = sensitivity(G, samples=20_000, latents=UNIFORM)
    assert_close(M, (G.weight.T @ G.weight).detach(), rtol=0.05, atol=1.0)
    P = preconditioner(M, ridge=1e-6)
    change = G.weight @ P @ P  # of the picture, for a step along each latent number after both multiplications
    assert torch.linalg.cond(change) < 1.2
    assert torch.linalg.cond(G.weight) > 9
    assert P.diagonal().mean().item() == pytest.approx(1)


def test_powers_and_ridges():
    M = torch.diag(torch.tensor([4.0, 1.0, 1.0]))
    assert_close(preconditioner(M, power=0.0), torch.eye(3))
    flat = preconditioner(M, ridge=1e6)
    assert_close(flat, torch.eye(3), atol=1e-4, rtol=0)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=seeded(2)))
    assert_close(preconditioner(turn @ M @ turn.T), turn @ preconditioner(M) @ turn.T, atol=1e-5, rtol=1e-4)
    dead = preconditioner(torch.diag(torch.tensor([1.0, 1.0, 0.0])))  # a number that G does not use
    assert dead.isfinite().all()


@pytest.mark.parametrize(
    ("M", "given", "message"),
    [
        (torch.eye(3)[:2], {}, r"\(2, 3\): a symmetric"),
        (torch.ones(3, 3).triu(), {}, "a symmetric"),
        (torch.zeros(3, 3), {}, "M is all 0"),
        (torch.eye(3), {"power": -1.0}, r"power=-1\.0"),
        (torch.eye(3), {"ridge": 0.0}, r"ridge=0\.0"),
    ],
)
def test_wrong_arguments(M, given, message):
    with pytest.raises(ValueError, match=message):
        preconditioner(M, **given)


def test_samples_are_needed():
    with pytest.raises(ValueError, match="samples=0"):
        sensitivity(Skewed(), samples=0, latents=UNIFORM)
