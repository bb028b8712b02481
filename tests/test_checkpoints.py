import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nblib import checkpoints


@checkpoints.register
class Tiny(nn.Module):
    def __init__(self, width, depth=2):
        super().__init__()
        self.width, self.depth = width, depth
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)), nn.BatchNorm1d(width))

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Tiny(4)
    net(torch.randn(32, 4))  # statistics
    return net


@pytest.fixture
def saved(net, tmp_path):
    checkpoints.save_weights(net, tmp_path / "tiny", {"data": "toyfaces", "steps": 7, "metrics": {"fd": 1.5}})
    return tmp_path / "tiny.safetensors"


def test_a_network_returns(net, saved):
    found = checkpoints.load(saved)
    assert type(found) is Tiny
    assert not any(module.training for module in found.modules())
    assert {value.dtype for value in found.state_dict().values()} == {torch.float32, torch.int64}
    torch.testing.assert_close(found.state_dict(), net.state_dict(), rtol=1e-3, atol=1e-4)
    half = {
        name: value.half().float() if value.is_floating_point() else value for name, value in net.state_dict().items()
    }
    torch.testing.assert_close(found.state_dict(), half, rtol=0, atol=0)


def test_single_precision_is_exact(net, tmp_path):
    checkpoints.save_weights(net, tmp_path / "tiny", half=False)
    torch.testing.assert_close(checkpoints.load(tmp_path / "tiny").state_dict(), dict(net.state_dict()), rtol=0, atol=0)
    half = tmp_path / "half.safetensors"
    checkpoints.save_weights(net, half)
    assert half.stat().st_size < (tmp_path / "tiny.safetensors").stat().st_size


def test_the_card(net, saved):
    card = json.loads(saved.with_suffix(".json").read_text())
    assert card["class"] == "test_checkpoints.Tiny"
    assert card["arguments"] == {"width": 4, "depth": 2}
    assert (card["data"], card["steps"], card["metrics"], card["parameters"]) == ("toyfaces", 7, {"fd": 1.5}, 48)
    assert card["precision"] == "float16"
    assert len(card["sha256"]) == 64
    assert "torch" in card["versions"]
    assert checkpoints.card(saved) == card
    assert not list(saved.parent.glob(".partial-*"))


def test_loading_leaves_no_trace_in_the_random_numbers(saved):
    before = torch.get_rng_state()
    checkpoints.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_keys_of_shipped_weights(net, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.paths, "REPOSITORY", tmp_path / "repository")
    with pytest.raises(FileNotFoundError, match=r"toyfaces/tiny: no such weights; there are: none yet"):
        checkpoints.load("toyfaces/tiny")
    for key in ("toyfaces/tiny", "toyfaces/small", "toycars/tiny"):
        checkpoints.save_weights(net, data_dir / "checkpoints" / key)
    assert checkpoints.available() == ["toycars/tiny", "toyfaces/small", "toyfaces/tiny"]
    assert checkpoints.available("toyfaces") == ["toyfaces/small", "toyfaces/tiny"]
    assert checkpoints.load("toyfaces/tiny").width == 4
    with pytest.raises(FileNotFoundError, match="are: toycars/tiny, toyfaces/small, toyfaces/tiny"):
        checkpoints.load("toyfaces/tony")


@pytest.mark.parametrize("place", [8, 300, -1])
def test_a_flipped_bit_is_found(saved, place):
    data = bytearray(saved.read_bytes())
    data[place] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ValueError, match=r"SHA-256 differs.* get it again"):
        checkpoints.load(saved)


def change_card(saved, **entries):
    path = saved.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_card_cannot_make_us_import_anything(saved):
    for name in ("os.system", "torch.nn.Linear", None, "pathlib.Path"):
        change_card(saved, **{"class": name})
        with pytest.raises(ValueError, match="is not a network of nblib"):
            checkpoints.load(saved)


def test_weights_that_do_not_fit(saved):
    change_card(saved, arguments={"width": 5})
    with pytest.raises(ValueError, match=r"do not fit test_checkpoints\.Tiny as it is now"):
        checkpoints.load(saved)


def test_a_missing_or_broken_card(saved):
    saved.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"tiny\.json: not a card"):
        checkpoints.load(saved)
    saved.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tiny\.json: the card of the weights is missing"):
        checkpoints.load(saved)


def test_weights_that_are_not_finite_are_refused(net, tmp_path):
    net.layers[0].weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"layers\.0\.weight holds values that are not finite in half precision"):
        checkpoints.save_weights(net, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_could_not_be_built_again_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'linear\.Linear' is not a network of nblib"):
        checkpoints.save_weights(nn.Linear(2, 2), tmp_path / "net")

    @checkpoints.register
    class Forgetful(nn.Linear):
        def __init__(self, sides):
            super().__init__(sides, sides)

    with pytest.raises(ValueError, match=r"Forgetful keeps no attribute 'sides'.*set self\.sides = sides"):
        checkpoints.save_weights(Forgetful(2), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_plain_safetensors(net, saved, tmp_path):
    tensors = load_file(saved)
    assert tensors["layers.0.weight"].dtype == torch.float16
    save_file(tensors, tmp_path / "again.safetensors")
    assert tensors.keys() == net.state_dict().keys()


@pytest.mark.parametrize("name", list(checkpoints.NETWORKS))
def test_every_class_of_the_list_exists(name):
    assert checkpoints.class_name(checkpoints._class(name, None)) == name
