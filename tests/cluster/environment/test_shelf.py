"""A foreign interpreter finds this package, whatever else is installed there, and what it depends on."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from limelight.cluster.environment import shelf
from limelight.cluster.environment.shelf import make_shelf
from limelight.cluster.process.interpreter import ENTRY, running, tag
from tests.source_tree import project


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_shelf(tmp_path_factory.mktemp("shelf") / "shelf")


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False, **options)


def bare(tmp_path):
    """An interpreter that has nothing installed."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare")
    return tmp_path / "bare" / "bin" / "python"


def test_the_dependencies_are_those_of_the_project():
    listed = [re.match(r"[\w.-]+", line)[0] for line in project()["project"]["dependencies"]]
    assert sorted(shelf.DEPENDENCIES) == sorted(listed)


def test_it_can_be_made_twice(made):
    before = sorted(made.rglob("*"))
    assert make_shelf(made) == made
    assert sorted(made.rglob("*")) == before


def test_a_bare_interpreter_can_run_a_worker(made, tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = bare(tmp_path)
    assert run(python, "-c", "import msgspec", env=env).returncode
    done = run(python, *running(made), "limelight.cluster.worker_main", env=env)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["limelight", "cloudpickle", "pykka"])
def test_what_must_be_of_one_version_is_this_nodes(made, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "program.py").write_text(f"import {name}, sys; print({name}.__file__, *sys.argv)")
    done = run(sys.executable, *running(made), "program", "x", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    found, *arguments = done.stdout.split()
    assert Path(found).resolve().parent == Path(importlib.import_module(name).__path__[0]).resolve(), done.stderr
    assert arguments == [str(tmp_path / "program.py"), "x"]


@pytest.mark.parametrize("name", ["aiohttp", "psutil"])
def test_any_other_dependency_is_the_interpreters_own_where_it_has_one(made, tmp_path, name):
    (tmp_path / f"{name}.py").write_text("WHOSE = 'own'")
    (tmp_path / "program.py").write_text(f"import {name}; print({name}.WHOSE)")
    done = run(bare(tmp_path), *running(made), "program", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.stdout == "own\n", done.stderr


def test_files_beside_the_entry_stand_in_for_nothing(made, tmp_path):
    (tmp_path / "program.py").write_text("import sys; print([p for p in sys.path if p.endswith('environment')])")
    done = run(sys.executable, *running(made), "program", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.stdout == "[]\n", done.stderr


def test_another_version_of_python_is_refused_with_both_named(made):
    done = run(sys.executable, ENTRY, "run", "cpython-2.7", made, "limelight.cluster.worker_main")
    assert done.returncode
    assert "cpython-2.7" in done.stderr
    assert tag() in done.stderr


def test_an_interpreter_says_what_it_is():
    described = json.loads(run(sys.executable, ENTRY, "describe").stdout)
    assert described["tag"] == tag()
    assert described["executable"] == sys.executable
