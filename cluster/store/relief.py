"""What to do when memory runs short: punch, drop, spill, ask for unused grants."""

from .command import AnyCommand, AskReturn, Punch, Spill
from .state import StoreState

GRANT_REST = 0.2
"""A grant is not asked back in its first seconds: its holder asked for it in order to write now."""
ASK_AGAIN = 2.0


def relieve(state: StoreState, now: float) -> list[AnyCommand]:
    """Commands that will make room for what waits, and bring memory below the high-water mark."""
    commands = punch_for_first(state)
    waiting = state.queue.bytes
    room = state.limits.capacity - state.used
    excess = state.used - int(state.limits.high_water * state.limits.capacity)
    goal = max(min(waiting, state.limits.capacity) - room, excess) - state.leaving
    while goal > 0:
        stored = state.objects.least_recently_used(state.may_spill(now), now)
        if stored is None or stored.offset is None:
            break
        goal -= stored.size
        if stored.url or not stored.primary:
            commands.append(state.reclaim(stored))
            continue
        state.objects.occupy(stored)
        stored.spilling = True
        state.leaving += stored.size
        commands.append(Spill(stored.key, stored.object_id, stored.offset, stored.size))
    if waiting:
        commands += ask_for_unused(state, now)
    return commands


def punch_for_first(state: StoreState) -> list[AnyCommand]:
    """Turn populated free memory, which is in the wrong places, into a budget for cold addresses."""
    first = next(iter(state.queue), None)
    if first is None or state.used + first.size > state.limits.capacity:
        return []
    lacking = first.size - (state.limits.capacity - state.taken) - state.punching_bytes
    if lacking <= 0 and not state.punching:
        lacking = first.size  # there is memory enough, but no addresses in one piece: join more of them
    commands: list[AnyCommand] = []
    for offset, size in state.space.take_populated(lacking, spare=first.process):
        state.punching[offset] = size
        state.punching_bytes += size
        commands.append(Punch(offset, size))
    return commands


def ask_for_unused(state: StoreState, now: float) -> list[AnyCommand]:
    """Ask the holders of grants for what they have not used."""
    commands: list[AnyCommand] = []
    for grant in state.grants.open.values():
        if grant.scanning or now < grant.since + GRANT_REST:
            continue
        if grant.asked_at is None or now >= grant.asked_at + ASK_AGAIN:
            grant.asked_at = now
            commands.append(AskReturn(grant.process, grant.number))
    return commands
