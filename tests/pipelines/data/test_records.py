"""Rows of the image index: conversion to Parquet and back."""

from __future__ import annotations

from dataclasses import fields

from pipelines.data.records import INDEX, ImageRecord
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.store import Store


def test_an_image_is_read_from_the_index_as_it_was_written(store: Store) -> None:
    listed = ImageRecord("nut", "test", "bent", "nut/test/bent/1.png", "nut/ground_truth/bent/1_mask.png", 1)
    read = ImageRecord("nut", "train", "good", "nut/train/good/1.png", None, 0, "fit", 30, 20, "0a", None, "1-2")
    write_rows(store, "index.parquet", [listed, read], INDEX)
    assert [ImageRecord.from_row(row) for row in read_rows(store, "index.parquet")] == [listed, read]


def test_the_index_has_a_column_per_field() -> None:
    assert {field.name for field in fields(ImageRecord)} == set(INDEX.names)
