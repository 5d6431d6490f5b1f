"""What a submitted job tells the programs that it starts, in one environment variable: which job they are part of."""

import base64
import os
from collections.abc import Mapping

import msgspec

from ..actors.contract import EnvironmentDefinition, decoder_of, encode
from ..actors.runtime_env import RuntimeEnv, merge

JOB_VARIABLE = "LIMELIGHT_JOB"
MAX_TEXT = 120_000
"""Bytes of one text that a process is started with: Linux takes 128 KiB, with the variable's name."""
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
        """The variable's value.

        Raises:
            ValueError: it is longer than a process can be given.
        """
        text = base64.b64encode(encode(self)).decode("ascii")
        if len(text) > MAX_TEXT:
            raise ValueError(
                f"The metadata and the runtime_env of a job are {len(text) * 3 // 4} bytes, and may be "
                f"{MAX_TEXT * 3 // 4} together. Put what is large into files of the working_dir."
            )
        return text

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
