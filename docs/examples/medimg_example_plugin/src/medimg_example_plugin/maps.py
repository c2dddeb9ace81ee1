"""A kind of heat map: how steeply the score of the class changes with each pixel."""

import torch
from torch import Tensor, nn

from medimg_baseline_cls.interpret.cam import Evidence, finish_maps
from medimg_baseline_cls.interpret.hooks import frozen_in_eval_mode
from medimg_baseline_cls.interpret.methods import CamMethod


def compute_gradient(model: nn.Module, pixels: Tensor, *, targets: Tensor, layer: str) -> Evidence:
    """Return the absolute gradient of each image's logit; `layer` is not looked at."""
    inputs = pixels.detach().clone().requires_grad_()
    with frozen_in_eval_mode(model), torch.enable_grad():
        logits = model(inputs).gather(1, targets.to(pixels.device)[:, None])
        (slopes,) = torch.autograd.grad(logits.sum(), inputs)
    maps = slopes.abs().amax(dim=1, keepdim=True)  # (B, 1, H, W)
    return finish_maps(maps, pixels, grid=(maps.shape[2], maps.shape[3]))


GRADIENT = CamMethod(
    label="Gradient", compute=compute_gradient, shows="where small changes change the score most"
)
