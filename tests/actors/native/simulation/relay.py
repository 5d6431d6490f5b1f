"""A ref on its way through four processes, each of which lets go as soon as it has handed it on.

    maker (owns the object)  ->  caller  ->  keeper (an actor)  ->  taker

Only the schedule is random: some lanes are slow for the whole run.
"""

from limelight.actors import runtime, serialization
from limelight.actors.actor import make_actor
from limelight.actors.native.running import running

from .program import found


class Maker:
    def make(self, padding):
        """A ref that nobody holds here."""
        return [runtime.current().put([padding])]


class Keeper:
    def __init__(self):
        self.kept = []

    def keep(self, things):
        self.kept += found(things)

    def give(self):
        """What is kept, and kept no more; as a value that holds it."""
        kept, self.kept = self.kept, []
        return [kept, running.get().template.name]

    def items(self):
        """The same, item by item."""
        while self.kept:
            yield [self.kept.pop()]


class Relay:
    """Drives the processes of a world, one step of the story when what it needs is there.

    Attributes:
        taken: what has arrived at the taker.
    """

    def __init__(self, world, padding, streamed):
        self.world = world
        self.streamed = streamed
        self.maker, self.caller, self.keeper, self.taker = world.processes
        with self.caller.acting():
            self.makes = self._create(Maker, self.maker)
            self.keeps = self._create(Keeper, self.keeper)
            exported = serialization.serialize(self.keeps)
        world.settle()
        with self.taker.working():
            self.asked = serialization.deserialize(exported.data, exported.buffers)
        world.settle()
        self.taken = []
        self.given = []
        self.handed_on = False
        with self.caller.working():
            self.made = self.makes.make.remote(padding)

    def _create(self, cls, host):
        self.world.head.place = lambda: host
        made = make_actor(cls, {"isolation": "shared"}).remote()
        self.world.settle()
        return made

    def act(self, process):
        if process is self.caller and self.made is not None and self.made._entry.state:
            value = process.hub.values.read(self.made)
            self.made = None
            self.keeps.keep.remote(value)
            self.handed_on = True
        elif process is self.taker and self.handed_on:
            self._take(process)

    def _take(self, process):
        if self.taken or self.asked is None:
            return
        if not self.given:
            self.given = self._asks()
        elif self.streamed:
            stream = self.given[0]._entry
            if stream.ready():
                item = stream.take(0)
                if item is None:
                    self.given = []
                else:
                    self._read(process, item)
        elif self.given[0]._entry.state:
            self._read(process, self.given.pop())

    def _asks(self):
        if self.streamed:
            return [self.asked.items.options(num_returns="streaming").remote()]
        return [self.asked.give.remote()]

    def _read(self, process, ref):
        self.taken += found(process.hub.values.read(ref))

    def drop_all(self):
        self.made = self.makes = self.keeps = self.asked = None
        self.taken.clear()
        self.given.clear()
