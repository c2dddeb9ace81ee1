"""Compare the cost of Grad-CAM with that of plain forward passes over the same images.

    python benchmarks/gradcam_cost.py [--arch resnet18] [--layer layer4] [--size 224]

Prints seconds for one forward pass of 64 images, for 64 maps, and their ratio (at most 4
is promised for ResNet-18 at 224 px), best of three.
"""

import argparse
import time
from collections.abc import Callable

import timm
import torch

from medimg_baseline_cls.interpret.cam import compute_gradcam
from medimg_baseline_cls.utils.device import tune_allocator

NUM_IMAGES = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--layer", default="layer4")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    tune_allocator()
    torch.manual_seed(0)
    model = timm.create_model(options.arch, num_classes=2).eval()
    pixels = torch.rand(NUM_IMAGES, 3, options.size, options.size)
    targets = torch.ones(NUM_IMAGES, dtype=torch.int64)

    def forward() -> None:
        with torch.inference_mode():
            model(pixels)

    def explain() -> None:
        compute_gradcam(model, pixels, targets=targets, layer=options.layer)

    forward_s, explain_s = best_of_three(forward), best_of_three(explain)
    print(f"{options.arch}, {NUM_IMAGES} images of {options.size} px")
    print(f"one forward pass  {forward_s:6.2f} s")
    print(f"{NUM_IMAGES} maps           {explain_s:6.2f} s")
    print(f"ratio             {explain_s / forward_s:6.2f}")


def best_of_three(work: Callable[[], None]) -> float:
    """Return the shortest time of three, in seconds, after one run to warm up."""
    work()
    times: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
