"""The pages of folds, seeds and comparisons: their numbers, links and safety."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.page.test_report_page import HOSTILE, Reader

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.records.comparisons import ComparedModel, Comparison, ModelDifference
from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference, Spread
from medimg_baseline_cls.records.spreads import SpreadBlock, SpreadPoint, SpreadSummary
from medimg_baseline_cls.records.summaries import Average, MetricKey, OperatingPoint
from medimg_baseline_cls.reporting.page.joint_page import write_joint_page
from medimg_baseline_cls.utils.files import read_csv
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms

NAMES = ("NORMAL", "PNEUMONIA")
AUROCS = (0.811, 0.833, 0.877)
SETTINGS = {"project": "chest", "arch": "resnet18", "operating_point": "max_f1"}


def spread_of(mean: float, interval: tuple[float, float] | None = None) -> Spread:
    ends = None if interval is None else Interval(bounds=interval, method="bootstrap")
    return Spread(mean=mean, sd=0.0371, minimum=0.712, maximum=0.913, num_defined=3, interval=ends)


def make_spread(kind: str) -> SpreadSummary:
    interval = (0.612, 0.934) if kind == "seeds" else None
    metrics = {m: spread_of(0.8404, interval) for m in ("average_precision", "auroc")}
    calls = {m: spread_of(0.7512) for m in ("sensitivity", "specificity")}
    pooled = OperatingPoint(
        tp=1, fp=1, fn=1, tn=1, metrics={m: Estimate(value=0.7623) for m in calls}
    )
    point = SpreadPoint(metrics=calls, pooled=pooled if kind == "cv" else None)
    block = SpreadBlock(metrics=metrics, operating_points={"max_f1": point})
    return SpreadSummary(
        num_runs=3,
        task="multiclass",
        class_names=NAMES,
        positive_class="PNEUMONIA",
        classes={"PNEUMONIA": block},
        averages={Average.MACRO: SpreadBlock(metrics={})},
        intervals={"level": 0.95} if interval else {},
    )


@pytest.fixture
def make_sweep(make_run: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of a sweep of three runs, whose AUROCs are AUROCS."""

    def make(kind: str, **settings: Any) -> Path:
        folder = tmp_path / "outputs" / kind / "chest_20260102-030405"
        folder.mkdir(parents=True)
        entries: list[dict[str, Any]] = []
        for number, auroc in enumerate(AUROCS):
            run = make_run(name=f"chest_{kind}_{number}")
            summary = run.json("test_summary.json")
            summary["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"] = auroc
            run.write_json("test_summary.json", summary)
            (run.folder / "report.html").write_text("a report", encoding="utf-8")
            place = {"seed": number} if kind == "seeds" else {"repeat": 0, "fold": number}
            entries.append({**place, "run": f"elsewhere/runs/{run.folder.name}"})
        plan = {"runs": entries, "settings": SETTINGS | settings}
        (folder / f"{kind}.json").write_text(json.dumps(plan), encoding="utf-8")
        sizes = {"num_images": 40, "num_groups": 30}
        content = {
            "num_folds": 3,
            "repeats": 1,
            "by_site": False,
            **make_spread(kind).to_json(),
            "runs": [entry | sizes for entry in entries],
        }
        path = folder / f"{kind}_summary.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


def make_comparison(folder: Path, names: tuple[str, ...], runs: tuple[Path, ...]) -> Path:
    auroc = MetricKey("PNEUMONIA", None, "auroc")
    gap = PairedDifference(
        value=-0.0213,
        interval=Interval(bounds=(-0.0519, 0.0094), method="delong"),
        test="delong",
        p_value=0.0421,
        p_holm=0.1263,
    )
    comparison = Comparison(
        split="test",
        task="multiclass",
        num_images=60,
        num_groups=45,
        class_names=NAMES,
        positive_class="PNEUMONIA",
        intervals={},
        tests={"num_tests": 3, "family": "of both kinds"},
        warnings=("Look twice.",),
        models=tuple(
            ComparedModel(name=name, thresholds={}, estimates={auroc: Estimate(value=0.9)})
            for name in names
        ),
        differences=tuple(
            ModelDifference(name=name, is_identical=False, differences={auroc: gap})
            for name in names[1:]
        ),
    )
    content = comparison.to_json() | {"runs": dict(zip(names, map(str, runs), strict=True))}
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def read_page(folder: Path, kind: str) -> str:
    return write_joint_page(folder, kind).read_text(encoding="utf-8")


def words_of(page: str) -> str:
    return " ".join(Reader(page).text.split())


def check_refers_to_nothing_else(page: str, folder: Path) -> list[str]:
    """Check that links lead to a place of the page or to a file, and return the files."""
    reader = Reader(page)
    assert reader.open == []
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    files: list[str] = []
    for tag, attributes in reader.tags:
        assert tag not in {"script", "iframe", "object", "form"}
        assert (attributes.get("src") or "data:").startswith("data:")
        link = attributes.get("href") or "#answer"
        if link.startswith("#"):
            assert link[1:] in ids
        elif not link.startswith("data:"):
            assert not Path(link).is_absolute() and (folder / link).is_file()
            files.append(link)
    assert "http://" not in page and "https://" not in page
    return files


@pytest.mark.parametrize("kind", ["cv", "seeds"])
def test_a_sweep_shows_each_run_with_a_link_and_a_dot(
    make_sweep: Callable[..., Path], kind: str
) -> None:
    folder = make_sweep(kind)
    page = read_page(folder, kind)
    links = check_refers_to_nothing_else(page, folder)
    assert links == [f"../../runs/chest_{kind}_{n}/report.html" for n in range(3)]
    unit = "Fold" if kind == "cv" else "Seed"
    for number, auroc in enumerate(AUROCS):
        assert f"<title>{unit} {number}: {auroc}</title>" in page
    assert page.count('<circle class="run"') == 4 * len(AUROCS)
    assert page.count('<line class="mean"') == 4


def test_folds_have_spread_and_pooled_decisions_and_no_interval(
    make_sweep: Callable[..., Path],
) -> None:
    page = read_page(make_sweep("cv"), "cv")
    text = words_of(page)
    assert "3-fold cross-validation of 120 images of 90 patients; 3 runs" in text
    assert "resnet18, trained to distinguish PNEUMONIA from NORMAL:" in text
    assert "SD 0.037; range 0.712–0.913" in text
    assert "pooled 0.762" in text
    assert "not a confidence interval" in text and "not independent" in text
    assert "CI of the mean" not in text and 'class="interval"' not in page


def test_seeds_have_the_interval_of_their_mean(make_sweep: Callable[..., Path]) -> None:
    page = read_page(make_sweep("seeds"), "seeds")
    text = words_of(page)
    assert "95 % CI of the mean 0.612–0.934; SD 0.037" in text
    assert page.count('class="interval"') == 2  # of AUROC and AP alone
    assert "3 runs from different seeds on one split, each tested on the same" in text
    assert "Pooled" not in text and "pooled" not in text


def test_a_run_that_is_gone_is_named_and_the_rest_is_shown(
    make_sweep: Callable[..., Path],
) -> None:
    folder = make_sweep("cv")
    shutil.rmtree(folder.parent.parent / "runs" / "chest_cv_1")
    page = read_page(folder, "cv")
    assert "Fold 1: its run folder is not there." in words_of(page)
    assert len(check_refers_to_nothing_else(page, folder)) == 2
    assert page.count('<circle class="run"') == 4 * 2
    assert "0.840" in page
    warnings: list[str] = []
    write_joint_page(folder, "cv", warn=warnings.append)
    assert warnings == ["Fold 1: its run folder is not there."]


@pytest.mark.parametrize("plan", [{"runs": [{"seed": 0, "run": "../../x"}], "settings": {}}, {}])
@pytest.mark.parametrize("kind", ["cv", "seeds"])
def test_a_plan_that_was_edited_is_one_sentence(
    make_sweep: Callable[..., Path], kind: str, plan: Any
) -> None:
    folder = make_sweep(kind)
    (folder / f"{kind}.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(RunError, match=rf"{kind}\.json.* is not as it was written") as caught:
        write_joint_page(folder, kind)
    assert "\n" not in str(caught.value) and not (folder / "report.html").exists()


def test_settings_and_environments_that_differ_are_listed(
    make_sweep: Callable[..., Path],
) -> None:
    folder = make_sweep("seeds")
    assert "All other settings and the" in words_of(read_page(folder, "seeds"))
    run = folder.parent.parent / "runs" / "chest_seeds_1"
    for name, change in (("config.json", {"lr": 0.5}), ("env_report.json", {"host": "other"})):
        content = json.loads((run / name).read_text(encoding="utf-8"))
        (run / name).write_text(json.dumps(content | change), encoding="utf-8")
    text = words_of(read_page(folder, "seeds"))
    assert "Settings that differ Name Seed 0 Seed 1 Seed 2 lr – 0.5 –" in text
    assert "Environments that differ Name Seed 0 Seed 1 Seed 2 host – other –" in text


def test_a_small_p_value_has_one_sign(make_run: Callable[..., Any], tmp_path: Path) -> None:
    runs = tuple(make_run(name=name).folder for name in ("plain", "still"))
    folder = make_comparison(tmp_path / "outputs" / "compare" / "x", ("plain", "still"), runs)
    path = folder / "comparison.json"
    text = path.read_text(encoding="utf-8")
    assert "0.0421" in text
    path.write_text(text.replace("0.0421", "0.00004"), encoding="utf-8")
    assert "; p < 0.001 (DeLong), 0.126 after Holm" in words_of(read_page(folder, "compare"))


def test_a_difference_is_drawn_around_zero_with_its_p_values(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    runs = tuple(make_run(name=name).folder for name in ("plain", "still"))
    (runs[0] / "report.html").write_text("a report", encoding="utf-8")
    folder = make_comparison(tmp_path / "outputs" / "compare" / "x", ("plain", "still"), runs)
    page = read_page(folder, "compare")
    assert check_refers_to_nothing_else(page, folder) == ["../../runs/plain/report.html"]
    text = words_of(page)
    assert "2 models, trained to distinguish PNEUMONIA from NORMAL, on the same 60" in text
    assert "−0.021" in text
    assert "95 % CI −0.052 to +0.009; p = 0.042 (DeLong), 0.126 after Holm" in text
    assert "Look twice." in text
    # The scale goes from -0.1 to 0.1.
    assert 'class="floor" x1="50.0%"' in page
    assert 'class="interval" x1="24.05%" x2="54.7%"' in page


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(make_sweep: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = make_sweep("cv", project=name, arch=name)
    summary = json.loads((folder / "cv_summary.json").read_text(encoding="utf-8"))
    plan = json.loads((folder / "cv.json").read_text(encoding="utf-8"))
    for content, file in ((summary, "cv_summary.json"), (plan, "cv.json")):
        content["runs"][0]["site"] = name
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    other = make_comparison(tmp_path / "cmp", ("a", name), (tmp_path / "a", tmp_path / "b"))
    for page in (read_page(folder, "cv"), read_page(other, "compare")):
        reader = Reader(page)
        assert reader.open == []
        assert not any(tag in {"script", "iframe", "object", "base"} for tag, _ in reader.tags)
        assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
        assert "\x00" not in page and "\u202e" not in page


def test_an_anonymous_run_shows_no_file_name(make_sweep: Callable[..., Path]) -> None:
    folder = make_sweep("cv")
    run = folder.parent.parent / "runs" / "chest_cv_1"
    (name, *_) = [row["path"] for row in read_csv(run / "split.csv")]
    path = run / "eval_summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"warnings": [f"Look at {name}."]}), encoding="utf-8")
    assert f"Fold 1: Look at {name}." in words_of(read_page(folder, "cv"))
    hidden = write_joint_page(folder, "cv", find_pseudonyms=lambda _: Pseudonyms(b"key"))
    page = hidden.read_text(encoding="utf-8")
    assert "Fold 1: Look at " in page and name not in page


@pytest.mark.parametrize("change", [{"classes": 3}, {"num_runs": None}])
def test_a_changed_summary_is_refused(
    make_sweep: Callable[..., Path], change: dict[str, Any]
) -> None:
    folder = make_sweep("cv")
    path = folder / "cv_summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(RunError, match="not as it was written"):
        write_joint_page(folder, "cv")
    assert not (folder / "report.html").exists()


def test_classes_have_a_table_each(make_sweep: Callable[..., Path]) -> None:
    folder = make_sweep("cv")
    one = make_spread("cv")
    block = one.classes["PNEUMONIA"]
    names = ("COVID", "NORMAL", "PNEUMONIA")
    summary = replace(
        one,
        class_names=names,
        positive_class=None,
        classes=dict.fromkeys(names, block),
        averages={Average.MACRO: block},
    )
    path = folder / "cv_summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | summary.to_json()), encoding="utf-8")
    page = read_page(folder, "cv")
    for title in (*names, "Macro mean"):
        assert f"<summary>{title}</summary>" in page
    assert "TEST macro AUROC, mean" in page


def test_a_dash_of_a_comparison_is_explained(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "x", ("a", "b"), (tmp_path / "a", tmp_path / "b"))
    why = "A dash: no interval, because the resamples do not vary"
    assert why not in read_page(folder, "compare")
    path = folder / "comparison.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    estimate = content["models"][0]["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    estimate |= {"interval": None, "interval_reason": "the resamples do not vary"}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert why in read_page(folder, "compare")
