"""One node's object store: who may write where, what lies where, what moves to disk when memory runs short."""
