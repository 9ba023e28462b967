"""The mapping between the pixels of an image and the pixels of the network's input."""

from __future__ import annotations

from dataclasses import dataclass

from reconpatch.arrays import Array
from reconpatch.deprecated_arguments import RenamedAttribute

_RESIZE = {224: 256, 320: 366, 480: 512}


def resize_for(image_size: int) -> int:
    """Return R, the side of the resized image: 256 for 224, 366 for 320, 512 for 480, otherwise S / 0.875.

    Args:
        image_size: S, the side of the crop, in pixels.

    Raises:
        ValueError: S is below 1.
    """
    if image_size < 1:
        raise ValueError(f"The image size is {image_size}; it must be at least 1.")
    return _RESIZE.get(image_size, round(image_size / 0.875))


@dataclass(frozen=True)
class Geometry:
    """Affine map from an image's pixels to the network's: resize to R x R (aspect not kept), center crop S x S.

    Coordinates are continuous: pixel i covers [i, i + 1). The crop starts at int(round((R - S) / 2)), as
    torchvision's center crop does (Python's round: a half goes to the even number).

    Attributes:
        height: height of the image as displayed, in pixels.
        width: width of the image as displayed, in pixels.
        resize: R, the side of the resized image.
        crop: S, the side of the center crop, at most R.

    Raises:
        ValueError: a side is below 1, or S is above R.

    Example:
        >>> from reconpatch import Geometry
        >>> Geometry.of(1024, 1024, 224).patch_center(0, 0, (28, 28))
        (80, 80)
    """

    height: int
    width: int
    resize: int
    crop: int

    patch_centre = RenamedAttribute("patch_center")

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.crop) < 1 or self.crop > self.resize:
            raise ValueError(f"{self} is impossible: sides must be at least 1, and the crop at most the resized side.")

    @classmethod
    def of(cls, height: int, width: int, image_size: int, full_frame: bool = False) -> Geometry:
        """Return the geometry of an image.

        Args:
            height: height of the image, in pixels.
            width: width of the image, in pixels.
            image_size: S, the side of the network's input.
            full_frame: whether R = S, so that nothing is cropped.
        """
        return cls(height, width, image_size if full_frame else resize_for(image_size), image_size)

    @property
    def offset(self) -> int:
        """First row, and first column, of the crop in the resized image."""
        return round((self.resize - self.crop) / 2)

    def to_network(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return coordinates (n,) of the image as coordinates of the network's input; outside [0, S) is cropped."""
        return rows * self.resize / self.height - self.offset, cols * self.resize / self.width - self.offset

    def to_original(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return coordinates (n,) of the network's input as coordinates of the image; the inverse of `to_network`."""
        return (rows + self.offset) * self.height / self.resize, (cols + self.offset) * self.width / self.resize

    def patch_center(self, row: int, col: int, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the image's pixel (row, column) under the center of a patch.

        Args:
            row: row of the patch.
            col: column of the patch.
            grid: (H, W) patches over the crop.
        """
        return self._pixel_under(int(row), grid[0], self.height), self._pixel_under(int(col), grid[1], self.width)

    def patches_side(self, patches: int, grid: tuple[int, int]) -> float:
        """Return how many pixels of the image's longer side a row of patches covers.

        Args:
            patches: number of patches in the row.
            grid: (H, W) patches over the crop.
        """
        return patches * self.crop / grid[0] * max(self.height, self.width) / self.resize

    def looked_at(self) -> tuple[slice, slice]:
        """Return the rows and columns of the image whose pixel centers lie in the crop."""
        return self._centers_inside(self.height), self._centers_inside(self.width)

    def _pixel_under(self, cell: int, cells: int, side: int) -> int:
        # floor(((cell + 1/2) · S / cells + offset) · side / R) in integers: where a center falls on the border of two
        # pixels, and it often does, rounding must not choose.
        pixel = ((2 * cell + 1) * self.crop + 2 * cells * self.offset) * side // (2 * cells * self.resize)
        return min(max(pixel, 0), side - 1)

    def _centers_inside(self, side: int) -> slice:
        # offset ≤ (i + 1/2) · R / side < offset + S, again in integers; -(-a // b) rounds up.
        first, end = (
            -((self.resize - 2 * side * edge) // (2 * self.resize)) for edge in (self.offset, self.offset + self.crop)
        )
        return slice(max(first, 0), min(end, side))
