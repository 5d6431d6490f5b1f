"""Where machines come from: `node_provider.py` says what a provider does, and each of the others is one."""
