"""The format of a file is recognized by its content, and suffixes are those of images."""

from __future__ import annotations

import io
import zipfile

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.kinds import IMAGE_SUFFIXES_NOT_READ, SUFFIXES, format_of
from tests.reconpatch.picture_files import encode, frames, noise

COLOR = Image.fromarray(noise(6, 5, 3))


def zipped() -> bytes:
    """Return an archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", "text")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode(COLOR, "PNG"), "PNG"),
        (encode(COLOR, "JPEG"), "JPEG"),
        (frames("MPO"), "JPEG"),
        (imagecodecs.jpegls_encode(noise(6, 5)), "JPEG"),
        (encode(COLOR, "TIFF"), "TIFF"),
        (encode(COLOR, "TIFF", big_tiff=True), "TIFF"),
        (encode(COLOR, "BMP"), "BMP"),
        (encode(COLOR, "DIB"), "DIB"),
        (encode(COLOR, "WEBP"), "WebP"),
        (encode(COLOR, "GIF"), "GIF"),
        (encode(COLOR, "TGA"), "TGA"),
        (encode(COLOR.convert("P"), "TGA"), "TGA"),
        (encode(COLOR, "PPM"), "PNM"),
        (b"P7\nWIDTH 1\n", "PNM"),
        (encode(COLOR, "AVIF"), "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (encode(COLOR, "JPEG2000"), "JPEG 2000"),
        (imagecodecs.jpeg2k_encode(noise(6, 5), codecformat="j2k"), "JPEG 2000"),
        (imagecodecs.jpegxl_encode(noise(6, 5)), "JPEG XL"),
        (imagecodecs.jpegxl_encode(noise(6, 5), usecontainer=True), "JPEG XL"),
    ],
)
def test_formats_that_are_read(data, name):
    assert format_of(data) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode(COLOR, "ICO"), "ICO"),
        (b"\0\0\2\0\1\0" + bytes(40), "ICO"),
        (encode(COLOR, "PCX"), "PCX"),
        (encode(COLOR, "SGI"), "SGI"),
        (encode(COLOR, "PDF"), "PDF"),
        (encode(COLOR, "EPS"), "EPS"),
        (encode(COLOR, "ICNS"), "ICNS"),
        (encode(COLOR, "DDS"), "DDS"),
        (imagecodecs.jpegxr_encode(noise(6, 5)), "JPEG XR"),
        (imagecodecs.qoi_encode(noise(6, 5, 3)), "QOI"),
        (b"v/1\x01\2\0\0\0", "OpenEXR"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"Pf\n1 1\n-1.0\n\0\0\0\0", "PFM"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- a part -->\n<svg/>", "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon raw"),
        (b"II*\0\x10\0\0\0CR\2\0", "Canon raw"),
        (b"IIRO\x08\0\0\0", "Olympus raw"),
        (b"IIU\0\x18\0\0\0", "Panasonic raw"),
        (b"FUJIFILMCCD-RAW 0201", "Fujifilm raw"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "MP4"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_formats_that_are_not_read_are_named(data, name):
    with pytest.raises(ImageError) as refused:
        format_of(data)
    assert str(refused.value) == (f"{name} images are not supported; convert the file to PNG, JPEG, BMP, TIFF or WebP.")


@pytest.mark.parametrize(
    "data",
    [
        b"plain text\n",
        b"BM, a text that starts like a bitmap",
        b"path,label\na.png,0\n",
        b"{}",
        bytes(100),
        zipped(),
        b"\0\0\1\0\0\0" + bytes(30),
        np.random.default_rng(0).bytes(100),
    ],
)
def test_other_files_are_no_images(data):
    with pytest.raises(ImageError, match=r"^The file is not an image of a known format, or its header is truncated; "):
        format_of(data)


def test_suffixes_are_lower_case_and_of_one_set():
    assert {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".tga"} <= SUFFIXES
    assert {".jp2", ".j2k", ".jxl", ".jls", ".avif", ".pnm", ".pgm", ".ppm", ".pbm", ".pam", ".mpo", ".jpe"} <= SUFFIXES
    assert {".svg", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".psd", ".pdf", ".dcm", ".fits"} <= IMAGE_SUFFIXES_NOT_READ
    assert {".heic", ".raw", ".eps", ".ico"} <= IMAGE_SUFFIXES_NOT_READ
    assert set() == SUFFIXES & IMAGE_SUFFIXES_NOT_READ
    for suffix in SUFFIXES | IMAGE_SUFFIXES_NOT_READ:
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
