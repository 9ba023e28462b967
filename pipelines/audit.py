"""audit.parquet beside a model: good images that the other good images cannot explain, the oddest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.explain import entry_columns, geometry_of, read_entries
from pipelines.member_scores import MemberScores
from pipelines.rundir import AUDIT, AUDIT_FILE
from pipelines.storage import Store
from pipelines.tables import write_rows
from pipelines.walk import Image, named
from reconpatch.audit import suspicion
from reconpatch.model import Model


def write_audit(model: Model, images: Sequence[Image], members: Sequence[MemberScores], place: Store) -> list[str]:
    """Write a row a good image; returns a sentence that names the suspicious ones, if there are any.

    Args:
        images: in the order of the members' rows.
        place: the model's folder.
    """
    good = [number for number, image in enumerate(images) if image.split == "train"]
    tables = [member.table.take(good) for member in members]
    entries = read_entries(model, place)
    found = suspicion([table["unexplained"].to_numpy(zero_copy_only=False) for table in tables])
    rows = []
    for number, image in enumerate(images[each] for each in good):
        position = int(found.members[number])
        audit = {name: tables[position][f"unexplained_{name}"][number].as_py() for name in ("row", "col", "nearest")}
        if audit["nearest"] is None:
            continue  # the only image of its category: nobody could explain it
        grid = members[position].maps.shape[1:]
        row, col = geometry_of(image, model).patch_centre(audit["row"], audit["col"], (grid[0], grid[1]))
        rows.append(
            {
                "category": image.category,
                "image_path": image.image_path,
                "part": image.part,
                "suspicion": float(found.scores[number]),
                "is_suspicious": bool(found.suspicious[number]),
                "peak_row": row,
                "peak_col": col,
                "nearest_backbone": model.members[position].backbone,
                **entry_columns(entries[position], audit["nearest"]),
            }
        )
    rows.sort(key=lambda row: (-np.nan_to_num(row["suspicion"]), row["image_path"]))
    write_rows(place, AUDIT_FILE, rows, AUDIT)
    odd = [row["image_path"] for row in rows if row["is_suspicious"]]
    if not odd:
        return []
    return [
        f"{model.category}: {len(odd)} of {len(good)} good images are unlike all the others; look at "
        f"{named(odd)} ({AUDIT_FILE})."
    ]
