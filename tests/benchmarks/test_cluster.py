"""The command that measures clusters of several machines: that it runs, and says something of everything."""

import pytest

from tests.benchmarks import cluster
from tests.cluster.network import why_not


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_it_measures_everything(capsys):
    cluster.main(["--runs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("processor")
    for row, line in zip(cluster.ROWS.values(), lines[1:], strict=True):
        assert line.startswith(row.title)
        assert " s  (" in line
