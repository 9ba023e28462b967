"""Images: from the content of a file to pixels in [0, 1], as displayed, and to the input of a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from reconpatch.arrays import Array, as_tensor
from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import StoredImage, read_samples, stored_values, turn
from reconpatch.imaging.formats.kinds import IMAGE_SUFFIXES_NOT_READ, SUFFIXES
from reconpatch.imaging.formats.samples import Opacity, Samples
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.mask_rule import Mask, mask_of

__all__ = [
    "IMAGE_SUFFIXES_NOT_READ",
    "SUFFIXES",
    "Picture",
    "preprocess",
    "preprocess_mask",
    "read_image",
    "read_mask",
    "read_mask_file",
    "read_picture",
]

_PIECE = 1 << 18  # pixels that are converted to floating point at a time, which keeps temporary copies small


@dataclass(frozen=True)
class Picture:
    """An image as displayed, with properties of its file.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], with the EXIF orientation applied and transparent parts blended with
            white. A gray image has three equal channels.
        mode: Kind of image as Pillow names it ("L", "RGB", "P", "CMYK"); above 8 bits per channel, the number of bits
            is appended ("L, 16 bits").
        bits: Bits per channel that the file stores.
        largest: Largest stored value in [0, 1], before blending; 1 is the largest value of the bit depth.
        frames: Number of images in the file, at most 65,536; only the first one is read.
        channels: Number of channels that the file stores, with opacity and other extra channels.
        alpha_ignored: Whether the file has an opacity that is 0 everywhere, which is ignored.
        single_color: Whether all pixels have the same color.
    """

    pixels: npt.NDArray[np.float32]
    mode: str
    bits: int
    largest: float
    frames: int
    channels: int
    alpha_ignored: bool
    single_color: bool


def read_image(data: bytes, bit_depth: int = 16) -> npt.NDArray[np.float32]:
    """Return the pixels of an image file as displayed; `read_picture` describes the formats and the conversion.

    Args:
        data: Content of the file.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ImageError: The file cannot be read.
        ValueError: The bit depth is out of range.

    Examples:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> from reconpatch import read_image
        >>> file = BytesIO()  # for a file on disk: data = Path("part.png").read_bytes()
        >>> Image.new("RGB", (4, 2), color=(255, 0, 51)).save(file, "PNG")
        >>> pixels = read_image(file.getvalue())
        >>> pixels.shape
        (2, 4, 3)
        >>> pixels[0, 0]
        array([1. , 0. , 0.2], dtype=float32)
    """
    return read_picture(data, bit_depth).pixels


def read_picture(data: bytes, bit_depth: int = 16) -> Picture:
    """Read an image as displayed; the content of the file decides its format.

    The formats are PNG, JPEG, BMP, TIFF, WebP, GIF, TGA, Netpbm, JPEG 2000, JPEG XL, JPEG-LS and AVIF. Of a file with
    several images, the first is read. Values of n bits are divided by 2^n - 1, where n is at most `bit_depth`. The
    divisor never depends on the values of the image. Transparent parts are blended with white; an opacity that is 0
    everywhere is ignored.

    Args:
        data: Content of the file.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).

    Raises:
        ImageError: The file is empty, not an image, damaged, of an unsupported format, above 200 megapixels, signed,
            floating-point, of more than 16 bits per channel, or of mode LAB. Or a value needs more bits than
            `bit_depth`, or decoding takes much more memory or time than the number of pixels requires.
        ValueError: The bit depth is out of range.
    """
    if not 9 <= bit_depth <= 16:
        raise ValueError(f"The bit depth is {bit_depth}; it must be 9 to 16.")
    samples = read_samples(data)
    values, largest, single = _scaled(samples, bit_depth)
    # A gray image stores one channel, which the three channels share.
    pixels = values if values.shape[2] == 3 else np.broadcast_to(values, (*values.shape[:2], 3))
    return Picture(
        pixels=pixels,
        mode=f"{samples.mode}, {samples.bits} bits" if samples.bits > 8 else samples.mode,
        bits=samples.bits,
        largest=largest,
        frames=samples.frames,
        channels=samples.channels,
        alpha_ignored=samples.alpha_ignored,
        single_color=single,
    )


def _scaled(samples: Samples, bit_depth: int) -> tuple[npt.NDArray[np.float32], float, bool]:
    """Return (H, W, 1 or 3) values in [0, 1] as displayed, the largest stored one, and whether all are one color."""
    height, width, deep = samples.height, samples.width, samples.bits > 8 and samples.palette is None
    full = min(samples.full, 2**bit_depth - 1) if deep else samples.full
    values = np.empty((height, width, 1 if samples.kind == "gray" else 3), np.float32)
    largest, single = 0.0, True
    for part in _pieces(height, width):
        stored, opacity = samples.rows(part)
        if deep:
            largest = max(largest, int(stored.max()) / full)
        if largest <= 1.0:
            _fill(values[part], stored, samples, full)
            if not deep:
                largest = max(largest, float(values[part].max()))
            if opacity is not None:
                _blend(values[part], opacity, samples.premultiplied)
            single = single and _is_single(values[part], values[0, 0])
    if largest > 1.0:
        raise ImageError(
            f"The image has the value {round(largest * full)}; --bit-depth {bit_depth} allows at most {full}. "
            "Raise --bit-depth."
        )
    return turn(samples.orientation)(values), largest, single


def _pieces(height: int, width: int) -> Iterator[slice]:
    """Yield slices that divide the rows into blocks of about `_PIECE` pixels."""
    step = max(1, _PIECE // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _fill(values: npt.NDArray[np.float32], stored: Array, samples: Samples, full: int) -> None:
    """Write stored values, scaled to [0, 1], to `values`."""
    if samples.palette is not None:
        np.take(samples.palette, stored[:, :, 0], axis=0, out=values, mode="clip")  # "clip" needs no copy of `values`
        return
    if samples.inverted:
        stored = full - stored.astype(np.float32)
    # In float32, 257 v / 65535 and v / 255 are bitwise equal.
    np.divide(stored, np.float32(full), out=values, dtype=np.float32)


def _blend(values: npt.NDArray[np.float32], opacity: Opacity, premultiplied: bool) -> None:
    """Blend values with white; an opacity of 1 leaves them bitwise unchanged."""
    if not premultiplied:
        values *= opacity
    values += 1.0 - opacity
    if premultiplied:
        np.minimum(values, 1.0, out=values)  # a color above its opacity


def _is_single(values: npt.NDArray[np.float32], color: npt.NDArray[np.float32]) -> bool:
    """Return whether all values (H, W, C) have a color."""
    return bool((values[0] == color).all() and (values == color).all())


def read_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """Read the defective pixels of a mask; `mask_of` describes which ones are.

    Args:
        data: Content of the file.

    Returns:
        (H, W) bool with the EXIF orientation applied; true where defective.

    Raises:
        ImageError: As for `read_mask_file`.
    """
    return read_mask_file(data).defective


def read_mask_file(data: bytes) -> Mask:
    """Read a mask as displayed; the content of the file decides its format.

    The value of a pixel is its index in palette masks, its largest channel in color masks, and its gray level
    otherwise, times its opacity. Values have any number of bits and can be floating-point, where NaN counts as 0.

    Args:
        data: Content of the file.

    Returns:
        The defective pixels, the ignored pixels and the values, (H, W) with the EXIF orientation applied.

    Raises:
        ImageError: The file is empty, not an image, damaged, of an unsupported format, or above 200 megapixels.
    """
    stored = stored_values(data)
    return mask_of(_mask_values(stored), bits=stored.bits, lossy=stored.lossy)


def _mask_values(stored: StoredImage) -> Array:
    """Return the (H, W) values of a mask that decide which pixels are defective."""
    values = stored.values[:, :, 0] if stored.values.shape[2] == 1 else stored.values.max(axis=2)
    if stored.opacity is None:
        return values
    weighted = values * stored.opacity
    return weighted if values.dtype.kind == "f" else np.rint(weighted).astype(values.dtype)


def preprocess(image: Array, geometry: Geometry) -> torch.Tensor:
    """Return a backbone's input for an image: antialiased bilinear resize, then center crop.

    The backbone itself normalizes the mean and standard deviation of its input.

    Args:
        image: (H, W, 3) floating point in [0, 1], NumPy array or tensor, with the geometry's height and width.
        geometry: Geometry of the image; it defines the resize and the crop.

    Returns:
        (3, S, S) float32 in [0, 1].

    Raises:
        ValueError: The image has another shape or an integer dtype.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import Geometry, preprocess
        >>> image = np.full((300, 200, 3), 0.5, np.float32)
        >>> inputs = preprocess(image, Geometry.of(300, 200, image_size=224))
        >>> inputs.shape
        torch.Size([3, 224, 224])
        >>> round(float(inputs.mean()), 3)
        0.5
    """
    if not _is_floating(image):
        raise ValueError(f"The image has dtype {image.dtype}; scale it to [0, 1] as float32.")
    if tuple(image.shape) != (geometry.height, geometry.width, 3):
        expected = (geometry.height, geometry.width, 3)
        raise ValueError(f"The image has shape {tuple(image.shape)}; the geometry expects {expected}.")
    # The three channels of a gray image from `read_picture` share their memory, so one is resized instead of three.
    gray = isinstance(image, np.ndarray) and image.strides[2] == 0
    pixels = as_tensor(image[:, :, :1] if gray else image).float()
    size = (geometry.resize, geometry.resize)
    resized = interpolate(pixels.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)[0]
    inside = slice(geometry.offset, geometry.offset + geometry.crop)
    return resized[:, inside, inside].clamp(0.0, 1.0).expand(3, -1, -1).contiguous()


def preprocess_mask(mask: npt.NDArray[np.bool_], geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Return a mask at the size of the backbone's input, sampled at the pixel centers without interpolation.

    Args:
        mask: (H, W) bool, true where defective.
        geometry: Resize and crop, with the height and width of the mask, which may differ from those of the image.

    Returns:
        (S, S) bool.

    Raises:
        ValueError: The shape of the mask is not that of the geometry.
    """
    if mask.shape != (geometry.height, geometry.width):
        expected = (geometry.height, geometry.width)
        raise ValueError(f"The mask has shape {mask.shape}; the geometry expects {expected}.")
    size = geometry.crop
    centers = [geometry.patch_center(i, i, (size, size)) for i in range(size)]
    rows, cols = zip(*centers, strict=True)
    return mask[np.ix_(rows, cols)]


def _is_floating(image: Array) -> bool:
    """Return whether an array or tensor has a floating-point dtype."""
    return image.dtype.is_floating_point if isinstance(image, torch.Tensor) else np.issubdtype(image.dtype, np.floating)
