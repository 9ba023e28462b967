"""Rows of the image index: conversion to Parquet and back."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import pyarrow as pa

from pipelines.data.records import INDEX, ImageRecord, mask_digest
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.store import Store


def test_an_image_is_read_from_the_index_as_it_was_written(store: Store) -> None:
    listed = ImageRecord("nut", "test", "bent", "nut/test/bent/1.png", "nut/ground_truth/bent/1_mask.png", 1)
    read = ImageRecord("nut", "train", "good", "nut/train/good/1.png", None, 0, "fit", 30, 20, "0a", None, "1-2")
    several = replace(listed, more_masks=("nut/ground_truth/bent/1_mask2.png",), part_id="S1", view="C2")
    drawn = replace(listed, mask_path="a.json", shapes='[{"box":[0,0,2,2]}]')
    images = [listed, read, several, drawn]
    write_rows(store, "index.parquet", images, INDEX)
    assert [ImageRecord.from_row(row) for row in read_rows(store, "index.parquet")] == images


def test_an_index_of_an_older_version_is_read(store: Store) -> None:
    image = ImageRecord("nut", "test", "bent", "nut/test/bent/1.png", "nut/ground_truth/bent/1_mask.png", 1)
    added = ("more_masks", "shapes", "part_id", "view")
    write_rows(store, "index.parquet", [image], pa.schema([field for field in INDEX if field.name not in added]))
    (row,) = read_rows(store, "index.parquet")
    assert not set(added) & set(row)
    assert ImageRecord.from_row(row) == image


def test_the_masks_of_an_image_are_all_mask_files_but_no_annotation_file() -> None:
    image = ImageRecord("nut", "test", "bent", "1.png", "m1.png", 1, more_masks=("m2.png",))
    assert image.mask_paths == ("m1.png", "m2.png")
    assert replace(image, mask_path=None, more_masks=()).mask_paths == ()
    assert replace(image, mask_path="a.json", more_masks=(), shapes="[]").mask_paths == ()


def test_the_digest_of_one_mask_is_that_of_its_file() -> None:
    sha256 = [hashlib.sha256(content).hexdigest() for content in (b"a", b"b")]
    assert mask_digest([b"a"]) == sha256[0]
    assert mask_digest([b"a", b"b"]) == hashlib.sha256((sha256[0] + sha256[1]).encode()).hexdigest()


def test_the_index_has_a_column_per_field() -> None:
    assert {field.name for field in fields(ImageRecord)} == set(INDEX.names)
