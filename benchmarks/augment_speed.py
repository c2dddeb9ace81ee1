"""Measure how long the augmentation of one batch takes.

python benchmarks/augment_speed.py [--batch-size 32] [--image-size 224] [--threads 2]
"""

import argparse
import statistics
import time

import numpy as np
import torch

from medimg_baseline_cls.data.batches.augment import make_augmenter
from medimg_baseline_cls.utils.device import tune_allocator


def main() -> None:
    """Print the fastest and the median time of 40 batches, grey and RGB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(options.threads)
    augment = make_augmenter("standard", horizontal_flip=False, seed=0)
    assert augment is not None
    rows = np.arange(options.batch_size)
    for channels in (1, 3):
        pixels = torch.rand(options.batch_size, channels, options.image_size, options.image_size)
        times: list[float] = []
        for epoch in range(40):
            start = time.perf_counter()
            augment(pixels, rows, "finetune", epoch)
            times.append(1000 * (time.perf_counter() - start))
        median = statistics.median(times)
        print(f"{channels} channel(s): fastest {min(times):.1f} ms, median {median:.1f} ms")


if __name__ == "__main__":
    main()
