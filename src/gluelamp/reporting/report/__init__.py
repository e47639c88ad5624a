"""The page and the figures, made from the frames of reporting."""

from gluelamp.reporting.report.page import write_report

__all__ = ["write_report"]
