"""The part of Kubernetes's API that the provider uses, with pods that are real processes of this machine.

Speaks HTTP to the real client library. In place of the kubelet it runs the pod's command with its Secret put into a
folder; the path in the command is replaced by that folder's, for there is no container.
"""

import asyncio
import json
import os
import signal
from pathlib import Path

from aiohttp import web

from .service_thread import ServiceThread

BEARER = "a-bearer-token"


class FakeKubernetes(ServiceThread):
    """Serves until `close`.

    Attributes:
        quota: pods that are allowed; None: any number.
        unschedulable: pods stay pending.
        expired: the credentials are not accepted any more.
        mute: requests are not answered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pods: dict[str, dict] = {}
        self.secrets: dict[str, dict] = {}
        self.quota: int | None = None
        self.unschedulable = False
        self.expired = False
        self.mute = False
        self._tasks: set[asyncio.Task] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        super().__init__()
        self._write_config()

    def routes(self, app: web.Application) -> None:
        base = "/api/v1/namespaces/{namespace}"
        app.router.add_get(f"{base}/pods", self._list)
        app.router.add_post(f"{base}/pods", self._create)
        app.router.add_get(f"{base}/pods/{{name}}", self._read)
        app.router.add_delete(f"{base}/pods/{{name}}", self._delete)
        app.router.add_post(f"{base}/secrets", self._create_secret)
        app.router.add_patch(f"{base}/secrets/{{name}}", self._patch_secret)
        app.middlewares.append(self._check)

    def _write_config(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": BEARER}}],
        }
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))

    @web.middleware
    async def _check(self, request: web.Request, handler) -> web.StreamResponse:
        if self.mute:
            await asyncio.Event().wait()
        if self.expired or request.headers.get("Authorization") != f"Bearer {BEARER}":
            return _status(401, "Unauthorized", "Unauthorized")
        return await handler(request)

    async def _list(self, request: web.Request) -> web.Response:
        wanted = dict(pair.split("=") for pair in request.query["labelSelector"].split(","))
        items = [pod for pod in self.pods.values() if wanted.items() <= pod["metadata"]["labels"].items()]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return _status(409, "AlreadyExists", f'pods "{name}" already exists')
        if self.quota is not None and len(self.pods) >= self.quota:
            text = f'pods "{name}" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={self.quota}'
            return _status(403, "Forbidden", text)
        pod["metadata"]["namespace"] = request.match_info["namespace"]
        pod["status"] = {"phase": "Pending", "conditions": []}
        self.pods[name] = pod
        if self.unschedulable:
            message = "0/3 nodes are available: 3 Insufficient cpu."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            pod["status"]["conditions"] = [condition]
        else:
            task = asyncio.create_task(self._run(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response(pod, status=201)

    async def _read(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else _status(404, "NotFound", "pods not found")

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        pod = self.pods.get(name)
        if pod is None:
            return _status(404, "NotFound", f'pods "{name}" not found')
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        process = self._processes.get(name)
        if process is not None:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            del self.pods[name]
        return web.json_response(pod)

    async def _create_secret(self, request: web.Request) -> web.Response:
        secret = await request.json()
        name = secret["metadata"]["name"]
        if name in self.secrets:
            return _status(409, "AlreadyExists", f'secrets "{name}" already exists')
        self.secrets[name] = secret["stringData"]
        return web.json_response({"kind": "Secret", "metadata": secret["metadata"]}, status=201)

    async def _patch_secret(self, request: web.Request) -> web.Response:
        self.secrets[request.match_info["name"]] |= (await request.json())["stringData"]
        return web.json_response({"kind": "Secret", "metadata": {"name": request.match_info["name"]}})

    async def _run(self, pod: dict) -> None:
        """Be the kubelet."""
        spec = pod["spec"]
        [container] = spec["containers"]
        name = pod["metadata"]["name"]
        home = self.folder / "pods" / name
        mount = container["volumeMounts"][0]
        secret = next(one["secret"] for one in spec["volumes"] if one["name"] == mount["name"])
        inside = home / "mount"
        inside.mkdir(parents=True, exist_ok=True)
        for key, text in self.secrets[secret["secretName"]].items():
            (inside / key).write_text(text)
            (inside / key).chmod(secret["defaultMode"])
        command = [word.replace(mount["mountPath"], str(inside)) for word in container["command"]]
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "HOME": str(home)}, start_new_session=True, stdout=asyncio.subprocess.DEVNULL
        )
        pod["status"] = {"phase": "Running", "podIP": "127.0.0.1"}
        self._processes[name] = process
        code = await process.wait()
        del self._processes[name]
        if "deletionTimestamp" in pod["metadata"]:
            self.pods.pop(name, None)
        else:
            ended = {"exitCode": code, "reason": "Error"}
            statuses = [{"name": "node", "ready": False, "restartCount": 0, "image": "", "imageID": "",
                         "state": {"terminated": ended}}]  # fmt: skip
            pod["status"] = {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return web.json_response({**body, "code": code}, status=code)
