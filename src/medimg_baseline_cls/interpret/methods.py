"""The kinds of heat maps by name: label, meaning and how they are computed.

All but occlusion weight the features of one layer. Other packages add kinds by entry points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.interpret.cam import Evidence, compute_evidence, weigh_by_mean_gradient
from medimg_baseline_cls.interpret.occlusion import compute_occlusion
from medimg_baseline_cls.utils.plugins import PREFIX, load_plugin

DEFAULT = "gradcam"
_EPSILON = 1e-6
_RAISED = "what raised the score"


@dataclass(frozen=True, slots=True, kw_only=True)
class CamMethod:
    """A kind of heat map.

    Attributes:
        label: its printed name, such as "Grad-CAM".
        compute: takes (model, pixels, targets=, layer=) as `compute_evidence` does, and returns
            maps in [0, 1] as `Evidence`.
        shows: what a high value marks, as the end of a sentence.
        is_of_class: whether the map is specific to a class, or the same for all classes.
    """

    label: str
    compute: Callable[..., Evidence]
    shows: str = _RAISED
    is_of_class: bool = True


def weigh_each_place(values: Tensor, slopes: Tensor) -> Tensor:
    """HiResCAM: features times gradients. Draelos and Carin, arXiv:2011.08891."""
    return (values * slopes).sum(dim=1, keepdim=True)


def weigh_positive_places(values: Tensor, slopes: Tensor) -> Tensor:
    """LayerCAM: features times positive gradients. Jiang et al., IEEE TIP 2021."""
    return (values * slopes.clamp(min=0)).sum(dim=1, keepdim=True)


def weigh_by_curvature(values: Tensor, slopes: Tensor) -> Tensor:
    """Grad-CAM++: channels weighted by positive gradients, equation 19 of arXiv:1710.11063."""
    places = tuple(range(2, values.ndim))
    sums = values.sum(dim=places, keepdim=True)
    shares = slopes**2 / (2 * slopes**2 + sums * slopes**3 + _EPSILON)
    shares = torch.where(slopes == 0, torch.zeros_like(shares), shares)
    weights = (slopes.clamp(min=0) * shares).sum(dim=places, keepdim=True)  # (B, D, 1, 1)
    return (weights * values).sum(dim=1, keepdim=True)


def project_on_first_component(values: Tensor, slopes: Tensor) -> Tensor:
    """Eigen-CAM: features on their first principal component. Muhammad and Yeasin, IJCNN 2020.

    The sign of a component is arbitrary: it is chosen so that the strongest place is positive.
    """
    places = values.flatten(2).mT  # (B, h * w, D)
    centered = (places - places.mean(dim=1, keepdim=True)).double().cpu()
    first = torch.linalg.svd(centered, full_matrices=False).Vh[:, 0, :, None]  # (B, D, 1)
    maps = (centered @ first)[..., 0]  # (B, h * w)
    strongest = maps.gather(1, maps.abs().argmax(dim=1, keepdim=True))
    maps = (maps * strongest.sign()).to(values.device, values.dtype)
    return maps.unflatten(1, values.shape[2:])[:, None]


METHODS: dict[str, CamMethod] = {
    "gradcam": CamMethod(
        label="Grad-CAM", compute=partial(compute_evidence, weigh=weigh_by_mean_gradient)
    ),
    "hirescam": CamMethod(
        label="HiResCAM", compute=partial(compute_evidence, weigh=weigh_each_place)
    ),
    "layercam": CamMethod(
        label="LayerCAM", compute=partial(compute_evidence, weigh=weigh_positive_places)
    ),
    "gradcam++": CamMethod(
        label="Grad-CAM++", compute=partial(compute_evidence, weigh=weigh_by_curvature)
    ),
    "eigencam": CamMethod(
        label="Eigen-CAM",
        compute=partial(compute_evidence, weigh=project_on_first_component),
        shows="the strongest pattern of the layer, whatever the class",
        is_of_class=False,
    ),
    "occlusion": CamMethod(
        label="Occlusion",
        compute=compute_occlusion,
        shows="what lowered the score when it was covered",
    ),
}


def find_method(name: str) -> CamMethod:
    """Return the kind of map with this name.

    Raises:
        ConfigError: there is none, here or in an installed package.
    """
    if name.startswith(PREFIX):
        return load_plugin("cam_methods", name, expected=CamMethod)
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise ConfigError(f"method={name}: expected one of {known}, or {PREFIX}NAME.")
    return METHODS[name]


def name_folder(name: str) -> str:
    """Return the folder name of a method.

    >>> name_folder("gradcam++"), name_folder("plugin:my_map")
    ('gradcampp', 'plugin_my_map')
    """
    return name.replace("+", "p").replace(":", "_")
