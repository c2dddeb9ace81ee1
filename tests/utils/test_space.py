"""What does not fit on a disk is refused with both figures, before anything is written."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from medimg_baseline_cls.errors import ResourceError
from medimg_baseline_cls.utils import space
from medimg_baseline_cls.utils.space import DiskNeed, require_space

MEGABYTE = 10**6


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let every disk have 10 MB, of which `free` are free."""
    disk = SimpleNamespace(total=10 * MEGABYTE, free=5 * MEGABYTE)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: disk)
    return disk


def test_needs_on_one_disk_add_up(free: SimpleNamespace, tmp_path: Path) -> None:
    pixels = DiskNeed(tmp_path / "not" / "there", 3 * MEGABYTE, "pixels")
    others = DiskNeed(tmp_path, 2 * MEGABYTE + 1, "checkpoints")
    require_space((pixels,))
    require_space((others,))
    with pytest.raises(ResourceError, match=r"5\.0 MB of .* least 5\.0 MB are") as error:
        require_space((pixels, others))
    assert "(pixels 3.0 MB, checkpoints 2.0 MB)" in str(error.value)
    free.free = 5 * MEGABYTE + 1
    require_space((pixels, others))


def test_disks_are_judged_apart(
    free: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    disks = {tmp_path: 1, tmp_path / "other": 2}
    stat = SimpleNamespace(stat=lambda path: SimpleNamespace(st_dev=disks[path]))
    monkeypatch.setattr(space, "os", stat)
    needs = [DiskNeed(place, 4 * MEGABYTE, "pixels") for place in (tmp_path, tmp_path / "other")]
    require_space(needs)


def test_a_disk_without_figures_is_not_judged(free: SimpleNamespace, tmp_path: Path) -> None:
    free.total = free.free = 0
    require_space((DiskNeed(tmp_path, 1, "pixels"),))


def test_nothing_needed_is_nothing_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", None)
    require_space((DiskNeed(tmp_path, 0, "pixels"),))
