"""Volumes as MONAI's tutorials train them: CacheDataset, dictionary transforms, a plain loop.

"DenseNet121" has 3D convolutions (3d_classification); "MILModel" is ResNet-18 on slices, which
are its instances, with attention (multiple_instance_learning).
"""

from pathlib import Path
from typing import Any

import torch
from common import (
    BRIGHTNESS,
    CONTRAST,
    DEGREES,
    NUM_CLASSES,
    SHIFT,
    WORKERS,
    ZOOM,
    Diary,
    Job,
    read_job,
)
from monai.data import CacheDataset, DataLoader, list_data_collate
from monai.networks.nets import DenseNet121, MILModel
from monai.transforms import (
    Compose,
    LoadImaged,
    Orientationd,
    RandAdjustContrastd,
    RandAffined,
    RandShiftIntensityd,
    Resized,
    ScaleIntensityRanged,
)
from plain_loop import train
from torch import Tensor, nn

LUNG = (-1350, 150)  # Hounsfield units, as medimg's --intensity lung
KEY = "image"


def load_parts(job: Job) -> dict[str, DataLoader]:
    loading = [
        LoadImaged(KEY, image_only=True, ensure_channel_first=True),
        Orientationd(KEY, axcodes="LPS", labels=None),
        ScaleIntensityRanged(KEY, *LUNG, 0, 1, clip=True),
        Resized(KEY, (job.image_size, job.image_size, job.slices)),
    ]  # (1, X, Y, Z)
    change = [
        RandAffined(
            KEY,
            prob=1.0,
            rotate_range=(0, 0, DEGREES * torch.pi / 180),
            translate_range=(SHIFT * job.image_size, SHIFT * job.image_size, 0),
            scale_range=(ZOOM, ZOOM, 0),
            padding_mode="zeros",
        ),
        RandAdjustContrastd(KEY, prob=1.0, gamma=(1 - CONTRAST, 1 + CONTRAST)),
        RandShiftIntensityd(KEY, BRIGHTNESS, prob=1.0),
    ]
    parts = {}
    for split in ("train", "val"):
        folders = sorted((Path(job.data) / split).iterdir())
        items = [
            {KEY: str(volume), "label": label}
            for label, folder in enumerate(folders)
            for volume in sorted(folder.iterdir())
        ]
        steps = Compose([*loading, *(change if split == "train" else [])])
        parts[split] = DataLoader(
            CacheDataset(items, steps, progress=False, num_workers=WORKERS),
            batch_size=job.batch_size,
            shuffle=split == "train",
            num_workers=WORKERS,
            persistent_workers=job.fast,
            collate_fn=stack_slices if job.arch == "MILModel" else stack_volumes,
        )
    return parts


def stack_volumes(items: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Return volumes (B, 1, X, Y, Z) and their labels."""
    batch = list_data_collate(items)
    return batch[KEY].as_tensor(), batch["label"]


def stack_slices(items: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Return the slices of volumes as instances (B, Z, 3, Y, X), and the labels of the volumes."""
    volumes, labels = stack_volumes(items)
    return volumes.permute(0, 4, 1, 3, 2).expand(-1, -1, 3, -1, -1), labels


def build_network(job: Job) -> nn.Module:
    if job.arch == "DenseNet121":
        return DenseNet121(spatial_dims=3, in_channels=1, out_channels=NUM_CLASSES)
    net = MILModel(NUM_CLASSES, mil_mode="att", pretrained=False, backbone="resnet18")
    return net.to(memory_format=torch.channels_last) if job.fast else net


def main() -> None:
    job, diary = read_job(), Diary()
    train(build_network(job), load_parts(job), job=job, diary=diary)
    diary.write(job)


if __name__ == "__main__":
    main()
