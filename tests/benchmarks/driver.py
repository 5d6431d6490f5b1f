"""One run of one case: a driver program in the engine's own interpreter.

    python -m tests.benchmarks.driver ENGINE CASE SECONDS

The figures go to standard output as one line of JSON behind `FIGURES`, for anything may stand in the other lines.
"""

import importlib
import json
import sys

from .case import SESSION
from .catalogue import CASES

FIGURES = "@figures "


def main(engine: str, name: str, seconds: float) -> None:
    """Measure the case on the engine of that module name."""
    ray = importlib.import_module(engine)
    case = CASES[name]
    if not case.in_session:
        figures = case.measure(ray, seconds)
    else:
        ray.init(**SESSION)
        try:
            figures = case.measure(ray, seconds)
        finally:
            ray.shutdown()
    print(FIGURES + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
