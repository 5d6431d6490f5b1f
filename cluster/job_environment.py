"""What a submitted job tells the programs that it starts, in one environment variable: which job they are part of."""

import base64
import os
from collections.abc import Mapping

import msgspec

from ..actors.contract import EnvironmentDefinition, decoder_of, encode
from ..actors.runtime_env import RuntimeEnv, merge

JOB_VARIABLE = "LIMELIGHT_JOB"
_OVERRIDE_VARIABLES = ("LIMELIGHT_OVERRIDE_JOB_RUNTIME_ENV", "RAY_OVERRIDE_JOB_RUNTIME_ENV")


class JobEnvironment(msgspec.Struct, frozen=True):
    """A job, as its programs know it.

    Attributes:
        submission_id: its name.
        metadata: what was submitted with it.
        definition: its runtime environment, an encoded `EnvironmentDefinition`; b"": it has none.
    """

    submission_id: str
    metadata: dict[str, str] = {}
    definition: bytes = b""

    def variable(self) -> str:
        """The variable's value."""
        return base64.b64encode(encode(self)).decode("ascii")

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment of the job."""
        if not self.definition:
            return RuntimeEnv()
        known: EnvironmentDefinition = decoder_of(EnvironmentDefinition).decode(self.definition)
        return RuntimeEnv.deserialize(known.env)

    def merged(self, given: RuntimeEnv, environment: Mapping[str, str] = os.environ) -> RuntimeEnv:
        """The runtime environment of a program of the job that gives `init` one of its own.

        Raises:
            ValueError: both say something about the same, and neither is told to give way; as in Ray.
        """
        own = self.runtime_env
        clash = [name for name in given if name in own and name != "env_vars"]
        clash += [f"env_vars[{name!r}]" for name in given.get("env_vars", {}) if name in own.get("env_vars", {})]
        if clash and not any(environment.get(name) == "1" for name in _OVERRIDE_VARIABLES):
            raise ValueError(
                f"init(runtime_env=...) says otherwise than the job {self.submission_id}, which was submitted with a "
                f"runtime_env, about {', '.join(clash)}. Say it in one place, or set {_OVERRIDE_VARIABLES[0]}=1 to "
                "have the program's win."
            )
        return merge(own, given)


def current_job(environment: Mapping[str, str] = os.environ) -> JobEnvironment | None:
    """The job that this process is part of; None where it is part of none."""
    text = environment.get(JOB_VARIABLE)
    return _decoder.decode(base64.b64decode(text)) if text else None


_decoder = msgspec.msgpack.Decoder(JobEnvironment)
