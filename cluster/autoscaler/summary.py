"""What the autoscaler has done and cannot do, for `cluster status`."""

import msgspec

from .fleet import Stage
from .machine import Autoscaler


class TypeSummary(msgspec.Struct, frozen=True):
    """One node type: how many machines are at which stage, the bounds, and how its launches fail, "" where they do not.

    Attributes:
        retry_in: seconds until a launch is tried again.
    """

    name: str
    min_workers: int
    max_workers: int
    stages: dict[Stage, int]
    failure: str = ""
    retry_in: float = 0.0


class ScalingSummary(msgspec.Struct, frozen=True):
    """The whole. `news`: (seconds ago, what was decided and why), the newest last."""

    types: list[TypeSummary]
    unmet: list[str]
    news: list[tuple[float, str]]

    def lines(self) -> list[str]:
        """As people read it."""
        told: list[str] = []
        for one in self.types:
            stages = ", ".join(f"{count} {stage}" for stage, count in one.stages.items()) or "none"
            told.append(f"{one.name}: {stages} (min {one.min_workers}, max {one.max_workers})")
            if one.failure:
                told.append(f"  launches fail: {one.failure}; tried again in {one.retry_in:.0f} s")
        told += [f"cannot be helped: {text}" for text in self.unmet]
        return told + [f"{ago:.0f} s ago: {text}" for ago, text in self.news]


def summary(autoscaler: Autoscaler, now: float, news: int = 10) -> ScalingSummary:
    """How things are, with so many of the latest news."""
    types: list[TypeSummary] = []
    names = dict.fromkeys([*autoscaler.config.node_types, *autoscaler.fleet.counts])
    for name in names:
        node_type = autoscaler.config.node_types.get(name)
        failure = autoscaler.backoff.failures.get(name)
        types.append(
            TypeSummary(
                name,
                node_type.min_workers if node_type is not None else 0,
                node_type.max_workers if node_type is not None else 0,
                {stage: count for stage, count in autoscaler.fleet.counts.get(name, {}).items() if count},
                failure.text if failure is not None else "",
                max(0.0, failure.until - now) if failure is not None else 0.0,
            )
        )
    latest = [(now - when, text) for when, text in autoscaler.news[-news:]]
    return ScalingSummary(types, list(autoscaler.unmet), latest)
