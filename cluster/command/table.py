"""Tables that fit a terminal."""

import shutil
from collections.abc import Sequence

_GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Columns as wide as what is in them; the last one is cut where the terminal ends.

    Args:
        header: names of the columns.
        rows: as many texts each.
        width: of the terminal; None: this one's.
    """
    width = width or shutil.get_terminal_size().columns
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    shown = [_GAP.join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in shown)
