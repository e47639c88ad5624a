"""Tables as aligned text, for a terminal."""

from __future__ import annotations

from gluelamp.reporting.rendering.tables import Table, plain


def table_as_text(table: Table) -> str:
    """Return a table as text with aligned columns, with its notes; prose is not wrapped."""
    lines = [
        [column.title for column in table.columns],
        *([plain(cell) for cell in row] for row in table.rows),
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    aligned = [
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for column, cell, width in zip(table.columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*([table.title] if table.title else []), *aligned, *table.notes]) + "\n"
