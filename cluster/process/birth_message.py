"""What a node process and the driver that starts it say to each other until the node is ready.

The driver writes a `BirthOrder` to the new process's stdin: not to its arguments, which every user of the machine can
read. The process answers on a pipe of its own, each message with a 4-byte little-endian length before it.
"""

import msgspec

LENGTH_SIZE = 4


class BirthOrder(msgspec.Struct, frozen=True, array_like=True):
    """Driver to node process.

    Attributes:
        driver_pid: the driver, whose death ends the node; 0 for a node that nobody waits for.
        driver_identity: `process_identity` of the driver.
        config: for the node's main function.
    """

    driver_pid: int
    driver_identity: str
    config: bytes


class OutputAt(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Node process to driver: my stdout and stderr go to that file from now on."""

    path: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Node process to driver: I serve."""

    info: bytes


class StartFailed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Node process to driver: I can not start, and end now."""

    error_type: str
    message: str
    trace: str


BirthReport = OutputAt | Ready | StartFailed
report_decoder: msgspec.msgpack.Decoder[BirthReport] = msgspec.msgpack.Decoder(BirthReport)
