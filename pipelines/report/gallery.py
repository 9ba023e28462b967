"""Which images of a category are shown: those that somebody has to look at, the worst first, and never all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MANY, _SOME = 12, 8


@dataclass(frozen=True)
class Gallery:
    """Some images, and why they are shown.

    Attributes:
        rows: of scores/fused or of audit.parquet, which both have image_path, peak and nearest patch.
        total: how many there are.
    """

    title: str
    why: str
    rows: tuple[Mapping[str, Any], ...]
    total: int


def galleries(rows: Sequence[Mapping[str, Any]], audit: Sequence[Mapping[str, Any]]) -> list[Gallery]:
    """Misses, false alarms, hits and what else was called, and suspicious good images; empty ones are left out.

    Args:
        rows: of scores/fused, without those learned from.
        audit: rows of audit.parquet, the oddest first.
    """
    ranked = sorted(rows, key=lambda row: (-row["score"], row["image_path"]))
    alarms = [row for row in ranked if row["is_anomaly"]]
    quiet = [row for row in ranked if not row["is_anomaly"]]
    judged = any(row["is_anomaly"] is not None for row in rows)
    missed = [row for row in reversed(quiet) if row["label"] == 1] if judged else []
    false = [row for row in alarms if row["label"] == 0]
    hits = [row for row in alarms if row["label"] == 1]
    called = [row for row in alarms if row["label"] is None]
    found = [
        _gallery("Missed defects", "defective, and not called: the lowest score first", missed, _MANY),
        _gallery("False alarms", "good, and called: the highest score first", false, _MANY),
        _gallery("Alarms", "called, and nobody has labelled them: the highest score first", called, _MANY),
        _gallery("Hits", "defective, and called: the highest score first", hits, _SOME),
    ]
    if judged:
        rest = [row for row in quiet if row["label"] != 1]
        found.append(_gallery("Nearly called", "not called, and nearest to the threshold", rest, _SOME))
    else:
        found.append(_gallery("Highest scores", "no threshold is known: nothing is called", ranked, _MANY))
    odd = [row for row in audit if row["is_suspicious"]]
    why = "learned from as good, and unlike all other good images: look whether they are"
    found.append(_gallery("Suspicious good images", why, odd, _SOME))
    return [each for each in found if each.rows]


def _gallery(title: str, why: str, rows: Sequence[Mapping[str, Any]], most: int) -> Gallery:
    return Gallery(title, why, tuple(rows[:most]), len(rows))
