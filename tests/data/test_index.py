"""Every image has its class and its patient; a bad file stops the run or is listed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse.csgraph import connected_components

from medimg_baseline_cls.data.index import (
    ListedFile,
    Listing,
    find_groups,
    index_images,
    list_images,
)
from medimg_baseline_cls.data.patients import set_rule
from medimg_baseline_cls.data.pixels.cache import FileFacts, build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared/data/chest_xray"


def touch(data: Path, *paths: str) -> None:
    for path in paths:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"")


def lay_out(data: Path) -> Path:
    touch(
        data,
        *("train/NORMAL/IM-0115-0001.jpeg", "train/NORMAL/IM-0117-0001.JPG"),
        *("train/PNEUMONIA/person1_bacteria_1.png", "train/PNEUMONIA/person1_bacteria_2.tiff"),
        *("test/NORMAL/IM-0001-0001.jpeg", "test/PNEUMONIA/person9_virus_1.bmp"),
    )
    return data


def make_facts(
    listing: Listing, bad: Sequence[str] = (), twins: Sequence[str] = ()
) -> list[FileFacts]:
    return [
        FileFacts(
            path=file.path,
            sha256="twin" if file.path in twins else f"sha{number}",
            width=20 + number,
            height=10,
            mode="L",
            error="the file is empty" if file.path in bad else None,
            row=-1 if file.path in bad else 100 - number,
        )
        for number, file in enumerate(listing.files)
    ]


def test_records_join_listing_and_facts_in_the_order_of_the_paths(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    facts = make_facts(listing)
    index = index_images(listing, facts[::-1])
    assert [r.path for r in index.records] == [f.path for f in listing.files]
    assert index.cache_rows.dtype == np.int64
    assert index.cache_rows.tolist() == [f.row for f in facts]
    first = index.records[0]
    assert (first.image_id, first.label, first.split) == (first.path, "NORMAL", "test")
    assert (first.sha256, first.width, first.height, first.group) == ("sha0", 20, 10, "IM-0001")
    assert index.rejected == ()
    assert index.notes == ()
    (patients,) = index.inferences
    assert (patients.found, patients.reason) == ("5 patients, 6 images", "the Kaggle file names")


def test_bad_images_stop_everything_with_a_list(tmp_path: Path) -> None:
    touch(lay_out(tmp_path), *(f"train/NORMAL/{i:02d}.png" for i in range(13)))
    listing = list_images(tmp_path)
    bad = [f"train/NORMAL/{i:02d}.png" for i in range(13)]
    with pytest.raises(DataError) as caught:
        index_images(listing, make_facts(listing, bad))
    text = str(caught.value)
    assert text.startswith("13 images cannot be decoded")
    assert "train/NORMAL/09.png: the file is empty" in text and "09.png" in text
    assert "10.png" not in text and "and 3 more" in text
    assert "--on-bad-image skip" in text


def test_skipped_images_are_rejected_with_their_reason(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    bad = "train/NORMAL/IM-0117-0001.JPG"
    index = index_images(listing, make_facts(listing, [bad]), on_bad_image="skip")
    assert index.rejected == ((bad, "the file is empty"),)
    assert len(index.records) == len(index.cache_rows) == 5
    assert -1 not in index.cache_rows
    assert "1 file that cannot be decoded was rejected" in index.notes


def test_class_without_readable_images_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    bad = [f.path for f in listing.files if f.label == "NORMAL" and f.folder == "train"]
    with pytest.raises(DataError, match=r"no usable image of class NORMAL is left in train/"):
        index_images(listing, make_facts(listing, bad), on_bad_image="skip")


KAGGLE = {
    "train/PNEUMONIA/person23_bacteria_77.jpeg": "person23_bacteria",
    "train/PNEUMONIA/person23_bacteria_78.jpeg": "person23_bacteria",
    "test/PNEUMONIA/person23_virus_1.jpeg": "person23_virus",
    "train/NORMAL/IM-0115-0001.jpeg": "IM-0115",
    "train/NORMAL/IM-0115-0001-0002.jpeg": "IM-0115",
    "train/NORMAL/NORMAL2-IM-0381-0001.jpeg": "NORMAL2-IM-0381",
    "test/NORMAL/NORMAL2-IM-0381.png": "NORMAL2-IM-0381",
    "train/NORMAL/case.7/IM-0009-0001.jpeg": "IM-0009",
    "train/NORMAL/IM-0009-notes/scan.png": "train/NORMAL/IM-0009-notes/scan.png",
    "train/NORMAL/person7.png": "train/NORMAL/person7.png",
    "train/NORMAL/xIM-0115-0001.jpeg": "train/NORMAL/xIM-0115-0001.jpeg",
}


def test_default_expression_knows_the_kaggle_names() -> None:
    assert find_groups({path: path for path in KAGGLE}) == KAGGLE


def test_own_expression_names_the_patient_by_its_capturing_groups() -> None:
    paths = {p: p for p in ("train/A/p1_L_2.png", "train/B/p1_R_1.png", "test/A/p2/L.png")}
    assert find_groups(paths, group_regex=r"^(p\d+)_") == {
        "train/A/p1_L_2.png": "p1",
        "train/B/p1_R_1.png": "p1",
        "test/A/p2/L.png": "test/A/p2/L.png",
    }
    assert find_groups(paths, group_regex=r"^p\d+")["test/A/p2/L.png"] == "p2"
    both = find_groups(paths, group_regex=r"(p\d+).*([LR])")
    assert both["train/A/p1_L_2.png"] == "p1_L" and both["test/A/p2/L.png"] == "p2_L"


def test_wrong_expression_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"group_regex '\(' is not a valid expression"):
        find_groups({"train/A/a.png": "x"}, group_regex="(")


@given(st.dictionaries(st.integers(0, 40), st.integers(0, 12), min_size=1), st.randoms())
@settings(deadline=None, max_examples=60)
def test_groups_are_the_connected_parts_whatever_the_order(
    contents: dict[int, int], random: object
) -> None:
    sha256s = {f"train/A/p{n % 9}_{n}.png": f"sha{c}" for n, c in contents.items()}
    groups = find_groups(sha256s, group_regex=r"^(p\d+)_")
    items = list(sha256s.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert find_groups(dict(items), group_regex=r"^(p\d+)_") == groups
    paths = sorted(sha256s)
    names = {path: path.split("/")[2].split("_")[0] for path in paths}
    near = [[names[a] == names[b] or sha256s[a] == sha256s[b] for b in paths] for a in paths]
    _, parts = connected_components(np.array(near))
    for path, part in zip(paths, parts, strict=True):
        held = [names[other] for other, its in zip(paths, parts, strict=True) if its == part]
        assert groups[path] == min(held)


def test_byte_identical_files_are_one_group_and_said(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    twins = ["train/NORMAL/IM-0115-0001.jpeg", "train/PNEUMONIA/person1_bacteria_1.png"]
    index = index_images(listing, make_facts(listing, twins=twins))
    groups = {r.path: r.group for r in index.records}
    assert groups[twins[0]] == groups[twins[1]] == "IM-0115"
    assert groups["train/PNEUMONIA/person1_bacteria_2.tiff"] == "IM-0115"
    assert "1 image is a byte-identical copy of another" in index.notes
    assert f"byte-identical images with different classes: {', '.join(twins)}" in index.notes


def test_unknown_names_are_groups_of_their_own_and_said(tmp_path: Path) -> None:
    listing = list_images(lay_out(tmp_path))
    index = index_images(listing, make_facts(listing), rule=set_rule(r"^(zzz)"))
    assert {r.group for r in index.records} == {r.path for r in index.records}
    (patients,) = index.inferences
    assert (patients.found, patients.certainty) == ("not known: each image on its own", "set")


def test_folder_to_records_works_from_end_to_end(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lay_out(tmp_path / "data")
    for path in sorted((tmp_path / "data").rglob("*.*")):
        if path.is_file():
            Image.fromarray(random.integers(0, 256, (9, 9)).astype(np.uint8)).save(path)
    listing = list_images(tmp_path / "data")
    cache = build_cache(
        tmp_path / "data",
        [file.path for file in listing.files],
        settings=PixelSettings(image_size=9),
        cache_dir=tmp_path / "cache",
    )
    index = index_images(listing, cache.facts)
    for record, row in zip(index.records, index.cache_rows, strict=True):
        with Image.open(tmp_path / "data" / record.path) as image:
            np.testing.assert_array_equal(cache.pixels[row, 0], np.asarray(image))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the chest X-ray folder is not here")
def test_real_folder_has_the_known_patients() -> None:
    listing = list_images(SHARED)
    assert listing.class_names == ("NORMAL", "PNEUMONIA")
    groups = find_groups({f.path: f.path for f in listing.files})
    sides: dict[str, set[str]] = {}
    for file in listing.files:
        sides.setdefault(groups[file.path], set()).add(file.folder)
    assert len(sides) == 3654
    assert all(len(folders) == 1 for folders in sides.values())
    assert max(sum(g == name for g in groups.values()) for name in ["person23_bacteria"]) > 1


def test_a_group_that_the_data_name_comes_before_the_file_name() -> None:
    sha256s = {"a/IM-0001-1.png": "1", "a/IM-0001-2.png": "2", "b/x.png": "3"}
    groups = find_groups(sha256s, known={"a/IM-0001-2.png": "p7"}, depth=0)
    assert groups == {"a/IM-0001-1.png": "IM-0001", "a/IM-0001-2.png": "p7", "b/x.png": "b/x.png"}


@pytest.mark.parametrize(("depth", "group"), [(0, "p1"), (1, "p2"), (2, "p3")])
def test_the_expression_is_searched_below_the_class_folder(depth: int, group: str) -> None:
    path = "p1/p2/p3/x.png"
    assert find_groups({path: "1"}, group_regex=r"(p\d)", depth=depth) == {path: group}


def make_dicom_listing() -> tuple[Listing, list[FileFacts]]:
    names = ["train/A/1.dcm", "train/A/2.dcm", "train/B/3.dcm", "test/B/4.dcm", "test/B/5.dcm"]
    files = [ListedFile(name, name.split("/")[1], name.split("/")[0]) for name in names]
    files[-1] = replace(files[-1], group="named")
    patients = ["Doe", "Doe", None, "Roe", "Roe"]
    facts = [
        FileFacts(name, f"sha{i}", 4, 4, "L", None, i, patient_id=patient)
        for i, (name, patient) in enumerate(zip(names, patients, strict=True))
    ]
    return Listing(tuple(files), ("A", "B"), 0, ()), facts


def test_a_patient_id_becomes_a_group_only_in_hiding() -> None:
    listing, facts = make_dicom_listing()
    index = index_images(listing, facts, hide=lambda name: f"hidden-{len(name)}-{name[0]}")
    groups = {record.path: record.group for record in index.records}
    assert groups == {
        "train/A/1.dcm": "hidden-3-D",
        "train/A/2.dcm": "hidden-3-D",
        "train/B/3.dcm": "train/B/3.dcm",
        "test/B/4.dcm": "hidden-3-R",
        "test/B/5.dcm": "named",
    }
    for without in (
        index_images(listing, facts),
        index_images(listing, facts, hide=str.upper, rule=set_rule("(?!)")),
    ):
        assert all(r.group in (r.path, "named") for r in without.records)
