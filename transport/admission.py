"""Whether a server takes a `Hello`: what keeps it at one channel between two processes. Pure decisions, no I/O."""

import enum

import msgspec

from .protocol import REFUSED_CROSSED, REFUSED_STALE, REFUSED_UNKNOWN, Hello


class Existing(msgspec.Struct, frozen=True):
    """The live channel that the server has with the dialler: its number, and who dialled it."""

    number: int
    dialled_by_peer: bool


class Admission(enum.Enum):
    """What to do with a `Hello`; the refusals have the values that go into `Welcome.refusal`."""

    NEW = "new"
    RESUME = "resume"
    REPLACE = "replace"  # end the existing channel, which the dialler has given up, and open a new one
    CROSSED = REFUSED_CROSSED
    UNKNOWN = REFUSED_UNKNOWN
    STALE = REFUSED_STALE

    @property
    def refused(self) -> bool:
        """Whether this is one of the refusals."""
        return self in _REASONS

    @property
    def reason(self) -> str:
        """A refusal in words."""
        return _REASONS.get(self, "")


_REASONS = {
    Admission.CROSSED: "both processes dialled at once, and the other dial is the one that counts",
    Admission.UNKNOWN: "the process does not know the channel that should be resumed; it has given it up",
    Admission.STALE: "the dialler has opened a newer channel",
}


def admit(hello: Hello, own_id: str, existing: Existing | None, *, dialling: bool) -> Admission:
    """Decide about a `Hello`; `dialling` says whether this process is dialling the same peer at the moment.

    When both dial, the dial of the smaller process id counts. A process dials anew only when it has no channel, so the
    existing channel ends when its dialler sends a new `Hello`, or when a new one names it in `replaces`.
    """
    if hello.resume:
        known = existing is not None and existing.dialled_by_peer and existing.number == hello.number
        return Admission.RESUME if known else Admission.UNKNOWN
    if existing is None:
        ours_counts = dialling and own_id < hello.address.process_id
        return Admission.CROSSED if ours_counts else Admission.NEW
    if existing.dialled_by_peer:
        return Admission.REPLACE if hello.number > existing.number else Admission.STALE
    return Admission.REPLACE if hello.replaces == existing.number else Admission.CROSSED
