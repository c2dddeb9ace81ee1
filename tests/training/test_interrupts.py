import signal
import threading

import pytest

from medimg_baseline_cls.errors import RunInterrupted
from medimg_baseline_cls.training import interrupts
from medimg_baseline_cls.training.interrupts import StopRequest, catch_stop_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def usual_ctrl_c():
    """Python's own handler, also where a shell has started the tests with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(name) for name in SIGNALS]
    with catch_stop_signals() as stop:
        assert not stop.is_set
        signal.raise_signal(number)
        assert stop.is_set
    assert [signal.getsignal(name) for name in SIGNALS] == before


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(name) for name in SIGNALS]
    with pytest.raises(KeyError), catch_stop_signals():
        raise KeyError
    assert [signal.getsignal(name) for name in SIGNALS] == before


def test_an_echo_of_the_signal_changes_nothing():
    with catch_stop_signals() as stop:
        for number in (*SIGNALS, *SIGNALS):
            signal.raise_signal(number)
        assert stop.is_set


def test_a_second_ctrl_c_after_a_while_stops_at_once(monkeypatch):
    monkeypatch.setattr(interrupts, "_PATIENCE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt), catch_stop_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_nothing_is_touched():
    before, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with catch_stop_signals():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


def test_items_end_with_a_stop():
    stop, seen = StopRequest(), []
    with pytest.raises(RunInterrupted, match="in the middle"):
        for item in stop.stopping(range(10), message="in the middle"):
            seen.append(item)
            stop.is_set = item == 3
    assert seen == [0, 1, 2, 3]
