"""How a runtime environment is set up."""

from typing import Any

from .rule import want_strings, want_type


class RuntimeEnvConfig(dict[str, Any]):
    """How a runtime environment is set up: Ray's `RuntimeEnvConfig`.

    Args:
        setup_timeout_seconds: seconds after which setting up fails; -1 for no limit.
        eager_install: set up when the job starts rather than with the first task.
        log_files: accepted as in Ray; files whose last lines are shown when setting up fails.
    """

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ) -> None:
        want_type("config['setup_timeout_seconds']", setup_timeout_seconds, int, "an int")
        want_type("config['eager_install']", eager_install, bool, "a bool")
        if setup_timeout_seconds != -1 and setup_timeout_seconds <= 0:
            raise ValueError(
                "runtime_env's config['setup_timeout_seconds'] must be positive, or -1 for no limit, "
                f"not {setup_timeout_seconds}."
            )
        files = log_files or []
        want_strings("config['log_files']", files)
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=files)
