"""The libraries, written against the public API only."""
