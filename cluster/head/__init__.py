"""The head: the actors that know the whole cluster."""
