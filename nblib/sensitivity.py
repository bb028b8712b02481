"""Which directions of a latent space change the picture, and a step for a search that takes that into account.

A generator of 100 latent numbers does not use them alike: a step in some directions turns the whole picture, in others
hardly a pixel. `sensitivity` measures that as the matrix M = E[J^T J], J the derivative of the picture by z: a step dz
changes the picture by about sqrt(dz^T M dz). In the class-size DCGANs of this course its largest eigenvalue is
thousands of times its smallest, and a search that steps alike in all directions spends most steps on going to and fro
in the few that matter. `preconditioner` evens that out.
"""

import math

import torch
from torch import Tensor, nn

from nblib.priors import Latents, latents_of
from nblib.steady import evaluating

TOGETHER = 64  # samples that go through the generator as one batch


def sensitivity(
    G: nn.Module,
    *,
    samples: int = 1024,
    latents: Latents | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return M = E[J^T J], how much a small step in latent space changes the picture on average.

    The derivative J of all pixels by all latent numbers is never formed: for r with independent standard normal pixels
    E[(J^T r)(J^T r)^T] = J^T J, and J^T r is one backward pass.

    Parameters
    ----------
    G : nn.Module
        Generator, latents (N, latent_dim) to pictures; it says its `latent_dim`.
    samples : int, default 1024
        Latents, each with an r of its own; several times `latent_dim`, or M has directions nobody looked at.
    latents : Latents, optional
        Where to draw them from; by default as G's class was trained.
    generator : torch.Generator, optional
        On the CPU; by default one with seed 0, so that M is always the same.

    Returns
    -------
    Tensor, float32 (latent_dim, latent_dim)
        Symmetric, on G's device; summed over channels and pixels, pictures in [-1, 1].

    Raises
    ------
    ValueError
        If there are no samples.

    Examples
    --------
    >>> from nblib.priors import UNIFORM
    >>> G = nn.Linear(2, 3, bias=False)
    >>> G.latent_dim, G.weight.data = 2, torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> sensitivity(G, samples=20_000, latents=UNIFORM).round().abs()
    tensor([[4., 0.],
            [0., 2.]])
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one")
    latents = latents or latents_of(G)
    generator = generator or torch.Generator().manual_seed(0)
    device, total = next(G.parameters()).device, 0.0
    for count in [TOGETHER] * (samples // TOGETHER) + [samples % TOGETHER] * bool(samples % TOGETHER):
        z = latents.noise(G.latent_dim)(count, generator).to(device)
        with evaluating(G), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            z.requires_grad_()
            drawn = G(z).float()
            r = torch.randn(drawn.shape, generator=generator).to(device)
            (slope,) = torch.autograd.grad((drawn * r).sum(), z)  # J^T r of each sample, (count, latent_dim)
            total = total + slope.T @ slope
    return total / samples


def preconditioner(M: Tensor, *, power: float = 0.25, ridge: float = 0.1) -> Tensor:
    """Return P = (M / m + ridge)^-power, m the mean eigenvalue of M, scaled to a mean eigenvalue of 1.

    `nblib.latent.search` multiplies the gradient and Adam's step by it, each once: so a power of 1/4 divides steps by
    the root of M, that is by how much they change the picture, in directions well above the ridge; below, all alike. A
    power of 1/2, Newton's, overshoots: M is a mean over the whole latent space, and Adam evens out as well.

    Parameters
    ----------
    M : Tensor, float (latent_dim, latent_dim)
        Of `sensitivity`.
    power : float, default 0.25
        0 leaves steps as they are.
    ridge : float, default 0.1
        As a share of the mean eigenvalue: directions that matter less than that are all taken alike.

    Raises
    ------
    ValueError
        If M is not square and symmetric or all 0, `power` is negative or `ridge` not positive.

    Examples
    --------
    >>> preconditioner(torch.diag(torch.tensor([1.0, 1.0, 16.0])), ridge=1e-6).diagonal()
    tensor([1.2000, 1.2000, 0.6000])
    """
    if M.ndim != 2 or M.shape[0] != M.shape[1] or not torch.allclose(M, M.T, rtol=1e-4, atol=1e-4 * M.abs().max()):
        raise ValueError(f"M of shape {tuple(M.shape)}: a symmetric (latent_dim, latent_dim) matrix, as of sensitivity")
    if not (math.isfinite(power) and power >= 0 and ridge > 0):
        raise ValueError(f"power={power}, ridge={ridge}: at least 0, and above 0")
    if not M.any():
        raise ValueError("M is all 0: nothing in the latent space changes the picture")
    values, vectors = torch.linalg.eigh(M.double())
    scales = (values.clamp_min(0) / values.mean() + ridge) ** -power  # (latent_dim,)
    return ((vectors * (scales / scales.mean())) @ vectors.T).to(M.dtype)
