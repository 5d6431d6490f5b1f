"""What the keys of runtime environments stand for."""

from typing import TYPE_CHECKING

from ...actors.contract import (
    NODE,
    DefineEnvironment,
    DescribeEnvironment,
    EnvironmentDefinition,
    PrepareEnvironment,
    decoder_of,
)
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.protocol import Call
from .head_state import ENVIRONMENTS, Rows, decode_rows
from .package_desk import HOME

if TYPE_CHECKING:
    from .head import Head


class EnvironmentDesk:
    """Part of the head actor; on its loop.

    Definitions are passed on unread, and never logged: environment variables may be secrets. They are kept for good,
    since a detached actor may be restarted long after the job that made it.
    """

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._definitions: dict[str, bytes] = {}
        head.methods |= {"DefineEnvironment": self._on_define, "DescribeEnvironment": self._on_describe}

    def restore(self, rows: Rows) -> None:
        """Know what a head before this one knew."""
        self._definitions = decode_rows(rows, ENVIRONMENTS, bytes)

    def _on_define(self, channel: Channel, call: Call) -> None:
        defined: DefineEnvironment = decoder_of(DefineEnvironment).decode(call.body)
        self.define(defined.key, defined.definition)
        channel.reply(call.call_id, b"")
        if defined.eager:
            wanted = PrepareEnvironment(defined.key, self._head.jobs.job_of(channel.peer.process_id))
            for node in self._head.nodes.values():
                self._head.process.notify(node.address, NODE, wanted)

    def define(self, key: str, definition: bytes) -> None:
        """Know what a key stands for."""
        if key not in self._definitions:
            self._definitions[key] = definition
            self._head.state.put(ENVIRONMENTS, key, definition)

    def packages_of_head(self) -> list[str]:
        """The packages that nodes get from the head."""
        described = map(decoder_of(EnvironmentDefinition).decode, self._definitions.values())
        return list(dict.fromkeys(uri for one in described for uri, home in one.packages.items() if home == HOME))

    def packages_elsewhere(self, key: str) -> dict[str, ProcessAddress]:
        """The packages of an environment that nodes get from one another, and the node that had each first."""
        definition = self._definitions.get(key)
        packages = decoder_of(EnvironmentDefinition).decode(definition).packages if definition else {}
        return {uri: home for uri, home in packages.items() if home != HOME}

    def _on_describe(self, channel: Channel, call: Call) -> None:
        wanted: DescribeEnvironment = decoder_of(DescribeEnvironment).decode(call.body)
        channel.reply(call.call_id, self._definitions.get(wanted.key, b""))
