"""Inpainters of chapter 4: a latent search in a generator, and the Context Encoder, each with Poisson blending.

What is painted in a hole is often right but for its colour; `nblib.blending.poisson` lets it start from the known
pixels at the rim. It needs the whole picture that the network drew, so blending is done here, before anything is
pasted.
"""

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from nblib import checkpoints
from nblib.blending import poisson
from nblib.inpainters import Inpainter
from nblib.latent import search
from nblib.priors import latents_of

SEARCH = "latent-search"  # what the inpainter is called


def latent_search(
    G: nn.Module,
    D: nn.Module | None = None,
    encoder: nn.Module | None = None,
    *,
    name: str = SEARCH,
    blend: bool = True,
    restarts: int = 2,
    spread: float = 0.2,
    **options,
) -> Inpainter:
    """Return an inpainter that searches G's latent space: stochastic, another generator gives another answer.

    Parameters
    ----------
    G : nn.Module
        Generator; use averaged weights.
    D : nn.Module, optional
        Its discriminator; without it there is no prior loss.
    encoder : nn.Module, optional
        Images and masks to latent vectors: where to begin, instead of anywhere.
    name : str, default "latent-search"
    blend : bool, default True
        Let Poisson blending adjust the filling to the rim; False pastes it as it is.
    restarts : int, default 2
        Starts per image.
    spread : float, default 0.2
        Standard deviation of what is added to the encoder's guess, drawn for each start.
    **options
        Of `nblib.latent.search`: ``steps``, ``lr``, ``prior_weight``, ``labels`` …

    Raises
    ------
    ValueError
        If `spread` is negative.

    Examples
    --------
    >>> from nblib.networks.dcgan import Generator
    >>> G = Generator(latent_dim=8, width=4, size=8).eval()
    >>> images, masks = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    >>> masks[..., 2:6, 2:6] = True
    >>> inpainter = latent_search(G, steps=10)
    >>> answers = [inpainter(images, masks, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    >>> inpainter.stochastic, torch.equal(*answers)
    (True, False)
    """
    if spread < 0:
        raise ValueError(f"spread={spread}: a standard deviation, at least 0")
    latents = options.pop("latents", None) or latents_of(G)

    def fill(images: Tensor, masks: Tensor, generator: Generator | None = None) -> Tensor:
        starts = None
        if encoder is not None:
            starts = _spread_out(_applied(encoder, images, masks), restarts, spread, generator)
        found = search(
            G, D, images, masks, restarts=restarts, starts=starts, latents=latents, generator=generator, **options
        )
        return _finished(found.images, images, masks, blend)

    return Inpainter(name, fill, stochastic=True)


def context_encoder(net: nn.Module, *, name: str = "context-encoder", blend: bool = False) -> Inpainter:
    """Return a Context Encoder, or any network from (images, masks) to whole images, as an inpainter.

    Examples
    --------
    >>> from nblib.networks.context_encoder import ContextEncoder
    >>> context_encoder(ContextEncoder(width=8)).stochastic
    False
    """
    return Inpainter(name, lambda images, masks: _finished(_applied(net, images, masks), images, masks, blend))


def load(key: str | Path, **options) -> Inpainter:
    """Return the latent search in a trained generator, with its discriminator and its encoder if there are some.

    Parameters
    ----------
    key : str or path
        ``SET/dcgan-g``, ``SET/sagan-g``, or a weights file of your own. The discriminator is the file beside it whose
        name ends in ``-d``, the encoder the one called ``encoder`` if it was trained for just these weights.
    **options
        Of `latent_search` and `nblib.latent.search`.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    ValueError
        If `key` does not name a generator.
    """
    stem = str(key).removesuffix(checkpoints.SUFFIX)
    if not stem.endswith("-g"):
        raise ValueError(f"{key}: a latent search needs a generator, as in toyfaces/dcgan-g")
    G, about = checkpoints.load(stem), checkpoints.card(stem)
    D = _beside(stem.removesuffix("-g") + "-d")
    guide = str(Path(stem).with_name("encoder"))
    encoder = _beside(guide)
    if encoder is not None and not _made_for(checkpoints.card(guide), about["sha256"]):
        encoder = None
    return latent_search(G, D, encoder, **options)


def _beside(key: str) -> nn.Module | None:
    try:
        return checkpoints.load(key)
    except FileNotFoundError:
        return None


def _made_for(card: dict, sha256: str) -> bool:
    """Return whether an encoder was trained on the samples of the generator with this checksum."""
    source = card.get("hyper_parameters", {}).get("source", "")
    return bool(source) and sha256.startswith(source.rpartition(" ")[2])


def _spread_out(z: Tensor, restarts: int, spread: float, generator: Generator | None) -> Tensor:
    """Return starts (B, restarts, latent_dim) around z (B, latent_dim)."""
    noise = torch.randn(
        len(z), restarts, z.shape[1], generator=generator, device=None if generator is None else generator.device
    )
    return z.unsqueeze(1) + spread * noise.to(z.device)


@torch.no_grad()
def _applied(net: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Return what a network makes of images and masks, computed where it is."""
    device = next(net.parameters()).device
    return net(images.to(device), masks.to(device)).float()


def _finished(drawn: Tensor, images: Tensor, masks: Tensor, blend: bool) -> Tensor:
    """Return whole pictures, blended into the holes if wanted."""
    drawn = drawn.to(images)
    return poisson(drawn, images, masks) if blend else drawn
