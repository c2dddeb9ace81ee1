"""The collector is off inside the block, and afterwards as it was, whatever happened."""

import gc

import pytest

from medimg_baseline_cls.utils.garbage_collection import collector_paused


def test_the_collector_is_as_before_also_after_an_error_and_inside_another_pause() -> None:
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), collector_paused():
        raise KeyError
    assert gc.isenabled()
