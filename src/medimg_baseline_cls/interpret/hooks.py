"""Capture the output of one named layer cheaply, and leave the network unchanged.

Inside `capture_layer` the network is in eval mode, no parameter requires a gradient, and
autograd records only the part from the layer to the logits. Afterward, even after an error,
every hook, mode and `requires_grad` is as before. An unknown layer is refused, and the likely
names are listed.
"""

import difflib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medimg_baseline_cls.errors import ModelError

_NUM_CANDIDATES = 12


@dataclass(slots=True)
class CapturedLayer:
    """The output of a layer in the last forward pass: the leaf to which gradients flow."""

    name: str
    _output: Tensor | None = None

    @property
    def output(self) -> Tensor:
        """Return the layer's output, detached from earlier layers and requiring a gradient.

        Raises:
            ModelError: the forward pass did not use the layer.
        """
        if self._output is None:
            raise ModelError(
                f"layer {self.name} is not used in the forward pass: choose one that the "
                "network uses between its input and its logits."
            )
        return self._output

    def keep(self, _: nn.Module, *inputs_and_output: object) -> Tensor:
        """Cut the graph at a layer's output (a forward hook) and keep the output."""
        output = inputs_and_output[-1]
        if not isinstance(output, Tensor):
            raise ModelError(
                f"layer {self.name} returns a {type(output).__name__}, not a tensor: "
                "choose a layer inside it, or the one after it."
            )
        self._output = output.detach().clone().requires_grad_()
        # The next layer gets a copy: it may work in place, which is forbidden on a leaf and
        # would also change the kept output.
        return self._output.clone()


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name.

    Raises:
        ModelError: there is none; the message lists likely ones.
    """
    layers = dict(module.named_modules())
    if not name or name not in layers:
        candidates = ", ".join(_likely_names(list(layers), name))
        raise ModelError(
            f"cam_layer={name!r} is not a layer of this network: try one of {candidates}"
        )
    return layers[name]


@contextmanager
def capture_layer(module: nn.Module, name: str) -> Generator[CapturedLayer, None, None]:
    """Capture the output of one layer in the forward passes of the block.

    Args:
        module: any network; left unchanged.
        name: dotted name of a layer inside it, such as "layer4".

    Yields:
        The captured layer; its `output` is set by a forward pass.

    Raises:
        ModelError: the name is unknown.
    """
    captured = CapturedLayer(name)
    with ExitStack() as stack:
        layer = find_layer(module, name)
        stack.enter_context(frozen_in_eval_mode(module))
        stack.callback(layer.register_forward_hook(captured.keep).remove)
        # In inference mode nothing is recorded, even with enable_grad.
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        yield captured


@contextmanager
def frozen_in_eval_mode(module: nn.Module) -> Generator[None, None, None]:
    """Keep a network in eval mode, its parameters without gradients, for a block."""
    # Flags are restored one by one: train() would also wake layers that were in eval mode
    # on purpose.
    modes = {part: part.training for part in module.modules()}
    wishes = {parameter: parameter.requires_grad for parameter in module.parameters()}
    try:
        module.eval()
        for parameter in wishes:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, wish in wishes.items():
            parameter.requires_grad_(wish)
        for part, mode in modes.items():
            part.training = mode


def _likely_names(names: list[str], wanted: str) -> list[str]:
    """Return similar names, then the last coarse parts of the network."""
    close = difflib.get_close_matches(wanted, names, n=4, cutoff=0.6)
    coarse = [name for name in names if name and name.count(".") <= 2]
    likely = dict.fromkeys([*close, *reversed(coarse)])
    return list(likely)[:_NUM_CANDIDATES]
