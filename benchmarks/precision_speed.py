"""Compare training speed in fp32 and bf16 on this machine's CPU: the evidence for "auto".

    python benchmarks/precision_speed.py

Prints a table of medians over five steps after a warm-up step; both precisions of a row run
one after the other in this process.
"""

import statistics
import time

import torch

from medimg_baseline_cls.models.build import build_model
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.utils.device import Precision, autocast, cpu_flags, tune_allocator

CASES = (("resnet18", 224), ("tf_efficientnet_lite0", 224), ("resnet18", 128), ("densenet121", 96))
BATCH_SIZE = 32
NUM_STEPS = 6


def measure_rate(model: Classifier, image_size: int, precision: Precision) -> float:
    """Return images per second of whole training steps, the first step left out."""
    pixels = torch.rand(BATCH_SIZE, 1, image_size, image_size)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH_SIZE) % 2
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    seconds: list[float] = []
    for _ in range(NUM_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        with autocast(torch.device("cpu"), precision):
            logits = model(pixels)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return BATCH_SIZE / statistics.median(seconds[1:])


def main() -> None:
    tune_allocator()
    print(f"CPU flags: {' '.join(cpu_flags())}; {torch.get_num_threads()} threads")
    print("| network, side | fp32 images/s | bf16 images/s | ratio |\n|---|---|---|---|")
    for arch, image_size in CASES:
        model = build_model(arch, pretrained=False, image_size=image_size).train()
        model = model.to(memory_format=torch.channels_last)
        plain = measure_rate(model, image_size, "fp32")
        short = measure_rate(model, image_size, "bf16")
        print(f"| {arch}, {image_size} px | {plain:.0f} | {short:.0f} | {short / plain:.2f} |")


if __name__ == "__main__":
    main()
