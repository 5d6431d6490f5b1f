"""What `init` says of the arguments that this version does nothing with."""

import pytest

import limelight as ll


def test_init_tells_what_it_ignores(caplog):
    with ll.init(local_mode=True, include_dashboard=True, _temp_dir="/elsewhere", dashboard_port=None):
        pass
    [told] = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert "include_dashboard, _temp_dir" in told
    assert "dashboard_port" not in told


@pytest.mark.parametrize("missed", [{"job_config": {"runtime_env": {}}}, {"enable_resource_isolation": True}])
def test_init_refuses_what_would_be_missed(missed):
    with pytest.raises(NotImplementedError, match=next(iter(missed))):
        ll.init(local_mode=True, **missed)
    assert not ll.is_initialized()
