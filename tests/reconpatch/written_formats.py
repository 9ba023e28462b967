"""Files of every format besides TIFF, each with the image that it must be read as; see `written_tiff`."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from PIL import Image

from tests.reconpatch.written_tiff import EXACT, Written, as_displayed, random_values

LEVEL = 1 / 255
SMOOTH = np.stack([0.2 + 0.6 * np.mgrid[:48, :64][1] / 64, 0.8 - 0.6 * np.mgrid[:48, :64][0] / 48], 2)
SMOOTH = np.concatenate([SMOOTH, SMOOTH.mean(2, keepdims=True)], 2)  # (48, 64, 3) in [0, 1]


def over_white(color: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Return colors (H, W, C) with an opacity (H, W) over white; an opacity of 0 everywhere is ignored."""
    return color * opacity[:, :, None] + 1 - opacity[:, :, None] if opacity.any() else color


def shown(values: np.ndarray, full: int) -> np.ndarray:
    """Return the image of samples of 1 (gray), 2 (with opacity), 3 (color) or 4 (with opacity) channels."""
    parts = values.reshape(*values.shape[:2], -1) / full
    return parts if parts.shape[2] in (1, 3) else over_white(parts[:, :, :-1], parts[:, :, -1])


def by_pillow(image: Image.Image, name: str, **options: object) -> bytes:
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    """Return an EXIF block with an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block


# ---- PNG

PNG_KINDS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_rows(values: np.ndarray, depth: int, difference: bool = False) -> bytes:
    """Return the rows of samples (H, W, C), each after the number of its filter: 0, or 2 for differences of rows."""
    height = len(values)
    if depth == 16:
        rows = np.ascontiguousarray(values, ">u2").reshape(height, -1).view(np.uint8)
    else:
        digits = values.reshape(height, -1, 1).astype(int) >> np.arange(depth - 1, -1, -1) & 1
        rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    if difference:
        rows = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    return b"".join(bytes([2 * difference]) + row.tobytes() for row in rows)


# Pass of an interlaced file -> first row, distance of rows, first column, distance of columns.
PASSES = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]


def png_file(values: np.ndarray, depth: int, kind: int, *, before: bytes = b"", variant: int = 0) -> bytes:
    """Return a PNG file of samples (H, W, C): of plain rows (0), of differences of rows (1) or interlaced (2)."""
    if variant == 2:
        passes = [values[top::down, left::right] for top, down, left, right in PASSES]
        body = b"".join(png_rows(part, depth) for part in passes)
    else:
        body = png_rows(values, depth, difference=variant == 1)
    size = values.shape[1], values.shape[0]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, variant == 2))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def png() -> Iterator[Written]:
    """Yield PNG files of all kinds and depths, with transparent levels, colors and palettes, in all orientations."""
    for kind, (channels, depths) in PNG_KINDS.items():
        keys = ("no key",) if kind in (4, 6) else ("no key", "key", "only the key")
        for depth, key, turned in itertools.product(depths, keys, range(1, 9)):
            values = random_values(19, 37, channels, depth)
            chunks, truth = png_palette(values, depth, key) if kind == 3 else png_key(values, depth, key)
            if turned > 1:
                chunks += chunk(b"eXIf", exif(turned).tobytes()[6:])
            data = png_file(values, depth, kind, before=chunks, variant=turned % 3)
            yield Written(f"PNG {kind} {depth} {key} {turned}", data, as_displayed(truth, turned))
    for depth, channels in itertools.product((8, 16), range(1, 5)):
        values = random_values(19, 37, channels, depth)
        data = imagecodecs.png_encode(values[:, :, 0] if channels == 1 else values)
        yield Written(f"PNG imagecodecs {depth} {channels}", bytes(data), shown(values, 2**depth - 1))


def png_palette(values: np.ndarray, depth: int, key: str) -> tuple[bytes, np.ndarray]:
    """Return the chunks of a random palette, whose entries have an opacity with a key, and the image."""
    palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3))
    chunks, indices = chunk(b"PLTE", palette.astype(np.uint8).tobytes()), values[:, :, 0]
    if key == "no key":
        return chunks, palette[indices] / 255
    alphas = np.zeros(2**depth) if key == "only the key" else np.arange(2**depth) * 255 // (2**depth)
    chunks += chunk(b"tRNS", alphas.astype(np.uint8).tobytes())
    return chunks, over_white(palette[indices] / 255, alphas[indices] / 255)


def png_key(values: np.ndarray, depth: int, key: str) -> tuple[bytes, np.ndarray]:
    """Return the chunk of a transparent level or color, which all pixels have with "only the key", and the image."""
    if key == "no key":
        return b"", shown(values, 2**depth - 1)
    level = values[3, 4].copy()
    values[3, 5] = level ^ 1  # differs in the lowest bit alone
    if key == "only the key":
        values[:] = level
    opacity = (values != level).any(2).astype(float)
    numbers = b"".join(struct.pack(">H", int(value)) for value in level)
    return chunk(b"tRNS", numbers), over_white(values / (2**depth - 1), opacity)


# ---- JPEG and JPEG-LS


def jpeg() -> Iterator[Written]:
    """Yield JPEG files of Pillow, which must be decoded as imagecodecs does, and 2- to 16-bit ones of imagecodecs."""
    stored = np.rint(SMOOTH * 255).astype(np.uint8)
    gray, color = Image.fromarray(stored[:, :, 0]), Image.fromarray(stored)
    for image, progressive, subsampling in itertools.product((gray, color), (False, True), (0, 1, 2)):
        for turned in range(1, 9):
            options = {"quality": 95, "progressive": progressive, "subsampling": subsampling, "exif": exif(turned)}
            data = by_pillow(image, "JPEG", **options)
            other = np.asarray(imagecodecs.jpeg8_decode(data)) / 255
            name = f"JPEG {image.mode} {progressive} {subsampling} {turned}"
            yield Written(name, data, as_displayed(other, turned), tolerance=2.1 * LEVEL)
            truth = SMOOTH[:, :, 0] if image is gray else SMOOTH
            yield Written(f"{name}, original", data, as_displayed(truth, turned), tolerance=9 * LEVEL)
    inks = np.concatenate([1 - SMOOTH, 0.3 * SMOOTH[:, :, :1]], 2)
    cmyk = Image.fromarray(np.rint(inks * 255).astype(np.uint8), "CMYK")
    truth = (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])
    yield Written("JPEG CMYK", by_pillow(cmyk, "JPEG", quality=95), truth, tolerance=9 * LEVEL)
    for channels in (1, 3):
        values = np.rint(SMOOTH[:, :, :channels] * 4095).astype(np.uint16)
        data = bytes(imagecodecs.jpeg8_encode(values.squeeze(), level=100, bitspersample=12))
        yield Written(f"JPEG 12 {channels}", data, values / 4095, tolerance=32 / 4095)
        for bits in range(2, 17):
            values = random_values(19, 37, channels, bits)
            data = bytes(imagecodecs.jpeg8_encode(values.squeeze(), lossless=True, bitspersample=bits))
            yield Written(f"lossless JPEG {bits} {channels}", data, values / (2**bits - 1))
            for near in (0, 2):
                if 2**bits <= 8 * near:
                    continue
                data = bytes(imagecodecs.jpegls_encode(values.squeeze(), level=near))
                full = 2 ** data[data.index(b"\xff\xf7") + 4] - 1  # the encoder states 8 or 16 bits
                tolerance = near / full + EXACT
                yield Written(f"JPEG-LS {bits} {channels} {near}", data, values / full, tolerance=tolerance)
    for bits in (8, 12, 16):
        values = random_values(19, 37, 4, bits)
        data = bytes(imagecodecs.jpegls_encode(values))
        yield Written(f"JPEG-LS {bits} 4", data, refusal="4 channels")


# ---- JPEG 2000, JPEG XL, WebP and AVIF


def jpeg2000() -> Iterator[Written]:
    """Yield JPEG 2000 files and codestreams of imagecodecs and Pillow."""
    for bits, channels, form in itertools.product(range(1, 17), (1, 3), ("jp2", "j2k")):
        values = random_values(19, 37, channels, bits)
        options = {"codecformat": form, "bitspersample": bits}
        data = bytes(imagecodecs.jpeg2k_encode(values.squeeze(), level=0, reversible=True, **options))
        yield Written(f"JPEG 2000 {bits} {channels} {form}", data, values / (2**bits - 1))
        if bits >= 8:
            smooth = np.rint(SMOOTH[:, :, :channels] * (2**bits - 1)).astype(values.dtype)
            data = bytes(imagecodecs.jpeg2k_encode(smooth.squeeze(), level=50, reversible=False, **options))
            name = f"lossy JPEG 2000 {bits} {channels} {form}"
            yield Written(name, data, smooth / (2**bits - 1), tolerance=10 * LEVEL)
    for bits, channels in itertools.product((8, 12, 16), (1, 3)):
        values = random_values(40, 70, channels, bits)
        data = bytes(imagecodecs.htj2k_encode(values.squeeze(), reversible=True))
        depth = 8 if bits == 8 else 16  # the encoder states the bits of the array's type
        yield Written(f"HTJ2K {bits} {channels}", data, values / (2**depth - 1))
    for dtype in (np.int8, np.int16):
        data = bytes(imagecodecs.jpeg2k_encode(random_values(19, 37, 1, 7)[:, :, 0].astype(dtype), level=0))
        yield Written(f"JPEG 2000 {np.dtype(dtype)}", data, refusal="signed")
    values = random_values(19, 37, 4, 8)
    for mode, channels in {"L": [0], "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}.items():
        part = values[:, :, channels]
        data = by_pillow(Image.fromarray(part.squeeze(), mode), "JPEG2000")
        yield Written(f"JPEG 2000 Pillow {mode}", data, shown(part, 255))
    deep = random_values(19, 37, 1, 16)
    yield Written("JPEG 2000 Pillow I;16", by_pillow(Image.fromarray(deep[:, :, 0]), "JPEG2000"), deep / 65535)


def jpegxl() -> Iterator[Written]:
    """Yield JPEG XL files of imagecodecs."""
    for bits, channels, container in itertools.product(range(1, 17), range(1, 5), (False, True)):
        values = random_values(19, 37, channels, bits)
        options = {"bitspersample": bits, "usecontainer": container}
        data = bytes(imagecodecs.jpegxl_encode(values.squeeze(), lossless=True, **options))
        yield Written(f"JPEG XL {bits} {channels} {container}", data, shown(values, 2**bits - 1))
    for bits, channels in itertools.product((8, 12, 16), (1, 3)):
        values = np.rint(SMOOTH[:, :, :channels] * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
        data = bytes(imagecodecs.jpegxl_encode(values.squeeze(), lossless=False, distance=0.5, bitspersample=bits))
        yield Written(f"lossy JPEG XL {bits} {channels}", data, values / (2**bits - 1), tolerance=6 * LEVEL)
    for dtype in (np.float16, np.float32):
        data = bytes(imagecodecs.jpegxl_encode(SMOOTH.astype(dtype), lossless=True))
        yield Written(f"JPEG XL {np.dtype(dtype)}", data, refusal="floating-point")


def webp() -> Iterator[Written]:
    """Yield WebP files of imagecodecs and Pillow."""
    for channels, turned in itertools.product((3, 4), range(1, 9)):
        values = random_values(19, 37, channels, 8)
        data = by_pillow(Image.fromarray(values), "WEBP", lossless=True, exif=exif(turned))
        yield Written(f"WebP {channels} {turned}", data, as_displayed(shown(values, 255), turned))
        data = bytes(imagecodecs.webp_encode(values, lossless=True))
        yield Written(f"WebP imagecodecs {channels} {turned}", data, shown(values, 255))
    stored = np.rint(SMOOTH * 255).astype(np.uint8)
    data = bytes(imagecodecs.webp_encode(stored, level=95))
    yield Written("lossy WebP", data, SMOOTH, tolerance=9 * LEVEL)
    yield Written("lossy WebP, other decoder", data, imagecodecs.webp_decode(data) / 255, tolerance=2.1 * LEVEL)


def avif() -> Iterator[Written]:
    """Yield AVIF files of imagecodecs and Pillow."""
    for bits, channels in itertools.product((8, 10, 12), range(1, 5)):
        values = random_values(19, 37, channels, bits)
        data = bytes(imagecodecs.avif_encode(values.squeeze(), level=100, bitspersample=bits, numthreads=1))
        yield Written(f"AVIF {bits} {channels}", data, shown(values, 2**bits - 1))
    for turned in range(1, 9):
        image = Image.fromarray(np.rint(SMOOTH * 255).astype(np.uint8))
        data = by_pillow(image, "AVIF", quality=95, exif=exif(turned), max_threads=1)
        yield Written(f"lossy AVIF {turned}", data, as_displayed(SMOOTH, turned), tolerance=9 * LEVEL)


# ---- formats without compression


def bmp_file(body: bytes, size: tuple[int, int], bits: int, *, masks: tuple[int, ...] = (), version: int = 40) -> bytes:
    """Return a BMP file of rows, whose header has the size of a version and color masks."""
    width, height = size
    header = struct.pack(
        "<IiiHHIIiiII", version, width, height, 1, bits, 3 if masks else 0, len(body), 2835, 2835, 0, 0
    )
    header += b"".join(struct.pack("<I", mask) for mask in masks)
    if version > 40:
        header = header.ljust(56, b"\0") + b"BGRs"
        header = header.ljust(version, b"\0")
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + body


def bmp() -> Iterator[Written]:
    """Yield BMP files of Pillow and imagecodecs, and of 16 and 32 bits by hand."""
    values = random_values(19, 37, 4, 8)
    color, gray = values[:, :, :3], values[:, :, 0]
    indexed = Image.fromarray(gray, "P")
    palette = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    indexed.putpalette(palette.tobytes())
    yield Written("BMP 1", by_pillow(Image.fromarray(gray > 99), "BMP"), (gray > 99)[:, :, None] * 1.0)
    yield Written("BMP L", by_pillow(Image.fromarray(gray), "BMP"), gray / 255)
    yield Written("BMP P", by_pillow(indexed, "BMP"), palette[gray] / 255)
    yield Written("BMP RGB", by_pillow(Image.fromarray(color), "BMP"), color / 255)
    for channels in (1, 3, 4):
        part = values[:, :, :channels].squeeze()
        yield Written(f"BMP imagecodecs {channels}", bytes(imagecodecs.bmp_encode(part)), shown(part, 255))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for fourth, down, version in itertools.product(("0", "255", "any"), (False, True), (40, 108, 124)):
        stored = values[:, :, [2, 1, 0, 3]].copy()
        if fourth != "any":
            stored[:, :, 3] = int(fourth)
        body, size = (stored if down else stored[::-1]).tobytes(), (37, -19 if down else 19)
        opacity = stored[:, :, 3] / 255
        if version > 40:  # the fourth mask states that the bytes are opacity
            name = f"BMP 32 {fourth} {down} {version}"
            yield Written(
                name, bmp_file(body, size, 32, masks=masks, version=version), over_white(color / 255, opacity)
            )
        elif fourth != "any":  # reserved bytes, which writers set to 0 or 255
            yield Written(f"BMP 32 {fourth} {down}", bmp_file(body, size, 32), color / 255)
        if version == 40:
            yield Written(f"BMP 32 {fourth} {down} masks", bmp_file(body, size, 32, masks=masks[:3]), color / 255)
    for name, masks, steps in (("555", (), (5, 5, 5)), ("565", (0xF800, 0x7E0, 0x1F), (5, 6, 5))):
        levels = [random_values(19, 37, 1, bits, seed=seed)[:, :, 0].astype(int) for seed, bits in enumerate(steps)]
        words = (levels[0] << (steps[1] + 5)) | (levels[1] << 5) | levels[2]
        rows = np.pad(words, ((0, 0), (0, 1)))[::-1].astype("<u2")
        truth = np.stack([level / (2**bits - 1) for level, bits in zip(levels, steps, strict=True)], 2)
        yield Written(f"BMP {name}", bmp_file(rows.tobytes(), (37, 19), 16, masks=masks), truth, tolerance=LEVEL)


def tga_and_gif() -> Iterator[Written]:
    """Yield TGA and GIF files of Pillow and imagecodecs."""
    values = random_values(19, 37, 4, 8)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    indexed = Image.fromarray(values[:, :, 0], "P")
    indexed.putpalette(palette.tobytes())
    colors = palette[values[:, :, 0]] / 255
    for compression, turned in itertools.product((None, "tga_rle"), (-1, 1)):
        options = {"compression": compression, "orientation": turned}
        yield Written(f"TGA P {options}", by_pillow(indexed, "TGA", **options), colors)
        for mode, channels in {"L": [0], "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}.items():
            part = values[:, :, channels]
            image = Image.fromarray(part.squeeze(), mode)
            yield Written(f"TGA {mode} {options}", by_pillow(image, "TGA", **options), shown(part, 255))
    no_opacity = Image.fromarray(np.concatenate([values[:, :, :3], np.zeros((19, 37, 1), np.uint8)], 2), "RGBA")
    yield Written("TGA of opacity 0", by_pillow(no_opacity, "TGA"), values[:, :, :3] / 255)
    yield Written("GIF P", by_pillow(indexed, "GIF"), colors)
    transparent = over_white(colors, (values[:, :, 0] != 7).astype(float))
    yield Written("GIF transparent", by_pillow(indexed, "GIF", transparency=7), transparent)
    several = by_pillow(indexed, "GIF", save_all=True, append_images=[Image.new("L", (37, 19), 9)])
    yield Written("GIF of two images", several, colors)
    data = bytes(imagecodecs.gif_encode(values[:, :, 0], colormap=palette))
    yield Written("GIF imagecodecs", data, colors)


def netpbm() -> Iterator[Written]:
    """Yield PBM, PGM, PPM and PAM files with all kinds of largest values."""
    for full in (1, 2, 5, 15, 100, 254, 255, 256, 300, 1000, 1023, 4095, 16383, 40000, 65535):
        for channels in (1, 3, 2, 4):
            values = np.random.default_rng(full).integers(0, full + 1, (19, 37, channels))
            raw = values.astype(">u2" if full > 255 else np.uint8).tobytes()
            truth = shown(values, full)
            if channels in (1, 3):
                plain = "\n".join(" ".join(map(str, row)) for row in values.reshape(19, -1)).encode()
                head = b"\n# a comment\n37 19\n%d\n" % full
                yield Written(f"raw {channels} {full}", (b"P5" if channels == 1 else b"P6") + head + raw, truth)
                yield Written(f"plain {channels} {full}", (b"P2" if channels == 1 else b"P3") + head + plain, truth)
            name = {1: b"GRAYSCALE", 2: b"GRAYSCALE_ALPHA", 3: b"RGB", 4: b"RGB_ALPHA"}[channels]
            head = b"P7\nWIDTH 37\nHEIGHT 19\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n" % (channels, full, name)
            yield Written(f"PAM {channels} {full}", head + raw, truth)
    black = random_values(19, 37, 1, 1)[:, :, 0]
    yield Written("P4", b"P4\n37 19\n" + np.packbits(black, axis=1).tobytes(), 1.0 - black)
    digits = b"\n".join(b" ".join(b"%d" % value for value in row) for row in black)
    yield Written("P1", b"P1\n37 19\n" + digits, 1.0 - black)
    raw = random_values(19, 37, 5, 8).tobytes()
    head = b"P7\nWIDTH 37\nHEIGHT 19\nDEPTH 5\nMAXVAL 255\nTUPLTYPE MULTISPECTRAL\nENDHDR\n"
    yield Written("PAM of 5 channels", head + raw, refusal="5 channels of the kind 'MULTISPECTRAL'")


def deep_containers() -> Iterator[Written]:
    """Yield gray files of 16 bits that hold values of fewer, with the bit depth that the reader is told."""
    for depth in range(9, 17):
        values = random_values(19, 37, 1, depth)
        files = {
            "PNG": png_file(values, 16, 0),
            "PGM": b"P5\n37 19\n65535\n" + values.astype(">u2").tobytes(),
            "JPEG 2000": bytes(imagecodecs.jpeg2k_encode(values[:, :, 0], level=0, bitspersample=16)),
            "TIFF": by_pillow(Image.fromarray(values[:, :, 0]), "TIFF"),
        }
        for name, data in files.items():
            yield Written(f"{name} {depth} in 16", data, values / (2**depth - 1), bit_depth=depth)
            if depth > 9:
                yield Written(f"{name} {depth} as {depth - 1}", data, refusal="--bit-depth", bit_depth=depth - 1)


def foreign() -> Iterator[Written]:
    """Yield valid images of formats that are not read."""
    values = random_values(32, 32, 3, 8)
    image = Image.fromarray(values)
    for name, word in {"ICO": "ICO", "EPS": "EPS", "PDF": "PDF", "PCX": "PCX", "SGI": "SGI", "DDS": "DDS"}.items():
        yield Written(name, by_pillow(image, name), refusal=f"^{word} images are not supported")
    yield Written("QOI", bytes(imagecodecs.qoi_encode(values)), refusal="^QOI images are not supported")
    yield Written("JPEG XR", bytes(imagecodecs.jpegxr_encode(values)), refusal="^JPEG XR images are not supported")
    array = io.BytesIO()
    np.save(array, values)
    yield Written("NumPy", array.getvalue(), refusal="^NumPy images are not supported")
    scaled = by_pillow(Image.new("L", (3, 2)), "PPM").replace(b"P5", b"Pf")
    yield Written("PFM", scaled, refusal="^PFM images are not supported")
