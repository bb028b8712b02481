"""Ask a picture where a network looks from any of its pixels: click, brush, compare two, go through training."""

import copy
import functools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from nblib import attention, plots
from nblib.images import signed_to_uint8, uint8_to_signed
from nblib.steady import evaluating
from nblib.widgets.png import figure_png, picture_png
from nblib.widgets.views import MAP, Query, View, attention_figure, look

KEPT = 64  # recordings; 1 MB each for 32x32 queries and 16x16 keys
TABLE = np.uint8(255 * MAP(np.arange(256))[:, :3] + 0.5).tobytes()


class AttentionExplorer(anywidget.AnyWidget):
    """Click a pixel of a picture, or brush a region, and see where an attention layer looks from there.

    A second query stands beside the first; sliders go through pictures, training steps and the strength of the
    overlay. While the picture has the focus, arrow keys move the query (with Shift four times as far), Enter turns a
    pixel into a disc and a region into a pixel, Space changes between the queries, Delete removes the second one.

    Parameters
    ----------
    images : Tensor, uint8 or float in [-1, 1], (B, 3, H, W), or None
        What networks look at; None if all draw their own.
    networks : mapping of str to network
        By the name to be shown: a network with attention that takes images; or snapshots of its training, a dict from
        step to network; or, if it draws, a tuple of either of these and its inputs, such as ``(G, z)``. They are
        copied: a training may go on meanwhile, and the explorer keeps showing what it was given.

    Raises
    ------
    ValueError
        If there is no network, one has no attention, or one takes images and there are none.

    Examples
    --------
    >>> from nblib.networks.sagan import Generator, Stem
    >>> stems, G = {0: Stem(width=8), 500: Stem(width=8)}, Generator(width=8)
    >>> explorer = AttentionExplorer(torch.zeros(2, 3, 64, 64), {"D": stems, "G": (G, torch.randn(3, 128))})
    >>> explorer.choose(step=0, picture=1)
    >>> explorer.select(40, 12)
    >>> explorer.line
    'D · attention · step 0 · gamma 0, so without effect · picture 2 of 2'
    >>> explorer.told[0][0]
    'query 1: row 40, column 12'
    >>> explorer.choose(network="G")
    >>> len(explorer.figure().axes)  # the picture, the map and its scale
    3
    """

    _esm = Path(__file__).parent / "static" / "explorer.js"
    choices = traitlets.List().tag(sync=True)  # of {"name": network and layer, "steps": [int]}
    choice = traitlets.Int().tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    picture = traitlets.Int().tag(sync=True)
    pictures = traitlets.Int().tag(sync=True)
    queries = traitlets.List().tag(sync=True)  # of {"row", "column", "region": [pixels, counted row by row] or None}
    png = traitlets.Bytes().tag(sync=True)  # the picture
    size = traitlets.List().tag(sync=True)  # its height and width
    grid = traitlets.List().tag(sync=True)  # rows and columns of queries
    maps = traitlets.Bytes().tag(sync=True)  # one per query, float32, in multiples of the uniform weight
    map_size = traitlets.List().tag(sync=True)
    told = traitlets.List().tag(sync=True)  # per query a title and its measures
    line = traitlets.Unicode().tag(sync=True)
    strength = traitlets.Float(0.6).tag(sync=True)  # of the overlay, from 0 to 1
    colours = traitlets.Bytes(TABLE).tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int().tag(sync=True)  # the browser draws when this one changes

    def __init__(self, images: Tensor | None, networks: Mapping[str, Any]):
        if not networks:
            raise ValueError("there is no network to explore")
        self._players = {name: _player(name, given, images) for name, given in networks.items()}
        self._layers = [(name, layer) for name, player in self._players.items() for layer in player.layers]
        self._record = functools.lru_cache(KEPT)(lambda name, step, k: self._players[name].record(step, k))
        self._lock = threading.RLock()  # some front ends call from a thread of their own
        steps = {name: list(player.networks) for name, player in self._players.items()}
        super().__init__(choices=[{"name": f"{name} · {layer}", "steps": steps[name]} for name, layer in self._layers])
        self.on_msg(self._heard)
        # As in TrainingMonitor: ipykernel 7.4 takes messages to the shell that wrote last, which a cell may keep busy.
        self.comm._reply_subshell_for = lambda data, addressed: addressed
        self._show(step=self.choices[0]["steps"][-1], queries=None)

    def __repr__(self) -> str:
        return "AttentionExplorer()"  # the same in every run

    def choose(
        self, network: str | None = None, layer: str | None = None, step: int | None = None, picture: int | None = None
    ) -> None:
        """Change what is shown, as the controls do; what is not given stays if it can.

        Raises
        ------
        ValueError
            If there is no such network, layer, step or picture (counted from 0).
        """
        name = self._layers[self.choice][0] if network is None else network
        fitting = [k for k, (owner, part) in enumerate(self._layers) if owner == name and layer in (None, part)]
        if not fitting:
            known = ", ".join(choice["name"] for choice in self.choices)
            raise ValueError(f"network={network!r}, layer={layer!r}: known are {known}")
        player = self._players[name]
        if step is not None and step not in player.networks:
            raise ValueError(f"step={step}: {name} has the steps {', '.join(map(str, player.networks))}")
        if picture is not None and not 0 <= picture < player.count:
            raise ValueError(f"picture={picture}: {name} has pictures 0 to {player.count - 1}")
        asked = {"step": step, "picture": picture}
        choice = self.choice if self.choice in fitting else fitting[0]
        self._show(choice=choice, **{key: value for key, value in asked.items() if value is not None})

    def select(self, row: int, column: int, *, query: int = 1) -> None:
        """Ask one pixel, as a click does, as query 1 or 2.

        Raises
        ------
        ValueError
            If the pixel lies outside the picture.
        """
        self._ask({"row": int(row), "column": int(column), "region": None}, query)

    def brush(self, region: Tensor | np.ndarray, *, query: int = 1) -> None:
        """Ask a region, bool (H, W) in pixels of the picture, as dragging does, as query 1 or 2.

        Raises
        ------
        ValueError
            If the region has another size or marks no pixel.
        """
        region = np.asarray(region)
        if region.dtype != bool or list(region.shape) != self.size or not region.any():
            told = f"{region.dtype} {region.shape} with {np.count_nonzero(region)} pixels"
            raise ValueError(f"region is {told}; expected bool {tuple(self.size)} with at least one")
        row, column = (int(places.mean()) for places in np.nonzero(region))
        self._ask({"row": row, "column": column, "region": np.flatnonzero(region).tolist()}, query)

    def remove(self) -> None:
        """Remove the second query."""
        self._show(queries=self.queries[:1])

    def views(self) -> list[View]:
        """Return what the queries see, see `nblib.widgets.look`."""
        _, maps = self._shown()
        return [look(maps, query, self.size) for query in _asked(self.queries, self.size)]

    def figure(self) -> Figure:
        """Return what is shown as a figure, see `nblib.widgets.attention_figure`."""
        picture, maps = self._shown()
        queries = _asked(self.queries, self.size)
        return attention_figure(picture, maps, *queries, strength=self.strength, title=self.line)

    def export(self, path: str | Path) -> None:
        """Write that figure as PNG, whole or not at all."""
        plots.save(self.figure(), path)

    def _shown(self) -> tuple[Tensor, Tensor]:
        """Return the picture and all maps of the layer shown."""
        name, layer = self._layers[self.choice]
        picture, maps = self._record(name, self.step, self.picture)
        return picture, maps[layer]

    def _ask(self, asked: dict[str, Any], query: int) -> None:
        if query not in (1, 2):
            raise ValueError(f"query={query}: there are 1 and 2")
        self._show(queries=[asked, *self.queries[1:]] if query == 1 else [self.queries[0], asked])

    def _heard(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Answer the browser. An error has no caller who would see it, so it is shown."""
        try:
            if content.pop("do") == "export":
                self.send({"do": "download", "view": content["view"]}, [figure_png(self.figure())])
            else:
                self._show(**content)
        except Exception as error:
            with self._lock, self.hold_sync():
                self.trouble = f"{type(error).__name__}: {error}"
                self.version += 1

    def _show(self, **changes: Any) -> None:
        """Record if need be, and send everything that changed in one message."""
        with self._lock:
            known = {name: getattr(self, name) for name in ("choice", "step", "picture", "queries")}
            content = self._content(**{**known, **changes})
            with self.hold_sync():
                for name, value in content.items():
                    setattr(self, name, value)
                self.version += 1

    def _content(self, choice: int, step: int, picture: int, queries: list[dict] | None) -> dict[str, Any]:
        """Return the state for a choice; a step or picture that the network does not have becomes the nearest."""
        name, layer = self._layers[choice]
        player = self._players[name]
        step = min(player.networks, key=lambda known: abs(known - step))
        picture = min(picture, player.count - 1)
        pixels, maps = self._record(name, step, picture)
        size, maps = list(pixels.shape[1:]), maps[layer]
        queries = _moved(queries, self.size, size)
        views = [look(maps, query, size) for query in _asked(queries, size)]
        relative = torch.stack([view.map * view.map.numel() for view in views])
        return {
            "choice": choice, "step": step, "picture": picture, "pictures": player.count, "queries": queries,
            "png": picture_png(pixels), "size": size, "grid": list(maps.shape[:2]),
            "maps": relative.numpy().astype("<f4").tobytes(), "map_size": list(maps.shape[2:]),
            "told": [[f"query {k}: {view.asked}", *view.measures] for k, view in enumerate(views, 1)],
            "line": " · ".join([name, layer, *player.told(step, layer), f"picture {picture + 1} of {player.count}"]),
            "trouble": "",
        }  # fmt: skip


@dataclass(frozen=True)
class _Player:
    """A network at one or several steps, and what it is given."""

    networks: dict[int, nn.Module]
    inputs: Sequence[Tensor]  # B of each
    draws: bool  # its output is the picture; else its input

    @property
    def layers(self) -> list[str]:
        return list(attention.layers(next(iter(self.networks.values()))))

    @property
    def count(self) -> int:
        return len(self.inputs[0])

    def record(self, step: int, picture: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a picture, uint8 (3, H, W), and by layer its maps (H, W, H', W')."""
        net, given = self.networks[step], [values[picture : picture + 1] for values in self.inputs]
        maps = {layer: some[0] for layer, some in attention.record(net, *given).items()}
        if self.draws:
            device = next(net.parameters()).device
            with evaluating(net), torch.no_grad():
                given = [net(*(value.to(device) for value in given))]
        return signed_to_uint8(given[0][0].detach().float().cpu()), maps

    def told(self, step: int, layer: str) -> list[str]:
        """Return what there is to say of the step and the layer."""
        gamma = getattr(attention.layers(self.networks[step])[layer], "gamma", None)
        steps = [f"step {step:,}"] if len(self.networks) > 1 else []
        if gamma is None:
            return steps
        return [*steps, f"gamma {gamma.item():.3f}" if gamma.item() else "gamma 0, so without effect"]


def _player(name: str, given: Any, images: Tensor | None) -> _Player:
    network, *inputs = given if isinstance(given, tuple) else (given,)
    networks = network if isinstance(network, Mapping) else {0: network}
    networks = {step: copy.deepcopy(networks[step]) for step in sorted(networks)}
    if not networks:
        raise ValueError(f"{name}: no snapshot to look at")
    for net in networks.values():
        attention.layers(net)  # complains if there is none
    if not inputs and images is None:
        raise ValueError(f"{name}: images=None; give pictures to look at, or its inputs as a tuple ({name}, inputs)")
    if not inputs:
        inputs = [uint8_to_signed(images) if images.dtype == torch.uint8 else images]
        if inputs[0].ndim != 4 or inputs[0].shape[1] != 3:
            raise ValueError(f"images are {tuple(images.shape)}; expected (B, 3, H, W)")
        return _Player(networks, inputs, draws=False)
    return _Player(networks, inputs, draws=True)


def _asked(queries: list[dict], size: Sequence[int]) -> list[Query]:
    """Return queries as functions take them: pixels and regions."""
    return [
        (query["row"], query["column"]) if not query["region"] else _region(query["region"], size) for query in queries
    ]


def _region(pixels: list[int], size: Sequence[int]) -> np.ndarray:
    region = np.zeros(tuple(size), bool)
    region.flat[pixels] = True
    return region


def _moved(queries: list[dict] | None, before: Sequence[int], size: Sequence[int]) -> list[dict]:
    """Return queries for a picture of another size; regions become pixels. Without any, ask in the middle."""
    if not queries:
        return [{"row": size[0] // 2, "column": size[1] // 2, "region": None}]
    if not before or list(before) == list(size):
        return queries
    down, across = (after / side for after, side in zip(size, before, strict=True))
    rows, columns = ([int((q[key] + 0.5) * by) for q in queries] for key, by in (("row", down), ("column", across)))
    return [{"row": r, "column": c, "region": None} for r, c in zip(rows, columns, strict=True)]
