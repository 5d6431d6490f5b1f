"""A process that serves many must not be taken over by what one of them sends: it never unpickles anything.

Heads and node managers pass on what users' programs have pickled, as bytes. An unpickler runs what a pickle names, so
a defect that opened one there would give the process away. This makes such a defect an error.
"""

import sys
from typing import Any


class UnpicklingRefusedError(RuntimeError):
    """A process that must not unpickle was about to."""


def refuse_unpickling() -> None:
    """From now on, no pickle of this process finds the class or function that it names (PEP 578). Cannot be undone.

    Children by `fork` inherit it: call it after the zygote, whose workers unpickle, is there.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        module, name = arguments[0], arguments[1]
        raise UnpicklingRefusedError(
            f"A pickle that names {module}.{name} was about to be opened here. Heads and node managers never unpickle: "
            "only processes that run users' code do."
        )
