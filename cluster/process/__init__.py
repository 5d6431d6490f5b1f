"""Processes of a node: the zygote that forks workers, their output, how they end, and how a node process is started."""
