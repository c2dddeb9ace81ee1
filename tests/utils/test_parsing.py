"""What a parser raises becomes a reason in words; what is no fault of the file passes."""

import errno

import pytest

from medimg_baseline_cls.errors import DataError, RunError, RunInterrupted
from medimg_baseline_cls.utils.parsing import parsing


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), IndexError("index out of range"), TypeError("unhashable"), OSError("x")],
)
def test_words_of_a_programming_error_are_not_shown(error: Exception) -> None:
    with pytest.raises(RunError, match=r"^f: its content is damaged$") as caught:  # noqa: SIM117
        with parsing(lambda reason: RunError(f"f: {reason}")):
            raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        *(DataError("ours"), RunInterrupted("stop"), KeyboardInterrupt(), MemoryError()),
        *(OSError(errno.ENOSPC, "full"), RuntimeError("DefaultCPUAllocator: out of memory")),
    ],
)
def test_what_is_no_fault_of_the_file_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:  # noqa: SIM117
        with parsing(lambda reason: RunError(reason)):
            raise error
    assert caught.value is error
