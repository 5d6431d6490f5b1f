"""The benchmark command itself: what it runs, what it says of what fails, and how it compares."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.benchmarks import core
from tests.benchmarks.case import Case, Row
from tests.benchmarks.catalogue import CASES
from tests.benchmarks.engine import Engine, limelight
from tests.benchmarks.table import ratio, table
from tests.benchmarks.trial import run
from tests.source_tree import package_files

RATE = Row("calls", "calls", "/s", 5)
TIME = Row("start", "start", " s", 10, more_is_better=False)
COUNT = Row("processes", "processes", "", None, more_is_better=False)
CASE = Case(lambda ray, seconds: {}, (RATE, TIME, COUNT))

ENGINE = """
def init(**settings):
    {init}
def put(value):
    return value
def shutdown():
    {shutdown}
"""


def engine(folder: Path, *, init: str = "pass", shutdown: str = "pass") -> Engine:
    """An engine that can only put, and does something of its own when it starts and stops."""
    path = folder / "engine_for_test.py"
    path.write_text("import subprocess, sys, time\n" + ENGINE.format(init=init, shutdown=shutdown))
    return Engine("engine_for_test", Path(sys.executable), "1", {path.name: path})


def test_the_table_shows_medians_ratios_and_goals():
    figures = {
        "limelight": {"calls": [100, 700, 600], "start": [0.2], "processes": [3]},
        "ray": {"calls": [100, 110, 90], "start": [1.0], "processes": [9]},
    }
    assert table([CASE], figures, ["limelight", "ray"]).splitlines() == [
        "case       limelight    ray  ratio  goal",
        "---------  ---------  -----  -----  ----  -----",
        "calls          600/s  100/s     6x    5x   pass",
        "start          0.2 s    1 s     5x   10x  short",
        "processes          3      9     3x",
    ]


def test_a_row_without_figures_is_shown_as_failed_and_short():
    lines = table([CASE], {"limelight": {}, "ray": {"calls": [100]}}, ["limelight", "ray"]).splitlines()
    assert lines[2].split() == ["calls", "failed", "100/s", "5x", "short"]


def test_one_engine_alone_is_compared_with_nothing():
    assert table([CASE], {"ray": {"calls": [100]}}, ["ray"]).splitlines()[2].split() == ["calls", "100/s"]


def test_less_is_better_for_times():
    assert ratio(TIME, 1.0, 4.0) == 4.0
    assert ratio(RATE, 4.0, 1.0) == 4.0


def test_the_table_of_all_cases_fits_a_hundred_columns():
    rows = [row.key for case in CASES.values() for row in case.rows]
    assert len(rows) == len(set(rows))
    figures = {engine: {key: [123456.0] for key in rows} for engine in ("limelight", "ray")}
    assert max(map(len, table(CASES.values(), figures, ["limelight", "ray"]).splitlines())) <= 100


def test_cases_are_chosen_by_pattern_and_kept_in_order():
    assert [case.name for case in core.chosen("put_*,actor_in_flight")] == ["actor_in_flight", "put_small", "put_large"]
    with pytest.raises(SystemExit, match="No case is called 'tusks'"):
        core.chosen("tusks")


def test_a_trial_gives_the_figures(tmp_path):
    trial = run(engine(tmp_path), "put_small", 0.01, 30)
    assert not trial.failure
    assert trial.figures["put_small"] > 0


def test_a_crash_shows_its_last_words(tmp_path):
    trial = run(engine(tmp_path, init="sys.exit('the store is on fire')"), "put_small", 0.01, 30)
    assert trial.figures == {}
    assert "exit status 1" in trial.failure
    assert "the store is on fire" in trial.failure


def test_a_driver_that_does_not_end_is_killed_and_says_where_it_was(tmp_path):
    trial = run(engine(tmp_path, init="print('waiting', flush=True); time.sleep(60)"), "put_small", 0.01, 1)
    assert "no end after 1 s" in trial.failure
    assert "waiting" in trial.failure
    assert "engine_for_test.py" in trial.failure, "the stack of where it hung should be shown"


def test_processes_left_behind_are_killed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.benchmarks.trial.GRACE", 0.2)
    trial = run(
        engine(tmp_path, shutdown="subprocess.Popen(['sleep', '60'], start_new_session=True)"), "put_small", 0.01, 30
    )
    assert trial.figures["put_small"] > 0
    assert trial.failure == "left 1 processes behind"


def test_no_run_of_limelight_measures_the_compiler():
    limelight()
    for source in package_files():
        compiled = Path(importlib.util.cache_from_source(str(source)))
        assert int.from_bytes(compiled.read_bytes()[8:12], "little") == int(source.stat().st_mtime)  # PEP 552


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_case_runs_on_limelight(name):
    trial = run(limelight(), name, 0.01, 60)
    assert not trial.failure, trial.failure
    assert set(trial.figures) == {row.key for row in CASES[name].rows}
