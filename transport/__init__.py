"""Bytes between processes: messages, channels, authentication, bulk streams and shared memory."""
