"""Where attention layers look: record their maps, ask one pixel or a region, and measure.

In the words of [1]_, position j of a feature map x receives

    s_ij = f(x_i)' g(x_j),    beta_ji = exp(s_ij) / sum over i of exp(s_ij),    o_j = v(sum over i of beta_ji h(x_i)),

and the layer returns y_j = x_j + gamma o_j. The *map* of the query j is the row beta_j over all keys i: it sums to 1
and says where position j looked. It does not say what became of the answer, nor whether looking elsewhere would have
changed it; `shuffled_keys` and `keys_from` in `record` are controls.

Maps are float32 (B, H, W, H', W'): `maps[b, i, j]` is the map of the query in cell (i, j) over a grid of keys, which
may be coarser. Both grids cover the whole picture. **Positions are pixels of the picture**: a pixel asks for the cell
that its centre lies in, so of a 64 px picture with 32x32 queries four pixels share one. All functions return arrays
and draw nothing.

References
----------
.. [1] Zhang, Goodfellow, Metaxas & Odena (2019), Self-Attention Generative Adversarial Networks, ICML.

Examples
--------
>>> from nblib.networks.sagan import Discriminator
>>> D, images = Discriminator(width=8), torch.rand(2, 3, 64, 64) * 2 - 1
>>> maps = record(D, images)["stem.attention"]
>>> maps.shape
torch.Size([2, 32, 32, 16, 16])
>>> at(maps, 40, 12, 64).shape  # of the pixel in row 40 and column 12 of 64x64
torch.Size([2, 16, 16])
>>> wheel = torch.zeros(64, 64, dtype=torch.bool)
>>> wheel[36:48, 6:18] = True
>>> lift(over(maps, wheel), wheel).shape  # the wheel's average map: how much of it falls on the wheel itself?
torch.Size([2])
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nblib.steady import evaluating


def layers(net: nn.Module) -> dict[str, nn.Module]:
    """Return the attention layers of a network by name: every module with a method `attention_maps`.

    A network that is such a layer itself goes by the name "attention".

    Raises
    ------
    ValueError
        If it has none.

    Examples
    --------
    >>> from nblib.networks.sagan import Discriminator
    >>> list(layers(Discriminator(width=8)))
    ['stem.attention']
    """
    found = {name or "attention": part for name, part in net.named_modules() if hasattr(part, "attention_maps")}
    if not found:
        raise ValueError(
            f"{type(net).__name__}: no attention layer; the networks of nblib.networks.sagan have one unless they are "
            "made with attention_at=0"
        )
    return found


def record(
    net: nn.Module, *inputs: Tensor, layers: Sequence[str] | None = None, keys_from: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the maps of every attention layer, from one pass in eval mode; the network is left as it was.

    Parameters
    ----------
    net : nn.Module
        A network with attention.
    *inputs : Tensor
        What it takes, B of each, on any device: latent vectors for a generator, images in [-1, 1] for a discriminator.
    layers : sequence of str, optional
        Names of the layers wanted, see `nblib.attention.layers`; all by default.
    keys_from : Tensor, int64 (B,), optional
        A control: picture b's queries look at the keys of picture ``keys_from[b]`` instead of their own.

    Returns
    -------
    dict of str to Tensor, float32 (B, H, W, H', W') on the CPU
        By layer, in the order of the pass. 1 MB a picture for 32x32 queries and 16x16 keys, 16 MB at twice the sides.

    Raises
    ------
    ValueError
        If the network has no attention layer, none of a name asked for, or does not use one of them.

    Notes
    -----
    The pass ends at the last layer wanted. So a discriminator takes photos of other sizes as well: what follows its
    attention, a dense layer of fixed size, is not reached.

    Examples
    --------
    >>> from nblib.networks.sagan import Generator
    >>> G = Generator(width=8)
    >>> [(name, tuple(maps.shape)) for name, maps in record(G, torch.randn(1, G.latent_dim)).items()]
    [('attention', (1, 32, 32, 16, 16))]
    """
    wanted, found = _wanted(net, layers), {}
    device = next((weights.device for weights in net.parameters()), torch.device("cpu"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(net))
        stack.enter_context(contextlib.suppress(_AllRecorded))
        for name, layer in wanted.items():
            hook = _recorder(name, found, len(wanted), keys_from)
            stack.callback(layer.register_forward_pre_hook(hook).remove)
        net(*(value.to(device) for value in inputs))
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{type(net).__name__} did not use its attention layer {', '.join(missing)} for these inputs")
    return found


def at(maps: Tensor, row: int | Tensor, column: int | Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return where one pixel looks: its map in each picture, shape (B, H', W').

    Parameters
    ----------
    maps : Tensor, float (B, H, W, H', W')
    row, column : int or Tensor, int64 (B,)
        The pixel, counted from the top left; one for all pictures or one for each.
    size : int or (int, int)
        Side, or height and width, of the pictures in pixels.

    Raises
    ------
    ValueError
        If the pixel lies outside the pictures.
    """
    _check_maps(maps)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = (torch.as_tensor(value).expand(len(maps)).cpu() for value in (row, column))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if not inside.all():
        raise ValueError(f"pixel ({row}, {column}) lies outside a picture of {height}x{width}")
    pictures = torch.arange(len(maps))
    return maps[pictures, _cells(height, maps.shape[1])[rows], _cells(width, maps.shape[2])[columns]]


def over(maps: Tensor, region: Tensor | np.ndarray) -> Tensor:
    """Return where a region looks: the mean of the maps of its pixels in each picture, shape (B, H', W').

    Parameters
    ----------
    maps : Tensor, float (B, H, W, H', W')
    region : bool (H, W) or (B, 1, H, W)
        In pixels of the picture; one for all pictures or one for each.

    Raises
    ------
    ValueError
        If a region marks no pixel.
    """
    _check_maps(maps)
    marked = _marked(region, len(maps))  # (B, rows, columns)
    rows = F.one_hot(_cells(marked.shape[1], maps.shape[1]), maps.shape[1]).float()  # (rows, H)
    columns = F.one_hot(_cells(marked.shape[2], maps.shape[2]), maps.shape[2]).float()  # (columns, W)
    pixels = torch.einsum("brc,rh,cw->bhw", marked, rows, columns)  # of the region in each cell
    return torch.einsum("bhw,bhwkl->bkl", pixels / pixels.sum((1, 2), keepdim=True), maps)


def entropy(maps: Tensor) -> Tensor:
    """Return how widely each map is spread, in nats: 0 for a single key, log(H' W') for all alike.

    Parameters
    ----------
    maps : Tensor, float (..., H', W')
        Each sums to 1.

    Returns
    -------
    Tensor, shape (...)

    Examples
    --------
    >>> round(float(entropy(torch.full((16, 16), 1 / 256))), 3)  # log(256)
    5.545
    """
    return torch.special.entr(maps).sum((-2, -1))


def distance(maps: Tensor) -> Tensor:
    """Return how far each query looks on average: the mean distance to the keys, weighted by its map.

    Distances run from the centre of the query's cell to those of the keys', in **sides of the picture** (0.5 is half
    a picture; heights and widths are measured in their own side).

    Parameters
    ----------
    maps : Tensor, float (B, H, W, H', W')

    Returns
    -------
    Tensor, shape (B, H, W)

    Examples
    --------
    >>> maps = torch.zeros(1, 1, 2, 1, 2)
    >>> maps[0, 0, :, 0, 0] = 1  # both queries look at the left key
    >>> distance(maps).tolist()
    [[[0.0, 0.5]]]
    """
    _check_maps(maps)
    rows, columns, down, across = (_centres(cells) for cells in maps.shape[1:])
    vertical = (rows[:, None] - down)[:, None, :, None]  # (H, 1, H', 1)
    horizontal = (columns[:, None] - across)[None, :, None, :]  # (1, W, 1, W')
    return torch.einsum("bhwkl,hwkl->bhw", maps, torch.hypot(vertical, horizontal))


def share(maps: Tensor, region: Tensor | np.ndarray) -> Tensor:
    """Return the share of attention that falls into a region of the picture, from 0 to 1.

    A key whose cell lies partly in the region counts by that part of its area.

    Parameters
    ----------
    maps : Tensor, float (B, ..., H', W')
        Each sums to 1: maps of one query, or of all.
    region : bool (H, W) or (B, 1, H, W)
        In pixels of the picture; one for all pictures or one for each.

    Returns
    -------
    Tensor, shape (B, ...)
    """
    marked = _marked(region, len(maps))  # (B, rows, columns)
    rows, columns = (_covered(pixels, cells) for pixels, cells in zip(marked.shape[1:], maps.shape[-2:], strict=True))
    parts = torch.einsum("brc,rk,cl->bkl", marked, rows, columns)  # of each key's cell that lies in the region
    parts = parts.reshape(len(maps), *[1] * (maps.ndim - 3), *maps.shape[-2:])
    return (maps * parts).sum((-2, -1))


def lift(maps: Tensor, region: Tensor | np.ndarray) -> Tensor:
    """Return how many times more attention a region draws than its area would at random: `share` by share of area.

    1 for a uniform map and any region. Arguments and shapes as in `share`.

    Examples
    --------
    >>> left = torch.zeros(64, 64, dtype=torch.bool)
    >>> left[:, :32] = True
    >>> seen = torch.tensor([[[0.75, 0.25]]])  # of two keys, three quarters on the left one
    >>> float(share(seen, left)), float(lift(seen, left))
    (0.75, 1.5)
    """
    areas = _marked(region, len(maps)).mean((1, 2))  # (B,)
    return share(maps, region) / areas.reshape(-1, *[1] * (maps.ndim - 3))


def upsample(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Enlarge maps (B, H', W') to the size of the picture, bilinearly, to lay them over it.

    The values stay weights of single keys: an enlarged map no longer sums to 1.
    """
    size = (size, size) if isinstance(size, int) else size
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def normalised(maps: Tensor) -> Tensor:
    """Divide each map (..., H', W') by its largest weight, to be shown: weights are about 1 / N, which looks black.

    What is lost is the scale, so name it beside the picture: ``maps.amax((-2, -1)) * N``, in multiples of uniform.
    """
    return maps / maps.amax((-2, -1), keepdim=True)


def shuffled_keys(maps: Tensor, seed: int = 0) -> Tensor:
    """Return a control: the same weights on the wrong keys.

    Each picture's keys are permuted, in one way for all its queries. Entropies stay; whatever depends on the places
    goes, unless it came from something else than places.

    Parameters
    ----------
    maps : Tensor, float (B, ..., H', W')
    seed : int, default 0

    Returns
    -------
    Tensor, shaped like `maps`

    Examples
    --------
    >>> maps = torch.rand(2, 3, 3, 4, 4)
    >>> bool((entropy(shuffled_keys(maps)) - entropy(maps)).abs().max() < 1e-5)
    True
    """
    flat = maps.flatten(-2)  # (B, ..., N)
    order = torch.rand(len(maps), flat.shape[-1], generator=torch.Generator().manual_seed(seed)).argsort(1)
    order = order.reshape(len(maps), *[1] * (flat.ndim - 2), -1).expand_as(flat)
    return flat.gather(-1, order).view_as(maps)


def statistics(net: nn.Module, *inputs: Tensor) -> dict[str, dict[str, float]]:
    """Return, for each attention layer, gamma, and the mean entropy (nats) and distance (sides) of all queries.

    Of the snapshots of a training, one after the other, this shows when the network began to use its attention.

    Parameters
    ----------
    net : nn.Module
    *inputs : Tensor
        As for `record`.

    Examples
    --------
    >>> from nblib.networks.sagan import Stem
    >>> told = statistics(Stem(width=8), torch.zeros(1, 3, 64, 64))["attention"]  # a black picture: all keys alike
    >>> told["gamma"], round(told["entropy"], 3)
    (0.0, 5.545)
    """
    found = layers(net)
    return {
        name: {
            "gamma": found[name].gamma.item(),
            "entropy": float(entropy(maps).mean()),
            "distance": float(distance(maps).mean()),
        }
        for name, maps in record(net, *inputs).items()
    }


class _AllRecorded(Exception):
    """Ends a pass through a network."""


def _wanted(net: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    known = layers(net)
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"no attention layer {', '.join(unknown)}; this network has {', '.join(known)}")
    return known if names is None else {name: known[name] for name in names}


def _recorder(name: str, found: dict[str, Tensor], count: int, keys_from: Tensor | None):
    """Return a hook that notes a layer's maps before it runs, and ends the pass when all layers are noted."""

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x = arguments[0]
        context = {} if keys_from is None else {"context": x[keys_from.to(x.device)]}
        found[name] = layer.attention_maps(x, **context).float().cpu()
        if len(found) == count:
            raise _AllRecorded

    return note


def _check_maps(maps: Tensor) -> None:
    if maps.ndim != 5:
        raise ValueError(f"maps are {tuple(maps.shape)}; expected those of all queries, (B, H, W, H', W')")


def _marked(region: Tensor | np.ndarray, count: int) -> Tensor:
    """Return a region as float (B, H, W) of zeros and ones."""
    region = torch.as_tensor(region)
    if region.dtype != torch.bool or region.shape[:-2] not in ((), (count, 1)):
        raise ValueError(
            f"region is {region.dtype} {tuple(region.shape)}; expected bool (H, W), or (B, 1, H, W) with B = {count}"
        )
    if not region.flatten(-2).any(-1).all():
        raise ValueError("the region marks no pixel")
    return region.expand(count, 1, *region.shape[-2:])[:, 0].float()


def _centres(cells: int) -> Tensor:
    """Return the centres of equal cells along a side of length 1."""
    return (torch.arange(cells) + 0.5) / cells


def _cells(pixels: int, cells: int) -> Tensor:
    """Return the cell that each pixel's centre lies in, int64 (pixels,)."""
    return (torch.arange(pixels) * 2 + 1) * cells // (2 * pixels)


def _covered(pixels: int, cells: int) -> Tensor:
    """Return which part of each cell each pixel covers, (pixels, cells); columns sum to 1."""
    pixel, cell = (torch.arange(n + 1, dtype=torch.float64) / n for n in (pixels, cells))
    end = torch.minimum(pixel[1:, None], cell[1:])
    return ((end - torch.maximum(pixel[:-1, None], cell[:-1])).clamp_min(0) * cells).float()
