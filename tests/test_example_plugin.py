"""The example of a package of others: installed by its entry points alone, each door is used.

What `pip install` would write is written here: the modules, and a .dist-info that names them.
"""

import json
import shutil
import struct
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls import explain, run
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Policy, make_augmenter
from medimg_baseline_cls.data.read import decode_image, is_image_name, read_header, sniff_format
from medimg_baseline_cls.data.read.image import ImageReader
from medimg_baseline_cls.errors import BadImageError, ConfigError
from medimg_baseline_cls.interpret.methods import CamMethod, find_method
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.plugins import load_plugin, load_plugins

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "medimg_example_plugin"
Groups = dict[str, dict[str, str]]


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


BROKEN: dict[str, tuple[str, str]] = {
    "no module": ("nothing_here:X", r"cannot be loaded \(ModuleNotFoundError: .*nothing_here"),
    "no name": ("other_plugin:Y", r"cannot be loaded \(AttributeError: "),
    "raises": ("other_raising:X", r"cannot be loaded \(ZeroDivisionError: division by zero\)"),
    "other type": ("other_plugin:X", "is a int, expected a CamMethod"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_one_sentence_with_its_package(site: Path, name: str) -> None:
    target, words = BROKEN[name]
    (site / "other_plugin.py").write_text("X = 1\n")
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
