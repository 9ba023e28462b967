"""Query the scores of a run with SQL: the Parquet files are read by DuckDB, without a server or an import.

pip install duckdb
python examples/query_scores.py RUN
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb

QUERIES = {
    "Flagged test images per category and defect": """
        SELECT category, defect, count(*) AS images, sum(is_anomaly::int) AS flagged, round(avg(score), 2) AS mean_score
        FROM scores WHERE split = 'test'
        GROUP BY ALL ORDER BY category, defect
    """,
    "Missed defects: defective images below the threshold, nearest first": """
        SELECT image_path, round(score, 3) AS score, round(threshold, 3) AS threshold, round(p_value, 3) AS p_value
        FROM scores WHERE split = 'test' AND label = 1 AND NOT is_anomaly
        ORDER BY score DESC LIMIT 5
    """,
    "Good training images that most alarms were compared with": """
        SELECT nearest_image, count(*) AS alarms
        FROM scores WHERE is_anomaly
        GROUP BY ALL ORDER BY alarms DESC, nearest_image LIMIT 5
    """,
}


def main() -> None:
    """Run each query on the fused scores of a run and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    options = parser.parse_args()
    database = duckdb.connect()
    files = (options.run / "scores" / "fused" / "*.parquet").as_posix()
    database.read_parquet(files).create_view("scores")
    for title, query in QUERIES.items():
        print(f"\n{title}")
        print(database.sql(query).df().to_string(index=False))


if __name__ == "__main__":
    main()
