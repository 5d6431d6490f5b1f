"""Cases of actors. Classes are defined inside the cases, so that each engine sends them by value."""

from .case import rate_case
from .rate import rate

IN_FLIGHT = 1000


def synchronous_actor(ray):
    @ray.remote
    class Synchronous:
        def nothing(self):
            pass

    return Synchronous


def asynchronous_actor(ray):
    @ray.remote
    class Asynchronous:
        async def nothing(self):
            pass

    return Asynchronous


def one_at_a_time(ray, actor, seconds):
    return rate(lambda: ray.get(actor.nothing.remote()), seconds)


def in_flight(ray, actors, seconds):
    """Rate of calls, 1000 at once, dealt to the actors in turn."""
    turns = actors * (IN_FLIGHT // len(actors))
    return rate(lambda: ray.get([actor.nothing.remote() for actor in turns]), seconds, units=len(turns))


@rate_case("actor call, one at a time", goal=4)
def actor_one_at_a_time(ray, seconds):
    return one_at_a_time(ray, synchronous_actor(ray).remote(), seconds)


@rate_case("actor calls, 1000 in flight", goal=8)
def actor_in_flight(ray, seconds):
    return in_flight(ray, [synchronous_actor(ray).remote()], seconds)


@rate_case("async actor call, one at a time", goal=5)
def async_actor_one_at_a_time(ray, seconds):
    return one_at_a_time(ray, asynchronous_actor(ray).remote(), seconds)


@rate_case("async actor calls, 1000 in flight", goal=12)
def async_actor_in_flight(ray, seconds):
    return in_flight(ray, [asynchronous_actor(ray).remote()], seconds)


@rate_case("one caller to 4 actors, 1000 in flight", goal=6)
def one_caller_to_four_actors(ray, seconds):
    cls = synchronous_actor(ray)
    return in_flight(ray, [cls.remote() for _ in range(4)], seconds)


@rate_case("2 callers to 2 actors, 1000 in flight each", goal=6)
def two_callers_to_two_actors(ray, seconds):
    cls = synchronous_actor(ray)

    @ray.remote
    class Caller:
        def __init__(self, actors):
            self.turns = actors * (IN_FLIGHT // len(actors))

        def call(self):
            ray.get([actor.nothing.remote() for actor in self.turns])

    actors = [cls.remote() for _ in range(2)]
    callers = [Caller.remote(actors) for _ in range(2)]
    return rate(lambda: ray.get([caller.call.remote() for caller in callers]), seconds, units=2 * IN_FLIGHT)


@rate_case("4 actors created, called, killed", goal=15)
def actors_created(ray, seconds):
    cls = synchronous_actor(ray)

    def live():
        four = [cls.remote() for _ in range(4)]
        ray.get([actor.nothing.remote() for actor in four])
        for actor in four:
            ray.kill(actor)

    return rate(live, seconds, units=4)
