"""NumPy arrays or tensors in, the same kind out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = Any  # np.ndarray or torch.Tensor: what a public function takes, it gives back


def as_tensor(array: Array) -> torch.Tensor:
    """Return a tensor over the same memory where possible; half precision and integers become float32."""
    if isinstance(array, torch.Tensor):
        return array if array.dtype in (torch.float32, torch.float64) else array.float()
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64) or not array.dtype.isnative:
        array = array.astype(np.float64 if array.dtype == np.dtype(">f8") else np.float32)
    elif not array.flags.writeable or any(stride < 0 for stride in array.strides):
        # Memory maps and Arrow buffers are read-only, which torch warns of although nothing here writes; reversed
        # arrays it cannot hold at all.
        array = array.copy()
    return torch.from_numpy(array)


def like(result: torch.Tensor, array: Array) -> Array:
    """Return `result` as the kind that `array` is: a tensor as it is, otherwise a NumPy array."""
    return result if isinstance(array, torch.Tensor) else result.detach().cpu().numpy()
