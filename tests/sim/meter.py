"""What decisions cost: in steps, which repeat to the last one, and in CPU time, which does not."""

import gc
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import limelight

_ROOT = Path(limelight.__file__).resolve().parent
_NATIVE = _ROOT / "actors" / "native"
_FOLDERS = ("scheduling", "pull")
_FILES = ("demand_split", "lease_class", "locality", "task_choice", "directory", "copies", "copy_tree")
COUNTED = {str(path.resolve()) for folder in _FOLDERS for path in (_ROOT / "cluster" / folder).glob("*.py")} | {
    str(_NATIVE / f"{name}.py") for name in _FILES
}
"""The files whose steps count: the scheduler's and those of copying objects, and none of the simulation's own."""


class Collection:
    """CPU time that Python's garbage collector took.

    It looks at every object of the simulation, those of all nodes and callers too, within whichever part happens to
    make an object just then: what that part decides has no share in it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0
        gc.callbacks.append(self._heard)

    def close(self) -> None:
        """Listen no more."""
        gc.callbacks.remove(self._heard)

    def _heard(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began


class Cost(NamedTuple):
    """What one decision of a part costs on average. `seconds` of CPU time; 0.0 where only steps were counted.

    A call is one decision, or as many as it returned commands.
    """

    decisions: int
    steps: float
    seconds: float


class Meter:
    """Adds up what the parts of a simulated cluster cost.

    A step is a line that is executed, each round of a loop or comprehension anew. Counting them takes ten times as long
    as running them, so in long runs only some calls are counted, and the others timed.

    Args:
        every: of each part's calls, one in so many is counted, drawn by lot: calls come in rounds (a report, a grant,
            an answer), and every fifth of them may be always the dear one, or never.

    Attributes:
        collection: what the garbage collector took since the meter was made, which is not on the account of a part.
    """

    def __init__(self, every: int = 1) -> None:
        self.collection = Collection()
        self._every = every
        self._lot = random.Random(every)
        self._decisions: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()  # decisions whose steps were counted
        self._steps: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        self._lines = [0]
        self._enter = _counter(self._lines)

    def run(self, part: str, work: Callable[..., Any], *args: Any) -> Any:
        """Call `work`, on the account of `part`."""
        if self._lot.randrange(self._every):
            collected, began = self.collection.seconds, time.thread_time()
            answer = work(*args)
            self._seconds[part] += time.thread_time() - began - (self.collection.seconds - collected)
            self._decisions[part] += _decisions(answer)
            return answer
        lines, before = self._lines[0], sys.gettrace()
        sys.settrace(self._enter)
        try:
            answer = work(*args)
        finally:
            sys.settrace(before)
        self._steps[part] += self._lines[0] - lines
        self._decisions[part] += _decisions(answer)
        self._counted[part] += _decisions(answer)
        return answer

    def seconds(self, part: str) -> float:
        """CPU seconds that a part has taken so far."""
        return self._seconds[part]

    def costs(self) -> dict[str, Cost]:
        """By part; the run is over."""
        self.collection.close()
        return {
            part: Cost(
                decisions,
                self._steps[part] / max(1, self._counted[part]),
                self._seconds[part] / max(1, decisions - self._counted[part]),
            )
            for part, decisions in self._decisions.items()
        }


def _counter(lines: list[int]) -> Callable[[FrameType, str, object], Callable[..., Any] | None]:
    """A trace function that adds up executed lines of the files that count. Most of a metered run is spent in it."""
    known: dict[CodeType, Callable[..., Any] | None] = {}

    def step(_frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        if event == "line":
            lines[0] += 1
        return step

    def enter(frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        try:
            return known[code]
        except KeyError:
            known[code] = step if str(Path(code.co_filename).resolve()) in COUNTED else None
            return known[code]

    return enter


def _decisions(answer: object) -> int:
    return max(1, len(answer)) if isinstance(answer, list) else 1


def unmeasured(_part: str, work: Callable[..., Any], *args: Any) -> Any:
    """Just calls it: what a simulation without a meter uses."""
    return work(*args)
