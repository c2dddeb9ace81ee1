"""Labels of another data set: each becomes a class of the run, is left out, or is refused."""

import pytest

from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing
from medimg_baseline_cls.data.label_mapping import map_labels, parse_maps
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import Task

CLASSES = ("NORMAL", "PNEUMONIA")


def listing_of(*labels: str, names: tuple[str, ...] | None = None, task: Task = "multiclass"):
    files = tuple(
        ListedFile(f"train/{label}/{i}.png", label, "train") for i, label in enumerate(labels)
    )
    return Listing(files, names or tuple(sorted(set(labels))), 0, (), task=task)


def labels_after(listing: Listing, *maps: str, classes: tuple[str, ...] = CLASSES) -> list[str]:
    found = map_labels(listing, class_names=classes, task=listing.task, maps=parse_maps(maps))
    assert found.class_names == classes
    assert {file.folder for file in found.files} <= {""}
    return [file.label for file in found.files]


def test_labels_that_are_spelled_alike_need_no_map():
    assert labels_after(listing_of("Normal", "pneumonia")) == ["NORMAL", "PNEUMONIA"]


def test_a_label_is_mapped_and_another_left_out():
    listing = listing_of("No Finding", "Mass", "pneumonia", "No Finding")
    found = labels_after(listing, "no finding=normal", "Mass=")
    assert found == ["NORMAL", "PNEUMONIA", "NORMAL"]


def test_a_map_overrides_the_spelling():
    found = labels_after(listing_of("NORMAL", "PNEUMONIA"), "NORMAL=PNEUMONIA", "PNEUMONIA=NORMAL")
    assert found == ["PNEUMONIA", "NORMAL"]


def test_a_label_without_a_class_is_refused_with_the_map_to_type():
    with pytest.raises(DataError) as caught:
        labels_after(listing_of("No Finding", "No Finding", "PNEUMONIA"))
    (text,) = caught.value.args
    assert "No Finding (2 images) is not a class of this run (NORMAL, PNEUMONIA)" in text
    assert "--map 'No Finding=NORMAL'" in text


def test_maps_of_several_data_sets_may_be_of_a_label_that_only_others_have():
    listing, maps = listing_of("NORMAL", "Pneu"), parse_maps(["Healthy=NORMAL", "Pneu=PNEUMONIA"])
    found = map_labels(listing, class_names=CLASSES, task="multiclass", maps=maps, may_lack=True)
    assert [file.label for file in found.files] == ["NORMAL", "PNEUMONIA"]
    with pytest.raises(ConfigError, match="SICK is not a class"):
        map_labels(
            listing,
            class_names=CLASSES,
            task="multiclass",
            maps=parse_maps(["Healthy=SICK"]),
            may_lack=True,
        )


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (["Healthy=NORMAL"], "the images have no label Healthy, but NORMAL, PNEUMONIA"),
        (["NORMAL=SICK"], "SICK is not a class of this run, which has NORMAL, PNEUMONIA"),
        (["NORMAL"], "expected LABEL=CLASS"),
        (["=NORMAL"], "expected LABEL=CLASS"),
        (["NORMAL=NORMAL", "NORMAL="], "names the label NORMAL twice"),
    ],
)
def test_a_map_that_cannot_be_is_refused(maps: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        labels_after(listing_of("NORMAL", "PNEUMONIA"), *maps)


def test_maps_that_leave_nothing_are_refused():
    with pytest.raises(DataError, match="leaves out every image"):
        labels_after(listing_of("NORMAL"), "NORMAL=")


def test_findings_that_are_not_mentioned_are_unknown():
    listing = listing_of(
        "Effusion|?Tumor", "", "Fluid", names=("Effusion", "Fluid", "Tumor"), task="multilabel"
    )
    found = labels_after(
        listing, "Fluid=Effusion", "Tumor=Mass", classes=("Effusion", "Mass", "Nodule")
    )
    assert found == ["Effusion|?Mass|?Nodule", "?Nodule", "Effusion|?Nodule"]


def test_findings_of_which_none_is_known_are_refused():
    listing = listing_of("?Fluid", names=("Fluid", "Mass"), task="multilabel")
    with pytest.raises(DataError, match="no image has a known label of Effusion, Fluid"):
        labels_after(listing, "Mass=", classes=("Effusion", "Fluid"))
    known = listing_of("?Fluid", "", names=("Fluid", "Mass"), task="multilabel")
    assert labels_after(known, "Mass=", classes=("Effusion", "Fluid")) == [
        "?Effusion|?Fluid",
        "?Effusion",
    ]
