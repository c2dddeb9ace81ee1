"""The probes of `medimg doctor` that load foreign libraries: run in a process of their own.

`python -P -m ... GROUP JSON` writes a line of JSON before and after each probe of a group, so that
whoever reads them knows what was under way when the process crashed or hung. A probe that raises
is a line too. Nothing is written to any disk.
"""

import importlib
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ARCH, IMAGE_SIZE, HUB_ID = "resnet18", 224, "timm/resnet18.a1_in1k"
REACH_SECONDS = 2.0
_NUM_IMAGES = {"mps": 16, "cuda": 32}
_MOST_STEPS, _STEP_SECONDS = 5, 0.3
_GRADIENT = range(0, 256, 16)

Probe = Callable[[], Mapping[str, Any]]


def main(group: str, request: Mapping[str, Any]) -> None:
    """Run the probes of a group one after the other."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print is not for the reader of this pipe
        _send(out, f"process {group}", seconds=0.0)
        for name, probe in list_probes(group, request).items():
            _send(out, name, begin=True)
            start = time.monotonic()
            try:
                found = {"found": dict(probe())}
            except BaseException as error:  # a broken library raises anything, SystemExit too
                found = {"error": _describe(error)}
            _send(out, name, seconds=time.monotonic() - start, **found)
    os._exit(0)  # a thread that waits for the network must not be waited for


def list_probes(group: str, request: Mapping[str, Any]) -> dict[str, Probe]:
    """Return the probes of a group by name; `request` has the paths and network to look at."""
    if group == "torch":
        libraries = ("numpy", "torch", "torchvision", "timm", "accelerate")
        arch, image_size = request.get("arch", ARCH), int(request.get("image_size", IMAGE_SIZE))
        step = partial(_train_step, arch, image_size)
        return {**_imports(*libraries), "device": _find_device, "step": step}
    if group == "images":
        probes: dict[str, Probe] = {
            **_imports("numpy", "PIL.Image", "pydicom"),
            "codecs": _try_codecs,
            "dicom": _list_decoders,
            "decode": _decode_drawn,
        }
        if request.get("data"):
            probes["data"] = partial(_look_at_data, Path(request["data"]))
        return probes
    return {"cache": _list_weights, "hub": _reach_hub}


def _send(out: io.TextIOBase, name: str, **content: Any) -> None:
    out.write(json.dumps({"name": name, **content}) + "\n")
    out.flush()


def _describe(error: BaseException) -> str:
    """Return the kind of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _imports(*names: str) -> dict[str, Probe]:
    return {f"import {name.partition('.')[0]}": partial(_load, name) for name in names}


def _load(name: str) -> Mapping[str, Any]:
    importlib.import_module(name)
    package = sys.modules[name.partition(".")[0]]
    return {"version": str(getattr(package, "__version__", ""))}


def _find_device() -> Mapping[str, Any]:
    import torch

    from medimg_baseline_cls.utils.device import choose_device, choose_precision, describe_device

    device = choose_device("auto")
    precision = choose_precision("auto", device)
    return {
        "kind": device.type,
        "text": describe_device(device, precision),
        "num_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "",
    }


def _train_step(arch: str, image_size: int) -> Mapping[str, Any]:
    """Train a few steps from random weights, on noise, and return the speed after the first."""
    import torch

    from medimg_baseline_cls.models.build import build_model, find_hub_id
    from medimg_baseline_cls.utils.device import (
        autocast,
        choose_device,
        choose_precision,
        tune_allocator,
    )

    tune_allocator()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    net = build_model(arch, pretrained=False, image_size=image_size).to(device).train()
    num_images = _NUM_IMAGES.get(device.type, 4)
    images = torch.rand(num_images, 3, image_size, image_size, device=device)
    labels = torch.arange(num_images, device=device) % 2
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    seconds: list[float] = []
    while len(seconds) <= _MOST_STEPS and sum(seconds[1:]) < _STEP_SECONDS:
        start = time.monotonic()
        with autocast(device, precision):
            loss = torch.nn.functional.cross_entropy(net(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()  # waits for the device
        seconds.append(time.monotonic() - start)
        if value != value:
            raise ValueError(f"the loss is {value}")
    return {
        "speed": num_images * (len(seconds) - 1) / sum(seconds[1:]),
        "num_images": num_images,
        "step": f"{arch}, steps of {num_images} images of {image_size} px",
        "hub_id": find_hub_id(arch, image_size=image_size) or "",
    }


def _try_codecs() -> Mapping[str, Any]:
    """Write and read a small image in memory in each format."""
    formats: dict[str, tuple[str, dict[str, Any]]] = {
        "JPEG": ("JPEG", {}),
        "PNG": ("PNG", {}),
        "TIFF": ("TIFF", {"compression": "tiff_lzw"}),
        "JPEG 2000": ("JPEG2000", {}),
        "WebP": ("WEBP", {}),
    }
    missing: dict[str, str] = {}
    for name, (kind, options) in formats.items():
        try:
            _draw(kind, **options).load()
        except Exception as error:  # what Pillow raises depends on what it lacks
            missing[name] = _describe(error)
    return {"tried": [*formats], "missing": missing}


def _draw(kind: str, **options: Any) -> Any:
    """Return an image that was written in a format, not yet decoded."""
    from PIL import Image

    file = io.BytesIO()
    drawn = Image.new("L", (64, 64))
    drawn.putdata([_GRADIENT[x // 4] for _ in range(64) for x in range(64)])
    drawn.save(file, kind, **options)
    return Image.open(file)


def _list_decoders() -> Mapping[str, Any]:
    from importlib.util import find_spec

    from medimg_baseline_cls.data.read.dicom import list_missing_decoders

    extras = {"nifti": "nibabel", "parquet": "pyarrow"}
    absent = [extra for extra, package in extras.items() if find_spec(package) is None]
    return {"missing": list_missing_decoders(), "absent": absent}


def _decode_drawn() -> Mapping[str, Any]:
    from medimg_baseline_cls.data.read import decode_image

    data = _draw("PNG").fp.getvalue()
    row = decode_image(data, color="grey").pixels[0].tolist()
    if row != [_GRADIENT[x // 4] for x in range(64)]:
        raise ValueError("a PNG is decoded with other pixels than were written")
    return {}


def _look_at_data(data: Path) -> Mapping[str, Any]:
    """List a data set, or take a single file, and decode its first image."""
    from medimg_baseline_cls.config import Config
    from medimg_baseline_cls.data.image_bytes import open_source
    from medimg_baseline_cls.data.read import decode_image, is_image_name
    from medimg_baseline_cls.pipeline.steps.listing import find_root, list_data, source_settings

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        if data.is_file() and is_image_name(data.name):
            root, path = data.parent, data.name
        else:
            config = Config(**source_settings(data))
            listing = list_data(config, cache_dir=Path(place))
            found = {"kind": listing.kind, "task": listing.task, "num_images": len(listing.files)}
            found["class_names"] = list(listing.class_names)
            root, path = find_root(config), listing.files[0].path
        decoded = decode_image(open_source(root, cache_dir=Path(place)).read(path), color="grey")
    shape = {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
    return {**found, "path": path, **shape}


def _list_weights() -> Mapping[str, Any]:
    from huggingface_hub import constants

    from medimg_baseline_cls.models.hub import list_cached_weights

    weights = list_cached_weights(Path(constants.HF_HUB_CACHE))
    return {
        "place": constants.HF_HUB_CACHE,
        "is_offline": bool(constants.HF_HUB_OFFLINE),
        "endpoint": constants.ENDPOINT,
        "weights": [[item.hub_id, str(item.path), item.fault] for item in weights],
    }


def _reach_hub() -> Mapping[str, Any]:
    """Ask the hub in a thread, since the time that a name server takes has no limit."""
    from medimg_baseline_cls.models.hub import is_hub_reachable

    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(is_hub_reachable(REACH_SECONDS)), daemon=True
    )
    thread.start()
    thread.join(REACH_SECONDS)
    return {"is_reachable": any(answers)}


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
