"""Submitting jobs and watching them, from anywhere: by plain HTTP, with nothing pickled."""

import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...actors import runtime_env
from ...actors.package import SCHEME, build_package
from ...actors.runtime_env import RuntimeEnv
from ...exceptions import AuthenticationError
from .http_request import CONNECT_S, Answer, HttpRequests
from .job_details import JobDetails, JobStatus
from .job_server import find_server
from .submit_request import new_name

_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404
_MOST_MESSAGE = 4 << 20
_HEARTBEAT_S = 10.0
"""Who follows a log asks so often whether the head is there; half as long without an answer, and it is not."""

T = TypeVar("T")
logger = logging.getLogger("limelight")


class JobSubmissionClient:
    """Submits jobs to a cluster: Ray's `JobSubmissionClient`. May be used from several threads.

    Args:
        address: of the head's web server ("http://host:8265"), or of the cluster as `init` takes it ("host:6379",
            "auto"); None: what LIMELIGHT_API_SERVER_ADDRESS or LIMELIGHT_ADDRESS says, else this machine's cluster.
        create_cluster_if_needed: Ray's, and of no effect, as in Ray.
        cookies: sent with each request.
        metadata: attached to all jobs that are submitted with this client.
        headers: sent with each request.
        verify: for https: False to trust any server, or a file or folder of authorities to trust.
        token: the cluster's; None: LIMELIGHT_TOKEN, the token's file, or what this machine's cluster has.

    Raises:
        ConnectionError: there is no such cluster, or it does not answer.
        AuthenticationError: the token is wrong or missing.
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        *,
        token: str | None = None,
    ) -> None:
        del create_cluster_if_needed
        if address is not None and not isinstance(address, str):
            raise TypeError(f"address must be a string, but {address!r} was given.")
        self._sent = dict(headers or {})
        if cookies:
            self._sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._metadata = dict(metadata or {})
        self._address, self._token, self._verify = address, token, verify
        self._http = self._find()
        self.get_version()

    def find_again(self) -> bool:
        """Find the web server again: that of the head which leads by now, where another has taken over.

        Of no effect where the address is a web server's own, rather than the cluster's.

        Returns:
            Whether it is another one.

        Raises:
            ConnectionError: there is no such cluster, or its head does not answer.
        """
        before, self._http = self._http, self._find()
        return self._http.url != before.url

    def _find(self) -> HttpRequests:
        server = find_server(self._address, self._token)
        sent = dict(self._sent)
        if server.token and not any(name.lower() == "authorization" for name in sent):
            sent["Authorization"] = f"Bearer {server.token}"
        authority = server.authority if self._verify is True and server.authority else self._verify
        return HttpRequests(server.url, sent, authority)

    def get_address(self) -> str:
        """The web server's address."""
        return self._http.url

    def get_version(self) -> str:
        """The version of the REST API that the server speaks; errors as `stop_job`."""
        return self._ask("GET", "/api/version", dict[str, str])["version"]

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
    ) -> str:
        """Have a command run on the cluster; returns at once. It runs once, whether it succeeds or not.

        Args:
            entrypoint: a shell's command line. What it starts finds the cluster with `init()`.
            job_id: Ray's older name of `submission_id`.
            runtime_env: its runtime environment, and that of its tasks and actors. Folders in it are uploaded.
            metadata: whatever belongs to it, for people and programs.
            submission_id: its name; made up unless given.
            entrypoint_num_cpus: CPUs that the command itself holds, beside what its tasks do; none unless given.
            entrypoint_num_gpus: GPUs likewise.
            entrypoint_memory: bytes of memory likewise.
            entrypoint_resources: further resources likewise.
            entrypoint_label_selector: labels of the node that it runs on.

        Returns:
            Its name.

        Raises:
            RuntimeError: the cluster refuses, and says why: the name is taken, for one.
            ValueError, TypeError, NotImplementedError: the runtime environment makes no sense.
            ConnectionError, AuthenticationError: as for the client.
        """
        self.get_version()  # the head is there; where another has taken over, it is found
        name = submission_id or job_id or new_name()
        asked = {
            "entrypoint": entrypoint,
            "submission_id": name,
            "runtime_env": self._packaged(runtime_env or {}),
            "metadata": {**(metadata or {}), **self._metadata},
            "entrypoint_num_cpus": entrypoint_num_cpus,
            "entrypoint_num_gpus": entrypoint_num_gpus,
            "entrypoint_memory": entrypoint_memory,
            "entrypoint_resources": entrypoint_resources,
            "entrypoint_label_selector": entrypoint_label_selector,
        }
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        try:
            return self._ask("POST", "/api/jobs/", dict[str, str], body)["submission_id"]
        except ConnectionError as error:
            raise ConnectionError(
                f"{error} Whether job {name} was submitted before is not known: its status says, when a head is there."
            ) from None

    def stop_job(self, job_id: str) -> bool:
        """Have a job stopped; does not wait for that. Its processes get SIGTERM, and after 3 s SIGKILL.

        Returns:
            False where it was over already.

        Raises:
            RuntimeError: there is no such job. ConnectionError, AuthenticationError: as for the client.
        """
        return self._ask("POST", f"{_path(job_id)}/stop", dict[str, bool])["stopped"]

    def delete_job(self, job_id: str) -> bool:
        """Have the cluster forget a job that is over; its log stays. Errors as `stop_job`, or it is not over."""
        return self._ask("DELETE", _path(job_id), dict[str, bool])["deleted"]

    def get_job_info(self, job_id: str) -> JobDetails:
        """All that is known of a job, by its name or its driver's job id; errors as `stop_job`."""
        return self._ask("GET", _path(job_id), JobDetails)

    def list_jobs(self) -> list[JobDetails]:
        """All jobs that were submitted, and the programs that run without; errors as `stop_job`."""
        return self._ask("GET", "/api/jobs/", list[JobDetails])

    def get_job_status(self, job_id: str) -> JobStatus:
        """Where a job stands; errors as `stop_job`."""
        return self.get_job_info(job_id).status

    def get_job_logs(self, job_id: str) -> str:
        """All that a job's entrypoint has printed so far; errors as `stop_job`, or its node is gone."""
        return self._ask("GET", f"{_path(job_id)}/logs", dict[str, str])["logs"]

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What a job prints, from the beginning, as it prints it; ends with the job.

        Yields:
            Text, wherever it happens to be split.

        Raises:
            RuntimeError: there is no such job, or its log is gone.
            ConnectionError: the head is away, or the connection was cut before the job was over.
        """
        import aiohttp  # here: commands that follow nothing start sooner without it

        http = self._http
        patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(headers=http.headers, timeout=patience) as session:
            try:
                socket = await session.ws_connect(
                    f"{http.url}{_path(job_id)}/logs/tail",
                    ssl=http.context if http.context is not None else True,
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=_MOST_MESSAGE,
                )
            except aiohttp.WSServerHandshakeError as error:
                self._ask("GET", _path(job_id), JobDetails)  # it says what the handshake could not
                raise RuntimeError(f"The log of job {job_id} cannot be followed: {error.message}.") from None
            except aiohttp.ClientError as error:
                raise ConnectionError(f"Failed to connect to the cluster's web server at {http.url}: {error}") from None
            async with socket:
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    yield message.data
                if socket.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR:
                    raise RuntimeError(message.extra or f"The log of job {job_id} cannot be followed any further.")
                if socket.close_code != aiohttp.WSCloseCode.OK:
                    raise ConnectionError(
                        f"The connection to {http.url} was cut before job {job_id} was over ({socket.close_code})."
                    )

    # --- packages ---

    def _packaged(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(runtime_env.packaged(runtime_env.portable(RuntimeEnv.of(given)), self._upload))

    def _upload(self, path: Path, excludes: list[str], keep_name: bool) -> str:
        with tempfile.TemporaryDirectory(prefix="limelight-package-") as folder:
            package = build_package(path, Path(folder), excludes=excludes, keep_name=keep_name)
            place = f"/api/packages/pkg/{package.uri.removeprefix(SCHEME)}.zip"
            if self._checked(self._http.send("GET", place), _NOT_FOUND).status == _NOT_FOUND:
                logger.info("uploading %s (%d bytes)", path, package.size)
                with package.path.open("rb") as content:
                    self._checked(self._http.send("PUT", place, content, package.size))
        return package.uri

    # --- requests ---

    def _ask(self, method: str, path: str, kind: type[T], body: bytes | None = None) -> T:
        answer = self._checked(self._send(method, path, body))
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.DecodeError as error:
            raise RuntimeError(f"What answers at {self._http.url} is no head of Limelight: {error}.") from None

    def _send(self, method: str, path: str, body: bytes | None) -> Answer:
        try:
            return self._http.send(method, path, body)
        except ConnectionError as error:
            # What changes nothing when it is done twice is asked of the head that has taken over; a submission that
            # was under way may be known there, or not: that is for its user to see.
            if body is not None or method == "DELETE" or not self._has_moved():
                raise error from None
        return self._http.send(method, path, body)

    def _has_moved(self) -> bool:
        try:
            return self.find_again()
        except ConnectionError:
            return False

    def _checked(self, answer: Answer, *more: int) -> Answer:
        if answer.status == _UNAUTHORIZED:
            raise AuthenticationError(answer.text)
        if answer.status not in {_OK, *more}:
            raise RuntimeError(f"Request failed with status code {answer.status}: {answer.text.rstrip('.')}.")
        return answer


def _path(job_id: str) -> str:
    from urllib.parse import quote

    return f"/api/jobs/{quote(job_id, safe='')}"
