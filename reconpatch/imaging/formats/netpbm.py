"""Reader of PBM, PGM, PPM and PAM files with any largest value up to 65535."""

from __future__ import annotations

import re

import numpy as np

from reconpatch.arrays import Array
from reconpatch.imaging.formats.samples import FRAMES, Samples, array_rows, damage_named, require_size, unsupported

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*([0-9]+)")
_CHANNELS = {b"1": 1, b"2": 1, b"3": 3, b"4": 1, b"5": 1, b"6": 3}
_TUPLES = {b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3}


def read_netpbm(data: bytes) -> Samples:
    """Read a Netpbm file, whose full scale is the largest value that its header states.

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is damaged or too large, or has more than 16 bits per channel.
    """
    with damage_named():
        width, height, channels, full, opacity, start = _pam_header(data) if data[1:2] == b"7" else _header(data, 0)
        require_size(width, height)
        if not 1 <= full <= 65535:
            raise unsupported(f"the largest value {full}", "save it with one of 1 to 65535")
        stored = _stored(data, start, (height, width, channels), full)
        if stored.max() > full:
            raise ValueError(f"the value {stored.max()} is above the largest value {full} of the header")
    colors = channels - opacity
    rows, ignored = array_rows(stored[:, :, :colors], stored[:, :, colors] if opacity else None, full)
    return Samples(
        height=height,
        width=width,
        kind="gray" if colors == 1 else "color",
        mode=("L" if colors == 1 else "RGB") + "A" * opacity,
        channels=channels,
        bits=full.bit_length(),
        full=full,
        rows=rows,
        alpha_ignored=ignored,
        frames=_frames(data, start + _bytes(data[1:2], (height, width, channels), full)) if data[1:2] in b"456" else 1,
    )


def _header(data: bytes, at: int) -> tuple[int, int, int, int, int, int]:
    """Return width, height, channels, largest value, number of opacity channels, and start of the pixels.

    Args:
        data: Content of the file.
        at: Start of the header.
    """
    kind, place, numbers = data[at + 1 : at + 2], at + 2, []
    for _ in range(2 if kind in b"14" else 3):
        found = _TOKEN.match(data, place)
        if found is None:
            raise ValueError("truncated header")
        place = found.end()
        numbers.append(int(found[1][:12]))
    full = 1 if kind in b"14" else numbers[2]
    return numbers[0], numbers[1], _CHANNELS[kind], full, 0, place + (kind in b"456")


def _pam_header(data: bytes) -> tuple[int, int, int, int, int, int]:
    """Return the same as `_header` for a PAM file."""
    end = data.find(b"ENDHDR\n", 0, 65536)
    if end < 0:
        raise ValueError("truncated header")
    lines = (line.split(None, 1) for line in data[2:end].split(b"\n") if line.strip() and not line.startswith(b"#"))
    fields = {line[0]: line[1].strip() if len(line) > 1 else b"" for line in lines}
    width, height, channels, full = (int(fields[name][:12]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    name = fields.get(b"TUPLTYPE", {1: b"GRAYSCALE", 3: b"RGB"}.get(channels, b""))
    opacity = int(name.endswith(b"_ALPHA"))
    if _TUPLES.get(name.removesuffix(b"_ALPHA")) != channels - opacity:
        kind = name.decode(errors="replace")
        raise unsupported(f"{channels} channels of the kind '{kind}'", "save it as gray or RGB")
    return width, height, channels, full, opacity, end + 7


def _stored(data: bytes, start: int, shape: tuple[int, int, int], full: int) -> Array:
    """Return the stored values, (H, W, C); 1 is white in a PBM file, where it is stored as 0."""
    height, width, channels = shape
    kind, count = data[1:2], height * width * channels
    if kind == b"4":
        line = (width + 7) // 8
        packed = np.frombuffer(data, np.uint8, height * line, start).reshape(height, line)
        return (1 - np.unpackbits(packed, axis=1, count=width))[:, :, None]
    if kind == b"1":
        digits = np.frombuffer(re.sub(rb"#[^\r\n]*|\s", b"", data[start:])[:count], np.uint8)
        if digits.size < count or (digits > ord("1")).any():
            raise ValueError("truncated, or not 0 and 1")
        return (ord("1") - digits).reshape(shape)
    if kind in b"23":
        words = re.sub(rb"#[^\r\n]*", b"", data[start:]).split(None, count)[:count]
        if len(words) < count:
            raise ValueError(f"{len(words)} of {count} values")
        return np.array(words).astype(np.uint32).astype(np.uint16 if full > 255 else np.uint8).reshape(shape)
    return np.frombuffer(data, ">u2" if full > 255 else np.uint8, count, start).reshape(shape)


def _frames(data: bytes, end: int) -> int:
    """Return the number of images: a file of packed values can contain several, one after another.

    Args:
        data: Content of the file.
        end: End of the first image.
    """
    count = 1
    while count < FRAMES and data[end : end + 2] in (b"P4", b"P5", b"P6"):
        try:
            width, height, channels, full, _, start = _header(data, end)
        except ValueError:  # bytes after the image that only look like a header
            break
        end = start + _bytes(data[end + 1 : end + 2], (height, width, channels), full)
        count += end <= len(data)
    return count


def _bytes(kind: bytes, shape: tuple[int, int, int], full: int) -> int:
    """Return the number of bytes of packed values."""
    height, width, channels = shape
    return height * ((width + 7) // 8) if kind == b"4" else width * height * channels * (2 if full > 255 else 1)
