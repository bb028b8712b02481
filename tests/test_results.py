import json
import math

import numpy as np
import pytest
import torch

from nblib import results
from nblib.metrics import Interval


def test_a_record_has_the_schema_and_is_read_back(tmp_path):
    made = results.record("notebook", parameters={"steps": 3}, seconds=1.23456, metrics={"psnr": 20.5}, split="test")
    results.write(tmp_path, made)
    assert results.read(tmp_path) == made
    assert {"kind", "parameters", "versions", "seconds", "device", "metrics", "split"} == set(made)
    assert made["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_numbers_of_all_kinds_become_strict_json(tmp_path):
    metrics = {"a": np.float32(0.5), "b": torch.tensor(2.0), "c": math.nan, "d": [math.inf, 1], "e": {"f": np.int64(3)}}
    metrics["g"] = Interval(1.0, math.nan, 2.0)
    results.write(tmp_path, results.record("notebook", parameters={}, seconds=0, metrics=metrics))
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert found["metrics"] == {"a": 0.5, "b": 2.0, "c": None, "d": [None, 1], "e": {"f": 3}} | {
        "g": {"mean": 1.0, "low": None, "high": 2.0}
    }


def test_missing_and_broken_records_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results there"):
        results.read(tmp_path)
    (tmp_path / "results.json").write_text('{"kind": "notebook", ')
    with pytest.raises(ValueError, match="not JSON"):
        results.read(tmp_path)
    (tmp_path / "results.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="not a record"):
        results.read(tmp_path)


def test_peak_memory_is_plausible():
    assert 50 < results.peak_memory_mb() < 100_000
