"""Pictures: what is read, how large they may be, and what is no picture."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import drawn, pixels_of

from pipeline import pictures
from pipeline.errors import BadInput
from pipeline.pictures import MOST_SIDE, NoPicture, of_file, of_url, picture

WIDE = np.zeros((1000, 3000, 3), np.uint8)
WIDE[:, :1500] = [250, 20, 20]
WIDE[500:, 1500:] = [20, 20, 250]


def seen(found: pictures.Picture) -> npt.NDArray[np.int64]:
    kind, _, data = found.url.partition(",")
    codec = {"data:image/jpeg;base64": "mjpeg", "data:image/png;base64": "png"}[kind]
    pixels: npt.NDArray[np.int64] = pixels_of(base64.b64decode(data), codec).astype(int)
    assert pixels.shape == (found.height, found.width, 3)
    return pixels


@pytest.mark.parametrize("codec", ["png", "mjpeg", "bmp"])
def test_a_large_picture_is_scaled_and_looks_the_same(codec: str) -> None:
    pixels = seen(picture(drawn(WIDE, codec)))
    assert pixels.shape == (341, MOST_SIDE, 3)
    for row, column, colour in ((9, 9, [250, 20, 20]), (9, -9, [0, 0, 0]), (-9, -9, [20, 20, 250])):
        assert abs(pixels[row, column] - colour).max() < 12


@pytest.mark.parametrize(("codec", "kind"), [("png", "png"), ("mjpeg", "jpeg")])
def test_a_small_one_stays_as_it_is(codec: str, kind: str) -> None:
    data = drawn(WIDE[::10, ::10], codec)
    found = picture(data)
    assert found == pictures.Picture(
        f"data:image/{kind};base64,{base64.b64encode(data).decode()}", 300, 100
    )
    assert of_url(found.url) == found


def test_what_is_transparent_is_as_on_paper() -> None:
    clear = np.zeros((1200, 1200, 4), np.uint8)
    clear[600:] = [200, 0, 0, 255]
    pixels = seen(picture(drawn(clear)))
    assert pixels[9, 9].min() > 245 and abs(pixels[-9, -9] - [200, 0, 0]).max() < 12


@pytest.mark.parametrize(("orientation", "corner"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_it_is_turned_as_the_camera_was_held(orientation: int, corner: int) -> None:
    """Where the red corner of the sensor is, clockwise from the top left."""
    held = np.zeros((40, 80, 3), np.uint8)
    held[:20, :40] = [250, 0, 0]
    tag = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + tag + bytes(4)
    data = drawn(held, "mjpeg")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    pixels = seen(picture(data))
    assert pixels.shape[:2] == ((40, 80) if orientation in (1, 3) else (80, 40))
    corners = [pixels[4, 4], pixels[4, -4], pixels[-4, -4], pixels[-4, 4]]
    assert [bool(each[0] > 200) for each in corners] == [n == corner for n in range(4)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = b"".join(
    (
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(bytes(1000))),
        chunk(b"IEND", b""),
    )
)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<svg/>", drawn(WIDE)[:200], b"\xff\xd8\xff" + bytes(99), b"BM", BOMB],
)
def test_what_is_no_picture_is_told(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(NoPicture, match=r"^is (no picture|damaged)"):
        picture(data)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadInput, match=r"a\.png: is .*; give a PNG, JPEG, WebP or BMP"):
        of_file(tmp_path / "a.png")


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"])
)
def test_whatever_comes_is_a_picture_or_none(data: bytes, magic: bytes) -> None:
    try:
        found = picture(magic + data)
    except NoPicture:
        return
    assert found.width > 0


@pytest.mark.parametrize("url", ["", "data:image/png;base64", "https://e.org/a.png", "data:,x"])
def test_only_data_is_a_picture(url: str) -> None:
    with pytest.raises(NoPicture, match="is no picture in base64"):
        of_url(url)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such file"):
        of_file(tmp_path / "a.png")
