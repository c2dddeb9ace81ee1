"""How a training recipe generalizes: tests from near and from far away, and stressed images.

    python benchmarks/shift.py DATA WEIGHTS [--recipes NAME,...] [--pairs NAME,...] [--seeds N]
    python benchmarks/shift.py DATA WEIGHTS --page-only

Without --recipes: the recipe of before and that of today, in 20 runs, about 40 minutes on 2 cores.

DATA has a folder per class, such as chest_xray/train. No official test set is read: these are the
sets on which a recipe may be tuned. Each run trains tf_efficientnet_lite0 from a file of pretrained
weights on one side of a pair (see shift_pairs.py) and scores its head-only and its final network on
the near and the shifted test, and on the near test under each change of stress.py. Thresholds are
Max-F1 on VAL, which is part of the training side. Results are appended to
docs/benchmarks/shift.jsonl, and runs that are in it are not repeated. The pairs of phantoms
(shift_phantoms.py) need nothing of DATA. What the pairs are is kept in
docs/benchmarks/shift_pairs.json, so that the page can be written without making them.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shift_pairs import Images, Pair, make_pairs, name_patients, view_acquisition
from shift_phantoms import HEAD as PHANTOMS
from shift_phantoms import PREFIX, describe_phantoms, draw_phantoms, make_phantom_pairs
from stress import STRESSES

from medimg_baseline_cls import Config, train
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.config import PRESETS
from medimg_baseline_cls.data.batches.loaders import to_unit_range
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.evaluation.inference import predict_probabilities
from medimg_baseline_cls.models.build import rebuild_model
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.statistics import auroc_score
from medimg_baseline_cls.utils.files import read_csv, write_csv

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/benchmarks/shift.jsonl"
FACTS = ROOT / "docs/benchmarks/shift_pairs.json"
PAGE = ROOT / "docs/benchmarks/shift.md"
_OLD = PRESETS["baseline"]
RECIPES: dict[str, dict[str, Any]] = {
    **PRESETS,
    "default": {},
    "6 epochs": _OLD | {"finetune_epochs": 6},
    "acquisition": _OLD | {"augment": "acquisition"},
    "robust + logistic head": PRESETS["robust"] | {"head_fit": "logistic"},
    "robust + slow": PRESETS["robust"] | {"finetune_lr": 3e-5},
    "robust, all layers": PRESETS["robust"] | {"frozen_stem": False},
    "6 epochs + acquisition": _OLD | {"finetune_epochs": 6, "augment": "acquisition"},
    "6 epochs + average of weights": _OLD | {"finetune_epochs": 6, "ema_decay": 0.99},
    "6 epochs + slow": _OLD | {"finetune_epochs": 6, "finetune_lr": 3e-5},
    "6 epochs + label smoothing": _OLD | {"finetune_epochs": 6, "label_smoothing": 0.1},
    "6 epochs + BatchNorm moves": _OLD | {"finetune_epochs": 6, "batchnorm": "train"},
}
_HEAD = """# Shift: tests from another acquisition

Validation images that come from where the training images come from cannot tell which recipe
survives the next hospital. Written by `make shift IMAGES=chest_xray/train
WEIGHTS=tf_efficientnet_lite0.safetensors`: from the training folder of the chest X-ray data
alone, pairs of a training side and a test set are made that differ in acquisition. Patients of
each class are clustered by brightness, border, or what an early layer of a pretrained network
sees; TEST is the 18 % farthest along the way to the farthest cluster, the next 18 % are left out.
"Near" is a test set of other patients of the training side. No official test set is read.

## The pairs

AUROC of a classifier that separates the training side from the shifted test, within each class;
next to it that between random halves of the same patients, where 0.5 is right.
"""
_BETWEEN = """
## The recipes

tf_efficientnet_lite0 from ImageNet weights, means over the pairs that are not controls and over
seeds. "Final" is best.pt, the epoch with the best AP on VAL (of "robust": on stressed VAL);
"interpolated" is 3/4 of the way from the head-only to the last weights. The threshold is Max-F1 on
VAL, which is near. "Stressed" is the near test (160 images of it) under twelve changes: gamma,
contrast, equalization, blur, half resolution, JPEG, noise, a blanked frame, rotation. Seconds are
those of training, the median, on a machine with other work. What follows from this is in
[decision 0038](../decisions/0038-training-under-shift.md).
"""
NETWORKS = ("head-only", "interpolated", "final", "last epoch")
_RESULTS = ("head-only", "final")  # of every seed; the others of the first alone
_INTERPOLATED = 0.75  # of the way from the head-only to the last weights (WiSE-FT)
_NUM_STRESSED = 160
_PAIR_SIZE = 96


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all runs share."""

    data: Path
    weights: Path
    size: int
    images: Images
    pixels: NDArray[np.uint8]
    scratch: Path


def main() -> None:
    options = _read_options()
    with tempfile.TemporaryDirectory() as folder:
        for bench, pairs in () if options.page_only else _open_benches(options, Path(folder)):
            done = {(row["pair"], row["recipe"], row["seed"]) for row in _read_results()}
            for seed in range(options.seeds):
                for pair in pairs:
                    for recipe in options.recipes.split(","):
                        wanted = not options.pairs or pair.name in options.pairs.split(",")
                        if wanted and (pair.name, recipe, seed) not in done:
                            _append(_run(bench, pair, recipe=recipe, seed=seed))
    PAGE.write_text(describe(_read_results(), _read_facts()), encoding="utf-8")


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--recipes", default="baseline,default")
    parser.add_argument("--pairs", default="")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--page-only", action="store_true")
    return parser.parse_args()


def _open_benches(options: argparse.Namespace, scratch: Path) -> Iterator[tuple[Bench, list[Pair]]]:
    """Yield the radiographs and the phantoms with their pairs, where some of these are wanted."""
    wanted = options.pairs.split(",")
    if not all(name.startswith(PREFIX) for name in wanted):
        bench = _open_bench(options, options.data.resolve(), scratch=scratch)
        yield bench, _note_facts(make_pairs(bench.images))
    if not options.pairs or any(name.startswith(PREFIX) for name in wanted):
        draw_phantoms(scratch / "phantoms/images")
        bench = _open_bench(options, scratch / "phantoms/images", scratch=scratch / "phantoms")
        yield bench, _note_facts(make_phantom_pairs(bench.images))


def _open_bench(options: argparse.Namespace, data: Path, *, scratch: Path) -> Bench:
    files = [p for p in data.rglob("*") if p.suffix.lower() in (".jpeg", ".jpg", ".png")]
    paths = tuple(sorted(file.relative_to(data).as_posix() for file in files))
    # The pairs are the same whatever the size of training.
    pixels = _read_pixels(data, paths, size=_PAIR_SIZE, scratch=scratch)
    images = Images(
        paths=paths,
        positive=np.array([path.startswith("PNEUMONIA/") for path in paths]),
        patients=name_patients(paths),
        views=view_acquisition(measure_pixels(pixels), pixels, weights=options.weights),
    )
    return Bench(
        data=data,
        weights=options.weights.resolve(),
        size=options.size,
        images=images,
        pixels=_read_pixels(data, paths, size=options.size, scratch=scratch),
        scratch=scratch,
    )


def _read_pixels(
    data: Path, paths: tuple[str, ...], *, size: int, scratch: Path
) -> NDArray[np.uint8]:
    settings = PixelSettings(image_size=size)
    cache = build_cache(data, paths, settings=settings, cache_dir=scratch / f"pixels{size}")
    return np.asarray(cache.pixels)[[fact.row for fact in cache.facts]]


def _run(bench: Bench, pair: Pair, *, recipe: str, seed: int) -> dict[str, Any]:
    """Train once and return what both networks of the run reach."""
    table = bench.scratch / f"{pair.name}.csv"
    used = np.flatnonzero(pair.train | pair.near | pair.shifted)
    rows = [
        [
            str(bench.data / bench.images.paths[i]),
            bench.images.paths[i].split("/")[0],
            bench.images.patients[i],
            "train" if pair.train[i] else "test",
        ]
        for i in used
    ]
    write_csv(table, ["path", "label", "patient", "split"], rows=rows)
    config = Config(
        data_dir=bench.data,
        manifest=table,
        group_column="patient",
        split_column="split",
        allow_outside=True,
        output_dir=bench.scratch,
        arch="tf_efficientnet_lite0",
        weights=bench.weights,
        image_size=bench.size,
        seed=seed,
        on_leak="drop",
        **RECIPES[recipe],
    )
    run_dir = train(config).run_dir
    rows_of_run = read_csv(run_dir / "split.csv")
    in_val = {"/".join(r["path"].split("/")[-2:]) for r in rows_of_run if r["split"] == "val"}
    val = np.array([path in in_val for path in bench.images.paths])
    with (run_dir / "timings.csv").open(encoding="utf-8") as file:
        seconds = sum(float(line.split(",")[2]) for line in file.readlines()[1:])
    networks = {
        name: _judge(bench, pair, val=val, network=network)
        for name, network in _open_networks(run_dir)
        if not seed or name in _RESULTS
    }
    shutil.rmtree(run_dir)
    return {
        "pair": pair.name, "recipe": recipe, "seed": seed, "size": bench.size,
        "seconds": round(seconds, 1), **networks,
    }  # fmt: skip


def _open_networks(run_dir: Path) -> Iterator[tuple[str, Classifier]]:
    files = ("best_head.pt", "best.pt", "last.pt")
    head, best, last = (torch.load(run_dir / file, weights_only=True) for file in files)
    ended = last["model"] | (last["average"] or {})
    between = {
        name: torch.lerp(head["model"][name], value, _INTERPOLATED)
        if value.is_floating_point()
        else value
        for name, value in ended.items()
    }
    for name, weights in zip(NETWORKS, (head["model"], between, best["model"], ended), strict=True):
        yield name, rebuild_model(best["description"], weights, source=name).eval()


def _judge(
    bench: Bench, pair: Pair, *, val: NDArray[np.bool_], network: Classifier
) -> dict[str, Any]:
    truth = bench.images.positive

    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        none = torch.empty(0)  # labels, which scoring does not need
        batches = [
            (torch.from_numpy(pixels[i : i + 64]), none, np.arange(i, min(i + 64, len(pixels))))
            for i in range(0, len(pixels), 64)
        ]
        _, probabilities = predict_probabilities(
            network, batches, to_unit_range=to_unit_range, device=torch.device("cpu"),
            precision="fp32", activation="softmax",
        )  # fmt: skip
        return probabilities[:, 1]

    threshold = _choose_max_f1(truth[val], score(bench.pixels[val]))
    near = np.flatnonzero(pair.near)
    tests = {"near": pair.near, "shifted": pair.shifted, **pair.others}
    stressed = near[:: -(-len(near) // _NUM_STRESSED)]
    return {
        "val": _summarize(truth[val], score(bench.pixels[val]), threshold),
        **{
            name: _summarize(truth[test], score(bench.pixels[test]), threshold)
            for name, test in tests.items()
        },
        **{
            name: _summarize(truth[stressed], score(change(bench.pixels[stressed])), threshold)
            for name, change in STRESSES.items()
        },
    }


def _choose_max_f1(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    thresholds = np.unique(scores)
    decided = scores[None, :] >= thresholds[:, None]
    hits = (decided & truth).sum(axis=1)
    return float(thresholds[np.argmax(2 * hits / (decided.sum(axis=1) + truth.sum()))])


def _summarize(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float
) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, log_loss

    positive = scores >= threshold
    return {
        "auroc": round(auroc_score(truth, scores) or 0.0, 5),
        "ap": round(float(average_precision_score(truth, scores)), 5),
        "log_loss": round(float(log_loss(truth, np.clip(scores, 1e-7, 1 - 1e-7))), 5),
        "sensitivity": round(float(positive[truth].mean()), 4),
        "specificity": round(float((~positive)[~truth].mean()), 4),
        "accuracy": round(float((positive == truth).mean()), 4),
    }


def _read_results() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def _append(row: Mapping[str, Any]) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _read_facts() -> dict[str, dict[str, Any]]:
    return json.loads(FACTS.read_text(encoding="utf-8")) if FACTS.exists() else {}


def _note_facts(pairs: list[Pair]) -> list[Pair]:
    """Keep what the page says about these pairs."""
    facts = _read_facts() | {
        pair.name: {
            "what": pair.what,
            "train": int(pair.train.sum()),
            "near": int(pair.near.sum()),
            "shifted": int(pair.shifted.sum()),
            "domain": {label: round(value, 3) for label, value in pair.domain_auroc.items()},
            "control": {label: round(value, 3) for label, value in pair.control_auroc.items()},
        }
        for pair in pairs
    }
    FACTS.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return pairs


def describe(rows: list[dict[str, Any]], facts: dict[str, dict[str, Any]]) -> str:
    """Return the page of the results: the pairs, and each recipe on them."""
    drawn = {name: fact for name, fact in facts.items() if name.startswith(PREFIX)}
    real = {name: fact for name, fact in facts.items() if name not in drawn}
    lines = [_HEAD, *_describe_pairs(real)]
    lines += [_BETWEEN, *_describe_recipes(rows, real)] if rows else []
    lines += [PHANTOMS, *_describe_pairs(drawn), "", *describe_phantoms(rows)] if drawn else []
    return "\n".join([*lines, ""])


def _describe_pairs(facts: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| pair | what differs | train | near | shifted | AUROC, NORMAL | AUROC, PNEUMONIA "
        "| random halves |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, fact in facts.items():
        counts = " | ".join(str(fact[part]) for part in ("train", "near", "shifted"))
        domain = " | ".join(f"{value:.3f}" for value in fact["domain"].values())
        halves = ", ".join(f"{value:.2f}" for value in fact["control"].values())
        lines.append(f"| {name} | {fact['what']} | {counts} | {domain} | {halves} |")
    return lines


def _describe_recipes(rows: list[dict[str, Any]], facts: dict[str, dict[str, Any]]) -> list[str]:
    """Return a row for each recipe and network: means over pairs and seeds, and the lowest."""
    far = [name for name, fact in facts.items() if not fact["what"].startswith("control")]
    recipes = dict.fromkeys((row["recipe"], row["size"]) for row in rows)
    lines = [
        "| recipe | network | runs | VAL AP | near AUROC | shifted AUROC (lowest) "
        "| shifted log loss | shifted sensitivity | shifted specificity "
        "| stressed AUROC (worst change) | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe, size in recipes:
        own = [r for r in rows if (r["recipe"], r["size"]) == (recipe, size) and r["pair"] in far]
        for network in NETWORKS if own else ():
            parts = [row[network] for row in own if network in row]
            shifted = [part["shifted"] for part in parts]
            stressed = {
                name: statistics.mean(part[name]["auroc"] for part in parts) for name in STRESSES
            }
            worst = min(stressed, key=stressed.__getitem__)
            lowest = min(part["auroc"] for part in shifted)
            cells = [
                f"{recipe}, {size} px",
                network,
                str(len(parts)),
                f"{statistics.mean(part['val']['ap'] for part in parts):.4f}",
                f"{statistics.mean(part['near']['auroc'] for part in parts):.4f}",
                f"{statistics.mean(part['auroc'] for part in shifted):.4f} ({lowest:.4f})",
                f"{statistics.mean(part['log_loss'] for part in shifted):.3f}",
                f"{statistics.mean(part['sensitivity'] for part in shifted):.3f}",
                f"{statistics.mean(part['specificity'] for part in shifted):.3f}",
                f"{statistics.mean(stressed.values()):.4f} ({worst} {stressed[worst]:.4f})",
                f"{statistics.median(row['seconds'] for row in own):.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
