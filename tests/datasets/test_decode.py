import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from nblib.datasets import decode
from nblib.datasets.archives import Damaged
from nblib.datasets.decode import decode_all, open_image
from nblib.datasets.frames import CentreSquare


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image, place=(2, 2)):
    assert image.mode == "RGB"
    return image.getpixel(place)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_four_formats_open(kind):
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    assert (
        np.abs(
            np.subtract(
                pixel(open_image(saved(Image.new("RGB", (8, 8), (10, 200, 30)), kind, **options))), (10, 200, 30)
            )
        ).max()
        <= 2
    )


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_other_formats_do_not(kind):
    with pytest.raises(Damaged, match="is not a JPEG, PNG, WebP or BMP picture"):
        open_image(saved(Image.new("RGB", (8, 8)), kind))


def test_modes_become_rgb():
    assert pixel(open_image(saved(Image.new("L", (8, 8), 77), "PNG"))) == (77, 77, 77)
    assert pixel(open_image(saved(Image.fromarray(np.full((8, 8), 77 * 257, np.uint16)), "PNG"))) == (77, 77, 77)
    assert pixel(open_image(saved(Image.new("RGB", (8, 8), (9, 8, 7)).quantize(), "PNG"))) == (9, 8, 7)
    assert pixel(open_image(saved(Image.new("1", (8, 8), 1), "PNG"))) == (255, 255, 255)
    cmyk = pixel(open_image(saved(Image.new("RGB", (8, 8), (200, 40, 40)).convert("CMYK"), "JPEG", quality=100)))
    assert np.abs(np.subtract(cmyk, (200, 40, 40))).max() <= 3


def test_transparency_shows_white():
    assert pixel(open_image(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))) == (255, 255, 255)
    assert pixel(open_image(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"))) == (255, 127, 127)


def test_the_cameras_orientation_is_honoured():
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes up
    turned = open_image(saved(image, "JPEG", exif=exif, quality=95))
    assert turned.size == (10, 20)
    assert turned.getpixel((5, 3))[0] > 200 > 50 > turned.getpixel((5, 16))[0]


def test_a_truncated_jpeg_is_damage(maker):
    data = maker.pictures()["000001.jpg"]
    with pytest.raises(Damaged, match="cannot be decoded"):
        open_image(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello, I am a text file\n", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM"])
def test_rubbish_is_damage(data):
    with pytest.raises(Damaged):
        open_image(data)


def test_a_picture_bomb_is_refused_before_a_pixel_is_decoded():
    """A PNG of a few bytes that declares 30,000 x 30,000 pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(Damaged):
        open_image(data)


def test_the_limit_is_ours_and_leaves_pillows_alone(monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(decode, "MAX_PIXELS", 99)
    with pytest.raises(Damaged, match="has 10x10 pixels; at most 99 are opened"):
        open_image(saved(Image.new("RGB", (10, 10)), "PNG"))
    assert before == Image.MAX_IMAGE_PIXELS


def test_large_jpegs_are_decoded_small_but_not_too_small():
    data = saved(Image.new("RGB", (1000, 800), (50, 100, 150)), "JPEG")
    assert open_image(data, at_least=(128, 128)).size == (250, 200)
    assert open_image(data).size == (1000, 800)


def test_many_are_decoded_in_order_and_damage_is_told_apart():
    pictures = [saved(Image.new("RGB", (8, 8), (row % 256,) * 3), "PNG") for row in range(300)]
    pictures[70], pictures[299] = b"text", pictures[299][:40]
    rows = list(range(299, -1, -1))
    done = list(decode_all(pictures.__getitem__, rows, CentreSquare(8), workers=3))
    good = np.concatenate([part.rows for part in done])
    assert good.tolist() == [row for row in rows if row not in (70, 299)]
    assert (np.concatenate([part.images for part in done])[:, 0, 0, 0] == good % 256).all()
    assert sorted(row for part in done for row in part.damaged) == [70, 299]


def test_large_pictures_are_held_in_small_numbers(monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 10)
    data = saved(Image.new("RGB", (8, 8)), "PNG")
    assert [len(part.rows) for part in decode_all(lambda row: data, range(5), CentreSquare(8), workers=1)] == [1] * 5


def test_reading_stays_in_one_thread_and_close_behind_decoding():
    """So an archive needs no lock and memory stays bounded, however many pictures there are."""
    data, read, threads = saved(Image.new("RGB", (8, 8)), "PNG"), [], set()

    def reader(row):
        read.append(row)
        threads.add(threading.current_thread())
        return data

    run = decode_all(reader, range(10_000), CentreSquare(8), workers=2)
    next(run)
    run.close()
    assert threads == {threading.current_thread()}
    assert len(read) <= 6 * decode.CHUNK
