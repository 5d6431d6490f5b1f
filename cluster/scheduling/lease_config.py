"""The times and limits that a lease machine works by."""

import msgspec

from .worker_pool import PoolConfig


class LeaseConfig(msgspec.Struct, frozen=True):
    """Times in seconds.

    Attributes:
        pool: the worker pool's limits.
        threshold: how busy (0 to 1) the node may get before other nodes are considered for new demand.
        ask_timeout: how long the scheduler's word is awaited before the node serves demand beyond `threshold` anyway.
        report_interval: least time between reports; new unmet demand is told after `urgent_interval`. The head may have
            more left between them, up to `refresh_interval` (`ReportPace`).
        refresh_interval: a report is sent this often although nothing changed, as the node's sign of life.
        quantum: how long a lease is left alone while another demand holds nothing.
        patience: how long a large request waits before smaller ones are kept from what it lacks.
        tick: how often waiting demand is looked at for fairness.
        cpu_free_growth: a class that needs no CPU gets as many workers as there are CPUs, and one more each such time.
    """

    pool: PoolConfig = PoolConfig()
    threshold: float = 0.5
    ask_timeout: float = 0.1
    report_interval: float = 0.05
    urgent_interval: float = 0.005
    refresh_interval: float = 1.0
    quantum: float = 0.5
    patience: float = 0.5
    tick: float = 0.05
    cpu_free_growth: float = 0.1
