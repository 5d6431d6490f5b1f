"""Messages to processes that are still to be dialled."""

import asyncio

from limelight.actors.contract import DescribeDeath
from limelight.actors.native.links import Links
from limelight.transport.address import ProcessAddress
from limelight.transport.error import ConnectError

FAR = ProcessAddress("far", "host")


class Endpoint:
    """Dials nobody: there is a defect in it."""

    address = ProcessAddress("near", "host")

    def channel(self, _process_id):
        return None

    async def connect(self, _address):
        raise LookupError("a defect")


async def test_who_asks_a_process_hears_of_a_defect_in_dialling_it():
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    links = Links(Endpoint(), None)

    def ask():
        answer = asyncio.get_running_loop().create_future()
        links.ask(FAR, "node", DescribeDeath("p"), answer.set_result)
        return answer

    for answer in [*await asyncio.gather(ask(), ask()), await ask()]:
        assert isinstance(answer, ConnectError)
        assert "a defect" in str(answer)
    assert [type(error) for error in told] == [LookupError] * 2
