"""What a data folder is, by the names of its folders together: classes, splits, or neither."""

import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import pytest

from medimg_baseline_cls.data.folders.image_files import Listing, list_images
from medimg_baseline_cls.data.folders.words import find_level, read_split, split_words
from medimg_baseline_cls.errors import DataError

AB = ("NORMAL", "TB")


def spread(*levels: Iterable[object], num_images: int = 3, suffix: str = ".png") -> list[str]:
    """Return the paths of images in every combination of folders."""
    folders = ["/".join(map(str, parts)) for parts in product(*levels)]
    return [f"{folder}/{i}{suffix}" for folder in folders for i in range(num_images)]


def lay_out(data: Path, paths: Iterable[str]) -> Path:
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"")
    return data


def refusal_of(data: Path, class_names: Sequence[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list_images(data, class_names=class_names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def warnings_of(listing: Listing) -> list[str]:
    return [item.warning for item in listing.inferences if item.warning]


def splits_of(listing: Listing) -> dict[str, str]:
    return {file.path.split("/")[0]: file.folder for file in listing.files}


SPLITS = {
    "sets": {"train_set": "train", "test_set": "test"},
    "a mix": {"training_set": "train", "Test-Data": "test", "val images": "val"},
    "camel case": {"TrainingData": "train", "TestingData": "test", "ValidationData": "val"},
    "one word": {"trainset": "train", "testset": "test", "devset": "val"},
    "ISIC": {"ISIC_Training": "train", "ISIC_Test": "test"},
    "ISIC 2018": {
        "ISIC2018_Task3_Training_Input": "train",
        "ISIC2018_Task3_Validation_Input": "val",
        "ISIC2018_Task3_Test_Input": "test",
    },
    "ISIC 2017": {
        "ISIC-2017_Training_Data": "train",
        "ISIC-2017_Validation_Data": "val",
        "ISIC-2017_Test_v2_Data": "test",
    },
    "numbered": {"01_train": "train", "02_dev": "val", "03_tst": "test"},
    "prefix of the set": {"chest_xray_train": "train", "chest_xray_test": "test"},
    "a test of another kind": {"train": "train", "external_test": "test"},
    "German": {"Trainingsdaten": "train", "Testdaten": "test"},
}


@pytest.mark.parametrize("kind", SPLITS)
def test_names_like_splits_are_the_split(tmp_path: Path, kind: str) -> None:
    listing = list_images(lay_out(tmp_path, spread(SPLITS[kind], AB)))
    assert listing.class_names == AB and listing.kind == "split folders"
    assert splits_of(listing) == SPLITS[kind]
    layout = listing.inferences[0]
    assert (
        layout.topic == "layout"
        and layout.flag
        and bool(layout.warning) == (layout.certainty == "guess")
    )
    for name, split in SPLITS[kind].items():
        assert name == split or f"{name}/ as {split}/" in layout.found


def test_masks_beside_a_split_are_not_taken_for_it(tmp_path: Path) -> None:
    names = ("train_images", "test_images", "train_masks", "test_masks")
    listing = list_images(lay_out(tmp_path, spread(names, AB)))
    assert splits_of(listing) == {"train_images": "train", "test_images": "test"}
    left = "folders next to train/ and test/ left out: test_masks/, train_masks/"
    assert left in listing.notes


CLASSES = {
    "a class called training": spread(["rest", "training", "game"]),
    "a class called test": spread(["control", "test"]),
    "patients of the same numbers": spread(["A", "B"], ["001", "002", "003"]),
    "many patients in both classes": spread(["A", "B"], [f"Smith {i:c}" for i in range(65, 90)]),
    "patients and studies": spread(["A", "B"], ["patient1", "patient2"], ["study1", "study2"]),
    "one folder in each": spread(["benign", "malignant"], ["SOB"], ["x", "y"]),
    "magnifications": spread(["benign", "malignant"], ["40X", "100X", "200X", "400X"]),
    "sides and views": spread(["A", "B"], ["left", "right"], ["AP", "LATERAL"]),
    "sequences": spread(["glioma", "meningioma"], ["T1w", "T2w", "FLAIR"]),
    "sites inside of classes": spread(["A", "B"], ["siteA", "siteB"]),
    "folds inside of classes": spread(["A", "B"], ["fold_1", "fold_2"]),
    "vendors inside of classes": spread(["glioma", "meningioma"], ["GE", "Siemens"]),
    "a diagnosis above shared names": spread(["normal", "abnormal"], ["heart", "lung"]),
    "leukemia": spread(["all", "hem"]),
    "numbers": spread(["0", "1", "2"]),
    "grades": spread(["grade1", "grade2", "grade3"]),
    "stages": spread(["T1", "T2", "T3"]),
    "few images in shared folders": [
        *spread(["A", "B"], num_images=9),
        *spread(["A", "B"], ["odd", "blurred"], num_images=1),
    ],
    "many classes": spread([f"class{i:02d}" for i in range(23)]),
    "regions": spread(["XR_ELBOW", "XR_HAND"], [f"patient{i}" for i in range(9)], ["study1"]),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_are_classes_whatever_is_inside(tmp_path: Path, kind: str) -> None:
    listing = list_images(lay_out(tmp_path, CLASSES[kind]))
    assert set(listing.class_names) == {path.split("/")[0] for path in CLASSES[kind]}
    assert len(listing.files) == len(CLASSES[kind])
    assert listing.kind == "class folders"


BY_SITE = r"sites \(.*/\), not classes: write .*/table.csv .*path, label and site.*--by-site`"
SAME = r"has the same folders in each of .*: NORMAL/, TB/ seem to be the classes"
PATIENTS = r"contains a folder per patient or study .*, not per class: .*--manifest.*--group-column"
PARTS = r"contains parts of one collection .*, not classes: .*--manifest"
NO_CLASSES = {
    "folds": (
        spread(["fold_0", "fold_1", "fold_2"], ["all", "hem"]),
        r"--num-folds 3`, or keep .*path, label and fold and run .*--site-column fold --by-site`",
    ),
    "Fold1": (spread(["Fold1", "Fold2"], AB), r"put the images of each class \(NORMAL/, TB/\)"),
    "folds of numbers": (spread(["fold1", "fold2"], ["0", "1"]), r"\(0/, 1/\) into one folder"),
    "folds without classes": (spread(["fold1", "fold2"]), r"folds \(fold1/, fold2/\)"),
    "folds in train": (spread(["train", "test"], ["fold1", "fold2"], AB), r"train contains folds"),
    "folds and a test": (
        spread(["fold_0", "fold_1", "test"], AB),
        r"contains folds .* one folder",
    ),
    "sites": (spread(["siteA", "siteB"], AB), BY_SITE),
    "hospitals": (spread(["hospital_1", "hospital_2", "hospital_3"], AB), BY_SITE),
    "a site without one class": (
        [*spread(["siteA"], AB), *spread(["siteB"], ["TB"])],
        BY_SITE + ".*--class-names siteA siteB",
    ),
    "names of sites": (spread(["Montgomery", "Shenzhen"], AB), SAME),
    "no names at all": (spread(["X", "Y"], ["A", "B"]), r"same folders .*: A/, B/ seem"),
    "three of which one lacks a class": (
        [*spread(["X", "Y"], ["cat", "dog", "cow"]), *spread(["Z"], ["cat", "dog"])],
        r"same folders in each of X/, Y/, Z/",
    ),
    "two of which one lacks a class": (
        [*spread(["X"], AB), *spread(["Y"], ["TB"])],
        SAME,
    ),
    "different spellings": (
        [*spread(["X"], AB), *spread(["Y"], ["normal", "tb"])],
        r"same folders in each of X/, Y/",
    ),
    "classes of numbers": (spread(["Madrid", "Berlin"], ["0", "1"]), r"0/, 1/ seem"),
    "magnifications first": (spread(["40X", "100X"], ["benign", "malignant"]), r"malignant/ seem"),
    "MURA": (
        [
            f"{region}/patient{p}/study{s}_{'negative' if p % 2 else 'positive'}/1.png"
            for region in ("XR_ELBOW", "XR_HAND")
            for p in range(6)
            for s in (1, 2)
        ],
        r"study\d_negative/, study\d_positive/ seem to be the classes",
    ),
    "CheXpert": (
        spread(["train", "valid"], [f"patient{i:05d}" for i in range(9)], ["study1"]),
        PATIENTS,
    ),
    "LIDC": (spread([f"LIDC-IDRI-{i:04d}" for i in range(30)], ["CT"], suffix=".dcm"), PATIENTS),
    "few of LIDC": (spread([f"LIDC-IDRI-{i:04d}" for i in range(5)]), PATIENTS),
    "one odd folder": (spread([*(f"patient{i}" for i in range(12)), "lost"]), PATIENTS),
    "numbers of four digits": (spread(["TCGA_CS_4941", "TCGA_CS_4942"]), PATIENTS),
    "UIDs": (spread(["1.2.276.0.7230010.3", "1.2.276.0.7230010.4"], ["1.2.3.4"]), PATIENTS),
    "years": (spread(["2019", "2020"], ["pos", "neg"]), r"same folders in each of 2019/, 2020/"),
    "vendors": (spread(["GE", "Siemens"], AB), BY_SITE),
    "Messidor": (spread([f"Base{i}{j}" for i in (1, 2) for j in range(1, 5)]), PARTS),
    "subjects": (spread(["sub-01", "sub-02", "sub-03"], ["ses-1"]), PATIENTS),
    "numbered patients": (spread([f"{i:05d}" for i in range(30)]), PATIENTS),
    "HAM10000": (spread(["HAM10000_images_part_1", "HAM10000_images_part_2"]), PARTS),
    "parts with classes": (spread(["part1", "part2"], AB), r"of one collection .*NORMAL/, TB/"),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_other_levels_are_refused_with_what_they_are(tmp_path: Path, kind: str) -> None:
    paths, words = NO_CLASSES[kind]
    text = refusal_of(lay_out(tmp_path / "data", paths))
    assert re.search(words, text), text
    assert "pass --class-names" in text


@pytest.mark.parametrize("kind", [k for k, (p, _) in NO_CLASSES.items() if p[0][:5] != "train"])
def test_named_folders_are_the_classes(tmp_path: Path, kind: str) -> None:
    paths = NO_CLASSES[kind][0]
    names = sorted({path.split("/")[0] for path in paths})
    listing = list_images(lay_out(tmp_path, paths), class_names=names)
    assert listing.class_names == tuple(names) and len(listing.files) == len(paths)


WRAPPED = {
    "images": (spread(["images"], AB), "did you mean {}/images?"),
    "images and masks": (spread(["images", "masks"], AB), "did you mean {}/images?"),
    "a set of its own": (spread(["a"], ["b"], AB), "did you mean {}/a/b?"),
    "split in images": (
        spread(["images", "labels"], ["train", "test"], AB),
        "did you mean {}/images?",
    ),
    "in the split": (
        spread(["train", "test"], ["images"], AB),
        "train contains images/ around NORMAL/, TB/: move these up",
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_folder_around_the_classes_is_named(tmp_path: Path, kind: str) -> None:
    paths, words = WRAPPED[kind]
    assert words.format(tmp_path) in refusal_of(lay_out(tmp_path, paths))


UNSORTED = {
    "flat": (spread(["."]), ""),
    "in one folder": (spread(["images"]), ""),
    "with masks": (spread(["images", "masks"]), ""),
    "annotations in text": ([*spread(["images"]), *spread(["labels"], suffix=".txt")], ""),
    "in the split": (spread(["train", "test"]), ""),
    "beside a table": ([*spread(["images"]), "labels.csv"], "labels.csv"),
    "a table in train": ([*spread(["train", "test"], ["images"]), "train/t.tsv"], "train/t.tsv"),
    "one set": (spread(["scans of 2019"]), ""),
    "parts": ([*spread(["part_1", "part_2"]), "meta data.csv"], "'{}/meta data.csv'"),
    "ChestX-ray14": (spread([f"images_{i:03d}" for i in range(1, 13)], ["images"]), ""),
}


@pytest.mark.parametrize("kind", UNSORTED)
def test_unsorted_images_lead_to_a_table(tmp_path: Path, kind: str) -> None:
    paths, table = UNSORTED[kind]
    text = refusal_of(lay_out(tmp_path, paths))
    wanted = table.format(tmp_path) if "{}" in table else f"{tmp_path}/{table}"
    assert f"pass --manifest {wanted if table else 'TABLE'}" in text


def test_tables_next_to_the_split_are_found(tmp_path: Path) -> None:
    paths = spread(["stage_2_train_images", "stage_2_test_images"])
    text = refusal_of(lay_out(tmp_path, [*paths, "stage_2_train_labels.csv"]))
    assert f"pass --manifest {tmp_path}/stage_2_train_labels.csv if that table has" in text


def test_splits_that_do_not_belong_together_are_no_classes(tmp_path: Path) -> None:
    text = refusal_of(lay_out(tmp_path, spread(["old_train", "new_train", "test"])))
    assert "contains new_train/, old_train/, test/, which look like a split" in text


def test_a_split_of_each_class_is_refused(tmp_path: Path) -> None:
    names = ("normal_train", "normal_test", "tb_train", "tb_test")
    text = refusal_of(lay_out(tmp_path, spread(names)))
    assert "several splits (normal_test/, normal_train/, tb_test/, tb_train/)" in text


def test_a_copy_of_the_classes_among_them_is_no_class(tmp_path: Path) -> None:
    lay_out(tmp_path, [*spread(["yes", "no"]), *spread(["brain_tumor_dataset"], ["yes", "no"])])
    assert "brain_tumor_dataset contains the classes no, yes again" in refusal_of(tmp_path)
    listing = list_images(tmp_path, class_names=("no", "yes"))
    assert len(listing.files) == 6


def test_a_split_without_test_says_how_to_go_on(tmp_path: Path) -> None:
    text = refusal_of(lay_out(tmp_path, spread(["train", "valid"], AB)))
    assert f"rename valid/ to test/, or pass --data-dir {tmp_path}/train" in text


def test_a_split_inside_the_classes_is_said_not_to_be_used(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path, spread(["A", "B"], ["Training", "Testing"])))
    assert listing.class_names == ("A", "B")
    assert any("inside A/, B/ are not used as a split" in text for text in warnings_of(listing))


def test_folders_without_an_image_are_named_with_what_they_contain(tmp_path: Path) -> None:
    lay_out(tmp_path, [*spread(AB), *spread(["COVID"], ["p1"], suffix=".xyz"), "Flu/notes.txt"])
    (tmp_path / "Empty").mkdir()
    listing = list_images(tmp_path)
    assert "folders without an image: COVID, Empty, Flu" in listing.notes
    assert warnings_of(listing) == [
        f"the folder {name}/ is not a class, because it has no image that can be read; {found}"
        for name, found in (
            ("COVID", "found .xyz (3)"),
            ("Empty", "it is empty"),
            ("Flu", "found .txt (1)"),
        )
    ]


SPELLINGS = {
    "case": ("Benign", "benign"),
    "case of a split": ("NORMAL", "Normal"),
    "joined words": ("No_Finding", "no finding"),
    "accents": ("b\u00e9nin", "be\u0301nin"),
    "unseen": ("TB", "TB\u200b"),
    "blank": ("OCT2017", "OCT2017 "),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_spellings_of_one_class_are_one_class(tmp_path: Path, kind: str) -> None:
    often, seldom = SPELLINGS[kind]
    paths = [*spread([often], num_images=5), *spread([seldom, "other"])]
    if len(list(lay_out(tmp_path / "whole", paths).iterdir())) < 3:
        pytest.skip("this file system does not distinguish the names")
    listing = list_images(tmp_path / "whole")
    assert set(listing.class_names) == {often, "other"}
    assert [f.path.split("/")[0] for f in listing.files if f.label == often].count(seldom) == 3
    is_seen = kind not in ("accents", "unseen", "blank")
    assert [item.topic for item in listing.inferences] == ["layout", "spelling"]
    assert bool(warnings_of(listing)) == is_seen

    split = [
        *spread(["train"], [often, "other"], num_images=5),
        *spread(["test"], [seldom, "other"]),
    ]
    listing = list_images(lay_out(tmp_path / "split", split))
    assert set(listing.class_names) == {often, "other"}
    assert {f.label for f in listing.files if f.folder == "test"} == {often, "other"}


def test_spellings_that_are_both_named_stay_apart(tmp_path: Path) -> None:
    names = ("Benign", "benign")
    listing = list_images(lay_out(tmp_path, spread(names)), class_names=names)
    assert listing.class_names == names and len(listing.inferences) == 1
    listing = list_images(lay_out(tmp_path, spread(["TB"])), class_names=("BENIGN", "TB"))
    assert {f.path.split("/")[0] for f in listing.files if f.label == "BENIGN"} == set(names)


def test_a_misspelled_class_of_test_gets_the_nearest_of_train(tmp_path: Path) -> None:
    text = refusal_of(
        lay_out(tmp_path, [*spread(["train"], AB), *spread(["test"], ["NORMALL", "TB"])])
    )
    assert (
        "class NORMALL has images in val/ or test/ but none in train/ (did you mean NORMAL" in text
    )


def test_the_nearest_folder_is_named_for_one_that_is_missing(tmp_path: Path) -> None:
    data = lay_out(tmp_path / "data" / "chest_xray", spread(["train", "test"], AB))
    assert f"(did you mean {data}?)" in refusal_of(data.with_name("chest_xary"))
    assert f"(did you mean {data}?)" in refusal_of(data.with_name("Chest-Xray"))
    assert f"(did you mean {data}/train?)" in refusal_of(data.with_name("chest_xary") / "train")
    assert refusal_of(tmp_path / "data" / "mammography").endswith("does not exist.")


def test_words_of_names_do_not_depend_on_how_they_are_joined() -> None:
    for name in ("trainSet", "train_set", "TRAIN-SET", "Train set", "train.set"):
        assert split_words(name) == ("train", "set") and read_split(name) == ("train", ())
    assert split_words("Läsion2b") == ("läsion", "2", "b")
    assert read_split("train_test")[0] is None and read_split("constraint")[0] is None
    assert find_level(["fold"]) is None and find_level(["fold_1", "normal"]) is None
