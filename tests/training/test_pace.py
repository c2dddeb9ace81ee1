"""The time that an epoch will take is said once, and where it is worth saying."""

import pytest

from medimg_baseline_cls.training.pace import Pace
from medimg_baseline_cls.utils.log import RunLog


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def say(*, batch_seconds: float, first: float = 100.0) -> list[str]:
    """Time 30 batches of 16 images; VAL has a third of the images of TRAIN."""
    capture: list[str] = []
    clock, log = Clock(), RunLog(None, None)
    log.write = lambda line, style="": capture.append(line)
    pace = Pace(log, stage="finetune", sizes=(960, 320), num_left=10, now=clock)
    clock.seconds = first  # what comes once does not count
    for _ in range(30):
        pace.note(16)
        clock.seconds += batch_seconds
    return [line.replace("\xa0", " ") for line in capture]


def test_an_epoch_is_as_many_batches_as_it_has_and_validation() -> None:
    # 960 images in 60 batches of 3 s are 180 s, 320 forward passes alone a ninth of that.
    (line,) = say(batch_seconds=3.0)
    said = "stage finetune: about 3 min 20 s per epoch, 33 min 20 s for 10 epochs, until about "
    assert line.startswith(said)


@pytest.mark.parametrize("batch_seconds", [0.01, 0.5])
def test_a_short_epoch_is_not_worth_a_line(batch_seconds: float) -> None:
    assert say(batch_seconds=batch_seconds) == []
