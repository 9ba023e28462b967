"""Files, contents of files and arrays give the same pixels; every other input is refused with its remedy."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reconpatch.detector.inputs import pixels_of
from reconpatch.exceptions import ImageError

STORED = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
EXPECTED = STORED.astype(np.float32) / np.float32(255)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(STORED).save(tmp_path / "part.png")
    return tmp_path / "part.png"


def test_a_path_its_text_its_bytes_and_an_array_are_the_same_image(file: Path) -> None:
    for image in (file, str(file), file.read_bytes(), EXPECTED, torch.from_numpy(EXPECTED)):
        pixels = pixels_of(image, 16)
        assert pixels.dtype == np.float32
        assert np.array_equal(pixels, EXPECTED)


def test_a_gray_array_is_the_same_image_as_a_gray_file() -> None:
    buffer = BytesIO()
    Image.fromarray(STORED[:, :, 0]).save(buffer, "PNG")
    of_file = pixels_of(buffer.getvalue(), 16)
    assert of_file.shape == (5, 7, 3)
    assert np.array_equal(pixels_of(EXPECTED[:, :, 0], 16), of_file)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_floating_point_dtypes_are_converted(dtype: str) -> None:
    pixels = pixels_of(EXPECTED.astype(dtype), 16)
    assert pixels.dtype == np.float32
    assert np.abs(pixels - EXPECTED).max() < 1e-3


def test_a_tensor_in_bfloat16_is_converted() -> None:
    assert np.array_equal(pixels_of(torch.ones((2, 2, 3), dtype=torch.bfloat16), 16), np.ones((2, 2, 3), np.float32))


def test_the_bit_depth_scales_the_values_of_a_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 1023, np.uint16)).save(tmp_path / "deep.png")
    assert (pixels_of(tmp_path / "deep.png", 10) == 1.0).all()
    assert pixels_of(tmp_path / "deep.png", 16)[0, 0, 0] == np.float32(1023) / np.float32(65535)


def test_the_error_of_a_file_that_cannot_be_decoded_starts_with_its_path(file: Path) -> None:
    file.write_bytes(b"not an image at all")
    for image in (file, str(file)):
        with pytest.raises(ImageError) as raised:
            pixels_of(image, 16)
        assert str(raised.value).startswith(f"{file}: ")
    with pytest.raises(ImageError) as raised:
        pixels_of(file.read_bytes(), 16)
    assert str(file) not in str(raised.value)


def test_the_error_of_a_missing_file_contains_its_path(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        pixels_of(file.with_name("gone.png"), 16)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            (3, 480, 640),
            "The array has shape (3, 480, 640), which looks like channels first; pass (H, W, 3): "
            "image.transpose(1, 2, 0).",
        ),
        (
            (1, 48, 64),
            "The array has shape (1, 48, 64), which looks like one channel that comes first; pass (H, W): image[0].",
        ),
        ((48, 64, 1), "The array has shape (48, 64, 1), which has one channel; pass (H, W): image[:, :, 0]."),
        (
            (48, 64, 4),
            "The array has shape (48, 64, 4), which has four channels; pass (H, W, 3) without the opacity: "
            "image[:, :, :3].",
        ),
        (
            (2, 48, 64, 3),
            "The array has shape (2, 48, 64, 3), which looks like a batch; pass one image at a time, as (H, W, 3): "
            "batch[0].",
        ),
        (
            (48,),
            "The array has shape (48,), which is not that of an image; pass (H, W, 3), or (H, W) for a gray image.",
        ),
        (
            (48, 64, 7),
            "The array has shape (48, 64, 7), which is not that of an image; pass (H, W, 3), or (H, W) for a gray "
            "image.",
        ),
        ((0, 64, 3), "The array has shape (0, 64, 3), which is an image without pixels."),
        ((48, 0), "The array has shape (48, 0), which is an image without pixels."),
    ],
)
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match="shape") as raised:
        pixels_of(np.zeros(shape, np.float32), 16)
    assert str(raised.value) == sentence


def test_the_remedy_for_a_tensor_uses_a_method_of_tensors() -> None:
    image = torch.rand((3, 48, 64))
    with pytest.raises(ValueError, match=r"pass \(H, W, 3\): image\.permute\(1, 2, 0\)\.$"):
        pixels_of(image, 16)
    assert pixels_of(image.permute(1, 2, 0), 16).shape == (48, 64, 3)


def test_an_image_of_three_rows_is_not_taken_for_channels_first() -> None:
    assert pixels_of(np.zeros((3, 48, 3), np.float32), 16).shape == (3, 48, 3)


@pytest.mark.parametrize(
    ("dtype", "bit_depth", "remedy"),
    [
        ("uint8", 16, "divide by 255: image.astype(np.float32) / 255."),
        ("uint16", 16, "divide by 255 if they have 8 bits, or by 65535 for the 16 bits of the model."),
        ("uint16", 12, "divide by 255 if they have 8 bits, or by 4095 for the 12 bits of the model."),
        ("int64", 10, "divide by 255 if they have 8 bits, or by 1023 for the 10 bits of the model."),
        ("bool", 16, "convert it: image.astype(np.float32)."),
        ("complex64", 16, "convert it: image.astype(np.float32)."),
    ],
)
def test_an_array_of_integers_is_refused(dtype: str, bit_depth: int, remedy: str) -> None:
    with pytest.raises(ValueError, match="dtype") as raised:
        pixels_of(np.zeros((4, 5, 3), dtype), bit_depth)
    assert str(raised.value) == (
        f"The array has dtype {dtype}, but must have floating-point values in [0, 1]; {remedy}"
    )


def with_values(*values: float) -> np.ndarray:
    image = np.full((4, 5, 3), 0.5, np.float32)
    image.reshape(-1)[: len(values)] = values
    return image


CLIP = "pass values without normalization by mean and standard deviation, and clip them: np.clip(image, 0, 1)"


@pytest.mark.parametrize(
    ("values", "bit_depth", "sentence"),
    [
        ((np.nan,), 16, "Of the values of the array, 1 are NaN or infinite; give each of them a value in [0, 1]."),
        (
            (np.inf, -np.inf),
            16,
            "Of the values of the array, 2 are NaN or infinite; give each of them a value in [0, 1].",
        ),
        ((0, 255), 16, "The array has values from 0 to 255, but must have values in [0, 1]; divide by 255."),
        (
            (0, 4000),
            12,
            "The array has values from 0 to 4000, but must have values in [0, 1]; divide by 255 if they have 8 "
            "bits, or by 4095 for the 12 bits of the model.",
        ),
        ((-2, 2.5), 16, f"The array has values from -2 to 2.5, but must have values in [0, 1]; {CLIP}."),
        ((0, 1.25), 16, f"The array has values from 0 to 1.25, but must have values in [0, 1]; {CLIP}."),
    ],
)
def test_values_outside_of_the_range_are_refused(values: tuple[float, ...], bit_depth: int, sentence: str) -> None:
    with pytest.raises(ValueError, match="values") as raised:
        pixels_of(with_values(*values), bit_depth)
    assert str(raised.value) == sentence


def test_the_ends_of_the_range_are_accepted() -> None:
    assert (pixels_of(with_values(0.0, 1.0), 16) == with_values(0.0, 1.0)).all()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            Image.new("L", (4, 3)),
            "The image is of the type Image; convert it: np.asarray(image.convert('RGB'), np.float32) / 255.",
        ),
        (
            [[0.0, 1.0]],
            "The image is of the type list; pass the path or the bytes of an image file, or an (H, W, 3) float32 array "
            "in [0, 1].",
        ),
    ],
)
def test_an_image_of_another_type_is_refused(image: object, sentence: str) -> None:
    with pytest.raises(TypeError) as raised:
        pixels_of(image, 16)
    assert str(raised.value) == sentence
