"""TIFF files of every arrangement: the right pixels, or a refusal that names the kind of image."""

from __future__ import annotations

import io
import itertools
import logging
import struct
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import stored_values
from reconpatch.imaging.formats.tiff import frame_count, read_tiff
from reconpatch.imaging.images import Picture, read_picture
from tests.reconpatch.picture_files import STORED, tiff_of

HEIGHT, WIDTH = 37, 45
RNG = np.random.default_rng(5)
GRAY = {bits: RNG.integers(0, 2**bits, (HEIGHT, WIDTH), dtype=np.uint16) for bits in range(1, 17)}
COLOR = {bits: RNG.integers(0, 2**bits, (HEIGHT, WIDTH, 3), dtype=np.uint16) for bits in range(1, 17)}


def written(values: np.ndarray, **options: object) -> bytes:
    """Return a file that tifffile writes."""
    data = io.BytesIO()
    tifffile.imwrite(data, values, **options)
    return data.getvalue()


def assert_shows(data: bytes, expected: np.ndarray, bits: int) -> Picture:
    """Check the pixels of a file against values in [0, 1], (H, W) or (H, W, 3), and return the image."""
    found = read_picture(data)
    expected = np.broadcast_to(expected[:, :, None] if expected.ndim == 2 else expected, found.pixels.shape)
    np.testing.assert_allclose(found.pixels, expected, atol=2e-7)
    assert found.bits == bits
    return found


# ---- values


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [8, 16])
def test_gray_of_both_byte_orders_and_sizes_of_offsets(order, big, photometric, bits):
    values = GRAY[bits].astype(np.uint8 if bits == 8 else np.uint16)
    data = written(values, byteorder=order, bigtiff=big, photometric=photometric)
    shown = values / (2**bits - 1)
    assert_shows(data, 1 - shown if photometric == "miniswhite" else shown, bits)


def packed(values: np.ndarray, bits: int) -> bytes:
    """Return values whose bits follow one another from the highest to the lowest, each row filled up to a byte."""
    rows = values.reshape(len(values), -1)
    digits = ((rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    return b"".join(np.packbits(row).tobytes() for row in digits)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 9, 10, 12, 14, 15])
@pytest.mark.parametrize("inverted", [False, True])
def test_packed_gray_spans_black_to_white(order, bits, inverted):
    values = GRAY[bits]
    data = tiff_of(packed(values, bits), WIDTH, HEIGHT, order=order, tags={258: bits, 262: 0 if inverted else 1})
    shown = values / (2**bits - 1)
    found = assert_shows(data, 1 - shown if inverted else shown, bits)
    assert found.mode == ("1" if bits == 1 else "L" if bits < 9 else f"L, {bits} bits")


@pytest.mark.parametrize("bits", [4, 10, 12, 14])
def test_packed_color(bits):
    tags = {258: (bits,) * 3, 262: 2, 277: 3}
    data = tiff_of(packed(COLOR[bits], bits), WIDTH, HEIGHT, tags=tags)
    assert_shows(data, COLOR[bits] / (2**bits - 1), bits)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "lzma", "packbits"])
@pytest.mark.parametrize("arrangement", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}])
def test_compressions_and_arrangements_of_color(bits, compression, arrangement):
    values = COLOR[bits].astype(np.uint8 if bits == 8 else np.uint16)
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    predictors = (None,) if compression in (None, "packbits") else (None, True)
    for order, predictor, separate in itertools.product("<>", predictors, (False, True)):
        data = written(
            planes if separate else values,
            photometric="rgb",
            planarconfig="separate" if separate else "contig",
            compression=compression,
            predictor=predictor,
            byteorder=order,
            **arrangement,
        )
        assert assert_shows(data, values / (2**bits - 1), bits).channels == 3


@pytest.mark.parametrize(
    "compression", ["tiff_ccitt", "group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"]
)
def test_black_and_white_of_fax_compressions(compression):
    white = np.add.outer(np.arange(HEIGHT) // 5, np.arange(WIDTH) // 7) % 2 == 0
    data = io.BytesIO()
    Image.fromarray(white).save(data, "TIFF", compression=compression)
    assert_shows(data.getvalue(), white.astype(float), 1)


@pytest.mark.parametrize("compression", ["webp", "jpegxl", "jpeg2000"])
def test_lossless_image_compressions(compression):
    values = COLOR[8].astype(np.uint8)
    level = {"webp": {"lossless": True}, "jpegxl": {"lossless": True}, "jpeg2000": {"level": 0}}[compression]
    for arrangement in ({}, {"tile": (16, 16)}):
        data = written(values, photometric="rgb", compression=compression, compressionargs=level, **arrangement)
        assert_shows(data, values / 255, 8)


def smooth(channels: int) -> np.ndarray:
    """Return an image that JPEG hardly changes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [100 + 2 * y, 220 - 3 * x, 60 + y + x, 30 + x][:channels]
    return np.stack(planes, axis=2).astype(np.uint8)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("arrangement", [{"rowsperstrip": 16}, {"tile": (32, 32)}, {}])
def test_jpeg_in_tiff_with_shared_colors(subsampling, arrangement):
    values = smooth(3)
    data = written(
        values,
        photometric="rgb",
        compression="jpeg",
        subsampling=subsampling,
        **arrangement,
        compressionargs={"level": 98},
    )
    found = read_picture(data)
    # tifffile fills up the last tiles with black, which shines through at their inner border.
    np.testing.assert_allclose(found.pixels[:35, :43], values[:35, :43] / 255, atol=0.04)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_allclose(found.pixels, np.asarray(picture.convert("RGB")) / 255, atol=0.02)
    assert stored_values(data).lossy


def test_jpeg_in_tiff_that_pillow_writes():
    for values in (smooth(3), smooth(4), smooth(1)[:, :, 0]):
        picture = (
            Image.fromarray(values) if values.ndim == 2 or values.shape[2] == 3 else Image.fromarray(values, "CMYK")
        )
        data = io.BytesIO()
        picture.save(data, "TIFF", compression="jpeg", quality=95)
        with Image.open(io.BytesIO(data.getvalue())) as stored:
            expected = np.asarray(stored.convert("RGB")) / 255
        np.testing.assert_allclose(read_picture(data.getvalue()).pixels, expected, atol=0.02)


def test_jpeg_in_tiff_without_its_end_is_damaged():
    data = bytearray(written(smooth(3), photometric="rgb", compression="jpeg"))
    place = data.rindex(b"\xff\xd9")
    data[place : place + 2] = bytes(2)
    with pytest.raises(ImageError, match="the JPEG data are truncated"):
        read_picture(bytes(data))


def test_12_bit_jpeg_in_tiff():
    values = smooth(1)[:, :, 0].astype(np.uint16) * 16
    data = written(
        values, photometric="minisblack", compression="jpeg", bitspersample=12, compressionargs={"level": 99}
    )
    found = read_picture(data)
    assert found.bits == 12
    np.testing.assert_allclose(found.pixels[:, :, 0], values / 4095, atol=0.01)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("compression", [1, 5, 32773])
def test_ycbcr_without_jpeg(factors, compression):
    """Built by hand: blocks of luminances, then Cb and Cr."""
    across, down = factors
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = (16 + 3 * y + x).astype(np.uint8)
    blocks = -(-HEIGHT // down), -(-WIDTH // across)
    blue, red = (
        (base + 5 * np.add.outer(np.arange(blocks[0]), step * np.arange(blocks[1]))).astype(np.uint8)
        for base, step in ((60, 1), (120, 2))
    )
    filled = np.pad(light, ((0, blocks[0] * down - HEIGHT), (0, blocks[1] * across - WIDTH)), "edge")
    units = filled.reshape(blocks[0], down, blocks[1], across).transpose(0, 2, 1, 3).reshape(*blocks, -1)
    body = np.dstack([units, blue, red]).tobytes()
    if compression != 1:
        import imagecodecs

        body = (imagecodecs.lzw_encode if compression == 5 else imagecodecs.packbits_encode)(body)
    tags = {258: (8, 8, 8), 259: compression, 262: 6, 277: 3, 530: factors}
    cb, cr = (part.repeat(down, 0).repeat(across, 1)[:HEIGHT, :WIDTH].astype(float) - 128 for part in (blue, red))
    r, b = light + 1.402 * cr, light + 1.772 * cb
    g = (light - 0.299 * r - 0.114 * b) / 0.587
    # The specification scales the 127 levels on each side of gray to the 127 of the file.
    expected = np.clip(np.stack([r, g, b], axis=2), 0, 255) / 255
    found = read_picture(tiff_of(body, WIDTH, HEIGHT, tags=tags)).pixels
    np.testing.assert_allclose(found, expected, atol=1.01 / 255)


# ---- palettes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [257, 256, 1])
def test_palettes_in_16_and_in_8_bits(bits, scale):
    palette = RNG.integers(0, 256, (3, 2**bits)).astype(np.uint16)
    palette[:, 0] = 255
    tags = {258: bits, 262: 3, 320: tuple((palette * scale).ravel().tolist())}
    data = tiff_of(packed(GRAY[bits], bits), WIDTH, HEIGHT, tags=tags)
    found = assert_shows(data, palette.T[GRAY[bits]] / 255, bits)
    assert found.mode == "P"
    stored = stored_values(data)
    np.testing.assert_array_equal(stored.values[:, :, 0], GRAY[bits])
    assert (stored.kind, stored.palette.shape) == ("palette", (2**bits, 3))


def test_a_palette_of_the_wrong_length_is_damaged():
    data = tiff_of(GRAY[8].astype(np.uint8).tobytes(), WIDTH, HEIGHT, tags={262: 3, 320: (0,) * 30})
    with pytest.raises(ImageError, match=r"10 of 256 colors of the palette"):
        read_picture(data)


# ---- extra channels


def test_the_tag_decides_what_an_extra_channel_is():
    color, extra = COLOR[16], GRAY[16]
    stored = np.dstack([color, extra])
    shown, opacity = color / 65535, extra[:, :, None] / 65535
    plain = written(stored, photometric="rgb", extrasamples=["unspecified"])
    assert assert_shows(plain, shown, 16).channels == 4
    assert_shows(written(stored, photometric="rgb", extrasamples=["unassalpha"]), shown * opacity + 1 - opacity, 16)
    darker = np.minimum(color, extra[:, :, None])
    premultiplied = written(np.dstack([darker, extra]), photometric="rgb", extrasamples=["assocalpha"])
    assert assert_shows(premultiplied, darker / 65535 + 1 - opacity, 16).mode == "RGBA, 16 bits"


def test_opacity_after_another_channel():
    color, extra = COLOR[8].astype(np.uint8), GRAY[8].astype(np.uint8)
    opacity = np.where(extra > 127, 255, 0).astype(np.uint8)
    data = written(
        np.dstack([color, extra, opacity]),
        photometric="rgb",
        extrasamples=["unspecified", "unassalpha"],
        compression="lzw",
    )
    assert_shows(data, np.where(opacity[:, :, None] > 0, color / 255, 1.0), 8)


@pytest.mark.parametrize("meaning", ["assocalpha", "unassalpha"])
def test_an_opacity_of_0_everywhere_is_ignored_and_reported(meaning):
    for color in (COLOR[8].astype(np.uint8), GRAY[16]):
        stored = np.dstack([color, np.zeros((HEIGHT, WIDTH), color.dtype)])
        photometric = "rgb" if color.ndim == 3 else "minisblack"
        data = written(stored, photometric=photometric, extrasamples=[meaning])
        bits = 8 * color.itemsize
        assert assert_shows(data, color / (2**bits - 1), bits).alpha_ignored


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", "<>")
def test_cmyk_is_multiplied_out(bits, order):
    ink = RNG.integers(0, 2**bits, (HEIGHT, WIDTH, 4)).astype(np.uint8 if bits == 8 else np.uint16)
    data = written(ink, photometric="separated", byteorder=order)
    share = ink / (2**bits - 1)
    found = read_picture(data)
    np.testing.assert_allclose(found.pixels, (1 - share[:, :, :3]) * (1 - share[:, :, 3:]), atol=0.51 / (2**bits - 1))
    assert found.mode == ("CMYK" if bits == 8 else "CMYK, 16 bits")


# ---- orientation, several images


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_orientation_is_applied_to_pixels_and_stored_values(orientation, compression):
    stored = np.ascontiguousarray(STORED[orientation](COLOR[16]))
    data = written(stored, photometric="rgb", compression=compression, extratags=[(274, 3, 1, orientation, True)])
    assert_shows(data, COLOR[16] / 65535, 16)
    np.testing.assert_array_equal(stored_values(data).values, COLOR[16])


def test_the_first_page_is_read_and_series_are_not_looked_for():
    first, second = GRAY[8].astype(np.uint8), 255 - GRAY[8].astype(np.uint8)
    for options in ({"imagej": True}, {"ome": True}, {"photometric": "minisblack"}):
        data = written(np.stack([first, second]), **options)
        assert assert_shows(data, first / 255, 8).frames == 2
        assert frame_count(data) == 2


def test_an_ome_file_that_names_other_files_shows_its_own_first_page():
    values = GRAY[16]
    description = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="45" SizeY="37" '
        'SizeZ="1" SizeC="2" SizeT="1"><TiffData IFD="0" FirstC="0"><UUID FileName="other.tif">b</UUID></TiffData>'
        '<TiffData IFD="0" FirstC="1"/></Pixels></Image></OME>'
    )
    assert_shows(written(values, description=description, metadata=None), values / 65535, 16)


# ---- refusals


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.full((4, 5), -3, np.int8), {}, "signed values; add an offset and save it as unsigned 8- or 16-bit values."),
        (np.full((4, 5), -3, np.int16), {}, "signed values"),
        (np.ones((4, 5), np.int32), {}, "32 bits per channel; save it with 16 or 8."),
        (np.ones((4, 5), np.uint32), {}, "32 bits per channel"),
        (np.ones((4, 5), np.float16), {}, "floating-point values; scale them"),
        (np.ones((4, 5), np.float32), {"compression": "zlib", "predictor": 3}, "floating-point values"),
        (np.ones((4, 5), np.float64), {}, "floating-point values"),
        (np.ones((4, 5), np.complex64), {}, "samples of the format"),
        (np.ones((4, 5, 3), np.uint8), {"photometric": "cielab"}, "the unsupported mode LAB; convert it to RGB."),
        (np.ones((4, 5), np.uint16), {"photometric": "cfa"}, "a Bayer mosaic"),
        (np.ones((4, 5, 3), np.uint16), {"photometric": "linear_raw"}, "raw data of a camera"),
        (
            np.ones((3, 32, 48), np.uint8),
            {"photometric": "minisblack", "volumetric": True, "tile": (1, 16, 16)},
            "3 layers",
        ),
    ],
)
def test_other_kinds_of_images_are_refused_by_name(values, options, message):
    data = written(values, **options)
    with pytest.raises(ImageError) as refused:
        read_picture(data)
    assert message in str(refused.value)
    assert "damaged" not in str(refused.value)
    assert ";" in str(refused.value)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({50706: 0x00000401}, "raw data of a camera (DNG)"),
        ({262: 4}, "a transparency mask"),
        ({262: 32844}, "LogL"),
        ({262: 999}, "the photometric interpretation 999"),
        ({259: 32809}, "the TIFF compression 32809"),
        ({258: (5, 6, 5), 262: 2, 277: 3}, "different numbers of bits (5, 6, 5)"),
        ({262: 5, 277: 4, 258: (8,) * 4, 332: 2}, "inks other than CMYK"),
        ({254: 1, 330: 8}, "a thumbnail"),
        ({262: 0, 277: 2, 258: (8, 8), 338: 1}, "premultiplied opacity in gray whose 0 is white"),
        ({262: 5, 277: 5, 258: (8,) * 5, 338: 1}, "premultiplied opacity in CMYK"),
    ],
)
def test_tags_of_other_kinds_are_refused_by_name(tags, message):
    data = tiff_of(bytes(5 * WIDTH * HEIGHT), WIDTH, HEIGHT, tags=tags)
    with pytest.raises(ImageError) as refused:
        read_picture(data)
    assert message in str(refused.value)
    assert "damaged" not in str(refused.value)


# ---- masks


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_stored_values_of_masks_can_be_of_any_number(dtype):
    values = np.arange(20).reshape(4, 5).astype(dtype)
    for order in "<>":
        np.testing.assert_array_equal(stored_values(written(values, byteorder=order)).values[:, :, 0], values)


def test_stored_values_of_white_is_0_are_inverted():
    data = written(GRAY[16], photometric="miniswhite", byteorder=">")
    np.testing.assert_array_equal(stored_values(data).values[:, :, 0], 65535 - GRAY[16])
    samples = read_tiff(data)
    assert samples.inverted
    np.testing.assert_array_equal(samples.rows(slice(3, 5))[0][:, :, 0], GRAY[16][3:5])


# ---- silence


def test_damaged_files_log_and_warn_nothing(caplog):
    data = written(COLOR[8].astype(np.uint8), photometric="rgb", compression="deflate")
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        for place in range(8, len(data), 97):
            broken = bytearray(data)
            broken[place] ^= 0xFF
            try:
                read_picture(bytes(broken))
            except ImageError:
                continue
    assert [record for record in caplog.records if record.name.startswith("tifffile")] == []


def test_messages_of_tifffile_outside_of_this_package_are_kept(caplog):
    read_picture(written(GRAY[8].astype(np.uint8)))
    with caplog.at_level(logging.WARNING):
        logging.getLogger("tifffile").warning("of somebody else")
    assert "of somebody else" in caplog.text


def test_a_header_that_is_cut_is_named():
    data = written(GRAY[8].astype(np.uint8))
    with pytest.raises(ImageError, match=r"^The TIFF file is damaged, or its header is truncated .*; copy or export"):
        read_picture(data[:30])
    assert struct.unpack("<H", data[2:4]) == (42,)
