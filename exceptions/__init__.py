"""Every error Limelight raises, public as `limelight.exceptions`. Names are Ray's; each class says what to do.

    RayError (also LimelightError)
    ├── RayTaskError (also TaskError)      user code raised; `get` raises it as the user's class too
    ├── TaskCancelledError
    ├── WorkerCrashedError                 the process that ran a task died; `.cause` is a DeathCause
    │   └── NodeDiedError                  and its whole node with it
    ├── OutOfMemoryError                   the memory monitor stopped a task or an actor
    ├── TaskUnschedulableError
    ├── TaskPlacementGroupRemoved
    ├── RuntimeEnvSetupError
    ├── UnserializableException            stands for an exception that cannot travel
    ├── RayActorError
    │   ├── ActorDiedError                 for good; `.cause` is a DeathCause, or the constructor's RayTaskError
    │   │   ├── ActorOutOfMemoryError      (also OutOfMemoryError)
    │   │   └── ActorPlacementGroupRemoved
    │   └── ActorUnavailableError          for now
    ├── ActorUnschedulableError
    ├── ActorAlreadyExistsError            (also ValueError)
    ├── ActorHandleNotFoundError           (also ValueError)
    ├── AsyncioActorExit
    ├── PendingCallsLimitExceeded
    ├── GetTimeoutError                    (also TimeoutError)
    ├── ObjectStoreFullError
    ├── OutOfDiskError
    ├── ObjectLostError
    │   ├── ObjectFreedError
    │   ├── OwnerDiedError
    │   ├── ObjectFetchTimedOutError
    │   ├── ReferenceCountingAssertionError   (also AssertionError)
    │   └── ObjectReconstructionFailedError
    │       ├── ObjectReconstructionFailedMaxAttemptsExceededError
    │       └── ObjectReconstructionFailedLineageEvictedError
    ├── ObjectRefStreamEndOfStreamError
    ├── OufOfBandObjectRefSerializationException
    ├── RaySystemError
    ├── LocalRayletDiedError
    ├── RpcError                           the head did not answer in time
    └── AuthenticationError

Not here: Ray's errors of compiled graphs and of other languages, which Limelight does not have.
"""

from .actor import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorHandleNotFoundError,
    ActorOutOfMemoryError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AsyncioActorExit,
    PendingCallsLimitExceeded,
    RayActorError,
)
from .death import DeathCause, DeathKind
from .error import LimelightError, RayError
from .object import (
    GetTimeoutError,
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectReconstructionFailedLineageEvictedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
    ObjectRefStreamEndOfStreamError,
    ObjectStoreFullError,
    OufOfBandObjectRefSerializationException,
    OutOfDiskError,
    OwnerDiedError,
    ReferenceCountingAssertionError,
)
from .system import AuthenticationError, LocalRayletDiedError, RaySystemError, RpcError
from .task import (
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    UnserializableException,
    WorkerCrashedError,
)

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorOutOfMemoryError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "DeathCause",
    "DeathKind",
    "GetTimeoutError",
    "LimelightError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectReconstructionFailedLineageEvictedError",
    "ObjectReconstructionFailedMaxAttemptsExceededError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "RayActorError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "TaskCancelledError",
    "TaskError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "WorkerCrashedError",
]

for _public in __all__:
    # Tracebacks and pickles name the public module, so that the files inside can move.
    globals()[_public].__module__ = __name__
