"""Turn whatever a parser raises for somebody's file into the reason of one sentence.

On damaged or hostile files parsers raise far more than they document: a RecursionError for deep
nesting, an IndexError for an empty number. What the machine refuses, and our own errors, pass.
"""

import errno
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager

from medimg_baseline_cls.errors import MedimgError, RunInterrupted
from medimg_baseline_cls.utils.faults import is_out_of_memory

_MAX_LETTERS = 300


@contextmanager
def parsing(
    refuse: Callable[[str], MedimgError], *, explain: Callable[[Exception], str] | None = None
) -> Generator[None, None, None]:
    """Raise what a parser raises in the block as the error that `refuse` makes of the reason.

    Args:
        refuse: is given half a sentence, such as "it is nested too deeply".
        explain: makes it of the exception; None for `explain_parse_error`.
    """
    try:
        yield
    except (MedimgError, RunInterrupted):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Without a number, or of a seek before the begin, it is a parser's own.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise refuse((explain or explain_parse_error)(error)) from error


def explain_parse_error(error: Exception) -> str:
    """Return why a text cannot be read, in words for the one who wrote it.

    >>> explain_parse_error(RecursionError("maximum recursion depth exceeded"))
    'it is nested too deeply'
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeError):
        return "it is not text in UTF-8"
    if isinstance(error, OverflowError):
        return "a number in it is too large"
    text = " ".join(str(error).split())
    if "set_int_max_str_digits" in text:
        return "a number in it has thousands of digits"
    if not isinstance(error, ValueError | re.error) or not text:  # the words of a programming error
        return "its content is damaged"
    return text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}..."
