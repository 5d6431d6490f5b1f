"""Options of tasks, actors and methods: validated once, when they are given, then frozen.

`TaskOptions` and its siblings are what runtimes see: every field is resolved, nothing is optional by accident. Making
them is the slow path; submitting with them does no work on them.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import msgspec

from . import option_rule
from .runtime_env import RuntimeEnv
from .scheduling_strategy import PlacementGroupSchedulingStrategy, SchedulingStrategy

NumReturns = int | Literal["dynamic", "streaming"]
RetryExceptions = bool | tuple[type[Exception], ...]

DEFAULT_MAX_RETRIES = 3
DEFAULT_ASYNC_CONCURRENCY = 1000
_ACCELERATOR_SHARE = 0.001
"""How much of the resource `accelerator_type:X` one task or actor that asks for X takes."""


class Placement(msgspec.Struct, frozen=True):
    """What a task or actor needs, and where it may run.

    Attributes:
        running: quantity of each resource held while it runs: "CPU", "GPU", "memory" (bytes), custom ones.
        placing: what must be free where it is placed; the same, except for actors that were given no resources.
        strategy: the `scheduling_strategy`; None: "DEFAULT", unless a placement group captures what its tasks start.
        label_selector: labels the node must have.
        fallback: label selectors to try in turn when no node meets `label_selector`.
        runtime_env: the environment asked for, as it was given; {} for the job's.
        key: hashable; equal for placements that a worker leased for one of them can serve.
    """

    running: dict[str, float] = {}
    placing: dict[str, float] = {}
    strategy: Any = None
    label_selector: dict[str, str] = {}
    fallback: tuple[dict[str, str], ...] = ()
    runtime_env: dict[str, Any] = {}
    key: Any = ()


class TaskOptions(msgspec.Struct, frozen=True):
    """Options of a task.

    Attributes:
        placement: resources, strategy and environment.
        num_returns: number of return values, or "streaming" or "dynamic".
        max_retries: how often it is run again after its worker died, or as `retry_exceptions` says; -1: always.
        retry_exceptions: whether, or for which exceptions, a task that raised is run again.
        max_calls: a worker ends after that many calls of the function; 0: never.
        name: shown instead of the function's name; "" for that.
        backpressure: a streaming task pauses when so many items have not been taken; -1: never.
        items_per_yield: how many items one `yield` of a sequence makes.
        enable_task_events: whether the state API and the timeline show it.
        metadata: whatever a library attaches.
    """

    placement: Placement
    num_returns: NumReturns = 1
    max_retries: int = DEFAULT_MAX_RETRIES
    retry_exceptions: RetryExceptions = False
    max_calls: int = 0
    name: str = ""
    backpressure: int = -1
    items_per_yield: int = 1
    enable_task_events: bool = True
    metadata: dict[str, Any] | None = None


class ActorOptions(msgspec.Struct, frozen=True):
    """Options of an actor.

    Attributes:
        placement: resources, strategy and environment.
        name: name by which `get_actor` finds it; "": none.
        namespace: namespace of the name; "": the job's.
        lifetime: "detached": lives until it is killed; "non_detached": as long as a handle.
        get_if_exists: return the living actor of that name, if there is one.
        max_restarts: how often it is started again after it died; -1: always.
        max_task_retries: default of that of its methods.
        max_pending_calls: a caller with so many unfinished calls gets PendingCallsLimitExceeded; -1: no limit.
        max_concurrency: calls that run at once: threads, or coroutines of an async actor.
        concurrency_groups: name of each group of methods, and how many of its calls run at once.
        allow_out_of_order_execution: calls need not start in order; None: as suits the actor.
        isolation: "process": a process of its own; "shared": a host process with others.
        enable_task_events: default of that of its methods.
        backpressure: limit of the items not taken of all its streaming methods together; -1: none.
        metadata: whatever a library attaches.
    """

    placement: Placement
    name: str = ""
    namespace: str = ""
    lifetime: Literal["detached", "non_detached"] = "non_detached"
    get_if_exists: bool = False
    max_restarts: int = 0
    max_task_retries: int = 0
    max_pending_calls: int = -1
    max_concurrency: int = 1
    concurrency_groups: dict[str, int] = {}
    allow_out_of_order_execution: bool | None = None
    isolation: Literal["process", "shared"] = "process"
    enable_task_events: bool = True
    backpressure: int = -1
    metadata: dict[str, Any] | None = None


class MethodOptions(msgspec.Struct, frozen=True):
    """Options of a method of an actor, or of one call of it: those of tasks, and these.

    Attributes:
        max_task_retries: how often a call is sent again after the actor died; None: as the actor says.
        concurrency_group: the group it runs in; "": the default one.
    """

    num_returns: NumReturns = 1
    max_task_retries: int | None = None
    retry_exceptions: RetryExceptions = False
    concurrency_group: str = ""
    name: str = ""
    backpressure: int = -1
    items_per_yield: int = 1
    enable_task_events: bool | None = None


def task_options(given: Mapping[str, Any], *, generator: bool, function: str = "the function") -> TaskOptions:
    """Check the options given to `task` and `.options`, and resolve them.

    Args:
        given: options by name.
        generator: the function is a generator function.
        function: its name, for messages.

    Raises:
        ValueError: an option does not exist or its value is not allowed.
        TypeError: an option's value has the wrong type.
    """
    option_rule.check("tasks", option_rule.TASK_RULES, given)
    max_calls = given.get("max_calls")
    if max_calls is None:  # Ray's default too: CUDA gives memory back only when the process ends
        max_calls = 1 if given.get("num_gpus") else 0
    return TaskOptions(
        placement=_placement(given, default_cpus=1),
        num_returns=resolve_num_returns(given.get("num_returns"), generator=generator, function=function),
        max_retries=_default(given.get("max_retries"), DEFAULT_MAX_RETRIES),
        retry_exceptions=_retry_exceptions(given.get("retry_exceptions", False)),
        max_calls=max_calls,
        name=given.get("name") or "",
        backpressure=_default(given.get("_generator_backpressure_num_objects"), -1),
        items_per_yield=_default(given.get("_num_objects_per_yield"), 1),
        enable_task_events=given.get("enable_task_events", True),
        metadata=given.get("_metadata"),
    )


def actor_options(given: Mapping[str, Any], *, is_async: bool) -> ActorOptions:
    """Check the options given to `actor` and `.options`, and resolve them; errors as `task_options`."""
    option_rule.check("actors", option_rule.ACTOR_RULES, given)
    name = given.get("name") or ""
    if given.get("get_if_exists") and not name:
        raise ValueError("get_if_exists=True needs name=: it says which actor to get.")
    if given.get("lifetime") == "detached" and given.get("isolation") == "shared":
        raise ValueError('lifetime="detached" needs isolation="process": a shared host process ends with its job.')
    placement = _actor_placement(given)
    if given.get("isolation") == "shared" and isinstance(placement.strategy, PlacementGroupSchedulingStrategy):
        raise ValueError('A placement group needs isolation="process": light actors hold no resources of their own.')
    if given.get("isolation") == "shared" and not is_async:
        threads = given.get("concurrency_groups") or _default(given.get("max_concurrency"), 1) > 1
        if threads:
            raise ValueError(
                'max_concurrency and concurrency_groups need isolation="process" or async methods: a light actor with '
                "plain methods runs one call at a time."
            )
    return ActorOptions(
        placement=placement,
        name=name,
        namespace=given.get("namespace") or "",
        lifetime=given.get("lifetime") or "non_detached",
        get_if_exists=given.get("get_if_exists", False),
        max_restarts=_default(given.get("max_restarts"), 0),
        max_task_retries=_default(given.get("max_task_retries"), 0),
        max_pending_calls=_default(given.get("max_pending_calls"), -1),
        max_concurrency=_default(given.get("max_concurrency"), DEFAULT_ASYNC_CONCURRENCY if is_async else 1),
        concurrency_groups=_concurrency_groups(given.get("concurrency_groups")),
        allow_out_of_order_execution=given.get("allow_out_of_order_execution"),
        isolation=given.get("isolation", "process"),
        enable_task_events=given.get("enable_task_events", True),
        backpressure=_default(given.get("_actor_generator_backpressure_num_objects"), -1),
        metadata=given.get("_metadata"),
    )


def method_options(given: Mapping[str, Any], *, generator: bool, method: str) -> MethodOptions:
    """Check the options given to `method` and to a method's `.options`, and resolve them; errors as `task_options`."""
    option_rule.check(f"method {method}", option_rule.CALL_RULES, given)
    return MethodOptions(
        num_returns=resolve_num_returns(given.get("num_returns"), generator=generator, function=method),
        max_task_retries=given.get("max_task_retries"),
        retry_exceptions=_retry_exceptions(given.get("retry_exceptions", False)),
        concurrency_group=given.get("concurrency_group") or "",
        name=given.get("name") or "",
        backpressure=_default(given.get("_generator_backpressure_num_objects"), -1),
        items_per_yield=_default(given.get("_num_objects_per_yield"), 1),
        enable_task_events=given.get("enable_task_events"),
    )


def resolve_num_returns(given: NumReturns | None, *, generator: bool, function: str) -> NumReturns:
    """The number of returns: 1 unless given, "streaming" for generators."""
    if given is None:
        return "streaming" if generator else 1
    if isinstance(given, str) and not generator:
        raise ValueError(
            f"num_returns={given!r} can only be used with generator functions (those that yield); {function} is none. "
            "Give the number of values that it returns."
        )
    return given


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _retry_exceptions(value: Any) -> RetryExceptions:
    return value if isinstance(value, bool) else tuple(value)


def _concurrency_groups(given: Any) -> dict[str, int]:
    return (
        dict(given) if isinstance(given, dict) else {group["name"]: group["max_concurrency"] for group in given or ()}
    )


def _demand(given: Mapping[str, Any]) -> dict[str, float]:
    """The resources that were asked for explicitly, without zeros."""
    asked = {
        "CPU": given.get("num_cpus"),
        "GPU": given.get("num_gpus"),
        "memory": given.get("memory"),
        "object_store_memory": given.get("object_store_memory"),
        **(given.get("resources") or {}),
    }
    if given.get("accelerator_type"):
        asked[f"accelerator_type:{given['accelerator_type']}"] = _ACCELERATOR_SHARE
    return {name: float(quantity) for name, quantity in asked.items() if quantity}


def _placement(given: Mapping[str, Any], default_cpus: float) -> Placement:
    demand = _demand(given)
    if given.get("num_cpus") is None and default_cpus:
        demand = {"CPU": float(default_cpus), **demand}
    return _assemble(given, demand, demand)


def _actor_placement(given: Mapping[str, Any]) -> Placement:
    """As in Ray: an actor that was given no resources holds none, but is placed where a CPU is free."""
    demand = _demand(given)
    asked = ("num_cpus", "num_gpus", "accelerator_type")
    if any(given.get(name) is not None for name in asked) or given.get("resources"):
        return _placement(given, default_cpus=1)
    light = given.get("isolation") == "shared"
    return _assemble(given, demand, demand if light else {"CPU": 1.0, **demand})


def _assemble(given: Mapping[str, Any], running: dict[str, float], placing: dict[str, float]) -> Placement:
    strategy = _strategy(given)
    label_selector = given.get("label_selector") or {}
    fallback = tuple(item["label_selector"] for item in given.get("fallback_strategy") or ())
    runtime_env = RuntimeEnv.of(given.get("runtime_env"))
    key = (
        tuple(sorted(running.items())),
        _strategy_key(strategy),
        _freeze(label_selector),
        _freeze(fallback),
        _freeze(runtime_env),
    )
    return Placement(running, placing, strategy, label_selector, fallback, runtime_env, key)


def _strategy(given: Mapping[str, Any]) -> SchedulingStrategy:
    """The strategy, with Ray's older options for placement groups folded in."""
    strategy = given.get("scheduling_strategy")
    group = given.get("placement_group", "default")
    if group is None and strategy is None:
        return "DEFAULT"  # said explicitly: not even in the group that captures
    if group is None or group == "default":
        return strategy
    if strategy is not None:
        raise ValueError(
            "Both scheduling_strategy= and the older placement_group= were given: use "
            "scheduling_strategy=PlacementGroupSchedulingStrategy(...) alone."
        )
    return PlacementGroupSchedulingStrategy(
        group,
        given.get("placement_group_bundle_index", -1),
        given.get("placement_group_capture_child_tasks"),
    )


def _strategy_key(strategy: SchedulingStrategy) -> Hashable:
    if isinstance(strategy, PlacementGroupSchedulingStrategy):
        return (
            strategy.placement_group.id.binary(),
            strategy.placement_group_bundle_index,
            strategy.placement_group_capture_child_tasks,
        )
    return strategy


def _freeze(value: Any) -> Hashable:
    """A hashable equal of plain data."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _freeze(item)) for key, item in value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(map(_freeze, value))
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
