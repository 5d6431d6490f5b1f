"""What the head must not forget: the state store, by URL, and the writer that stands before it."""
