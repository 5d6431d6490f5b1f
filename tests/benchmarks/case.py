"""What a benchmark case is: a function that gets an engine and gives figures, and the rows its figures fill."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

SESSION = {"num_cpus": 2, "include_dashboard": False}
"""Every session's settings. Ray's dashboard is off, so that both engines do what they do for tasks and no more."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        key: the figure's name, unique among all rows.
        title: what is measured.
        unit: "/s", "GiB/s", "s", "MiB" or "" (a count).
        goal: how many times better than Ray Limelight shall be, or None where no goal is set.
        more_is_better: a rate, not a time or a size.
    """

    key: str
    title: str
    unit: str
    goal: float | None
    more_is_better: bool = True


@dataclass(frozen=True)
class Case:
    """One driver program.

    Attributes:
        measure: called with the engine's module (`limelight` or `ray`) and the seconds to measure for; gives one
            figure per row, by the row's key.
        rows: the rows it fills.
        in_session: whether the driver starts a session before and shuts it down after; otherwise `measure` does.
    """

    measure: Callable[[Any, float], dict[str, float]]
    rows: tuple[Row, ...]
    in_session: bool = True

    @property
    def name(self) -> str:
        """What the case is called on the command line."""
        return self.measure.__name__


def cases_of(*modules: ModuleType) -> dict[str, Case]:
    """The cases defined in the modules, by name, in their order."""
    return {case.name: case for module in modules for case in vars(module).values() if isinstance(case, Case)}


def case(*rows: Row, in_session: bool = True) -> Callable[[Callable[[Any, float], dict[str, float]]], Case]:
    """Make a function a case with those rows."""
    return lambda measure: Case(measure, rows, in_session)


def rate_case(title: str, goal: float, *, unit: str = "/s") -> Callable[[Callable[[Any, float], float]], Case]:
    """Make a function that gives one rate a case with one row of the function's name."""

    def decorate(function: Callable[[Any, float], float]) -> Case:
        def measure(ray: Any, seconds: float) -> dict[str, float]:
            return {function.__name__: function(ray, seconds)}

        measure.__name__ = function.__name__
        return Case(measure, (Row(function.__name__, title, unit, goal),))

    return decorate
