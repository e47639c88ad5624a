"""The page and the figures, made from the frames of reporting."""

from gluelamp.reporting.site.page import write_report

__all__ = ["write_report"]
