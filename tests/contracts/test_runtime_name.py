"""Names, parameters and attributes that programs written for Ray use, on every runtime; see conftest.py."""

import importlib

import numpy as np
import pytest


def test_parameters_by_name(ll):
    ref = ll.put(1)
    assert ll.get(object_refs=ref) == 1
    assert ll.wait(ray_waitables=[ref]) == ([ref], [])
    ll.cancel(ray_waitable=ref)


def test_numbers_of_numpy_are_numbers(ll):
    ref = ll.put(1)
    assert ll.get(ref, timeout=np.int64(20)) == 1
    assert ll.wait([ref], num_returns=np.int64(1), timeout=np.float32(20))[0] == [ref]


@pytest.mark.parametrize("bad", [{"num_returns": "1"}, {"timeout": "1"}, {"num_returns": 1.5}])
def test_wait_names_what_is_wrong(ll, better_than_ray, bad):
    with pytest.raises(TypeError, match=r"num_returns|timeout"):
        ll.wait([ll.put(1)], **bad)


def test_an_object_id_is_a_ref(ll):
    assert ll.ObjectID is ll.ObjectRef
    ref = ll.put(1)
    assert ll.ObjectID(ref.binary()) == ref


def test_a_ref_made_from_an_id_is_only_a_name(ll, better_than_ray):
    name = ll.ObjectRef(ll.put(1).binary())
    for use in (ll.get, lambda ref: ll.wait([ref]), lambda ref: ref.future()):
        with pytest.raises(ValueError, match="made from an id"):
            use(name)


@pytest.mark.parametrize("name", ["ActorID", "JobID", "NodeID", "TaskID", "PlacementGroupID", "WorkerID"])
def test_ids(ll, name):
    cls = getattr(ll, name)
    one = cls(b"\1" * cls.size())
    assert cls.from_hex(one.hex()) == one
    assert cls.from_binary(one.binary()) == one
    assert cls.nil().is_nil()


def test_new_ids_differ(ll):
    for cls in (ll.UniqueID, ll.FunctionID, ll.ActorClassID, ll.NodeID):
        assert cls.from_random() != cls.from_random()


def test_the_plain_function_and_class_are_at_hand(ll, counter_class, better_than_ray):
    @ll.remote
    def double(x):
        return 2 * x

    assert double._function(2) == double.__wrapped__(2) == 4
    assert counter_class.__wrapped__(3).add() == 4


def test_a_keyword_may_be_called_self(ll):
    @ll.remote
    def names(**given):
        return sorted(given)

    assert ll.get(names.remote(self=1, args=2, options=3)) == ["args", "options", "self"]


def test_a_placement_group_must_be_one(ll, better_than_ray):
    strategies = importlib.import_module(f"{ll.__name__}.util.scheduling_strategies")
    with pytest.raises(TypeError, match="placement_group"):
        strategies.PlacementGroupSchedulingStrategy(3)
    with pytest.raises(TypeError, match="placement_group"):
        ll.remote(lambda: 1).options(placement_group=3)


def test_an_actor_class_has_what_its_class_has(ll):
    class Limits:
        most = 3

        @staticmethod
        def double(x):
            return 2 * x

    limited = ll.remote(Limits)
    assert limited.most == 3
    assert limited.double(limited.most) == 6
    with pytest.raises(AttributeError, match="least"):
        _ = limited.least


@pytest.mark.parametrize(
    "names",
    [
        "actor ActorClass ActorHandle ActorMethod ActorProxy exit_actor method",
        "types ObjectRef",
        "util as_completed map_unordered log_once get_node_ip_address list_named_actors inspect_serializability",
        "util.accelerators NVIDIA_A100 NVIDIA_TESLA_V100 AWS_NEURON_CORE",
        "util.check_serialize inspect_serializability",
        "util.debug log_once reset_log_once",
        "util.helpers as_completed map_unordered",
        "util.multiprocessing JoinableQueue Pool TimeoutError",
        "util.serialization register_serializer deregister_serializer",
    ],
)
def test_modules_have_their_names(ll, names):
    module, *wanted = names.split()
    found = importlib.import_module(f"{ll.__name__}.{module}")
    assert [name for name in wanted if not hasattr(found, name)] == []


def test_the_address_of_the_node(ll):
    assert ll.util.get_node_ip_address().count(".") == 3


def test_a_thing_is_said_once(ll):
    debug = importlib.import_module(f"{ll.__name__}.util.debug")
    debug.reset_log_once("here")
    assert [debug.log_once("here") for _ in range(3)] == [True, False, False]
    debug.reset_log_once("here")
    assert debug.log_once("here")
