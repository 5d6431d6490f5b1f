"""Whether a head that has just begun to lead hears its nodes at all, or is cut off itself. Free of I/O and clocks.

A head that was restarted, or took over, has not spoken to the nodes that it knows: its store told it of them. If the
first of them come, the others are silent by their own fault, and are given up as usual. If none comes, two things may
be: all have failed in the same moment as the head before, or this head is where nobody reaches it (it has its lease
from a store that it does reach). They look the same from here, and mistakes do not weigh the same: to give up nodes
that live ends their work and starts their actors twice, for good; to wait for dead ones makes what needs them wait.
So a head that hears nobody first distrusts itself, as `Silence` does of one that did not look:

- Nobody's silence counts until a node of another host has come, and only from then on. So after a cut all have the time
  to come back that they always have after a change of heads.
- Where other heads stand by, which did reach this one, it leaves the cluster to them after the usual patience: one of
  them may be where the nodes are. A head that follows one that had to do so knows it (`deaf` in the state), and when
  each has tried it is waited, so that heads whose nodes are all dead do not hand the cluster on for ever.
- It waits for `DEAF_S` at most. Then the nodes are taken for dead as usual: actors that restart do so on nodes that are
  left or join, and the autoscaler replaces its machines.
- Silence of nodes on the host of the head before tells nothing: that host is likely to be what failed. Where there are
  no others (a cluster of two machines) those are given up as usual.

A head that has heard nodes of other hosts and hears none any more is not meant here: see `NodeDesk`.
"""

from .silence import LOOK_S

DEAF_S = 60.0
"""How long a head that has begun to lead and hears nobody takes itself to be cut off: a switch restarts in less."""


class Hearing:
    """Counts how long this head has heard nobody. Not thread-safe.

    Args:
        most: seconds after which it is no longer thought to be cut off.
        look: seconds between two looks.
    """

    def __init__(self, most: float = DEAF_S, look: float = LOOK_S) -> None:
        self._look = look
        self._most = round(most / look)
        self._looks = 0
        self._awaited: dict[str, bool] = {}
        self.hears = False
        """Whether a node of another host has come to this head."""

    def awaited(self, node_id: str, *, telling: bool) -> None:
        """The head knows a node of another host by its store. `telling`: nothing explains it if that is silent."""
        self._awaited[node_id] = telling

    def heard(self, node_id: str, *, afar: bool) -> None:
        """A node has come. `afar`: from another host."""
        self._awaited.pop(node_id, None)
        self.hears = self.hears or afar

    def forget(self, node_id: str) -> None:
        """The node is gone."""
        self._awaited.pop(node_id, None)

    @property
    def is_deaf(self) -> bool:
        """Whether this head may well be cut off itself."""
        return not self.hears and self._looks <= self._most and any(self._awaited.values())

    @property
    def deaf_s(self) -> float:
        """For how many seconds of those that the head was listening it has been so."""
        return self._looks * self._look

    def look(self) -> list[str]:
        """Look around; to be called every `look` seconds.

        Returns:
            The nodes whose silence counts for nothing so far.
        """
        if not self.is_deaf:
            return []
        self._looks += 1
        return list(self._awaited)
