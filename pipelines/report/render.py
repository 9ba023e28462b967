"""The image files of a report: reduced images, colored anomaly maps, and close-ups of the highest-scoring patches.

The name of a file is derived from its content. Existing files are therefore not rendered again, and files of an earlier
report are copied.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from pipelines.data.masks import read_mask_of
from pipelines.data.records import ImageRecord
from pipelines.errors import ImageError, error_line
from pipelines.planning.cache_keys import key_of
from pipelines.report.rows import AuditedImage, Peak, ScoredImage
from pipelines.report.subject import ReportSource
from pipelines.storage.store import Store
from reconpatch.detector.model import Model, normalized_scores, predict
from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.images import read_picture
from reconpatch.imaging.rendering import close_up, colored, outlines, small, small_size

MEDIA = "media"
_SIDE = 480  # longer side of a reduced image, in pixels
_MAP_SIDE = 160  # longer side of an anomaly map, in pixels
_MEMBER_SIDE = 96  # longer side of a member's anomaly map, in pixels
_CLOSE_UP = 128  # side of a close-up, in pixels
_PATCHES = 5  # number of patches along a side of a close-up
_LOOK = 2  # part of the file names; increase it when the same inputs result in different image files


@dataclass(frozen=True)
class Scale:
    """The color scale of a category's anomaly maps.

    Attributes:
        low: Score that has the darkest color.
        high: Score that has the lightest color.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """A rendered image. File names are relative to the folder of the report.

    Attributes:
        image: Row of the image in scores/fused or audit.parquet.
        picture: File of the reduced image; None if the image cannot be read.
        map: File of the colored anomaly map; None if no map is stored.
        members: File with the anomaly maps of the members, side by side; None for fewer than two members.
        pair: File with two close-ups, of the highest-scoring patch and of the training patch nearest to it; None if
            there is no such patch or its image cannot be read.
        width, height: Size of the reduced image in pixels. Outlines and star use its coordinates.
        truth: Outline of the mask, as the data of an SVG path; empty if there is no mask.
        region: Outline of the region above the threshold, as the data of an SVG path; empty if there is none.
        star: Center (x, y) of the highest-scoring patch; None if no patch has a score.
        why_not: Error message if the image cannot be read; otherwise empty.
    """

    image: ScoredImage | AuditedImage
    picture: str | None = None
    map: str | None = None
    members: str | None = None
    pair: str | None = None
    width: int = 4
    height: int = 3
    truth: str = ""
    region: str = ""
    star: tuple[float, float] | None = None
    why_not: str = ""


@dataclass(kw_only=True)
class Renderer:
    """A renderer for the images of one category.

    Attributes:
        source: Images, scores and anomaly maps to render.
        category: Name of the category.
        model: Model that computed the scores.
        scale: Color scale of the anomaly maps.
        index: image_path → row of the index; empty if there is no index.
        media: Folder for the image files.
        before: Folder with the image files of an earlier report; None for no earlier report.
    """

    source: ReportSource
    category: str
    model: Model
    scale: Scale
    index: Mapping[str, ImageRecord]
    media: Store
    before: Store | None
    _grids: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)
    _pixel_maps: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def prepare(self, paths: Sequence[str]) -> None:
        """Read the patch scores of the images to render, or their anomaly maps if no patch scores are stored.

        Args:
            paths: Paths of the images, as in their rows.
        """
        unique = list(dict.fromkeys(paths))
        members = [self.source.member_scores(self.category, member.backbone, unique) for member in self.model.members]
        stored = [scores for scores in members if scores is not None]
        if len(stored) < len(members):
            self._pixel_maps = self.source.maps(self.category, unique)
            return
        maps = [scores.maps for scores in stored]
        fused = predict(self.model, maps).fused
        normalized = [np.asarray(scores) for scores in normalized_scores(self.model, maps)]
        for number, path in enumerate(stored[0].table["image_path"].to_pylist()):
            self._grids[path] = [fused[number], *(scores[number] for scores in normalized)]

    def card(self, image: ScoredImage | AuditedImage) -> Card:
        """Render an image. Its path must have been passed to `prepare`.

        Args:
            image: Row of the image in scores/fused or audit.parquet.

        Returns:
            The rendered image. If the image cannot be read, the card contains only the error message.
        """
        path, peak = image.image_path, image.peak
        record = self.index.get(path)
        try:
            pixels = self._pixels(path)
        except (ImageError, OSError) as error:
            return Card(image=image, why_not=error_line(error, limit=200))
        rows, cols = pixels.shape[:2]
        height, width = small_size(rows, cols, _SIDE)
        content = record.content_sha256 if record is not None else None
        name = key_of([content or path, self.model.version, _LOOK])[:20]
        map_name, region = self._map(name, path, (rows, cols), (height, width))
        star = None
        if peak.pixel is not None:
            star = (peak.pixel[1] + 0.5) * width / cols, (peak.pixel[0] + 0.5) * height / rows
        return Card(
            image=image,
            picture=self._file(f"{name}-picture.jpg", lambda: small(pixels, _SIDE)),
            map=map_name,
            members=self._members(name, path),
            pair=self._pair(name, peak, pixels),
            width=width,
            height=height,
            truth=self._truth(record, (height, width)),
            region=region,
            star=star,
        )

    def _map(self, name: str, path: str, picture: tuple[int, int], shown: tuple[int, int]) -> tuple[str | None, str]:
        """Return the file of the colored anomaly map, and the outline of the region above the threshold.

        Args:
            name: First part of the file name.
            path: Path of the image.
            picture: (height, width) of the image in pixels.
            shown: (height, width) of the reduced image in pixels.
        """
        if path in self._grids:
            fused, size = self._grids[path][0], self.model.image_size
            geometry = self.model.geometry(*small_size(*picture, _MAP_SIDE))
            values = np.asarray(to_original(anomaly_map(fused, size), geometry))
            sharp = np.asarray(to_original(anomaly_map(fused, size, sigma=0.0), geometry))
        elif path in self._pixel_maps:
            values = sharp = self._pixel_maps[path]
        else:
            return None, ""
        file = self._file(f"{name}-map.png", lambda: colored(_shrunk(values), self.scale.low, self.scale.high))
        region = "" if self.model.threshold is None else _path(sharp > self.model.threshold, shown)
        return file, region

    def _members(self, name: str, path: str) -> str | None:
        """Return the file with the members' anomaly maps side by side; None for fewer than two members."""
        grids = self._grids.get(path, [])[1:]
        if len(grids) < 2:
            return None

        def draw() -> npt.NDArray[np.uint8]:
            maps = [np.asarray(anomaly_map(grid, self.model.image_size)) for grid in grids]
            drawn = [colored(_shrunk(values, _MEMBER_SIDE), self.scale.low, self.scale.high) for values in maps]
            return np.concatenate(drawn, axis=1)[:, :, :3]

        return self._file(f"{name}-members.jpg", draw)

    def _pair(self, name: str, peak: Peak, pixels: npt.NDArray[np.float32]) -> str | None:
        """Return the file with close-ups of the highest-scoring patch and the nearest training patch, or None."""
        pixel, nearest = peak.pixel, peak.nearest
        if pixel is None or nearest is None:
            return None
        grid = self._grid_of(nearest.backbone)
        if grid is None:
            return None

        def draw() -> npt.NDArray[np.uint8]:
            good = self._pixels(nearest.image_path, training=True)
            geometry = self.model.geometry(*good.shape[:2])
            center = geometry.patch_center(nearest.row, nearest.col, grid)
            side = max(16, round(geometry.patches_side(_PATCHES, grid)))
            close_ups = [
                close_up(picture, *middle, side=side, size=_CLOSE_UP)
                for picture, middle in ((pixels, pixel), (good, center))
            ]
            return np.concatenate(close_ups, axis=1)

        key = key_of([nearest.image_path, nearest.row, nearest.col, *pixel])
        try:
            return self._file(f"{name}-{key[:8]}-pair.jpg", draw)
        except (ImageError, OSError):  # Without the training image, the page shows only its name.
            return None

    def _grid_of(self, backbone: str) -> tuple[int, int] | None:
        """Return the grid (rows, cols) of a member; None if the model has no such member."""
        return next((member.grid for member in self.model.members if member.backbone == backbone), None)

    def _truth(self, record: ImageRecord | None, shown: tuple[int, int]) -> str:
        """Return the outline of the mask; an empty string without a readable mask."""
        if record is None or record.mask_path is None:
            return ""
        try:
            return _path(read_mask_of(self.source.images, record).defective, shown)
        except (ImageError, OSError):  # The run has already warned about this mask.
            return ""

    def _pixels(self, path: str, *, training: bool = False) -> npt.NDArray[np.float32]:
        """Return the pixels of an image, (height, width, 3) float32."""
        store = self.source.training_images if training else self.source.images
        return read_picture(store.read_picture(path), self.model.bit_depth).pixels

    def _file(self, name: str, draw: Callable[[], npt.NDArray[np.uint8]]) -> str:
        """Write an image file unless it exists; return its path in the report."""
        if not self.media.exists(name):
            if self.before is not None and self.before.exists(name):
                self.media.write(name, self.before.read(name))
            else:
                self.media.write(name, _encoded(draw(), name))
        return f"{MEDIA}/{name}"


def _encoded(drawn: npt.NDArray[np.uint8], name: str) -> bytes:
    """Return the content of a PNG or JPEG file, as the suffix of its name requests."""
    buffer = io.BytesIO()
    picture = Pillow.fromarray(drawn)
    if name.endswith(".png"):
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _shrunk(values: npt.NDArray[np.float32], side: int = _MAP_SIDE) -> npt.NDArray[np.float32]:
    """Return every n-th pixel of a map, so that no side exceeds `side`; this is sufficient, because maps are smooth."""
    step = max(1, -(-max(values.shape) // side))
    return values[::step, ::step]


def _path(mask: npt.NDArray[np.bool_], shown: tuple[int, int]) -> str:
    """Return the outlines of a mask as the data of an SVG path, for an image of (height, width) `shown`."""
    fine = small_size(mask.shape[0], mask.shape[1], 2 * max(shown))
    # Finer outlines take long and are not visible. A reduced pixel is set if any of its original pixels is set.
    if fine != mask.shape:
        for axis in (0, 1):
            starts = np.arange(fine[axis]) * mask.shape[axis] // fine[axis]
            mask = np.logical_or.reduceat(mask, starts, axis=axis)
    height, width = mask.shape
    parts = []
    for polygon in outlines(mask, tolerance=0.5 * max(mask.shape) / max(shown)):
        points = " ".join(f"{x * shown[1] / width:.1f},{y * shown[0] / height:.1f}" for x, y in polygon)
        parts.append(f"M{points}Z")
    return "".join(parts)
