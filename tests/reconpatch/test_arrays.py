"""Conversion between NumPy arrays and tensors."""

import warnings

import numpy as np
import pytest
import torch

from reconpatch.arrays import as_tensor, like


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_tensor_shares_the_memory_of_writeable_floats(dtype):
    array = np.zeros((2, 3), dtype)
    as_tensor(array)[0, 0] = 7.0
    assert array[0, 0] == 7.0


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8, np.uint16, bool, ">f4"])
def test_as_tensor_converts_everything_else_to_float32(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    tensor = as_tensor(array)
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_as_tensor_converts_big_endian_float64_to_float64():
    assert as_tensor(np.array([1e300], ">f8")).tolist() == [1e300]


def test_as_tensor_accepts_read_only_and_reversed_arrays_without_a_warning():
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_tensor(array).tolist() == array.tolist()
        assert as_tensor(array[::-1]).tolist() == array[::-1].tolist()
        assert as_tensor(array.astype(np.float64)[:, ::-1]).tolist() == array[:, ::-1].tolist()


def test_as_tensor_accepts_tensors_and_lists():
    single = torch.ones(2)
    assert as_tensor(single) is single
    assert as_tensor(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert as_tensor(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert as_tensor([1.0, 2.0]).tolist() == [1.0, 2.0]


def test_like_returns_the_kind_of_the_array():
    result = torch.ones(2, requires_grad=True)
    assert like(result, torch.zeros(1)) is result
    assert isinstance(like(result, np.zeros(1)), np.ndarray)
