"""Decides when the cluster gets more machines and when it gives some back. Free of I/O: see `machine.py`."""
