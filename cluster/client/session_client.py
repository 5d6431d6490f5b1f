"""Asking a cluster something, from a command."""

import asyncio
import secrets
from typing import Any

import msgspec

from ...actors.contract import HEAD, NODE, decoder_of, encode
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.endpoint import Endpoint
from ...transport.error import AuthenticationError, DeadlineExceededError, RemoteCallError, TlsError, TransportError
from ...transport.protocol import Call, Cancel, Credit
from ...transport.tls import TlsConfig
from ..cluster_message import DescribeHead, HeadStanding
from ..host_id import host_id
from ..session_info import read_token
from ..token_file import find_token
from .failure import CommandError, not_a_head, wrong_token
from .network_address import with_port
from .reach import reach
from .running import cluster_processes

_ANSWER_S = 5.0
_NODE_ANSWER_S = 2.0


class Target(msgspec.Struct, frozen=True):
    """Where a cluster is asked.

    Attributes:
        process: a process that has, or reaches, the actor "head".
        token: the cluster's secret.
        cluster: the cluster's address.
        tls: certificates, for a head elsewhere.
    """

    process: ProcessAddress
    token: str
    cluster: str
    tls: TlsConfig | None = None


def find_cluster(address: str = "", tls: TlsConfig | None = None) -> Target:
    """The cluster at an address, or ("") the one that this machine is part of.

    Args:
        address: of its head.
        tls: certificates for a cluster that this machine is not part of.

    Raises:
        CommandError: there is none, or several; says what to type.
        SessionFolderError: this user may not, or cannot, read its token.
        TokenError: what should be the token of one elsewhere is none.
    """
    wanted = ""
    if address:
        try:
            wanted = with_port(address)
        except ValueError as error:
            raise CommandError(str(error)) from None
    processes = cluster_processes()
    found = [one for one in processes if one.info.node is not None and one.info.address]
    here = [one for one in found if not wanted or one.info.address == wanted]
    clusters = sorted({one.info.address for one in here})
    if len(clusters) > 1:
        raise CommandError(f"This machine is part of several clusters: say --address and one of {', '.join(clusters)}.")
    if here and here[0].info.node is not None:
        return Target(here[0].info.node, read_token(here[0].folder), clusters[0], here[0].info.tls)
    if not wanted and processes:
        raise CommandError(
            f"This machine's part of a cluster is starting, or waits for its head: {processes[0].what}. Its log is in "
            f"{processes[0].folder / 'logs'}. `cluster stop` ends it."
        )
    if not wanted:
        raise CommandError(
            "No cluster of yours runs on this machine. `cluster start --head` starts one, `cluster join HEAD` joins "
            "one, and --address HOST:PORT asks one elsewhere."
        )
    token = find_token()
    if token is None:
        raise CommandError(f"The token of the cluster at {wanted} is needed: put LIMELIGHT_TOKEN=… before the command.")
    reach(wanted)
    return Target(ProcessAddress("", "", "", wanted), token, wanted, tls)


def ask_head(target: Target, *bodies: Any) -> list[bytes]:
    """Ask the head questions, and return its answers.

    Raises:
        CommandError: it cannot be reached, or refuses.
    """
    try:
        return asyncio.run(_ask(target, bodies))
    except DeadlineExceededError:
        raise _head_away(target, _ANSWER_S) from None
    except TimeoutError:
        raise not_a_head(target.cluster, f"no answer within {_ANSWER_S:g} s") from None
    except RemoteCallError as error:
        from ...actors.serialization import deserialize_error

        raise CommandError(str(deserialize_error(error.body))) from None
    except AuthenticationError:
        raise wrong_token(target.cluster) from None
    except TlsError as error:
        raise CommandError(str(error)) from None
    except TransportError as error:
        raise not_a_head(target.cluster, str(error)) from None


def _head_away(target: Target, seconds: float) -> CommandError:
    return CommandError(
        f"The head at {target.cluster} has not answered for {seconds:.0f} s. What runs on the nodes goes on, and waits "
        "for it. On its machine, `cluster start --head` with the same options starts it again."
    )


async def _ask(target: Target, bodies: tuple[Any, ...]) -> list[bytes]:
    endpoint = Endpoint(
        process_id=secrets.token_hex(16),
        host_id=host_id(),
        token=bytes.fromhex(target.token),
        tls=target.tls,
        info={"kind": "command"},
        handler=_Nobody(),
    )
    await endpoint.start()
    try:
        async with asyncio.timeout(_ANSWER_S):
            channel = await endpoint.connect(target.process)
        if channel.peer_info.get("kind") == NODE:
            answer = await channel.request(NODE, DescribeHead.__name__, encode(DescribeHead()), _NODE_ANSWER_S)
            standing: HeadStanding = decoder_of(HeadStanding).decode(answer)
            if standing.away is not None and standing.refused:
                raise CommandError(f"{standing.refused} `cluster stop` ends this machine's node, which waits for it.")
            if standing.away is not None:
                raise _head_away(target, standing.away)
            if standing.trouble:
                raise CommandError(
                    f"The head at {target.cluster} cannot keep what it decides, and so answers nothing; what runs "
                    f"goes on. {standing.trouble}"
                )
        return [await channel.request(HEAD, type(body).__name__, encode(body), _ANSWER_S) for body in bodies]
    finally:
        await endpoint.close()


class _Nobody:
    """A command is called by nobody."""

    def on_connected(self, channel: Channel) -> None:
        """The command's own doing."""

    def on_call(self, channel: Channel, call: Call) -> None:
        """What is said to all goes past a command."""

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None:
        """Nobody calls, so nobody cancels."""

    def on_credit(self, channel: Channel, credit: Credit) -> None:
        """A command streams nothing."""

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """The pending question has the error."""
