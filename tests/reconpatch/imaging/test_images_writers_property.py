"""A file of any writer, format, depth and arrangement is read as it was written, or refused by the name of its kind.

`tests.reconpatch.written_tiff` and `written_formats` write the files. They compute the expected image from the array
that was written, or take it from another decoder. Files of lossy formats have a bound.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import read_picture
from tests.reconpatch import written_formats, written_tiff
from tests.reconpatch.written_tiff import COLORS, COMPRESSIONS, LAYOUTS, Tiff, Written, by_hand, by_libtiff, by_tifffile


def problem_of(file: Written) -> str:
    """Return what is wrong with the reading of a file; empty if nothing is."""
    try:
        pixels = read_picture(file.data, file.bit_depth).pixels
    except ImageError as error:
        if file.shown is not None:
            return f"refused: {error}"
        named = re.search(file.refusal, str(error)) and not re.search("damaged|truncated|not an image", str(error))
        return "" if named else f"the refusal does not name the kind: {error}"
    if file.shown is None:
        return "not refused"
    truth = file.shown if file.shown.ndim == 3 else file.shown[:, :, None]
    if pixels.shape != (*truth.shape[:2], 3) or pixels.dtype != np.float32:
        return f"{pixels.dtype} of shape {pixels.shape} instead of {truth.shape}"
    difference = float(np.abs(pixels - truth).max())
    return "" if difference <= file.tolerance else f"differs by {difference}, allowed are {file.tolerance}"


def problems_of(files: Iterable[Written]) -> dict[str, str]:
    """Return name -> what is wrong of all files that are read wrongly; every file must have a name of its own."""
    found: dict[str, str] = {}
    for file in files:
        assert file.name not in found
        found[file.name] = problem_of(file)
    assert found
    return {name: problem for name, problem in found.items() if problem}


def tiff_of_tifffile(every: bool = False) -> Iterable[Written]:
    return map(by_tifffile, written_tiff.native_cases(every))


def tiff_of_libtiff() -> Iterable[Written]:
    """Yield files of imagecodecs, which writes no predictor with some compressions, and 16 bits in one byte order."""
    for case in written_tiff.native_cases(every=False):
        predicted = case.predictor and case.compression in ("packbits", "lzma")
        if not predicted and " " not in case.extra and (case.bits, case.order) != (16, ">"):
            yield by_libtiff(case)


def tiff_by_hand(every: bool) -> Iterable[Written]:
    """Yield files of 8 and 16 bits without a predictor, which the plain writer does not have."""
    return (by_hand(case) for case in written_tiff.native_cases(every) if not case.predictor)


def packed_tiff(every: bool = False) -> Iterable[Written]:
    return map(by_hand, written_tiff.packed_cases(every))


def packed_tiff_of_tifffile() -> Iterable[Written]:
    """Yield files of 1 to 15 bits, of which tifffile compresses none and writes wrong values in big-endian order."""
    for case in written_tiff.packed_cases(every=True):
        if case.compression is None and case.photometric != "palette" and (case.bits < 8 or case.order == "<"):
            yield by_tifffile(case)


def large_tiff() -> Iterable[Written]:
    """Yield files of more pixels than the reader converts at a time."""
    for bits, extra, layout in itertools.product((8, 16), ("", "unassoc", "assoc", "unassoc0"), LAYOUTS):
        yield by_tifffile(Tiff("rgb", bits, compression="zstd", extra=extra, layout=layout, height=700, width=600))


def reversed_bits() -> Iterable[Written]:
    """Yield files of fill order 2, in which the first bit of a byte is its lowest one."""
    for case in written_tiff.packed_cases(every=False):
        if case.compression in (None, "lzw", "packbits") and case.bits in (1, 4, 12) and not case.extra:
            yield by_hand(case, fill_order=2)


FILES: dict[str, Callable[[], Iterable[Written]]] = {
    "TIFF of tifffile": tiff_of_tifffile,
    "TIFF of libtiff": tiff_of_libtiff,
    "packed TIFF by hand": packed_tiff,
    "packed TIFF of tifffile": packed_tiff_of_tifffile,
    "TIFF of reversed bits": reversed_bits,
    "TIFF of many pixels": large_tiff,
    "TIFF of Pillow": written_tiff.by_pillow,
    "TIFF of other formats' images": written_tiff.of_images,
    "TIFF that is refused": written_tiff.refused,
    "PNG": written_formats.png,
    "JPEG": written_formats.jpeg,
    "JPEG 2000": written_formats.jpeg2000,
    "JPEG XL": written_formats.jpegxl,
    "WebP": written_formats.webp,
    "AVIF": written_formats.avif,
    "BMP": written_formats.bmp,
    "TGA and GIF": written_formats.tga_and_gif,
    "Netpbm": written_formats.netpbm,
    "values of fewer bits than their container": written_formats.deep_containers,
    "formats that are not read": written_formats.foreign,
}


@pytest.mark.parametrize("files", FILES)
def test_a_file_is_read_as_written_or_refused_by_name(files: str) -> None:
    assert problems_of(FILES[files]()) == {}


@pytest.mark.slow
@pytest.mark.parametrize("files", [tiff_of_tifffile, tiff_by_hand, packed_tiff])
def test_every_combination_of_the_properties_of_tiff(files: Callable[[bool], Iterable[Written]]) -> None:
    assert problems_of(files(True)) == {}


TIFFS = st.builds(
    Tiff,
    photometric=st.sampled_from(list(COLORS)),
    bits=st.integers(1, 16),
    planar=st.booleans(),
    order=st.sampled_from("<>"),
    compression=st.sampled_from(list(COMPRESSIONS)),
    predictor=st.booleans(),
    extra=st.sampled_from(["", "assoc", "unassoc", "unspecified", "unspecified assoc", "unassoc unspecified"]),
    orientation=st.integers(1, 8),
    layout=st.sampled_from(list(LAYOUTS)),
    big=st.booleans(),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)


def check_any_tiff(case: Tiff) -> None:
    """Check the files of both writers, as far as they can write a combination."""
    assume(case.photometric != "palette" or (not case.extra and case.bits <= 12))
    assume(not case.planar or case.photometric in ("rgb", "separated") or bool(case.extra))
    assume(
        not case.predictor or (case.compression is not None and case.bits in (8, 16) and case.photometric != "palette")
    )
    files = [] if case.predictor else [by_hand(case)]
    if case.bits in (8, 16):
        files.append(by_tifffile(case))
    assert problems_of(files) == {}


@settings(derandomize=True, max_examples=500)
@given(TIFFS)
def test_a_tiff_file_of_any_size_is_read_as_written(case: Tiff) -> None:
    check_any_tiff(case)


@pytest.mark.slow
@settings(derandomize=True, max_examples=5_000)
@given(TIFFS)
def test_many_tiff_files_of_any_size_are_read_as_written(case: Tiff) -> None:
    check_any_tiff(case)


def test_a_wrong_reading_is_found() -> None:
    """The check itself: other pixels, another size, an image that is not refused, and a refusal of another kind."""
    case = Tiff()
    file = by_tifffile(case)
    assert file.shown is not None
    assert problem_of(file) == ""
    others = [
        Written("pixel", file.data, file.shown + 1e-6),
        Written("turned", file.data, file.shown.swapaxes(0, 1)),
        Written("read", file.data, refusal="signed"),
        Written("refused", b"\x93NUMPY", file.shown),
        Written("named", b"\x93NUMPY", refusal="signed"),
        Written("damaged", file.data[:-300], refusal="TIFF"),
    ]
    assert list(problems_of(others)) == ["pixel", "turned", "read", "refused", "named", "damaged"]
