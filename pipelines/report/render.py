"""The pictures of a report: each image small, its maps in colours, and its loudest place beside its good match.

A file is named by what it shows, so that what is there stays, and the report of the night before lends its own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from pipelines.keys import key_of
from pipelines.member_scores import MemberScores
from pipelines.report.subject import Subject
from pipelines.storage import Store
from reconpatch.images import ImageError, read_mask, read_picture
from reconpatch.maps import anomaly_map, to_original
from reconpatch.model import Model, judge, normalised_scores
from reconpatch.pictures import close_up, coloured, outlines, small, small_size

MEDIA = "media"
_SIDE = 480  # pixels of a picture's longer side
_MAP_SIDE = 160
_MEMBER_SIDE = 96
_CLOSE_UP = 128
_PATCHES = 5  # sides of a patch that a close-up shows
_LOOK = 1  # raised when the same inputs give other pictures


@dataclass(frozen=True)
class Scale:
    """A category's colours: dark at `low` and below, light at `high` and above."""

    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """An image as it is shown.

    Attributes:
        row: of scores/fused or audit.parquet.
        picture, map, members, pair: names of files; None where there is nothing to show.
        width, height: that the marks are drawn on.
        truth, region: outlines as SVG paths; of the mask, and of the patches above the threshold.
        star: (x, y) of the loudest patch.
        why_not: why there is no picture.
    """

    row: Mapping[str, Any]
    picture: str | None
    map: str | None
    members: str | None
    pair: str | None
    width: int
    height: int
    truth: str = ""
    region: str = ""
    star: tuple[float, float] | None = None
    why_not: str = ""


@dataclass
class Renderer:
    """Renders the cards of one category.

    Attributes:
        model: whose scores they are.
        index: image_path → its row of the index.
        media: where files go.
        before: where files of an earlier report are; None for nowhere.
    """

    subject: Subject
    category: str
    model: Model
    scale: Scale
    index: Mapping[str, Mapping[str, Any]]
    media: Store
    before: Store | None
    _grids: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)
    _pixel_maps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self, paths: Sequence[str]) -> None:
        """Read the patch scores, or maps, of the images that will be shown, all at once."""
        unique = list(dict.fromkeys(paths))
        found: list[MemberScores] = []
        for member in self.model.members:
            scores = self.subject.members(self.category, member.backbone, unique)
            if scores is None:
                self._pixel_maps = self.subject.maps(self.category, unique)
                return
            found.append(scores)
        maps = [member.maps for member in found]
        fused = judge(self.model, maps).fused
        members = [np.asarray(each) for each in normalised_scores(self.model, maps)]
        for number, path in enumerate(found[0].table["image_path"].to_pylist()):
            self._grids[path] = [fused[number], *(each[number] for each in members)]

    def card(self, row: Mapping[str, Any]) -> Card:
        """An image with all that is known of it."""
        path = row["image_path"]
        known = self.index.get(path, {})
        try:
            pixels = self._pixels(path)
        except (ImageError, OSError) as error:
            return Card(row, None, None, None, None, 4, 3, why_not=" ".join(str(error).split())[:200])
        height, width = small_size(pixels.shape[0], pixels.shape[1], _SIDE)
        name = key_of([known.get("content_sha256") or path, self.model.version, _LOOK])[:20]
        picture = self._file(f"{name}-picture.jpg", lambda: small(pixels, _SIDE))
        map_name, region = self._maps(name, path, pixels.shape[:2], (height, width))
        star = None
        if row["peak_row"] is not None:
            star = (row["peak_col"] + 0.5) * width / pixels.shape[1], (row["peak_row"] + 0.5) * height / pixels.shape[0]
        return Card(
            row,
            picture,
            map_name,
            self._members(name, path),
            self._pair(name, row, pixels),
            width,
            height,
            self._truth(known, (height, width)),
            region,
            star,
        )

    def _maps(self, name: str, path: str, picture: tuple[int, ...], shown: tuple[int, int]) -> tuple[str | None, str]:
        """The coloured map's file, and the outline of what is above the threshold."""
        if path in self._grids:
            fused, size = self._grids[path][0], self.model.image_size
            on = small_size(picture[0], picture[1], _MAP_SIDE)
            geometry = self.model.geometry(*on)
            values = np.asarray(to_original(anomaly_map(fused, size), geometry))
            sharp = np.asarray(to_original(anomaly_map(fused, size, sigma=0.0), geometry))
        elif path in self._pixel_maps:
            stored = self._pixel_maps[path]
            values = sharp = np.asarray(stored["map"], np.float32).reshape(stored["height"], stored["width"])
        else:
            return None, ""
        made = self._file(f"{name}-map.png", lambda: coloured(_shrunk(values), self.scale.low, self.scale.high))
        region = "" if self.model.threshold is None else _path(sharp > self.model.threshold, shown)
        return made, region

    def _members(self, name: str, path: str) -> str | None:
        """The members' own maps side by side, where there are several."""
        grids = self._grids.get(path, [])[1:]
        if len(grids) < 2:
            return None

        def draw() -> npt.NDArray[np.uint8]:
            maps = [np.asarray(anomaly_map(grid, self.model.image_size)) for grid in grids]
            drawn = [coloured(_shrunk(each, _MEMBER_SIDE), self.scale.low, self.scale.high) for each in maps]
            return np.concatenate(drawn, axis=1)[:, :, :3]

        return self._file(f"{name}-members.jpg", draw)

    def _pair(self, name: str, row: Mapping[str, Any], pixels: npt.NDArray[np.float32]) -> str | None:
        """The loudest place, and beside it the good patch that it was compared with."""
        nearest, backbone = row["nearest_image"], row["nearest_backbone"]
        grid = self._grid_of(backbone)
        if nearest is None or row["peak_row"] is None or grid is None:
            return None
        told = [nearest, row["nearest_row"], row["nearest_col"], row["peak_row"], row["peak_col"]]

        def draw() -> npt.NDArray[np.uint8]:
            good = self._pixels(nearest, learned=True)
            geometry = self.model.geometry(*good.shape[:2])
            place = geometry.patch_centre(row["nearest_row"], row["nearest_col"], grid)
            side = max(16, round(geometry.patches_side(_PATCHES, grid)))
            return np.concatenate(
                [
                    close_up(pixels, row["peak_row"], row["peak_col"], side, _CLOSE_UP),
                    close_up(good, *place, side, _CLOSE_UP),
                ],
                axis=1,
            )

        try:
            return self._file(f"{name}-{key_of(told)[:8]}-pair.jpg", draw)
        except (ImageError, OSError):  # the good image is not there any more: its name is shown all the same
            return None

    def _grid_of(self, backbone: str) -> tuple[int, int] | None:
        return next((member.grid for member in self.model.members if member.backbone == backbone), None)

    def _truth(self, known: Mapping[str, Any], shown: tuple[int, int]) -> str:
        mask_path = known.get("mask_path")
        if mask_path is None:
            return ""
        try:
            return _path(read_mask(self.subject.pictures.read_picture(mask_path)), shown)
        except (ImageError, OSError):  # the run's warnings name it
            return ""

    def _pixels(self, path: str, *, learned: bool = False) -> npt.NDArray[np.float32]:
        place = self.subject.learned if learned else self.subject.pictures
        return read_picture(place.read_picture(path), self.model.bit_depth).pixels

    def _file(self, name: str, draw: Callable[[], npt.NDArray[np.uint8]]) -> str:
        if not self.media.exists(name):
            if self.before is not None and self.before.exists(name):
                self.media.write(name, self.before.read(name))
            else:
                self.media.write(name, _encoded(draw(), name))
        return f"{MEDIA}/{name}"


def _encoded(drawn: npt.NDArray[np.uint8], name: str) -> bytes:
    buffer = io.BytesIO()
    picture = Pillow.fromarray(drawn)
    if name.endswith(".png"):
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _shrunk(values: npt.NDArray[np.float32], side: int = _MAP_SIDE) -> npt.NDArray[np.float32]:
    """Every so many pixels of a map: it is smooth."""
    step = max(1, -(-max(values.shape) // side))
    return values[::step, ::step]


def _path(mask: npt.NDArray[np.bool_], shown: tuple[int, int]) -> str:
    """Outlines as the data of an SVG path, in the pixels of what is shown."""
    fine = small_size(mask.shape[0], mask.shape[1], 2 * max(shown))
    if fine != mask.shape:  # what nobody sees would take long; a pixel of many is marked where any of them is
        for axis in (0, 1):
            starts = np.arange(fine[axis]) * mask.shape[axis] // fine[axis]
            mask = np.logical_or.reduceat(mask, starts, axis=axis)
    height, width = mask.shape
    parts = []
    for polygon in outlines(mask, tolerance=0.5 * max(mask.shape) / max(shown)):
        points = " ".join(f"{x * shown[1] / width:.1f},{y * shown[0] / height:.1f}" for x, y in polygon)
        parts.append(f"M{points}Z")
    return "".join(parts)
