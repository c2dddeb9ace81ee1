"""The example of a package of others: installed by its entry points alone, each door is used.

What `pip install` would write is written here: the modules, and a .dist-info that names them.
"""

import csv
import json
import shutil
import struct
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import recall_score

from medimg_baseline_cls import compare, evaluate, explain, report, run, track
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Policy, make_augmenter
from medimg_baseline_cls.data.read import decode_image, is_image_name, read_header, sniff_format
from medimg_baseline_cls.data.read.image import ImageReader
from medimg_baseline_cls.errors import BadImageError, ConfigError
from medimg_baseline_cls.evaluation.added import list_criteria
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals, draw_part
from medimg_baseline_cls.evaluation.split_summary import measure_counts, summarize_predictions
from medimg_baseline_cls.interpret.methods import CamMethod, find_method
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.records.summaries import read_summary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.metrics import ConfusionCounts
from medimg_baseline_cls.statistics.threshold_rules import CRITERIA
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.plugins import load_plugin, load_plugins

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "medimg_example_plugin"
Groups = dict[str, dict[str, str]]
SLOPE, YOUDEN = "plugin:discrimination_slope", "plugin:youden_j"


def install(site: Path, groups: Groups, *, name: str = "medimg-example-plugin") -> None:
    info = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages in front of all others."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    load_plugins.cache_clear()
    yield folder
    load_plugins.cache_clear()
    for module in [m for m in sys.modules if m.startswith(("medimg_example_plugin", "other_"))]:
        del sys.modules[module]


@pytest.fixture
def example(site: Path) -> Path:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(site, project["entry-points"], name=project["name"])
    shutil.copytree(EXAMPLE / "src" / "medimg_example_plugin", site / "medimg_example_plugin")
    return site


def write_demo(path: Path, pixels: np.ndarray) -> bytes:
    data = b"DEMO" + struct.pack(">HH", *pixels.shape) + pixels.tobytes()
    path.write_bytes(data)
    return data


def test_without_the_package_its_format_is_unknown(site: Path, tmp_path: Path) -> None:
    data = write_demo(tmp_path / "a.demo", np.zeros((4, 6), np.uint8))
    assert not is_image_name("a.demo") and sniff_format(data + bytes(1024)) == ""
    with pytest.raises(BadImageError):
        decode_image(data, color="grey")
    with pytest.raises(ConfigError, match=r"plugin:gentle is not there.*there are none"):
        make_augmenter("plugin:gentle", horizontal_flip=False, seed=0)


def test_its_reader_reads_its_format(example: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    data = write_demo(tmp_path / "a.demo", pixels)
    assert is_image_name("A.DEMO") and sniff_format(data) == "DEMO"
    np.testing.assert_array_equal(decode_image(data, color="grey").pixels, pixels)
    header = read_header(data)
    assert (header.height, header.width) == (40, 60)
    with pytest.raises(BadImageError, match="its header says otherwise"):
        decode_image(data[:-1], color="grey")


def test_its_policy_and_map_are_found_by_name(example: Path) -> None:
    policy = load_plugin("augmentations", "plugin:gentle", expected=Policy)
    assert policy == Policy(rotation=2, brightness=0.02)
    assert Config(augment="plugin:gentle").augment == "plugin:gentle"
    assert make_augmenter("plugin:gentle", horizontal_flip=False, seed=0) is not None
    assert find_method("plugin:gradient").label == "Gradient"
    assert list(list_criteria("plugin:youden")) == [*CRITERIA, "plugin:youden"]
    assert Config(operating_point="plugin:youden").operating_point == "plugin:youden"
    told = collect_environment(["medimg"])["plugins"]
    assert told["medimg_baseline_cls.readers: demo"] == "medimg-example-plugin 0.1.0"


def test_a_run_uses_every_door(example: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", num_train=24, num_test=12, image_size=64, seed=3)
    tracker = import_module("medimg_example_plugin.tracker")
    network = import_module("medimg_example_plugin.network")
    settings: dict[str, Any] = {"head_epochs": 0, "finetune_epochs": 1, "batch_size": 8}
    config = Config(
        data_dir=tmp_path / "data",
        output_dir=tmp_path,
        image_size=64,
        num_resamples=50,
        val_fraction=0.3,
        num_hard_examples=1,
        pretrained=False,
        augment="plugin:gentle",
        operating_point="plugin:youden",
        **settings,
    )
    events = tmp_path / "events.jsonl"
    model = network.TwoLayers(num_classes=2)
    run_dir = run(config, callbacks=[tracker.JsonLines(events)], model=model).run_dir
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "epoch", "end"]
    explain(run_dir, method="plugin:gradient", model=model)
    panels = [*run_dir.glob("plugin_gradient/F?/*_plugin_gradient_*.png")]
    assert len(panels) == len([*run_dir.glob("gradcam/F?/*.png")])
    check_run(run_dir)
    compare([run_dir, run_dir], output=tmp_path / "compared")
    rows = (tmp_path / "compared" / "comparison.csv").read_text().splitlines()
    columns = {(row.split(",")[1], row.split(",")[2]) for row in rows}
    assert {("", SLOPE), ("plugin:youden", YOUDEN)} <= columns
    shutil.rmtree(example)
    load_plugins.cache_clear()
    (run_dir / "report.html").unlink()
    report(run_dir)
    check_page(run_dir)
    with pytest.raises(ConfigError, match=r"plugin:youden is not there: no installed package"):
        evaluate(run_dir, model=model)
    check_run(run_dir)


def check_run(run_dir: Path) -> None:
    """JSON, CSV and page have the metrics and the rule of the package."""
    for split in ("val", "test"):
        summary = read_summary(run_dir / f"{split}_summary.json")
        assert summary.positive_class is not None
        block = summary.classes[summary.positive_class]
        assert block.metrics[SLOPE].interval is not None
        for point in block.operating_points.values():
            rates = [point.metrics[m].value or 0.0 for m in ("sensitivity", "specificity")]
            assert point.metrics[YOUDEN].value == pytest.approx(sum(rates) - 1)
        assert list(block.operating_points) == [*CRITERIA, "plugin:youden", "default"]
        assert block.operating_points["plugin:youden"].is_resampled
    with (run_dir / "tables" / "operating_points.csv").open(encoding="utf-8", newline="") as file:
        cells = [*csv.DictReader(file)]
    assert any(row["metric"] == YOUDEN for row in cells)
    assert any(row["operating_point"] == "Youden (plugin)" for row in cells)
    check_page(run_dir)


def check_page(run_dir: Path) -> None:
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    for words in ("Discrimination slope (plugin)", "Youden j (plugin)", "Youden (plugin)"):
        assert words in page
    assert "highest sensitivity + specificity on VAL" in page


def make_part(split: str, *, num_images: int, seed: int) -> Predictions:
    random = np.random.default_rng(seed)
    labels = np.arange(num_images) % 2
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)
    ids = tuple(f"{split}{number}" for number in range(num_images))
    groups = tuple(f"p{number // 4}_{number % 2}" for number in range(num_images))
    return Predictions(
        split, ("A", "B"), ids, ids, groups, labels, np.stack([1 - scores, scores], axis=1)
    )


def test_its_rule_takes_the_best_threshold_of_a_plain_search(example: Path) -> None:
    val = make_part("val", num_images=60, seed=1)
    points = choose_thresholds(
        val, classes=["B"], target_sensitivity=0.9, operating_point="plugin:youden"
    )["B"]
    truth, scores = val.labels == 1, val.probabilities[:, 1]
    by_j = [
        (recall_score(truth, scores >= cut) + recall_score(~truth, scores < cut), cut)
        for cut in np.unique(scores)
    ]
    assert {p.rule: p.value for p in points}["plugin:youden"] == max(by_j)[1]
    one_class = replace(val, labels=np.ones(60, dtype=np.int64))
    chosen = choose_thresholds(
        one_class, classes=["B"], target_sensitivity=0.9, operating_point="plugin:youden"
    )["B"]
    assert [p.rule for p in chosen] == [*CRITERIA, "default"], "undefined without negatives"


def test_its_metrics_are_resampled_by_patient_with_the_rule_chosen_again(example: Path) -> None:
    parts = [make_part(s, num_images=40, seed=n) for n, s in enumerate(("val", "test"))]
    points = choose_thresholds(
        parts[0], classes=["B"], target_sensitivity=0.9, operating_point="plugin:youden"
    )
    plain = {p.split: summarize_predictions(p, points, positive_class="B") for p in parts}
    how = Resampling(num_resamples=60, seed=3)
    test = add_intervals(plain, parts, target_sensitivity=0.9, resampling=how)["test"].classes["B"]
    slopes, rated = [], []
    weights = [draw_part(part, how) for part in parts]
    for rows in zip(*weights, strict=True):
        drawn = [np.repeat(np.arange(40), row) for row in rows]
        (val, val_scores), (truth, scores) = (
            (part.labels[kept] == 1, part.probabilities[kept, 1])
            for part, kept in zip(parts, drawn, strict=True)
        )
        cut = max(
            (recall_score(val, val_scores >= c) + recall_score(~val, val_scores < c), c)
            for c in np.unique(val_scores)
        )[1]
        slopes.append(scores[truth].mean() - scores[~truth].mean())
        rated.append(recall_score(truth, scores >= cut) + recall_score(~truth, scores < cut) - 1)
    point = test.operating_points["plugin:youden"]
    for estimate, values in ((test.metrics[SLOPE], slopes), (point.metrics[YOUDEN], rated)):
        assert estimate.bounds == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))


def test_an_undefined_metric_has_the_reason_of_its_package(example: Path) -> None:
    estimate = measure_counts(ConfusionCounts(tp=3, fp=0, fn=1, tn=0)).metrics[YOUDEN]
    assert estimate.to_json() == {"value": None, "reason": "all images are of one class"}


FAILING = {
    "raises": ("lambda **_: [][0]", r"IndexError: list index out of range"),
    "text": ("lambda **_: 'high'", r"ValueError: could not convert string to float: 'high'"),
    "exits": ("lambda **_: exit(5)", r"SystemExit: 5"),
    "infinite": ("lambda **_: float('inf')", r"ValueError: it returned inf, expected a number"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_metric_that_fails_is_one_sentence_with_its_package(site: Path, name: str) -> None:
    code, words = FAILING[name]
    (site / "other_metric.py").write_text(
        "from medimg_baseline_cls.evaluation.added import DecisionMetric\n"
        f"X = DecisionMetric(compute={code}, reason='never')\n"
    )
    group = "medimg_baseline_cls.decision_metrics"
    install(site, {group: {"odd": "other_metric:X"}}, name="other")
    with pytest.raises(ConfigError, match=rf"^plugin:odd of other 0\.1\.0 fails \({words}"):
        measure_counts(ConfusionCounts(tp=3, fp=0, fn=1, tn=2))


@pytest.mark.parametrize(
    ("code", "words"), [("1.0", r"the shape \(\)"), ("tp * float('nan')", "is NaN at every score")]
)
def test_a_rule_that_rates_no_score_is_one_sentence_with_its_package(
    site: Path, code: str, words: str
) -> None:
    (site / "other_rule.py").write_text(
        "from medimg_baseline_cls.evaluation.added import ThresholdRule\n"
        f"X = ThresholdRule(criterion=lambda tp, fp: {code}, description='odd')\n"
    )
    group = "medimg_baseline_cls.threshold_rules"
    install(site, {group: {"odd": "other_rule:X"}}, name="other")
    with pytest.raises(ConfigError, match=rf"plugin:odd of other 0\.1\.0 fails .*{words}"):
        choose_thresholds(
            make_part("val", num_images=8, seed=0),
            classes=["B"],
            target_sensitivity=0.9,
            operating_point="plugin:odd",
        )


BROKEN: dict[str, tuple[str, str]] = {
    "no module": ("nothing_here:X", r"cannot be loaded \(ModuleNotFoundError: .*nothing_here"),
    "no name": ("other_plugin:Y", r"cannot be loaded \(AttributeError: "),
    "exits": ("other_exiting:X", r"cannot be loaded \(SystemExit: 3\)"),
    "raises": ("other_raising:X", r"cannot be loaded \(ZeroDivisionError: division by zero\)"),
    "other type": ("other_plugin:X", "is a int, expected a CamMethod"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_one_sentence_with_its_package(site: Path, name: str) -> None:
    target, words = BROKEN[name]
    (site / "other_plugin.py").write_text("X = 1\n")
    (site / "other_exiting.py").write_text("raise SystemExit(3)\n")
    (site / "other_raising.py").write_text("X = 1 / 0\n")
    install(site, {"medimg_baseline_cls.cam_methods": {"bad": target}}, name="other")
    with pytest.raises(ConfigError, match=f"plugin:bad of other 0.1.0 {words}") as caught:
        load_plugin("cam_methods", "plugin:bad", expected=CamMethod)
    assert "\n" not in str(caught.value) and "fix or uninstall" in str(caught.value)


def test_a_name_in_two_packages_is_refused(site: Path) -> None:
    for name in ("one", "two"):
        install(site, {"medimg_baseline_cls.augmentations": {"same": "math:pi"}}, name=name)
    with pytest.raises(ConfigError, match=r"plugin:same is in one 0\.1\.0 and two 0\.1\.0"):
        load_plugin("augmentations", "same", expected=Policy)


def test_an_unknown_name_lists_those_that_are_there(example: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin:wild is not there.*there are plugin:gradient\."):
        find_method("plugin:wild")


def test_a_broken_reader_stops_a_command_with_its_name(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, {"medimg_baseline_cls.readers": {"bad": "nothing_here:X"}}, name="other")
    write_phantoms(tmp_path / "data", num_train=4, num_test=4, image_size=32, seed=0)
    outputs = str(tmp_path / "out")
    assert main(["check", str(tmp_path / "data"), "--output-dir", outputs]) == 2
    assert "plugin:bad of other 0.1.0 cannot be loaded" in capsys.readouterr().err


def test_a_reader_that_fails_on_foreign_bytes_is_named(site: Path) -> None:
    code = (
        "from medimg_baseline_cls.data.read.image import ImageReader\n"
        "X = ImageReader(name='ODD', suffixes=(), matches=lambda s: 1 / 0, decode=print,"
        " read_header=print)\n"
    )
    (site / "other_reader.py").write_text(code)
    install(site, {"medimg_baseline_cls.readers": {"odd": "other_reader:X"}}, name="other")
    assert isinstance(load_plugin("readers", "odd", expected=ImageReader), ImageReader)
    with pytest.raises(ConfigError, match="the reader ODD of another package fails on the first"):
        sniff_format(bytes(200))
    assert sniff_format(b"\x89PNG\r\n\x1a\n") == "PNG"


def test_help_looks_for_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for entry points")

    monkeypatch.setattr("importlib.metadata.entry_points", refuse)
    assert [main([*words, "--help"]) for words in ([], ["train"])] == [0, 0]


@pytest.mark.usefixtures("example")
def test_its_tracker_gets_the_record_of_a_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "chest_20260101-120000"
    run_dir.mkdir(parents=True)
    (run_dir / "config.json").write_text("{}")
    thresholds = {"classes": {"PNEUMONIA": {"max_f1": {"threshold": 0.25}}}}
    (run_dir / "thresholds.json").write_text(json.dumps(thresholds))
    track([run_dir], "plugin:latest")
    written = run_dir.with_name("chest_20260101-120000_metrics.json")
    assert json.loads(written.read_text()) == {"threshold/max_f1": 0.25}
