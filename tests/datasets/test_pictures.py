import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nblib.datasets.archives import Damaged
from nblib.datasets.pictures import FolderPictures, ParquetPictures, file_states


def shard(path, images, **columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=3)
    return path


def image(number, path="{}.jpg"):
    return {"bytes": b"%d" % number, "path": path.format(number) if path else None}


def test_parquet_rows_come_in_any_order(tmp_path):
    shards = [shard(tmp_path / f"{s}.parquet", [image(10 * s + r) for r in range(10)]) for s in range(3)]
    pictures = ParquetPictures(shards)
    assert pictures.names[:2] == ["0.jpg", "1.jpg"]
    for order in (range(30), range(29, -1, -1), (5, 25, 5, 6, 0, 29)):
        assert [pictures.read(row) for row in order] == [b"%d" % row for row in order]
    pictures.close()


def test_missing_and_repeated_names_are_made_from_the_shard(tmp_path):
    path = shard(tmp_path / "train.parquet", [image(1), image(1), image(2, None), image(3)])
    pictures = ParquetPictures([path])
    assert pictures.names == ["train#0", "train#1", "train#2", "3.jpg"]
    pictures.close()


def test_an_empty_picture_is_damage_of_that_row_alone(tmp_path):
    pictures = ParquetPictures([shard(tmp_path / "a.parquet", [image(1), {"bytes": None, "path": "b.jpg"}, image(2)])])
    with pytest.raises(Damaged, match="has 0 bytes"):
        pictures.read(1)
    assert pictures.read(2) == b"2"
    pictures.close()


def test_what_is_no_picture_file_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match=r"text\.parquet is not a readable parquet file"):
        ParquetPictures([tmp_path / "text.parquet"])
    pq.write_table(pa.table({"label": [1]}), tmp_path / "plain.parquet")
    with pytest.raises(ValueError, match=r"expected a column `image` .* found \['label'\]"):
        ParquetPictures([tmp_path / "plain.parquet"])


def test_shards_must_agree(tmp_path):
    shards = [shard(tmp_path / "a.parquet", [image(1)], Smiling=[True]), shard(tmp_path / "b.parquet", [image(2)])]
    pictures = ParquetPictures(shards)
    with pytest.raises(ValueError, match=r"b\.parquet has no column 'Smiling', which a\.parquet has"):
        pictures.columns()
    pictures.close()


def test_a_row_without_its_attribute_is_named(tmp_path):
    pictures = ParquetPictures([shard(tmp_path / "a.parquet", [image(1), image(2)], Smiling=[True, None])])
    with pytest.raises(ValueError, match="1 rows have no Smiling"):
        pictures.columns()
    pictures.close()


def test_folders_are_searched_and_hidden_files_left_out(folder_of):
    root = folder_of({"b/2.jpg": b"2", "a.PNG": b"1", ".hidden/x.jpg": b"", "notes.txt": b""})
    pictures = FolderPictures(root)
    assert pictures.names == ["a.PNG", "b/2.jpg"]
    assert pictures.read(1) == b"2"
    (root / "a.PNG").unlink()
    with pytest.raises(Damaged, match="cannot be read"):
        pictures.read(0)


def test_any_change_of_a_picture_is_seen(folder_of):
    root = folder_of({"a.jpg": b"1", "b.jpg": b"2", "notes.txt": b"x"})
    before = file_states([root])
    assert file_states([root]) == before
    (root / "notes.txt").write_text("not looked at")
    assert file_states([root]) == before
    (root / "a.jpg").write_bytes(b"3")
    os.utime(root / "a.jpg", ns=(1, 1))
    assert file_states([root]) != before
