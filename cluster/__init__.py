"""System actors and tools: scheduler, node manager, worker pool, zygote, object store, sessions."""
