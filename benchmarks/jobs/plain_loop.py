"""The loop of a PyTorch tutorial: torchvision's ImageFolder, transforms and DataLoader.

`fast` adds what PyTorch's tuning guide names: channels_last, a fused optimizer, workers that
stay, bfloat16 where the processor is faster with it; `compiled` adds torch.compile.
"""

import copy
from pathlib import Path

import torch
from common import (
    BRIGHTNESS,
    CONTRAST,
    DEGREES,
    HEAD_RATE,
    MEAN,
    RATE,
    SHIFT,
    STD,
    WORKERS,
    ZOOM,
    Diary,
    Job,
    autocast,
    build_network,
    freeze_body,
    read_job,
)
from finish import draw_panels, judge_test
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder


def load_parts(job: Job) -> dict[str, DataLoader]:
    resize = transforms.Resize((job.image_size, job.image_size))
    ending = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    change = [
        transforms.RandomAffine(
            DEGREES,
            translate=(SHIFT, SHIFT),
            scale=(1 / (1 + ZOOM), 1 + ZOOM),
            interpolation=transforms.InterpolationMode.BILINEAR,
        ),
        transforms.ColorJitter(brightness=BRIGHTNESS, contrast=CONTRAST),
    ]
    parts = {}
    for split in ("train", "val", "test"):
        steps = [resize, *(change if split == "train" else []), *ending]
        films = ImageFolder(str(Path(job.data) / split), transforms.Compose(steps))
        parts[split] = DataLoader(
            films,
            batch_size=job.batch_size,
            shuffle=split == "train",
            num_workers=WORKERS,
            persistent_workers=job.fast and split != "test",
        )
    return parts


def train_epoch(
    net: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, *, job: Job
) -> None:
    net.train()
    loss_of = nn.CrossEntropyLoss()
    for pixels, labels in loader:
        if job.fast and pixels.ndim == 4:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with autocast(job):
            loss = loss_of(net(pixels), labels)
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def score(net: nn.Module, loader: DataLoader, *, job: Job) -> tuple[list[int], list[float]]:
    net.eval()
    truth: list[int] = []
    scores: list[float] = []
    for pixels, labels in loader:
        with autocast(job):
            logits = net(pixels)
        scores += logits.float().softmax(1)[:, 1].tolist()
        truth += labels.tolist()
    return truth, scores


def train(
    net: nn.Module, parts: dict[str, DataLoader], *, job: Job, diary: Diary
) -> dict[str, torch.Tensor]:
    """Train the head, then everything; return the weights of the best epoch on VAL."""
    runner = torch.compile(net) if job.compiled else net
    best, best_weights = -1.0, net.state_dict()
    for stage, epochs, rate in (
        ("head", job.head_epochs, HEAD_RATE),
        ("finetune", job.finetune_epochs, RATE),
    ):
        freeze_body(net, stage == "head")
        learning = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=rate, fused=job.fast or None)
        for _ in range(epochs):
            steps = diary.steps(parts["train"], stage=stage, batch_size=job.batch_size)
            train_epoch(runner, steps, optimizer, job=job)
            value = diary.note_validation(*score(runner, parts["val"], job=job))
            if value > best:
                best, best_weights = value, copy.deepcopy(net.state_dict())
    return best_weights


def main() -> None:
    job, diary = read_job(), Diary()
    parts, net = load_parts(job), build_network(job)
    best_weights = train(net, parts, job=job, diary=diary)
    if job.panels:
        net.load_state_dict(best_weights)
        val, test = (score(net, parts[name], job=job) for name in ("val", "test"))
        judge_test(diary, val=val, test=test, folder=Path(job.result).parent)
        draw_panels(net, parts["test"].dataset, scored=test, job=job)
    diary.write(job)


if __name__ == "__main__":
    main()
