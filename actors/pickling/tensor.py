"""torch CPU tensors: their memory leaves the pickle as a buffer instead of going through `torch.save`.

A tensor cannot be read-only, and writing to one in place is what torch programs do. So a reader never gets the shared
memory itself: it gets a private view of it, by default a copy. A store that can map its memory copy-on-write says so
with `set_private_view`, and then nothing is copied until it is written to.

Tensors are sent as values: of a view, only what it spans; two views of one storage arrive as two tensors.
"""

import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .reducer import Reducer


def private_copy(view: memoryview) -> bytearray:
    """Writable memory with the view's content."""
    return bytearray(view)


_private_view: Callable[[memoryview], Any] = private_copy


def set_private_view(make: Callable[[memoryview], Any]) -> None:
    """Say how a read-only view of the store becomes writable memory of this process's own.

    `make` returns a writable buffer of the same length that keeps alive what it needs; writes to it must not be seen
    by others. For example a MAP_PRIVATE mapping of the same range.
    """
    global _private_view
    _private_view = make


def tensor_reducers(torch: ModuleType) -> dict[type, Reducer] | None:
    """Reducers for torch's tensor class; None while torch is only half imported."""
    if not hasattr(torch, "frombuffer") or not hasattr(torch, "strided") or not hasattr(torch, "as_strided"):
        return None
    strided = torch.strided

    def reduce_tensor(tensor: Any) -> Any:
        if not _is_plain(tensor, strided):
            return NotImplemented
        flat = tensor.detach()
        span = 1 + sum((size - 1) * stride for size, stride in zip(flat.shape, flat.stride(), strict=True))
        if span > flat.numel():
            flat = flat.contiguous()
            span = flat.numel()
        memory = torch.as_strided(flat, (span,), (1,), flat.storage_offset())
        if memory.is_complex():
            memory = torch.view_as_real(memory).flatten()
        buffer = pickle.PickleBuffer(memory.view(torch.uint8).numpy())
        return _rebuild_tensor, (buffer, tensor.dtype, tuple(flat.shape), flat.stride(), tensor.requires_grad)

    return {torch.Tensor: reduce_tensor}


def _is_plain(tensor: Any, strided: Any) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.layout is strided
        and tensor.numel() > 0
        and (tensor.is_leaf or not tensor.requires_grad)
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.__dict__)
    )


def _rebuild_tensor(
    buffer: Any, dtype: Any, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
) -> Any:
    import torch  # pyright: ignore[reportMissingImports]  # there: the pickle names its dtype, which is unpickled first

    view = memoryview(buffer)
    memory = torch.frombuffer(_private_view(view) if view.readonly else view, dtype=dtype)
    tensor = torch.as_strided(memory, shape, stride)
    return tensor.requires_grad_() if requires_grad else tensor
