"""torch's CPU tensors: their memory is sent as it lies, and a reader writes to memory of its own."""

import mmap

import numpy as np
import pytest

from limelight.actors import serialization
from limelight.actors.pickling.tensor import private_copy

torch = pytest.importorskip("torch", reason="torch is not installed: there may be no wheel for this Python")

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")


def round_trip(value):
    sent = serialization.serialize(value)
    assert sent.size == len(sent.data) + sum(buffer.nbytes for buffer in sent.buffers)
    return serialization.deserialize(sent.data, [memoryview(bytes(buffer)) for buffer in sent.buffers])


TENSORS = {
    "float": torch.arange(10_000.0).reshape(100, 100),
    "small": torch.arange(3),
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 3),
    "bfloat16": torch.ones(5000, dtype=torch.bfloat16),
    "complex": torch.ones(5000, dtype=torch.complex64) * 1j,
    "bool": torch.ones(5000, dtype=torch.bool),
    "transposed": torch.arange(10_000).reshape(100, 100).T,
    "column": torch.arange(10_000).reshape(100, 100)[:, 3],
    "expanded": torch.arange(10).expand(1000, 10),
    "offset": torch.arange(10_000)[5000:],
    "conjugate": torch.ones(5000, dtype=torch.complex64).conj(),
    "sparse": torch.eye(3).to_sparse(),
    "trainable": torch.ones(5000, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back_equal(name):
    tensor = TENSORS[name]
    copy = round_trip(tensor)
    assert torch.equal(copy.to_dense(), tensor.to_dense())
    assert (copy.dtype, copy.shape, copy.requires_grad) == (tensor.dtype, tensor.shape, tensor.requires_grad)


def test_memory_is_sent_as_it_lies():
    tensor = torch.ones(10_000)
    (buffer,) = serialization.serialize(tensor).buffers
    tensor[0] = 7
    assert bytes(buffer[:4]) == np.float32(7).tobytes()


def test_a_view_is_sent_without_the_rest():
    assert serialization.serialize(torch.ones(1_000_000)[:2000]).size < 10_000
    assert serialization.serialize(torch.ones(1000, 1000)[:, 0]).size < 10_000
    assert serialization.serialize(torch.ones(1).expand(1_000_000)).size < 10_000


def test_writing_to_a_tensor_never_changes_what_is_stored():
    sent = serialization.serialize(torch.ones(10_000))
    memory = bytearray(sent.buffers[0])
    copy = serialization.deserialize(sent.data, [memoryview(memory).toreadonly()])
    copy.add_(1)
    assert serialization.deserialize(sent.data, [memoryview(memory).toreadonly()])[0] == 1


def test_a_store_can_offer_copy_on_write_memory_instead_of_a_copy(tmp_path):
    sent = serialization.serialize(torch.ones(10_000))
    path = tmp_path / "stored"
    path.write_bytes(sent.buffers[0])
    asked = []

    def map_privately(view):
        asked.append(view.nbytes)
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), view.nbytes, access=mmap.ACCESS_COPY)

    serialization.set_private_view(map_privately)
    try:
        copy = serialization.deserialize(sent.data, [memoryview(path.read_bytes())])
    finally:
        serialization.set_private_view(private_copy)
    copy.add_(1)
    assert asked == [40_000]
    assert copy[0] == 2
    assert path.read_bytes() == bytes(sent.buffers[0])


def test_modules_can_be_trained_after_the_trip():
    model = round_trip(torch.nn.Linear(100, 100))
    model(torch.ones(100)).sum().backward()
    with torch.no_grad():
        model.weight.add_(1)
    assert model.weight.grad is not None
