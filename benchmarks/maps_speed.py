"""(f) Grad-CAM maps per second: medimg, pytorch-grad-cam, captum and MONAI on the same network.

Equal maps are asserted before anything is timed (captum and MONAI scale theirs in another way, and
are compared by correlation).

    python benchmarks/maps_speed.py
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision
from harness import Answer, median, spread, write_answer
from torch import Tensor

from medimg_baseline_cls.interpret.cam import compute_gradcam
from medimg_baseline_cls.utils.device import tune_allocator


def make_ways(net: Any, pixels: Tensor, targets: Tensor) -> dict[str, Callable[[], Any]]:
    from captum.attr import LayerAttribution, LayerGradCam
    from monai.visualize import GradCAM as MonaiGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    side = pixels.shape[-2:]

    def ours() -> Any:
        return compute_gradcam(net, pixels, targets=targets, layer="layer4")

    def theirs() -> Any:
        wanted = [ClassifierOutputTarget(int(t)) for t in targets]
        with GradCAM(model=net, target_layers=[net.layer4[-1]]) as cam:
            return cam(pixels, targets=wanted)

    def captum() -> Any:
        found = LayerGradCam(net, net.layer4).attribute(pixels, targets, relu_attributions=True)
        return LayerAttribution.interpolate(found, side, "bilinear").detach()[:, 0].numpy()

    def monai() -> Any:
        # Its backward pass explains one class for the whole batch.
        cam = MonaiGradCam(net, target_layers="layer4", postprocessing=lambda heat: heat)
        return cam(pixels, class_idx=int(targets[0]))[:, 0].detach().cpu().numpy()

    return {"medimg": ours, "pytorch-grad-cam": theirs, "captum": captum, "MONAI": monai}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None, num_classes=2).eval()
    pixels = torch.rand(options.images, 3, 224, 224)
    ways = make_ways(net, pixels, torch.ones(options.images, dtype=torch.int64))
    maps = {name: np.asarray(way()) for name, way in ways.items()}
    gap = float(np.abs(maps["medimg"] - maps["pytorch-grad-cam"]).max())
    likeness = {
        name: float(np.corrcoef(maps["medimg"].ravel(), found.ravel())[0, 1])
        for name, found in maps.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in list(ways)[1:]:
        measure(ways[name], seconds[name], repeats=options.repeats)
    # Last, because the allocator stays tuned, which only medimg does.
    tune_allocator()
    measure(ways["medimg"], seconds["medimg"], repeats=options.repeats)
    speeds = {who: [options.images / s for s in taken] for who, taken in seconds.items()}
    own = median(speeds["medimg"])
    write_answer(
        Answer(
            name="maps_speed",
            title="Grad-CAM maps per second, ResNet-18, 224 px",
            header=["program", "maps/s", "medimg is faster by", "correlation with medimg's"],
            rows=[
                [who, spread(found), f"{own / median(found):.2f}", f"{likeness[who]:.4f}"]
                for who, found in speeds.items()
            ],
            ratios={
                "medimg to pytorch-grad-cam": (own / median(speeds["pytorch-grad-cam"]), ">= 3"),
                "largest difference to pytorch-grad-cam's maps": (gap, "<= 0.01"),
            },
            notes=[f"One batch of {options.images} images, {options.repeats} repeats each."],
            facts={"seconds": seconds, "correlation": likeness},
        )
    )


def measure(way: Callable[[], Any], into: list[float], *, repeats: int) -> None:
    way()
    for _ in range(repeats):
        start = time.perf_counter()
        way()
        into.append(time.perf_counter() - start)


if __name__ == "__main__":
    main()
