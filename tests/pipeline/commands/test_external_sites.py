"""A locked run on three data sets: each as if alone, then compared."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from scipy.special import expit, logit
from tests.pipeline.commands.test_external import copy_run, hash_files
from tests.records.site_samples import summary_of

from medimg_baseline_cls import external_sites, report
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.commands import external_sites as command
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.records.sites import SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey, read_summary
from medimg_baseline_cls.statistics.pooling import logit_errors, pool_sites
from medimg_baseline_cls.utils.files import read_csv

Undrawn = Callable[[], AbstractContextManager[None]]
NAMES = ("north", "south", "east")
AUROC, SENSITIVITY, SPECIFICITY = list_pooled("PNEUMONIA", "max_f1")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return class folders of three hospitals; one of them calls the healthy No Finding."""
    root, folders = tmp_path_factory.mktemp("sites"), list[Path]()
    for number, name in enumerate(NAMES):
        write_phantoms(
            root / "drawn" / name, num_train=24, num_test=2, image_size=64, seed=31 + number
        )
        folders.append((root / "drawn" / name / "train").rename(root / name))
    (folders[1] / "NORMAL").rename(folders[1] / "No Finding")
    return folders


@pytest.fixture(scope="module")
def compared(
    finished_run: Path,
    sites: list[Path],
    undrawn: Undrawn,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RunResult, Path, dict[str, str]]:
    """Return the comparison, the run, and the hashes of its files before."""
    run = copy_run(finished_run, tmp_path_factory.mktemp("outputs"))
    before = hash_files(run)
    with undrawn():
        result = external_sites(run, sites, maps=["No Finding=NORMAL"], panels=False)
    return result, run, before


def test_each_data_set_has_its_results_and_the_run_is_not_changed(
    compared: tuple[RunResult, Path, dict[str, str]],
) -> None:
    result, run, before = compared
    assert result.run_dir == run / "external" / "sites"
    assert hash_files(run) == before
    rows = read_csv(run / "external" / "external_log.csv")
    assert [(row["number"], row["name"]) for row in rows] == list(zip("123", NAMES, strict=True))
    for name in NAMES:
        assert (run / "external" / name / "report.html").is_file()


def test_the_file_has_test_first_and_the_values_of_each_site(
    compared: tuple[RunResult, Path, dict[str, str]],
) -> None:
    result, run, _ = compared
    content = read(result.run_dir / "sites.json")
    assert content == json.loads(json.dumps(result.summary))
    summary = SitesSummary.from_json(content)
    assert [site.name for site in summary.sites] == [run.name, *NAMES]
    assert [site.is_internal for site in summary.sites] == [True, False, False, False]
    for site in summary.sites:
        folder = run if site.is_internal else run / "external" / site.name
        own = read_summary(folder / "test_summary.json")
        assert (site.num_images, site.num_patients) == (own.num_images, own.num_groups)
        assert site.prevalence == {"PNEUMONIA": own.classes["PNEUMONIA"].prevalence}
        for key in (AUROC, AUROC._replace(metric="average_precision")):
            assert site.look_up(key) == own.look_up(key)
        for key in (SENSITIVITY, SPECIFICITY):
            assert site.look_up(key).value == own.look_up(key).value
        calibration = read(folder / "calibration.json")["test"]["PNEUMONIA"]
        for metric in ("slope", "intercept_at_slope_1"):
            found = site.look_up(MetricKey("PNEUMONIA", None, metric)).to_json()
            assert found == calibration[metric]


def test_decisions_are_those_of_the_locked_threshold(
    compared: tuple[RunResult, Path, dict[str, str]],
) -> None:
    result, run, _ = compared
    threshold = read(run / "thresholds.json")["classes"]["PNEUMONIA"]["max_f1"]["threshold"]
    for site in SitesSummary.from_json(result.summary).external:
        part = read_predictions(run / "external" / site.name / "predictions_test.csv", split="test")
        truth, calls = part.truth("PNEUMONIA"), part.scores("PNEUMONIA") >= threshold
        wanted = calls[truth].mean(), (~calls[~truth]).mean()
        found = [site.look_up(key).value for key in (SENSITIVITY, SPECIFICITY)]
        assert found == pytest.approx(list(wanted))


def test_the_auroc_is_pooled_from_the_files_of_the_sites(
    compared: tuple[RunResult, Path, dict[str, str]],
) -> None:
    result, run, _ = compared
    found = SitesSummary.from_json(result.summary).pooled[AUROC]
    files = [read(run / "external" / name / "test_summary.json") for name in NAMES]
    aurocs = [file["classes"]["PNEUMONIA"]["metrics"]["auroc"] for file in files]
    inside = [a for a in aurocs if a["interval"] and 0 < a["interval"][0] < a["interval"][1] < 1]
    assert len(found.sites) == len(inside)
    if len(inside) < 3:  # what the tiny network has learned is not the matter here
        assert found.value is None
        return
    pooled = pool_sites(
        [float(logit(a["value"])) for a in inside],
        errors=logit_errors([tuple(a["interval"]) for a in inside]),
    )
    assert found.value == pytest.approx(expit(pooled.mean))
    assert found.prediction == pytest.approx(expit(pooled.prediction))


def test_a_comparison_that_was_edited_is_refused(
    compared: tuple[RunResult, Path, dict[str, str]], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(compared[0].run_dir, tmp_path / "external" / "sites"))
    text = (folder / "sites.json").read_text(encoding="utf-8")
    (folder / "sites.json").write_text(text.replace("0.", "0.9", 1), encoding="utf-8")
    page = (folder / "report.html").read_bytes()
    with pytest.raises(RunError, match=r"sites\.json was edited after it was written"):
        report(folder)
    assert (folder / "report.html").read_bytes() == page


def test_the_exit_code_is_that_of_the_worst_site(
    compared: tuple[RunResult, Path, dict[str, str]],
) -> None:
    result, run, _ = compared
    alarms = [read(run / "external" / name / "external.json")["alarms"] for name in NAMES]
    assert result.status == (3 if any(alarms) else 0)
    assert [site["alarms"] for site in result.summary["sites"][1:]] == alarms


@pytest.mark.parametrize("codes", [(0, 0), (0, 3), (3, 0)])
def test_one_site_that_seems_inverted_is_enough(
    finished_run: Path,
    sites: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    codes: tuple[int, int],
) -> None:
    left = dict(zip(NAMES, codes, strict=False))

    def score(run: Path, data: Path, **_: Any) -> RunResult:
        return RunResult(tmp_path / data.name, {}, status=left[data.name])

    monkeypatch.setattr(command, "external", score)
    monkeypatch.setattr(command, "compare_sites", lambda *_: summary_of())
    monkeypatch.setattr(command, "draw_forest", lambda *_: None)
    assert external_sites(finished_run, sites[:2]).status == max(codes)


def test_a_refusal_names_its_data_set_and_what_was_written_before(
    finished_run: Path, sites: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(run: Path, data: Path, **_: Any) -> RunResult:
        if data == sites[2]:
            raise DataError("the label Mass is not a class of this run.", "a line of a list")
        return RunResult(run / "external" / data.name, {})

    monkeypatch.setattr(command, "external", score)
    with pytest.raises(DataError) as refused:
        external_sites(finished_run, sites)
    first, second = refused.value.args
    assert first == (
        f"{sites[2]}: the label Mass is not a class of this run; the results on north, south are "
        "kept, and nothing was compared."
    )
    assert second == "a line of a list"
    assert not (finished_run / "external" / "sites").exists()


def test_what_is_kept_comes_after_a_list() -> None:
    fault = DataError("2 files cannot be read: pass --on-bad-image skip:", "a.png", "b.png")
    kept = "the results on north are kept."
    with pytest.raises(DataError) as refused, command.naming("south", kept=kept):
        raise fault
    assert refused.value.args == (
        "south: 2 files cannot be read: pass --on-bad-image skip:",
        *("a.png", "b.png", "The results on north are kept."),
    )


def test_nothing_is_scored_where_two_have_the_same_name(
    finished_run: Path, sites: list[Path], tmp_path: Path
) -> None:
    run = copy_run(finished_run, tmp_path)
    other = tmp_path / "north"
    other.mkdir()
    with pytest.raises(ConfigError, match="have the same name, north"):
        external_sites(run, [*sites, other])
    assert not (run / "external").exists()
