import os
import signal
from pathlib import Path

import pytest
import torch

signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background may have it ignored

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _own_data_folder(tmp_path_factory):
    """No test may touch the user's data folder: packs go to a temporary one, shared by the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBLIB_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two threads on a busy machine wait for each other at every operation; the tests are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A data folder of the test's own."""
    monkeypatch.setenv("NBLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="session")
def real_data():
    """The folder with real data sets, one folder each; skips where there is none."""
    folder = Path(os.environ.get("NBLIB_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "celeba").is_dir():
        pytest.skip(f"no real data at {folder}; set NBLIB_REAL_DATA to a folder that holds celeba/ and cars/")
    return folder
