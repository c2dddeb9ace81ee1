"""Earlier results survive a stop at any step, and go when new ones are complete."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.pipeline.steps.earlier_results import keeping_earlier, set_aside
from medimg_baseline_cls.utils.own_output import MARKER

EARLIER = {
    "predictions_test.csv": "earlier",
    "report.html": "earlier",
    "tables/1.csv": "earlier",
    "gradcam/FP/1.png": "earlier",
}


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that follows may run."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "external" / "b"
    for name, text in {**EARLIER, "log.txt": "log", MARKER: ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(place: Path) -> dict[str, str]:
    """Return the results in a folder; nothing may be next to it."""
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert (place / "log.txt").is_file() and (place / MARKER).is_file()
    files = [path for path in place.rglob("*") if path.is_file()]
    texts = {p.relative_to(place).as_posix(): p.read_text(encoding="utf-8") for p in files}
    return {name: text for name, text in texts.items() if name not in ("log.txt", MARKER)}


def score(place: Path) -> None:
    """Write new results, fewer than the earlier ones."""
    set_aside(place)
    (place / "predictions_test.csv").write_text("new", encoding="utf-8")
    (place / "tables").mkdir()
    (place / "tables" / "2.csv").write_text("new", encoding="utf-8")


@pytest.mark.parametrize("error", [DataError, KeyboardInterrupt])
def test_what_fails_leaves_the_earlier_results(place: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), keeping_earlier(place):
        score(place)
        raise error
    assert read(place) == EARLIER


def test_what_succeeds_leaves_the_new_results_alone(place: Path) -> None:
    with keeping_earlier(place):
        score(place)
    assert read(place) == {"predictions_test.csv": "new", "tables/2.csv": "new"}


def test_without_earlier_results_leftovers_are_removed(place: Path) -> None:
    (place / "predictions_test.csv").unlink()
    with keeping_earlier(place):
        score(place)
    assert read(place) == {"predictions_test.csv": "new", "tables/2.csv": "new"}


def count_calls(monkeypatch: pytest.MonkeyPatch, *, kill_at: int) -> Callable[[], int]:
    """Count renames and removals; the one of this number does not happen, and none after it."""
    calls = 0

    def watch(name: str) -> None:
        real: Callable[..., object] = getattr(Path, name)

        def call(self: Path, *more: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= kill_at:
                raise KilledError
            return real(self, *more)

        monkeypatch.setattr(Path, name, call)

    for name in ("rename", "mkdir", "rmdir", "unlink"):
        watch(name)
    return lambda: calls


def stop_anywhere(place: Path, monkeypatch: pytest.MonkeyPatch, *, kill_at: int) -> bool:
    """Score again and fail; die at one of the steps. Return whether there was such a step."""
    with monkeypatch.context() as patch:
        num_calls = count_calls(patch, kill_at=kill_at)
        with pytest.raises((KilledError, DataError)), keeping_earlier(place):
            score(place)
            raise DataError("a label")
        return num_calls() >= kill_at


def test_earlier_results_survive_a_kill_at_any_step_and_another_one_at_any_later_step(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command is killed at each step, and so is the one that recovers from it."""
    first = 1
    while stop_anywhere(place, monkeypatch, kill_at=first):
        for second in (1, 2, 3, 5, 8, 13):
            stop_anywhere(place, monkeypatch, kill_at=second)
        with keeping_earlier(place):
            assert read(place) == EARLIER
        first += 1
    assert first > 10
