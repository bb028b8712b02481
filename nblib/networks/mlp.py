"""Players for densities in the plane: dense layers alone, small enough that a game takes a second.

A point of the plane takes the place of an image: what `fit` and the step functions call images is here (B, 2). In two
dimensions everything can be drawn: all samples at once, the discriminator as a field, its gradient as arrows.
"""

from torch import Tensor, nn


class Generator2d(nn.Module):
    """Map latent vectors to points of the plane.

    Parameters
    ----------
    latent_dim : int, default 2
        Length of a latent vector.
    width : int, default 64
        Of the two hidden layers.

    Raises
    ------
    ValueError
        If an argument is below 1.

    Examples
    --------
    >>> import torch
    >>> Generator2d()(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    def __init__(self, latent_dim: int = 2, width: int = 64):
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: a latent vector has at least one number")
        self.latent_dim, self.width = latent_dim, width
        self.layers = _dense(latent_dim, width, 2, nn.ReLU)

    def forward(self, z: Tensor) -> Tensor:
        """Return points (B, 2) for latent vectors (B, latent_dim)."""
        return self.layers(z)  # (B, 2)


class Discriminator2d(nn.Module):
    """Map points of the plane to one logit each, high for "real".

    Parameters
    ----------
    width : int, default 64
        Of the two hidden layers.

    Raises
    ------
    ValueError
        If `width` is below 1.

    Examples
    --------
    >>> import torch
    >>> Discriminator2d()(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.width = width
        self.layers = _dense(2, width, 1, lambda: nn.LeakyReLU(0.2))

    def forward(self, points: Tensor) -> Tensor:
        """Return logits (B, 1) for points (B, 2)."""
        return self.layers(points)  # (B, 1)


def _dense(before: int, width: int, after: int, activation) -> nn.Sequential:
    if width < 1:
        raise ValueError(f"width={width}: a layer has at least one channel")
    return nn.Sequential(
        nn.Linear(before, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, after)
    )
