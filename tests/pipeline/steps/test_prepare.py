"""From the data folder to arrays: what is inferred, written, kept whole and refused."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.pipeline.steps.prepare import (
    PreparedData,
    count_workers,
    prepare_data,
    reopen_data,
)
from medimg_baseline_cls.pipeline.steps.session import (
    open_session,
    read_provenance,
    reopen_session,
    write_settings,
)
from medimg_baseline_cls.utils.quantities import say_count

ConfigMaker = Callable[..., Config]


def prepare(config: Config) -> tuple[PreparedData, Path]:
    session = open_session(config)
    data = prepare_data(session)
    write_settings(session, data.provenance)
    return data, session.run_dir


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tree_of(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def test_every_image_stands_in_split_csv_once(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    _, run_dir = prepare(make_config(phantoms, tmp_path))
    listed = Counter(row["path"] for row in read_rows(run_dir / "split.csv"))
    present = {p.relative_to(phantoms).as_posix() for p in phantoms.glob("t*/*/*.png")}
    assert set(listed) == present
    assert set(listed.values()) == {1}


def test_validation_is_balanced_and_cut_from_train(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, _ = prepare(make_config(phantoms, tmp_path))
    counts = data.split.class_counts("val")
    assert counts["NORMAL"] == counts["PNEUMONIA"] > 0
    folders = {r.path.split("/")[0]: r.split for r in data.split.records}
    assert folders["test"] == "test"
    assert all(r.path.startswith("train/") for r in data.split.records if r.split == "val")


def test_pixels_are_those_of_the_files(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, _ = prepare(make_config(phantoms, tmp_path))
    for row in (0, 17, len(data.split.records) - 1):
        with Image.open(phantoms / data.split.records[row].path) as image:
            expected = np.asarray(image.convert("L"))
        assert np.array_equal(data.pixels[data.cache_rows[row], 0], expected)


def test_data_folder_is_never_written(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    before = tree_of(phantoms)
    prepare(make_config(phantoms, tmp_path))
    assert tree_of(phantoms) == before


def test_classes_and_positive_class_are_inferred_or_set(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    inferred, _ = prepare(make_config(phantoms, tmp_path))
    assert inferred.provenance["class_names"] == ["NORMAL", "PNEUMONIA"]
    assert inferred.positive_class == "PNEUMONIA"
    swapped, _ = prepare(
        make_config(
            phantoms, tmp_path, class_names=("PNEUMONIA", "NORMAL"), positive_class="NORMAL"
        )
    )
    assert swapped.split.class_names == ("PNEUMONIA", "NORMAL")
    assert swapped.positive_class == "NORMAL"
    with pytest.raises(ConfigError, match="TUBERCULOSIS"):
        prepare(make_config(phantoms, tmp_path, positive_class="TUBERCULOSIS"))


@pytest.mark.parametrize("group_regex", ["auto", "none", r"(person\d+|IM-\d+)"])
def test_group_setting_reaches_the_index(
    group_regex: str, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, _ = prepare(make_config(phantoms, tmp_path, group_regex=group_regex))
    groups = {r.group for r in data.split.records}
    if group_regex == "none":
        assert len(groups) == len(data.split.records)
    else:
        assert len(groups) < len(data.split.records)
    sides = {(r.group, r.split) for r in data.split.records}
    assert len(sides) == len(groups)


def test_bad_file_stops_or_is_rejected(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    broken = data_dir / "train" / "NORMAL" / "broken.png"
    broken.write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match=r"broken\.png"):
        prepare(make_config(data_dir, tmp_path))
    data, run_dir = prepare(make_config(data_dir, tmp_path, on_bad_image="skip"))
    (row,) = read_rows(run_dir / "rejected.csv")
    assert row["path"] == "train/NORMAL/broken.png"
    assert row["reason"]
    assert data.provenance["num_rejected"] == 1
    assert "train/NORMAL/broken.png" not in {r.path for r in data.split.records}


def test_masks_are_remembered_and_are_not_images(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    images = sorted(p.relative_to(data_dir) for p in data_dir.glob("t*/*/*.png"))
    for path in images:
        shutil.copy(data_dir / path, data_dir / path.with_stem(f"{path.stem}_mask"))
    data, run_dir = prepare(make_config(data_dir, tmp_path))
    assert [r.path for r in data.split.records] == [p.as_posix() for p in images]
    assert [(row["path"], row["mask"]) for row in read_rows(run_dir / "masks.csv")] == [
        (path.as_posix(), path.with_stem(f"{path.stem}_mask").as_posix()) for path in images
    ]
    (masks,) = [item for item in data.provenance["inferences"] if item["topic"] == "masks"]
    assert masks["warning"].startswith(f"{len(images)} files are left out, such as ")
    assert masks["warning"] in (run_dir / "log.txt").read_text()


def test_val_folder_is_used_when_asked(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    test_images = sorted((data_dir / "test").glob("*/*.png"))
    patients: dict[str, list[Path]] = {}
    for path in test_images:
        patients.setdefault(path.name.rsplit("_", 1)[0].rsplit("-", 1)[0], []).append(path)
    for number, paths in enumerate(patients.values()):
        for path in paths if number % 2 else ():
            target = data_dir / "val" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    data, _ = prepare(make_config(data_dir, tmp_path, val_strategy="folder"))
    assert data.provenance["val_strategy"] == "folder"
    assert {r.path.split("/")[0] for r in data.split.records if r.split == "val"} == {"val"}


def test_reopened_data_are_the_same(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, run_dir = prepare(make_config(phantoms, tmp_path))
    session = reopen_session(run_dir)
    again = reopen_data(session, read_provenance(run_dir))
    assert again.split == data.split
    first, second = data.image_set("val"), again.image_set("val")
    assert np.array_equal(first.pixels[first.cache_rows], second.pixels[second.cache_rows])
    assert np.array_equal(first.labels, second.labels)


def test_reopened_data_survive_a_lost_cache(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, run_dir = prepare(make_config(phantoms, tmp_path))
    expected = np.array(data.pixels[data.cache_rows])
    shutil.rmtree(tmp_path / "cache")
    again = reopen_data(reopen_session(run_dir), read_provenance(run_dir))
    assert np.array_equal(again.pixels[again.cache_rows], expected)


def test_lost_data_folder_says_where_it_was(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    _, run_dir = prepare(make_config(data_dir, tmp_path))
    shutil.rmtree(data_dir)
    with pytest.raises(RunError, match="mount it"):
        reopen_data(reopen_session(run_dir), read_provenance(run_dir))


def test_lost_file_stops_before_anything_is_scored(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    _, run_dir = prepare(make_config(data_dir, tmp_path))
    lost = next((data_dir / "test" / "PNEUMONIA").glob("*.png"))
    lost.unlink()
    with pytest.raises(RunError, match=lost.name):
        reopen_data(reopen_session(run_dir), read_provenance(run_dir))


def test_limit_keeps_both_classes_in_both_folders(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data, _ = prepare(make_config(phantoms, tmp_path, limit=40))
    assert 36 <= len(data.split.records) <= 40
    for split in ("train", "val", "test"):
        assert min(data.split.class_counts(split).values()) > 0


def test_workers_default_to_the_processors() -> None:
    assert count_workers(None) >= 1
    assert [count_workers(n) for n in (0, 1, 5)] == [0, 1, 5]


def test_copies_of_test_images_are_refused_or_left_out_of_train(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(phantoms, data_dir)
    original = next(data_dir.glob("test/NORMAL/*.png"))
    shutil.copy(original, data_dir / "train/NORMAL/copy.png")
    with Image.open(original) as image:
        image.resize((90, 90)).save(data_dir / "train/NORMAL/smaller.png")
    with pytest.raises(DataError, match="--on-leak drop"):
        prepare(make_config(data_dir, tmp_path / "error"))
    gone: dict[str, set[str]] = {}
    for choice in ("drop", "drop_near"):
        data, run_dir = prepare(make_config(data_dir, tmp_path / choice, on_leak=choice))
        gone[choice] = {row["path"] for row in read_rows(run_dir / "rejected.csv")}
        kept = {row["path"] for row in read_rows(run_dir / "split.csv")}
        assert {p for p in kept if p.startswith("test/")} == {
            p.relative_to(data_dir).as_posix() for p in data_dir.glob("test/*/*.png")
        }
        assert not kept & gone[choice]
        (leaks,) = (i for i in data.provenance["inferences"] if i["topic"] == "leaks")
        assert leaks["found"] == say_count(len(gone[choice]), "images left out")
    assert gone["drop"] == {"train/NORMAL/copy.png"}
    assert gone["drop_near"] == {"train/NORMAL/copy.png", "train/NORMAL/smaller.png"}
