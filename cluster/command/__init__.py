"""The `cluster` command: one module for each of its verbs."""
