"""What the rivals' programs share: the job, the clock, the network and the figures of an epoch.

The programs train the network of the job from its weights, head first and then everything, as
the documentation of each library shows it.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torchvision
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

HEAD_RATE, RATE = 1e-3, 1e-4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Equal strength: medimg's policy "light".
DEGREES, SHIFT, ZOOM, BRIGHTNESS, CONTRAST = 5, 0.03, 0.05, 0.05, 0.1
WORKERS = os.cpu_count() or 1
NUM_CLASSES = 2
_HEADS = ("classifier", "fc", "class_layers", "attention", "myfc")  # the last three: MONAI's


@dataclass(frozen=True)
class Job:
    """What to train on and for how long.

    Attributes:
        data: folder of train/, val/ and test/.
        arch: "resnet18" or "densenet121"; of volumes MONAI's "DenseNet121" or "MILModel".
        slices: of each volume; 0: images.
        weights: a state dict to start from, without the classifier; None: random.
        fast: use every speed flag that is documented; `compiled`: torch.compile too.
        has_fast_bf16: whether bfloat16 is the faster arithmetic here.
        panels: Grad-CAM panels to draw after scoring TEST; 0: stop after training.
    """

    data: str
    result: str
    arch: str = "resnet18"
    image_size: int = 224
    slices: int = 0
    batch_size: int = 32
    head_epochs: int = 0
    finetune_epochs: int = 3
    weights: str | None = None
    fast: bool = False
    compiled: bool = False
    has_fast_bf16: bool = False
    panels: int = 0
    seed: int = 0


@dataclass
class Diary:
    """What a program tells of itself."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def steps(self, batches: Iterable[Any], *, stage: str, batch_size: int) -> Iterator[Any]:
        """Pass batches on, and note the speed between the first and the last of them."""
        marks: list[float] = []
        for batch in batches:
            yield batch
            marks.append(time.perf_counter())
        self.note_epoch(stage, marks=marks, batch_size=batch_size)

    def note_epoch(self, stage: str, *, marks: list[float], batch_size: int) -> None:
        num_steps = len(marks) - 1
        speed = num_steps * batch_size / (marks[-1] - marks[0]) if num_steps else None
        self.epochs.append({"stage": stage, "images_per_second": speed})

    def note_validation(self, labels: Any, scores: Any) -> float:
        """Note the average precision on VAL, and how long after its start the program knew it."""
        value = float(average_precision_score(labels, scores))
        elapsed = time.time() - psutil.Process().create_time()
        self.epochs[-1] |= {"val_ap": value, "elapsed": elapsed}
        return value

    def note_test(self, labels: Any, scores: Any) -> None:
        self.facts["test_auroc"] = float(roc_auc_score(labels, scores))
        self.facts["test_ap"] = float(average_precision_score(labels, scores))

    def write(self, job: Job) -> None:
        Path(job.result).write_text(json.dumps({"epochs": self.epochs, **self.facts}))


def read_job() -> Job:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    return job


def build_network(job: Job) -> nn.Module:
    """Return torchvision's network with two outputs, from the weights of the job."""
    net: nn.Module = torchvision.models.get_model(job.arch, weights=None)
    if job.arch == "densenet121":
        net.classifier = nn.Linear(net.classifier.in_features, NUM_CLASSES)
    else:
        net.fc = nn.Linear(net.fc.in_features, NUM_CLASSES)
    if job.weights is not None:
        found = torch.load(job.weights, weights_only=True)
        body = {k: v for k, v in found.items() if not k.startswith(("fc.", "classifier."))}
        missing, unexpected = net.load_state_dict(body, strict=False)
        assert not unexpected, unexpected
        assert all(name.startswith(("fc.", "classifier.")) for name in missing), missing
    return net.to(memory_format=torch.channels_last) if job.fast else net


def head_of(net: nn.Module) -> nn.Module:
    return nn.ModuleList(child for name, child in net.named_children() if name in _HEADS)


def freeze_body(net: nn.Module, frozen: bool) -> None:
    for parameter in net.parameters():
        parameter.requires_grad_(not frozen)
    for parameter in head_of(net).parameters():
        parameter.requires_grad_(True)


def autocast(job: Job) -> Any:
    """Return bfloat16 for a fast program, where this processor is faster with it."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=job.fast and job.has_fast_bf16)


def target_layer(net: nn.Module) -> nn.Module:
    return net.features.norm5 if hasattr(net, "features") else net.layer4[-1]
