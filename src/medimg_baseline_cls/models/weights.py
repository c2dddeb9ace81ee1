"""Turn a weights file, or a name on the Hugging Face hub, into a filled network and a report.

Reads .safetensors, and whatever `torch.load(..., weights_only=True)` accepts. The
classifier is always left out; every other tensor must fit by name and shape, if need be
after the translation that the network's library knows (old names, a position embedding
of another grid, another number of input channels). Refuses the rest and names the keys.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medimg_baseline_cls.errors import WeightsError
from medimg_baseline_cls.models.classifier import WeightsReport
from medimg_baseline_cls.utils.files import sha256_file
from medimg_baseline_cls.utils.tensor_files import find_odd_tensor

StateDict = dict[str, Tensor]
Translate = Callable[[StateDict], StateDict]

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
REACH_SECONDS = 5.0  # how long to wait for the hub before saying that there is no network
NESTED_UNDER = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")  # by rank
EACH_PREFIX = (
    "_orig_mod.",
    "module.",
    "_orig_mod.",
)  # of torch.compile and DistributedDataParallel
WHOLE_PREFIXES = ("model.", "net.")  # of a wrapper; removed where every key has it
MAX_SHOWN = 10


def load_weights_file(
    net: nn.Module,
    path: Path,
    *,
    head_names: Sequence[str],
    translate: Translate | None = None,
    allow_extra: bool = False,
) -> WeightsReport:
    """Fill a network from a file, all but its classifier, and report how the file fitted.

    Args:
        net: changed in place, and only if everything fits.
        path: .safetensors, .pth, .pt or .bin.
        head_names: prefixes of the classifier, left out.
        translate: the library's own way to turn a foreign state dict into the network's;
            asked only where the file does not fit as it is.
        allow_extra: accept tensors that the network has no place for; they are reported.

    Raises:
        WeightsError: if the file cannot be read, or if anything but the classifier is
            missing, unexpected or of another shape; the text names the keys.
    """
    found = read_state_dict(path)
    state, fit = found, compare_state_dicts(net.state_dict(), found, head_names=head_names)
    if not fit.is_exact and translate is not None:
        state, fit = _translated(net, found, head_names=head_names, translate=translate)
    if not (fit.is_exact or (allow_extra and fit.is_complete)):
        raise WeightsError(
            f"{path.name} does not fit {type(net).__name__}: give --arch the network that the file "
            f"is of. In the file: {fit.describe()}."
        )
    own = net.state_dict()
    used = {k: v for k, v in state.items() if k in own and not _is_under(k, head_names)}
    net.load_state_dict(used, strict=False)
    left_out = sorted(k for k in found if _is_under(k, head_names))
    return WeightsReport(
        kind="file",
        source=path.name,
        sha256=sha256_file(path),
        missing=tuple(sorted(k for k in own if _is_under(k, head_names))),
        unexpected=(*left_out, *sorted(fit.unexpected)),
        adapted=tuple(k for k, v in used.items() if k in found and found[k].shape != v.shape),
    )


def load_hub_weights(
    net: nn.Module,
    hub_id: str,
    *,
    head_names: Sequence[str],
    translate: Translate | None = None,
    filenames: Sequence[str] = HUB_FILES,
) -> WeightsReport:
    """Fill a network from the hub's cache, or from the hub; see `load_weights_file`.

    The library's own file may hold more than the network asks for, such as a second
    classifier for distillation: that is reported, and no error.
    """
    path = fetch_hub_weights(hub_id, filenames=filenames)
    report = load_weights_file(
        net, path, head_names=head_names, translate=translate, allow_extra=True
    )
    return replace(report, kind="hub", source=f"{hub_id}/{path.name}")


def fetch_hub_weights(
    hub_id: str, *, filenames: Sequence[str] = HUB_FILES, cache_dir: Path | None = None
) -> Path:
    """Return the local path of a hub file: from the cache if it is there, else downloaded.

    Args:
        hub_id: "owner/name", with "@revision" if need be.
        filenames: tried in this order; the first that exists is taken.
        cache_dir: None takes huggingface_hub's own (HF_HOME, HF_HUB_CACHE).

    Raises:
        WeightsError: without network and cache, with the three ways out.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name, _, revision = hub_id.partition("@")

    def download(filename: str, *, cached_only: bool) -> Path | None:
        try:
            path = hub.hf_hub_download(
                name,
                filename,
                revision=revision or None,
                cache_dir=cache_dir,
                local_files_only=cached_only,
            )
        except LocalEntryNotFoundError:
            return None
        except EntryNotFoundError:
            return None
        except Exception as error:  # the transport's own errors change with the hub's version
            raise WeightsError(f"{hub_id}: {_first_line(error)}. {ways_out(hub_id)}") from error
        return Path(path)

    for cached_only in (True, False):
        if not cached_only and not is_hub_reachable():
            raise WeightsError(
                f"The pretrained weights {hub_id} are not in the hub cache and the hub cannot "
                f"be reached. {ways_out(hub_id)}"
            )
        for filename in filenames:
            path = download(filename, cached_only=cached_only)
            if path is not None:
                return path
    raise WeightsError(f"{hub_id} has none of {', '.join(filenames)}. {ways_out(hub_id)}")


def is_hub_reachable() -> bool:
    """Return whether the hub answers at all, within seconds.

    huggingface_hub itself would retry for minutes where there is no network.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except Exception:  # whatever the transport raises: no answer is the answer
        return False
    return True


def ways_out(hub_id: str | None) -> str:
    """Return what a user without network can do about missing weights."""
    fill = "fill the hub cache where there is network and copy it (HF_HOME)"
    if hub_id is not None:
        name = hub_id.partition("@")[0]
        fill = f"run `hf download {name}` where there is network and copy the cache (HF_HOME)"
    return (
        "Three ways out: give a file with --weights FILE (.safetensors or .pth); "
        f"{fill}; or train from random weights with --no-pretrained."
    )


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

    def describe(self) -> str:
        """Return the three lists as one sentence."""
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.mismatched),
        )
        return "; ".join(f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in parts if keys)


def compare_state_dicts(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, head_names: Sequence[str] | None
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


def fill_network(net: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Fill a network with the tensors of a checkpoint, which must be exactly its own.

    Args:
        net: changed in place, and only if everything fits.
        state: as `net.state_dict()` has it, classifier included.
        source: the name of the file, for the message.

    Raises:
        WeightsError: A tensor is missing, unexpected, of another shape or not finite.
    """
    fit = compare_state_dicts(net.state_dict(), state, head_names=None)
    if not fit.is_exact:
        raise WeightsError(
            f"{source} is not of this {type(net).__name__}: {fit.describe()}; restore it, or train "
            "again."
        )
    odd = find_odd_tensor(state)
    if odd is not None:
        raise WeightsError(
            f"{source} has values in {odd} that are not finite: restore it, or train again."
        )
    net.load_state_dict(state, strict=True)


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a weights file, unnested and without wrappers' prefixes.

    Raises:
        WeightsError: if the file is not there, cannot be read safely, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"The weights file {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise WeightsError(
            f"{path.name} cannot be read as weights: {_first_line(error)}. Expected .safetensors, "
            "or a file that torch.load(..., weights_only=True) accepts."
        ) from error
    state = _unnest(content)
    if not state:
        raise WeightsError(f"{path.name} holds no tensors where a state dict was expected.")
    return _without_prefixes(state)


def _translated(
    net: nn.Module, found: StateDict, *, head_names: Sequence[str], translate: Translate
) -> tuple[StateDict, Fit]:
    """Return the state dict in the network's own terms; as it was if it cannot be translated."""
    untouched = compare_state_dicts(net.state_dict(), found, head_names=head_names)
    try:
        state = translate(dict(found))
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError):
        return found, untouched  # the library cannot make sense of it: report it as it is
    return state, compare_state_dicts(net.state_dict(), state, head_names=head_names)


def _unnest(content: object) -> StateDict:
    for _ in range(2):  # {"checkpoint": {"model": {...}}} does not go deeper
        if not isinstance(content, Mapping):
            return {}
        table = cast(Mapping[str, Any], content)
        inner = [table[k] for k in NESTED_UNDER if isinstance(table.get(k), Mapping)]
        if not inner:
            break
        content = inner[0]
    entries = cast(Mapping[Any, Any], content).items() if isinstance(content, Mapping) else ()
    return {k: v for k, v in entries if isinstance(k, str) and isinstance(v, Tensor)}


def _without_prefixes(state: StateDict) -> StateDict:
    for prefix in EACH_PREFIX:
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    for prefix in WHOLE_PREFIXES:
        if all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def _is_under(key: str, prefixes: Iterable[str]) -> bool:
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def _is_aside(key: str, head_names: Iterable[str]) -> bool:
    return _is_under(key, head_names) or key.endswith("num_batches_tracked")


def _shorten(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:MAX_SHOWN])
    return shown + (f" and {len(keys) - MAX_SHOWN} more" if len(keys) > MAX_SHOWN else "")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
