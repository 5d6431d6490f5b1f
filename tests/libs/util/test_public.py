"""`limelight.util` has Ray's names."""

import subprocess
import sys

import pytest

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


MODULES = [
    "scheduling_strategies",
    "queue",
    "multiprocessing",
    "accelerators",
    "helpers",
    "check_serialize",
    "serialization",
]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_util_is_there_after_importing_limelight_alone(name):
    code = f"import limelight as ll, sys; print(ll.util.{name} is sys.modules['limelight.util.{name}'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_what_util_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing_such'"):
        ll.util.nothing_such  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing_such'"):
        from limelight.util import nothing_such  # noqa: F401


def test_what_a_module_of_util_needs_and_has_not_is_told():
    code = "import limelight as ll, sys; sys.modules |= {'joblib': None, 'joblib.parallel': None}; ll.util.joblib"
    error = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "import of joblib" in error.splitlines()[-1]
