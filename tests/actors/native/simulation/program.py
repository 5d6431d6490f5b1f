"""What users' code does at random: make, pass, return, nest, read, keep and drop refs and handles of actors."""

from types import MappingProxyType

from limelight.actors.actor import ActorHandle, make_actor
from limelight.actors.contract import Template
from limelight.actors.native.entry import FAILED, PENDING
from limelight.actors.native.running import running
from limelight.actors.native.task_record import TaskTemplate
from limelight.actors.object_ref import ObjectRef
from limelight.actors.object_ref_generator import ObjectRefGenerator
from limelight.exceptions import ObjectFreedError, RayActorError, RayError
from limelight.transport.error import TransportError

from .world import GaveUpError

INLINE_LIMIT = 500
KINDS = {"one": (1, "list", 3), "once": (1, "list", 0), "three": (3, "list", 3), "stream": (-1, "streaming", 3)}


class FlakyError(Exception):
    pass


class Placement:
    strategy = None
    label_selector = MappingProxyType({})
    fallback = ()
    runtime_env = MappingProxyType({})


class Keeper:
    """An actor that keeps refs, and gives them away."""

    def __init__(self, *things):
        self.kept = found(things)

    def keep(self, _, *things):
        self.kept += found(things)

    def give(self, padding, *_):
        """Refs from here; older ones than the result, as counting frees no circles."""
        result = running.get().invocation.task_id
        return [[ref for ref in self.kept[:2] if ref.binary() < result], padding]

    def pass_on(self, padding, *things):
        return [found(things)[:2], padding]

    def drop(self, *_):
        del self.kept[::2]


class Program:
    """Drives the processes of a world through `actions` actions."""

    def __init__(self, world, actions, actors):
        self.world = world
        self.random = world.random
        self.reads = 0
        self.ends = 0
        self.left = actions
        self.mixed = set()
        weights = {self.put: 2, self.submit: 4, self.read: 2, self.drop: 2, self.take: 1}
        if actors:
            weights |= {self.create: 1, self.call: 4, self.kill: 2 * (actors == "killed"), self.entrust: 1}
        self.acts, self.weights = list(weights), list(weights.values())
        for number, process in enumerate(world.processes):
            self._prepare(process, number)

    def _prepare(self, process, number):
        hub = process.hub
        spec = process.runtime.templates.lease_spec(Placement(), {}, "task", retriable=True)
        hub.submission.add_class(1, spec)
        process.templates = {}
        for index, (name, (returns, kind, retries)) in enumerate(KINDS.items(), 1):
            extras = {"retry_exceptions": True}
            wire = Template(1000 * (number + 1) + index, "task", name, name.encode(), b"code", returns, extras)
            process.templates[name] = TaskTemplate(wire, 1, retries, kind)
        process.body = lambda *args: self.run(process, args)
        process.keeper = make_actor(Keeper, {"max_restarts": 2, "isolation": "shared", "max_task_retries": 1})

    # what a driver does

    def act(self, process):
        self.left -= 1
        if not self.left:
            self.world.work = None
        self.random.choices(self.acts, self.weights)[0](process)

    def put(self, process):
        process.held.append(self.puts(process, self.value(process)))

    def puts(self, process, value):
        ref = process.runtime.put(value)
        if any(self.is_mixed(thing) for thing in found(value)):
            self.mixed.add(ref.binary()[:24])
        return ref

    def is_mixed(self, thing):
        return isinstance(thing, ActorHandle) or thing.binary()[:24] in self.mixed

    def submit(self, process):
        name = self.random.choice(list(process.templates))
        template = process.templates[name]
        hub = process.hub
        args = self.arguments(process)
        record = hub.values.record(hub.ids.task_id(), template, args, {})
        if any(self.is_mixed(thing) for thing in found(args)):
            self.mixed.add(record.task_id)
        made = process.runtime.results(record, template)
        self.let_go(process, args)
        del args
        hub.wire.post(hub.submission.accept, record)
        process.held.extend(made if isinstance(made, list) else [made])

    def let_go(self, process, args):
        """Often what is handed on is not needed any more."""
        if self.random.random() < 0.5:
            given = found(args)
            process.held = [held for held in process.held if held not in given]

    def create(self, process):
        process.held.append(process.keeper.remote(*self.plain(self.arguments(process))))

    def call(self, process):
        handles = [held for held in process.held if isinstance(held, ActorHandle)]
        if handles:
            handle = self.random.choice(handles)
            name = self.random.choice(["keep", "keep", "give", "pass_on", "pass_on", "drop"])
            args = self.arguments(process)
            if name == "keep":
                args = self.plain(args)
            ref = getattr(handle, name).remote(self.padding(), *args)
            if any(self.is_mixed(thing) for thing in found(args)):
                self.mixed.add(ref.binary()[:24])
            self.let_go(process, args)
            process.held.append(ref)

    def kill(self, process):
        for handle in [held for held in process.held if isinstance(held, ActorHandle)][:1]:
            self.ends += 1
            process.runtime.kill(handle._entry, True)

    def entrust(self, process):
        for handle in [held for held in process.held if isinstance(held, ActorHandle)][:1]:
            if handle._entry.client.link is not None and handle._entry.client.link.channel.error is None:
                value = self.plain([self.value(process)])
                try:
                    process.held.append(process.runtime.put([*value, self.padding()], owner=handle._entry))
                except (GaveUpError, RayActorError):
                    pass
                except TransportError:
                    if not self.world.deaths:
                        self.world.problem("a process is said to be lost that lives")

    def read(self, process):
        for ref in self.refs(process):
            if ref._entry.state == PENDING:
                process.hub.wire.post(process.hub.borrowing.fetch, ref._entry)
            else:
                self.check(process, ref)

    def check(self, process, ref):
        self.reads += 1
        try:
            value = process.hub.values.read(ref)
        except GaveUpError:
            pass
        except ObjectFreedError:
            if not (self.world.deaths or self.world.gave_up):
                self.world.problem(f"{ref} was freed although process {process.id} holds it")
        except RayActorError as error:
            lived = "never came to life" not in str(error)
            if lived and not self.ends and not self.world.deaths:
                self.world.problem("an actor ended that had handles")
        except (RayError, FlakyError):
            if ref._entry.state != FAILED:
                self.world.problem(f"{ref} has a value, and reading it raises an error")
        else:
            if self.left > 0 and self.random.random() < 0.5:
                process.held.extend(found(value))

    def take(self, process):
        for generator in [held for held in process.held if isinstance(held, ObjectRefGenerator)]:
            stream = generator._entry
            if stream.ready():
                ref = stream.take(0)
                if ref is None:
                    process.held.remove(generator)
                else:
                    process.held.append(ref)

    def drop(self, process):
        self.random.shuffle(process.held)
        del process.held[: self.random.randint(0, len(process.held))]

    # what a task does

    def run(self, process, args):
        if self.random.random() < 0.15:
            raise FlakyError
        things = found(args)
        if things and self.random.random() < 0.3:
            process.held.append(self.random.choice(things))
        if self.left > 0 and self.random.random() < 0.3:
            self.act(process)
        return self.result(process, things)

    def result(self, process, things):
        template = running.get().template.name
        if template == "three":
            return tuple(self.piece(process, things) for _ in range(3))
        if template == "stream":
            return (self.piece(process, things) for _ in range(self.random.randint(0, 4)))
        return self.piece(process, things)

    def piece(self, process, things):
        """Part of a result. Of older refs it holds only the task's arguments: counting frees no circles."""
        if things and self.random.random() < 0.3:
            things = [self.puts(process, [self.random.choice(things), self.padding()])]
        inside = [self.random.choice(things)] if things and self.random.random() < 0.7 else []
        return [inside, self.padding()]

    # values

    def padding(self):
        return b"x" * self.random.choice([0, 0, 2 * INLINE_LIMIT])

    @staticmethod
    def things(process):
        return [held for held in process.held if isinstance(held, ObjectRef | ActorHandle)]

    @staticmethod
    def refs(process):
        return [held for held in process.held if isinstance(held, ObjectRef)]

    def arguments(self, process):
        return tuple(self.random.choice([self.thing, self.value])(process) for _ in range(self.random.randint(0, 3)))

    def plain(self, args):
        """Of arguments those that lead to no actor: one that keeps what leads to itself would never end."""
        return [arg for arg in args if not any(self.is_mixed(thing) for thing in found(arg))]

    def thing(self, process):
        things = self.things(process)
        return self.random.choice(things) if things else 0

    def value(self, process):
        things = self.things(process)
        inside = [self.random.choice(things) for _ in range(self.random.randint(0, 2))] if things else []
        return [inside, self.padding()]


def found(value):
    """The refs and handles in a value."""
    if isinstance(value, ObjectRef | ActorHandle):
        return [value]
    return [thing for item in value for thing in found(item)] if isinstance(value, list | tuple) else []
