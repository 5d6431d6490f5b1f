"""The part of OpenStack's APIs (Keystone v3, Nova, Glance, Neutron) that the provider uses; servers are processes.

Speaks HTTP to the real client library. In place of a hypervisor and cloud-init it runs the user data, in which the
folder that the node's files lie in is replaced, for there is no machine of its own.
"""

import asyncio
import base64
import os
import signal
import uuid
from pathlib import Path

from aiohttp import web

from .service_thread import ServiceThread

PASSWORD = "a password"


class FakeOpenStack(ServiceThread):
    """Serves until `close`.

    Attributes:
        quota: servers that are allowed; None: any number.
        broken: servers end in ERROR.
        mute: requests are not answered.
        logins: how often a token was asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, dict] = {}
        self.tokens: set[str] = set()
        self.logins = 0
        self.quota: int | None = None
        self.broken = False
        self.mute = False
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task] = set()
        super().__init__()

    def expire_tokens(self) -> None:
        """As Keystone does after some hours."""
        self.tokens.clear()

    def routes(self, app: web.Application) -> None:
        route = app.router
        route.add_get("/identity/v3", self._identity)
        route.add_post("/identity/v3/auth/tokens", self._login)
        route.add_get("/compute/v2.1{slash:/?}", self._version)
        route.add_get("/{kind:image|network}{slash:/?}", self._versions)
        route.add_get("/compute/v2.1/servers/detail", self._list)
        route.add_post("/compute/v2.1/servers", self._create)
        route.add_delete("/compute/v2.1/servers/{id}", self._delete)
        for path, kind, name in (
            ("/compute/v2.1/flavors", "flavor", "standard.medium"),
            ("/image/v2/images", "image", "Ubuntu-24.04"),
            ("/network/v2.0/networks", "network", "project_1"),
        ):
            self._add_named(route, path, kind, name)
        app.middlewares.append(self._check)

    def _add_named(self, route: web.UrlDispatcher, path: str, kind: str, name: str) -> None:
        thing = {"id": f"{kind}-1", "name": name, "status": "active"}

        async def read(request: web.Request) -> web.Response:
            if request.match_info["id"] != thing["id"]:
                return _error(404, f"{kind} could not be found")
            return web.json_response(thing if kind == "image" else {kind: thing})

        async def listed(request: web.Request) -> web.Response:
            wanted = request.query.get("name", name)
            return web.json_response({f"{kind}s": [thing] if wanted == name else []})

        route.add_get(path, listed)
        route.add_get(f"{path}/detail", listed)
        route.add_get(f"{path}/{{id}}", read)

    @web.middleware
    async def _check(self, request: web.Request, handler) -> web.StreamResponse:
        if self.mute:
            await asyncio.Event().wait()
        public = request.path.startswith("/identity") or request.path.rstrip("/").endswith(("v2.1", "image", "network"))
        if not public and request.headers.get("X-Auth-Token") not in self.tokens:
            return _error(401, "The request you have made requires authentication.")
        return await handler(request)

    async def _identity(self, _: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"{self.url}/identity/v3/"}
        return web.json_response({"version": {"id": "v3.14", "status": "stable", "links": [link]}})

    async def _login(self, request: web.Request) -> web.Response:
        identity = (await request.json())["auth"]["identity"]
        if identity["password"]["user"]["password"] != PASSWORD:
            return _error(401, "The request you have made requires authentication.")
        token = uuid.uuid4().hex
        self.tokens.add(token)
        self.logins += 1
        urls = {"compute": "compute/v2.1", "image": "image", "network": "network", "identity": "identity/v3"}
        where = {"interface": "public", "region": "R", "region_id": "R"}
        catalog = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [{**where, "id": kind, "url": f"{self.url}/{path}"}]}
            for kind, path in urls.items()
        ]
        about = {"project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}}, "catalog": catalog}
        user = {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}}
        times = {"issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z"}
        body = {"token": {**about, **times, "user": user, "roles": [], "methods": ["password"]}}
        return web.json_response(body, status=201, headers={"X-Subject-Token": token})

    async def _version(self, _: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"{self.url}/compute/v2.1/"}
        version = {"id": "v2.1", "status": "CURRENT", "links": [link], "min_version": "2.1", "version": "2.96"}
        return web.json_response({"version": version})

    async def _versions(self, request: web.Request) -> web.Response:
        kind, number = request.match_info["kind"], {"image": "v2", "network": "v2.0"}[request.match_info["kind"]]
        link = {"rel": "self", "href": f"{self.url}/{kind}/{number}/"}
        return web.json_response({"versions": [{"id": number, "status": "CURRENT", "links": [link]}]})

    async def _list(self, request: web.Request) -> web.Response:
        name = request.query.get("name", "").strip("^$")
        found = [one for one in self.servers.values() if not name or one["name"] == name]
        return web.json_response({"servers": found})

    async def _create(self, request: web.Request) -> web.Response:
        asked = (await request.json())["server"]
        if self.quota is not None and len(self.servers) >= self.quota:
            return _error(403, f"Quota exceeded for instances: Requested 1, but already used {self.quota}", "forbidden")
        number = uuid.uuid4().hex
        server = {"id": number, "name": asked["name"], "status": "BUILD", "metadata": asked["metadata"],
                  "addresses": {}, "OS-EXT-STS:task_state": "spawning", "flavor": {"id": asked["flavorRef"]},
                  "image": {"id": asked["imageRef"]}}  # fmt: skip
        self.servers[number] = server
        task = asyncio.create_task(self._boot(server, base64.b64decode(asked["user_data"]).decode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response({"server": {"id": number, "links": []}}, status=202)

    async def _delete(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        server = self.servers.get(number)
        if server is None:
            return _error(404, f"Instance {number} could not be found.", "itemNotFound")
        server["OS-EXT-STS:task_state"] = "deleting"
        process = self._processes.get(number)
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            del self.servers[number]
        return web.Response(status=204)

    async def _boot(self, server: dict, user_data: str) -> None:
        """Be the hypervisor, and cloud-init."""
        if self.broken:
            message = "No valid host was found. There are not enough hosts available."
            server |= {"status": "ERROR", "OS-EXT-STS:task_state": None, "fault": {"message": message, "code": 500}}
            return
        number = server["id"]
        root = self.folder / "servers" / number
        root.mkdir(parents=True)
        script = user_data.replace("/var/lib/limelight", str(root / "limelight"))
        script = script.replace("/run/systemd/system", str(root / "systemd"))
        # The machine runs for as long as this shell does; the node is one of its processes.
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"{script}\nexec sleep infinity", env={**os.environ, "HOME": str(root)}, start_new_session=True
        )
        self._processes[number] = process
        address = {"addr": "127.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}
        server |= {"status": "ACTIVE", "OS-EXT-STS:task_state": None, "addresses": {"project_1": [address]}}
        await process.wait()
        del self._processes[number]
        if server["OS-EXT-STS:task_state"] == "deleting":
            self._end_session(root)
            self.servers.pop(number, None)

    def _end_session(self, root: Path) -> None:
        """With the machine all of its processes end, also those in sessions of their own."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"HOME={root}\0".encode() in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue  # it has ended by itself


def _error(code: int, message: str, kind: str = "error") -> web.Response:
    return web.json_response({kind: {"message": message, "code": code, "title": "error"}}, status=code)
