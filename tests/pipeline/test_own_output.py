"""Own output never becomes input: refused, written elsewhere, or left out, in every command."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from medimg_baseline_cls import check, cross_validate, predict, run_seeds, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.read import FileSorter, decode_image
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.errors import BadImageError, ConfigError, DataError, ResourceError
from medimg_baseline_cls.pipeline.steps import session as session_module
from medimg_baseline_cls.pipeline.steps.prediction_inputs import find_files
from medimg_baseline_cls.utils.own_output import DATA, MARKER, is_own, mark_own

ConfigMaker = Callable[..., Config]
COMMANDS = {
    "train": train,
    "cv": cross_validate,
    "seeds": lambda config: run_seeds(config, (0, 1)),
    "check": check,
}


def write_image(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "mydata"
    for name in ("NORMAL", "PNEUMONIA"):
        for number in range(3):
            write_image(folder / name / f"{number}.png", number)
    return folder


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("places", "flag"),
    [
        ({"output_dir": "mydata/outputs"}, "--output-dir"),
        ({"output_dir": "mydata"}, "--output-dir"),
        ({"output_dir": "mydata/NORMAL"}, "--output-dir"),
        ({"output_dir": "link/outputs"}, "--output-dir"),
        ({"output_dir": "mydata/../mydata/new/outputs"}, "--output-dir"),
        ({"output_dir": "outputs", "cache_dir": "mydata/cache"}, "--cache-dir"),
    ],
)
def test_output_in_the_data_is_refused_before_anything_is_written(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    places: dict[str, str],
    flag: str,
) -> None:
    (tmp_path / "link").symlink_to(data, target_is_directory=True)
    before = names_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = {name: Path(place) for name, place in places.items()}
    with pytest.raises(ConfigError, match=rf"inside the data folder .*mydata.*{flag}"):
        COMMANDS[command](Config(data_dir=Path("mydata"), pretrained=False, **settings))
    with pytest.raises(ConfigError, match=rf"inside the data folder .*mydata.*{flag}"):
        COMMANDS[command](Config(data_dir=Path("link"), pretrained=False, **settings))
    assert names_below(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_ours_is_not_taken_for_data(data: Path, tmp_path: Path, command: str) -> None:
    mark_own(data)
    config = Config(data_dir=data / "NORMAL", output_dir=tmp_path / "out", pretrained=False)
    with pytest.raises(DataError, match="mydata, which medimg has written"):
        COMMANDS[command](config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_old", [False, True])
def test_output_that_is_in_the_data_already_is_no_class(data: Path, is_old: bool) -> None:
    clean = list_images(data)
    run = data / "outputs" / "runs" / "medimg_20260101-000000"
    array = data / "outputs" / "cache" / "64px-0"
    write_image(run / "gradcam" / "FP" / "01.png")
    write_image(data / "NORMAL" / "predictions" / "0001_p0.900_a.png")
    array.mkdir(parents=True)
    for path in (run / "status.json", run / "log.txt", array / "pixels.npy"):
        path.touch()
    (array / "contents.csv").touch()
    mark_own(data / "NORMAL" / "predictions")  # an old one is known by nothing but its pictures
    if not is_old:
        mark_own(run), mark_own(array)
    listing = list_images(data)
    assert (listing.files, listing.class_names) == (clean.files, clean.class_names)
    (note,) = [note for note in listing.notes if "medimg has written" in note]
    assert "outputs" in note and "NORMAL/predictions" in note
    sorter = FileSorter()
    files = find_files([data], sorter=sorter)
    assert sorted(files) == sorted(data / file.path for file in clean.files)
    assert sorter.left_out["written by medimg"] >= 2


def test_a_row_that_names_our_output_is_refused(data: Path) -> None:
    write_image(data / "panels" / "deep" / "x.png")
    mark_own(data / "panels")
    table = data / "table.csv"
    table.write_text("path,label\nNORMAL/0.png,A\nPNEUMONIA/0.png,B\npanels/deep/x.png,B\n")
    settings = TableSettings(path_column="path", labels=LabelRule(columns=("label",)))
    with pytest.raises(DataError, match=r"row 4: panels/deep/x\.png .* medimg has written"):
        list_table(table, root=data, settings=settings)


@pytest.mark.parametrize("kind", ["folder", "file", "pattern", "link"])
def test_predict_does_not_read_our_pictures(data: Path, tmp_path: Path, kind: str) -> None:
    write_image(data / "panels" / "deep" / "x.png")
    mark_own(data / "panels")
    (tmp_path / "link").symlink_to(data / "panels" / "deep", target_is_directory=True)
    paths = {
        "folder": data / "panels" / "deep",
        "file": data / "panels" / "deep" / "x.png",
        "pattern": f"{data}/panels/*/*.png",
        "link": tmp_path / "link",
    }
    with pytest.raises(DataError, match="medimg has written|names no image"):
        find_files([paths[kind]], sorter=FileSorter())


def test_a_pattern_finds_phantoms_that_it_names_and_no_panels(data: Path) -> None:
    write_image(data / "panels" / "x.png")
    mark_own(data / "panels")
    mark_own(data / "NORMAL", kind=DATA)
    sorter = FileSorter()
    found = find_files([Path(f"{data}/NORMAL/*.png"), Path(f"{data}/P*/*.png")], sorter=sorter)
    assert [path.parent.name for path in found] == ["NORMAL"] * 3 + ["PNEUMONIA"] * 3
    with pytest.raises(DataError, match=r"names no image \(1 files that medimg has written"):
        find_files([Path(f"{data}/pan*/*.png")], sorter=FileSorter())


def test_a_picture_that_we_have_drawn_is_known_wherever_it_is_copied(
    finished_run: Path, tmp_path: Path
) -> None:
    pictures = [finished_run / "figures" / "roc.png", *finished_run.glob("gradcam/F*/*.png")]
    assert len(pictures) > 1
    for picture in pictures:
        with pytest.raises(BadImageError, match="drawn by medimg"):
            decode_image(picture.read_bytes(), color="grey")


def test_every_folder_that_a_run_makes_is_marked(finished_run: Path) -> None:
    arrays = list((finished_run.parents[1] / "cache").iterdir())
    assert arrays and all((folder / MARKER).is_file() for folder in (finished_run, *arrays))


@pytest.fixture
def films(phantoms: Path, tmp_path: Path) -> Path:
    """Return a folder of two images, as a user keeps them."""
    folder = tmp_path / "dcm"
    folder.mkdir()
    for path in sorted((phantoms / "test").rglob("*.png"))[:2]:
        shutil.copy(path, folder)
    return folder


def read_paths(output: Path) -> list[str]:
    with output.open(encoding="utf-8", newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


def test_panels_are_not_drawn_among_the_images(finished_run: Path, films: Path) -> None:
    before = names_below(films)
    output = films.with_suffix(".csv")  # its panels would be in dcm/
    for _ in range(2):
        predict(finished_run, [films], output=output, explain=True)
        assert names_below(films) == before
        assert len(list(films.with_name("dcm_panels").glob("*.png"))) == 2
    inside = films / "results.csv"
    predict(finished_run, [films], output=inside, explain=True)
    assert is_own(films / "results")
    predict(finished_run, [films], output=output)
    assert read_paths(output) == read_paths(inside) == [str(films / name) for name in before]


def test_panels_are_added_to_panels_only(finished_run: Path, films: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "runs" / "copy"))
    drawn = names_below(run / "gradcam")
    write_image(run / "notes" / "mine.png")
    for name in ("gradcam", "notes"):
        predict(run, [films], output=run / f"{name}.csv", explain=True)
        assert len(list((run / f"{name}_panels").glob("*.png"))) == 2
    assert names_below(run / "gradcam") == drawn
    assert names_below(run / "notes") == ["mine.png"]


def test_panels_have_no_place_among_two_folders_of_a_user(finished_run: Path, films: Path) -> None:
    write_image(films.with_name("dcm_panels") / "mine.png")
    with pytest.raises(ConfigError, match="dcm_panels are not folders of panels"):
        predict(finished_run, [films], output=films.with_suffix(".csv"), explain=True)
    assert not films.with_suffix(".csv").exists()


def test_predict_from_within_the_images_leaves_nothing_there(
    finished_run: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run that was moved away from its cache, with an output folder relative to where it began.
    run = tmp_path / "elsewhere" / "run"
    shutil.copytree(finished_run, run)
    text = (run / "config.json").read_text(encoding="utf-8")
    output_dir = str(finished_run.parents[1])
    assert output_dir in text
    (run / "config.json").write_text(text.replace(output_dir, "outputs"), encoding="utf-8")
    before = names_below(films)
    monkeypatch.chdir(films)
    predict(run, ["."], output=tmp_path / "p.csv")
    assert names_below(films) == before
    assert read_paths(tmp_path / "p.csv") == before


def test_a_read_only_run_can_predict(
    finished_run: Path,
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = finished_run.parents[1]
    open_file, access = Path.open, os.access

    def refuse(path: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if home in path.parents and set(mode) & set("wax+"):
            raise OSError(30, "Read-only file system", str(path))
        return open_file(path, mode, *args, **kwargs)  # type: ignore[call-overload]

    def look(path: Path, mode: int) -> bool:
        return not (mode & os.W_OK and home in (path, *path.parents)) and access(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", look)
    predict(finished_run, [films], output=tmp_path / "p.csv", explain=True)
    assert len(read_paths(tmp_path / "p.csv")) == len(list((tmp_path / "p").glob("*.png"))) == 2
    assert "log.txt: it cannot be written (Read-only" in capsys.readouterr().out
    with pytest.raises(ResourceError, match="name a file elsewhere with --output"):
        predict(finished_run, [films])


def test_the_cache_is_that_of_the_folder_in_which_a_run_is(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = session_module.reopen_session(os.path.relpath(finished_run))
    assert session.cache_dir == finished_run.parents[1] / "cache"


def test_panels_of_replaced_predictions_are_removed_and_nothing_else(
    finished_run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, panels = tmp_path / "p.csv", tmp_path / "p"
    predict(finished_run, [films], output=output, explain=True)
    assert "earlier predictions" not in capsys.readouterr().out
    before = set(names_below(panels))
    write_image(panels / "mine.png")
    first = min(films.iterdir())
    predict(finished_run, [first], output=output, explain=True)
    said = " ".join(capsys.readouterr().out.split())
    assert f"earlier predictions in {output} were replaced, and 2 panels of theirs removed" in said
    kept = set(names_below(panels)) - {"mine.png"}
    assert len([name for name in kept if name.endswith(".png")]) == 1 and kept <= before
    (panels / "mine.png").unlink()
    predict(finished_run, [first], output=output)
    assert not panels.exists()


def test_a_broken_file_is_skipped_where_that_is_asked_for(
    finished_run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (films / "0_broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    whole, output = sorted(films.iterdir())[1:], tmp_path / "p.csv"
    with pytest.raises(DataError, match=r"1 of 3 files .*0_broken.* --on-bad-image skip; nothing"):
        predict(finished_run, [films], output=output)
    predict(finished_run, whole, output=output)
    alone = output.read_bytes()
    predict(finished_run, [films], output=output, on_bad_image="skip", explain=True)
    assert output.read_bytes() == alone
    assert len(list((tmp_path / "p").glob("*.png"))) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 3 files cannot be decoded and are skipped: " in said and "0_broken.png (" in said
    with pytest.raises(DataError, match="1 of 1 files cannot be decoded") as refusal:
        predict(finished_run, [films / "0_broken.png"], output=output, on_bad_image="skip")
    assert "--on-bad-image" not in str(refusal.value) and output.read_bytes() == alone
    with pytest.raises(ConfigError, match="expected error or skip"):
        predict(finished_run, whole, output=output, on_bad_image="no")  # type: ignore[arg-type]


def test_images_that_the_run_was_trained_on_are_warned_of(
    finished_run: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (finished_run / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    some = {name: [r["path"] for r in rows if r["split"] == name] for name in ("train", "val")}
    for number, path in enumerate((*some["train"][:3], some["val"][0])):
        shutil.copy(phantoms / path, tmp_path / f"copy_{number}.png")
    test = [phantoms / r["path"] for r in rows if r["split"] == "test"][:2]
    predict(finished_run, [tmp_path, *test], output=tmp_path / "p.csv")
    said = " ".join(capsys.readouterr().out.split())
    assert "4 of 6 images were used in training: 3 in TRAIN and 1 in VAL of this run" in said
    predict(finished_run, test, output=tmp_path / "p.csv")
    assert "images were used in training" not in capsys.readouterr().out
