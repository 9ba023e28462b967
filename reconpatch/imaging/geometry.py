"""The mapping between the pixels of an image and the pixels of a backbone's input."""

from __future__ import annotations

from dataclasses import dataclass

from reconpatch.arrays import Array
from reconpatch.deprecated_arguments import RenamedAttribute

_RESIZE = {224: 256, 320: 366, 480: 512}


def resize_for(image_size: int) -> int:
    """Return R, the side to which an image is resized before a center crop of side S.

    Args:
        image_size: S, the side of the crop, in pixels, at least 1.

    Returns:
        R in pixels: 256 for S = 224, 366 for 320, 512 for 480, otherwise S / 0.875, rounded.

    Raises:
        ValueError: S is below 1.
    """
    if image_size < 1:
        raise ValueError(f"The image size is {image_size}; it must be at least 1.")
    return _RESIZE.get(image_size, round(image_size / 0.875))


@dataclass(frozen=True)
class Geometry:
    """An affine mapping from an image to a backbone's input: resize to R x R pixels, then center crop to S x S pixels.

    The resize does not keep the aspect ratio. Coordinates are continuous: pixel i covers [i, i + 1). The crop starts at
    round((R - S) / 2), as torchvision's center crop does; Python rounds a half to the even number.

    Attributes:
        height: Height of the image as displayed, in pixels, at least 1.
        width: Width of the image as displayed, in pixels, at least 1.
        resize: R, the side of the resized image, in pixels.
        crop: S, the side of the center crop and of the backbone's input, in pixels, 1 to R.

    Raises:
        ValueError: A side is below 1, or S is above R.

    Examples:
        >>> from reconpatch import Geometry
        >>> geometry = Geometry.of(1024, 1024, 224)
        >>> geometry.resize, geometry.crop, geometry.offset
        (256, 224, 16)
        >>> geometry.patch_center(0, 0, (28, 28))  # row and column in the image for the first of 28 x 28 patches
        (80, 80)
    """

    height: int
    width: int
    resize: int
    crop: int

    patch_centre = RenamedAttribute("patch_center")

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.crop) < 1 or self.crop > self.resize:
            raise ValueError(f"{self} is not valid; each side must be at least 1, and crop must not exceed resize.")

    @classmethod
    def of(cls, height: int, width: int, image_size: int, full_frame: bool = False) -> Geometry:
        """Return the geometry of an image, with R from `resize_for`.

        Args:
            height: Height of the image as displayed, in pixels, at least 1.
            width: Width of the image as displayed, in pixels, at least 1.
            image_size: S, the side of the backbone's input, in pixels, at least 1.
            full_frame: Whether to use R = S, so that no part of the image is cropped.

        Raises:
            ValueError: A side is below 1.
        """
        return cls(height, width, image_size if full_frame else resize_for(image_size), image_size)

    @property
    def offset(self) -> int:
        """Return the first row of the crop in the resized image, which is also its first column."""
        return round((self.resize - self.crop) / 2)

    def to_network(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Convert coordinates of the image to coordinates of the backbone's input.

        Args:
            rows: Row coordinates in the image, (n,), in pixels, continuous.
            cols: Column coordinates in the image, (n,), in pixels, continuous.

        Returns:
            Row and column coordinates in the backbone's input, (n,) each. Points outside of [0, S) are cropped off.
        """
        return rows * self.resize / self.height - self.offset, cols * self.resize / self.width - self.offset

    def to_original(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Convert coordinates of the backbone's input to coordinates of the image; the inverse of `to_network`.

        Args:
            rows: Row coordinates in the backbone's input, (n,), in pixels, continuous.
            cols: Column coordinates in the backbone's input, (n,), in pixels, continuous.

        Returns:
            Row and column coordinates in the image, (n,) each.
        """
        return (rows + self.offset) * self.height / self.resize, (cols + self.offset) * self.width / self.resize

    def patch_center(self, row: int, col: int, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the pixel of the image at the center of a patch.

        Args:
            row: Row of the patch in the grid, 0 to H - 1.
            col: Column of the patch in the grid, 0 to W - 1.
            grid: (H, W), the number of patches over the height and width of the crop.

        Returns:
            Row and column of the pixel.
        """
        return self._pixel_under(int(row), grid[0], self.height), self._pixel_under(int(col), grid[1], self.width)

    def patches_side(self, patches: int, grid: tuple[int, int]) -> float:
        """Return the length that adjacent patches cover along the longer side of the image, in pixels of the image.

        Args:
            patches: Number of adjacent patches.
            grid: (H, W), the number of patches over the height and width of the crop.
        """
        return patches * self.crop / grid[0] * max(self.height, self.width) / self.resize

    def looked_at(self) -> tuple[slice, slice]:
        """Return the range of rows and the range of columns of the image whose pixel centers are inside the crop."""
        return self._centers_inside(self.height), self._centers_inside(self.width)

    def _pixel_under(self, cell: int, cells: int, side: int) -> int:
        # This is floor(((cell + 1/2) · S / cells + offset) · side / R) in integers. Many centers are exactly on the
        # border of two pixels, where the rounding of floating-point numbers would choose the pixel.
        pixel = ((2 * cell + 1) * self.crop + 2 * cells * self.offset) * side // (2 * cells * self.resize)
        return min(max(pixel, 0), side - 1)

    def _centers_inside(self, side: int) -> slice:
        # The pixels i with offset ≤ (i + 1/2) · R / side < offset + S, in integers as above; -(-a // b) rounds up.
        first, end = (
            -((self.resize - 2 * side * edge) // (2 * self.resize)) for edge in (self.offset, self.offset + self.crop)
        )
        return slice(max(first, 0), min(end, side))
