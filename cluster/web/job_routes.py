"""The REST API of jobs: Ray's paths, JSON in and out; errors are plain text."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSCloseCode, web

from ...transport.version import VERSION
from ..head.job_log import JobLogError, JobLogs
from ..job.job_view import driver_details, submitted_details
from ..job.submission import Delete, Stop, Submission
from ..job.submit_request import SubmitRequest

if TYPE_CHECKING:
    from ..head.head import Head

_API_VERSION = "4"
_RAY_VERSION = "2.60.0"
"""Whose API this is."""
_MOST_REQUEST = 1 << 16
_HEARTBEAT_S = 15.0
_LONGEST_REASON = 120
"""Bytes that fit into the frame that closes a websocket."""


def add_job_routes(app: web.Application, head: "Head") -> None:
    """Add them to an application."""
    routes = JobRoutes(head)
    app.add_routes(
        [
            web.get("/api/version", routes.version),
            web.get("/api/jobs/", routes.list),
            web.post("/api/jobs/", routes.submit),
            web.get("/api/jobs/{job}", routes.get),
            web.delete("/api/jobs/{job}", routes.delete),
            web.post("/api/jobs/{job}/stop", routes.stop),
            web.get("/api/jobs/{job}/logs", routes.logs),
            web.get("/api/jobs/{job}/logs/tail", routes.tail),
        ]
    )


class JobRoutes:
    """The handlers."""

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._desk = head.submissions
        self._logs = JobLogs(head)

    async def version(self, _: web.Request) -> web.Response:
        """What answers here."""
        told = {
            "version": _API_VERSION,
            "ray_version": _RAY_VERSION,
            "ray_commit": "",
            "limelight_version": VERSION,
            "session_name": self._head.session,
        }
        return web.json_response(told)

    async def submit(self, request: web.Request) -> web.Response:
        """Run a job."""
        body = await request.read()
        try:
            asked = msgspec.json.decode(body, type=SubmitRequest)
            await self._desk.shared(asked)
            name = self._desk.submit(asked)
        except (msgspec.DecodeError, ValueError, TypeError, NotImplementedError) as error:
            return web.Response(status=400, text=str(error))
        await self._desk.kept()
        return web.json_response({"job_id": name, "submission_id": name})

    async def list(self, _: web.Request) -> web.Response:
        """All jobs, and the drivers that are no job's."""
        submitted = [submitted_details(row) for row in self._desk.all()]
        drivers = [
            driver_details(driver, self._desk.driver_info(driver, node_id), node_id)
            for driver, node_id in self._head.jobs.drivers()
            if not driver.submission_id
        ]
        return _json([*submitted, *drivers])

    async def get(self, request: web.Request) -> web.Response:
        """One job."""
        wanted = request.match_info["job"]
        row = self._desk.find(wanted)
        if row is not None:
            return _json(submitted_details(row))
        for driver, node_id in self._head.jobs.drivers():
            if driver.job_id.hex() == wanted:
                return _json(driver_details(driver, self._desk.driver_info(driver, node_id), node_id))
        return _no_such_job(wanted)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a job that is over."""
        row = self._submitted(request)
        if isinstance(row, web.Response):
            return row
        try:
            self._desk.feed(Delete(row.spec.submission_id))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        await self._desk.kept()
        return web.json_response({"deleted": True})

    async def stop(self, request: web.Request) -> web.Response:
        """Have a job stopped."""
        row = self._submitted(request)
        if isinstance(row, web.Response):
            return row
        runs = not row.status.is_terminal()
        self._desk.feed(Stop(row.spec.submission_id))
        await self._desk.kept()
        return web.json_response({"stopped": runs})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """What a job has printed so far, in one JSON object, which is written as the log is read."""
        row = self._submitted(request)
        if isinstance(row, web.Response):
            return row
        parts = self._logs.whole(row)
        try:
            first = await anext(parts, "")
        except JobLogError as error:
            return web.Response(status=404, text=str(error))
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        await response.write(b'{"logs": "' + _escaped(first))
        async for part in parts:
            await response.write(_escaped(part))
        await response.write(b'"}')
        await response.write_eof()
        return response

    async def tail(self, request: web.Request) -> web.StreamResponse:
        """What a job prints, by websocket, until it is over."""
        row = self._submitted(request)
        if isinstance(row, web.Response):
            return row
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=_MOST_REQUEST)
        await socket.prepare(request)
        parts = self._logs.follow(row)
        sending = asyncio.ensure_future(_send(socket, parts))
        leaving = asyncio.ensure_future(_until_left(socket))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            [failure, _] = await asyncio.gather(sending, leaving, return_exceptions=True)
            await parts.aclose()
        if isinstance(failure, JobLogError):
            reason = str(failure).encode()[:_LONGEST_REASON]
            await socket.close(code=WSCloseCode.INTERNAL_ERROR, message=reason)
        else:
            await socket.close()
        return socket

    def _submitted(self, request: web.Request) -> Submission | web.Response:
        wanted = request.match_info["job"]
        row = self._desk.find(wanted)
        if row is not None:
            return row
        if any(driver.job_id.hex() == wanted for driver, _ in self._head.jobs.drivers()):
            return web.Response(
                status=400, text=f"Job {wanted} was not submitted, so the cluster neither ends it nor has its log."
            )
        return _no_such_job(wanted)


async def _send(socket: web.WebSocketResponse, parts: AsyncGenerator[str]) -> None:
    """Send all parts; the next is read when the last one was taken."""
    async for part in parts:
        await socket.send_str(part)


async def _until_left(socket: web.WebSocketResponse) -> None:
    """Read what nobody here has a use for; returns when the other end closes, or answers no more."""
    async for _ in socket:
        pass


def _no_such_job(name: str) -> web.Response:
    return web.Response(status=404, text=f"Job {name} does not exist; `cluster job list` shows all")


def _escaped(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
