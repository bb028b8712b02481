"""The codes have the variance they are said to have, the divergence is the true one, and sums are sums."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from nblib import variational


def has_the_variance(draw):
    """Return whether drawn codes have the variance exp(logvar), for variances below and above 1."""
    logvar = torch.tensor([-3.0, 0.0, 1.5]).expand(20_000, 3)
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    found = draw(torch.full_like(logvar, 2.0), logvar, noise)
    return torch.allclose(found.var(0), logvar[0].exp(), rtol=0.05) and torch.allclose(
        found.mean(0), torch.tensor(2.0), atol=0.05
    )


def test_codes_have_the_variance_that_they_are_said_to_have():
    assert has_the_variance(variational.reparameterise)
    assert not has_the_variance(lambda mu, logvar, noise: mu + 0.5 * logvar.exp() * noise)  # seen in public code
    assert not has_the_variance(lambda mu, logvar, noise: mu + logvar.exp() * noise)


def test_codes_are_drawn_anew_without_noise_of_their_own():
    mu, logvar = torch.zeros(4, 3), torch.zeros(4, 3)
    assert not torch.equal(variational.reparameterise(mu, logvar), variational.reparameterise(mu, logvar))


def test_a_gradient_reaches_mean_and_variance():
    mu, logvar = torch.zeros(2, 3, requires_grad=True), torch.full((2, 3), 0.6, requires_grad=True)
    noise = torch.randn(2, 3)
    variational.reparameterise(mu, logvar, noise).sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2, 3))
    torch.testing.assert_close(logvar.grad, 0.5 * torch.tensor(0.3).exp() * noise)


def test_the_divergence_by_hand():
    mu, logvar = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    of_images = [0.5 * 1 + 0.5 * (torch.e - 1 - 1), 0.5 * 9]
    assert variational.kl_divergence(mu, logvar).item() == pytest.approx(sum(of_images) / 2)
    assert variational.kl_divergence(torch.zeros(5, 7), torch.zeros(5, 7)) == 0


def test_the_divergence_is_that_of_torch_summed_over_units_averaged_over_images():
    mu, logvar = torch.randn(6, 5), torch.randn(6, 5)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(torch.zeros(5), torch.ones(5)))  # (6, 5)
    torch.testing.assert_close(variational.kl_divergence(mu, logvar), expected.sum(1).mean())
    torch.testing.assert_close(variational.kl_of_units(mu, logvar), expected.mean(0))
    printed = (-1 - logvar + logvar.exp() + mu**2).sum(1).mean()  # the document's L_KL, which enters with 0.5
    torch.testing.assert_close(variational.kl_divergence(mu, logvar), 0.5 * printed)


def test_reconstruction_is_summed_over_an_image_and_averaged_over_the_batch():
    logits, target = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    p = logits.sigmoid()
    bce = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(variational.bce_reconstruction(logits, target), bce.sum((1, 2, 3)).mean())
    torch.testing.assert_close(
        variational.mse_reconstruction(logits, target), (p - target).pow(2).sum((1, 2, 3)).mean()
    )
    for loss in (variational.bce_reconstruction, variational.mse_reconstruction):
        twice = loss(torch.cat([logits, logits]), torch.cat([target, target]))
        torch.testing.assert_close(twice, loss(logits, target))  # no matter how many images
        wide = loss(logits.repeat(1, 1, 2, 2), target.repeat(1, 1, 2, 2))
        torch.testing.assert_close(wide, 4 * loss(logits, target))  # but how many pixels


@pytest.mark.parametrize("loss", [variational.bce_reconstruction, variational.mse_reconstruction])
def test_pixels_may_have_weights(loss):
    logits, target = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    upper = (torch.arange(8) < 4).view(1, 1, 8, 1).expand(4, 1, 8, 8)
    parts = loss(logits[:, :, :4], target[:, :, :4]), loss(logits[:, :, 4:], target[:, :, 4:])
    torch.testing.assert_close(loss(logits, target, 1 + 4.0 * upper), 5 * parts[0] + parts[1])


def test_reconstruction_stays_finite_for_every_logit():
    logits = torch.tensor([-200.0, 200.0]).view(1, 1, 1, 2)
    assert variational.bce_reconstruction(logits, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)).item() == 400.0


def test_a_sure_and_wrong_pixel_learns_by_cross_entropy_alone():
    def pull(loss):
        logits = torch.full((1, 1, 1, 1), 12.0, requires_grad=True)
        loss(logits, torch.zeros(1, 1, 1, 1)).backward()
        return logits.grad.item()

    assert pull(variational.bce_reconstruction) > 0.999
    assert 0 < pull(variational.mse_reconstruction) < 2e-5


@pytest.mark.parametrize("loss", [variational.bce_reconstruction, variational.mse_reconstruction])
def test_reconstruction_refuses_to_broadcast(loss):
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and target \(1, 3, 4, 4\)"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))


def test_active_units_are_those_whose_mean_varies_over_images():
    mu = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([0, 0.05, 0.2, 1, 2, 0])
    assert variational.active_units(mu + 7).item() == 3
    assert variational.active_units(mu, threshold=1e-3).item() == 4
    with pytest.raises(ValueError, match="at least two"):
        variational.active_units(mu[:1])
