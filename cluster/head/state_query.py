"""The cluster's state, for those who ask."""

from typing import TYPE_CHECKING, Any

from ..cluster_message import RegisterNode

if TYPE_CHECKING:
    from .head import Head


class StateQuery:
    """Answers `Runtime.state` with plain data."""

    def __init__(self, head: "Head") -> None:
        self._head = head

    def answer(self, kind: str) -> Any:
        """One part of the state.

        Raises:
            LookupError: there is no such part.
        """
        match kind:
            case "nodes":
                return self._nodes()
            case "cluster_resources":
                return self._sum(available=False)
            case "available_resources":
                return self._sum(available=True)
            case "autoscaler":
                return self._head.scaling()
            case "trouble":
                return self._head.trouble
            case "actors":
                return self._head.actors.rows()
            case "dashboard":
                return self._head.dashboard
            case "placement_groups":
                return self._head.groups.rows()
            case _:
                raise LookupError(f"there is no state of kind {kind!r}")

    def _nodes(self) -> list[dict[str, Any]]:
        desk = self._head.node_desk
        rows = [self._node(node, "") | self._drain(node_id) for node_id, node in desk.alive.items()]
        return rows + [self._node(node, reason) for node, reason in desk.dead.values()]

    @staticmethod
    def _node(node: RegisterNode, death: str) -> dict[str, Any]:
        return {
            "NodeID": node.node_id.hex(),
            "Alive": not death,
            "alive": not death,
            "NodeManagerAddress": node.host,
            "NodeName": node.name or node.host,
            "Resources": {} if death else {kind: units / 10_000 for kind, units in node.resources.items()},
            "Labels": node.labels,
            "DeathReasonMessage": death,
            "Draining": False,
            "DrainReason": "",
        }

    def _drain(self, node_id: str) -> dict[str, Any]:
        """What is shown beside of a node that is alive."""
        known = self._head.view.nodes.get(node_id)
        draining = known is not None and known.draining
        return {"Draining": draining, "DrainReason": self._head.drains.reason_of(node_id) if draining else ""}

    def _sum(self, available: bool) -> dict[str, int]:
        total: dict[str, int] = {}
        for node in self._head.nodes.values():
            known = self._head.view.nodes.get(node.node_id.hex())
            amounts = known.unused() if available and known is not None else node.resources
            for kind, units in amounts.items():
                total[kind] = total.get(kind, 0) + units
        return total
