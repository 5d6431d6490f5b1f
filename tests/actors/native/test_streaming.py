"""How a generator is held back until its consumer has taken items."""

import asyncio

from limelight.actors.native.streaming import Gate


async def test_a_gate_lets_through_as_many_as_it_was_opened_for():
    gate = Gate(1, asyncio.get_running_loop())
    assert await gate.pass_one_async()
    waiting = asyncio.create_task(gate.pass_one_async())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.open(1)
    assert await waiting


async def test_a_gate_without_a_consumer_lets_nothing_through():
    gate = Gate(0, asyncio.get_running_loop())
    waiting = asyncio.create_task(gate.pass_one_async())
    await asyncio.sleep(0)
    gate.close()
    assert not await waiting


def test_a_gate_is_opened_too_late_for_a_generator_whose_loop_has_ended():
    """The consumer's credit may arrive when an async generator's task has just ended."""
    loop = asyncio.new_event_loop()
    gate = Gate(1, loop)
    loop.close()
    gate.open(1)
    gate.close()
