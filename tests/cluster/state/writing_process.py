"""A head in a process of its own that writes to a store until it is stopped: for tests that kill it or pause it.

Arguments: the store's URL, the lease's seconds. It writes n = 1, 2, 3 … into two tables at once, and into one of a
hundred keys, and prints "leads TOKEN", then each n once it is durable, then "fenced" if it comes to that.
"""

import asyncio
import itertools
import sys

import uvloop

from limelight.cluster.state.error import FencedError
from limelight.cluster.state.state_writer import StateWriter
from limelight.cluster.state.store_url import make_store


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(url: str, ttl_s: float) -> None:
    store = make_store(url)
    await store.open()
    leadership = await store.acquire(b"the process", ttl_s)
    fenced: list[FencedError] = []
    go_on = asyncio.Event()

    def end(error: FencedError) -> None:
        fenced.append(error)
        go_on.set()

    writer = StateWriter(leadership, end)
    say("leads", leadership.token)
    for n in itertools.count(1):
        value = str(n).encode()
        writer.put("left", "n", value)
        writer.put("many", f"key {n % 100}", value)
        writer.put("right", "n", value)
        writer.when_durable(lambda n=n: say(n))
        await asyncio.sleep(0)
        if fenced:
            break
        if n % 20 == 0:
            go_on.clear()
            writer.when_durable(go_on.set)
            await go_on.wait()
    say("fenced")
    await writer.close()
    await store.close()


uvloop.run(main(sys.argv[1], float(sys.argv[2])))
