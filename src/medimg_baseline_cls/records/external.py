"""A metric of a locked model on another data set, minus what it is on TEST."""

from dataclasses import dataclass
from typing import Any

from medimg_baseline_cls.records.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDifference(Estimate):
    """External minus internal, with the interval of the difference.

    Attributes:
        internal: the metric on TEST of the run; None where it is undefined there.
        external: the metric on the other data set.
    """

    internal: float | None = None
    external: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        own = {"internal": self.internal, "external": self.external}
        return own | Estimate.to_json(self)
