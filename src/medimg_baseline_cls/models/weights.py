"""Turn a weights file, or a name on the Hugging Face hub, into a filled network and a report.

Reads .safetensors, and state dicts that `torch.save` wrote. The classifier is always left
out; every other tensor must fit by name and shape, if need be without a wrapper's prefix,
after the translation that the network's library knows (old names, a position embedding of
another grid, another number of input channels), or by the numbers of an `nn.Sequential`.
Refuses the rest and names the keys.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from medimg_baseline_cls.errors import WeightsError
from medimg_baseline_cls.models.classifier import WeightsReport
from medimg_baseline_cls.models.hub import HUB_FILES, is_hub_reachable
from medimg_baseline_cls.models.matching import (
    Fit,
    StateDict,
    compare_state_dicts,
    is_numbered,
    is_under,
    pair_in_order,
    unwrap,
)
from medimg_baseline_cls.utils.files import sha256_file
from medimg_baseline_cls.utils.tensor_files import (
    UnreadableFileError,
    find_odd_tensor,
    read_tensor_file,
)

Translate = Callable[[StateDict], StateDict]

NESTED_UNDER = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")  # by rank
EACH_PREFIX = (
    "_orig_mod.",
    "module.",
    "_orig_mod.",
)  # of torch.compile and DistributedDataParallel


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
    own = net.state_dict()
    state, fit, renamed = _name_as(net, found, head_names=head_names, translate=translate)
    if not (fit.is_exact or (allow_extra and fit.is_complete)):
        raise WeightsError(_describe_misfit(net, found, path=path, fit=fit, head_names=head_names))
    used = {k: v for k, v in state.items() if k in own and not is_under(k, head_names)}
    kinds = (k for k, v in used.items() if v.is_floating_point() != own[k].is_floating_point())
    odd = next(kinds, None) or find_odd_tensor(used)
    if odd is not None:
        raise WeightsError(
            f"{path.name} has values in {odd} that are not finite numbers of the network's kind: "
            "provide another file with --weights."
        )
    net.load_state_dict(used, strict=False)
    left_out = sorted(k for k in state if is_under(k, head_names))
    return WeightsReport(
        kind="file",
        source=path.name,
        sha256=sha256_file(path),
        missing=tuple(sorted(k for k in own if is_under(k, head_names))),
        unexpected=(*left_out, *sorted(fit.unexpected)),
        adapted=tuple(k for k, v in used.items() if k in found and found[k].shape != v.shape),
        renamed=renamed,
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

    The library's own file may contain more than the network needs, such as a second classifier for
    distillation: that is reported, not an error.
    """
    path = fetch_hub_weights(hub_id, filenames=filenames)
    report = load_weights_file(
        net, path, head_names=head_names, translate=translate, allow_extra=True
    )
    blob = path.resolve().name  # the hub's cache names a large file by its sha256
    if re.fullmatch(r"[0-9a-f]{64}", blob) and blob != report.sha256:
        raise WeightsError(
            f"{hub_id}: {path} in the hub cache is damaged, its sha256 is not the one that it is "
            f"named by; delete it. {offline_hint(hub_id)}"
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
            raise WeightsError(f"{hub_id}: {_first_line(error)}. {offline_hint(hub_id)}") from error
        return Path(path)

    for cached_only in (True, False):
        if not cached_only and not is_hub_reachable():
            raise WeightsError(
                f"The pretrained weights {hub_id} are not in the hub cache and the hub cannot "
                f"be reached. {offline_hint(hub_id)}"
            )
        for filename in filenames:
            path = download(filename, cached_only=cached_only)
            if path is not None:
                return path
    raise WeightsError(f"{hub_id} has none of {', '.join(filenames)}. {offline_hint(hub_id)}")


def offline_hint(hub_id: str | None) -> str:
    """Return what a user without network can do about missing weights."""
    fill = "fill the hub cache where there is network and copy it (HF_HOME)"
    if hub_id is not None:
        name = hub_id.partition("@")[0]
        fill = f"run `hf download {name}` where there is network and copy the cache (HF_HOME)"
    return (
        "Three ways out: pass a file with --weights FILE (.safetensors or .pth); "
        f"{fill}; or train from random weights with --no-pretrained."
    )


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
        WeightsError: if the file is missing, cannot be read safely, or contains no tensors.
    """
    if not path.exists():
        raise WeightsError(f"The weights file {path} does not exist; correct --weights.")
    try:
        content = read_tensor_file(path)
    except UnreadableFileError as error:
        raise WeightsError(
            f"{path.name} cannot be read as weights: {error}; expected .safetensors, or a state "
            "dict that torch.save wrote."
        ) from error
    state = _unnest(content)
    if not state:
        raise WeightsError(f"{path.name} contains no tensors where a state dict was expected.")
    return _without_prefixes(state)


def _name_as(
    net: nn.Module, found: StateDict, *, head_names: Sequence[str], translate: Translate | None
) -> tuple[StateDict, Fit, str]:
    """Return the state dict in the network's own names as far as can be, its fit, and how.

    How is "" where the keys were taken as they are, or as the network's library translates them.
    """
    own = net.state_dict()
    ranked: list[tuple[StateDict, Fit, str]] = []
    for state, how in _list_candidates(found, translate):
        fit = compare_state_dicts(own, state, head_names=head_names)
        if fit.is_exact:
            return state, fit, how
        ranked.append((state, fit, how))
    pairs = pair_in_order(own, found, head_names=head_names)
    if not is_numbered(pairs):
        return min(ranked, key=lambda candidate: candidate[1].rank)
    state = {own_key: found[key] for key, own_key in pairs.items()}
    first, name = next(iter(pairs.items()))
    how = f"{len(pairs)} by their order, such as {first} as {name}"
    return state, compare_state_dicts(own, state, head_names=head_names), how


def _list_candidates(
    found: StateDict, translate: Translate | None
) -> Iterator[tuple[StateDict, str]]:
    """Yield a state dict as it is, without a common prefix, and each as the library translates it.

    The translations come last, since each builds a network.
    """
    bare = [(state, f"without their prefix {prefix}") for state, prefix in unwrap(found)]
    plain = [(found, ""), *bare]
    yield from plain
    for state, how in plain if translate is not None else ():
        assert translate is not None
        # An error: the library cannot make sense of it.
        with suppress(
            LookupError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError
        ):
            yield translate(dict(state)), how


def _describe_misfit(
    net: nn.Module, found: StateDict, *, path: Path, fit: Fit, head_names: Sequence[str]
) -> str:
    pairs = pair_in_order(net.state_dict(), found, head_names=head_names)
    kind = type(net).__name__
    if pairs:
        first, name = next((a, b) for a, b in pairs.items() if a != b)
        return (
            f"{path.name} has the {len(pairs)} shapes of {kind} in their order, but other names: "
            f"{first} where the network has {name}. Rename the keys of the file, since layers of "
            "one shape could change places if they were matched by order."
        )
    return (
        f"{path.name} does not fit {kind}: pass --arch with the network that the file is of. In "
        f"the file: {fit.describe()}."
    )


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
    return state


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
