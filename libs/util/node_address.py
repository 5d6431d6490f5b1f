"""The address of the node that the calling code runs on."""

from ... import get_runtime_context, nodes


def get_node_ip_address() -> str:
    """The address under which other nodes reach this one: 127.0.0.1 in a session of one machine."""
    node_id = get_runtime_context().get_node_id()
    return next(node["NodeManagerAddress"] for node in nodes() if node["NodeID"] == node_id)
