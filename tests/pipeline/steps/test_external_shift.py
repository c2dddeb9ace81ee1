"""What differs on another data set: named where it was planted, not named in an unshifted twin."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.phantom.image_folder import make_phantom
from medimg_baseline_cls.pipeline.steps.external_shift import compare_mix, describe_shift
from medimg_baseline_cls.pipeline.steps.run_images import MeasuredImages
from medimg_baseline_cls.schema import ImageRecord, Split

CLASSES = ("NORMAL", "PNEUMONIA")
SIDE = 64
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def keep(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels


def darken(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(255 * (pixels / 255) ** 1.6).astype(np.uint8)


def frame(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    framed = np.zeros_like(pixels)
    framed[5:-5, 5:-5] = pixels[5:-5, 5:-5]
    return framed


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image of half the resolution."""
    return pixels[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)


def darken_and_frame(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frame(darken(pixels))


def images_of(
    *parts: tuple[str, range], change: Change = keep, every: int = 2, width: int = SIDE
) -> MeasuredImages:
    """Return phantoms of these splits; one of `every` images is positive."""
    records: list[ImageRecord] = []
    pixels: list[NDArray[np.uint8]] = []
    for split, numbers in parts:
        for number in numbers:
            is_positive = number % every == 1
            phantom = make_phantom(8, number, is_positive=is_positive, image_size=SIDE)
            pixels.append(change(phantom.pixels))
            name = f"{number}.png"
            records.append(
                ImageRecord(
                    image_id=name,
                    path=name,
                    label=CLASSES[is_positive],
                    group=f"p{number}",
                    split=split,
                    sha256=name,
                    width=width,
                    height=SIDE,
                )
            )
    split_of_all = Split(tuple(records), CLASSES)
    return MeasuredImages(split_of_all, measure_pixels(np.stack(pixels)[:, None]))


OWN = images_of(("train", range(60)), ("test", range(60, 140)))
OTHER = range(200, 280)


def shift_of(**changes: Any) -> dict[str, Any]:
    return describe_shift(OWN, images_of(("test", OTHER), **changes))


def test_images_that_look_unlike_every_training_image_are_listed_with_the_farthest_first():
    far = shift_of(change=darken_and_frame)["far"]
    assert far["num_far"] > 70 and far["share_far"] == far["num_far"] / 80
    distances = [item["distance"] for item in far["images"]]
    assert len(distances) == 20 and distances == sorted(distances, reverse=True)
    assert min(distances) > 1 and {item["path"] for item in far["images"]} <= {
        f"{number}.png" for number in OTHER
    }
    assert shift_of()["far"]["num_far"] < 20
    hidden = describe_shift(OWN, images_of(("test", OTHER), change=frame), shown_name=lambda _: "x")
    assert {item["path"] for item in hidden["far"]["images"]} == {"x"}
    few = describe_shift(images_of(("train", range(40)), ("test", range(60, 140))), OWN)
    assert few["far"] == {"reason": "fewer than 50 training images"}


@pytest.mark.parametrize(
    ("change", "topics"),
    [
        (keep, set[str]()),
        (darken_and_frame, {"intensity", "border"}),
        (darken, {"intensity", "border"}),
        (frame, {"border"}),
    ],
)
def test_what_was_planted_is_named(change: Change, topics: set[str]):
    assert set(shift_of(change=change)["differs_in"]) == topics


def test_other_sharpness_is_named():
    assert "sharpness" in shift_of(change=halve)["differs_in"]


def test_another_size_of_the_files_is_named():
    assert "size" in shift_of(width=2 * SIDE)["differs_in"]


def test_the_domain_classifier_sees_the_shift_and_its_control_does_not():
    shifted, twin = shift_of(change=darken_and_frame)["domain"], shift_of()["domain"]
    for name in CLASSES:
        assert shifted[name]["auroc"] > 0.95
        assert twin[name]["auroc"] < 0.75
        assert shifted[name]["control"] < 0.75
        assert twin[name]["control"] < 0.75


def test_another_prevalence_is_told_and_is_not_a_shift_of_the_images():
    found = shift_of(every=3)
    assert found["prevalence"]["PNEUMONIA"]["internal"] == 0.5
    assert found["prevalence"]["PNEUMONIA"]["external"] == pytest.approx(1 / 3, abs=0.01)
    assert found["differs_in"] == []


def test_controls_are_scored_on_both_sets():
    controls = shift_of()["controls"]
    assert set(controls) == {"trivial", "border"}
    for content in controls.values():
        sides = content["PNEUMONIA"]
        assert set(sides) == {"internal", "external"}
        assert all(0 <= auroc <= 1 for auroc in sides.values())
        # Of two classes, the other one says the same.
        assert content["NORMAL"]["external"] == pytest.approx(sides["external"])


def test_properties_are_listed_with_the_median_of_both_sets():
    found = shift_of(change=frame)["properties"]
    aurocs = [entry["auroc"] for entry in found]
    assert aurocs == sorted(aurocs, reverse=True)
    assert min(aurocs) >= 0.5
    border = next(entry for entry in found if entry["name"] == "mean of the border")
    assert border["external"] < border["internal"]


def test_a_class_with_few_images_is_not_compared():
    found = describe_shift(OWN, images_of(("test", range(200, 230))))
    assert found["domain"] == {}
    assert found["differs_in"] == []


def test_without_pixels_of_the_run_only_the_prevalence_is_known():
    own = replace(OWN, measures=None, reason="the data folder is gone")
    found = describe_shift(own, images_of(("test", OTHER)))
    assert found["reason"] == "the data folder is gone"
    assert set(found) == {"prevalence", "reason"}


def write_subgroups(folder: Path, columns: dict[str, dict[str, int]]) -> Path:
    folder.mkdir()
    content = {
        "columns": [
            {
                "column": column,
                "num_not_given": counts.get("", 0),
                "subgroups": {
                    name: {"num_images": count} for name, count in counts.items() if name
                },
            }
            for column, counts in columns.items()
        ]
    }
    (folder / "subgroups.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_case_mix_is_the_share_of_each_subgroup(tmp_path: Path):
    own = write_subgroups(tmp_path / "a", {"sex": {"F": 30, "M": 10}, "site": {"x": 4}})
    other = write_subgroups(tmp_path / "b", {"sex": {"F": 10, "M": 8, "X": 2}, "age": {"< 40": 3}})
    assert compare_mix(own, other) == {
        "sex": {
            "F": {"internal": 0.75, "external": 0.5},
            "M": {"internal": 0.25, "external": 0.4},
            "X": {"internal": 0.0, "external": 0.1},
            "": {"internal": 0.0, "external": 0.0},
        }
    }


def test_images_without_a_value_count_in_the_shares_of_both_sides(tmp_path: Path):
    # As where the name of a folder is a value of the subgroup, and is mapped in the other data.
    own = write_subgroups(tmp_path / "a", {"kind": {"NORMAL": 28, "bacteria": 35, "virus": 9}})
    other = write_subgroups(tmp_path / "b", {"kind": {"bacteria": 19, "virus": 12, "": 31}})
    images = {
        "internal": ["NORMAL"] * 28 + ["bacteria"] * 35 + ["virus"] * 9,
        "external": ["bacteria"] * 19 + ["virus"] * 12 + [""] * 31,
    }
    for name, sides in compare_mix(own, other)["kind"].items():
        for side, share in sides.items():
            assert share == pytest.approx(np.mean([value == name for value in images[side]]))


def test_without_subgroups_there_is_no_case_mix(tmp_path: Path):
    own = write_subgroups(tmp_path / "a", {"sex": {"F": 30}})
    assert compare_mix(own, tmp_path) == {}
