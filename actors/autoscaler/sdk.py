"""Ray's `ray.autoscaler.sdk`: asking for machines before there is work for them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from .. import runtime
from ..option_rule import label_selector_problem

__all__ = ["request_resources"]


def request_resources(
    num_cpus: int | None = None,
    bundles: Sequence[Mapping[str, float]] | None = None,
    bundle_label_selectors: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Have the cluster be so large that all of this would fit, whatever runs in it; returns at once.

    The cluster's autoscaler adds machines for it at once, within their `max_workers`, and keeps them while idle. What
    the cluster has counts in full, also what is in use. A later call, by whatever program, takes the place of this one:
    `request_resources(num_cpus=0)` ends the wish. Without an autoscaler nothing comes of it.

    Args:
        num_cpus: as many bundles of one CPU each.
        bundles: amounts of resources, each to lie on one machine: `[{"CPU": 4, "GPU": 1}]`.
        bundle_label_selectors: for each bundle, the labels that its machine must have; {}: any machine will do.

    Raises:
        ValueError, TypeError: an argument makes no sense.
    """
    if num_cpus is not None and (isinstance(num_cpus, bool) or not isinstance(num_cpus, int) or num_cpus < 0):
        raise TypeError(f"num_cpus is a whole number of CPUs, at least 0, not {num_cpus!r}.")
    asked = [_checked(index, bundle) for index, bundle in enumerate(bundles or ())]
    selectors = _selectors(bundle_label_selectors, len(asked))
    for _ in range(num_cpus or 0):
        asked.append({"CPU": 1.0})
        selectors.append({})
    runtime.current().request_resources(asked, selectors)


def _checked(index: int, bundle: Any) -> dict[str, float]:
    if not isinstance(bundle, Mapping):
        raise TypeError(f'bundles must be dicts of resources, such as {{"CPU": 1}}; bundle {index} is {bundle!r}.')
    for kind, amount in cast("Mapping[Any, Any]", bundle).items():
        if not isinstance(kind, str) or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"Bundle {index} must map names of resources to numbers, but has {kind!r}: {amount!r}.")
        if not 0 <= amount < float("inf"):
            raise ValueError(f"Bundle {index} asks for {amount} of {kind!r}: give a finite amount, at least 0.")
    return {kind: float(amount) for kind, amount in cast("Mapping[str, float]", bundle).items() if amount}


def _selectors(given: Any, bundles: int) -> list[Mapping[str, str]]:
    if given is None:
        return [{} for _ in range(bundles)]
    if len(given) != bundles:
        raise ValueError(f"bundle_label_selectors has {len(given)} selectors for {bundles} bundles: give one for each.")
    for index, selector in enumerate(given):
        if problem := label_selector_problem(selector):
            raise ValueError(f"bundle_label_selectors[{index}]: {problem}.")
    return list(given)
