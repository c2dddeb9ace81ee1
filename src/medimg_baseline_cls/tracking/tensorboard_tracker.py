"""Write records as event files of TensorBoard, into OUTPUT_DIR/tensorboard/RUN.

The writer is TensorBoard's own and needs no torch. Where a run is sent again by another process, or
has other values than before, a new file replaces the ones that are there, and tells a TensorBoard
that is open to forget them.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from medimg_baseline_cls.tracking.memory import find_home
from medimg_baseline_cls.tracking.record import RunRecord
from medimg_baseline_cls.tracking.trackers import Tracker
from medimg_baseline_cls.utils.own_output import mark_own
from medimg_baseline_cls.utils.visible import quote_words

FOLDER = "tensorboard"
_OF_INTERVALS = ("_lower", "_upper", "_sd", "_min", "_max")
# Their classes are made when they are imported, so that no type checker knows them.
Event: Any = vars(event_pb2)["Event"]
SessionLog: Any = vars(event_pb2)["SessionLog"]
Summary: Any = vars(summary_pb2)["Summary"]
_Marked = tuple[tuple[str, int], object, Any]  # tag and step, its value or a digest, the event


class _EventFile:
    """A new event file of a run, instead of earlier ones."""

    def __init__(self, folder: Path) -> None:
        earlier = list(folder.glob("events.out.tfevents.*"))
        self._writer, self._sent = EventFileWriter(str(folder)), dict[tuple[str, int], object]()
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=0.0, step=0, session_log=start))
        self._writer.flush()
        for path in earlier:
            path.unlink(missing_ok=True)

    def has_others(self, events: list[_Marked]) -> bool:
        """Return whether one of the events is there with another value."""
        return any(self._sent.get(place, mark) != mark for place, mark, _ in events)

    def add(self, events: list[_Marked]) -> None:
        """Write the events that are not there."""
        for place, mark, event in events:
            if place not in self._sent:
                self._writer.add_event(event)
                self._sent[place] = mark
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class TensorBoardTracker(Tracker):
    """A folder of event files for each run and each sweep."""

    def __init__(self) -> None:
        self._files: dict[Path, _EventFile] = {}

    def send(self, record: RunRecord, *, known: Mapping[str, str]) -> Mapping[str, str]:
        """Write what is new."""
        home, events = find_home(record.folder) / FOLDER, list(_list_events(record))
        folder = home / record.name
        file = self._files.pop(folder, None)
        if file is not None and file.has_others(events):
            file.close()
            file = None
        if file is None:
            folder.mkdir(parents=True, exist_ok=True)
            mark_own(home)
            file = _EventFile(folder)
        file.add(events)
        if record.state == "training":
            self._files[folder] = file
        else:
            file.close()
        return {"id": FOLDER, "see": quote_words("tensorboard", "--logdir", str(home))}


def make() -> Tracker:
    """Return the tracker."""
    return TensorBoardTracker()


def _list_events(record: RunRecord) -> Iterator[_Marked]:
    yield from _list_texts(record)
    for epoch in record.epochs:
        for name, value in epoch.metrics.items():
            scalar = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            yield _mark(name, value, event=_make_event(scalar, time=epoch.time, step=epoch.step))
    at_end: Any = {"time": record.scored, "step": record.num_epochs}
    for name, value in record.metrics.items():
        if name.endswith(_OF_INTERVALS):
            continue  # a chart for each would hide the others: they are in the table of estimates
        scalar = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        yield _mark(name, value, event=_make_event(scalar, **at_end))
    for name, path in record.artifacts.items():
        if path.suffix == ".png":
            tag, data = name.removesuffix(".png"), path.read_bytes()
            event = _make_event(_make_picture(tag, data), **at_end)
            yield _mark(tag, hashlib.sha256(data).digest(), event=event)


def _list_texts(record: RunRecord) -> Iterator[_Marked]:
    """Yield settings and tags as tables, and the settings for the page that compares runs."""
    for tag, header, values in (
        ("settings", "setting", record.params),
        ("origin", "what", record.tags),
        ("estimates", "metric", _list_estimates(record.metrics)),
    ):
        rows = [f"| {name} | {_escape(value)} |" for name, value in values.items()]
        text = "\n".join([f"| {header} | value |", "|---|---|", *rows])
        yield _mark(tag, text, event=_make_event(text_pb(tag, text), time=record.start, step=0))
    settings = {name: _read_number(value) for name, value in record.params.items()}
    summary = hparams_pb(settings, trial_id=record.name, start_time_secs=record.start)
    event = _make_event(summary, time=record.start, step=0)
    yield _mark("hparams", str(settings), event=event)


def _list_estimates(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return each metric as text, with its interval or its spread over runs.

    >>> _list_estimates({"test/auroc": 0.9, "test/auroc_lower": 0.8, "test/auroc_upper": 0.95})
    {'test/auroc': '0.9000 (lower 0.8000, upper 0.9500)'}
    """
    found: dict[str, str] = {}
    for name, value in metrics.items():
        if name.endswith(_OF_INTERVALS):
            continue
        ends = {end[1:]: metrics[name + end] for end in _OF_INTERVALS if name + end in metrics}
        more = ", ".join(f"{end} {number:.4f}" for end, number in ends.items())
        found[name] = f"{value:.4f}" + (f" ({more})" if more else "")
    return found


def _mark(tag: str, mark: object, *, event: Any) -> _Marked:
    return (tag, event.step), mark, event


def _make_event(summary: Any, *, time: float, step: int) -> Any:
    return Event(wall_time=time, step=step, summary=summary)


def _make_picture(tag: str, data: bytes) -> Any:
    width, height = struct.unpack(">II", data[16:24])
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _read_number(text: str) -> float | str:
    with suppress(ValueError):
        return float(text)
    return text
