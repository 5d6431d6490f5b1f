"""The core's benchmark: the same programs on Limelight and on Ray.

    python -m tests.benchmarks.core --engines limelight,ray

Each case is run by a fresh driver process in the engine's own interpreter, with two CPUs. The engines take turns run
by run, so that a machine that slows down or speeds up does so for both. A figure is the median of the runs.
"""

import argparse
import datetime as dt
import fnmatch
import json
import sys
from pathlib import Path

from . import engine as engines_module
from .case import Case
from .catalogue import CASES
from .engine import Engine
from .machine import description
from .table import table
from .trial import Trial, run

SECONDS = 2.0
QUICK_SECONDS = 0.3
ENGINES = ("limelight", "ray")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1 when a run failed."""
    options = parser().parse_args(arguments)
    cases = chosen(options.cases)
    engines = [engine_named(name, options.cache) for name in options.engines]
    seconds = QUICK_SECONDS if options.quick else SECONDS
    trials = compare(cases, engines, 1 if options.quick else options.runs, seconds, options.limit)
    figures = gathered(trials, options.engines)
    header = description() | {engine.module: engine.version for engine in engines}
    header["date"] = dt.datetime.now(dt.UTC).date().isoformat()
    print(", ".join(f"{key}: {value}" for key, value in header.items()))
    print()
    print(table(cases, figures, options.engines))
    failures = [trial for trial in trials if trial.failure]
    for trial in failures:
        print(f"\n{trial.case} on {trial.engine}: {trial.failure}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps({"machine": header, "seconds": seconds, "figures": figures}, indent=1))
    return 1 if failures else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m tests.benchmarks.core", description=__doc__.split("\n\n")[0])
    result.add_argument("--engines", type=engine_names, default=list(ENGINES), help="limelight, ray or limelight,ray")
    result.add_argument("--cases", default="*", help=f"names or patterns, with commas between: {', '.join(CASES)}")
    result.add_argument("--runs", type=int, default=3, help="runs of each case on each engine (3)")
    result.add_argument("--quick", action="store_true", help="one short run: to see that all works, not to compare")
    result.add_argument("--limit", type=float, default=120.0, help="seconds a run may take (120)")
    result.add_argument("--json", type=Path, help="write the figures of all runs to this file")
    result.add_argument("--cache", type=Path, default=engines_module.default_cache(), help="where Ray is installed")
    return result


def engine_names(text: str) -> list[str]:
    """Parse --engines."""
    names = sorted(set(text.split(",")))
    if unknown := set(names) - set(ENGINES):
        raise argparse.ArgumentTypeError(
            f"there is no engine {', '.join(sorted(unknown))}; there are limelight and ray"
        )
    return names


def engine_named(name: str, cache: Path) -> Engine:
    """Make an engine ready."""
    return engines_module.limelight() if name == "limelight" else engines_module.ray(cache)


def chosen(patterns: str) -> list[Case]:
    """The cases that the patterns mean, in the table's order.

    Raises:
        SystemExit: a pattern means none.
    """
    wanted = set()
    for pattern in patterns.split(","):
        found = fnmatch.filter(CASES, pattern)
        if not found:
            raise SystemExit(f"No case is called {pattern!r}; there are: {', '.join(CASES)}")
        wanted.update(found)
    return [case for name, case in CASES.items() if name in wanted]


def compare(cases: list[Case], engines: list[Engine], runs: int, seconds: float, limit: float) -> list[Trial]:
    """Run every case `runs` times on each engine, telling on standard error how it goes."""
    trials = []
    for number in range(runs):
        for case in cases:
            # Neither engine always goes first.
            for engine in engines if number % 2 == 0 else reversed(engines):
                trial = run(engine, case.name, seconds, limit)
                said = ", ".join(f"{key} {value:,.4g}" for key, value in trial.figures.items())
                note = trial.failure.partition("\n")[0]
                print(f"run {number + 1}/{runs} {engine.module:9} {said or case.name} {note}", file=sys.stderr)
                trials.append(trial)
    return trials


def gathered(trials: list[Trial], engines: list[str]) -> dict[str, dict[str, list[float]]]:
    """The figures of all runs by engine and row."""
    figures: dict[str, dict[str, list[float]]] = {engine: {} for engine in engines}
    for trial in trials:
        for key, value in trial.figures.items():
            figures[trial.engine].setdefault(key, []).append(value)
    return figures


if __name__ == "__main__":
    sys.exit(main())
