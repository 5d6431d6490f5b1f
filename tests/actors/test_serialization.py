"""Values go out as bytes and come back equal; large buffers are not copied; what cannot go is named."""

import dataclasses
import enum
import functools
import pickle
import socket
import sys
import threading
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.actors import serialization


def round_trip(value):
    sent = serialization.serialize(value)
    assert sent.size == len(sent.data) + sum(buffer.nbytes for buffer in sent.buffers)
    return serialization.deserialize(sent.data, [stored(buffer) for buffer in sent.buffers])


def stored(buffer):
    """The buffer as a store gives it back: a read-only view of other memory."""
    return memoryview(bytes(buffer))


@dataclasses.dataclass
class Point:
    x: int
    y: list


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    a: object
    b: object


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=200_000),
    st.decimals(allow_nan=False),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(st.text(), inner),
        st.builds(Point, st.integers(), st.lists(inner)),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=20,
)


class TestValues:
    @given(VALUES)
    def test_come_back_equal_and_of_the_same_type(self, value):
        copy = round_trip(value)
        assert copy == value
        assert type(copy) is type(value)

    @given(st.tuples(VALUES, VALUES), st.dictionaries(st.text(), VALUES))
    def test_arguments_come_back_as_args_and_kwargs(self, args, kwargs):
        sent = serialization.serialize_args(args, kwargs)
        buffers = [stored(buffer) for buffer in sent.buffers]
        assert serialization.deserialize(sent.data, buffers) == (args, kwargs)

    @pytest.mark.parametrize(
        "value",
        [
            Colour.RED,
            Decimal("1.5"),
            {1, 2},
            frozenset({3}),
            2**200,
            b"x" * 100_000,
            bytearray(b"ab"),
            range(3),
            int,
            len,
            True,
            -0.0,
        ],
        ids=repr,
    )
    def test_of_many_kinds(self, value):
        assert round_trip(value) == value
        assert repr(round_trip(value)) == repr(value)

    def test_functions_and_classes_of_main_go_by_value(self):
        namespace = {"__name__": "__main__", "offset": 10}
        exec("def add(x): return x + offset\nclass Box:\n    def get(self): return add(1)", namespace)
        sent = serialization.serialize((namespace["add"], namespace["Box"]()))
        assert b"__main__" in sent.data
        namespace["offset"] = 99  # the copy has its own
        add, box = serialization.deserialize(sent.data, sent.buffers)
        assert (add(1), box.get()) == (11, 11)

    def test_cycles_and_shared_parts(self):
        shared = [1]
        value = {"a": shared, "b": shared}
        value["self"] = value
        copy = round_trip(value)
        assert copy["a"] is copy["b"]
        assert copy["self"] is copy

    def test_exceptions_with_odd_constructors_are_values_too(self):
        error = round_trip([OddError(3, extra=4)])[0]
        assert (error.code, error.extra, error.args) == (3, 4, ("odd",))


class OddError(Exception):
    def __init__(self, code, *, extra):
        super().__init__("odd")
        self.code, self.extra = code, extra


ARRAYS = {
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3.5),
    "small": np.arange(10),
    "large": np.arange(100_000).reshape(100, 1000),
    "fortran": np.asfortranarray(np.arange(100_000).reshape(100, 1000)),
    "transposed 3d": np.arange(60_000).reshape(30, 40, 50).transpose(2, 0, 1),
    "strided": np.arange(100_000)[::3],
    "negative stride": np.arange(10_000)[::-1],
    "broadcast": np.broadcast_to(np.arange(10), (1000, 10)),
    "read-only": np.frombuffer(bytes(50_000), np.int8),
    "bool": np.ones(9000, bool),
    "big endian": np.arange(5000, dtype=">i4"),
    "strings": np.array(["ab", "c"] * 5000),
    "dates": np.arange("2020-01", "2021-01", dtype="datetime64[D]"),
    "records": np.zeros(3000, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([{"a": 1}, None, [2]], dtype=object),
}


class TestArrays:
    @pytest.mark.parametrize("name", ARRAYS)
    def test_come_back_equal_and_read_only(self, name):
        array = ARRAYS[name]
        copy = round_trip(array)
        np.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype
        assert copy.shape == array.shape
        if array.size and not array.dtype.hasobject:
            assert not copy.flags.writeable

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_contiguous_memory_is_sent_as_it_lies(self, order):
        array = np.ones((200, 300), order=order)
        sent = serialization.serialize({"weights": array})
        assert len(sent.data) < 500
        assert np.shares_memory(np.frombuffer(sent.buffers[0], np.uint8), array)

    def test_arrays_refer_to_the_stored_memory(self):
        sent = serialization.serialize(np.ones(10_000))
        memory = memoryview(bytes(sent.buffers[0]))
        copy = serialization.deserialize(sent.data, [memory])
        assert np.shares_memory(copy, np.frombuffer(memory, np.uint8))

    @pytest.mark.parametrize("array", [np.arange(100_000)[::2], np.zeros(100_000, "M8[ns]")], ids=["strided", "dates"])
    def test_arrays_that_have_no_plain_buffer_leave_the_pickle_too(self, array):
        assert len(serialization.serialize(array).data) < 500

    def test_buffers_from_4_kib_are_outside_the_pickle(self):
        sent = serialization.serialize([np.zeros(4096, np.int8), np.zeros(4095, np.int8)])
        assert [buffer.nbytes for buffer in sent.buffers] == [4096]

    def test_buffers_are_flat_bytes(self):
        (buffer,) = serialization.serialize(np.ones((100, 100))).buffers
        assert (buffer.format, buffer.ndim, buffer.nbytes) == ("B", 1, 80_000)

    @pytest.mark.skipif(sys.maxsize < 2**32, reason="needs 64 bits")
    def test_more_than_4_gib(self):
        array = np.zeros(5 << 30, np.uint8)  # address space only: no page of it is touched
        sent = serialization.serialize(array)
        assert sent.size > 5 << 30
        copy = serialization.deserialize(sent.data, [buffer.toreadonly() for buffer in sent.buffers])
        assert copy.shape == (5 << 30,)

    def test_any_provider_of_buffers(self):
        sent = serialization.serialize(Provider(bytearray(b"ab" * 5000)))
        assert [buffer.nbytes for buffer in sent.buffers] == [10_000]
        assert serialization.deserialize(sent.data, sent.buffers) == b"ab" * 5000


class Provider:
    def __init__(self, content):
        self.content = content

    def __reduce_ex__(self, protocol):
        return bytes, (pickle.PickleBuffer(self.content),)


class TestLargeBytes:
    def test_are_not_copied_into_the_pickle(self):
        value = b"x" * 1_000_000
        sent = serialization.serialize(value)
        assert len(sent.data) < 200
        assert serialization.deserialize(sent.data, sent.buffers) == value

    def test_as_arguments(self):
        value = b"x" * 1_000_000
        sent = serialization.serialize_args((1, value), {"k": value})
        assert len(sent.data) < 300
        assert serialization.deserialize(sent.data, sent.buffers) == ((1, value), {"k": value})


class TestTables:
    def test_data_frames(self):
        frame = pd.DataFrame({"a": np.arange(10_000), "b": np.arange(10_000.0), "c": ["x"] * 10_000})
        pd.testing.assert_frame_equal(round_trip(frame), frame)
        assert len(serialization.serialize(frame).data) < 5000

    def test_arrow(self):
        table = pa.table({"a": np.arange(100_000), "s": ["x"] * 100_000})
        assert round_trip(table).equals(table)
        assert len(serialization.serialize(table).data) < 5000

    @pytest.mark.parametrize("kind", ["table", "batch"])
    def test_a_slice_is_sent_without_the_rest(self, kind):
        table = pa.table({"a": np.arange(1_000_000), "s": [str(i) for i in range(1_000_000)]})
        rows = (table if kind == "table" else table.to_batches()[0]).slice(500, 10)
        assert serialization.serialize(rows).size < 10_000
        assert round_trip(rows).equals(rows)
        assert type(round_trip(rows)) is type(rows)


class Ref:
    """What the serializer sees of an ObjectRef."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        assert serialization.note_pickled(self)
        return arrived, (self.name,)


def arrived(name):
    ref = Ref(name)
    serialization.note_unpickled(ref)
    return ref


class Nested:
    """Serializes a value of its own while it is pickled, as a `__reduce__` that calls `put` would."""

    def __reduce__(self):
        inner = serialization.serialize([Ref("inner")])
        assert [ref.name for ref in inner.refs] == ["inner"]
        return str, ("nested",)


class TestContainedRefs:
    def test_are_listed_going_and_coming(self):
        refs = [Ref("a"), Ref("b")]
        sent = serialization.serialize({"x": refs[0], "y": [1, refs[1]]})
        assert sent.refs == refs
        came = []
        serialization.deserialize(sent.data, sent.buffers, came)
        assert [ref.name for ref in came] == ["a", "b"]

    def test_in_arguments(self):
        ref = Ref("a")
        assert serialization.serialize_args((1, ref), {"k": [ref]}).refs == [ref]

    def test_captured_by_a_function(self):
        ref = Ref("a")
        assert serialization.serialize(lambda: ref).refs == [ref]

    def test_of_a_value_serialized_meanwhile_are_its_own(self):
        outer = Ref("outer")
        assert serialization.serialize([Nested(), outer]).refs == [outer]

    def test_of_other_threads_are_theirs(self):
        barrier = threading.Barrier(2, timeout=10)

        class Meets:
            def __reduce__(self):
                barrier.wait()
                return str, ()

        found = {}

        def run(name):
            found[name] = [ref.name for ref in serialization.serialize([Meets(), Ref(name)]).refs]

        threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == {"a": ["a"], "b": ["b"]}

    def test_nothing_listens_outside_and_after_a_failure(self):
        with pytest.raises(TypeError, match="Could not serialize"):
            serialization.serialize([Ref("a"), threading.Lock()])
        assert not serialization.note_pickled(Ref("b"))
        assert not serialization.note_unpickled(Ref("b"))

    def test_can_be_recorded_around_other_pickling(self):
        with serialization.recording() as refs:
            pickle.dumps([Ref("a")])
        assert [ref.name for ref in refs] == ["a"]


class Legacy:
    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()


@pytest.fixture
def legacy_serializer():
    serialization.register_serializer(Legacy, serializer=lambda value: value.path, deserializer=Legacy)
    yield
    serialization.deregister_serializer(Legacy)


class TestCustomSerializers:
    def test_replace_pickling_for_their_class(self, legacy_serializer):
        assert round_trip([Legacy("/a")])[0].path == "/a"

    @pytest.mark.usefixtures("legacy_serializer")
    def test_the_deserializer_travels_with_the_value(self):
        sent = serialization.serialize(Legacy("/a"))
        serialization.deregister_serializer(Legacy)
        assert serialization.deserialize(sent.data, sent.buffers).path == "/a"

    @pytest.mark.usefixtures("legacy_serializer")
    def test_hold_until_deregistered(self):
        serialization.deregister_serializer(Legacy)
        with pytest.raises(TypeError, match=r"value\.lock"):
            serialization.serialize(Legacy("/a"))
        serialization.deregister_serializer(Legacy)

    def test_refuse_what_is_not_a_class(self):
        with pytest.raises(TypeError, match="needs a class"):
            serialization.register_serializer("Legacy", serializer=str, deserializer=str)


class Config:
    def __init__(self):
        self.lock = threading.Lock()


class Service:
    def __init__(self):
        self.config = Config()

    def run(self):
        return self.config


class Slotted:
    __slots__ = ("socket",)


class WithClassLock:
    lock = threading.Lock()


def explain(value, name="the value"):
    with pytest.raises(TypeError) as raised:
        serialization.serialize(value, name)
    return str(raised.value)


class TestWhatCannotBePickled:
    def test_is_named_by_attribute(self):
        text = explain(Service(), "the value to put")
        assert text.startswith("Could not serialize the value to put: value.config.lock cannot be pickled.")
        assert "value.config.lock: _thread.lock" in text
        assert "register_serializer" in text

    def test_by_item_and_key(self):
        assert "value['a'][1].lock: " in explain({"a": [0, Config()]})

    def test_by_captured_variable(self):
        self_ = Service()
        assert "self_.config.lock (self_ is a variable captured by" in explain(lambda: self_)

    def test_by_global_variable(self):
        namespace = {"__name__": "__main__", "service": Service()}
        exec("def work(): return [service for _ in ()]", namespace)
        assert "service.config.lock (service is a global variable used by work)" in explain(namespace["work"])

    def test_by_argument(self):
        with pytest.raises(TypeError, match=r"the arguments of task f: args\[1\]\.config\.lock"):
            serialization.serialize_args((1, Service()), {}, "task f")
        with pytest.raises(TypeError, match=r"the arguments of task f: service\.config\.lock"):
            serialization.serialize_args((1,), {"service": Service()}, "task f")

    def test_by_slot_bound_method_partial_and_class(self):
        slotted = Slotted()
        with socket.socket() as slotted.socket:
            assert "value.socket: socket.socket" in explain(slotted)
        assert "value.__self__.config.lock" in explain(Service().run)
        assert "value.args[0].lock" in explain(functools.partial(print, Config()))
        local = type("Local", (), {"__module__": "__main__", "lock": threading.Lock()})
        assert "value.__class__.lock" in explain(local())

    def test_itself(self):
        assert "value: generator" in explain(i for i in range(3))
        assert "value: _thread.lock" in explain(threading.Lock())

    def test_too_deep(self):
        nested = []
        for _ in range(100_000):
            nested = [nested]
        assert "nested deeper than Python's recursion limit" in explain(nested)

    def test_errors_of_the_users_own_code_pass_with_a_note(self):
        class Broken:
            def __getstate__(self):
                raise KeyError("mine")

        with pytest.raises(KeyError) as raised:
            serialization.serialize(Broken(), "the argument x of task f")
        assert raised.value.__notes__ == ["Raised while serializing the argument x of task f."]

    def test_a_dict_that_changes_meanwhile_raises_and_the_next_attempt_succeeds(self):
        class Grows:
            def __reduce__(self):
                if len(value) < 3:
                    value[len(value)] = 0
                return str, ()

        value = {"grows": Grows(), "other": 1}
        with pytest.raises(RuntimeError, match="changed size"):
            serialization.serialize([value])
        assert round_trip([value])[0]["other"] == 1

    def test_importable_classes_with_unpicklable_attributes_are_fine(self):
        assert type(round_trip(WithClassLock())) is WithClassLock


class TestUnpickling:
    def test_a_missing_module_says_how_to_ship_it(self):
        data = pickle.dumps(Point(1, []), 5).replace(b"Point", b"Piont")
        with pytest.raises(AttributeError) as raised:
            serialization.deserialize(data)
        assert "runtime_env" in raised.value.__notes__[0]

    def test_takes_views(self):
        assert serialization.deserialize(memoryview(serialization.serialize([1]).data)) == [1]
