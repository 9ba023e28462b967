"""The selection of the images that a category's page shows."""

from __future__ import annotations

from pipelines.report.gallery import galleries
from pipelines.report.rows import AuditedImage, Peak, ScoredImage


def scored(path: str, score: float, label: int | None, is_anomaly: bool | None) -> ScoredImage:
    return ScoredImage(
        image_path=path,
        split="test",
        label=label,
        score=score,
        p_value=None,
        is_anomaly=is_anomaly,
        model_version="v1",
        peak=Peak(),
    )


def audited(path: str, is_suspicious: bool) -> AuditedImage:
    return AuditedImage(image_path=path, suspicion=1.0, is_suspicious=is_suspicious, peak=Peak())


def test_missed_defects_and_false_positives_come_first_and_are_sorted() -> None:
    images = [
        *(scored(f"missed{score}", score, 1, False) for score in (3.0, 1.0, 2.0)),
        *(scored(f"false{score}", score, 0, True) for score in (6.0, 8.0)),
        *(scored(f"hit{score}", score, 1, True) for score in (9.0, 7.0)),
        *(scored(f"normal{score}", score, 0, False) for score in (0.5, 4.0)),
    ]
    shown = {gallery.title: [image.image_path for image in gallery.images] for gallery in galleries(images, [])}
    assert shown == {
        "Missed defects": ["missed1.0", "missed2.0", "missed3.0"],
        "False positives": ["false8.0", "false6.0"],
        "Detected defects": ["hit9.0", "hit7.0"],
        "Nearly flagged": ["normal4.0", "normal0.5"],
    }


def test_flagged_images_are_shown_without_labels_and_highest_scores_without_a_threshold() -> None:
    judged = [scored("a", 2.0, None, True), scored("b", 3.0, None, True), scored("c", 1.0, None, False)]
    shown = [(gallery.title, len(gallery.images)) for gallery in galleries(judged, [])]
    assert shown == [("Flagged images", 2), ("Nearly flagged", 1)]
    (highest,) = galleries([scored("a", 1.0, 1, None), scored("b", 2.0, 0, None)], [])
    assert (highest.title, [image.image_path for image in highest.images]) == ("Highest scores", ["b", "a"])


def test_at_most_12_images_are_shown_with_their_total_number() -> None:
    (flagged,) = galleries([scored(f"{n:03d}", float(n), None, True) for n in range(300)], [])
    assert (len(flagged.images), flagged.total) == (12, 300)


def test_suspicious_training_images_are_shown_as_training_outliers() -> None:
    (outliers,) = galleries([], [audited("outlier", True), audited("good", False)])
    assert (outliers.title, [image.image_path for image in outliers.images]) == ("Training outliers", ["outlier"])
