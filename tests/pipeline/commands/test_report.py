"""Commands on the data that users bring: what is refused, and what comes out the same."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import Compose, RandFlip
from PIL import Image

from medimg_baseline_cls import evaluate, explain, predict, report, run, train
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError, LeakageError, RunError
from medimg_baseline_cls.utils.runs import write_status

ConfigMaker = Callable[..., Config]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_images(folder: Path, counts: dict[str, int], *, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{seed}_{number}.png")


def test_prediction_equals_evaluation_to_the_bit(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    expected = {r["path"]: r for r in read_rows(finished_run / "predictions_test.csv")}
    some = sorted(expected)[:7]
    output = tmp_path / "new.csv"
    predict(finished_run, [phantoms / path for path in some], output=output)
    for path, row in zip(some, read_rows(output), strict=True):
        assert row["prob_PNEUMONIA"] == expected[path]["prob_PNEUMONIA"]
        is_positive = float(row["prob_PNEUMONIA"]) >= float(row["threshold"])
        assert row["decision"] == ("PNEUMONIA" if is_positive else "NORMAL")


def test_prediction_takes_folders_and_patterns_and_explains(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.csv"
    folder = phantoms / "test" / "NORMAL"
    predict(finished_run, [folder, str(folder / "*.png")], output=output, explain=True)
    num_images = len(list(folder.glob("*.png")))
    assert len(read_rows(output)) == num_images
    assert len(list((tmp_path / "new").glob("*.png"))) == num_images


def test_prediction_refuses_what_is_no_image(finished_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        predict(finished_run, [broken], output=tmp_path / "new.csv")
    assert not (tmp_path / "new.csv").exists()
    with pytest.raises(DataError, match="names no image"):
        predict(finished_run, [tmp_path / "nothing*.png"])
    with pytest.raises(RunError, match="not an operating point"):
        predict(finished_run, [broken], operating_point="youden")


def test_prediction_leaves_other_files_as_they_are(finished_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\na.png,NORMAL\n")
    with pytest.raises(ConfigError, match="that predict has not written"):
        predict(finished_run, [tmp_path], output=table)
    assert table.read_text() == "path,label\na.png,NORMAL\n"
    with pytest.raises(ConfigError, match="is a folder"):
        predict(finished_run, [tmp_path], output=tmp_path)
    with pytest.raises(ConfigError, match=r"below .*labels\.csv, which is not a folder"):
        predict(finished_run, [tmp_path], output=table / "new.csv")


@pytest.mark.parametrize("text", ["", 'path,"prob_a,b",decision\n', "path,prob_A\n"])
def test_an_earlier_prediction_is_replaced(finished_run: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "new.csv").write_text(text)
    write_images(tmp_path / "films", {"x": 1}, seed=0)
    predict(finished_run, [tmp_path / "films"], output=tmp_path / "new.csv")
    assert len(read_rows(tmp_path / "new.csv")) == 1


def test_mistakes_are_not_explained_before_they_are_known(
    finished_run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    (copy / "mistakes.csv").unlink()
    with pytest.raises(RunError, match=r"`medimg run --resume .*copy`"):
        explain(copy)


def test_changed_image_stops_the_evaluation(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    run_dir = train(make_config(data, tmp_path, head_epochs=1, finetune_epochs=0)).run_dir
    changed = next((data / "test" / "NORMAL").glob("*.png"))
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(changed)
    with pytest.raises(RunError, match="sha256"):
        evaluate(run_dir)
    assert not (run_dir / "predictions_test.csv").exists()


def test_three_classes_go_all_the_way(tmp_path: Path, make_config: ConfigMaker) -> None:
    data = tmp_path / "data"
    write_images(data / "train", {"A": 12, "B": 14, "C": 16}, seed=1)
    write_images(data / "test", {"A": 5, "B": 6, "C": 7}, seed=2)
    config = make_config(data, tmp_path, finetune_epochs=1, group_regex="none")
    result = run(config)
    rows = read_rows(result.run_dir / "predictions_test.csv")
    assert len(rows) == 18
    total = [sum(float(row[f"prob_{name}"]) for name in "ABC") for row in rows]
    assert total == pytest.approx([1.0] * 18)
    assert (result.run_dir / "report.html").is_file()


def test_patient_on_two_sides_stops_the_run(tmp_path: Path, make_config: ConfigMaker) -> None:
    data = tmp_path / "data"
    for part, seed in (("train", 1), ("test", 2)):
        write_images(data / part, {"NORMAL": 8, "SICK": 8}, seed=seed)
    with pytest.raises(LeakageError, match="NORMAL_1_3|NORMAL_2_3"):
        train(make_config(data, tmp_path, group_regex=r"[A-Z]+_\d+_(\d+)"))


def test_missing_data_folder_is_one_sentence(tmp_path: Path, make_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="--data-dir"):
        train(Config(output_dir=tmp_path))
    with pytest.raises(DataError, match="nowhere"):
        train(make_config(tmp_path / "nowhere", tmp_path))
    assert not list(tmp_path.glob("runs/*"))


def test_own_transform_is_used(phantoms: Path, tmp_path: Path, make_config: ConfigMaker) -> None:
    config = make_config(phantoms, tmp_path, head_epochs=0, finetune_epochs=1)
    plain = train(config).run_dir
    flipped = train(config, transform=Compose([RandFlip(prob=1.0, spatial_axis=1)])).run_dir
    again = train(config, transform=Compose([RandFlip(prob=1.0, spatial_axis=1)])).run_dir
    read = [(p / "history.csv").read_bytes() for p in (plain, flipped, again)]
    assert read[0] != read[1] == read[2]


@pytest.mark.parametrize(
    "content", ["null", "[]", "[" * 50_000, '{"provenance": ' + "9" * 5000 + "}"]
)
@pytest.mark.parametrize("command", ["report", "evaluate", "predict", "compare", "explain"])
def test_settings_of_a_run_that_were_garbled_are_one_sentence_in_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    write_status(folder, "finished")
    more = {"predict": [str(tmp_path)], "compare": [str(folder)]}.get(command, [])
    if command == "compare":
        (folder / "test_summary.json").write_text(content)
    assert main([command, str(folder), *more]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(folder) in said
    assert len(said) < 1000


def test_a_report_of_edited_results_is_refused_without_a_traceback(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(finished_run, tmp_path / "run")
    content = json.loads((run_dir / "prevalence.json").read_text())
    (name,) = [key for key in content if isinstance(content[key], dict)][:1]
    content[name] = dict.fromkeys(content[name], -1)
    (run_dir / "prevalence.json").write_text(json.dumps(content))
    (run_dir / "results.sha256").unlink()  # as in runs of earlier versions
    assert main(["report", str(run_dir)]) == 2
    said = capsys.readouterr().err
    assert "cannot be made from what its files contain" in said and "get" not in said


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("test_summary.json", '"num_images": 30', '"num_images": 31'),
        ("history.csv", "finetune,1,", "finetune,1,0"),
        ("predictions_test.csv", "NORMAL", "PNEUMONIA"),
        ("patients/test_summary.json", '"value": ', '"value": 0.9'),
    ],
)
def test_an_edited_number_is_noticed_whatever_it_is(
    finished_run: Path, tmp_path: Path, name: str, old: str, new: str
) -> None:
    run_dir = shutil.copytree(finished_run, tmp_path / "run")
    report(run_dir)
    text = (run_dir / name).read_text(encoding="utf-8")
    assert old in text
    (run_dir / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RunError, match=f"{name} was edited after it was written: restore it, or"):
        report(run_dir)
