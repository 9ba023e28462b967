"""Likely mistakes in the images of a dataset: what runs, nightly runs and `inspect` warn about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines.data.discovery import named
from pipelines.data.examine import Examined
from pipelines.data.records import ImageRecord
from pipelines.data.split import by_category

_CAMERA_BITS = (10, 12, 14)  # significant bits per channel of common cameras that write 16


def image_warnings(examined: Sequence[Examined], bit_depth: int) -> Iterator[str]:
    """Yield one sentence for each category and kind of likely mistake.

    Args:
        examined: Results of the examination; images that cannot be read are ignored.
        bit_depth: Significant bits per channel that images with more than 8 bits were read with (9-16).

    Yields:
        Sentences for the user, grouped by category.
    """
    categories: dict[str, list[Examined]] = {}
    for result in examined:
        if result.error is None:
            categories.setdefault(result.image.category, []).append(result)
    for category, results in categories.items():
        for sentence in _category_warnings(results, bit_depth):
            yield f"{category}: {sentence}"


def _category_warnings(results: Sequence[Examined], bit_depth: int) -> Iterator[str]:
    """Yield the sentences of a category."""

    def counted(has: Callable[[Examined], bool]) -> tuple[int, str]:
        names = [result.image.image_path for result in results if has(result)]
        return len(names), named(names)

    several, names = counted(lambda result: result.frames > 1)
    if several:
        yield f"files with several images, of which only the first is used ({several}): {names}."
    ignored, names = counted(lambda result: result.is_opacity_ignored)
    if ignored:
        yield f"images whose opacity is 0 everywhere, which is ignored ({ignored}): {names}."
    uniform, names = counted(lambda result: result.is_single_color)
    if uniform == len(results) and uniform > 1:
        yield f"each of the {uniform} images has one single color, so there is nothing to learn. Check the export."
    elif uniform:
        yield f"images of one single color ({uniform}): {names}. Check them; they may be empty frames."
    if bits := suggested_bits(results, bit_depth):
        yield (
            f"all values are below {2**bits}, but the images are read with {bit_depth} bits per channel, so they are "
            f"dark. If the camera has {bits} bits, set --bit-depth {bits}."
        )


def suggested_bits(results: Sequence[Examined], bit_depth: int) -> int | None:
    """Return the bit depth of a camera that would explain why all images of a category are dark.

    Args:
        results: Examined images of one category.
        bit_depth: Significant bits per channel that they were read with (9-16).

    Returns:
        10, 12 or 14; None if no image has 16 bits per channel, or if a value needs more bits.
    """
    needed = [result.needed_bits for result in results if result.needed_bits is not None]
    return next((bits for bits in _CAMERA_BITS if needed and max(needed) <= bits < bit_depth), None)


def copies(images: Sequence[ImageRecord], *, across: bool) -> list[list[ImageRecord]]:
    """Return the groups of images with identical contents.

    Args:
        images: Images with digests.
        across: Whether to return groups that contain both test images and images that the model is made from, or the
            other groups.

    Returns:
        Groups of at least two images.
    """
    same: dict[str | None, list[ImageRecord]] = {}
    for image in images:
        same.setdefault(image.content_sha256, []).append(image)
    return [
        group
        for group in same.values()
        if len(group) > 1 and (len({image.makes_model for image in group}) > 1) == across
    ]


def copy_warnings(images: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a sentence for each category with test images that are copies of training or validation images.

    Args:
        images: Images with digests, of any categories.

    Yields:
        Sentences for the user.
    """
    for category, of_category in by_category(images).items():
        if groups := copies(of_category, across=True):
            shown = named([" = ".join(image.image_path for image in group) for group in groups], 3)
            yield (
                f"{category}: identical images in train and test ({len(groups)}): {shown}. Their scores are too low "
                "and the metrics too good. Remove one of the two."
            )
