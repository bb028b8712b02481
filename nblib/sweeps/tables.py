"""The table of a sweep, one row per cell, and means with intervals over its seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nblib import results, runs
from nblib.files import whole_file
from nblib.sweeps.plans import SEED, Plan, cell_folder

LEVEL = 0.95


def collect(out: Path, plan: Plan) -> pd.DataFrame:
    """Return one row per cell: ``cell``, its parameters, ``status, seconds, error``, and the metrics it wrote.

    A cell that has not ended has the status "missing". Nested metrics have joined names, as in a comparison, and of an
    estimate with its interval there is the mean. A metric with the name of another column gets " (metric)" behind it.
    """
    rows = [_row(out, plan, name) for name in plan.cells]
    parameters = list(dict.fromkeys(parameter for given in plan.cells.values() for parameter in given))
    first = ["cell", *sorted(parameters, key=[*plan.grid, SEED, *parameters].index), "status", "seconds", "error"]
    table = pd.DataFrame(
        [{**row, **{_apart(name, first): value for name, value in found.items()}} for row, found in rows]
    )
    return _typed(table[[*first, *(column for column in table if column not in first)]])


def write(out: Path, plan: Plan) -> pd.DataFrame:
    """Write ``table.parquet`` and ``table.csv`` and return the table."""
    table = collect(out, plan)
    with whole_file(Path(out) / "table.csv") as partial:
        table.to_csv(partial, index=False)
    with whole_file(Path(out) / "table.parquet") as partial:
        table.to_parquet(partial, index=False)
    return table


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table that hold metrics, numbers all of them."""
    after = list(table.columns).index("error") + 1
    return [
        name
        for name in table.columns[after:]
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any()
    ]


def intervals(table: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """Return mean, 95 % interval and count of a metric for each combination of the columns `by`.

    The interval is Student's: it supposes runs that differ by their seed alone, and is NaN for a single one.

    Parameters
    ----------
    table : DataFrame
        As `collect` returns it; cells that did not complete are left out.
    by : list of str
        Swept parameters; with none there is one row for all.
    metric : str
        A column.

    Examples
    --------
    >>> table = pd.DataFrame({"status": "complete", "steps": [10, 10, 20], "loss": [1.0, 3.0, 5.0]})
    >>> intervals(table, ["steps"], "loss").round(2)
       steps  mean    low    high  runs
    0     10   2.0 -10.71   14.71     2
    1     20   5.0    NaN     NaN     1
    """
    complete = table[(table["status"] == runs.COMPLETE) & table[metric].notna()]
    groups = complete.groupby(by, sort=False, dropna=False) if by else [((), complete)]
    rows = [dict(zip(by, key, strict=True)) | _interval(group[metric].to_numpy(float)) for key, group in groups]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "runs"])


def _interval(values: np.ndarray) -> dict[str, float]:
    mean, count = values.mean(), len(values)
    half = stats.t.ppf(0.5 + LEVEL / 2, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return {"mean": mean, "low": mean - half, "high": mean + half, "runs": count}


def _row(out: Path, plan: Plan, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is known of a cell, and its metrics."""
    outcome = plan.outcome(out, name)
    status, seconds, error = (outcome.status, outcome.seconds, outcome.error) if outcome else ("missing", None, "")
    found: dict[str, Any] = {}
    if outcome:
        try:
            found = results.read(cell_folder(out, name)).get("metrics", {})
        except FileNotFoundError:
            pass  # it failed before it wrote any, or writes none
        except ValueError as damaged:
            error = error or str(damaged)
    ended = {"cell": name, **plan.cells[name], "status": status, "seconds": seconds, "error": error}
    entries = results.flat(found if isinstance(found, dict) else {})
    values = {key: value["mean"] if isinstance(value, dict) else value for key, value in entries}
    return ended, {key: value for key, value in values.items() if isinstance(value, (int, float, str))}


def _apart(name: str, taken: list[str]) -> str:
    return f"{name} (metric)" if name in taken else name


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with columns of mixed values as text, which a parquet file can hold."""
    for column in [name for name in table if pd.api.types.is_object_dtype(table[name])]:
        kinds = {type(value) for value in table[column] if value is not None and value == value}
        if len(kinds) > 1 or kinds & {list, dict}:
            table[column] = [value if value is None else str(value) for value in table[column]]
    return table
