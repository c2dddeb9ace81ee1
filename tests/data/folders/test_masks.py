"""Masks and other companions are no images, by all names together; a class is never emptied."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.folders.masks import find_companions

R = range(3)


def lay_out(data: Path, paths: Sequence[str]) -> Path:
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"")
    return data


@pytest.mark.parametrize(
    "mask",
    [
        *("x_mask", "x-mask", "x mask", "x.mask", "x_Mask", "x_MASK", "x_masks", "x_mask_1"),
        *("x_mask1", "x_mask (2)", "x_seg", "x_segmentation", "x_gt", "x_GroundTruth"),
        *("x_ground_truth", "x_label", "x_labels", "x_annotation", "x_superpixels"),
        *("mask_x", "Mask-x", "seg_x", "gt_x", "label_x", "x_lesion_mask", "x_lung_seg_1"),
    ],
)
def test_a_name_of_an_image_and_a_mask_is_its_mask(mask: str) -> None:
    for suffix in (".png", ".tif", ".nii.gz"):
        paths = [f"A/x.{kind}" for kind in ("jpg",)] + [f"A/{mask}{suffix}", "A/y.jpg"]
        found = find_companions(paths, depth=1)
        assert found.masks == {"A/x.jpg": (f"A/{mask}{suffix}",)}
        assert found.paths == {f"A/{mask}{suffix}"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image_7", "mask_7"),
        ("7_image", "7_mask"),
        ("img007", "mask007"),
        ("IMG-7", "GT-7"),
        ("x_orig", "x_seg"),
        ("benign (1)", "benign (1)_mask"),
        ("ISIC_0000000", "ISIC_0000000_segmentation"),
        ("TCGA_CS_4941_1", "TCGA_CS_4941_1_mask"),
    ],
)
def test_the_word_for_the_image_does_not_matter(image: str, mask: str) -> None:
    found = find_companions([f"A/{image}.png", f"A/{mask}.png"], depth=1)
    assert found.masks == {f"A/{image}.png": (f"A/{mask}.png",)}


@pytest.mark.parametrize(
    "names",
    [
        ["x_mask", "y_mask"],  # no image of them
        ["with_mask_1", "with_mask_2"],
        ["mask_1", "mask_2"],
        ["masked", "x"],
        ["label1", "x"],
        ["x", "x_1", "x_2"],
        ["x", "xmask"],
        ["gtx", "x"],
    ],
)
def test_without_an_image_of_that_name_nothing_is_a_mask(names: list[str]) -> None:
    found = find_companions([f"A/{name}.png" for name in names], depth=1)
    assert not found.paths and not found.masks


def test_an_image_of_another_folder_makes_no_mask() -> None:
    assert not find_companions(["A/x.png", "B/x_mask.png"], depth=1).paths


@pytest.mark.parametrize(
    "folder",
    [
        *("mask", "masks", "Masks", "GroundTruth", "Ground Truth", "ground_truth", "gt", "label"),
        *("labels", "annotations", "segmentations", "lung masks", "ManualMask", "masks_png"),
    ],
)
@pytest.mark.parametrize("beside", ["images/", "", "xray/"])
def test_a_folder_of_masks_beside_images_is_left_out(folder: str, beside: str) -> None:
    images = [f"{c}/{beside}{c}-{i}.png" for c in ("COVID", "Normal") for i in R]
    masks = [f"{c}/{folder}/{c}-{i}.png" for c in ("COVID", "Normal") for i in R]
    found = find_companions([*images, *masks], depth=1)
    assert found.paths == set(masks)
    assert found.masks == {image: (mask,) for image, mask in zip(images, masks, strict=True)}


def test_each_patient_may_have_its_own_folder_of_masks() -> None:
    images = [f"train/A/p{p}/{i}.png" for p in R for i in R]
    masks = [f"train/A/p{p}/masks/{i}_mask.png" for p in R for i in R]
    found = find_companions([*images, *masks], depth=2)
    assert found.masks == {image: (mask,) for image, mask in zip(images, masks, strict=True)}


def test_masks_of_both_sides_belong_to_one_image() -> None:
    sides = ("leftMask", "rightMask")
    masks = [f"TB/ManualMask/{side}/{i}.png" for side in sides for i in R]
    found = find_companions([*(f"TB/CXR_png/{i}.png" for i in R), *masks], depth=1)
    assert found.masks == {
        f"TB/CXR_png/{i}.png": tuple(f"TB/ManualMask/{side}/{i}.png" for side in sides) for i in R
    }


def test_masks_of_other_names_are_left_out_without_an_owner() -> None:
    paths = [f"A/images/{i}.png" for i in R] + [f"A/masks/m{i}.png" for i in R]
    found = find_companions(paths, depth=1)
    assert len(found.paths) == 3 and not found.masks


def test_a_folder_of_masks_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    images = [f"{c}/{c}-{i}.png" for c in ("COVID", "Normal") for i in R]
    for number, masks in enumerate(
        ([f"masks/{Path(i).name}" for i in images], [f"masks/{i}" for i in images])
    ):
        listing = list_images(lay_out(tmp_path / str(number), [*images, *masks]))
        assert listing.class_names == ("COVID", "Normal")
        assert [item.topic for item in listing.inferences] == ["layout", "masks"]
        assert [(f.path, f.masks) for f in listing.files] == [
            (image, (mask,)) for image, mask in zip(images, masks, strict=True)
        ]


@pytest.mark.parametrize(
    "names",
    [
        ("mask", "no_mask"),
        ("with_mask", "without_mask"),
        ("Mask", "NoMask", "IncorrectMask"),
        ("mask", "bare"),
        ("label_0", "label_1"),
        ("segmented neutrophil", "lymphocyte"),
        ("gt", "healthy"),
    ],
)
def test_a_class_with_the_name_of_a_mask_stays(tmp_path: Path, names: tuple[str, ...]) -> None:
    listing = list_images(
        lay_out(tmp_path, [f"{name}/{i}.png" for name in names for i in R]),
        class_names=names if names[1] in ("bare", "healthy") else None,
    )
    assert set(listing.class_names) == set(names) and len(listing.files) == 3 * len(names)


def test_a_class_called_mask_without_images_of_its_names_is_a_class(tmp_path: Path) -> None:
    names = {"cap": "c", "hood": "h", "mask": "m"}
    listing = list_images(
        lay_out(tmp_path, [f"{name}/{start}{i}.png" for name, start in names.items() for i in R])
    )
    assert listing.class_names == tuple(names) and len(listing.files) == 9


def test_masks_alone_in_a_class_stay_its_images(tmp_path: Path) -> None:
    paths = ["A/images/1.png", "A/masks/1.png", "B/masks/1.png", "B/masks/2.png"]
    listing = list_images(lay_out(tmp_path, paths))
    assert [f.path for f in listing.files] == ["A/images/1.png", *paths[2:]]


def test_masks_are_remembered_only_where_every_image_has_one(tmp_path: Path) -> None:
    names = [f"{c}/{c} ({i})" for c in ("benign", "malignant") for i in R]
    paths = [f"{name}{end}.png" for name in names for end in ("", "_mask")]
    listing = list_images(lay_out(tmp_path, [*paths, "benign/benign (0)_mask_1.png"]))
    assert len(listing.files) == 6
    assert listing.files[0].masks == ("benign/benign (0)_mask.png", "benign/benign (0)_mask_1.png")
    assert all(file.masks for file in listing.files)
    assert any(
        "7 files are left out, such as benign/benign (0)_mask.png" in i.warning
        for i in listing.inferences
    )
    listing = list_images(lay_out(tmp_path, ["benign/benign (9).png"]))
    assert len(listing.files) == 7 and not any(file.masks for file in listing.files)


def test_limit_counts_images_without_masks(tmp_path: Path) -> None:
    names = [f"{c}/{i}{m}.png" for c in "AB" for i in range(20) for m in ("", "_mask", "_mask_1")]
    listing = list_images(lay_out(tmp_path, [*names, *(f"A/{i}.txt" for i in range(50))]), limit=10)
    assert [file.label for file in listing.files] == ["A"] * 5 + ["B"] * 5
    assert "10 of 40" in [item.found for item in listing.inferences if item.warning]
