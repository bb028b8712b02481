import os
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nblib.datasets.archives import MAX_BYTES, Archive, Damaged, _unsafe, is_picture


def test_only_the_pictures_are_listed_and_they_come_out_as_they_went_in(zip_of):
    path = zip_of(
        {"b.png": b"two", "readme.txt": b"no", "__MACOSX/._b.png": b"no", "deep/er/a.JPG": b"one", "deep/": b""}
    )
    archive = Archive(path)
    assert archive.names == ["b.png", "deep/er/a.JPG"]
    assert [archive.read(name) for name in archive.names] == [b"two", b"one"]
    archive.close()


@pytest.mark.parametrize(
    "name", ["/etc/a.jpg", "../a.jpg", "x/../../a.jpg", "x\\..\\a.jpg", "C:/a.jpg", "../notes.txt"]
)
def test_an_entry_that_leaves_the_folder_refuses_the_archive(zip_of, name):
    with pytest.raises(ValueError, match="points out of the archive's folder"):
        Archive(zip_of({"good.jpg": b"x", name: b"x"}))


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.jpg", "..\\", "C:", "...", "~"]), min_size=1, max_size=5))
def test_whatever_name_is_accepted_stays_below_the_folder(steps):
    entry = zipfile.ZipInfo("/".join(steps) + "/x.jpg")
    if _unsafe(entry) is None:
        assert os.path.normpath(os.path.join("/base", entry.filename)).startswith("/base/")
        assert "\\" not in entry.filename


def test_a_link_refuses_the_archive(zip_of):
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ValueError, match=r"'a\.jpg' is a link"):
        Archive(zip_of({link: b"/etc/passwd"}))


def test_a_declared_bomb_is_refused(zip_of):
    with pytest.raises(ValueError, match=r"'bomb\.png' declares 20971520 bytes packed into \d+: a zip bomb"):
        Archive(zip_of({"bomb.png": bytes(20 * 2**20)}, compression=zipfile.ZIP_DEFLATED))


def test_many_entries_that_share_the_same_bytes_are_refused(zip_of):
    """The overlapping bomb: each entry is modest, their sum is not."""
    path = zip_of({f"{number}.jpg": bytes(900_000) for number in range(40)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="refused as a zip bomb"):
        Archive(path)


def test_a_picture_that_declares_too_much_is_refused(zip_of):
    path = zip_of({"a.jpg": b"x" * 100})
    _forge_size(path, MAX_BYTES + 1)
    with pytest.raises(ValueError, match="declares"):
        Archive(path)


def test_a_bomb_that_lies_about_its_size_never_unfolds(zip_of):
    """10 MB of zeros that call themselves 1,000 bytes: no more than that is ever unpacked, and it is an error."""
    path = zip_of({"liar.png": bytes(10 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    _forge_size(path, 1000)
    archive = Archive(path)
    with pytest.raises(Damaged, match="cannot be unpacked"):
        archive.read("liar.png")
    archive.close()


def _forge_size(path, size):
    """Change the declared size in the central directory and in the local header."""
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.index(mark) + offset, size)
    path.write_bytes(data)


def test_a_flipped_bit_is_damage_of_that_picture_alone(zip_of):
    path = zip_of({"a.jpg": b"A" * 100, "b.jpg": b"B" * 100})
    path.write_bytes(path.read_bytes().replace(b"A" * 100, b"A" * 99 + b"C"))
    archive = Archive(path)
    with pytest.raises(Damaged, match="CRC"):
        archive.read("a.jpg")
    assert archive.read("b.jpg") == b"B" * 100
    archive.close()


def test_an_encrypted_entry_is_refused(zip_of):
    path = zip_of({"a.jpg": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is encrypted"):
        Archive(path)


def test_not_a_zip_an_empty_zip_and_one_without_pictures(tmp_path, zip_of):
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"text\.zip is not a readable zip archive"):
        Archive(tmp_path / "text.zip")
    for entries in ({}, {"readme.txt": b"x"}):
        with pytest.raises(ValueError, match="holds no pictures"):
            Archive(zip_of(entries))


def test_a_truncated_zip_is_named(zip_of):
    path = zip_of({"a.jpg": b"x" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="download it again"):
        Archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.jpg", b"1")
        archive.writestr("a.jpg", b"2")
    with pytest.raises(ValueError, match=r"'a\.jpg' more than once"):
        Archive(tmp_path / "twice.zip")


def test_hidden_files_are_no_pictures():
    assert is_picture("x/y.webp")
    assert not is_picture(".x/y.webp")
