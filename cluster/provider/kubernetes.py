"""Machines from Kubernetes: each instance is a pod.

What an instance is stands in its pod's labels, and its name is the pod's, which Kubernetes gives to one pod at a time:
to make one that is there is answered with "already exists". The token lies in a Secret, which the kubelet puts into the
pod as a file; the pod's command copies it to where only its user reads it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from ..scheduling.resources import BYTES, UNIT
from .instance import Instance, InstanceState, NodeType, Role
from .node_provider import NodeProvider, ProviderError
from .node_start import NodeStart, node_script

_CLUSTER = "limelight/cluster"
_TYPE = "limelight/node-type"
_ROLE = "limelight/role"
_CONTAINER = "node"
_MOUNT = "/etc/limelight"
_GRACE_S = 15
_REQUEST_S = 30.0
_HTTP_NOT_FOUND, _HTTP_CONFLICT, _HTTP_UNAUTHORIZED = 404, 409, 401


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the pods go.

    Attributes:
        namespace: theirs; it must exist.
        image: of pods whose node type names none; it must have Limelight and the `cluster` command.
        kubeconfig: the file; "": KUBECONFIG or ~/.kube/config, or, inside a pod, that pod's service account.
        context: of the kubeconfig; "": its current one.
        service_account: of the pods; "": the namespace's default.
    """

    namespace: str = "default"
    image: str = ""
    kubeconfig: str = ""
    context: str = ""
    service_account: str = ""


class KubernetesMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What a node type's `machine` may say: another image, and more of the pod's spec, which is merged into it."""

    image: str = ""
    pod: dict[str, Any] = {}


class KubernetesProvider(NodeProvider):
    """Instances are pods. What a node type's `machine` has is said by `KubernetesMachine`.

    Args:
        cluster: names the cluster.
        settings: see there.
    """

    def __init__(self, cluster: str, settings: KubernetesSettings) -> None:
        super().__init__(cluster)
        self._settings = settings
        self._kubeconfig = str(Path(settings.kubeconfig).expanduser()) if settings.kubeconfig else ""
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._kept: set[str] = set()

    async def instances(self) -> list[Instance]:
        """See `NodeProvider.instances`."""
        api = await self._api()
        selector = f"{_CLUSTER}={self.cluster}"
        pods = await _answered(api.list_namespaced_pod(self._settings.namespace, label_selector=selector))
        return [_instance_of(pod) for pod in pods.items]

    def shell_command(self, instance: Instance, command: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        """See `NodeProvider.shell_command`: `kubectl exec`."""
        settings = self._settings
        words = ["kubectl", *(["--kubeconfig", self._kubeconfig] if self._kubeconfig else [])]
        words += ["--context", settings.context] if settings.context else []
        words += ["--namespace", settings.namespace, "exec", *(["--stdin", "--tty"] if terminal else [])]
        return [*words, instance.instance_id, "--container", _CONTAINER, "--", *(command or ["bash", "-l"])]

    async def close(self) -> None:
        """See `NodeProvider.close`."""
        await super().close()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _make(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> Instance:
        api = await self._api()
        await self._keep_token(api, start)
        body = self._manifest(node_type, name, start, role)
        try:
            pod = await _answered(api.create_namespaced_pod(self._settings.namespace, body))
        except _ConflictError:
            pod = await _answered(api.read_namespaced_pod(name, self._settings.namespace))
            if (pod.metadata.labels or {}).get(_CLUSTER) != self.cluster:
                raise ProviderError(f"There is a pod named {name} that is not of this cluster.") from None
        return _instance_of(pod)

    async def _end(self, instance_id: str) -> None:
        api = await self._api()
        call = api.delete_namespaced_pod(instance_id, self._settings.namespace, grace_period_seconds=_GRACE_S)
        try:
            await _answered(call)
        except _MissingError:
            return

    async def _api(self) -> Any:
        client, config = _library()
        async with self._connecting:
            if self._client is None:
                settings = self._settings
                configuration = client.Configuration()
                try:
                    if self._kubeconfig or not _inside_pod():
                        await config.load_kube_config(
                            config_file=self._kubeconfig or None,
                            context=settings.context or None,
                            client_configuration=configuration,
                        )
                    else:
                        config.load_incluster_config(client_configuration=configuration)
                except (config.ConfigException, OSError) as error:
                    raise ProviderError(
                        f"There is no way to Kubernetes: {error}. Name a file in `kubeconfig`, or see to it that "
                        "`kubectl get pods` works."
                    ) from error
                self._client = client.ApiClient(configuration)
        return client.CoreV1Api(self._client)

    async def _keep_token(self, api: Any, start: NodeStart) -> None:
        """Put the token into the cluster's Secret, once for each token."""
        if start.token in self._kept:
            return
        name, namespace = self._secret(), self._settings.namespace
        body = {
            "metadata": {"name": name, "labels": {_CLUSTER: self.cluster}},
            "stringData": {"token": start.token + "\n"},
        }
        try:
            await _answered(api.create_namespaced_secret(namespace, body))
        except _ConflictError:
            await _answered(api.patch_namespaced_secret(name, namespace, body))
        self._kept.add(start.token)

    def _secret(self) -> str:
        return f"limelight-{self.cluster}"

    def _manifest(self, node_type: NodeType, name: str, start: NodeStart, role: Role) -> dict[str, Any]:
        settings = self._settings
        image = node_type.machine.get("image", settings.image)
        if not image:
            raise ProviderError(f"Node type {node_type.name!r} has no image: name one, or one for all in `provider`.")
        token_file = '"$HOME/.limelight-token"'  # noqa: S105 - a path, not a secret
        copy = f"set -eu\n(umask 077; cat {_MOUNT}/token >{token_file})\n"
        amounts = _amounts(node_type)
        container: dict[str, Any] = {
            "name": _CONTAINER,
            "image": image,
            "command": ["sh", "-c", copy + node_script(node_type, name, start, role, token_file)],
            "resources": {"requests": amounts, "limits": amounts},
            "volumeMounts": [{"name": "token", "mountPath": _MOUNT, "readOnly": True}],
        }
        secret = {"secretName": self._secret(), "defaultMode": 0o400}
        spec: dict[str, Any] = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "token", "secret": secret}],
            **({"serviceAccountName": settings.service_account} if settings.service_account else {}),
        }
        more = node_type.machine.get("pod", {})
        labels = {_CLUSTER: self.cluster, _TYPE: node_type.name, _ROLE: role}
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": merged(spec, more) if isinstance(more, dict) else spec,
        }


class _ConflictError(ProviderError):
    """It is there already."""


class _MissingError(ProviderError):
    """It is not there."""


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What is said in `more` put into `base`: mappings by key, lists of named things by name, others replaced."""
    result = dict(base)
    for key, value in more.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = merged(before, value)
        elif (old := _named(before)) and (new := _named(value)):
            by_name = {one["name"]: one for one in old}
            for one in new:
                by_name[one["name"]] = merged(by_name.get(one["name"], {}), one)
            result[key] = list(by_name.values())
        else:
            result[key] = value
    return result


def _named(value: Any) -> list[dict[str, Any]]:
    """A list of mappings that have names, as containers and volumes have; else nothing."""
    listed: list[Any] = value if isinstance(value, list) else []
    return listed if all(isinstance(one, dict) and "name" in one for one in listed) else []


async def _answered(call: Any) -> Any:
    """The answer to a request; its errors as those of a provider."""
    client, _ = _library()
    try:
        async with asyncio.timeout(_REQUEST_S):
            return await call
    except client.ApiException as error:
        status = error.status or 0
        text = _reason(error)
        if status == _HTTP_CONFLICT:
            raise _ConflictError(text) from error
        if status == _HTTP_NOT_FOUND:
            raise _MissingError(text) from error
        if status == _HTTP_UNAUTHORIZED:
            text += " The credentials are wrong or have expired: does `kubectl get pods` work?"
        raise ProviderError(f"Kubernetes refuses ({status}): {text}") from error
    except TimeoutError as error:
        raise ProviderError(f"Kubernetes has not answered within {_REQUEST_S:g} s.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ProviderError(f"Kubernetes cannot be reached: {error}") from error


def _reason(error: Any) -> str:
    """What the API's `Status` says."""
    try:
        return str(msgspec.json.decode(error.body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(error.reason or error.body)


def _instance_of(pod: Any) -> Instance:
    labels = pod.metadata.labels or {}
    phase = pod.status.phase if pod.status else "Pending"
    states: dict[str, InstanceState] = {"Pending": "starting", "Running": "running"}
    state = "ending" if pod.metadata.deletion_timestamp else states.get(phase, "failed")
    address = (pod.status.pod_ip if pod.status else "") or ""
    name = pod.metadata.name
    text = "" if state == "running" else _text_of(pod, phase)
    return Instance(name, name, labels.get(_TYPE, ""), state, address, text, labels.get(_ROLE, "worker"))


def _text_of(pod: Any, phase: str) -> str:
    """Why it is not running, where that is known."""
    told = [f"the pod is {phase}"]
    if pod.status and pod.status.reason:  # as of one that was evicted
        told.append(f"{pod.status.reason}: {pod.status.message or ''}")
    for container in (pod.status.container_statuses if pod.status else None) or []:
        for state in (container.state.waiting, container.state.terminated) if container.state else ():
            if state is not None:
                code = getattr(state, "exit_code", None)
                told.append(f"{state.reason}{'' if code is None else f' (exit code {code})'}: {state.message or ''}")
    conditions = (pod.status.conditions if pod.status else None) or []
    told += [f"{one.reason}: {one.message}" for one in conditions if one.status == "False" and one.message]
    return "; ".join(told)


def _amounts(node_type: NodeType) -> dict[str, str]:
    """Resources as Kubernetes writes them."""
    names = {"CPU": "cpu", "GPU": "nvidia.com/gpu", "memory": "memory"}
    found: dict[str, str] = {}
    memory = 0
    for kind, units in node_type.resources.amounts:
        if kind in BYTES:
            memory += units // UNIT
        elif kind in names:
            found[names[kind]] = f"{units / UNIT:g}"
    return {**found, "memory": str(memory)} if memory else found


def _inside_pod() -> bool:
    import os

    return "KUBERNETES_SERVICE_HOST" in os.environ


def _library() -> tuple[Any, Any]:
    try:
        from kubernetes_asyncio import client, config
    except ImportError as error:
        raise ProviderError('Kubernetes needs a package: pip install "limelight[kubernetes]"') from error
    return client, config
