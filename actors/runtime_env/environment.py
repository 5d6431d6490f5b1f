"""A runtime environment as users write it."""

import json
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from . import field, installation
from .config import RuntimeEnvConfig
from .rule import refuse_unknown, want_strings

if TYPE_CHECKING:
    import os

HOOK = "worker_process_setup_hook"
PICKLED_HOOK = "_setup_hook"
"""The hook itself, pickled, once it has to leave the process in which it was given."""

LATER = ("container", "image_uri", "nsight", "_nsight", "rocprof_sys", "_rocprof_sys", "mpi", "java_jars")


def _config(given: Any) -> RuntimeEnvConfig:
    refuse_unknown("config", given, ("setup_timeout_seconds", "eager_install", "log_files"))
    return RuntimeEnvConfig(**given)


def _excludes(given: Any) -> list[str]:
    return list(want_strings("excludes", given))


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "env_vars": field.env_vars,
    "working_dir": field.working_dir,
    "py_modules": field.py_modules,
    "excludes": _excludes,
    "pip": installation.pip,
    "uv": installation.uv,
    "conda": installation.conda,
    "py_executable": field.py_executable,
    HOOK: field.setup_hook,
    "config": _config,
}
FIELDS = tuple(_CHECKS)


class RuntimeEnv(dict[str, Any]):
    """A validated runtime environment. A dict, as in Ray: fields that are not given are not in it.

    Args:
        env_vars: environment variables; "${NAME}" in a value stands for the worker's own.
        working_dir: a folder or .zip that becomes the working directory, and importable; or the URI of a package.
        py_modules: folders of Python packages, .py files, .whl files or modules to make importable; or URIs.
        excludes: patterns (as in .gitignore) of files in those folders that are left out.
        pip: requirements, the path of a requirements file, or a dict of `packages` (either), `pip_check`,
            `pip_version` and `pip_install_options`. Installed beside what the node's own interpreter has.
        uv: likewise, with `packages`, `uv_check`, `uv_version` and `uv_pip_install_options`.
        conda: the name or folder of an environment, or a YAML file or dict from which one is made.
        py_executable: the interpreter that workers run in, or a command that runs one. An environment has one of pip,
            uv, conda and py_executable.
        worker_process_setup_hook: a function without arguments, or "module.function", called in each worker before
            user code runs.
        config: a RuntimeEnvConfig or a dict of its arguments.
        _validate: False for what was validated before, maybe on another machine.

    Raises:
        ValueError: an unknown field (the nearest known one is named), or a value that makes no sense.
        TypeError: a value of another type.
        NotImplementedError: a field of Ray's that Limelight does not have yet.
    """

    def __init__(
        self,
        *,
        env_vars: Mapping[str, str] | None = None,
        working_dir: "str | os.PathLike[str] | None" = None,
        py_modules: "Iterable[str | os.PathLike[str] | ModuleType] | None" = None,
        excludes: list[str] | None = None,
        pip: "str | os.PathLike[str] | list[str] | Mapping[str, Any] | None" = None,
        uv: "str | os.PathLike[str] | list[str] | Mapping[str, Any] | None" = None,
        conda: "str | os.PathLike[str] | Mapping[str, Any] | None" = None,
        py_executable: str | None = None,
        worker_process_setup_hook: Callable[[], Any] | str | None = None,
        config: Mapping[str, Any] | None = None,
        _validate: bool = True,
        **others: Any,
    ) -> None:
        super().__init__()
        given = {
            "env_vars": env_vars,
            "working_dir": working_dir,
            "py_modules": py_modules,
            "excludes": excludes,
            "pip": pip,
            "uv": uv,
            "conda": conda,
            "py_executable": py_executable,
            HOOK: worker_process_setup_hook,
            "config": config,
            **others,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if not _validate:
            self.update(given)
            return
        for name, value in given.items():
            self[name] = value
        _want_one_interpreter(self)

    def __setitem__(self, name: str, value: Any) -> None:
        """Set one field, checked; the errors are those of the constructor."""
        if name in LATER:
            raise NotImplementedError(
                f"runtime_env's {name!r} is not in this version of Limelight, which has {', '.join(FIELDS)}. "
                "Until it is, prepare the machines (or their image) with what the tasks need."
            )
        refuse_unknown("runtime_env", [name], FIELDS, LATER)
        checked = _CHECKS[name](value)
        if checked is not None:
            super().__setitem__(name, checked)

    set = __setitem__

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Self:
        """The runtime environment a user gave as a dict, a RuntimeEnv or None."""
        if isinstance(given, cls):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, not {type(given).__name__}.")
        return cls(**(given or {}))

    def to_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in self.items()}

    def serialize(self) -> str:
        """The environment as JSON, a function in it pickled."""
        from .content import portable

        return json.dumps(portable(self), sort_keys=True)

    @classmethod
    def deserialize(cls, text: str) -> Self:
        """What `serialize` wrote, without checking paths again: it may be read on another machine."""
        return cls(**json.loads(text), _validate=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).deserialize, (self.serialize(),)

    def env_vars(self) -> dict[str, str]:
        """The environment variables; {} when there are none."""
        return self.get("env_vars", {})

    def working_dir(self) -> str | None:
        """The working directory: a path or a URI."""
        return self.get("working_dir")

    def py_modules(self) -> list[str]:
        """Paths or URIs of modules; [] when there are none."""
        return self.get("py_modules", [])

    def has_working_dir(self) -> bool:
        """Whether there is a working directory."""
        return "working_dir" in self

    def has_pip(self) -> bool:
        """Whether pip installs packages."""
        return "pip" in self

    def has_uv(self) -> bool:
        """Whether uv installs packages."""
        return "uv" in self

    def has_conda(self) -> bool:
        """Whether workers run in a conda environment."""
        return "conda" in self

    def pip_config(self) -> dict[str, Any]:
        """What pip installs and how; {} when it installs nothing."""
        return self.get("pip", {})

    def uv_config(self) -> dict[str, Any]:
        """What uv installs and how; {} when it installs nothing."""
        return self.get("uv", {})

    def py_executable(self) -> str | None:
        """The command that runs the interpreter."""
        return self.get("py_executable")

    def uris(self) -> list[str]:
        """The packages it needs, without repetition."""
        wanted = [*([self["working_dir"]] if "working_dir" in self else []), *self.py_modules()]
        return list(dict.fromkeys(uri for uri in wanted if "://" in uri))


def _want_one_interpreter(env: Mapping[str, Any]) -> None:
    given = [name for name in ("pip", "uv", "conda", "py_executable") if name in env]
    if len(given) > 1:
        raise ValueError(
            f"runtime_env has {' and '.join(given)}, and each of them says which interpreter the workers run in: give "
            "one. Packages for pip inside a conda environment belong into its YAML, under 'dependencies: - pip:'."
        )
