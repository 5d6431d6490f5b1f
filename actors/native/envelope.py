"""What is put into cells' inboxes."""

from typing import Any


class Envelope:
    """Pykka's envelope without its generality.

    One is made for each job, and nobody waits for a reply inside the process.
    """

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.reply_to = None
