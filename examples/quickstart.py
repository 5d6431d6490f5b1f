"""Twelve tasks of two seconds each: 4 s on 6 CPUs, where one after the other they take 24 s."""

import time

import limelight as ll


@ll.task
def square(x: int) -> int:
    time.sleep(2)
    return x * x


if __name__ == "__main__":
    ll.init()
    cpus = ll.cluster_resources()["CPU"]
    print(f"Limelight runs on {cpus:g} CPUs here. 12 tasks of 2 s each take 24 s one after the other.", flush=True)
    start = time.time()
    print(ll.get([square.remote(i) for i in range(12)]))
    print(f"Time taken: {time.time() - start:.1f} s")
    ll.shutdown()
