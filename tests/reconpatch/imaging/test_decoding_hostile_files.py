"""Damaged files, and files built to need much memory or time: they raise an ImageError and need neither."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import Picture, read_image, read_mask, read_picture


def noise(height: int, width: int, *channels: int, dtype: type = np.uint8) -> np.ndarray:
    """Return random pixels over the whole range of an integer dtype."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, *channels), dtype, endpoint=True)


def encode(picture: Image.Image | np.ndarray, fmt: str, **options: object) -> bytes:
    """Return the content of a file that Pillow writes."""
    data = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(data, fmt, **options)
    return data.getvalue()


def tiff(*directories: dict[int, int], big: bool = False, last: int = 0, body: bytes = b"") -> bytes:
    """Return a TIFF file that consists of directories (tag → value); the last one links to the offset `last`."""
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    count, entry, link = ("<Q", "<HHQQ", "<Q") if big else ("<H", "<HHII", "<I")
    fixed = struct.calcsize(count) + struct.calcsize(link)
    ends = (len(head) + np.cumsum([fixed + len(tags) * struct.calcsize(entry) for tags in directories])).tolist()
    parts = [head]
    for tags, end in zip(directories, ends, strict=True):
        # The offsets of strips and tiles (tags 273 and 324) point to the body.
        entries = [(tag, 4, 1, ends[-1] if tag in (273, 324) else value) for tag, value in sorted(tags.items())]
        rows = b"".join(struct.pack(entry, *each) for each in entries)
        parts.append(struct.pack(count, len(tags)) + rows + struct.pack(link, last if end == ends[-1] else end))
    return b"".join(parts) + body


def gray_tiff(side: int, body: bytes, **changes: int) -> dict[int, int]:
    """Return the directory of a gray image that is stored in one strip."""
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: side, 279: len(body)}
    return tags | {int(tag[1:]): value for tag, value in changes.items()}


def tiled_tiff(side: int, tile: int, body: bytes, compression: int = 1) -> bytes:
    """Return a TIFF file of a gray image that is stored in one tile."""
    tags = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 277: 1}
    return tiff(tags | {322: tile, 323: tile, 324: 0, 325: len(body)}, body=body)


# ---- random damage

MOVING = encode(noise(9, 7, 3), "WEBP", save_all=True, append_images=[Image.fromarray(255 - noise(9, 7, 3))])
SEEDS = [
    encode(noise(9, 7, 3), "PNG"),
    encode(noise(9, 7, 4), "PNG"),
    encode(noise(9, 7, dtype=np.uint16), "PNG"),
    encode(Image.fromarray(noise(9, 7)).convert("P"), "PNG", transparency=3),
    encode(noise(9, 7, 3), "JPEG", progressive=True),
    encode(noise(9, 7), "JPEG"),
    encode(noise(9, 7, 3), "BMP"),
    encode(noise(9, 7, 3), "TIFF"),
    encode(noise(9, 7, 4), "TIFF", compression="tiff_lzw"),
    encode(noise(9, 7, 3), "TIFF", save_all=True, append_images=[Image.fromarray(noise(3, 3))]),
    encode(noise(9, 7, 3), "WEBP", lossless=True),
    MOVING,
    encode(noise(9, 7), "GIF"),
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return an image file that is truncated, or in which bits are flipped, numbers replaced or bytes inserted."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) - 1) | st.integers(0, min(len(data), 60) - 1))
        match draw(st.sampled_from(["bit", "number", "cut", "copy"])):
            case "bit":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "number":
                data[place : place + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4)]))
            case "cut":
                del data[max(1, place) :]
            case "copy":
                data[place:place] = data[: draw(st.integers(1, 64))]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns about truncated directories
@settings(max_examples=250)
@given(damaged() | st.binary(max_size=64))
def test_any_bytes_are_read_or_raise_an_image_error(data: bytes) -> None:
    for read in (read_picture, read_mask):
        with suppress(ImageError):
            found = read(data)
            if isinstance(found, Picture):
                assert 0.0 <= found.pixels.min() <= found.pixels.max() <= 1.0
                assert found.frames >= 1


# ---- unsupported formats


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("PCX", encode(noise(4, 3), "PCX")),
        ("SGI", encode(noise(4, 3), "SGI")),
        ("ICO", encode(noise(16, 16, 3), "ICO")),
        ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"% \n" * 1000),
        ("HEIF", b"\0\0\0\x18ftypheic"),
        ("PSD", b"8BPS\0\x01"),
        ("PDF", b"%PDF-1.7\n"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_unsupported_format_is_named_and_its_reader_is_not_called(
    kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow decodes an icon of any size when it opens the file, and reads an EPS file line by line."""
    called: list[str] = []
    Image.init()
    for other in Image.OPEN:
        monkeypatch.setitem(Image.OPEN, other, (lambda file, name, other=other: called.append(other), None))
    with pytest.raises(
        ImageError, match=f"^{kind} images are not supported; convert the file to PNG, JPEG, BMP, TIFF or WebP.$"
    ):
        read_picture(data)
    assert called == []


# ---- files that would need much memory


TOO_LARGE = "in tiles of 30000 x 30000 pixels, above the limit of 200 megapixels; save it without tiles"


@pytest.mark.parametrize("read", [read_picture, read_mask])
@pytest.mark.parametrize("compression", [1, 8])
def test_a_tile_much_larger_than_its_image_raises(read: Callable[[bytes], object], compression: int) -> None:
    data = tiled_tiff(10, 30_000, zlib.compress(bytes(1000)), compression)
    with pytest.raises(ImageError, match=TOO_LARGE):
        read(data)


def test_ordinary_tiles_are_read() -> None:
    tile = noise(16, 16)
    found = read_image(tiled_tiff(10, 16, tile.tobytes()))
    np.testing.assert_array_equal(found[:, :, 0], tile[:10, :10].astype(np.float32) / 255)


def test_a_canvas_much_larger_than_its_frames_raises() -> None:
    data = bytearray(MOVING)
    place = data.index(b"VP8X") + 12
    data[place : place + 6] = (65_535).to_bytes(3, "little") + (65_534).to_bytes(3, "little")
    with pytest.raises(ImageError, match="65536 x 65535 pixels, above the limit of 200 megapixels"):
        read_picture(bytes(data))


# ---- files that would need much time


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("pages", "counted"), [(1, 1), (3, 3), (40_000, 40_000), (70_000, 65_536)])
def test_pages_are_counted_without_being_read(pages: int, counted: int, big: bool) -> None:
    first = gray_tiff(2, b"\x00\x40\x80\xff")
    data = tiff(first, *({256: 1} for _ in range(pages - 1)), big=big, body=b"\x00\x40\x80\xff")
    start = time.process_time()
    found = read_picture(data)
    assert time.process_time() - start < 2.0
    assert found.frames == counted
    np.testing.assert_array_equal(np.rint(found.pixels[:, :, 0] * 255), [[0, 64], [128, 255]])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("last", [8, 10_000_000])
def test_links_in_a_circle_or_out_of_the_file_end_the_count(last: int) -> None:
    directory = gray_tiff(1, b"\x80")
    assert read_picture(tiff(directory, directory, last=last, body=b"\x80")).frames == 2


def repeat_last_scan(times: int) -> bytes:
    """Return a progressive JPEG with further copies of its last scan."""
    data = encode(noise(16, 16), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * times + data[-2:]


def test_a_jpeg_with_hundreds_of_scans_raises() -> None:
    before = repeat_last_scan(0).count(b"\xff\xda")
    assert before > 3  # encoders write this many
    np.testing.assert_array_equal(read_image(repeat_last_scan(0)), read_image(repeat_last_scan(0)))
    with pytest.raises(
        ImageError, match=rf"The JPEG has {before + 501} scans, above the limit of 500; save it as a baseline JPEG\."
    ):
        read_picture(repeat_last_scan(501))


# ---- memory per pixel

LARGE = 1600, 1700
ONE = encode(noise(1, 1), "PNG")
PALETTE = Image.fromarray(noise(*LARGE)).convert("P")


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (encode(noise(*LARGE, 3), "BMP"), 12),
        (encode(noise(*LARGE), "BMP"), 4),
        (encode(noise(*LARGE, 4), "TIFF"), 12),
        (encode(PALETTE, "PNG", transparency=3, compress_level=1), 12),
        (encode(noise(*LARGE, dtype=np.uint16), "TIFF"), 4 + 2 * 2),
    ],
    ids=["RGB", "L", "RGBA", "P", "I;16"],
)
def test_reading_needs_little_more_memory_than_the_pixels(data: bytes, most: int) -> None:
    """The memory consists of the result, the stored values and some converted rows; Pillow's copy is not counted."""
    read_image(ONE)
    tracemalloc.start()
    read_picture(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / (LARGE[0] * LARGE[1]) < most + 3.0


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_that_is_converted_in_pieces_is_complete(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = noise(700, 900, 4)
    shown = np.rot90(stored, -1) if orientation == 6 else stored
    found = read_image(encode(stored, "TIFF", exif=exif))
    values, opacity = shown[:, :, :3].astype(np.float32) / 255, shown[:, :, 3:].astype(np.float32) / 255
    np.testing.assert_array_equal(found, values * opacity + (1 - opacity))
    gray = encode(stored[:, :, 0].astype(np.uint16) * 257, "TIFF", exif=exif)
    np.testing.assert_array_equal(read_image(gray)[:, :, 0], values[:, :, 0])
