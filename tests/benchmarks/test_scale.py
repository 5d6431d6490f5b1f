"""The command that measures how far one machine goes: that it runs, and says something of everything."""

import pytest

from tests.benchmarks import scale


@pytest.mark.slow
def test_it_measures_everything(capsys):
    scale.main(["--scale", "0.01"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("processor")
    for measure, line in zip(scale.MEASURES, lines[1:], strict=True):
        assert line.startswith(measure.__name__.replace("_", " "))


def test_it_measures_what_is_asked_for(capsys):
    scale.main(["--scale", "0.01", "--only", "nesting"])
    assert "2 deep on 2 CPUs" in capsys.readouterr().out.splitlines()[1]
