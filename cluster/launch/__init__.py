"""`cluster up`, `down`, `exec` and `attach`: clusters that are described in a file."""
