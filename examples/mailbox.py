"""An async actor: many calls wait in it at once, each without a thread, until what they wait for comes."""

import asyncio

import limelight as ll

READERS = 100


@ll.actor
class Mailbox:
    """Readers wait until there is a message for them."""

    def __init__(self, readers: int) -> None:
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.all_are_waiting = asyncio.Barrier(readers + 1)

    async def read(self) -> str:
        """The next message; waits for one."""
        await self.all_are_waiting.wait()
        return await self.messages.get()

    async def post(self, message: str) -> None:
        """Leave a message."""
        await self.messages.put(message)

    async def readers(self) -> int:
        """Wait until all readers are here; returns how many they are."""
        await self.all_are_waiting.wait()
        return self.all_are_waiting.parties - 1


async def main() -> None:
    """Refs can be awaited, so the driver may be asynchronous too."""
    mailbox = Mailbox.remote(READERS)
    letters = [mailbox.read.remote() for _ in range(READERS)]
    print(f"{await mailbox.readers.remote()} readers wait in one actor")
    for number in range(READERS):
        mailbox.post.remote(f"message {number}")
    received = await asyncio.gather(*letters)
    print(f"{len(set(received))} different messages arrived")


if __name__ == "__main__":
    ll.init()
    asyncio.run(main())
