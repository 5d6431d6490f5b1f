"""What can go wrong with the state store.

StateStoreError      out of reach, refused, damaged, or not what it should be; the message says what to do
└── FencedError      another head has taken over: this one must not write any more
"""


class StateStoreError(Exception):
    """The state store did not do what was asked. The message says which one, why, and what to do; never a password.

    Whether a batch that failed so was written is not known. To write the same batch again is safe.
    """


class FencedError(StateStoreError):
    """This head's leadership is over: nothing of the batch was written, and nothing more ever will be.

    Attributes:
        successor: the token of who leads now; None where nobody does, or that could not be asked.
    """

    def __init__(self, message: str, successor: int | None = None) -> None:
        super().__init__(message)
        self.successor = successor
