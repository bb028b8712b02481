"""Check parameters that a user names by hand, on a command line or in a profile, against their defaults."""

import ast
import difflib
from collections.abc import Mapping
from typing import Any

import yaml


def bind(name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` with each value checked against, and turned into, the type of the default of that name.

    Parameters
    ----------
    name : str
        What has the parameters, for messages.
    known : mapping
        Every parameter and its default.
    given : mapping
        Some of them and their values; text (from a command line, or ``1e-4`` from YAML) is read as that type.

    Raises
    ------
    ValueError
        If the notebook `name` has no such parameter (the nearest one is named), or the value has another type.

    Examples
    --------
    >>> bind("01_gan", {"steps": 100, "lr": 2e-4, "tag": ""}, {"steps": "50", "lr": "1e-4", "tag": "007"})
    {'steps': 50, 'lr': 0.0001, 'tag': '007'}
    """
    for parameter in given:
        if parameter not in known:
            near = difflib.get_close_matches(parameter, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{name} has no parameter {parameter!r}; {hint}It has: {', '.join(known)}")
    return {
        parameter: _as_type_of(known[parameter], value, f"{name}: {parameter}") for parameter, value in given.items()
    }


def _as_type_of(default: Any, value: Any, where: str) -> Any:
    """Return `value` as the type of `default`; None as default takes anything."""
    wanted = type(default)
    if default is None or (type(value) is wanted and not isinstance(value, str)) or wanted is str is type(value):
        return value
    text = value if isinstance(value, str) else repr(value)
    try:
        read = yaml.safe_load(text) if wanted is bool else ast.literal_eval(text)
    except (ValueError, SyntaxError, yaml.YAMLError):
        read = text
    if wanted is float and type(read) is int:
        read = float(read)
    if type(read) is not wanted:
        raise ValueError(f"{where}={value!r} is not of type {wanted.__name__}, like its default {default!r}")
    return read
