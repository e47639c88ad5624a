"""From records to tables: pandas only, never a model."""

from gluelamp.reporting.results import write_tables

__all__ = ["write_tables"]
