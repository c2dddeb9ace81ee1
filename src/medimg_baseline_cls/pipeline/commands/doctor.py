"""The doctor command: whether this machine can run medimg, before anything is trained.

It looks at versions, device, codecs, disk, permissions, hub and weights, decodes an image and
trains a step. Libraries are loaded in other processes, so that a broken one is a line and not a
crash (decision 0040). Nothing that it writes stays.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.pipeline.steps.library_checks import (
    check_codecs,
    check_decoding,
    check_device,
    check_hub,
    check_imports,
    list_loaded,
)
from medimg_baseline_cls.pipeline.steps.machine_checks import (
    Check,
    check_disk,
    check_home,
    check_loaded,
    check_locale,
    check_python,
    check_threads,
    check_versions,
    check_writable,
    describe_cache,
)
from medimg_baseline_cls.pipeline.steps.probes import Probed, run_probes
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.quantities import say_count

GROUPS = ("torch", "images", "hub")
EXIT_STATUS = {"ok": 0, "warning": 1, "error": 3}
_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}
_MOST_SECONDS = 60.0  # a first load from a network drive may take most of them
_MOST_COLUMNS, _NAMES = 110, 11


@dataclass(frozen=True)
class DoctorResult:
    """What the doctor has found.

    Attributes:
        checks: a line each, in the order in which they are printed.
        status: 0 if all is well, 1 for warnings, 3 where medimg will not work.
    """

    checks: tuple[Check, ...]
    status: int


def doctor(
    data: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    output_dir: str | Path = "outputs",
    cache_dir: str | Path | None = None,
    arch: str | None = None,
    image_size: int | None = None,
    seconds: float = _MOST_SECONDS,
) -> DoctorResult:
    """Look at this machine and say what would stop or slow a training, and what to do.

    Args:
        data: a data set to look at as well: a folder, a table, an .npz file; or one image.
        weights: a file of weights to look at as well.
        output_dir: where results will be written.
        cache_dir: of the image cache (None: OUTPUT_DIR/cache).
        arch, image_size: of the network whose step and weights are tried; None: the defaults.
        seconds: after which a library that does not load is given up.
    """
    output = Path(output_dir)
    cache = output / "cache" if cache_dir is None else Path(cache_dir)
    asked = {"data": None if data is None else str(data), "arch": arch, "image_size": image_size}
    request = {name: value for name, value in asked.items() if value is not None}
    log = open_log(None)
    with log.progress("looking at this machine", None):
        results = run_probes(GROUPS, request, seconds=seconds)
    num_threads: int | None = results.get("device", Probed()).found.get("num_threads")
    checks = (
        check_python(),
        *check_versions(),
        *check_loaded(list_loaded(results)),
        *check_imports(results),
        *check_device(results),
        check_threads(num_threads),
        *check_codecs(results),
        *check_decoding(results, data=None if data is None else Path(data)),
        check_disk(output),
        check_writable("output", output, flag="--output-dir"),
        check_writable("cache", cache, flag="--cache-dir", more=describe_cache(cache)),
        *check_hub(results, weights=None if weights is None else Path(weights)),
        check_home(),
        check_locale(),
    )
    result = DoctorResult(checks, max(EXIT_STATUS[check.status] for check in checks))
    _print_checks(log, result)
    return result


def _print_checks(log: RunLog, result: DoctorResult) -> None:
    """Print a line for each check, those that are not ok with what to do below them."""
    width = min(_MOST_COLUMNS, log.width) if log.width else 10_000
    for check in result.checks:
        first, *rest = _wrap(check.found, width - 9 - _NAMES - 1) or [""]
        lines = [f"{check.status:<9}{check.name:<{_NAMES}} {first}"]
        lines += [f"{'':{9 + _NAMES}} {line}" for line in rest]
        if check.advice:
            lines += [f"{'':9}{line}" for line in _wrap(f"-> {check.advice}", width - 9)]
        for line, style in zip(lines, [_STYLES[check.status], *[""] * len(lines)], strict=False):
            log.write(line, style, is_warning=check.status != "ok")
    counts = [
        say_count(sum(check.status == status for check in result.checks), nouns)
        for status, nouns in (("error", "errors"), ("warning", "warnings"))
    ]
    log.info(f"{' and '.join(counts)}; nothing was written")


def _wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text, paths and names of packages whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
