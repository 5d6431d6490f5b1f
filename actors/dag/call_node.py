"""Nodes that stand for calls: of remote functions, of actor classes, and of actors' methods."""

from typing import TYPE_CHECKING, Any

from .node import DAGNode, GraphRun, nodes_in

if TYPE_CHECKING:
    from ..actor import ActorClass
    from ..actor_method import ActorMethod
    from ..task import RemoteFunction


class _CallNode(DAGNode):
    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], before: tuple[DAGNode, ...] = ()) -> None:
        super().__init__([*before, *nodes_in(list(args)), *nodes_in(kwargs)])
        self._args = args
        self._kwargs = kwargs

    def _target(self, run: GraphRun) -> Any:
        """What is called."""
        raise NotImplementedError

    def _run(self, run: GraphRun) -> Any:
        return self._target(run).remote(*run.fill(self._args), **run.fill(self._kwargs))


class FunctionNode(_CallNode):
    """A task: `f.bind(...)`."""

    def __init__(self, function: "RemoteFunction[..., Any]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._function = function

    def _target(self, run: GraphRun) -> Any:
        del run
        return self._function

    def __repr__(self) -> str:
        return f"FunctionNode({self._function!r})"


class ClassNode(_CallNode):
    """An actor: `A.bind(...)`. Every execution makes one of its own.

    The calls bound to its methods run in the order in which they were bound; a call takes along all before it.
    """

    def __init__(self, actor_class: "ActorClass[..., Any]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._class = actor_class
        self._calls = _Calls(self, actor_class)

    def _target(self, run: GraphRun) -> Any:
        del run
        return self._class

    def __getattr__(self, name: str) -> "_UnboundMethod":
        if name.startswith("_") or name not in self._calls.signatures:
            raise AttributeError(f"{self!r} has no method {name!r}", name=name)
        return _UnboundMethod(self._calls, name, {})

    def __repr__(self) -> str:
        return f"ClassNode({self._class!r})"


class ClassMethodNode(_CallNode):
    """A call of an actor's method: `handle.method.bind(...)`, or of an actor that is in the graph itself."""

    def __init__(
        self,
        method: "ActorMethod | _UnboundMethod",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        before: tuple[DAGNode, ...] = (),
    ) -> None:
        super().__init__(args, kwargs, before)
        self._method = method

    def _target(self, run: GraphRun) -> Any:
        return self._method.of(run) if isinstance(self._method, _UnboundMethod) else self._method

    def __repr__(self) -> str:
        return f"ClassMethodNode({self._method!r})"


class _Calls:
    """What the methods of an actor that is a node have in common: the actor, and the call that was bound last."""

    def __init__(self, owner: ClassNode, actor_class: "ActorClass[..., Any]") -> None:
        descriptor = actor_class._descriptor  # noqa: SLF001 - its public names are the user's
        self.owner = owner
        self.name = descriptor.name
        self.signatures = {name: method.signature for name, method in descriptor.methods.items()}
        self.last: tuple[DAGNode, ...] = ()


class _UnboundMethod:
    """A method of an actor that is a node: there is nothing to call before the graph is executed."""

    def __init__(self, calls: _Calls, name: str, options: dict[str, Any]) -> None:
        self._calls = calls
        self._name = name
        self._options = options

    def options(self, **options: Any) -> "_UnboundMethod":
        """The method with other options, as `ActorMethod.options`."""
        return _UnboundMethod(self._calls, self._name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """Note a call down, to run after those bound before."""
        calls = self._calls
        calls.signatures[self._name].check(f"{calls.name}.{self._name}", args, kwargs)
        made = ClassMethodNode(self, args, kwargs, (calls.owner, *calls.last))
        calls.last = (made,)
        return made

    def of(self, run: GraphRun) -> Any:
        """The method of the actor that an execution has made."""
        method = getattr(run.made(self._calls.owner), self._name)
        return method.options(**self._options) if self._options else method

    def __repr__(self) -> str:
        return f"{self._calls.owner!r}.{self._name}"
