"""Lines from what the probes have found: one for all that is well, one for each that is not."""

from pathlib import Path

import pytest

from medimg_baseline_cls.pipeline.steps import library_checks
from medimg_baseline_cls.pipeline.steps.library_checks import (
    check_codecs,
    check_decoding,
    check_device,
    check_hub,
    check_imports,
)
from medimg_baseline_cls.pipeline.steps.probe_child import HUB_ID
from medimg_baseline_cls.pipeline.steps.probes import Probed

DEVICE = Probed({"kind": "cpu", "text": "CPU with 2 threads, fp32", "num_threads": 2, "cuda": ""})
STEP = Probed({"speed": 12.345, "step": "vit, steps of 4 images of 96 px", "hub_id": "timm/vit"})


def cache(*weights, is_offline=False):
    found = {"place": "/c", "is_offline": is_offline, "endpoint": "https://hub"}
    return Probed({**found, "weights": [list(item) for item in weights]})


def by_name(lines):
    return {line.name: line for line in lines}


def test_libraries_that_load_are_one_line():
    results = {"import torch": Probed(seconds=1.5), "import PIL": Probed(seconds=0.25)}
    (line,) = check_imports({**results, "process torch": Probed()})
    assert (line.status, line.found) == ("ok", "2 libraries load, in 1.8 s")


def test_a_library_is_named_as_pip_names_it():
    (line,) = check_imports({"import PIL": Probed(error="ImportError: no")})
    assert (line.name, line.status) == ("pillow", "error")
    assert line.advice == "Reinstall: pip install --force-reinstall pillow."


def test_the_speed_of_a_step_is_shown():
    device, training = check_device({"device": DEVICE, "step": STEP})
    assert device.status == training.status == "ok"
    assert training.found == "12.3 images/s (vit, steps of 4 images of 96 px)"


def test_a_network_that_does_not_exist_is_not_blamed_on_libraries():
    step = Probed(error="ModelError: there is no network 'rsnet18'")
    _, training = check_device({"device": DEVICE, "step": step})
    assert training.status == "error"
    assert training.advice == "Correct --arch or --image-size."


def test_a_step_that_was_not_reached_is_an_error():
    _, training = check_device({"device": DEVICE})
    assert training.status == "error"
    assert "not tried" in training.found
    (device,) = check_device({})
    assert device.status == "error"


def test_a_driver_that_torch_does_not_use_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(library_checks, "_NVIDIA", tmp_path / "version")
    results = {"device": DEVICE, "step": STEP}
    assert check_device(results)[0].status == "ok"
    (tmp_path / "version").touch()
    device, _ = check_device(results)
    assert device.status == "warning"
    assert "build without CUDA" in device.found


@pytest.mark.parametrize(
    ("missing", "status"), [({}, "ok"), ({"JPEG": "no"}, "error"), ({"WebP": "no"}, "warning")]
)
def test_a_codec_that_everybody_needs_is_an_error(missing, status):
    results = {
        "codecs": Probed({"tried": ["JPEG", "PNG", "WebP"], "missing": missing}),
        "dicom": Probed({"missing": [], "absent": []}),
    }
    assert by_name(check_codecs(results))["codecs"].status == status


def test_an_extra_that_is_absent_is_no_fault():
    results = {
        "codecs": Probed({"tried": ["PNG"], "missing": {}}),
        "dicom": Probed({"missing": ["JPEG-LS"], "absent": ["nifti"]}),
    }
    lines = by_name(check_codecs(results))
    assert lines["dicom"].status == "warning"
    assert lines["nifti"].status == lines["parquet"].status == "ok"
    assert "pip install 'medimg-baseline-cls[nifti]'" in lines["nifti"].found
    assert lines["parquet"].found == "installed"


def test_broken_codecs_are_errors():
    lines = by_name(check_codecs({}))
    assert lines["codecs"].status == lines["dicom"].status == "error"


def test_a_data_set_is_described():
    found = {
        "kind": "class folders",
        "task": "multiclass",
        "num_images": 1,
        "class_names": ["A", "B", "C", "D", "E"],
        "path": "A/1.png",
        "width": 3,
        "height": 2,
        "mode": "L",
    }
    _, line = check_decoding({"decode": Probed(), "data": Probed(found)}, data=Path("d"))
    assert line.found == (
        "class folders, 1 image, multiclass: A, B, C, D, ...; A/1.png decoded: 3 x 2, L"
    )


def test_a_data_set_that_is_refused_is_an_error_and_a_slow_one_a_warning():
    drawn = {"decode": Probed()}
    refused = Probed(error="DataError: d has no class folders.")
    _, line = check_decoding({**drawn, "data": refused}, data=Path("d"))
    assert (line.status, line.found) == ("error", "d has no class folders.")
    slow = Probed(error="it does not end within 30 s")
    _, line = check_decoding({**drawn, "data": slow}, data=Path("d"))
    assert line.status == "warning"
    assert "medimg check d" in line.advice


def test_a_hub_that_answers_is_fine():
    results = {"cache": cache(), "hub": Probed({"is_reachable": True})}
    assert [line.status for line in check_hub(results, weights=None)] == ["ok", "ok"]


@pytest.mark.parametrize("is_offline", [True, False])
def test_without_the_hub_its_cache_is_enough(is_offline):
    silent = Probed({"is_reachable": False})
    without = {"cache": cache(is_offline=is_offline), "hub": silent}
    hub, _ = check_hub(without, weights=None)
    assert hub.status == "warning"
    assert "--weights" in hub.advice and "--no-pretrained" in hub.advice
    assert ("HF_HUB_OFFLINE" in hub.found) == is_offline
    cached = {**without, "cache": cache((HUB_ID, "/c/file", ""), is_offline=is_offline)}
    hub, weights = check_hub(cached, weights=None)
    assert hub.status == "ok"
    assert HUB_ID in weights.found


@pytest.mark.parametrize(
    ("hub_id", "status"), [("timm/vit", "warning"), (HUB_ID, "ok"), ("", "ok")]
)
def test_the_weights_in_the_cache_must_be_those_of_the_network(hub_id, status):
    step = Probed({**STEP.found, "hub_id": hub_id})  # "" for one without pretrained weights
    silent = {"cache": cache((HUB_ID, "/c/file", "")), "hub": Probed({"is_reachable": False})}
    hub, _ = check_hub({**silent, "step": step}, weights=None)
    assert hub.status == status
    assert (f"{hub_id} is not in its cache" in hub.found) == (status == "warning")


def test_a_foreign_file_in_the_cache_is_an_error_and_counts_as_none():
    foreign = cache((HUB_ID, "/c/file", "it is a web page"))
    results = {"cache": foreign, "hub": Probed({"is_reachable": False})}
    hub, weights, listed = check_hub(results, weights=None)
    assert hub.status == "warning"
    assert weights.status == "error"
    assert "/c/file" in weights.advice
    assert listed.found == "none in /c"


def test_a_foreign_file_of_weights_is_an_error(tmp_path):
    results = {"cache": cache(), "hub": Probed({"is_reachable": True})}
    path = tmp_path / "w.pth"
    path.write_bytes(b"<html>")
    lines = check_hub(results, weights=path)
    assert [line.status for line in lines if line.name == "weights"] == ["error", "ok"]


def test_a_broken_hub_library_is_an_error():
    (line,) = check_hub({"cache": Probed(error="ImportError: no")}, weights=None)
    assert (line.name, line.status) == ("hub", "error")


def test_a_machine_that_is_too_busy_is_a_warning():
    results = {"import torch": Probed(error="it does not end within 60 s")}
    (line,) = check_imports(results)
    assert line.status == "warning"
    assert "--seconds 300" in line.advice
    assert [line.status for line in check_device(results)] == ["warning"]
