"""Several findings per image, from the split to the page, against pandas and scikit-learn.

The images carry a bright patch per finding; a fifth of the labels is unknown, and every
patient has two films. How such a split is read from a table is tested elsewhere.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn import metrics as oracle

from medimg_baseline_cls import evaluate, external, predict, run, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.splitting.split import write_split
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.phantom.image_folder import make_phantom
from medimg_baseline_cls.pipeline.commands import train as training
from medimg_baseline_cls.pipeline.steps.external_data import TableFlags
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, pixel_settings
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.schema import ImageRecord, Split, format_findings

FINDINGS = ("Effusion", "Mass", "Nodule")
PLACES = ((34, 6), (8, 24), (36, 40))  # upper left corner of each finding's patch
SIZE = 64
NUM_PATIENTS = {"train": 32, "val": 16, "test": 24}
METRICS = {
    "average_precision": oracle.average_precision_score,
    "auroc": oracle.roc_auc_score,
    "brier_score": lambda truth, score: ((score - truth) ** 2).mean(),
    "log_loss": lambda truth, score: oracle.log_loss(truth, score, labels=[0, 1]),
}
CUT_METRICS = {
    "sensitivity": oracle.recall_score,
    "specificity": lambda truth, call: oracle.recall_score(truth, call, pos_label=0),
    "ppv": oracle.precision_score,
    "npv": lambda truth, call: oracle.precision_score(truth, call, pos_label=0),
    "f1_score": oracle.f1_score,
    "accuracy": oracle.accuracy_score,
    "balanced_accuracy": oracle.balanced_accuracy_score,
    "mcc": oracle.matthews_corrcoef,
}


def write_films(folder: Path) -> Split:
    """Write the films of a seed and return their split, sorted by path."""
    draw = np.random.default_rng(5)
    records: list[ImageRecord] = []
    patients = [split for split, count in NUM_PATIENTS.items() for _ in range(count)]
    for number, split in enumerate(patients):
        findings = draw.random(3) < 0.4
        for view in range(2):
            film = make_phantom(9, 2 * number + view, is_positive=False, image_size=SIZE).pixels
            film = film // 2
            for (top, left), has_it in zip(PLACES, findings, strict=True):
                film[top : top + 18, left : left + 18] += 110 * np.uint8(has_it)
            known = draw.random(3) >= 0.2
            path = f"films/p{number:03d}_{view}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(film).save(folder / path)
            records.append(
                ImageRecord(
                    image_id=path,
                    path=path,
                    label=format_findings(np.where(known, findings, -1).tolist(), FINDINGS),
                    group=f"p{number:03d}",
                    split=split,
                    sha256=hashlib.sha256((folder / path).read_bytes()).hexdigest(),
                    width=SIZE,
                    height=SIZE,
                )
            )
    return Split(tuple(records), FINDINGS, task="multilabel")


def prepare(session: Session, split: Split) -> PreparedData:
    """Do what `prepare_data` does, with a split that is given."""
    assert session.config.data_dir is not None
    settings = pixel_settings(session.config, "grey")
    cache = build_cache(
        session.config.data_dir,
        [record.path for record in split.records],
        settings=settings,
        cache_dir=session.cache_dir,
        num_workers=0,
    )
    write_split(session.run_dir / "split.csv", split)
    provenance = {
        "class_names": list(split.class_names),
        "task": split.task,
        "positive_class": None,
        "color": "grey",
    }
    rows = np.array([fact.row for fact in cache.facts], dtype=np.int64)
    return PreparedData(split, cache.pixels, rows, settings, provenance)


def prepared_with(split: Split) -> Callable[..., PreparedData]:
    """Return a `prepare_data` whose split is given; it asks for the network's needs too."""

    def prepare_data(session: Session, *, estimate: Callable[[int], object]) -> PreparedData:
        estimate(len(split.class_names))
        return prepare(session, split)

    return prepare_data


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    folder = tmp_path_factory.mktemp("films")
    return folder, write_films(folder)


def make_config(films: tuple[Path, Split], output_dir: Path, **changes: Any) -> Config:
    settings = {
        "arch": "test_resnet", "image_size": SIZE, "pretrained": False, "num_resamples": 100,
        "head_epochs": 1, "finetune_epochs": 8,
        "finetune_lr": 3e-3, "head_lr": 3e-3, "batch_size": 16, "num_hard_examples": 3,
        "augment": "none", **changes,
    }  # fmt: skip
    return Config(data_dir=films[0], output_dir=output_dir, **settings)


@pytest.fixture(scope="module")
def run_dir(films: tuple[Path, Split], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prepare_data", prepared_with(films[1]))
        return run(make_config(films, output)).run_dir


def read_table(run_dir: Path, split: str) -> pd.DataFrame:
    """Return predictions with a column of 1, 0 or NaN per finding, parsed by pandas alone."""
    table = pd.read_csv(run_dir / f"predictions_{split}.csv", keep_default_na=False)
    for name in FINDINGS:
        parts = table["label"].str.split("|")
        positive = parts.map(lambda words, name=name: name in words)
        unknown = parts.map(lambda words, name=name: f"?{name}" in words)
        table[name] = positive.astype(float).mask(unknown)
        table[f"prob_{name}"] = table[f"prob_{name}"].astype(float)
    return table


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def known_of(table: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    known = table[table[name].notna()]
    return known[name].astype(int), known[f"prob_{name}"]


def assert_figures(found: dict[str, Any], truth: pd.Series, score: pd.Series) -> None:
    for key, metric in METRICS.items():
        assert found[key]["value"] == pytest.approx(metric(truth, score), abs=1e-9), key
    assert found["average_precision"]["baseline"] == pytest.approx(truth.mean())


def assert_cuts(found: dict[str, Any], truth: pd.Series, call: pd.Series) -> None:
    matrix = oracle.confusion_matrix(truth, call, labels=[0, 1])
    assert [[found["tn"], found["fp"]], [found["fn"], found["tp"]]] == matrix.tolist()
    for key, metric in CUT_METRICS.items():
        if found[key]["value"] is None:
            assert 0 in (*matrix.sum(axis=0), *matrix.sum(axis=1)), key
        else:
            assert found[key]["value"] == pytest.approx(metric(truth, call), abs=1e-9), key


@pytest.mark.parametrize("split", ["val", "test"])
def test_figures_of_each_finding_are_those_of_its_known_images(run_dir: Path, split: str) -> None:
    table, summary = read_table(run_dir, split), read_json(run_dir / f"{split}_summary.json")
    thresholds = read_json(run_dir / "thresholds.json")["classes"]
    assert (summary["task"], summary["positive_class"]) == ("multilabel", None)
    assert summary["num_images"] == len(table)
    assert summary["num_groups"] == table["group"].nunique()
    assert list(summary["classes"]) == list(FINDINGS)
    for name, block in summary["classes"].items():
        truth, score = known_of(table, name)
        assert block["num_unknown"] == table[name].isna().sum() > 0
        assert (block["num_positive"], block["num_negative"]) == (truth.sum(), (truth == 0).sum())
        assert block["prevalence"] == pytest.approx(truth.mean())
        assert_figures(block["metrics"], truth, score)
        assert set(block["operating_points"]) == {"max_f1", "target_sensitivity", "default"}
        for rule, point in block["operating_points"].items():
            assert point["threshold"] == thresholds[name][rule]["threshold"]
            assert_cuts(point, truth, (score >= point["threshold"]).astype(int))


@pytest.mark.parametrize("split", ["val", "test"])
def test_averages_are_over_findings_and_over_all_pairs(run_dir: Path, split: str) -> None:
    table, summary = read_table(run_dir, split), read_json(run_dir / f"{split}_summary.json")
    thresholds = read_json(run_dir / "thresholds.json")["classes"]
    columns = {name: known_of(table, name) for name in FINDINGS}
    truth, score = (pd.concat(parts) for parts in zip(*columns.values(), strict=True))
    assert_figures(summary["micro"]["metrics"], truth, score)
    assert summary["overall"]["num_known_pairs"] == len(truth)
    log_loss = summary["overall"]["log_loss"]["value"]
    assert log_loss == pytest.approx(oracle.log_loss(truth, score))
    for key, metric in METRICS.items():
        found = summary["macro"]["metrics"][key]
        mean = np.mean([metric(*columns[name]) for name in FINDINGS])
        assert found["value"] == pytest.approx(mean, abs=1e-9), key
        assert found["num_defined"] == 3
    for rule, point in summary["micro"]["operating_points"].items():
        cuts = {name: thresholds[name][rule]["threshold"] for name in FINDINGS}
        call = pd.concat([(columns[name][1] >= cut).astype(int) for name, cut in cuts.items()])
        assert_cuts(point, truth, call)
        assert point["num_findings"] == 3
        macro = summary["macro"]["operating_points"][rule]
        values = [summary["classes"][n]["operating_points"][rule]["ppv"]["value"] for n in FINDINGS]
        defined = [value for value in values if value is not None]
        assert macro["ppv"]["num_defined"] == len(defined)
        assert macro["ppv"]["value"] == (pytest.approx(np.mean(defined)) if defined else None)
    matched, wanted = 0, 0
    for _, row in table.iterrows():
        known = [name for name in FINDINGS if not np.isnan(row[name])]
        wanted += bool(known)
        matched += bool(known) and all((row[f"prob_{n}"] >= 0.5) == row[n] for n in known)
    assert summary["overall"]["exact_match"]["value"] == pytest.approx(matched / wanted)
    assert summary["confusion_matrix"] is None


def test_thresholds_are_the_best_of_val(run_dir: Path) -> None:
    table = read_table(run_dir, "val")
    for name, points in read_json(run_dir / "thresholds.json")["classes"].items():
        truth, score = known_of(table, name)
        best = max(oracle.f1_score(truth, score >= cut) for cut in score)
        found = oracle.f1_score(truth, score >= points["max_f1"]["threshold"])
        assert found == pytest.approx(best)
        reached = oracle.recall_score(truth, score >= points["target_sensitivity"]["threshold"])
        assert reached >= 0.95


def test_best_epoch_is_that_of_the_mean_val_ap(run_dir: Path) -> None:
    history, table = pd.read_csv(run_dir / "history.csv"), read_table(run_dir, "val")
    best = history.sort_values(["val_ap", "val_loss"], ascending=[False, True]).iloc[0]
    means = {
        key: np.mean([METRICS[key](*known_of(table, name)) for name in FINDINGS])
        for key in ("average_precision", "auroc")
    }
    # The curve is drawn in the run's precision, and so are the predictions.
    assert best["val_ap"] == pytest.approx(means["average_precision"], abs=1e-9)
    assert best["val_auroc"] == pytest.approx(means["auroc"], abs=1e-9)
    truth, score = (
        pd.concat(parts)
        for parts in zip(*(known_of(table, name) for name in FINDINGS), strict=True)
    )
    assert best["val_loss"] == pytest.approx(oracle.log_loss(truth, score), rel=1e-6)


def test_the_findings_are_learnt(run_dir: Path) -> None:
    summary = read_json(run_dir / "test_summary.json")
    assert summary["macro"]["metrics"]["auroc"]["value"] > 0.75


def test_mistakes_are_made_where_the_finding_is_known(run_dir: Path) -> None:
    mistakes = pd.read_csv(run_dir / "mistakes.csv")
    table = read_table(run_dir, "test").set_index("image_id")
    assert len(mistakes) > 0
    for _, row in mistakes.iterrows():
        assert table.loc[row["image_id"], row["class"]] == (row["kind"] == "FN")
    pairs = mistakes.drop_duplicates(["kind", "class", "image_id"])
    panels = [path.name for path in (run_dir / "gradcam").glob("F?/*.png")]
    assert len(panels) == len(pairs)
    assert all(any(f"_{name}_" in panel for name in FINDINGS) for panel in panels)


def test_probabilities_do_not_compete(run_dir: Path) -> None:
    table = read_table(run_dir, "test")
    sums = table[[f"prob_{name}" for name in FINDINGS]].sum(axis=1)
    assert (sums - 1).abs().min() > 1e-6


def test_new_images_get_every_finding_that_reaches_its_threshold(
    films: tuple[Path, Split], run_dir: Path, tmp_path: Path
) -> None:
    paths = [films[0] / record.path for record in films[1].records if record.split == "test"][:8]
    predict(run_dir, paths, output=tmp_path / "new.csv", explain=True)
    table = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    known = read_table(run_dir, "test").set_index("image_id")
    points = read_json(run_dir / "thresholds.json")["classes"]
    panels = sorted(path.name for path in (tmp_path / "new").glob("*.png"))
    wanted = 0
    for path, (_, row) in zip(paths, table.iterrows(), strict=True):
        image_id = path.relative_to(films[0]).as_posix()
        called = []
        for name in FINDINGS:
            assert float(row[f"prob_{name}"]) == known.loc[image_id, f"prob_{name}"]
            if float(row[f"prob_{name}"]) >= points[name]["max_f1"]["threshold"]:
                called.append(name)
        assert row["decision"] == "|".join(called)
        assert row["threshold"] == ""
        wanted += max(1, len(called))
    assert len(panels) == wanted


def test_checkpoint_and_settings_know_the_task(run_dir: Path) -> None:
    assert read_json(run_dir / "config.json")["provenance"]["task"] == "multilabel"
    header = torch.load(run_dir / "best.pt", weights_only=True)
    assert (header["task"], header["positive_class"]) == ("multilabel", None)
    assert header["class_names"] == list(FINDINGS)


def test_evaluated_again_the_figures_are_the_same(run_dir: Path) -> None:
    names = ("predictions_test.csv", "test_summary.json", "thresholds.json", "mistakes.csv")
    before = [(run_dir / name).read_bytes() for name in names]
    evaluate(run_dir)
    assert [(run_dir / name).read_bytes() for name in names] == before


def test_another_data_set_without_a_positive_image_of_a_finding_is_scored(
    run_dir: Path, tmp_path: Path
) -> None:
    folder, draw, lines = tmp_path / "site", np.random.default_rng(8), list[str]()
    for number in range(24):
        effusion, nodule = draw.random(2) < 0.5
        film = make_phantom(11, number, is_positive=False, image_size=SIZE).pixels
        (folder / "films").mkdir(parents=True, exist_ok=True)
        Image.fromarray(film).save(folder / "films" / f"{number}.png")
        lines.append(f"films/{number}.png,p{number // 2},{effusion:d},0,{nodule:d}")
    header = ",".join(("path", "patient", *FINDINGS))
    table = folder / "site.csv"
    table.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    flags = TableFlags(path_column="path", group_column="patient", label_columns=FINDINGS)
    place = external(run_dir, table, table=flags, panels=False).run_dir
    aurocs = {
        name: block["metrics"]["auroc"]
        for name, block in read_json(place / "test_summary.json")["classes"].items()
    }
    assert aurocs["Mass"]["value"] is None
    assert aurocs["Mass"]["reason"] == "all images are of one class"
    assert aurocs["Effusion"]["value"] is not None
    gaps = read_json(place / "external.json")["differences"]
    assert gaps["Mass"]["metrics"]["auroc"]["reason"].startswith("undefined on the external")
    assert gaps["macro"]["metrics"]["auroc"]["reason"].startswith("a mean of 3 findings")
    updating = read_json(place / "updating.json")["classes"]
    assert updating["Mass"]["reason"].startswith("the number of patients with positive images is 0")
    assert set(updating["Nodule"]["updates"]) == {"intercept", "intercept_and_slope", "threshold"}
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "External minus internal, Effusion" in page and "24 images of 12 patients" in page


def test_a_label_that_is_no_finding_is_refused(run_dir: Path, tmp_path: Path) -> None:
    from medimg_baseline_cls.data.splitting.split import read_split
    from medimg_baseline_cls.evaluation.prediction_files import read_predictions

    for name, read in (
        ("split.csv", lambda path: read_split(path, FINDINGS, task="multilabel")),
        (
            "predictions_test.csv",
            lambda path: read_predictions(path, split="test", task="multilabel"),
        ),
    ):
        text = (run_dir / name).read_text(encoding="utf-8").replace("Nodule", "Fracture")
        text = text.replace("prob_Fracture", "prob_Nodule")
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match="Fracture"):
            read(tmp_path / name)


@pytest.mark.parametrize("imbalance", ["class_weights", "focal"])
def test_imbalance_settings_change_the_training(
    imbalance: str,
    films: tuple[Path, Split],
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "prepare_data", prepared_with(films[1]))
    config = make_config(films, tmp_path, imbalance=imbalance, finetune_epochs=0)
    found = pd.read_csv(train(config).run_dir / "history.csv")["train_loss"][0]
    assert found != pd.read_csv(run_dir / "history.csv")["train_loss"][0]


def test_grades_are_compared_by_their_order(
    films: tuple[Path, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grades = ("none", "one", "many")
    records = [
        replace(record, label=grades[min(record.label.replace("?", "").count("|"), 2)])
        for record in films[1].records
    ]
    split = Split(tuple(records), grades, task="ordinal")
    monkeypatch.setattr(training, "prepare_data", prepared_with(split))
    run_dir = run(make_config(films, tmp_path, head_epochs=0, finetune_epochs=1)).run_dir
    table = pd.read_csv(run_dir / "predictions_test.csv", keep_default_na=False)
    truth = table["label"].map(grades.index)
    columns = table[[f"prob_{name}" for name in grades]].astype(float)
    called = columns.to_numpy().argmax(axis=1)
    overall = read_json(run_dir / "test_summary.json")["overall"]
    kappa = oracle.cohen_kappa_score(truth, called, weights="quadratic", labels=[0, 1, 2])
    found = overall["quadratic_weighted_kappa"]["value"]
    assert found == pytest.approx(kappa, abs=1e-12)
    error = oracle.mean_absolute_error(truth, called)
    assert overall["mean_grade_error"]["value"] == pytest.approx(error)
    assert np.allclose(columns.sum(axis=1), 1)
    assert "kappa" in (run_dir / "log.txt").read_text(encoding="utf-8")
    assert "quadratic weighted kappa" in (run_dir / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imbalance": "balanced_sampler"}, "several findings"),
        ({"positive_class": "Mass"}, "one decision per finding"),
    ],
    ids=str,
)
def test_settings_for_classes_are_refused_where_there_are_findings(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Config(task="multilabel", **changes)
    for task in ("auto", "multiclass", "ordinal"):
        Config(task=task, **changes)
