"""Find which tensor of a file belongs where in a network: by name, or by number where names differ.

A name may be wrapped ("backbone.conv1.weight"), and a network that was packed into an
`nn.Sequential` has numbers for names ("0.weight", "4.0.conv1.weight"), in the order of
the network. Nothing else is guessed: names of another library are not mapped by their shapes,
for two layers of one shape could then change places unnoticed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

StateDict = dict[str, torch.Tensor]
Tensors = Mapping[str, torch.Tensor]
MAX_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """How a state dict fits a network, the classifier left aside."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every tensor has its place."""
        return self.is_complete and not self.unexpected

    @property
    def is_complete(self) -> bool:
        """Whether every tensor of the network is filled."""
        return not (self.missing or self.mismatched)

    @property
    def rank(self) -> tuple[bool, int]:
        """The lower, the better it fits; a network that is filled comes first."""
        num_misfits = len(self.missing) + len(self.unexpected) + len(self.mismatched)
        return not self.is_complete, num_misfits

    def describe(self) -> str:
        """Return the three lists as one sentence."""
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.mismatched),
        )
        return "; ".join(f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in parts if keys)


def compare_state_dicts(
    wanted: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    *,
    head_names: Sequence[str] | None,
) -> Fit:
    """Return which keys are missing, unexpected, or of another shape.

    BatchNorm's `num_batches_tracked` is left aside: old files lack it and nothing reads it.
    With None for the head, nothing is left aside.
    """
    if head_names is not None:
        wanted = {k: v for k, v in wanted.items() if not _is_aside(k, head_names)}
        found = {k: v for k, v in found.items() if not _is_aside(k, head_names)}
    missing = [k for k in wanted if k not in found]
    shapes = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    return Fit(tuple(missing), tuple(k for k in found if k not in wanted), tuple(shapes))


def pair_in_order(
    wanted: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    *,
    head_names: Sequence[str],
) -> dict[str, str]:
    """Return the network's key for each key of a file, if the shapes agree in order.

    The file may lack the classifier, or have one of another number of classes. Empty where
    a shape or the last part of a name (weight, bias, running_mean ...) differs.
    """
    own, theirs = (
        [k for k in state if not k.endswith("num_batches_tracked")] for state in (wanted, found)
    )
    body = [k for k in own if not is_under(k, head_names)]
    for keys in (own, body):
        pairs = dict(zip(theirs, keys, strict=False))
        if len(theirs) == len(keys) and all(
            _is_same_part(a, b)
            and found[a].shape[is_under(b, head_names) :]
            == wanted[b].shape[is_under(b, head_names) :]
            for a, b in pairs.items()
        ):
            return pairs
    return {}


def is_numbered(pairs: Mapping[str, str]) -> bool:
    """Return whether keys differ from those of the network in numbers and a common prefix alone.

    >>> is_numbered({"backbone.0.weight": "conv1.weight", "backbone.4.0.w": "layer1.0.w"})
    True
    >>> is_numbered({"key.weight": "q.weight", "out.bias": "o.bias"})
    False
    """
    prefix = find_common_prefix(pairs)
    return bool(pairs) and all(
        _has_in_order(own.split("."), (p for p in _parts(theirs, prefix) if not p.isdecimal()))
        for theirs, own in pairs.items()
    )


def unwrap(found: StateDict) -> Iterator[tuple[StateDict, str]]:
    """Yield a state dict without a prefix that all its keys share, and the prefix, shortest first.

    >>> [prefix for _, prefix in unwrap({"a.net.w": torch.zeros(1), "a.net.b": torch.zeros(1)})]
    ['a.', 'a.net.']
    """
    parts = find_common_prefix(found).split(".")[:-1]
    for number in range(1, len(parts) + 1):
        prefix = ".".join(parts[:number]) + "."
        yield {key.removeprefix(prefix): value for key, value in found.items()}, prefix


def find_common_prefix(keys: Iterable[str]) -> str:
    """Return the leading parts that all dotted keys share, with the dot, or "".

    >>> find_common_prefix(["encoder.net.0.weight", "encoder.net.1.bias"])
    'encoder.net.'
    """
    folders = [key.split(".")[:-1] for key in keys]
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*folders, strict=False))
    parts = [column[0] for column in shared]
    return ".".join(parts) + "." if parts else ""


def is_under(key: str, prefixes: Iterable[str]) -> bool:
    """Return whether a key is one of these, or a part of one."""
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def _is_aside(key: str, head_names: Iterable[str]) -> bool:
    return is_under(key, head_names) or key.endswith("num_batches_tracked")


def _is_same_part(a: str, b: str) -> bool:
    return a.rpartition(".")[2] == b.rpartition(".")[2]


def _parts(key: str, prefix: str) -> list[str]:
    return key.removeprefix(prefix).split(".")


def _has_in_order(parts: Iterable[str], wanted: Iterable[str]) -> bool:
    """Return whether the wanted parts are among the parts, in their order."""
    rest = iter(parts)
    return all(part in rest for part in wanted)


def _shorten(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:MAX_SHOWN])
    return shown + (f" and {len(keys) - MAX_SHOWN} more" if len(keys) > MAX_SHOWN else "")
