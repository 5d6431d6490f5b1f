"""joblib on the cluster: what scikit-learn and others run with joblib runs on every machine.

register_limelight()
with joblib.parallel_config(backend="limelight"):
    search.fit(x, y)
"""

# joblib has no types, and what pyright infers from the bodies of its base classes is narrower than what they mean:
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false

from collections.abc import Callable
from typing import Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from ... import cluster_resources, init, is_initialized
from .multiprocessing import Pool


def register_limelight() -> None:
    """Make the cluster available to joblib, as the backend "limelight"."""
    register_parallel_backend("limelight", LimelightBackend)


def register_ray() -> None:
    """Like `register_limelight`, under the name that Ray's users give: "ray"."""
    register_parallel_backend("ray", LimelightBackend)


class LimelightBackend(AutoBatchingMixin, ParallelBackendBase):
    """joblib's seam for engines: batches of calls run in a `Pool`.

    Args:
        nesting_level: joblib's.
        inner_max_num_threads: joblib's.
        ray_remote_args: options of the pool's actors, such as `{"num_cpus": 2}`.
    """

    supports_timeout = True
    supports_retrieve_callback = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **backend_kwargs: Any,
    ) -> None:
        self._remote_args = ray_remote_args
        self._pool: Pool | None = None
        self._processes = 1
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **backend_kwargs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many jobs run at once: as joblib counts, with the cluster's CPUs for the machine's."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if not is_initialized():
            init()
        cpus = max(1, int(cluster_resources().get("CPU", 1)))
        if n_jobs is None:
            return 1
        return max(1, cpus + 1 + n_jobs) if n_jobs < 0 else min(n_jobs, cpus)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_settings: Any) -> int:
        """Start the pool for one `joblib.Parallel`.

        Raises:
            FallbackToBackend: one job at a time runs in this process; joblib would never end a pool of one.
        """
        self._processes = self.effective_n_jobs(n_jobs)
        if self._processes == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self._pool = Pool(self._processes, ray_remote_args=self._remote_args)
        self.parallel = parallel
        return self._processes

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None) -> Any:
        """Run one batch; `callback` gets its result or its error."""
        if self._pool is None:
            raise RuntimeError("joblib submitted work to a backend that it has terminated.")
        return self._pool.apply_async(func, callback=callback, error_callback=callback)

    apply_async = submit

    def retrieve_result_callback(self, out: Any) -> Any:
        """The result that a callback was given, or its error, raised."""
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self) -> None:
        """End the pool."""
        self.reset_batch_stats()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.terminate()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End what runs; with `ensure_ready`, be ready for more."""
        self.terminate()
        if ensure_ready:
            self.configure(self._processes, self.parallel)


__all__ = ["LimelightBackend", "register_limelight", "register_ray"]
