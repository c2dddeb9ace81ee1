"""A small run folder in the shapes of DESIGN section 3, written without the other rooms."""

import csv
import functools
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn import metrics as oracle

Metric = dict[str, Any]
BINARY = ("NORMAL", "PNEUMONIA")
COUNTS = {"train": 60, "val": 24, "test": 48}
FIGURES = ("training", "train_batch", "roc", "precision_recall", "confusion", "score_histogram")


@dataclass
class FakeRun:
    """A run folder on disk and the truth it was written from."""

    folder: Path
    class_names: tuple[str, ...]
    positive_class: str | None
    labels: dict[str, NDArray[np.int64]]
    probabilities: dict[str, NDArray[np.float64]]
    ids: dict[str, list[str]]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def write_json(self, name: str, content: Any) -> None:
        text = json.dumps(content, allow_nan=False, indent=2)
        (self.folder / name).write_text(text, encoding="utf-8")

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        with (self.folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)


def draw_png(path: Path, size: tuple[int, int], text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, "#f4f4f4")
    ImageDraw.Draw(image).text((8, 8), text or path.name, fill="#222222")
    image.save(path)


def metric(value: float | None, **more: Any) -> Metric:
    if value is None or math.isnan(value):
        return {"value": None, "reason": "a class has no image", **more}
    return {"value": float(value), **more}


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def point_of(truth: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> Metric:
    call = scores >= threshold
    (tn, fp), (fn, tp) = oracle.confusion_matrix(truth, call, labels=[False, True]).tolist()
    return {
        "threshold": float(threshold),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "sensitivity": metric(ratio(tp, tp + fn)),
        "specificity": metric(ratio(tn, tn + fp)),
        "ppv": metric(ratio(tp, tp + fp)),
        "npv": metric(ratio(tn, tn + fn)),
        "f1_score": metric(oracle.f1_score(truth, call)),
        "accuracy": metric(ratio(tp + tn, len(truth))),
        "balanced_accuracy": metric(oracle.balanced_accuracy_score(truth, call)),
        "mcc": metric(oracle.matthews_corrcoef(truth, call)),
    }


def block_of(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], thresholds: Mapping[str, float]
) -> dict[str, Any]:
    prevalence = float(truth.mean())
    return {
        "prevalence": prevalence,
        "metrics": {
            "average_precision": metric(
                oracle.average_precision_score(truth, scores), baseline=prevalence
            ),
            "auroc": metric(oracle.roc_auc_score(truth, scores)),
            "brier_score": metric(float(((scores - truth) ** 2).mean())),
            "log_loss": metric(oracle.log_loss(truth, scores)),
        },
        "operating_points": {k: point_of(truth, scores, t) for k, t in thresholds.items()},
    }


def summary_of(run: FakeRun, split: str, rules: Mapping[str, float]) -> dict[str, Any]:
    labels, scores = run.labels[split], run.probabilities[split]
    shown = (run.positive_class,) if run.positive_class else run.class_names
    blocks = {
        name: block_of(
            labels == run.class_names.index(name), scores[:, run.class_names.index(name)], rules
        )
        for name in shown
    }
    names = ("average_precision", "auroc", "brier_score", "log_loss")
    macro = {
        key: metric(float(np.mean([b["metrics"][key]["value"] for b in blocks.values()])))
        for key in names
    }
    prevalences = [block["prevalence"] for block in blocks.values()]
    macro["average_precision"]["baseline"] = float(np.mean(prevalences))
    return {
        "split": split,
        "class_names": list(run.class_names),
        "num_images": len(labels),
        "num_groups": len({i.split("/")[-1].split("_")[0] for i in run.ids[split]}),
        "positive_class": run.positive_class,
        "classes": blocks,
        "macro": {"metrics": macro, "operating_points": {}},
        "confusion_matrix": oracle.confusion_matrix(labels, scores.argmax(1)).tolist(),
    }


def write_data(run: FakeRun) -> None:
    rows: list[tuple[Any, ...]] = []
    for split, ids in run.ids.items():
        for number, (image_id, label) in enumerate(zip(ids, run.labels[split], strict=True)):
            digest = hashlib.sha256(f"{split}{number}".encode()).hexdigest()
            group = f"{split}-person{number // 2}"
            rows.append(
                (image_id, image_id, run.class_names[label], group, split, digest, 640, 512)
            )
    header = ("image_id", "path", "label", "group", "split", "sha256", "width", "height")
    run.write_csv("split.csv", header, rows)
    rejected = [("train/NORMAL/broken.png", "/home/ada/films/broken.png is cut off")]
    run.write_csv("rejected.csv", ("path", "reason"), rejected)


def write_training(run: FakeRun) -> None:
    header = ("stage", "epoch", "lr", "train_loss", "val_loss", "val_ap", "val_auroc")
    history = [
        ("head", 1, 1e-3, 0.61, 0.58, 0.871, 0.822),
        ("head", 2, 5e-4, 0.52, 0.51, 0.903, 0.861),
        ("finetune", 1, 1e-4, 0.41, 0.44, 0.941, 0.912),
        ("finetune", 2, 8e-5, 0.31, 0.39, 0.967, 0.948),
        ("finetune", 3, 2e-5, 0.24, 0.41, 0.961, 0.945),
    ]
    run.write_csv("history.csv", header, history)
    timings = [(stage, epoch, 61.5, 88.0) for stage, epoch, *_ in history]
    run.write_csv("timings.csv", ("stage", "epoch", "seconds", "images_per_second"), timings)
    for name in ("best.pt", "best_head.pt", "last.pt"):
        (run.folder / name).write_bytes(b"weights")
    run.write_json("status.json", {"state": "finished"})
    (run.folder / "log.txt").write_text("a line\n", encoding="utf-8")


def write_predictions(run: FakeRun, split: str) -> None:
    columns = [f"prob_{name}" for name in run.class_names]
    rows = [
        (i, i, run.class_names[label], i, *(repr(float(p)) for p in line))
        for i, label, line in zip(
            run.ids[split], run.labels[split], run.probabilities[split], strict=True
        )
    ]
    run.write_csv(
        f"predictions_{split}.csv", ("image_id", "path", "label", "group", *columns), rows
    )


def write_mistakes(run: FakeRun, rules: Mapping[str, float]) -> int:
    rows: list[tuple[Any, ...]] = []
    panels: set[tuple[str, str, str]] = set()
    shown = (run.positive_class,) if run.positive_class else run.class_names
    for name in shown:
        column = run.class_names.index(name)
        truth = run.labels["test"] == column
        scores = run.probabilities["test"][:, column]
        for rule, threshold in rules.items():
            call = scores >= threshold
            for kind, wrong in (("FP", call & ~truth), ("FN", ~call & truth)):
                order = np.argsort(-scores if kind == "FP" else scores)
                ranked = [i for i in order if wrong[i]][:4]
                for rank, i in enumerate(ranked, start=1):
                    image_id, p = run.ids["test"][i], float(scores[i])
                    rows.append(("test", rule, name, kind, rank, image_id, p, abs(p - threshold)))
                    panels.add((kind, name, image_id))
    header = ("split", "rule", "class", "kind", "rank", "image_id", "probability", "margin")
    run.write_csv("mistakes.csv", header, rows)
    probability = {(r[3], r[2], r[5]): r[6] for r in rows}
    for kind in ("FP", "FN"):
        sign = -1 if kind == "FP" else 1
        mine = sorted((p for p in panels if p[0] == kind), key=lambda p: sign * probability[p])
        for number, panel in enumerate(mine, start=1):
            safe = Path(panel[2]).stem[:80]
            part = "" if run.positive_class else f"{panel[1]}_"
            name = f"{number:02d}_p{probability[panel]:.3f}_{part}{safe}.png"
            draw_png(run.folder / "gradcam" / kind / name, (780, 300))
    return len(rows)


def write_control(auroc: float) -> dict[str, Any]:
    return {
        split: {"auroc": metric(auroc + step), "average_precision": metric(None)}
        for split, step in (("val", 0.01), ("test", 0.0))
    }


def write_evaluation(run: FakeRun) -> None:
    rules = {"max_f1": 0.61, "target_sensitivity": 0.42, "default": 0.5}
    summaries = {split: summary_of(run, split, rules) for split in ("val", "test")}
    for split, summary in summaries.items():
        write_predictions(run, split)
        run.write_json(f"{split}_summary.json", summary)
    fixed = {
        rule: {"threshold": value, "rule": f"how {rule} is chosen"} for rule, value in rules.items()
    }
    thresholds = dict.fromkeys(summaries["val"]["classes"], fixed)
    digest = hashlib.sha256(b"weights").hexdigest()
    run.write_json(
        "thresholds.json",
        {
            "score_space": "probability",
            "predictions_val_sha256": hashlib.sha256(
                (run.folder / "predictions_val.csv").read_bytes()
            ).hexdigest(),
            "checkpoint_sha256": digest,
            "classes": thresholds,
        },
    )
    headline = {
        split: summary["classes"][run.positive_class]["metrics"]
        if run.positive_class
        else summary["macro"]["metrics"]
        for split, summary in summaries.items()
    }
    head_only = {"val": {"auroc": 0.861, "average_precision": 0.903}}
    head_only["test"] = {"auroc": 0.801, "average_precision": 0.842}
    run.write_json(
        "eval_summary.json",
        {
            "checkpoint": {"stage": "finetune", "epoch": 2, "sha256": digest},
            "class_names": list(run.class_names),
            "positive_class": run.positive_class,
            "thresholds": thresholds,
            "headline": headline,
            "head_only": head_only,
            "controls": [
                {"name": name, "description": f"what {name} is", **write_control(0.7 + step)}
                for name, step in (("trivial", 0.0), ("border", 0.1))
            ],
            "num_mistakes": write_mistakes(run, rules),
            "warnings": ["VAL is small: 24 images of 12 groups, so its thresholds are uncertain."],
        },
    )


def write_settings(run: FakeRun) -> None:
    weights = {"kind": "file", "source": "resnet18.safetensors", "sha256": "ab" * 32}
    run.write_json(
        "config.json",
        {
            "project": "chest_xray",
            "data_dir": "/home/ada/films/chest_xray",
            "class_names": None,
            "positive_class": None,
            "image_size": 224,
            "group_regex": r"^(?:/|)(person\d+_\w+?)_\d+",
            "arch": "resnet18",
            "pretrained": True,
            "weights": "/home/ada/weights/resnet18.safetensors",
            "head_epochs": 2,
            "finetune_epochs": 3,
            "batch_size": 32,
            "head_lr": 0.001,
            "target_sensitivity": 0.95,
            "operating_point": "max_f1",
            "seed": 7,
            "provenance": {
                "class_names": list(run.class_names),
                "positive_class": run.positive_class,
                "color": "grey",
                "val_strategy": "balanced",
                "num_rejected": 1,
                "weights": {**weights, "missing": [], "unexpected": ["fc.weight", "fc.bias"]},
            },
        },
    )
    run.write_json(
        "env_report.json",
        {
            "created": "2026-01-02T03:04:05+00:00",
            "command": "medimg run --data-dir /home/ada/films/chest_xray --arch resnet18",
            "python": {"version": "3.12.1"},
            "packages": {"torch": "2.10.0", "timm": "1.0.20", "medimg-baseline-cls": "0.1.0"},
            "git": None,
            "cpu": {"flags": ["avx2", "avx512_bf16"], "num_threads": 2},
            "gpu": [],
        },
    )


def make_truth(
    folder: Path, class_names: tuple[str, ...], positive_class: str | None, stem: str
) -> FakeRun:
    rng = np.random.default_rng(3)
    run = FakeRun(folder, class_names, positive_class, {}, {}, {})
    for split, count in COUNTS.items():
        labels = rng.permutation(np.arange(count) % len(class_names))
        logits = rng.normal(0, 1.0, (count, len(class_names)))
        logits[np.arange(count), labels] += 2.2
        odds = np.exp(logits)
        run.labels[split] = labels.astype(np.int64)
        run.probabilities[split] = odds / odds.sum(1, keepdims=True)
        run.ids[split] = [
            f"{split}/{class_names[label]}/{stem}{i}_view_{i % 3}.jpeg"
            for i, label in enumerate(labels)
        ]
    return run


@pytest.fixture(scope="session")
def make_master(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FakeRun]:
    """Return a maker that writes each kind of run folder once; the tests get copies."""

    @functools.cache
    def make(
        class_names: tuple[str, ...], stages: tuple[str, ...], name: str, stem: str
    ) -> FakeRun:
        folder = tmp_path_factory.mktemp("master") / name
        folder.mkdir()
        positive = class_names[1] if len(class_names) == 2 else None
        run = make_truth(folder, class_names, positive, stem)
        write_settings(run)
        writers = {"data": write_data, "training": write_training, "evaluation": write_evaluation}
        for stage in [s for s in stages if s in writers]:
            writers[stage](run)
        for figure in FIGURES if "figures" in stages else ():
            draw_png(folder / "figures" / f"{figure}.png", (640, 480))
        return run

    return make


@pytest.fixture
def make_run(tmp_path: Path, make_master: Callable[..., FakeRun]) -> Callable[..., FakeRun]:
    """Return a maker of run folders: `stages` says how far the run has come."""

    def make(
        class_names: tuple[str, ...] = BINARY,
        *,
        stages: tuple[str, ...] = ("data", "training", "evaluation", "figures"),
        name: str = "chest_xray_20260102-030405",
        stem: str = "person",
    ) -> FakeRun:
        master = make_master(class_names, stages, name, stem)
        folder = tmp_path / "outputs" / "runs" / name
        shutil.copytree(master.folder, folder)
        return replace(master, folder=folder)

    return make
