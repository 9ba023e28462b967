"""Today's images of many categories, each judged by the model that is in force: SCORES/<run_id>/scores/fused/...

What the night before has judged alike, by the same model and of the same contents, is taken over as it is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from pipelines.judging import Order, judge_orders
from pipelines.keys import DESCRIBED, described, key_of
from pipelines.networks import Networks
from pipelines.plan import cut_waves
from pipelines.rundir import INDEX_FILE, PART_ROWS, fused_part, fused_parts, fused_schema, maps_part
from pipelines.stages import Stages
from pipelines.storage import Store
from pipelines.tables import metadata_of, read_table, rows_if_there, write_table
from pipelines.walk import Image
from reconpatch.model import Model


@dataclass(frozen=True)
class Today:
    """A category's images of today and the model that judges them.

    Attributes:
        place: the model's folder.
        images: readable ones, in order.
    """

    model: Model
    place: Store
    images: tuple[Image, ...]

    @property
    def category(self) -> str:
        """That of its model."""
        return self.model.category

    @property
    def judge(self) -> str:
        """What rows depend on, the images aside."""
        return key_of([self.model.version, self.model.false_alarms])


@dataclass(frozen=True, eq=False)
class Part:
    """Up to `PART_ROWS` of a category's images: one file."""

    today: Today
    number: int
    images: tuple[Image, ...]

    @property
    def file(self) -> str:
        """Its name below the night's folder."""
        return fused_part(self.today.category, self.number)

    @property
    def key(self) -> str:
        """Of all that its rows depend on."""
        contents = [(image.image_path, image.content_sha256) for image in self.images]
        return key_of([self.today.judge, contents])


class Before:
    """The rows of an earlier night.

    Attributes:
        index: image_path → its row of index.parquet.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store
        rows = [] if store is None else rows_if_there(store, INDEX_FILE)
        self.index = {str(row["image_path"]): row for row in rows}

    def rows(self, part: Part) -> list[pa.Table]:
        """Those of a part's images that the same model has judged, of the same contents and described alike."""
        if self._store is None:
            return []
        same = {image.image_path for image in part.images if self._has(image)}
        tables = []
        for info in self._store.files(fused_parts(part.today.category)):
            name = self._store.name_of(info)
            if same and metadata_of(self._store, name).get("judge") == part.today.judge:
                with suppress(OSError, ValueError):  # what is damaged is judged again
                    table = read_table(self._store, name).replace_schema_metadata(None)
                    tables.append(table.filter([path in same for path in table["image_path"].to_pylist()]))
        return tables

    def _has(self, image: Image) -> bool:
        row = self.index.get(image.image_path)
        return row is not None and tuple(row[name] for name in DESCRIBED) == described(image)


def _parts_of(today: Today) -> list[Part]:
    starts = range(0, len(today.images), PART_ROWS)
    return [Part(today, number, today.images[start : start + PART_ROWS]) for number, start in enumerate(starts)]


@dataclass(frozen=True)
class Judged:
    """A category that is done: how many of its images were scored now, not taken over, and what that took.

    A wave's seconds are shared out by images.
    """

    today: Today
    images: int
    seconds: float


def judge_today(stages: Stages, todays: Sequence[Today], networks: Networks, before: Before) -> Iterator[Judged]:
    """Write the parts of some categories, as many at once as scratch has room for; yields those that are done."""
    parts = [part for today in todays for part in _parts_of(today)]
    waiting = Counter(part.today.category for part in parts)
    sizes = [networks.bytes_per_image(part.today.model) * len(part.images) for part in parts]
    _remove_others(stages, todays, {part.file for part in parts})
    images: dict[str, int] = dict.fromkeys(waiting, 0)
    seconds: dict[str, float] = dict.fromkeys(waiting, 0.0)
    for wave in cut_waves(parts, sizes, stages.config.scratch_gb * 1e9):
        started = time.perf_counter()
        written = _judge_parts(stages, wave, networks, before)
        stages.free({part.today.category for part in wave})
        took, scored = time.perf_counter() - started, sum(written.values())
        for part, count in written.items():
            name = part.today.category
            images[name] += count
            seconds[name] += took * count / max(1, scored)
            waiting[name] -= 1
            if not waiting[name]:
                yield Judged(part.today, images[name], seconds[name])


def _remove_others(stages: Stages, todays: Sequence[Today], planned: set[str]) -> None:
    """Parts that a night has left which was cut off when there were more images."""
    for today in todays:
        for info in stages.out.files(fused_parts(today.category)):
            if stages.out.name_of(info) not in planned:
                stages.out.remove(stages.out.name_of(info))


def _judge_parts(stages: Stages, parts: Sequence[Part], networks: Networks, before: Before) -> dict[Part, int]:
    """Returns those that are there now, and how many of their images were scored for it."""
    done: dict[Part, int] = {}
    orders: list[Order] = []
    kept: list[tuple[Part, pa.Table]] = []
    for part in parts:
        if metadata_of(stages.out, part.file).get("key") == part.key:  # a night that was cut off had come so far
            done[part] = 0
            continue
        schema = fused_schema([member.backbone for member in part.today.model.members])
        known = pa.concat_tables([schema.empty_table(), *before.rows(part)])
        have = set(known["image_path"].to_pylist())
        missing = tuple(image for image in part.images if image.image_path not in have)
        if not missing:
            _write(stages, part, known)
            done[part] = 0
            continue
        maps = maps_part(part.today.category, part.number) if stages.config.maps else None
        orders.append(Order(part.today.model, part.today.place, stages.data, missing, maps=maps))
        kept.append((part, known))
    for number, answer in judge_orders(stages, orders, networks.by_backbone):
        part, known = kept[number]
        if isinstance(answer, Exception):
            stages.failed(part.today.category, "judge", answer)
            continue
        _write(stages, part, pa.concat_tables([known, answer]))
        done[part] = answer.num_rows
    return done


def _write(stages: Stages, part: Part, table: pa.Table) -> None:
    """In the order of the images, without those that vanished; `scored_at` stays as it is, `run_id` is tonight's."""
    place = {path: number for number, path in enumerate(table["image_path"].to_pylist())}
    table = table.take([place[image.image_path] for image in part.images if image.image_path in place])
    position = table.schema.get_field_index("run_id")
    run_id = pa.array([stages.stamp.run_id] * table.num_rows, pa.string())
    table = table.set_column(position, table.schema.field(position), run_id)
    write_table(stages.out, part.file, table, {"key": part.key, "judge": part.today.judge})
