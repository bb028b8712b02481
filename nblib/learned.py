"""Inpainters of chapter 4: a latent search in a generator, and the Context Encoder, each with Poisson blending.

What is painted in a hole is often right but for its colour; `nblib.blending.poisson` lets it start from the known
pixels at the rim. It needs the whole picture that the network drew, so blending is done here, before anything is
pasted.
"""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from nblib import checkpoints
from nblib.blending import poisson
from nblib.inpainting import Inpainter, check_size
from nblib.latent import Found, search
from nblib.priors import LATENTS, latents_of
from nblib.sensitivity import preconditioner, sensitivity

SEARCH = "latent-search"  # what the inpainter is called
ENCODER = "encoder.LatentEncoder"


def latent_search(
    G: nn.Module,
    D: nn.Module | None = None,
    encoder: nn.Module | None = None,
    *,
    name: str = SEARCH,
    blend: bool = True,
    restarts: int = 2,
    steps: int | None = None,
    spread: float = 0.2,
    preconditioned: bool = True,
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
    steps : int, optional
        Of each start; by default 150 with a preconditioner and 300 without.
    spread : float, default 0.2
        Standard deviation of what is added to the encoder's guess, drawn for each start.
    preconditioned : bool, default True
        Take steps by how much they change the picture (`nblib.sensitivity`), which is measured once, at the first call;
        not for a G that draws by class. Another preconditioner can be among the options.
    **options
        Of `nblib.latent.search`: ``lr``, ``prior_weight``, ``labels`` …

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
    latents, own = options.pop("latents", None) or latents_of(G), options.pop("preconditioner", None)
    measuring = preconditioned and own is None and options.get("labels") is None  # by class, G wants more than z
    steps = (150 if measuring or own is not None else 300) if steps is None else steps

    @functools.cache
    def matrix() -> Tensor | None:
        return preconditioner(sensitivity(G, latents=latents)) if measuring else own

    def found(images: Tensor, masks: Tensor, generator: Generator | None, **more) -> Found:
        starts = None
        if encoder is not None:
            starts = _spread_out(_applied(encoder, images, masks), restarts, spread, generator)
        given = {"restarts": restarts, "steps": steps, "starts": starts, "latents": latents, "generator": generator}
        given["preconditioner"] = matrix()
        return search(G, D, images, masks, **given, **options | more)

    def fill(images: Tensor, masks: Tensor, generator: Generator | None = None) -> Tensor:
        return _finished(found(images, masks, generator).images, images, masks, blend)

    def stages(images: Tensor, masks: Tensor, every: int, generator: Generator | None = None):
        end = found(images, masks, generator, every=every)
        shown = {
            step: _finished(pictures, images, masks, blend)
            for step, pictures in zip(end.history.at, end.history.pictures, strict=True)
        }
        return _finished(end.images, images, masks, blend), shown

    return Inpainter(name, fill, stochastic=True, stages=stages)


def context_encoder(net: nn.Module, *, name: str = "context-encoder", blend: bool = False) -> Inpainter:
    """Return a Context Encoder, or any network from (images, masks) to whole images, as an inpainter.

    Examples
    --------
    >>> from nblib.networks.context_encoder import ContextEncoder
    >>> context_encoder(ContextEncoder(width=8)).stochastic
    False
    """

    def fill(images: Tensor, masks: Tensor) -> Tensor:
        check_size(name, net, images)
        return _finished(_applied(net, images, masks), images, masks, blend)

    return Inpainter(name, fill)


def load(key: str | Path, **options) -> Inpainter:
    """Return the latent search in a trained generator, with its discriminator and its encoder if there are some.

    Parameters
    ----------
    key : str or path
        Key or file of a generator, as ``SET/dcgan-g`` or ``SET/sagan-g``. The discriminator is the file beside it whose
        name ends in ``-d``; the encoder the one called ``encoder``, if it was trained for just these weights. Or key or
        file of an encoder: the search is then in the generator that it was trained for, wherever that lies.
    **options
        Of `latent_search` and `nblib.latent.search`.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    ValueError
        If `key` names neither, the generator draws by class, or what belongs together does not fit.
    """
    weights, card = checkpoints.find(key), checkpoints.card(key)
    guide = weights if card.get("class") == ENCODER else weights.with_name(f"encoder{checkpoints.SUFFIX}")
    if guide == weights:
        weights = _source(weights, card)
        card = checkpoints.card(weights)
    elif not (guide.is_file() and _made_for(checkpoints.card(guide), card)):
        guide = None
    if card.get("class") not in LATENTS and "latents" not in options:
        raise ValueError(f"{key}: a latent search needs a generator, as in toyfaces/dcgan-g")
    G = checkpoints.load(weights)
    if getattr(G, "classes", 0) and "labels" not in options:
        raise ValueError(f"{key} draws by class, and which class a picture is of, nobody says here; use nblib.latent")
    return latent_search(G, _discriminator(weights, G), None if guide is None else checkpoints.load(guide), **options)


def _source(encoder: Path, card: dict[str, Any]) -> Path:
    """Return the weights of the generator that an encoder was trained for."""
    key, _, _ = card.get("hyper_parameters", {}).get("source", "").rpartition(" ")
    if not key:
        raise ValueError(f"{encoder}: its card does not say which generator it was trained for")
    try:
        weights = checkpoints.find(key)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{encoder} was trained for {key}, which is missing: {error}") from None
    if not _made_for(card, checkpoints.card(weights)):
        raise ValueError(f"{encoder} was trained for other weights than {weights} holds now (SHA-256 differs)")
    return weights


def _made_for(encoder: dict[str, Any], generator: dict[str, Any]) -> bool:
    """Return whether an encoder was trained on the samples of a generator, by their cards."""
    source = encoder.get("hyper_parameters", {}).get("source", "")
    return bool(source) and generator.get("sha256", "").startswith(source.rpartition(" ")[2])


def _discriminator(generator: Path, G: nn.Module) -> nn.Module | None:
    """Return what was trained together with a generator and lies beside it, None if nothing does."""
    weights = generator.with_stem(f"{generator.stem.removesuffix('-g')}-d")
    if not weights.is_file():
        return None
    D = checkpoints.load(weights)
    if D.size != G.size:
        raise ValueError(
            f"{weights} judges pictures of {D.size}x{D.size}; the generator beside it draws {G.size}x{G.size}"
        )
    return D


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
