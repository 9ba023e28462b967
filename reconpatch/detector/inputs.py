"""The images that `Detector.score` accepts: files, the contents of files, and arrays, which are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import read_image


def pixels_of(image: str | Path | bytes | Array, bit_depth: int) -> npt.NDArray[np.float32]:
    """Return the pixels of an image, in the form in which a model receives those of a file.

    Args:
        image: Path or content of an image file; or a NumPy array or tensor in [0, 1], (H, W, 3) with the channels red,
            green and blue, or (H, W) for a gray image. Other floating-point dtypes are converted to float32.
        bit_depth: Significant bits per channel of files with more than 8 bits (9-16); arrays are not scaled.

    Returns:
        (H, W, 3) float32 in [0, 1]. The channels of a gray image are equal and share their memory.

    Raises:
        ImageError: The file cannot be decoded; the message starts with the path if one was given.
        OSError: The file cannot be opened.
        ValueError: The array has another shape, an integer dtype, or values that are not in [0, 1].
        TypeError: The image is of another type, for example a Pillow image.
    """
    if isinstance(image, bytes):
        return read_image(image, bit_depth)
    if isinstance(image, str | Path):
        try:
            return read_image(Path(image).read_bytes(), bit_depth)
        except ImageError as error:
            raise ImageError(f"{image}: {error}") from error
    if isinstance(image, torch.Tensor):
        image, reorder = (image.float() if image.is_floating_point() else image).detach().cpu().numpy(), "permute"
    elif isinstance(image, np.ndarray):
        reorder = "transpose"
    else:
        raise TypeError(_wrong_type(image))
    problem = _wrong_shape(image.shape, reorder) or _wrong_dtype(image.dtype, bit_depth)
    if problem := problem or _wrong_values(image, bit_depth):
        raise ValueError(problem)
    pixels = np.asarray(image, np.float32)
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))


def _wrong_type(image: object) -> str:
    """Return what to pass instead of an object of another type."""
    remedy = "pass the path or the bytes of an image file, or an (H, W, 3) float32 array in [0, 1]"
    if isinstance(image, Image.Image):
        remedy = "convert it: np.asarray(image.convert('RGB'), np.float32) / 255"
    return f"The image is of the type {type(image).__name__}; {remedy}."


def _wrong_shape(shape: tuple[int, ...], reorder: str) -> str:
    """Return what is wrong with the shape of an array, and the remedy; an empty string if nothing is.

    Args:
        shape: Shape of the array.
        reorder: Method that reorders the axes of the array.
    """
    match shape:
        case (0, *_) | (_, 0, *_):
            return f"The array has shape {shape}, which is an image without pixels."
        case (_, _) | (_, _, 3):
            return ""
        case (3, _, _):
            remedy = f"looks like channels first; pass (H, W, 3): image.{reorder}(1, 2, 0)"
        case (_, _, 1):
            remedy = "has one channel; pass (H, W): image[:, :, 0]"
        case (1, _, _):
            remedy = "looks like one channel that comes first; pass (H, W): image[0]"
        case (_, _, 4):
            remedy = "has four channels; pass (H, W, 3) without the opacity: image[:, :, :3]"
        case (_, _, _, _):
            remedy = "looks like a batch; pass one image at a time, as (H, W, 3): batch[0]"
        case _:
            remedy = "is not that of an image; pass (H, W, 3), or (H, W) for a gray image"
    return f"The array has shape {shape}, which {remedy}."


def _wrong_dtype(dtype: np.dtype[np.generic], bit_depth: int) -> str:
    """Return what is wrong with the dtype of an array, and the remedy; an empty string if nothing is."""
    if np.issubdtype(dtype, np.floating):
        return ""
    if dtype == np.uint8:
        remedy = "divide by 255: image.astype(np.float32) / 255"
    elif np.issubdtype(dtype, np.integer):
        remedy = _division(bit_depth)
    else:
        remedy = "convert it: image.astype(np.float32)"
    return f"The array has dtype {dtype}, but must have floating-point values in [0, 1]; {remedy}."


def _wrong_values(image: npt.NDArray[np.floating], bit_depth: int) -> str:
    """Return what is wrong with the values of an array, and the remedy; an empty string if nothing is."""
    low, high = float(image.min()), float(image.max())  # NaN if there is a NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        count = image.size - int(np.isfinite(image).sum())
        return f"Of the values of the array, {count} are NaN or infinite; give each of them a value in [0, 1]."
    if low >= 0.0 and high <= 1.0:
        return ""
    if low < 0.0 or high < 2.0:
        remedy = "pass values without normalization by mean and standard deviation, and clip them: np.clip(image, 0, 1)"
    elif high <= 255.0:
        remedy = "divide by 255"
    else:
        remedy = _division(bit_depth)
    return f"The array has values from {low:g} to {high:g}, but must have values in [0, 1]; {remedy}."


def _division(bit_depth: int) -> str:
    """Return the remedy for stored values that are not divided by the largest value of their bit depth."""
    return f"divide by 255 if they have 8 bits, or by {2**bit_depth - 1} for the {bit_depth} bits of the model"
