"""Turn what the probes of `medimg doctor` have found into lines; no library is loaded here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medimg_baseline_cls.models.hub import describe_foreign
from medimg_baseline_cls.pipeline.steps.machine_checks import Check, Status
from medimg_baseline_cls.pipeline.steps.probe_child import HUB_ID
from medimg_baseline_cls.pipeline.steps.probes import Probed
from medimg_baseline_cls.utils.quantities import say_count

Results = Mapping[str, Probed]

_DISTRIBUTIONS = {"PIL": "pillow"}
_TOGETHER = ("torch", "torchvision")
_NEEDED_CODECS = ("JPEG", "PNG")
_NVIDIA = Path("/proc/driver/nvidia/version")
_NOT_TRIED = "not tried: a library that it needs does not load"
_FILL = "or fill the hub cache where there is network and copy it (HF_HOME)"


def check_imports(results: Results) -> list[Check]:
    """Check that libraries load: one line for each that does not, else one for all."""
    lines: list[Check] = []
    probed = {k.partition(" ")[2]: v for k, v in results.items() if k.startswith("import ")}
    for name, result in probed.items():
        if result.error:
            package = _DISTRIBUTIONS.get(name, name)
            reinstalled = " ".join(_TOGETHER) if name in _TOGETHER else package
            advice = f"Reinstall: pip install --force-reinstall {reinstalled}."
            if result.is_late:
                advice = f"Try again with --seconds 300; if it still hangs: {advice.lower()}"
            found = f"cannot be loaded: {result.error}"
            lines.append(Check(package, _rate(results), found, advice))
    for name, result in results.items():
        if name.startswith("process ") and result.error:
            advice = "Check the installation of Python and of medimg."
            lines.append(Check(name, "error", f"cannot be started: {result.error}", advice))
    if not lines:
        seconds = sum(result.seconds for result in probed.values())
        lines.append(Check("loading", "ok", f"{len(probed)} libraries load, in {seconds:.1f} s"))
    return lines


def list_loaded(results: Results) -> dict[str, str]:
    """Return the versions of the libraries that were loaded, by the names they load by."""
    return {
        name.partition(" ")[2]: str(result.found.get("version", ""))
        for name, result in results.items()
        if name.startswith("import ")
    }


def check_device(results: Results) -> list[Check]:
    """Check where and how precisely to compute, and how fast a training step is."""
    device, step = results.get("device", Probed()), results.get("step", Probed())
    if device.error or not device.found:
        found = device.error or _NOT_TRIED
        return [Check("device", _rate(results), found, "Repair the libraries first.")]
    text, advice = str(device.found["text"]), ""
    status: Status = "ok"
    if device.found["kind"] == "cpu" and _NVIDIA.is_file():
        cuda = device.found["cuda"]
        reason = f"torch is built for CUDA {cuda}" if cuda else "torch is a build without CUDA"
        text += f"; there is an NVIDIA driver, but {reason}"
        status, advice = "warning", "Install the build of torch for your driver (pytorch.org)."
    lines = [Check("device", status, text, advice)]
    if step.error or not step.found:
        advice = "Repair the libraries first, or close other programs if memory is short."
        if step.error.startswith("ModelError"):
            advice = "Correct --arch or --image-size."
        return [*lines, Check("training", _rate(results), step.error or _NOT_TRIED, advice)]
    speed = f"{float(step.found['speed']):.3g} images/s"
    return [*lines, Check("training", "ok", f"{speed} ({step.found['step']})")]


def check_codecs(results: Results) -> list[Check]:
    """Check which image formats can be read."""
    lines: list[Check] = []
    codecs, dicom = results.get("codecs", Probed()), results.get("dicom", Probed())
    missing: Mapping[str, str] = codecs.found.get("missing", {})
    if codecs.error or not codecs.found:
        advice = "Repair Pillow first: pip install --force-reinstall pillow."
        lines.append(Check("codecs", _rate(results), codecs.error or _NOT_TRIED, advice))
    elif missing:
        status: Status = "warning" if missing.keys().isdisjoint(_NEEDED_CODECS) else "error"
        found = f"Pillow cannot read {', '.join(missing)} ({next(iter(missing.values()))})"
        advice = "Install a complete build: pip install --force-reinstall pillow."
        lines.append(Check("codecs", status, found, advice))
    else:
        lines.append(Check("codecs", "ok", ", ".join(codecs.found["tried"])))
    if dicom.error or not dicom.found:
        advice = "Repair pydicom first: pip install --force-reinstall pydicom."
        return [*lines, Check("dicom", _rate(results), dicom.error or _NOT_TRIED, advice)]
    if dicom.found["missing"]:
        found = f"compressed files cannot be read: {', '.join(dicom.found['missing'])}"
        advice = "If yours are: pip install 'medimg-baseline-cls[dicom]'."
        lines.append(Check("dicom", "warning", found, advice))
    else:
        lines.append(Check("dicom", "ok", "uncompressed and compressed files"))
    absent = dicom.found["absent"]
    more = f"not installed; if you need it: pip install 'medimg-baseline-cls[{','.join(absent)}]'"
    lines += [
        Check(name, "ok", more if name in absent else "installed") for name in ("nifti", "parquet")
    ]
    return lines


def check_decoding(results: Results, *, data: Path | None) -> list[Check]:
    """Check that an image is decoded, and what the data set is."""
    drawn, looked = results.get("decode", Probed()), results.get("data", Probed())
    if drawn.error:
        advice = "Repair the libraries of the lines above first."
        lines = [Check("decoding", _rate(results), drawn.error, advice)]
    else:
        lines = [Check("decoding", "ok", "an image that was drawn in memory")]
    if data is None:
        return lines
    if looked.error or not looked.found:
        reason = looked.error.partition(": ")[2] or looked.error or _NOT_TRIED
        advice = f"`medimg check {data}` looks at every file."
        found = reason if str(data) in reason else f"{data}: {reason}"
        return [*lines, Check("data", _rate(results), found, advice)]
    return [*lines, Check("data", "ok", _describe_data(looked.found))]


def check_hub(results: Results, *, weights: Path | None) -> list[Check]:
    """Check whether the hub answers, and the weights of its cache and of a file."""
    cache, hub = results.get("cache", Probed()), results.get("hub", Probed())
    lines: list[Check] = []
    if weights is not None and (fault := describe_foreign(weights)):
        advice = "Pass another file with --weights, .safetensors or .pth."
        lines.append(Check("weights", "error", f"{weights}: {fault}", advice))
    if cache.error or not cache.found:
        advice = "Reinstall: pip install --force-reinstall huggingface-hub."
        return [*lines, Check("hub", _rate(results), cache.error or _NOT_TRIED, advice)]
    found: list[tuple[str, str, str]] = [(a, b, c) for a, b, c in cache.found["weights"]]
    good = sorted({name for name, _, fault in found if not fault})
    for name, path, fault in found:
        if fault:
            advice = f"Delete {path}, then download it again: hf download {name}."
            lines.append(Check("weights", "error", f"{name}: {fault}", advice))
    hub_id = str(results.get("step", Probed()).found.get("hub_id", HUB_ID))
    has_weights = hub_id in ("", *good) or weights is not None
    place = cache.found["place"]
    listed = f"{', '.join(good)} in {place}" if good else f"none in {place}"
    if weights is not None and not describe_foreign(weights):
        listed = f"{weights}; {listed}"
    lines.append(Check("weights", "ok", listed))
    return [_check_reach(cache.found, hub, needed="" if has_weights else hub_id), *lines]


def _rate(results: Results) -> Status:
    """Return how bad a failure is: of a machine that is too busy, nobody knows."""
    return "warning" if any(result.is_late for result in results.values()) else "error"


def _check_reach(cache: Mapping[str, Any], hub: Probed, *, needed: str) -> Check:
    endpoint = cache["endpoint"]
    if hub.found.get("is_reachable"):
        return Check("hub", "ok", f"{endpoint} answers")
    reason = f"{endpoint} does not answer"
    if cache["is_offline"]:
        reason = "offline mode (HF_HUB_OFFLINE)"
    elif hub.error:
        reason = f"{endpoint}: {hub.error}"
    if not needed:
        return Check("hub", "ok", f"{reason}; weights are here")
    advice = f"Pass a file with --weights, use --no-pretrained, {_FILL}."
    return Check("hub", "warning", f"{reason}, and {needed} is not in its cache", advice)


def _describe_data(found: Mapping[str, Any]) -> str:
    shape = f"{found['path']} decoded: {found['width']} x {found['height']}, {found['mode']}"
    if "kind" not in found:
        return shape
    names = found["class_names"]
    classes = f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
    count = say_count(found["num_images"], "images")
    return f"{found['kind']}, {count}, {found['task']}: {classes}; {shape}"
