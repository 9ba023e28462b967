"""TIFF files of tifffile, Pillow, libtiff and a plain writer, each with the image that it must be read as.

The images are computed in float64 from the arrays that were written, by the formulas of the format. They share no code
with the readers.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

EXACT = 5e-7  # rounding of float32


@dataclass(frozen=True, eq=False)
class Written:
    """A file and what reading it must give.

    Attributes:
        name: What distinguishes the file from others.
        data: Content of the file.
        shown: The image, (H, W) or (H, W, 3) in [0, 1]; None if it must be refused.
        refusal: Regular expression that the message of the refusal must contain, which names the kind of the image.
        tolerance: Largest difference of a pixel.
        bit_depth: Significant bits per channel that the reader is told.
    """

    name: str
    data: bytes
    shown: np.ndarray | None = None
    refusal: str = ""
    tolerance: float = EXACT
    bit_depth: int = 16


@dataclass(frozen=True)
class Tiff:
    """The properties of a TIFF file.

    Attributes:
        photometric: Meaning of the samples: minisblack, miniswhite, rgb, palette or separated (CMYK).
        bits: Bits per sample, 1 to 16.
        planar: Whether each channel is stored for itself.
        order: Byte order, "<" or ">".
        compression: None or tifffile's name of a compression of bytes.
        predictor: Whether the differences of neighboring samples are stored.
        extra: Channels after the color: "", or words of assoc, unassoc, unspecified; "0" after a word for an opacity
            of 0 everywhere.
        orientation: TIFF orientation, 1 to 8.
        layout: One strip, strips or tiles.
        big: Whether the file is a BigTIFF file.
        height: Rows as stored.
        width: Columns as stored.
    """

    photometric: str = "minisblack"
    bits: int = 8
    planar: bool = False
    order: str = "<"
    compression: str | None = None
    predictor: bool = False
    extra: str = ""
    orientation: int = 1
    layout: str = "strip"
    big: bool = False
    height: int = 19
    width: int = 37

    @property
    def name(self) -> str:
        """The properties in one line."""
        flags = [name for name in ("planar", "predictor", "big") if getattr(self, name)]
        words = (self.photometric, self.bits, self.order, self.compression, self.extra, self.orientation, self.layout)
        return " ".join(map(str, (*words, *flags, f"{self.height}x{self.width}")))


COLORS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "palette": 1, "separated": 4}
CODES = {"miniswhite": 0, "minisblack": 1, "rgb": 2, "palette": 3, "separated": 5}
EXTRAS = {"unspecified": 0, "assoc": 1, "unassoc": 2}
COMPRESSIONS = {None: 1, "lzw": 5, "deflate": 8, "packbits": 32773, "lzma": 34925, "zstd": 50000}
LAYOUTS = {"strip": {}, "strips": {"rowsperstrip": 5}, "tiles": {"tile": (16, 16)}}


def random_values(height: int, width: int, channels: int, bits: int, *, seed: int = 0) -> np.ndarray:
    """Return random samples of the whole range, (H, W, C)."""
    random = np.random.default_rng([height, width, channels, bits, seed])
    values = random.integers(0, 2**bits, (height, width, channels))
    values[0, 0], values[-1, -1] = 0, 2**bits - 1
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def palette_of(bits: int) -> np.ndarray:
    """Return a random palette, (3, 2^bits) uint16, whose colors use all 16 bits."""
    return np.random.default_rng(bits).integers(0, 65536, (3, 2**bits)).astype(np.uint16) | 1


def samples_of(case: Tiff) -> np.ndarray:
    """Return the samples to write, (H, W, C); associated opacity is never below the colors."""
    words = case.extra.split()
    values = random_values(case.height, case.width, COLORS[case.photometric] + len(words), case.bits)
    for place, word in enumerate(words, COLORS[case.photometric]):
        if word.endswith("0"):
            values[:, :, place] = 0
        elif word == "assoc":
            opacity = values[:, :, place : place + 1].astype(np.int64)
            colors = values[:, :, : COLORS[case.photometric]].astype(np.int64)
            values[:, :, : COLORS[case.photometric]] = colors * opacity // (2**case.bits - 1)
    return values


def shown(case: Tiff, values: np.ndarray) -> np.ndarray:
    """Return the image of the samples of a case, (H, W) or (H, W, 3) float64."""
    full = 2**case.bits - 1
    parts = values.astype(np.float64) / full
    count = COLORS[case.photometric]
    color = parts[:, :, :count]
    if case.photometric == "miniswhite":
        color = 1 - color
    elif case.photometric == "palette":
        color = palette_of(case.bits).T[values[:, :, 0].astype(int)] / 65535
    elif case.photometric == "separated":
        color = (1 - color[:, :, :3]) * (1 - color[:, :, 3:])
    for place, word in enumerate(case.extra.split(), count):
        opacity = parts[:, :, place : place + 1]
        if word in ("assoc", "unassoc"):
            color = (color if word == "assoc" else color * opacity) + 1 - opacity
            break  # the first opacity counts
        if word in ("assoc0", "unassoc0"):
            break
    return as_displayed(color, case.orientation)


def expected(name: str, data: bytes, case: Tiff, values: np.ndarray) -> Written:
    """Return a file with the image of its samples, or with the refusal of colors without a defined image."""
    if case.photometric in ("miniswhite", "separated") and re.search(r"\bassoc", case.extra):
        # For these, 0 is white. A color that is multiplied by its opacity must be divided before it is converted.
        return Written(name, data, refusal="premultiplied opacity")
    tolerance = 0.51 / (2**case.bits - 1) if case.photometric == "separated" else EXACT
    return Written(name, data, shown(case, values), tolerance=tolerance)


def as_displayed(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an orientation pixel by pixel, as the TIFF specification defines where row 0 and column 0 are shown."""
    height, width = stored.shape[:2]
    result = np.empty(((width, height) if orientation >= 5 else (height, width)) + stored.shape[2:], stored.dtype)
    row, col = np.mgrid[:height, :width]
    down, right = height - 1 - row, width - 1 - col
    places = [
        (row, col),
        (row, right),
        (down, right),
        (down, col),
        (col, row),
        (col, down),
        (right, down),
        (right, row),
    ]
    result[places[orientation - 1]] = stored
    return result


def by_tifffile(case: Tiff) -> Written:
    """Return the file that tifffile writes; samples of 8 or 16 bits, or packed ones without compression."""
    values = samples_of(case)
    stored = np.ascontiguousarray(values.transpose(2, 0, 1)) if case.planar else values
    options = {"colormap": palette_of(case.bits)} if case.photometric == "palette" else {}
    if values.shape[2] == 1:
        stored = values[:, :, 0]
    else:
        options["planarconfig"] = "separate" if case.planar else "contig"
    if case.extra:
        names = {"unspecified": "unspecified", "assoc": "assocalpha", "unassoc": "unassalpha"}
        options["extrasamples"] = [names[word.rstrip("0")] for word in case.extra.split()]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        stored,
        photometric=case.photometric,
        bitspersample=case.bits,
        byteorder=case.order,
        bigtiff=case.big,
        compression=case.compression,
        compressionargs={"level": 0} if case.compression == "lzma" else {},
        predictor=2 if case.predictor else None,
        extratags=[(274, "H", 1, case.orientation, True)],
        metadata=None,
        **LAYOUTS[case.layout],
        **options,
    )
    return expected(f"tifffile {case.name}", file.getvalue(), case, values)


def by_hand(case: Tiff, fill_order: int = 1) -> Written:
    """Return a file of the plain writer: samples of any number of bits, packed and then compressed."""
    values = samples_of(case)
    height, width, channels = values.shape
    rows, cols = {"strip": (height, width), "strips": (5, width), "tiles": (16, 16)}[case.layout]
    parts = []
    for plane in values.transpose(2, 0, 1)[:, :, :, None] if case.planar else [values]:
        for row, col in itertools.product(range(0, height, rows), range(0, width, cols)):
            block = plane[row : row + rows, col : col + cols]
            if case.layout == "tiles":
                block = np.pad(block, ((0, rows - block.shape[0]), (0, cols - block.shape[1]), (0, 0)))
            parts.append(compressed(packed(block, case.bits, case.order), case.compression, fill_order))
    tags = {
        256: width,
        257: height,
        258: (case.bits,) * channels,
        259: COMPRESSIONS[case.compression],
        262: CODES[case.photometric],
        266: fill_order,
        274: case.orientation,
        277: channels,
        284: 2 if case.planar else 1,
    }
    tags |= {322: cols, 323: rows} if case.layout == "tiles" else {278: rows}
    if case.photometric == "palette":
        tags[320] = tuple(palette_of(case.bits).ravel().tolist())
    if case.extra:
        tags[338] = tuple(EXTRAS[word.rstrip("0")] for word in case.extra.split())
    name = f"by hand {case.name}{' reversed bits' * (fill_order == 2)}"
    return expected(name, tiff_file(parts, tags, case.order, case.big), case, values)


def by_libtiff(case: Tiff) -> Written:
    """Return the file that imagecodecs writes with libtiff: samples of 8 or 16 bits, at most one extra channel."""
    case = replace(case, orientation=1)
    values = samples_of(case)
    stored = np.ascontiguousarray(values.transpose(2, 0, 1)) if case.planar else values
    options = dict(LAYOUTS[case.layout])
    if case.photometric == "palette":
        options["colormap"] = palette_of(case.bits)
    if case.predictor:
        options["predictor"] = 2
    if values.shape[2] > 1:
        options["planarconfig"] = "separate" if case.planar else "contig"
    if case.extra:
        names = {"unspecified": "unspecified", "assoc": "assocalpha", "unassoc": "unassalpha"}
        options["extrasample"] = names[case.extra.rstrip("0")]
    data = imagecodecs.tiff_encode(
        stored[:, :, 0] if values.shape[2] == 1 else stored,
        photometric=case.photometric,
        byteorder=case.order,
        bigtiff=case.big,
        compression=case.compression or "none",
        **options,
    )
    return expected(f"libtiff {case.name}", bytes(data), case, values)


def packed(block: np.ndarray, bits: int, order: str) -> bytes:
    """Return samples (H, W, C) one after another; each row fills whole bytes, the first bit of a sample comes first."""
    if bits == 16:
        return block.astype(f"{order}u2").tobytes()
    words = np.ascontiguousarray(block.reshape(len(block), -1), ">u2").view(np.uint8)
    digits = np.unpackbits(words, axis=1).reshape(len(block), -1, 16)[:, :, 16 - bits :]
    return np.packbits(digits.reshape(len(block), -1), axis=1).tobytes()


def compressed(data: bytes, compression: str | None, fill_order: int = 1) -> bytes:
    """Return compressed data, with the bits of each byte reversed for a fill order of 2."""
    if compression is not None:
        encode = "zlib" if compression == "deflate" else compression
        level = {"level": 0} if compression == "lzma" else {}  # higher ones take some 10 ms
        data = bytes(getattr(imagecodecs, f"{encode}_encode")(data, **level))
    if fill_order == 2:
        data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    return data


def tiff_file(parts: list[bytes], tags: dict[int, int | tuple[int, ...]], order: str, big: bool = False) -> bytes:
    """Return a TIFF or BigTIFF file of strips or tiles, which precede the directory."""
    start, offsets, body = (16 if big else 8), [], b""
    for part in parts:
        offsets.append(start + len(body))
        body += part + bytes(len(part) % 2)
    where = {324: tuple(offsets), 325: tuple(map(len, parts))} if 322 in tags else {}
    where = where or {273: tuple(offsets), 279: tuple(map(len, parts))}
    place, room = start + len(body), (8 if big else 4)
    fields = sorted((tags | where).items())
    count, entry, link = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    size = struct.calcsize(f"={count}") + len(fields) * (20 if big else 12) + room
    entries, outside = b"", b""
    for tag, value in fields:
        numbers = value if isinstance(value, tuple) else (value,)
        kind, letter = (3, "H") if max(numbers) < 65536 and tag not in (273, 279, 324, 325) else (4, "I")
        raw = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        entries += struct.pack(f"{order}{entry}", tag, kind, len(numbers))
        if len(raw) <= room:
            entries += raw.ljust(room, b"\0")
        else:
            entries += struct.pack(f"{order}{link}", place + size + len(outside))
            outside += raw + bytes(len(raw) % 2)
    head = {"<": b"II", ">": b"MM"}[order] + (struct.pack(f"{order}HHHQ", 43, 8, 0, place) if big else b"")
    head += b"" if big else struct.pack(f"{order}HI", 42, place)
    return head + body + struct.pack(f"{order}{count}", len(fields)) + entries + bytes(room) + outside


def native_cases(every: bool) -> Iterator[Tiff]:
    """Yield properties of files of 8 and 16 bits.

    Args:
        every: Whether to combine all properties. Otherwise orientation, layout and BigTIFF change from one combination
            of the others to the next.
    """
    turns = itertools.cycle(
        itertools.product(range(1, 9), LAYOUTS, (False, True))
    )  # not a divisor of the others' number
    extras = ["", "assoc", "unassoc", "unspecified", "assoc0", "unassoc0", "unspecified unassoc"]
    for photometric, extra, bits, planar, order in itertools.product(COLORS, extras, (8, 16), (False, True), "<>"):
        if (photometric == "palette" and extra) or (planar and photometric != "rgb" and not extra):
            continue
        for compression, predictor in [(None, False), *itertools.product(list(COMPRESSIONS)[1:], (False, True))]:
            case = Tiff(photometric, bits, planar, order, compression, predictor, extra)
            if photometric == "palette" and predictor:
                continue
            if not every:
                orientation, layout, big = next(turns)
                yield replace(case, orientation=orientation, layout=layout, big=big)
                continue
            for orientation, layout, big in itertools.product(range(1, 9), LAYOUTS, (False, True)):
                yield replace(case, orientation=orientation, layout=layout, big=big)


def packed_cases(every: bool) -> Iterator[Tiff]:
    """Yield properties of files of 1 to 15 bits; see `native_cases`."""
    turns = itertools.cycle(itertools.product(range(1, 9), LAYOUTS, (False, True)))
    depths = [bits for bits in range(1, 16) if bits != 8] if every else [1, 2, 4, 10, 12, 14]
    for photometric, extra, bits in itertools.product(COLORS, ["", "unassoc", "assoc", "unspecified"], depths):
        if photometric == "palette" and (extra or bits > 12):
            continue
        next(turns)  # so that a compression meets every orientation and layout
        for planar, order, compression in itertools.product((False, True), "<>", COMPRESSIONS):
            if compression == "lzma" and not every:  # its encoder is slow
                continue
            if planar and photometric != "rgb" and not extra:
                continue
            case = Tiff(photometric, bits, planar, order, compression, False, extra)
            orientation, layout, big = next(turns)
            yield replace(case, orientation=orientation, layout=layout, big=big)


KINDS_REFUSED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], dict[str, object], str]] = {
    **{f"int{bits}": (lambda v, bits=bits: v.astype(f"int{bits}"), {}, "signed") for bits in (8, 16)},
    **{f"int{bits}": (lambda v, bits=bits: v.astype(f"int{bits}"), {}, f"signed|{bits} bits") for bits in (32, 64)},
    **{f"uint{bits}": (lambda v, bits=bits: v.astype(f"uint{bits}"), {}, f"{bits} bits") for bits in (32, 64)},
    **{f"float{bits}": (lambda v, bits=bits: v.astype(f"float{bits}"), {}, "floating-point") for bits in (16, 32, 64)},
    "complex64": (lambda v: v.astype("complex64"), {}, "format|complex|bits"),
    "LAB": (lambda v: v, {"photometric": "cielab"}, "LAB"),
    "ICC LAB": (lambda v: v, {"photometric": "icclab"}, "LAB"),
    "ITU LAB": (lambda v: v, {"photometric": "itulab"}, "LAB"),
    "LogLuv": (lambda v: v, {"photometric": "logluv"}, "LogLuv"),
    "LogL": (lambda v: v[:, :, 0], {"photometric": "logl"}, "LogL"),
    "CFA": (lambda v: v[:, :, 0], {"photometric": "cfa"}, "Bayer"),
    "linear raw": (lambda v: v, {"photometric": "linear_raw"}, "raw"),
    "depth map": (lambda v: v[:, :, 0], {"photometric": "depth_map"}, "depth"),
    "transparency mask": (lambda v: v[:, :, 0], {"photometric": "mask"}, "mask"),
}


def refused() -> Iterator[Written]:
    """Yield valid TIFF files of kinds that are not read."""
    values = random_values(19, 37, 3, 8)
    for kind, order, compression, layout in itertools.product(KINDS_REFUSED, "<>", (None, "lzw", "zstd"), LAYOUTS):
        convert, options, message = KINDS_REFUSED[kind]
        array = convert(values)
        photometric = {"photometric": "rgb" if array.ndim == 3 else "minisblack"} | options
        predictors: list[int | None] = [None]
        if compression and array.dtype.kind in "iuf":
            predictors.append(3 if array.dtype.kind == "f" else 2)
        for predictor in predictors:
            file = io.BytesIO()
            tifffile.imwrite(
                file,
                array,
                byteorder=order,
                compression=compression,
                predictor=predictor,
                metadata=None,
                **LAYOUTS[layout],
                **photometric,
            )
            yield Written(f"{kind} {order} {compression} {layout} {predictor}", file.getvalue(), refusal=message)
    for compression in ("lerc", "png", "jpegxr"):
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="rgb", compression=compression, metadata=None)
        yield Written(f"TIFF {compression}", file.getvalue(), refusal="compression")
    volume = io.BytesIO()
    tifffile.imwrite(
        volume, values[None, :16, :32, 0].repeat(16, 0), photometric="minisblack", volumetric=True, tile=(16, 16, 16)
    )
    yield Written("volume", volume.getvalue(), refusal="layers|volume")


def by_pillow() -> Iterator[Written]:
    """Yield TIFF files of Pillow, whose libtiff compresses them."""
    values = random_values(19, 37, 4, 8)
    deep = random_values(19, 37, 1, 16)[:, :, 0]
    unit = values / 255
    opacity = unit[:, :, 3:]
    lossless = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_lzma", "zstd")
    ramp = np.mgrid[:19, :37].sum(0) * 4
    lab = np.zeros((19, 37, 3), np.uint8)
    images: dict[str, tuple[Image.Image, np.ndarray | str]] = {
        "L": (Image.fromarray(values[:, :, 0]), unit[:, :, 0]),
        "LA": (Image.fromarray(values[:, :, [0, 3]], "LA"), unit[:, :, :1] * opacity + 1 - opacity),
        "RGB": (Image.fromarray(values[:, :, :3]), unit[:, :, :3]),
        "RGBA": (Image.fromarray(values, "RGBA"), unit[:, :, :3] * opacity + 1 - opacity),
        "1": (Image.fromarray(values[:, :, 0] > 127), (values[:, :, 0] > 127).astype(float)),
        "I;16": (Image.fromarray(deep), deep / 65535),
        "F": (Image.fromarray(unit[:, :, 0].astype(np.float32)), "floating-point"),
        "I": (Image.fromarray(deep.astype(np.int32)), "signed|32 bits"),
        "LAB": (Image.frombytes("LAB", (37, 19), lab.tobytes()), "LAB"),
        "CMYK": (Image.fromarray(values, "CMYK"), (1 - unit[:, :, :3]) * (1 - unit[:, :, 3:])),
    }
    indexed = Image.fromarray((values[:, :, 0] % 200).astype(np.uint8), "P")
    colors = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.uint8)
    indexed.putpalette(colors.tobytes())
    images["P"] = (indexed, colors[np.asarray(indexed)] / 255)
    for (mode, (image, truth)), compression in itertools.product(images.items(), (*lossless, "group3", "group4")):
        if compression.startswith("group") and mode != "1":
            continue
        file = io.BytesIO()
        image.save(file, "TIFF", compression=compression)
        name = f"Pillow {mode} {compression}"
        if isinstance(truth, str):
            yield Written(name, file.getvalue(), refusal=truth)
        else:
            tolerance = 0.51 / 255 if mode == "CMYK" else EXACT
            yield Written(name, file.getvalue(), truth, tolerance=tolerance)
    smooth = np.stack([ramp, 200 - ramp // 2, 40 + ramp // 3], 2).astype(np.uint8)
    for array in (smooth[:, :, 0], smooth):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "TIFF", compression="jpeg", quality=95)
        yield Written(f"Pillow jpeg {array.ndim}", file.getvalue(), array / 255, tolerance=12 / 255)


def of_images() -> Iterator[Written]:
    """Yield TIFF files of tifffile whose strips or tiles are images of other formats, and YCbCr without compression."""
    for bits, channels, compression in itertools.product((8, 10, 12, 16), (1, 3), ("jpeg2000", "jpegxl", "webp")):
        if compression == "webp" and (bits > 8 or channels == 1):
            continue
        values = random_values(19, 37, channels, bits)
        for layout in LAYOUTS:
            file = io.BytesIO()
            tifffile.imwrite(
                file,
                values[:, :, 0] if channels == 1 else values,
                photometric="rgb" if channels == 3 else "minisblack",
                bitspersample=bits if bits % 8 else None,
                compression=compression,
                compressionargs={} if compression == "jpeg2000" else {"lossless": True},
                **LAYOUTS[layout],
            )
            yield Written(f"{compression} {bits} {channels} {layout}", file.getvalue(), values / (2**bits - 1))
    down, right = np.mgrid[:48, :64] / 64
    smooth = np.stack([0.2 + 0.6 * right, 0.8 - 0.6 * down, 0.3 + 0.3 * (down + right)], 2)
    for bits, channels, layout in itertools.product((8, 12), (1, 3), LAYOUTS):
        values = np.rint(smooth * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)[:, :, :channels]
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            values[:, :, 0] if channels == 1 else values,
            photometric="rgb" if channels == 3 else "minisblack",
            bitspersample=None if bits == 8 else bits,
            compression="jpeg",
            compressionargs={"level": 100},
            **(LAYOUTS[layout] if layout != "strips" else {"rowsperstrip": 8}),
        )
        name = f"jpeg {bits} {channels} {layout}"
        if (bits, channels) == (12, 3):
            yield Written(name, file.getvalue(), refusal="YCbCr colors of 12 bits")
        else:
            yield Written(name, file.getvalue(), values / (2**bits - 1), tolerance=4.5 / 255)
    coded = random_values(19, 37, 3, 8)
    light, blue, red = (coded[:, :, place].astype(float) - (128 if place else 0) for place in range(3))
    truth = np.stack([light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue], 2)
    for compression, layout in itertools.product((None, "lzw", "deflate"), LAYOUTS):
        file = io.BytesIO()
        tifffile.imwrite(
            file, coded, photometric="ycbcr", compression=compression, subsampling=(1, 1), **LAYOUTS[layout]
        )
        # The specification scales Cb and Cr by 255/254 from the default reference, others do not: below one level.
        name = f"YCbCr {compression} {layout}"
        yield Written(name, file.getvalue(), np.clip(truth / 255, 0, 1), tolerance=1.6 / 255)
