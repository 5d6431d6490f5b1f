"""From options, as users give them, to templates, as workers get them."""

import contextlib
import hashlib
import itertools
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ...exceptions import RpcError
from ..actor_descriptor import ActorDescriptor
from ..contract import HEAD, LeaseSpec, QueryState, Template
from ..options import ActorOptions, MethodOptions, NumReturns, Placement, RetryExceptions, TaskOptions
from ..scheduling_strategy import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
    check_bundle,
)
from ..serialization import serialize
from ..task import FunctionDescriptor
from .code_size import check_code_size
from .task_record import TaskTemplate
from .timeline import UNTRACED
from .value_codec import to_inline

if TYPE_CHECKING:
    from .hub import Hub

K = TypeVar("K")
V = TypeVar("V")

UNIT = 10_000
"""Resources travel as integers, in ten-thousandths."""


_MOST = 1024
"""How many templates of a function, or of all methods, are kept: a program may make new options for every call."""


class Pickled:
    """What a runtime keeps with a descriptor: the code by value, and what that holds on to."""

    __slots__ = ("alike", "code", "code_id", "refs", "session", "templates")

    def __init__(self, target: Any, name: str, session: object) -> None:
        self.session = session  # of which the templates, and the refs in the code, are
        serialized = serialize(target, name)
        check_code_size(target, name, serialized.size)
        self.code = to_inline(serialized)
        self.code_id = hashlib.blake2b(self.code, digest_size=16).digest()
        self.refs = serialized.refs  # refs that the code captured live as long as the code
        self.templates: dict[Any, tuple[Any, TaskTemplate]] = {}  # by the identity of options
        self.alike: dict[Any, TaskTemplate] = {}  # by what options say


class Templates:
    """Makes templates, one for each function (or method) with each set of options. From any thread."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._session = object()
        self._ids = itertools.count(1)
        self._class_keys = itertools.count(1)
        self._classes: dict[Any, int] = {}
        self._bundles: dict[bytes, list[dict[str, float]]] = {}
        self._methods: dict[tuple[bytes, str, int, int], tuple[Any, TaskTemplate]] = {}
        self._methods_alike: dict[Any, TaskTemplate] = {}

    def of_task(self, function: FunctionDescriptor, options: TaskOptions) -> TaskTemplate:
        """The template of a task. Found by the options' identity; else, where they are new, by what they say."""
        pickled: Pickled | None = function.pickled
        if pickled is None or pickled.session is not self._session:
            pickled = function.pickled = Pickled(function.function, f"the function {function.name}", self._session)
        captured = self._hub.captured
        key = (id(options), captured) if captured else id(options)
        found = pickled.templates.get(key)
        if found is None or found[0] is not options:
            found = (options, self._task_like(function, pickled, options, captured))
            _keep(pickled.templates, key, found)
        return found[1]

    def _task_like(
        self, function: FunctionDescriptor, pickled: Pickled, options: TaskOptions, captured: bytes
    ) -> TaskTemplate:
        says = (
            options.placement.key,
            captured,
            options.num_returns,
            options.max_retries,
            options.retry_exceptions,
            options.max_calls,
            options.name,
            options.backpressure,
        )
        found = pickled.alike.get(says)
        if found is None:
            found = self._make_task(function, pickled, options)
            _keep(pickled.alike, says, found)
        return found

    def _make_task(self, function: FunctionDescriptor, pickled: Pickled, options: TaskOptions) -> TaskTemplate:
        num_returns, kind = _returns(options.num_returns)
        extras = _extras(options.retry_exceptions, options.backpressure)
        extras["function"] = f"{function.module}.{function.name}"
        if options.max_calls:
            extras["max_calls"] = options.max_calls
        if not options.enable_task_events:
            extras[UNTRACED] = True
        wire = Template(
            next(self._ids), "task", options.name or function.name, pickled.code_id, pickled.code, num_returns, extras
        )
        key = self.class_of(options.placement, options.name or function.name, options.max_retries != 0)
        return TaskTemplate(
            wire, key, options.max_retries, kind, extras.get("backpressure", 0), alone=options.max_calls > 0
        )

    def of_method(
        self, descriptor: ActorDescriptor, name: str, options: MethodOptions, actor_retries: int
    ) -> TaskTemplate:
        """The template of a method call."""
        key = (descriptor.key, name, id(options), actor_retries)
        found = self._methods.get(key)
        if found is None or found[0] is not options:
            says = (descriptor.key, name, options, actor_retries)
            template = self._methods_alike.get(says)
            if template is None:
                template = self._make_method(descriptor, name, options, actor_retries)
                _keep(self._methods_alike, says, template)
            found = (options, template)
            _keep(self._methods, key, found)
        return found[1]

    def _make_method(
        self, descriptor: ActorDescriptor, name: str, options: MethodOptions, actor_retries: int
    ) -> TaskTemplate:
        num_returns, kind = _returns(options.num_returns)
        extras = _extras(options.retry_exceptions, options.backpressure)
        extras["method"] = name
        extras["function"] = f"{descriptor.module}.{descriptor.name}.{name}"
        if options.enable_task_events is False:
            extras[UNTRACED] = True
        if options.concurrency_group:
            extras["concurrency_group"] = options.concurrency_group
        wire = Template(
            next(self._ids), "method", options.name or f"{descriptor.name}.{name}", b"", b"", num_returns, extras
        )
        retries = actor_retries if options.max_task_retries is None else options.max_task_retries
        return TaskTemplate(wire, 0, retries, kind, extras.get("backpressure", 0))

    def of_creation(self, descriptor: ActorDescriptor, options: ActorOptions) -> TaskTemplate:
        """The template that makes an actor. Found by the options' identity, as for tasks."""
        pickled: Pickled | None = descriptor.pickled
        if pickled is None or pickled.session is not self._session:
            pickled = descriptor.pickled = Pickled(descriptor.cls, f"the class {descriptor.name}", self._session)
        if options.name:  # used once: kept, one for each name would pile up
            return self._make_creation(descriptor, pickled, options)
        found = pickled.templates.get(id(options))
        if found is None or found[0] is not options:
            found = (options, self._make_creation(descriptor, pickled, options))
            _keep(pickled.templates, id(options), found)
        return found[1]

    def _make_creation(self, descriptor: ActorDescriptor, pickled: Pickled, options: ActorOptions) -> TaskTemplate:
        extras: dict[str, Any] = {
            "async": descriptor.is_async,
            "max_concurrency": options.max_concurrency,
            "concurrency_groups": options.concurrency_groups,
            "light": options.isolation == "shared",
            "name": options.name,
            "namespace": options.namespace,
            "outline": to_inline(
                serialize((descriptor.outline(), options.max_task_retries, options.max_pending_calls))
            ),
        }
        if not options.enable_task_events:
            extras[UNTRACED] = True
        wire = Template(next(self._ids), "create", descriptor.name, pickled.code_id, pickled.code, 1, extras)
        return TaskTemplate(wire, 0, options.max_restarts)

    def class_of(self, placement: Placement, name: str, retriable: bool) -> int:
        """The scheduling class of a placement; errors as `lease_spec`."""
        known = (placement.key, self._hub.captured, retriable)
        key = self._classes.get(known)
        if key is None:
            spec = self.lease_spec(placement, placement.running, name, retriable=retriable)
            made = next(self._class_keys)
            self._hub.wire.post(lambda _: self._hub.submission.add_class(made, spec), None)
            key = self._classes.setdefault(known, made)  # another thread's, where that was quicker
        return key

    def lease_spec(
        self,
        placement: Placement,
        resources: dict[str, float],
        name: str,
        *,
        capture: bool = True,
        retriable: bool = True,
    ) -> LeaseSpec:
        """What the scheduler gets to know of a placement.

        Args:
            placement: as asked for.
            resources: `placement.running` or `.placing`.
            name: of the task or actor, for errors.
            capture: go where the placement group that the calling code runs in captures what it starts.
            retriable: it runs again should its worker end.

        Raises:
            ValueError: the placement group that is asked for has no such bundle, or none that could hold this.
        """
        captured = self._hub.captured if capture else b""
        asked = placement.strategy
        if captured and asked is None:
            strategy = _in_group(captured, -1, capture=True)
            check_bundle(name, resources, self._bundles_of(captured), -1)
        else:
            strategy = _strategy(placement)
            if isinstance(asked, PlacementGroupSchedulingStrategy):
                specs = asked.placement_group.bundle_specs
                check_bundle(name, resources, specs, asked.placement_group_bundle_index)
        return LeaseSpec(
            {kind: round(quantity * UNIT) for kind, quantity in resources.items()},
            strategy,
            placement.label_selector,
            self._hub.environment_key(placement.runtime_env),
            self._hub.job_id,
            retriable,
        )

    def _bundles_of(self, group_id: bytes) -> list[dict[str, float]]:
        found = self._bundles.get(group_id)
        if found is None:
            hub = self._hub
            answer = None
            while answer is None:
                with contextlib.suppress(RpcError):  # what is submitted waits for the head, however long it is away
                    answer = hub.ask(hub.head, HEAD, QueryState("placement_groups"))
            groups = msgspec.msgpack.decode(answer)
            rows = [row for row in groups if row["placement_group_id"] == group_id.hex()]
            found = list(rows[0]["bundles"].values()) if rows else []
            _keep(self._bundles, group_id, found)
        return found


def _keep(table: dict[K, V], key: K, value: V) -> None:
    """Add to a table that begins anew when it is full: what is used now is in it again at its next use."""
    if len(table) >= _MOST:
        table.clear()
    table[key] = value


def _returns(num_returns: NumReturns) -> tuple[int, str]:
    if isinstance(num_returns, int):
        return num_returns, "list"
    return -1, num_returns


def _extras(retry_exceptions: RetryExceptions, backpressure: int) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if retry_exceptions is True:
        extras["retry_exceptions"] = True
    elif retry_exceptions:
        extras["retry_exceptions"] = to_inline(serialize(retry_exceptions))
    if backpressure > 0:
        extras["backpressure"] = backpressure
    return extras


def _strategy(placement: Placement) -> dict[str, Any]:
    """A scheduling strategy as plain data."""
    strategy = placement.strategy
    plain: dict[str, Any]
    match strategy:
        case NodeAffinitySchedulingStrategy():
            plain = {
                "kind": "node",
                "node_id": strategy.node_id,
                "soft": strategy.soft,
                "spill": strategy._spill_on_unavailable,
                "fail": strategy._fail_on_unavailable,
            }
        case PlacementGroupSchedulingStrategy():
            plain = _in_group(
                strategy.placement_group.id.binary(),
                strategy.placement_group_bundle_index,
                capture=bool(strategy.placement_group_capture_child_tasks),
            )
        case NodeLabelSchedulingStrategy():
            plain = {"kind": "labels", "hard": _conditions(strategy.hard), "soft": _conditions(strategy.soft)}
        case "SPREAD":
            plain = {"kind": "spread"}
        case _:
            plain = {}
    if placement.fallback:
        plain["fallback"] = list(placement.fallback)
    return plain


def _in_group(group_id: bytes, index: int, *, capture: bool) -> dict[str, Any]:
    return {"kind": "group", "group": group_id.hex(), "bundle": index, "capture": capture}


def _conditions(conditions: Any) -> dict[str, list[Any]]:
    return {label: [type(match).__name__, *match.values] for label, match in conditions.items()}
