"""The comparison as a table of text, at most 100 columns wide."""

import statistics
from collections.abc import Iterable, Mapping

from .case import Case, Row

Figures = Mapping[str, Mapping[str, list[float]]]
"""By engine, by row key: the figures of all runs."""


def table(cases: Iterable[Case], figures: Figures, engines: list[str]) -> str:
    """One line a row: medians of each engine, and where there are two the ratio, the goal and how they compare."""
    compared = engines == ["limelight", "ray"]
    titles = ["case", *engines, *(["ratio", "goal", ""] if compared else [])]
    lines = [titles, *(_line(row, figures, engines, compared) for case in cases for row in case.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    rule = ["-" * width for width in widths]
    return "\n".join(_aligned(line, widths) for line in [titles, rule, *lines[1:]])


def ratio(row: Row, limelight: float, other: float) -> float:
    """How many times better Limelight is."""
    better, worse = (limelight, other) if row.more_is_better else (other, limelight)
    return better / worse if worse else float("inf")


def _line(row: Row, figures: Figures, engines: list[str], compared: bool) -> list[str]:
    medians = [statistics.median(runs) if (runs := figures[engine].get(row.key)) else None for engine in engines]
    cells = [row.title, *("failed" if median is None else f"{number(median)}{row.unit}" for median in medians)]
    if not compared:
        return cells
    goal = "" if row.goal is None else f"{row.goal:g}x"
    if None in medians:
        return [*cells, "", goal, "" if row.goal is None else "short"]
    times = ratio(row, *medians)
    verdict = "" if row.goal is None else "pass" if times >= row.goal else "short"
    return [*cells, f"{times:.3g}x" if times < 1000 else f"{times:,.0f}x", goal, verdict]


def number(value: float) -> str:
    """Three digits, or more where the whole part has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(cells: list[str], widths: list[int]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join([first.strip().ljust(widths[0]), *others]).rstrip()
