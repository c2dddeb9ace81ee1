"""One self-contained page from a run folder."""

from medimg_baseline_cls.report.html import write_report

__all__ = ["write_report"]
