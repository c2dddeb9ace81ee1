"""Catch what one named layer puts out, cheaply, and leave the network as it was found.

Inside `capture_layer` the network is in eval mode, no parameter asks for a gradient, and
autograd records only the part from the layer to the logits. Afterwards, also after an
error, every hook, mode and `requires_grad` is as before. An unknown layer is refused with
the names that exist.
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
    """What a layer put out in the last forward pass: the leaf that gradients reach."""

    name: str
    _output: Tensor | None = None

    @property
    def output(self) -> Tensor:
        """Return the layer's output, detached from all before it and requiring a gradient.

        Raises:
            ModelError: The forward pass did not use the layer.
        """
        if self._output is None:
            raise ModelError(
                f"layer {self.name} took no part in the forward pass: choose one that the "
                "network uses between its input and its logits."
            )
        return self._output

    def keep(self, _: nn.Module, *inputs_and_output: object) -> Tensor:
        """Cut the graph at a layer's output (a forward hook) and keep the cut end."""
        output = inputs_and_output[-1]
        if not isinstance(output, Tensor):
            raise ModelError(
                f"layer {self.name} returns a {type(output).__name__}, not a tensor: "
                "choose a layer inside it, or the one after it."
            )
        self._output = output.detach().clone().requires_grad_()
        # A copy goes on: the next layer may work in place, which a leaf forbids and which
        # would also change what was kept.
        return self._output.clone()


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the submodule with a dotted name.

    Raises:
        ModelError: There is none; the message lists the likely ones.
    """
    layers = dict(module.named_modules())
    if not name or name not in layers:
        candidates = ", ".join(_likely_names(list(layers), name))
        raise ModelError(f"cam_layer={name!r} is no layer of this network: try one of {candidates}")
    return layers[name]


@contextmanager
def capture_layer(module: nn.Module, name: str) -> Generator[CapturedLayer, None, None]:
    """Catch the output of one layer in the forward passes of the block.

    Args:
        module: any network; given back as it was.
        name: dotted name of a layer inside it, such as "layer4".

    Yields:
        The captured layer; its `output` is there after a forward pass.

    Raises:
        ModelError: The name is unknown.
    """
    captured = CapturedLayer(name)
    with ExitStack() as stack:
        layer = find_layer(module, name)
        stack.enter_context(frozen_in_eval_mode(module))
        stack.callback(layer.register_forward_hook(captured.keep).remove)
        # Within inference mode nothing can be recorded, whatever enable_grad says.
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        yield captured


@contextmanager
def frozen_in_eval_mode(module: nn.Module) -> Generator[None, None, None]:
    """Keep a network in eval mode, its parameters without gradients, for a block."""
    # Flags are put back one by one: a call of train() would also wake layers that were
    # in eval mode on purpose.
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
    """Return names close to the wanted one, then the last coarse parts of the network."""
    close = difflib.get_close_matches(wanted, names, n=4, cutoff=0.6)
    coarse = [name for name in names if name and name.count(".") <= 2]
    likely = dict.fromkeys([*close, *reversed(coarse)])
    return list(likely)[:_NUM_CANDIDATES]
