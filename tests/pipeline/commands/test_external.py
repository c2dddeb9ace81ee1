"""A locked run on another data set: what is written, what is not touched, what is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls import evaluate, explain, external, predict, report, resume_run
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.steps import locked_run
from medimg_baseline_cls.pipeline.steps.external_data import TableFlags
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.records.summaries import read_summary
from medimg_baseline_cls.records.updating import UpdatingSummary
from medimg_baseline_cls.utils.files import read_csv

Undrawn = Callable[[], AbstractContextManager[None]]
DAMAGED = b"\x89PNG\r\n\x1a\n"


def hash_files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "external" not in path.relative_to(folder).parts
    }


def read(path: Path) -> dict[str, dict[str, object]]:
    return json.loads(path.read_text(encoding="utf-8"))


def copy_run(run: Path, outputs: Path) -> Path:
    return Path(shutil.copytree(run, outputs / "runs" / run.name))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return class folders of another hospital, which calls the healthy No Finding."""
    folder = tmp_path_factory.mktemp("site") / "phantoms"
    write_phantoms(folder, num_train=44, num_test=2, image_size=64, seed=21)
    (folder / "train" / "NORMAL").rename(folder / "train" / "No Finding")
    return folder / "train"


@pytest.fixture(scope="module")
def scored(
    finished_run: Path, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """Return the results, and the hashes of the run's files before."""
    run = copy_run(finished_run, tmp_path_factory.mktemp("outputs"))
    before = hash_files(run)
    result = external(run, site, maps=["No Finding=NORMAL"], name="site-b")
    return result.run_dir, before


def test_the_files_of_the_run_are_not_changed(scored: tuple[Path, dict[str, str]]) -> None:
    place, before = scored
    assert place == place.parents[1] / "external" / "site-b"
    assert hash_files(place.parents[1]) == before


def test_all_files_of_a_test_are_there(scored: tuple[Path, dict[str, str]]) -> None:
    names = (
        *("predictions_test.csv", "test_summary.json", "calibration.json", "decision_curve.csv"),
        *("prevalence.json", "mistakes.csv", "subgroups.json", "eval_summary.json"),
        *("report.html", "external.json", "split.csv", "figures/roc.png", "gradcam/FP"),
    )
    assert [name for name in names if not (scored[0] / name).exists()] == []
    auroc = read(scored[0] / "test_summary.json")["classes"]["PNEUMONIA"]["metrics"]["auroc"]  # type: ignore[index]
    assert auroc["interval"] is not None


def test_thresholds_and_recalibration_are_those_of_the_run(
    scored: tuple[Path, dict[str, str]],
) -> None:
    place, run = scored[0], scored[0].parents[1]
    for name in ("thresholds.json", "val_summary.json", "patients/thresholds.json"):
        assert (place / name).read_bytes() == (run / name).read_bytes()
    points = read(run / "thresholds.json")["classes"]["PNEUMONIA"]
    measured = read(place / "test_summary.json")["classes"]["PNEUMONIA"]["operating_points"]  # type: ignore[index]
    assert {rule: p["threshold"] for rule, p in points.items()} == {  # type: ignore[attr-defined]
        rule: p["threshold"] for rule, p in measured.items()
    }
    own, other = (read(folder / "recalibration.json")["classes"] for folder in (run, place))
    for method in ("temperature", "platt", "isotonic"):
        if method in own["PNEUMONIA"]:  # type: ignore[operator]
            maps = [c["PNEUMONIA"][method]["parameters"] for c in (own, other)]  # type: ignore[index]
            assert maps[0] == maps[1]


def test_labels_are_mapped_and_every_evaluation_is_logged(
    scored: tuple[Path, dict[str, str]],
) -> None:
    place = scored[0]
    part = read_predictions(place / "predictions_test.csv", split="test")
    assert len(part.labels) == 44
    is_normal = [path.startswith("No Finding/") for path in part.paths]
    assert is_normal == part.truth("NORMAL").tolist()
    (row,) = read_csv(place.parent / "external_log.csv")
    digest = hashlib.sha256((place / "predictions_test.csv").read_bytes()).hexdigest()
    assert row["predictions_sha256"] == digest
    assert (row["name"], row["maps"]) == ("site-b", "No Finding=NORMAL")


def test_updates_are_in_a_file_of_their_own_next_to_the_locked_result(
    scored: tuple[Path, dict[str, str]],
) -> None:
    place, _ = scored
    found = UpdatingSummary.from_json(json.loads((place / "updating.json").read_text()))
    block = found.classes["PNEUMONIA"]
    assert not block.reason
    assert (block.sizes.num_images, len(block.fitting_parts)) == (44, found.num_folds)
    measured = read_summary(place / "test_summary.json").classes["PNEUMONIA"]
    decided = block.updates["threshold"].operating_points
    assert set(decided) == {"max_f1", "target_sensitivity"}
    for rule, gains in decided.items():
        point = measured.operating_points[rule]
        for name, gain in gains.items():  # the locked side is the locked result
            assert gain.locked.value == pytest.approx(point.metrics[name].value)
        assert block.updates["threshold"].fitted[rule].locked == point.threshold
    calibration = json.loads((place / "calibration.json").read_text())["test"]["PNEUMONIA"]
    for name, gain in block.updates["intercept"].metrics.items():
        stored = calibration["brier" if name == "brier_score" else name]
        assert gain.locked.value == pytest.approx(stored["value"])
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "If the model were updated on these data" in page


def test_what_was_fitted_can_be_computed_from_the_predictions_alone(
    scored: tuple[Path, dict[str, str]],
) -> None:
    rows = read_csv(scored[0] / "predictions_test.csv")
    truth = np.array([row["label"] == "PNEUMONIA" for row in rows])
    scores = np.array([float(row["prob_PNEUMONIA"]) for row in rows])
    found = json.loads((scored[0] / "updating.json").read_text())["classes"]["PNEUMONIA"]
    logits = np.log(scores / (1 - scores))
    intercept = found["updates"]["intercept"]["fitted"]["intercept"]
    # The mean of the updated probabilities is the prevalence.
    assert np.mean(1 / (1 + np.exp(-(intercept["value"] + logits)))) == pytest.approx(truth.mean())
    fitted = found["updates"]["threshold"]["fitted"]
    cuts = np.unique(scores)[::-1]
    f1 = [2 * (truth & (scores >= c)).sum() / ((scores >= c).sum() + truth.sum()) for c in cuts]
    assert fitted["max_f1"]["value"] == cuts[int(np.argmax(f1))]
    sensitivity = np.array([(scores[truth] >= c).mean() for c in cuts])
    assert fitted["target_sensitivity"]["value"] == cuts[int(np.argmax(sensitivity >= 0.95))]
    for model in found["updates"].values():
        assert all(len(entry["folds"]) == 5 for entry in model["fitted"].values())
    groups = {row["group"]: None for row in rows}
    assert found["sizes"] == {
        "num_images": len(rows),
        "num_patients": len(groups),
        "num_positive": int(truth.sum()),
    }


@pytest.mark.parametrize("command", [evaluate, explain, resume_run, predict, external])
def test_a_command_for_runs_refuses_external_results_in_one_sentence(
    scored: tuple[Path, dict[str, str]], site: Path, tmp_path: Path, command: Callable[..., object]
) -> None:
    place = Path(shutil.copytree(scored[0], tmp_path / "site-b"))
    before = hash_files(place)
    more = {predict: [[site]], external: [site]}.get(command, [])
    with pytest.raises(RunError, match=r"has results on other data.* `medimg external RUN DATA`"):
        command(place, *more)
    assert hash_files(place) == before


@pytest.mark.parametrize("lost", [("external.json", "status.json"), ("status.json",)])
def test_no_report_is_made_of_results_whose_command_was_killed(
    scored: tuple[Path, dict[str, str]], tmp_path: Path, lost: tuple[str, ...]
) -> None:
    place = Path(shutil.copytree(scored[0], tmp_path / "site-b"))
    for name in (*lost, "report.html"):
        (place / name).unlink()
    with pytest.raises(RunError, match="has unfinished results on other data: run `medimg ext"):
        report(place)
    assert not (place / "report.html").exists()


@pytest.mark.parametrize(
    "name", ["updating.json", "external.json", "test_summary.json", "patients/test_summary.json"]
)
def test_a_report_of_results_that_were_edited_is_refused(
    scored: tuple[Path, dict[str, str]], tmp_path: Path, name: str
) -> None:
    place = Path(shutil.copytree(scored[0], tmp_path / "site-b"))
    text = (place / name).read_text(encoding="utf-8")
    assert "0." in text
    (place / name).write_text(text.replace("0.", "0.9", 1), encoding="utf-8")
    page = (place / "report.html").read_bytes()
    with pytest.raises(RunError, match=f"{name} was edited after it was written: restore it"):
        report(place)
    assert (place / "report.html").read_bytes() == page
    (place / name).write_text(text, encoding="utf-8")
    report(place)


def test_one_class_alone_is_not_updated(archived: tuple[RunResult, Path]) -> None:
    found = UpdatingSummary.from_json(
        json.loads((archived[0].run_dir / "updating.json").read_text())
    )
    reason = found.classes["PNEUMONIA"].reason
    assert reason.startswith("the number of patients with negative images is 0, but 5 are needed")
    assert reason in (archived[0].run_dir / "report.html").read_text(encoding="utf-8")


def test_a_label_without_a_class_is_refused_and_nothing_is_left(
    finished_run: Path, site: Path, tmp_path: Path
) -> None:
    run = copy_run(finished_run, tmp_path)
    with pytest.raises(DataError, match="--map 'No Finding=NORMAL'"):
        external(run, site)
    assert not (run / "external").exists()


def test_an_unreadable_image_is_refused_with_a_flag_that_this_command_has(
    finished_run: Path, site: Path, tmp_path: Path
) -> None:
    shutil.copytree(site / "PNEUMONIA", tmp_path / "damaged" / "PNEUMONIA")
    (tmp_path / "damaged" / "PNEUMONIA" / "zz.png").write_bytes(DAMAGED)
    run = copy_run(finished_run, tmp_path)
    with pytest.raises(DataError, match="pass.* --on-bad-image skip"):
        external(run, tmp_path / "damaged")


def test_a_table_is_named_as_this_command_is_given_one(
    finished_run: Path, site: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(site / "PNEUMONIA", tmp_path / "flat"))
    (folder / "labels_of_all.csv").write_text("path,label\n", encoding="utf-8")
    with pytest.raises(DataError, match="pass .*labels_of_all.csv as DATA") as refused:
        external(copy_run(finished_run, tmp_path), folder)
    assert "--manifest" not in str(refused.value)


def test_results_are_not_written_into_the_data(
    finished_run: Path, site: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(site, tmp_path / "data")
    run = copy_run(finished_run, data / "outputs")
    with pytest.raises(ConfigError, match="is inside the data folder"):
        external(run, data, maps=["No Finding=NORMAL"])
    assert not (run / "external").exists()


def test_an_empty_name_is_refused(finished_run: Path, site: Path) -> None:
    with pytest.raises(ConfigError, match="--name '' cannot name a folder"):
        external(finished_run, site, name="")


@pytest.mark.parametrize("name", ["best.pt", "thresholds.json"])
def test_what_decides_must_be_what_test_was_scored_with(
    finished_run: Path, site: Path, tmp_path: Path, name: str
) -> None:
    run = copy_run(finished_run, tmp_path)
    path = run / name
    if name == "best.pt":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        content = read(path)
        content["classes"]["PNEUMONIA"]["max_f1"]["threshold"] = 0.123  # type: ignore[index]
        path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match=f"{name} is not what TEST was scored with"):
        external(run, site, maps=["No Finding=NORMAL"])


@pytest.mark.parametrize(
    ("name", "before", "after", "words"),
    [
        ("predictions_test.csv", ",NORMAL,", ",PNEUMONIA,", "edited since: restore it"),
        ("split.csv", ",NORMAL,", ",PNEUMONIA,", "edited since: restore it"),
        ("predictions_val.csv", ",PNEUMONIA,", ",NORMAL,", "thresholds.json was not made from"),
        ("patients/predictions_val.csv", "PNEUMONIA,", "NORMAL,", "was not made from"),
    ],
)
def test_labels_of_the_run_that_were_edited_are_refused(
    finished_run: Path, tmp_path: Path, name: str, before: str, after: str, words: str
) -> None:
    run = copy_run(finished_run, tmp_path)
    head, *rows = (run / name).read_text(encoding="utf-8").splitlines(keepends=True)
    assert any(before in row for row in rows)
    (run / name).write_text(head + "".join(row.replace(before, after) for row in rows))
    (tmp_path / "data").mkdir()
    with pytest.raises(RunError, match=words) as refused:
        external(run, tmp_path / "data")
    assert name in str(refused.value)
    assert not (run / "external").exists()


def test_a_folder_of_something_else_is_not_written_to(
    finished_run: Path, site: Path, tmp_path: Path
) -> None:
    run = copy_run(finished_run, tmp_path)
    (run / "external" / "mine").mkdir(parents=True)
    (run / "external" / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="pass another --name"):
        external(run, site, name="mine")
    with pytest.raises(ConfigError, match="cannot name a folder"):
        external(run, site, name="../mine")
    assert (run / "external" / "mine" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_the_images_of_the_run_itself_are_not_another_data_set(
    finished_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    run = copy_run(finished_run, tmp_path)
    with pytest.raises(DataError, match="this is not another data set"):
        external(run, phantoms / "train")
    assert not (run / "external").exists()


def test_differences_from_test_have_intervals(scored: tuple[Path, dict[str, str]]) -> None:
    place, run = scored[0], scored[0].parents[1]
    gaps = read(place / "external.json")["differences"]["PNEUMONIA"]["metrics"]  # type: ignore[index]
    for metric in ("auroc", "average_precision", "brier_score", "log_loss"):
        values = [
            read(folder / "test_summary.json")["classes"]["PNEUMONIA"]["metrics"][metric]["value"]  # type: ignore[index]
            for folder in (run, place)
        ]
        assert gaps[metric]["internal"] == values[0]
        assert gaps[metric]["external"] == values[1]
        assert gaps[metric]["value"] == pytest.approx(values[1] - values[0])
        low, high = gaps[metric]["interval"]
        assert low < high


def test_what_may_explain_a_difference_is_listed(scored: tuple[Path, dict[str, str]]) -> None:
    content = read(scored[0] / "external.json")
    shift = content["shift"]
    assert set(shift) == {"prevalence", "controls", "domain", "properties", "differs_in", "far"}
    share = shift["prevalence"]["PNEUMONIA"]["external"]  # type: ignore[index]
    assert share == pytest.approx(26 / 44)
    mix = content["case_mix"]["etiology"]
    assert sum(sides["external"] for sides in mix.values()) == pytest.approx(1)  # type: ignore[attr-defined]
    # The mapped folder is not one of the names that tell the etiology.
    assert mix[""]["external"] == pytest.approx(18 / 44)  # type: ignore[index]


@pytest.fixture(scope="module")
def planted(
    finished_run: Path,
    site: Path,
    phantoms: Path,
    undrawn: Undrawn,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    """Return the results on the site with a damaged file and 5 images of TRAIN, 2 of them changed.

    These 2 are scaled and compressed.
    """
    outputs = tmp_path_factory.mktemp("planted")
    folder = Path(shutil.copytree(site, outputs / "site"))
    own = sorted((phantoms / "train" / "PNEUMONIA").glob("*.png"))
    for number, path in enumerate(own[:3]):
        shutil.copy(path, folder / "PNEUMONIA" / f"same{number}.png")
    for number, path in enumerate(own[3:5]):
        image = Image.open(path).resize((100, 100))
        image.save(folder / "PNEUMONIA" / f"near{number}.jpg", quality=60)
    (folder / "PNEUMONIA" / "zz.png").write_bytes(DAMAGED)
    run = copy_run(finished_run, outputs)
    shutil.copytree(finished_run.parents[1] / "cache", outputs / "cache")
    flags = TableFlags(on_bad_image="skip")
    with undrawn():
        return external(run, folder, maps=["No Finding=NORMAL"], table=flags, panels=False)


def test_images_that_the_run_has_seen_are_left_out_and_named(planted: RunResult) -> None:
    rows = read_csv(planted.run_dir / "duplicates.csv")
    assert [(Path(row["path"]).stem, row["split"], row["kind"]) for row in rows] == [
        ("near0", rows[0]["split"], "nearly identical"),
        ("near1", rows[1]["split"], "nearly identical"),
        ("same0", rows[2]["split"], "same file"),
        ("same1", rows[3]["split"], "same file"),
        ("same2", rows[4]["split"], "same file"),
    ]
    assert {row["split"] for row in rows} <= {"train", "val"}
    assert planted.summary["duplicates"]["num_left_out"] == 5
    assert read_csv(planted.run_dir.parent / "external_log.csv")[0]["num_left_out"] == "5"
    page = (planted.run_dir / "report.html").read_text(encoding="utf-8")
    assert "same0.png" in page
    assert "near1.jpg" in page


def test_an_unreadable_image_is_skipped_and_listed(planted: RunResult) -> None:
    rows = read_csv(planted.run_dir / "rejected.csv")
    assert [row["path"] for row in rows] == ["PNEUMONIA/zz.png"]


def test_the_rest_is_scored_as_if_copies_and_damage_had_not_been_there(
    planted: RunResult, scored: tuple[Path, dict[str, str]]
) -> None:
    for name in ("predictions_test.csv", "test_summary.json"):
        assert (planted.run_dir / name).read_bytes() == (scored[0] / name).read_bytes()


def test_inferences_name_only_flags_that_this_command_has(planted: RunResult) -> None:
    text = (planted.run_dir / "log.txt").read_text(encoding="utf-8")
    assert "Inferred from the data" in text
    assert "to change it: --manifest" not in text


@pytest.fixture(scope="module")
def archived(
    finished_run: Path, site: Path, undrawn: Undrawn, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunResult, Path]:
    """Return the results of a read-only run on a table, whose healthy images are left out."""
    folder = tmp_path_factory.mktemp("archived")
    run = copy_run(finished_run, folder / "archive")
    images = Path(shutil.copytree(site, folder / "images"))
    lines = ["file,dx,sex,case"]
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        name, sex = path.relative_to(images).as_posix(), "FM"[number % 2]
        lines.append(f"{name},{path.parent.name},{sex},c{number // 2}")
    (images / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = TableFlags(
        path_column="file", label_columns=("dx",), group_column="case", subgroup_columns=("sex",)
    )

    def refuse(place: Path, mode: int) -> bool:  # root may write everywhere
        return run not in (place, *place.parents)

    with undrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(locked_run.os, "access", refuse)
        result = external(
            run,
            images / "labels.csv",
            maps=["No Finding="],
            table=flags,
            panels=False,
            output_dir=folder / "here",
        )
    return result, run


def test_a_run_that_is_read_only_is_left_alone(
    finished_run: Path, archived: tuple[RunResult, Path]
) -> None:
    result, run = archived
    here = run.parents[2] / "here"
    assert result.run_dir == here / "external" / f"{run.name}-labels"
    assert {p.name for p in run.iterdir()} == {p.name for p in finished_run.iterdir()}


def test_a_table_of_another_hospital_is_read_by_its_own_columns(
    site: Path, archived: tuple[RunResult, Path]
) -> None:
    result, _ = archived
    positive = [
        number
        for number, path in enumerate(sorted(site.rglob("*.png")))
        if path.parent.name == "PNEUMONIA"
    ]
    assert result.summary["num_images"] == len(positive)
    assert result.summary["num_patients"] == len({number // 2 for number in positive})
    columns = read(result.run_dir / "subgroups.json")["columns"]
    assert "sex" in {column["column"] for column in columns}  # type: ignore[index]


def test_an_absent_class_is_null_with_its_reason(archived: tuple[RunResult, Path]) -> None:
    place = archived[0].run_dir
    block = read(place / "test_summary.json")["classes"]["PNEUMONIA"]
    assert block["metrics"]["auroc"]["value"] is None  # type: ignore[index]
    assert block["metrics"]["auroc"]["reason"] == "all images are of one class"  # type: ignore[index]
    assert (place / "report.html").is_file()
    assert not (place / "gradcam").exists()


@pytest.fixture(scope="module")
def swapped(
    site: Path,
    scored: tuple[Path, dict[str, str]],
    undrawn: Undrawn,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    """Return the results where labels are swapped, in the place of equal earlier ones."""
    outputs = tmp_path_factory.mktemp("swapped")
    run = Path(shutil.copytree(scored[0].parents[1], outputs / "runs" / scored[0].parents[1].name))
    maps = ["No Finding=PNEUMONIA", "PNEUMONIA=NORMAL"]
    with undrawn():
        with pytest.raises(ConfigError, match="another --map: pass another --name"):
            external(run, site, maps=maps, name="site-b", panels=False)
        first = external(run, site, maps=maps, name="site-c", panels=False)
        (first.run_dir / "gradcam").mkdir(exist_ok=True)
        return external(run, site, maps=maps, name="site-c", panels=False)


def test_scoring_again_replaces_the_results_and_adds_a_line(swapped: RunResult) -> None:
    place = swapped.run_dir
    assert not (place / "gradcam").exists()
    rows = read_csv(place.parent / "external_log.csv")
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["maps"] == rows[2]["maps"] == "No Finding=PNEUMONIA | PNEUMONIA=NORMAL"
    assert rows[0]["split_sha256"] != rows[1]["split_sha256"] == rows[2]["split_sha256"]
    digest = hashlib.sha256((place / "predictions_test.csv").read_bytes()).hexdigest()
    assert rows[2]["predictions_sha256"] == digest != rows[0]["predictions_sha256"]


def test_labels_that_are_swapped_do_not_change_the_scores(
    swapped: RunResult, scored: tuple[Path, dict[str, str]]
) -> None:
    found, right = (
        read(place / "test_summary.json")["classes"]["PNEUMONIA"]["metrics"]["auroc"]  # type: ignore[index]
        for place in (swapped.run_dir, scored[0])
    )
    assert found["value"] == pytest.approx(1 - right["value"])
    is_below = found["interval"][1] < 0.5
    assert bool(swapped.summary["alarms"]) is is_below
    assert swapped.status == (3 if is_below else 0)
