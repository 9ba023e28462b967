"""Where a pixel of the picture is in the network's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

from reconpatch.arrays import Array

_RESIZE = {224: 256, 320: 366, 480: 512}


def resize_for(image_size: int) -> int:
    """R, the side of the resized picture, for S, the side of the crop: 224: 256, 320: 366, 480: 512, else S / 0.875.

    Raises:
        ValueError: S is below 1.
    """
    if image_size < 1:
        raise ValueError(f"The image size is {image_size}; it must be at least 1.")
    return _RESIZE.get(image_size, round(image_size / 0.875))


@dataclass(frozen=True)
class Geometry:
    """The affine map from a picture's pixels to the network's: resize to R x R (aspect not kept), centre crop S x S.

    Coordinates are continuous: pixel i covers [i, i + 1). The crop starts at int(round((R - S) / 2)), as
    torchvision's centre crop does (Python's round: a half goes to the even number).

    Attributes:
        height, width: of the picture as shown, in pixels.
        resize: R.
        crop: S, at most R.

    Raises:
        ValueError: a side below 1, or S above R.
    """

    height: int
    width: int
    resize: int
    crop: int

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.crop) < 1 or self.crop > self.resize:
            raise ValueError(f"{self} is impossible: sides must be at least 1, and the crop at most the resized side.")

    @classmethod
    def of(cls, height: int, width: int, image_size: int, full_frame: bool = False) -> Geometry:
        """The geometry of the recipe for S = `image_size`; with `full_frame` R = S and nothing is cut off."""
        return cls(height, width, image_size if full_frame else resize_for(image_size), image_size)

    @property
    def offset(self) -> int:
        """First row, and first column, of the crop in the resized picture."""
        return round((self.resize - self.crop) / 2)

    def to_network(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """The picture's coordinates (n,), in pixels, in the network's input; those outside [0, S) were cut off."""
        return rows * self.resize / self.height - self.offset, cols * self.resize / self.width - self.offset

    def to_original(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """The network's coordinates (n,), in pixels, in the picture as shown; the way back of `to_network`."""
        return (rows + self.offset) * self.height / self.resize, (cols + self.offset) * self.width / self.resize

    def patch_centre(self, row: int, col: int, grid: tuple[int, int]) -> tuple[int, int]:
        """The picture's pixel (row, column) under the centre of patch (row, col) of a (H, W) grid over the crop."""
        return self._pixel_under(int(row), grid[0], self.height), self._pixel_under(int(col), grid[1], self.width)

    def patches_side(self, patches: int, grid: tuple[int, int]) -> float:
        """Pixels of the picture's longer side that so many patches, of a (H, W) grid over the crop, cover in a row."""
        return patches * self.crop / grid[0] * max(self.height, self.width) / self.resize

    def looked_at(self) -> tuple[slice, slice]:
        """Rows and columns of the picture whose centres lie in the crop."""
        return self._centres_inside(self.height), self._centres_inside(self.width)

    def _pixel_under(self, cell: int, cells: int, side: int) -> int:
        # floor(((cell + 1/2) · S / cells + offset) · side / R) in integers: where a centre falls on the border of two
        # pixels, and it often does, rounding must not choose.
        pixel = ((2 * cell + 1) * self.crop + 2 * cells * self.offset) * side // (2 * cells * self.resize)
        return min(max(pixel, 0), side - 1)

    def _centres_inside(self, side: int) -> slice:
        # offset ≤ (i + 1/2) · R / side < offset + S, again in integers; -(-a // b) rounds up.
        first, end = (
            -((self.resize - 2 * side * edge) // (2 * self.resize)) for edge in (self.offset, self.offset + self.crop)
        )
        return slice(max(first, 0), min(end, side))
