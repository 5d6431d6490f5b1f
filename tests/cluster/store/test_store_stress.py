"""Several real processes write, read with checksums, free, and are killed at any moment, with too little memory.

No reader may ever see reused memory, and when all are gone nothing may be left.
"""

import asyncio
import contextlib
import json
import random
import sys
import time

import msgspec
import pytest

from limelight.cluster.store.error import ObjectNotHereError, ObjectStoreFullError
from limelight.cluster.store.spill_storage import DirectoryStorage
from limelight.cluster.store.store import ObjectStore
from limelight.transport.shm.arena import Arena

MIB = 1 << 20
CAPACITY = 20 * MIB

PROCESS = """
import json, os, random, sys, zlib
import msgspec
from limelight.transport.shm.arena import PAGE, Arena, ArenaLocation
from limelight.transport.shm.error import ObjectMovedError
from limelight.transport.shm.nursery import Grant, Nursery
from limelight.transport.shm.stored_object import object_size

process, location, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
arena = Arena.attach(msgspec.msgpack.decode(bytes.fromhex(location), type=ArenaLocation))
rng = random.Random(seed)
nursery, number, held, mine = None, 0, [], []

def tell(*message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()

def give_back(parts):
    for part in parts:
        tell("returned", part.grant, part.offset, part.size, part.touched)

def ask(*message):
    tell(*message)
    answer, retire = json.loads(sys.stdin.readline())
    if nursery is not None and nursery.grant in retire:
        give_back(nursery.retire())
    return answer

def check(view):
    if zlib.crc32(view[1]) != int.from_bytes(view[0], "big"):
        tell("corrupt")

def put():
    global nursery, number
    data = rng.randbytes(rng.choice([1000, 100_000, 300_000, 2_000_000]))
    parts = [zlib.crc32(data).to_bytes(4, "big"), data]
    size = object_size(parts, PAGE)
    offset = None if nursery is None else nursery.reserve(size)
    while offset is None:
        if nursery is not None:
            give_back(nursery.retire())
        grant = ask("grant", size, 4 << 20)
        if grant is None:
            return
        nursery = Nursery(Grant(*grant))
        offset = nursery.reserve(size)
    number += 1
    object_id = bytes.fromhex(process[:24]) + number.to_bytes(16, "big")
    if rng.random() < 0.05:  # a put that fails half-way
        arena.begin(offset, nursery.grant, object_id, bytes.fromhex(process), [4, len(data)])
        nursery.release(offset, size)
        return
    arena.write(offset, nursery.grant, object_id, bytes.fromhex(process), parts)
    tell("sealed", nursery.grant, object_id.hex(), offset, size)
    mine.append(object_id)

def get():
    found = ask("pick")
    if found is None:
        return
    object_id, offset = bytes.fromhex(found[0]), found[1]
    for _ in range(20):
        try:
            view = arena.read(object_id, offset)
        except ObjectMovedError:
            offset = ask("locate", object_id.hex())
            if offset is None:
                return
            continue
        check(view)
        held.append(view)
        tell("read")
        return
    tell("restless")

def drop():
    if held:
        check(held.pop(rng.randrange(len(held))))

def free():
    if mine:
        tell("freed", mine.pop(rng.randrange(len(mine))).hex())

while True:
    rng.choice([put, get, get, drop, drop if len(held) < 6 else free, free if len(mine) > 4 else get])()
    while len(held) > 6:
        drop()
"""


PATIENCE = 60.0
"""Seconds that a machine with other things to do is given beyond a test's own time."""


class World:
    """The node process of the test: the store, and what its processes tell and ask."""

    def __init__(self, directory):
        self.arena = Arena.create(CAPACITY)
        self.to_retire = {}
        storage = DirectoryStorage(directory)
        self.store = ObjectStore(self.arena, CAPACITY, storage, self.ask_return, grant_timeout=0.5)
        self.known = {}
        self.tasks = {}
        self.children = {}
        self.counts = {"corrupt": 0, "restless": 0, "read": 0, "sealed": 0, "full": 0, "killed": 0}
        self.random = random.Random(5)
        self.started = 0

    def ask_return(self, process, grant):
        self.to_retire.setdefault(process, set()).add(grant)

    async def start(self):
        self.started += 1
        process = f"{self.started:08x}" * 4
        location = msgspec.msgpack.encode(self.arena.location).hex()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", PROCESS, process, location, str(self.started),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.children[process] = child
        self.tasks[process] = asyncio.ensure_future(self.serve(process, child))

    async def serve(self, process, child):
        with contextlib.suppress(ConnectionError):
            async for line in child.stdout:
                if not line.endswith(b"\n"):  # it was killed while it wrote
                    break
                answer = await self.handle(process, *json.loads(line))
                if answer is not NotImplemented:
                    child.stdin.write(json.dumps([answer, sorted(self.to_retire.pop(process, ()))]).encode() + b"\n")
                    await child.stdin.drain()
        await child.wait()
        child.stdin.close()
        self.store.process_lost(process)
        self.known = {object_id: place for object_id, place in self.known.items() if place[1] != process}

    async def handle(self, process, kind, *message):
        match kind:
            case "grant":
                try:
                    grant = await self.store.grant(process, *message)
                except ObjectStoreFullError:
                    self.counts["full"] += 1
                    return None
                return [grant.grant, grant.offset, grant.size]
            case "pick":
                if not self.known:
                    return None
                object_id = self.random.choice(list(self.known))
                return [object_id, self.known[object_id][0]]
            case "locate":
                try:
                    offset, _size = await self.store.locate(bytes.fromhex(message[0]))
                except (ObjectNotHereError, ObjectStoreFullError):
                    return None
                if message[0] in self.known:
                    self.known[message[0]] = (offset, self.known[message[0]][1])
                return offset
            case "sealed":
                grant, object_id, offset, size = message
                self.known[object_id] = (offset, process)
                self.store.sealed(process, grant, bytes.fromhex(object_id), process, offset, size)
            case "returned":
                self.store.returned(process, *message)
            case "freed":
                self.known.pop(message[0], None)
                self.store.freed(bytes.fromhex(message[0]))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return NotImplemented

    def has_seen_all(self):
        """Everything that can happen has happened, some of it often."""
        stats = self.store.stats()
        return stats.spilled_total and stats.restored_total and min(self.counts["read"], self.counts["sealed"]) > 20

    async def run(self, seconds, processes=3):
        """For as long as that, and until all has been seen: in the same time slower machines see less."""
        for _ in range(processes):
            await self.start()
        end = time.monotonic() + seconds
        while (late := time.monotonic() - end) < 0 or not self.has_seen_all():
            assert late < PATIENCE, (self.store.stats(), self.counts)
            await asyncio.sleep(self.random.uniform(0.2, 0.8))
            victim = self.random.choice([p for p, child in self.children.items() if child.returncode is None])
            assert self.children[victim].returncode is None
            self.children[victim].kill()
            self.counts["killed"] += 1
            await self.start()
            assert self.arena.resident_bytes() <= CAPACITY

    async def end(self):
        for child in self.children.values():
            if child.returncode is None:
                child.kill()
        await asyncio.gather(*self.tasks.values())


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.slow)])
async def test_no_reader_sees_reused_memory_and_nothing_is_left(tmp_path, seconds):
    world = World(str(tmp_path / "spill"))
    try:
        await world.run(seconds)
    finally:
        await world.end()
    deadline = time.monotonic() + 10
    while world.store.stats().resident or list((tmp_path / "spill").iterdir()):
        assert time.monotonic() < deadline, world.store.stats()
        await asyncio.sleep(0.01)
    stats = world.store.stats()
    await world.store.close()
    assert list(tmp_path.iterdir()) == []
    assert (stats.objects, stats.granted, stats.waiting) == (0, 0, 0)
    assert world.counts["corrupt"] == 0
    assert world.counts["restless"] == 0
