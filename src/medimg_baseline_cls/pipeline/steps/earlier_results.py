"""Keep the earlier results in a folder until new ones are complete, whatever stops the command.

Next to the folder are, for a while and each of them whole after one rename: `.NAME.moving`, files
on their way out of the folder or back into it; `.NAME.earlier`, the earlier results, while those in
the folder are unfinished; `.NAME.old`, what is no longer needed.
"""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from medimg_baseline_cls.utils.own_output import MARKER

_STAY = ("log.txt", MARKER)


@contextmanager
def keeping_earlier(place: Path) -> Generator[None, None, None]:
    """Let a block replace the results in a folder; if it fails, the earlier ones come back.

    Also recovers them from a command that was killed. The caller must be the folder's only writer.
    """
    _recover(place)
    try:
        yield
    except BaseException:
        _recover(place)
        raise
    if _aside(place, "earlier").is_dir():
        _aside(place, "earlier").rename(_aside(place, "old"))
        shutil.rmtree(_aside(place, "old"), ignore_errors=True)


def set_aside(place: Path, *, result: str = "predictions_test.csv") -> None:
    """Empty a folder but for its log: earlier results go to where `keeping_earlier` finds them.

    Without the file `result` there are none.
    """
    if not (place / result).is_file():
        _clear(place)
        return
    moving = _aside(place, "moving")
    moving.mkdir()
    for path in _list(place):
        path.rename(moving / path.name)
    moving.rename(_aside(place, "earlier"))


def _recover(place: Path) -> None:
    moving, earlier = _aside(place, "moving"), _aside(place, "earlier")
    shutil.rmtree(_aside(place, "old"), ignore_errors=True)
    if earlier.is_dir():
        _clear(place)
        earlier.rename(moving)
    if moving.is_dir():
        for path in [*moving.iterdir()]:
            path.rename(place / path.name)
        moving.rmdir()


def _aside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}")


def _clear(place: Path) -> None:
    for path in _list(place):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _list(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.name not in _STAY]
