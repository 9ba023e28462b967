"""Conversion between NumPy arrays and tensors: public functions return the kind of array that they receive."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = Any  # np.ndarray or torch.Tensor; a function that receives one kind returns the same kind


def as_tensor(array: Array) -> torch.Tensor:
    """Return an array as a tensor of floats, which shares the memory of the array where possible.

    Args:
        array: NumPy array, tensor or nested sequence of numbers, of any shape. Half precision, integers and booleans
            are converted to float32; float32 and float64 are kept.

    Returns:
        Tensor of the same shape, float32 or float64.
    """
    if isinstance(array, torch.Tensor):
        return array if array.dtype in (torch.float32, torch.float64) else array.float()
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
        array = array.astype(np.float64 if array.dtype == np.dtype(">f8") else np.float32)
    elif not array.flags.writeable or any(stride < 0 for stride in array.strides):
        # Memory maps and Arrow buffers are read-only: torch warns about them, although this package never writes to
        # them. Torch does not support negative strides, which reversed arrays have.
        array = array.copy()
    return torch.from_numpy(array)


def like(result: torch.Tensor, array: Array) -> Array:
    """Return a result as the kind of array that the caller passed in.

    Args:
        result: Tensor of any shape and dtype, on any device.
        array: Array of the caller; only its kind matters.

    Returns:
        `result` itself if `array` is a tensor, otherwise a NumPy array with its values.
    """
    return result if isinstance(array, torch.Tensor) else result.detach().cpu().numpy()
