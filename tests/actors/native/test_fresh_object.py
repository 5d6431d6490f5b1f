"""Objects of which the node manager does not know yet."""

from limelight.actors.contract import SealedObject
from limelight.actors.native.fresh_object import FreshObjects


def sealed(number, offset=0):
    return SealedObject(bytes([number]) * 28, "", 1, offset, 4096)


def fresh(*objects):
    """Objects that were sealed a second after one another."""
    made = FreshObjects()
    for time, item in enumerate(objects):
        made.add(item, float(time))
    return made


def test_what_stays_is_told_when_its_time_has_come():
    first, second = sealed(1), sealed(2)
    objects = fresh(first, second)
    assert objects.take(before=0.0) == ([], [])
    assert objects.take(before=0.5) == ([first], [])
    assert objects.take() == ([second], [])
    assert not objects


def test_what_is_dropped_and_reused_is_never_told():
    objects = fresh(sealed(1), sealed(2))
    assert objects.drop(sealed(1).object_id, 0)
    assert objects.dropped() == [sealed(1)]
    objects.reused(sealed(1).object_id)
    assert objects.take() == ([sealed(2)], [])


def test_what_is_dropped_but_read_is_told_as_dropped():
    objects = fresh(sealed(1), sealed(2))
    objects.drop(sealed(2).object_id, 0)
    objects.drop(sealed(1).object_id, 0)
    assert objects.take(before=0.5) == ([], [sealed(1)])
    assert objects.take(before=1.5) == ([], [sealed(2)])


def test_only_the_copy_that_this_process_wrote_is_its_to_drop():
    objects = fresh(sealed(1, offset=4096))
    assert not objects.drop(sealed(1).object_id, 8192)
    assert not objects.drop(sealed(2).object_id, 4096)
    assert objects.dropped() == []
