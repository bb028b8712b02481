"""Where the latent vectors of a generator lie, and the way back there for those that have left.

==========  ==========================  =================================================
prior       vectors                     `project`
==========  ==========================  =================================================
`UNIFORM`   U[-1, 1]: DCGAN             clips every number
`NORMAL`    N(0, 1): SAGAN              gives a vector a length that normal vectors have
==========  ==========================  =================================================

References
----------
.. [1] Menon, Damian, Hu, Ravi & Rudin (2020), PULSE: Self-Supervised Photo Upsampling via Latent Space Exploration of
   Generative Models, CVPR.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nblib import checkpoints
from nblib.noise import NoiseSampler, normal_noise, uniform_noise

SPREAD = 1 / math.sqrt(2)  # standard deviation of the length of a normal vector, in any dimension but a few


class Latents(NamedTuple):
    """Where a generator's latent vectors come from.

    Attributes
    ----------
    noise : callable
        ``noise(latent_dim)`` returns a sampler, as in `nblib.noise`.
    project : callable
        Maps vectors (…, latent_dim) to the nearest ones that the generator was trained on.
    """

    noise: Callable[[int], NoiseSampler]
    project: Callable[[Tensor], Tensor]


def into_box(z: Tensor) -> Tensor:
    """Return z (…, latent_dim) clipped to [-1, 1], where U[-1, 1] lies.

    Examples
    --------
    >>> into_box(torch.tensor([[0.5, -3.0]]))
    tensor([[ 0.5000, -1.0000]])
    """
    return z.clamp(-1, 1)


def onto_shell(z: Tensor) -> Tensor:
    """Return z (…, latent_dim), made longer or shorter where its length is not one of a normal vector.

    Vectors drawn from N(0, 1) in d dimensions do not lie around 0 but near the sphere of radius sqrt(d) [1]_: in 128
    dimensions their lengths are 11.3 give or take 0.7. Lengths within three standard deviations stay as they are.

    Examples
    --------
    >>> z = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    >>> bool((onto_shell(z) == z).all()), round(onto_shell(9 * z).norm().item(), 2)
    (True, 13.44)
    """
    length = z.norm(dim=-1, keepdim=True)
    radius = math.sqrt(z.shape[-1])
    wanted = length.clamp(max(radius - 3 * SPREAD, 0), radius + 3 * SPREAD)
    return torch.where(wanted == length, z, z * (wanted / length.clamp_min(1e-12)))


UNIFORM = Latents(uniform_noise, into_box)  # DCGAN
NORMAL = Latents(normal_noise, onto_shell)  # SAGAN
LATENTS = {"dcgan.Generator": UNIFORM, "sagan.Generator": NORMAL}


def latents_of(G: nn.Module) -> Latents:
    """Return where the latent vectors of a generator of nblib come from.

    Raises
    ------
    ValueError
        If it is of another class.
    """
    name = checkpoints.class_name(type(G))
    if name not in LATENTS:
        raise ValueError(f"{name}: where do its latent vectors come from? pass latents=UNIFORM or NORMAL")
    return LATENTS[name]
