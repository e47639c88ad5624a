"""The HTML page and the figures of a results folder."""

from gluelamp.reporting.site.page import write_report

__all__ = ["write_report"]
