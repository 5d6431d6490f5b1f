"""NVIDIA GPUs of a node, and which of them a worker may see.

A node's GPUs are numbered from 0 by their place in the list of those it may use: these numbers are what the scheduler
hands out ("instances"). What a worker gets in CUDA_VISIBLE_DEVICES are the names the node itself was given, whether
indices, UUIDs or MIG devices. See "CUDA Environment Variables" in NVIDIA's CUDA C++ Programming Guide.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEAVE_ALONE = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
"""Set to "1", workers see what their node sees: for programs that choose devices themselves. Ray's name."""
HIDE_ON_ZERO = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
"""Set to "1", workers that were given no GPU see none. Ray's name."""
TYPE_PREFIX = "accelerator_type:"
"""Of the resource that a kind of GPU stands for. Ray's name."""

_LIBRARY = "libnvidia-ml.so.1"
"""NVML, as every NVIDIA driver installs it (Linux)."""

_logger = logging.getLogger(__name__)
_MIG_ENABLED = 1


class Gpu(NamedTuple):
    """A GPU, or a MIG slice of one.

    Attributes:
        device: what names it in CUDA_VISIBLE_DEVICES: an index, or a UUID.
        uuid: "GPU-..." or "MIG-...".
        name: the product's name: "NVIDIA A100-SXM4-40GB".
        memory: bytes.
    """

    device: str
    uuid: str
    name: str
    memory: int


def detect(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs this process may use; [] where there is no GPU, no driver, or CUDA_VISIBLE_DEVICES hides them all.

    Never raises and never makes CUDA start: it asks NVML.
    """
    allowed = visible_devices(environ)
    if allowed == []:
        return []
    return select(_installed(), allowed)


def visible_devices(environ: Mapping[str, str] = os.environ) -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names; None where it is not set, and so all may be used."""
    value = environ.get(VISIBLE)
    if value is None:
        return None
    return [name.strip() for name in value.split(",")] if value.strip() else []


def select(installed: Sequence[Gpu], allowed: Sequence[str] | None) -> list[Gpu]:
    """Those of `installed` that `allowed` names, in that order. As in CUDA, names after an invalid one do not count.

    Args:
        installed: the machine's GPUs.
        allowed: indices, UUIDs or their unambiguous beginnings; None for all.
    """
    if allowed is None:
        return list(installed)
    chosen: list[Gpu] = []
    for name in allowed:
        found = [
            gpu for gpu in installed if name == gpu.device or (name[:3] in {"GPU", "MIG"} and gpu.uuid.startswith(name))
        ]
        if len(found) != 1 or any(gpu.uuid == found[0].uuid for gpu in chosen):
            break
        chosen.append(found[0]._replace(device=name))
    return chosen


def accelerator_type(name: str) -> str | None:
    """Ray's short name of a product, as in `accelerator_type="A100"`: "NVIDIA A100-SXM4-40GB" is "A100".

    None when nothing in the name looks like a model.
    """
    words = re.findall(r"[A-Z0-9]+", re.sub(r"\b(?:NVIDIA|Tesla|GRID|Quadro|GeForce|GTX|RTX|TITAN)\b", " ", name))
    return next((word for word in words if re.search(r"\d", word)), None)


def resources(gpus: Sequence[Gpu]) -> dict[str, float]:
    """What a node with these GPUs offers: {"GPU": 2.0, "accelerator_type:A100": 1.0}; {} without GPUs."""
    if not gpus:
        return {}
    kinds = {kind for gpu in gpus if (kind := accelerator_type(gpu.name))}
    return {"GPU": float(len(gpus))} | {f"{TYPE_PREFIX}{kind}": 1.0 for kind in sorted(kinds)}


def assigned_devices(node_devices: Sequence[str], instances: Sequence[int]) -> list[str]:
    """The names of the devices a worker was given, for `get_gpu_ids` and CUDA_VISIBLE_DEVICES.

    Args:
        node_devices: `Gpu.device` of the node's GPUs, in order.
        instances: numbers of those the scheduler gave to the worker. A number beyond the list names itself: the user
            told the node that it has more GPUs than were found (`num_gpus=`).
    """
    return [node_devices[instance] if instance < len(node_devices) else str(instance) for instance in instances]


def restrict(environ: MutableMapping[str, str], devices: Sequence[str]) -> None:
    """Let this process see only the GPUs it was given. Before it starts CUDA.

    A process that was given none sees what its node sees, as in Ray, unless HIDE_ON_ZERO is set.
    """
    if _is_set(environ, LEAVE_ALONE) or not (devices or _is_set(environ, HIDE_ON_ZERO)):
        return
    environ[VISIBLE] = ",".join(devices)


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() not in {"", "0", "false"}


def _installed() -> list[Gpu]:
    if not _has_driver():  # importing the binding would take 10 ms to say so
        return []
    try:
        import pynvml  # pyright: ignore[reportMissingTypeStubs]  # NVIDIA ships none
    except ImportError:
        return []
    return _ask(pynvml)


def _has_driver() -> bool:
    if sys.platform == "win32":
        return True  # the library is in one of several places there, which the binding knows
    import ctypes

    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def _ask(nvml: ModuleType) -> list[Gpu]:
    api: Any = nvml
    try:
        api.nvmlInit()
    except api.NVMLError as exc:  # no driver, or no GPU: the usual case
        _logger.debug("No NVIDIA GPU: %s", exc)
        return []
    try:
        physical = [api.nvmlDeviceGetHandleByIndex(index) for index in range(api.nvmlDeviceGetCount())]
        slices = [_slices(api, handle) for handle in physical]
        by_uuid = any(slices)  # CUDA refuses a list that mixes indices and MIG names
        gpus: list[Gpu] = []
        for index, (handle, parts) in enumerate(zip(physical, slices, strict=True)):
            whole = _describe(api, handle)
            if parts:
                gpus.extend(part._replace(name=whole.name) for part in parts)
            else:
                gpus.append(whole if by_uuid else whole._replace(device=str(index)))
    except api.NVMLError as exc:
        _logger.warning(
            "The NVIDIA driver answers, but its GPUs cannot be listed: %s. Pass num_gpus= to set their number.", exc
        )
        return []
    finally:
        api.nvmlShutdown()
    return gpus


def _slices(api: Any, handle: Any) -> list[Gpu]:
    """The MIG devices of a GPU; [] where MIG is off or unknown."""
    try:
        current, _ = api.nvmlDeviceGetMigMode(handle)
        if current != _MIG_ENABLED:
            return []
        count = api.nvmlDeviceGetMaxMigDeviceCount(handle)
    except api.NVMLError:  # not a GPU that has MIG
        return []
    found: list[Gpu] = []
    for index in range(count):
        try:
            part = api.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except api.NVMLError:  # this place is not in use
            continue
        found.append(_describe(api, part))
    return found


def _describe(api: Any, handle: Any) -> Gpu:
    uuid, name = _text(api.nvmlDeviceGetUUID(handle)), _text(api.nvmlDeviceGetName(handle))
    return Gpu(uuid, uuid, name, int(api.nvmlDeviceGetMemoryInfo(handle).total))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
