"""What a run will write, against the free space of the disks it writes to."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.errors import ResourceError
from medimg_baseline_cls.utils.log import SILENT, RunLog
from medimg_baseline_cls.utils.quantities import format_bytes


@dataclass(frozen=True)
class DiskNeed:
    """At least so many bytes will be written below `place`, for what `what` names."""

    place: Path
    num_bytes: int
    what: str


def require_space(needs: Sequence[DiskNeed], *, log: RunLog = SILENT) -> None:
    """Refuse to begin what does not fit on its disks, with the needed and the free space.

    A disk without a size (0, as of some network drives) is not checked. A quota
    is not seen.

    Raises:
        ResourceError: a disk has less room than is needed.
    """
    by_disk: dict[int, list[DiskNeed]] = {}
    for need in needs:
        if need.num_bytes:
            by_disk.setdefault(os.stat(_existing(need.place)).st_dev, []).append(need)  # noqa: PTH116
    for together in by_disk.values():
        place, total = together[0].place, sum(need.num_bytes for need in together)
        disk = shutil.disk_usage(_existing(place))
        parts = ", ".join(f"{need.what} {format_bytes(need.num_bytes)}" for need in together)
        if disk.total and total > disk.free:
            raise ResourceError(
                f"{place} has {format_bytes(disk.free)} of free disk space, but at least "
                f"{format_bytes(total)} are needed ({parts}): free some space, or choose another "
                "place with --output-dir and --cache-dir",
                place,
            )
        log.info(
            f"disk: at least {format_bytes(total)} needed ({parts}), {format_bytes(disk.free)} free"
        )


def _existing(place: Path) -> Path:
    absolute = place.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())
