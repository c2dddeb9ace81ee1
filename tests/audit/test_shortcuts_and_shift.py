"""A planted shortcut and a planted shift are found; where there is none, none is reported."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.audit.check_results import Check, NumberTable
from medimg_baseline_cls.audit.checks import audit_images, audit_records
from medimg_baseline_cls.audit.images import AuditImages, FileLook
from medimg_baseline_cls.audit.label_noise import NUM_SUSPICIOUS, check_noise
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import PROPERTIES, gather_features
from medimg_baseline_cls.audit.shortcuts import check_shortcuts, limit_images
from medimg_baseline_cls.audit.split_shift import check_shift, draw_groups
from medimg_baseline_cls.data.read import Geometry
from medimg_baseline_cls.schema import ImageRecord

ImagesMaker = Callable[..., AuditImages]
RecordMaker = Callable[..., ImageRecord]
PATHS = [
    f"{split}/{label}/{split}{label}{i // 2}_{i}.png"
    for split, count in (("train", 80), ("test", 40))
    for label in "AB"
    for i in range(count)
]
LABELS = np.array([path.split("/")[1] for path in PATHS])
SPLITS = np.array([path.split("/")[0] for path in PATHS])


def noise(count: int = len(PATHS), seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, 1, 32, 32)
    return np.random.default_rng(seed).integers(40, 180, shape, dtype=np.uint8)


def shortcuts(images: AuditImages) -> Check:
    return check_shortcuts(images, features_of(images))


def features_of(images: AuditImages):
    return gather_features(
        images.split.records,
        measure_pixels(images.pixels),
        rows=images.rows,
        num_bytes=[look.num_bytes for look in images.looks],
    )


def shift(images: AuditImages) -> Check:
    return check_shift(images, features_of(images), measures=measure_pixels(images.pixels))


def numbers(figures: NumberTable) -> dict[tuple[object, ...], tuple[object, ...]]:
    return {row[: figures.num_text]: row[figures.num_text :] for row in figures.rows}


def test_noise_gives_no_shortcut(make_images: ImagesMaker) -> None:
    found = shortcuts(make_images(PATHS, pixels=noise()))
    assert found.findings == ()
    for inside, outside in numbers(found.figures[0]).values():
        assert 0.3 < inside < 0.7
        assert 0.3 < outside < 0.7


def test_marker_in_a_corner_is_found_by_frame_and_property(make_images: ImagesMaker) -> None:
    pixels = noise()
    pixels[LABELS == "B", 0, -4:, -4:] = 255
    found = shortcuts(make_images(PATHS, pixels=pixels))
    assert {f.name for f in found.findings} == {"telling_property", "telling_control"}
    assert all(f.verdict == "warning" for f in found.findings)
    controls = numbers(found.figures[0])
    assert min(controls["outer frame", "B"]) > 0.95
    properties = numbers(found.figures[1])
    assert properties[("bottom right corner",)] == (1.0,)
    assert 0.3 < properties[("top left corner",)][0] < 0.7


def test_frame_does_not_see_what_lies_in_the_middle(make_images: ImagesMaker) -> None:
    pixels = noise()
    pixels[LABELS == "B", 0, 10:-10, 10:-10] = 250
    controls = numbers(shortcuts(make_images(PATHS, pixels=pixels)).figures[0])
    assert controls["outer frame", "B"][0] < 0.7
    assert controls["all properties", "B"][0] > 0.95


def test_size_of_the_files_is_a_shortcut_too(make_images: ImagesMaker) -> None:
    looks = [FileLook(5000 if label == "B" else 4000 + i) for i, label in enumerate(LABELS)]
    found = shortcuts(make_images(PATHS, pixels=noise(), looks=looks))
    assert numbers(found.figures[1])[("file bytes",)] == (1.0,)
    assert found.findings[0].examples[0].text == "file bytes: AUROC 1.000 for B"


def volume_looks(**changes: tuple[object, object]) -> list[FileLook]:
    """Return the look of each image; of a change the first value is that of A, the second of B."""
    plain = {"num_slices": 30, "spacing_mm": (2.5, 0.7, 0.7), "axes": "LPS"}
    sides = [plain | {name: pair[i] for name, pair in changes.items()} for i in (0, 1)]
    return [FileLook(geometry=Geometry(**sides[int(label == "B")])) for label in LABELS]


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"num_slices": (30, 60)}, "number of slices"),
        ({"spacing_mm": ((5.0, 0.7, 0.7), (2.5, 0.7, 0.7))}, "distance of slices"),
        ({"spacing_mm": ((2.5, 0.7, 0.7), (2.5, 0.9, 0.9))}, "pixel spacing"),
        ({"axes": ("LPS", "PIR")}, None),
    ],
)
def test_the_geometry_of_volumes_is_a_shortcut(
    changes: dict[str, tuple[object, object]], title: str | None, make_images: ImagesMaker
) -> None:
    found = shortcuts(make_images(PATHS, pixels=noise(), looks=volume_looks(**changes)))
    properties = {key[0]: values[0] for key, values in numbers(found.figures[1]).items()}
    (orientation,) = [name for name in properties if str(name).startswith("orientation ")]
    telling = title or orientation
    assert properties[telling] == 1.0
    assert found.findings[0].examples[0].text == f"{telling}: AUROC 1.000 for B"
    geometry = {"number of slices", "distance of slices", "pixel spacing", orientation}
    assert all(properties[name] is None for name in geometry - {telling})


def test_geometry_that_no_file_gives_is_no_property(make_images: ImagesMaker) -> None:
    looks = volume_looks(spacing_mm=(None, None), axes=("", ""))
    found = numbers(shortcuts(make_images(PATHS, pixels=noise(), looks=looks)).figures[1])
    for name in ("distance of slices", "pixel spacing", "orientation unknown"):
        assert found[(name,)] == (None,)
    images = numbers(shortcuts(make_images(PATHS, pixels=noise())).figures[1])
    assert ("pixel spacing",) not in images
    some = [*looks[:-1], FileLook()]
    mixed = numbers(shortcuts(make_images(PATHS, pixels=noise(), looks=some)).figures[1])
    assert ("pixel spacing",) not in mixed


def test_what_is_the_same_everywhere_has_no_figure(make_images: ImagesMaker) -> None:
    properties = numbers(shortcuts(make_images(PATHS, pixels=noise())).figures[1])
    assert set(properties) == {(name,) for name in PROPERTIES}
    for name in ("width", "height", "aspect", "file bytes"):
        assert properties[(name,)] == (None,)


def test_patient_is_never_both_learnt_and_scored(make_images: ImagesMaker) -> None:
    # Both images of a patient are equal, and otherwise noise: ungrouped folds would find them.
    pixels = np.repeat(noise(len(PATHS) // 2), 2, axis=0)
    controls = numbers(shortcuts(make_images(PATHS, pixels=pixels)).figures[0])
    assert all(inside < 0.7 for inside, _ in controls.values())


def test_each_finding_is_measured_among_the_known(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, len(PATHS))
    labels = [("Mass", "", "?Mass")[kind] for kind in kinds]
    records = [record(p, label=label) for p, label in zip(PATHS, labels, strict=True)]
    pixels = noise()
    pixels[kinds == 0] //= 2
    images = make_images(records, pixels=pixels, class_names=["Mass"], task="multilabel")
    assert numbers(shortcuts(images).figures[1])[("mean",)] == (1.0,)


def test_too_few_images_are_not_measured(make_images: ImagesMaker) -> None:
    images = make_images(PATHS[:3] + PATHS[80:83])
    found = shortcuts(images)
    assert (found.findings, found.figures) == ((), ())
    assert found.summary.startswith("Not measured")
    assert shift(images).summary.startswith("Not measured")


def test_one_source_shows_no_shift(make_images: ImagesMaker) -> None:
    found = shift(make_images(PATHS, pixels=noise()))
    assert found.findings == ()
    rows = numbers(found.figures[0])
    assert set(rows) == {("A", "train / test"), ("B", "train / test")}
    for count, between, control in rows.values():
        assert count == 40
        assert abs(between - 0.5) < 0.2
        assert abs(control - 0.5) < 0.2


def test_shift_of_one_class_is_told_for_that_class(make_images: ImagesMaker) -> None:
    pixels = noise()
    pixels[(LABELS == "A") & (SPLITS == "test")] += 20
    found = shift(make_images(PATHS, pixels=pixels))
    (finding,) = found.findings
    assert (finding.name, finding.verdict, finding.count) == ("shifted", "warning", 1)
    assert finding.examples[0].text.startswith("A, train against test: AUROC 1.000")
    rows = numbers(found.figures[0])
    assert rows["A", "train / test"][1] == 1.0
    assert abs(rows["A", "train / test"][2] - 0.5) < 0.2  # random halves stay at chance
    assert rows["B", "train / test"][1] < 0.7


@pytest.mark.parametrize("share", [0.1, 0.33, 0.8])
def test_drawn_halves_are_whole_patients_of_the_share(share: float) -> None:
    groups = np.array([f"p{i // 3}" for i in range(300)])
    drawn = draw_groups(groups, share=share)
    assert abs(drawn.mean() - share) <= 0.02
    assert all(len(set(drawn[groups == name])) == 1 for name in set(groups))


def test_large_sets_are_thinned_out_the_same_way_each_time(
    make_images: ImagesMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medimg_baseline_cls.audit.shortcuts.MAX_IMAGES", 50)
    images = make_images(PATHS, pixels=noise())
    chosen = limit_images(SPLITS == "train", images)
    assert chosen.sum() == 50
    assert (SPLITS[chosen] == "train").all()
    np.testing.assert_array_equal(chosen, limit_images(SPLITS == "train", images))


def test_wrong_labels_are_the_most_doubted(make_images: ImagesMaker) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(PATHS), 8)).astype(np.float32)
    features[:, 0] += 6 * (LABELS == "B")
    wrong = [3, 90, 170]
    features[wrong, 0] = 6 * (LABELS[wrong] == "A")
    images = make_images(PATHS, pixels=noise())
    (finding,) = check_noise(images, features).findings
    assert finding.verdict == "note"
    assert {e.paths[0] for e in finding.examples[:3]} == {PATHS[i] for i in wrong}
    assert len(finding.examples) <= NUM_SUSPICIOUS
    assert finding.examples[0].text.startswith("labeled ")


def test_clear_labels_are_not_doubted(make_images: ImagesMaker) -> None:
    features = np.random.default_rng(0).normal(size=(len(PATHS), 3)).astype(np.float32)
    features[:, 0] += 20 * (LABELS == "B")
    assert check_noise(make_images(PATHS, pixels=noise()), features).findings == ()


def test_checks_come_in_their_order(make_images: ImagesMaker) -> None:
    images = make_images(PATHS, pixels=noise())
    names = [check.name for check in audit_images(images)]
    assert names == ["files", "duplicates", "groups", "labels", "shortcuts", "shift"]
    seen: list[AuditImages] = []

    def make_features(given: AuditImages) -> NDArray[np.float32]:
        seen.append(given)
        return noise().reshape(len(PATHS), -1)[:, :4].astype(np.float32)

    assert audit_images(images, make_features=make_features)[-1].name == "noise"
    assert seen == [images]


def test_fast_form_looks_at_no_pixel(make_images: ImagesMaker) -> None:
    images = make_images(PATHS, pixels=np.zeros((0, 1, 32, 32), np.uint8))
    names = [check.name for check in audit_records(images)]
    assert names == ["files", "duplicates", "groups", "labels"]
