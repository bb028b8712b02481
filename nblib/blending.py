"""Poisson blending: keep the gradients of a filling, but let it start from the known pixels at the rim [1]_.

A network may paint the right structure in a slightly wrong colour, and the hole stays visible. Blending asks for the
picture f whose differences between neighbours p, q are those of the source g wherever one of them is in the hole, as
nearly as possible, and which equals the target f* outside (eq. 7 of [1]_, one equation per pixel p of the hole)::

    sum over neighbours q of p:  f_p - f_q  =  sum over neighbours q of p:  g_p - g_q        f_q = f*_q if q is known

At the image's border a pixel has fewer neighbours: nothing is asked for across it (Neumann's condition).

=================  ========================================================  ====================================
function           how                                                       for
=================  ========================================================  ====================================
`poisson`          the source plus a smooth correction, all images at once   notebooks, inpainters
`poisson_exact`    eq. 7 as one sparse system per image, solved directly     a second opinion; a tight tolerance
=================  ========================================================  ====================================

Eq. 12 of [1]_ (mixed gradients) takes the stronger of both pictures' gradients; in a hole the target has none.

References
----------
.. [1] Pérez, Gangnet & Blake (2003), Poisson Image Editing, ACM Transactions on Graphics (SIGGRAPH) 22(3).
"""

import torch
from scipy.sparse import csgraph, csr_array, eye_array, kronsum
from scipy.sparse.linalg import splu
from torch import Tensor

from nblib import masks as holes
from nblib.baselines.variation import harmonic


@torch.no_grad()
def poisson(source: Tensor, target: Tensor, masks: Tensor, *, tolerance: float = 1e-5) -> Tensor:
    """Blend the source into the holes of the target, all images together.

    The difference f - g solves Laplace's equation with the values f* - g at the rim (eq. 5 of [1]_), so the
    result is the source plus the harmonic surface over what the target exceeds it by, and `harmonic` does the work.

    Parameters
    ----------
    source : Tensor, float (B, C, H, W)
        What fills the holes, of any range. Its *known* pixels beside the hole are looked at as well: give the network's
        own output, before known pixels are pasted into it, or there is nothing to correct.
    target : Tensor, float (B, C, H, W)
        The known pixels; values in the holes are not looked at.
    masks : Tensor, bool (B, 1, H, W)
        True in the hole. Holes may touch the border, and there may be several in an image or none.
    tolerance : float, default 1e-5
        Stop when eq. 7 is violated by no more than that at every pixel, as a share of the largest difference between
        source and target. The result itself is further off, the more so the larger the hole: measured up to 10 times
        as much in 64x64 and 100 times in 256x256, for holes of half the picture and more.

    Returns
    -------
    Tensor, like `target`
        Bit by bit equal to `target` outside the holes. Inside it may leave the range: clip it before it is shown.
        No gradient flows through it.

    Raises
    ------
    ValueError
        If source and target differ in shape or dtype, are not float32 or float64 or hold values that are not finite, if
        masks are not bool (B, 1, H, W) that fit them, or if an image is all hole.

    References
    ----------
    .. [1] Pérez, Gangnet & Blake (2003), Poisson Image Editing, ACM Transactions on Graphics (SIGGRAPH) 22(3).

    Examples
    --------
    >>> target, masks = torch.linspace(0, 1, 8).expand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[:, :, 2:5, 3:7] = True
    >>> too_bright = target + 0.3
    >>> bool((poisson(too_bright, target, masks) - target).abs().max() < 1e-6)
    True
    """
    _check(source, target, masks)
    excess = (target - source).masked_fill(masks, 0)  # (B, C, H, W); what is hidden goes, it could be anything
    scale = excess.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)  # each image's own, or a batch would matter
    most = 20 * sum(masks.shape[2:])  # about 4 steps per line of a large hole are needed
    correction = scale * harmonic(excess / scale, masks, tolerance=tolerance, most=most)
    return torch.where(masks, source + correction, target)


@torch.no_grad()
def poisson_exact(source: Tensor, target: Tensor, masks: Tensor) -> Tensor:
    """Blend as `poisson` does, by a direct solution of eq. 7 in float64, one image after another on the CPU.

    Parameters
    ----------
    source, target : Tensor, float (B, C, H, W)
    masks : Tensor, bool (B, 1, H, W)

    Returns
    -------
    Tensor, like `target`

    Raises
    ------
    ValueError
        As `poisson`.

    Examples
    --------
    >>> target, masks = torch.linspace(0, 1, 8).expand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[:, :, 2:, 3:7] = True
    >>> torch.allclose(poisson_exact(target - 0.5, target, masks), target, atol=1e-6)
    True
    """
    _check(source, target, masks)
    blended = target.clone()
    laplacian = _grid_laplacian(*target.shape[2:])
    for out, guide, mask in zip(blended, source, masks[:, 0], strict=True):
        hole = mask.flatten().cpu().numpy()
        if not hole.any():
            continue
        rows = laplacian[hole]  # (N, HW): one equation per pixel of the hole
        wanted, known = (picture.flatten(1).T.double().cpu().numpy() for picture in (guide, out))  # (HW, C)
        right = rows @ wanted - rows[:, ~hole] @ known[~hole]  # (N, C)
        out[:, mask] = torch.from_numpy(splu(rows[:, hole].tocsc()).solve(right).T).to(out)
    return blended


def _grid_laplacian(height: int, width: int) -> csr_array:
    """Return the matrix (HW, HW) that takes from each pixel, as often as it has neighbours, those neighbours."""
    across, down = (eye_array(n, k=1) + eye_array(n, k=-1) for n in (width, height))  # who is beside whom in a line
    return csr_array(csgraph.laplacian(kronsum(across, down, format="csr")))


def _check(source: Tensor, target: Tensor, masks: Tensor) -> None:
    if source.shape != target.shape or source.ndim != 4:
        raise ValueError(f"source {tuple(source.shape)} and target {tuple(target.shape)} must both be (B, C, H, W)")
    if source.dtype != target.dtype or source.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"source is {source.dtype} and target {target.dtype}; blending takes both in float32 or both in float64: "
            "convert them, by .float() or by nblib.images.uint8_to_signed"
        )
    holes.check(masks, target)
    for name, finite in (("source", source.isfinite()), ("target", target.isfinite() | masks)):
        if not finite.all():  # one such number would spread over the whole hole
            image = int((~finite).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"{name} {image} holds values that are not finite; check what it came from")
