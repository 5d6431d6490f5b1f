"""Where the head may be: the addresses that a node tries, one after the other. Free of I/O and clocks."""

import msgspec

from ...transport.address import ProcessAddress


class HeadRoute:
    """Begins where the node was told to join.

    Args:
        address: that; without a process id it means whoever answers there.

    Attributes:
        address: the one to try.
    """

    def __init__(self, address: ProcessAddress) -> None:
        self.address = address
        self._known = [address.tcp]
        self._announced = ""

    @property
    def text(self) -> str:
        """The address for people, and for `init(address=...)`."""
        return self.address.tcp or self.address.unix

    @property
    def is_open(self) -> bool:
        """Whether another process may answer there after the one that does now."""
        return not self.address.process_id

    def learn(self, known: list[str]) -> None:
        """These are all addresses where a head leads or stands by; nothing where that is none."""
        self._known = known or self._known

    def announce(self, tcp: str) -> None:
        """A head has said that it leads there: try that next, and the others only after it."""
        self._announced = tcp

    def turn(self) -> None:
        """Try the next address."""
        known, announced = self._known, self._announced
        self._announced = ""
        here = known.index(self.address.tcp) if self.address.tcp in known else -1
        self.address = msgspec.structs.replace(self.address, tcp=announced or known[(here + 1) % len(known)])
