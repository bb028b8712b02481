"""Fillers that minimise one quantity over the whole hole: harmonic, total variation, low rank. All are batched."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Windows(NamedTuple):
    """Rows and columns of one window per image, all of the same size, int64 (B, h) and (B, w)."""

    rows: Tensor
    columns: Tensor

    def take(self, images: Tensor) -> Tensor:
        """Cut the windows out of (B, C, H, W): (B, C, h, w)."""
        wide = self.rows[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3])
        tall = self.columns[:, None, None, :].expand(-1, images.shape[1], self.rows.shape[1], -1)
        return images.gather(2, wide).gather(3, tall)

    def put(self, images: Tensor, parts: Tensor) -> Tensor:
        """Return a copy of the images with the windows replaced by `parts` (B, C, h, w)."""
        images, batch = images.clone(), torch.arange(len(images), device=images.device)
        images[batch[:, None, None], :, self.rows[:, :, None], self.columns[:, None, :]] = parts.permute(0, 2, 3, 1)
        return images


def hole_windows(masks: Tensor, margin: int = 1) -> Windows:
    """Return windows around the bounding boxes of the holes; what lies outside cannot change a local filler.

    The windows are as large as the largest box plus `margin` on each side, and shifted to lie inside the image.
    """
    return Windows(_window_lines(masks.any(3)[:, 0], margin), _window_lines(masks.any(2)[:, 0], margin))


def harmonic(images: Tensor, masks: Tensor, *, tolerance: float = 1e-4, most: int = 1000) -> Tensor:
    """Fill with the harmonic surface (a soap film on the rim): Laplace's equation, by conjugate gradients.

    Parameters
    ----------
    images : Tensor, float (B, C, H, W)
        Values in the holes are not looked at.
    masks : Tensor, bool (B, 1, H, W)
    tolerance : float, default 1e-4
        Stop when no pixel differs from the mean of its neighbours by more than that.
    most : int, default 1000
        Stop after that many steps at the latest.

    Examples
    --------
    >>> images, masks = torch.linspace(0, 1, 8).expand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[:, :, 2:5, 3:7] = True
    >>> bool((harmonic(images, masks) - images).abs().max() < 1e-3)
    True
    """
    if not masks.any():
        return images.clone()
    windows = hole_windows(masks)
    hole, u = windows.take(masks), windows.take(torch.where(masks, known_mean(images, masks), images))
    residual = -_roughness(u) * hole
    step, energy = residual, residual.square().sum((2, 3), keepdim=True)
    for iteration in range(most):
        if iteration % 10 == 0 and residual.abs().max() < tolerance:
            break
        slope = _roughness(step) * hole
        length = energy / (step * slope).sum((2, 3), keepdim=True).clamp_min(1e-30)
        u, residual = u + length * step, residual - length * slope
        energy, before = residual.square().sum((2, 3), keepdim=True), energy
        step = residual + energy / before.clamp_min(1e-30) * step
    return windows.put(images, u)


def total_variation(images: Tensor, masks: Tensor, *, steps: int = 200) -> Tensor:
    """Fill with the least total variation that agrees with the known pixels exactly [1]_: flat areas, sharp edges.

    The three channels share one norm, so that their edges coincide [2]_. The minimum is found from the harmonic
    filling by the primal-dual algorithm of Chambolle & Pock [3]_.

    Parameters
    ----------
    images : Tensor, float (B, C, H, W), signed
    masks : Tensor, bool (B, 1, H, W)
    steps : int, default 200
        Steps of the primal-dual algorithm.

    References
    ----------
    .. [1] Shen & Chan (2002), Mathematical Models for Local Nontexture Inpaintings, SIAM Journal on Applied
       Mathematics; without noise, so without a data term.
    .. [2] Bresson & Chan (2008), Fast Dual Minimization of the Vectorial Total Variation Norm, Inverse Problems and
       Imaging.
    .. [3] Chambolle & Pock (2011), A First-Order Primal-Dual Algorithm for Convex Problems with Applications to
       Imaging, Journal of Mathematical Imaging and Vision.
    """
    if not masks.any():
        return images.clone()
    windows = hole_windows(masks)
    hole, u = windows.take(masks), windows.take(harmonic(images, masks))
    ahead, dual = u, torch.zeros(2, *u.shape).to(u)
    primal_step, dual_step = 0.125, 1.0  # their product must not exceed 1 / 8, 8 bounds the norm of the gradient
    for _ in range(steps):
        dual = dual + dual_step * _gradient(ahead)
        dual = dual / dual.square().sum((0, 2), keepdim=True).sqrt_().clamp_min_(1)
        new = u - primal_step * _divergence(dual) * hole
        ahead, u = 2 * new - u, new
    return windows.put(images, u)


def low_rank(
    images: Tensor, masks: Tensor, *, rank: int = 16, penalties: Sequence[float] = (0.08, 0.05, 0.016), steps: int = 20
) -> Tensor:
    """Fill so that the picture, its channels side by side as one matrix, has the least nuclear norm [1]_.

    The minimum of ``0.5 |known error|^2 + penalty * nuclear norm`` is found by alternating ridge regressions [2]_,
    which need one singular value decomposition in all (plain soft-impute: one per step), for falling penalties. The
    mean colour is taken out first, so rows and columns without a known pixel get that colour.

    Parameters
    ----------
    images : Tensor, float (B, C, H, W), signed
    masks : Tensor, bool (B, 1, H, W)
    rank : int, default 16
        Bound on the rank.
    penalties : sequence of float
        Weights of the nuclear norm, in units of sqrt(H * W), as singular values grow with it.
    steps : int, default 20
        Pairs of regressions for each penalty.

    References
    ----------
    .. [1] Candès & Recht (2009), Exact Matrix Completion via Convex Optimization, Foundations of Computational
       Mathematics.
    .. [2] Hastie, Mazumder, Lee & Zadeh (2015), Matrix Completion and Low-Rank SVD via Fast Alternating Least Squares,
       JMLR 16; its simple version.
    """
    colour = known_mean(images, masks)
    known = ~_side_by_side(masks.expand_as(images))
    matrix = _side_by_side((images - colour).masked_fill(masks, 0))  # (B, H, C * W)
    left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
    roots = strengths[:, None, :rank].sqrt()
    rows, columns = left[..., :rank] * roots, right[:, :rank].mT * roots  # (B, H, rank), (B, CW, rank)
    for penalty in penalties:
        ridge = torch.eye(rows.shape[2]).to(rows) * (penalty * math.sqrt(images[0, 0].numel()))
        for _ in range(steps):
            columns = _regression(torch.where(known, matrix, rows @ columns.mT).mT, rows, ridge)
            rows = _regression(torch.where(known, matrix, rows @ columns.mT), columns, ridge)
    completed = (rows @ columns.mT).unflatten(2, (images.shape[1], -1)).transpose(1, 2)  # (B, C, H, W)
    return torch.where(masks, completed + colour, images)


def known_mean(images: Tensor, masks: Tensor) -> Tensor:
    """Return the mean colour of the known pixels of each image, (B, C, 1, 1)."""
    known = ~masks
    return (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)


def _window_lines(touched: Tensor, margin: int) -> Tensor:
    """Return the lines (B, n) around those touched by a hole, of which (B, N) tells."""
    total = touched.shape[1]
    first = touched.int().argmax(1)
    last = total - 1 - touched.int().flip(1).argmax(1)
    last = torch.where(touched.any(1), last, first)  # an image without a hole does not enlarge the windows
    length = min(total, int((last - first).max()) + 1 + 2 * margin)
    first = (first - margin).clamp(0, total - length)
    return first[:, None] + torch.arange(length, device=touched.device)


def _gradient(u: Tensor) -> Tensor:
    """Return forward differences down and across, (2, B, C, H, W); 0 over the border."""
    return torch.stack([F.pad(u.diff(dim=2), (0, 0, 0, 1)), F.pad(u.diff(dim=3), (0, 1))])


def _divergence(field: Tensor) -> Tensor:
    """Return the adjoint of `_gradient` (the negative divergence), (B, C, H, W); border entries of `field` are 0."""
    return -F.pad(field[0], (0, 0, 1, 0)).diff(dim=2) - F.pad(field[1], (1, 0)).diff(dim=3)


def _roughness(u: Tensor) -> Tensor:
    """Return how much each pixel exceeds its neighbours in sum: the negative Laplacian, mirrored at the border."""
    return _divergence(_gradient(u))


def _side_by_side(images: Tensor) -> Tensor:
    return images.transpose(1, 2).flatten(2)  # (B, C, H, W) -> (B, H, C * W)


def _regression(target: Tensor, basis: Tensor, ridge: Tensor) -> Tensor:
    """Return the coefficients x (B, M, K) of least |x basis^T - target|^2 + ridge |x|^2 for target (B, M, N)."""
    solution = torch.linalg.solve(basis.mT @ basis + ridge, (target @ basis).mT).mT
    return F.hardshrink(solution, 1e-12)  # fading components become denormal numbers: 100 times slower on a CPU
