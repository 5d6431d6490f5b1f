"""Local mode: `init(local_mode=True)` runs tasks and actors in the caller's thread, for debuggers and quick tests.

Results are those of a cluster: arguments and results are copied by pickling, errors are of the same types, actors are
called in order. What differs, because there is one process and one thread:

* A task runs, to its end, before `.remote()` returns; a method of an async actor until it must wait for something.
* Module globals and the environment are the driver's own: tasks see and change them.
* Methods of a threaded actor (`max_concurrency`, concurrency groups) run one after another. One that blocks until
  another runs waits for ever: make it `async`.
* Nothing is isolated: resources are not limited, runtime environments are not set up, a crash is the driver's.
"""
