"""Trained networks on disk: weights as ``NAME.safetensors``, and beside them a JSON card that says what they are.

The card names the class, its arguments, the data, the steps, the metrics and the SHA-256 of the weights file. Nothing
is ever unpickled, and no class is imported because a card says so: only those in `NETWORKS` and those handed to
`register` are built. (What a training needs in order to go on is another matter: `nblib.training.snapshots`.)
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nblib import paths, results
from nblib.files import whole_file, write_json

SUFFIX = ".safetensors"
NETWORKS = {  # the classes that a card may name, and the module of nblib that holds each
    "dcgan.Generator": "nblib.networks.dcgan",
    "dcgan.Discriminator": "nblib.networks.dcgan",
    "sagan.Generator": "nblib.networks.sagan",
    "sagan.Discriminator": "nblib.networks.sagan",
    "sagan.Stem": "nblib.networks.sagan",
    "approxnet.ApproxNet": "nblib.networks.approxnet",
    "approxnet.ConvApproxNet": "nblib.networks.approxnet",
    "approxnet.AttentionRefiner": "nblib.networks.approxnet",
    "approxnet.Discriminator": "nblib.networks.approxnet",
    "encoder.LatentEncoder": "nblib.networks.encoder",
    "context_encoder.ContextEncoder": "nblib.networks.context_encoder",
    "cvae.ConditionalVAE": "nblib.networks.cvae",
    "cvae.LabelledDiscriminator": "nblib.networks.cvae",
    "classifier.AttributeClassifier": "nblib.networks.classifier",
    "judge.PairJudge": "nblib.networks.judge",
}
_REGISTERED: dict[str, type[nn.Module]] = {}
Network = TypeVar("Network", bound=type[nn.Module])


def register(network: Network) -> Network:
    """Let cards name a class of your own; use it as a decorator.

    Examples
    --------
    >>> @register
    ... class Grey(nn.Linear):
    ...     pass
    """
    _REGISTERED[class_name(network)] = network
    return network


def class_name(network: type[nn.Module]) -> str:
    """Return how a card calls a class: the last part of its module and its name, as in ``dcgan.Generator``."""
    return f"{network.__module__.rpartition('.')[2]}.{network.__qualname__}"


def arguments(net: nn.Module) -> dict[str, Any]:
    """Return the arguments that `net` was built with: a network keeps each as an attribute of the same name.

    Raises
    ------
    ValueError
        If it does not keep one of them.

    Examples
    --------
    >>> arguments(nn.LeakyReLU(0.2))
    {'negative_slope': 0.2, 'inplace': False}
    """
    found = {}
    for name, parameter in inspect.signature(type(net)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not hasattr(net, name):
            raise ValueError(
                f"{type(net).__name__} keeps no attribute {name!r}, so it could not be built again; "
                f"set self.{name} = {name} in its __init__"
            )
        found[name] = getattr(net, name)
    return found


def save_weights(
    net: nn.Module, path: str | Path, card: Mapping[str, Any] | None = None, *, half: bool = True
) -> dict[str, Any]:
    """Write a network's weights and its card, each whole or not at all; return the card.

    Parameters
    ----------
    net : nn.Module
        Of a class in `NETWORKS`, or registered; it keeps its constructor's arguments as attributes.
    path : path
        ``FOLDER/NAME`` or ``FOLDER/NAME.safetensors``; the card is ``FOLDER/NAME.json``.
    card : mapping, optional
        What else to say: ``data``, ``crop``, ``steps``, ``metrics`` … (JSON).
    half : bool, default True
        Store weights in half precision, half the size; counters and integers stay as they are.

    Raises
    ------
    ValueError
        If `load` could not build the network again, or a weight is not finite (in half precision: beyond 65504).
    """
    path = _weights_path(path)
    name = class_name(type(net))
    _class(name, path)
    tensors = {key: _stored(key, value, half) for key, value in net.state_dict().items()}
    data = safetensors.torch.save(tensors)
    written = {
        "class": name,
        "arguments": arguments(net),
        **(card or {}),
        "parameters": sum(p.numel() for p in net.parameters()),
        "precision": "float16" if half else "float32",
        "versions": results.versions(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    with whole_file(path) as partial:
        partial.write_bytes(data)
    write_json(path.with_suffix(".json"), written)
    return json.loads(json.dumps(written))


def load(key: str | Path, *, device: str | torch.device = "cpu") -> nn.Module:
    """Return a trained network in eval mode and single precision.

    Parameters
    ----------
    key : str or path
        ``SET/NAME`` of the weights that come with the repository (see `available`), or the path of a
        ``.safetensors`` file with its card beside it.
    device : str or torch.device, default "cpu"

    Raises
    ------
    FileNotFoundError
        If there are no such weights, or no card beside them.
    ValueError
        If the file is not the one the card describes (SHA-256), or the card names an unknown class.
    """
    path = find(key)
    about = card(path)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        raise ValueError(f"{path}: not the file that its card describes (SHA-256 differs); it is damaged, get it again")
    network = _class(about.get("class"), path)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then replaced: leave no trace of it
        net = network(**about.get("arguments", {}))
    try:
        net.load_state_dict(safetensors.torch.load(data))  # copies half precision into single
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: the weights do not fit {about['class']} as it is now ({error})") from error
    return net.to(device).eval()


def card(key: str | Path) -> dict[str, Any]:
    """Return the card of weights: class, arguments, data, metrics, versions, SHA-256.

    Raises
    ------
    FileNotFoundError
        If there are no such weights, or no card beside them.
    ValueError
        If the card is not JSON.
    """
    path = find(key).with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the card of the weights is missing; they cannot be loaded without it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a card ({error}); get it again together with its weights") from error


def available(set_name: str | None = None) -> list[str]:
    """Return the keys ``SET/NAME`` of the weights in `folders`, of one set or of all."""
    pattern = f"{set_name or '*'}/*{SUFFIX}"
    found = [path.relative_to(root).with_suffix("") for root in folders() for path in root.glob(pattern)]
    return sorted({path.as_posix() for path in found})


def folders() -> list[Path]:
    """Return where weights are looked up by key: ``checkpoints`` in the data folder, then what the repository ships."""
    return list(dict.fromkeys([paths.data_dir() / "checkpoints", paths.REPOSITORY / "data" / "checkpoints"]))


def find(key: str | Path) -> Path:
    """Return the weights file of a key or path; what was trained together with them lies beside it.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    """
    if (path := _weights_path(key)).is_file():
        return path
    for folder in folders():
        if (shipped := folder / f"{key}{SUFFIX}").is_file():
            return shipped
    known = ", ".join(available()) or "none yet"
    raise FileNotFoundError(f"{key}: no such weights; there are: {known}")


def of_run(run: str | Path, names: Iterable[str]) -> Path | None:
    """Return the first of these weights that the folder of a training holds; None if it has none, or is no folder."""
    files = (Path(run).expanduser() / "weights" / f"{name}{SUFFIX}" for name in names)
    return next((file for file in files if file.is_file()), None)


def _weights_path(path: str | Path) -> Path:
    path = Path(path).expanduser()
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu()
    value = value.half() if half and value.is_floating_point() else value
    if not value.isfinite().all():
        raise ValueError(f"{name} holds values that are not finite{' in half precision' if half else ''}")
    return value.clone(memory_format=torch.contiguous_format)  # safetensors takes no views


def _class(name: str | None, path: Path) -> type[nn.Module]:
    """Return a class that is known here by that name."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in NETWORKS:
        known = ", ".join([*NETWORKS, *_REGISTERED])
        raise ValueError(f"{path}: {name!r} is not a network of nblib ({known}); see nblib.checkpoints.register")
    return getattr(import_module(NETWORKS[name]), name.rpartition(".")[2])
