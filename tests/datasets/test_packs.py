import errno
import json

import numpy as np
import pytest
from filelock import FileLock

from nblib import paths
from nblib.datasets import packs
from nblib.files import TEMPORARY


def blocks(n=10, size=8, start=0):
    for row in range(start, n, 4):
        rows = np.arange(row, min(row + 4, n))
        yield {
            "images": np.broadcast_to(rows[:, None, None, None], (len(rows), 3, size, size)).astype(np.uint8),
            "attributes": (rows % 2 == 0)[:, None],
            "files": np.array([f"{number:04d}.jpg" for number in rows]),
            "partition": np.zeros(len(rows), np.uint8),
        }


def meta():
    return {"name": "squares", "attribute_names": ["even"], "fingerprint": "f", "source": "nowhere"}


@pytest.fixture
def pack(tmp_path):
    packs.write(tmp_path / "cache" / "squares", blocks(), meta)
    return tmp_path / "cache" / "squares"


def test_what_is_written_is_read(pack):
    images = packs.read(pack)
    assert images.images[:, 0, 0, 0].tolist() == list(range(10))
    assert images.attribute("even").tolist() == [True, False] * 5
    assert images.files[9] == "0009.jpg"
    assert images.meta["version"] == packs.VERSION
    assert images.path == pack
    assert sorted(path.name for path in pack.iterdir()) == [
        *("attributes.npy", "files.npy", "images.npy", "meta.json", "partition.npy")
    ]
    assert np.load(pack / "images.npy", allow_pickle=False).shape == (10, 3, 8, 8)  # plain numpy files


def test_blocks_without_rows_and_ragged_blocks_are_fine(tmp_path):
    empty = {name: block[:0] for name, block in next(blocks()).items()}
    packs.write(tmp_path / "p", [empty, *blocks(3), empty], meta)
    assert len(packs.read(tmp_path / "p")) == 3


def test_a_store_into_the_images_never_reaches_the_file(pack):
    before = (pack / "images.npy").read_bytes()
    images = packs.read(pack).images
    images[0] = 99
    assert (images[0] == 99).all()
    assert (pack / "images.npy").read_bytes() == before
    assert packs.read(pack).images[0].max() == 0


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def broken():
        yield from blocks(4)
        raise ValueError("damaged picture")

    with pytest.raises(ValueError, match="damaged picture"):
        packs.write(tmp_path / "cache" / "p", broken(), meta)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_error_on_the_way_leaves_the_previous_pack(pack):
    def broken():
        yield from blocks(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packs.write(pack, broken(), meta)
    assert len(packs.read(pack)) == 10


def truncated(pack):
    (pack / "images.npy").write_bytes((pack / "images.npy").read_bytes()[:-100])


def missing(pack):
    (pack / "attributes.npy").unlink()


def half_a_meta(pack):
    (pack / "meta.json").write_text((pack / "meta.json").read_text()[:50])


def no_meta(pack):
    (pack / "meta.json").unlink()


def other_meta(pack):
    (pack / "meta.json").write_text("[]")


def other_shape(pack):
    stated = json.loads((pack / "meta.json").read_text())
    stated["arrays"]["images"]["shape"][0] = 9
    (pack / "meta.json").write_text(json.dumps(stated))


def pickled(pack):
    array = np.array([{"a": 1}, None], dtype=object)
    np.save(pack / "attributes.npy", array, allow_pickle=True)
    stated = json.loads((pack / "meta.json").read_text())
    stated["arrays"]["attributes"]["bytes"] = (pack / "attributes.npy").stat().st_size
    (pack / "meta.json").write_text(json.dumps(stated))


DAMAGE = {
    truncated: r"images\.npy has \d+ bytes instead of \d+",
    missing: r"attributes\.npy is unreadable",
    half_a_meta: r"meta\.json is unreadable",
    no_meta: r"meta\.json is unreadable",
    other_meta: r"meta\.json is incomplete",
    other_shape: r"images\.npy holds uint8 \(10, 3, 8, 8\), not",
    pickled: r"attributes\.npy is unreadable",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.items(), ids=[damage.__name__ for damage in DAMAGE])
def test_a_damaged_pack_is_made_anew_with_a_warning(pack, damage, message):
    damage(pack)
    with pytest.raises(packs.BadPack, match=message):
        packs.read(pack)
    assert packs.verify(pack)
    made = []

    def make():
        made.append(1)
        packs.write(pack, blocks(), meta)

    with pytest.warns(UserWarning, match="the pack is damaged and is made anew: .*" + message):
        assert len(packs.cached_or_made(pack, "f", make)) == 10
    assert made == [1]
    assert packs.verify(pack) == []


def test_a_pack_is_made_anew_when_its_source_or_the_format_has_changed(pack, monkeypatch):
    made = []

    def make():
        made.append(1)
        packs.write(pack, blocks(), lambda: {**meta(), "fingerprint": "g"})

    packs.cached_or_made(pack, "f", make)
    assert made == []
    packs.cached_or_made(pack, "g", make)
    packs.cached_or_made(pack, "g", make)
    assert made == [1]
    monkeypatch.setattr(packs, "VERSION", packs.VERSION + 1)
    packs.cached_or_made(pack, "g", make)
    assert made == [1, 1]


def test_verify_finds_a_flipped_bit(pack):
    assert packs.verify(pack) == []
    data = bytearray((pack / "images.npy").read_bytes())
    data[-1] ^= 1
    (pack / "images.npy").write_bytes(data)
    assert packs.verify(pack) == [f"{pack / 'images'}.npy has changed since it was written (its SHA-256 differs)"]


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path):
    with pytest.raises(OSError, match=r"a pack of 1000000000000 MB does not fit .*nblib data clean") as error:
        packs.need_room(tmp_path / "cache" / "p", 10**18)
    assert error.value.errno == errno.ENOSPC


def test_room_is_an_upper_estimate(pack):
    assert sum(path.stat().st_size for path in pack.iterdir()) <= packs.room(10, 8)


def test_leftovers_go_but_not_those_of_a_packer_at_work(tmp_path):
    cache = tmp_path / "cache"
    for name in ("mine", "killed", "busy"):
        (cache / f"{TEMPORARY}abcd_123-{name}").mkdir(parents=True)
    with FileLock(cache / ".busy.lock"), packs.locked(cache / "mine"):
        assert [path.name for path in cache.glob(TEMPORARY + "*")] == [f"{TEMPORARY}abcd_123-busy"]
    with packs.locked(cache / "mine"):
        assert not list(cache.glob(TEMPORARY + "*"))


@pytest.mark.usefixtures("data_dir")
def test_list_and_clean():
    cache = paths.cache_dir()
    assert packs.cached() == []
    packs.write(cache / "squares", blocks(), meta)
    (cache / f"{TEMPORARY}abcd_123-killed").mkdir()
    (cache / "empty").mkdir()
    listed = {pack.name: pack for pack in packs.cached()}
    assert sorted(listed) == ["damaged", "squares", "unfinished"]
    assert (listed["squares"].count, listed["squares"].size, listed["squares"].source) == (10, 8, "nowhere")
    assert listed["squares"].bytes > 10 * 3 * 8 * 8
    with FileLock(cache / ".squares.lock"):
        assert packs.clean() == 2
        assert [pack.name for pack in packs.cached()] == ["squares"]
    assert packs.clean() == 1
    assert packs.cached() == []
