"""The node manager: one per machine, it runs workers, leases them out and keeps the object store."""
