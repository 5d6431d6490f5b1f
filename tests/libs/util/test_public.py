"""`limelight.util` has Ray's names."""

import limelight as ll


def test_names_are_sorted_and_there():
    assert ll.util.__all__ == sorted(ll.util.__all__)
    assert all(callable(getattr(ll.util, name)) for name in ll.util.__all__)


def test_placement_group_is_a_module_and_a_function():
    import limelight.util.placement_group
    from limelight.util import placement_group
    from limelight.util.placement_group import PlacementGroup

    assert placement_group is limelight.util.placement_group
    assert placement_group.PlacementGroup is PlacementGroup is ll.util.PlacementGroup
    assert callable(placement_group)
