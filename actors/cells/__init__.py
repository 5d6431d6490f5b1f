"""The cells: ways of running a Pykka actor (on a thread, on an asyncio loop, on a shared pool of threads)."""
