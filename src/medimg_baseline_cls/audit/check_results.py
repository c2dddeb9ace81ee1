"""The result of a check: findings with verdict, count, examples and advice, and tables.

The worst finding is the verdict of the check, and the worst check that of the audit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from medimg_baseline_cls.schema import SENTENCE_CHECKS

Verdict = Literal["ok", "note", "warning", "error"]
VERDICTS: tuple[Verdict, ...] = ("ok", "note", "warning", "error")
EXIT_STATUS: dict[Verdict, int] = {"ok": 0, "note": 0, "warning": 1, "error": 3}
MAX_EXAMPLES = 12
MAX_PATHS = 4


@dataclass(frozen=True, slots=True)
class Example:
    """Images that show a finding, and what to see in them; `num_more` are not listed."""

    paths: tuple[str, ...]
    text: str = ""
    num_more: int = 0

    def describe(self) -> str:
        """Return the example in one line.

        >>> Example(("a.png", "b.png", "c.png"), "same").describe()
        'a.png, b.png (same)'
        """
        paths = ", ".join(self.paths[:2])
        return f"{paths} ({self.text})" if paths and self.text else paths or self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        name: the key for programs, such as "identical_across_splits".
        verdict: "error" invalidates a result; a "warning" may bias one; a "note" is worth
            knowing.
        count: of the images, groups or classes that `what` names.
        what: what was found, in a few words.
        advice: one sentence: what to do.
        examples: at most MAX_EXAMPLES.
    """

    name: str
    verdict: Verdict
    count: int
    what: str
    advice: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberTable:
    """A table of numbers: AUROCs, counts. None where a number is undefined.

    The first `num_text` columns are text.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    num_text: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One step of the audit: its findings, and a sentence on what was examined.

    `is_measured` is False where there were too few images: that does not mean "ok".
    """

    name: str
    title: str
    summary: str
    findings: tuple[Finding, ...] = ()
    figures: tuple[NumberTable, ...] = ()
    is_measured: bool = True

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict of its findings; "ok" without any."""
        return worst_verdict(finding.verdict for finding in self.findings)

    @property
    def ranked_findings(self) -> tuple[Finding, ...]:
        """Return its findings, the worst first."""
        return tuple(sorted(self.findings, key=lambda f: -VERDICTS.index(f.verdict)))

    @property
    def counts(self) -> tuple[int | str, ...]:
        """Return the count of each ranked finding; "" where it is a sentence and counts nothing."""
        is_counted = self.name not in SENTENCE_CHECKS
        return tuple(f.count if is_counted else "" for f in self.ranked_findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain values, for audit.json."""
        content = asdict(replace(self, findings=self.ranked_findings))
        return {"verdict": self.verdict if self.is_measured else "not measured", **content}


def not_measured(name: str, title: str, *, reason: str) -> Check:
    """Return a check that could not be made, with the reason."""
    return Check(name, title, f"Not measured: {reason}", is_measured=False)


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of the verdicts.

    >>> worst_verdict(["note", "error", "ok"]), worst_verdict([])
    ('error', 'ok')
    """
    worst: Verdict = "ok"
    for verdict in verdicts:
        if VERDICTS.index(verdict) > VERDICTS.index(worst):
            worst = verdict
    return worst


def list_examples(paths: Sequence[str], texts: Sequence[str] | None = None) -> tuple[Example, ...]:
    """Return the first images of a finding, one example each."""
    shown = [""] * len(paths) if texts is None else texts
    pairs = list(zip(paths, shown, strict=True))[:MAX_EXAMPLES]
    return tuple(Example((path,), text) for path, text in pairs)


def set_example(paths: Sequence[str], text: str = "") -> Example:
    """Return images that belong together as one example.

    >>> set_example(["a", "b", "c", "d", "e"], "same").num_more
    1
    """
    return Example(tuple(paths[:MAX_PATHS]), text, max(0, len(paths) - MAX_PATHS))
