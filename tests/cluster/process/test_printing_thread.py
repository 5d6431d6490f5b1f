"""A thread that prints: one thing after the other, and it ends when it is told to."""

import asyncio
import threading

from limelight.cluster.process.printing_thread import PrintingThread


def quick(thread, monkeypatch):
    """Have the thread be through with a function before whoever has submitted it goes on."""
    submit = thread.submit

    def submit_and_wait(function):
        ran = threading.Event()

        def run():
            function()
            ran.set()

        submit(run)
        assert ran.wait(10)

    monkeypatch.setattr(thread, "submit", submit_and_wait)


async def test_it_ends_however_quick_it_is(monkeypatch):
    thread = PrintingThread("printing-thread-of-a-test")
    quick(thread, monkeypatch)
    printed = []
    async with asyncio.timeout(10):
        await thread.run(lambda: printed.append(1))
        await thread.close()
        await thread.close()
        await thread.run(lambda: printed.append(2))
    assert printed == [1]
    assert not thread._thread.is_alive()


async def test_what_was_given_before_is_done_before_it_ends():
    thread = PrintingThread("printing-thread-of-a-test")
    printed = []
    for number in range(100):
        thread.submit(lambda number=number: printed.append(number))
    async with asyncio.timeout(10):
        await thread.close()
    assert printed == list(range(100))


async def test_an_error_in_one_function_ends_neither_the_thread_nor_the_wait():
    thread = PrintingThread("printing-thread-of-a-test")
    async with asyncio.timeout(10):
        await thread.run(lambda: 1 / 0)
        await thread.close()
    assert not thread._thread.is_alive()
