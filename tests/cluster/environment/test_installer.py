"""What pip, uv and conda are told."""

import json
import sys
from pathlib import Path

import pytest

from limelight.cluster.environment import installer
from limelight.cluster.environment.builder import bootstrap
from limelight.cluster.environment.installer import Step, ToolMissingError, conda_tool, steps, variables, written
from limelight.cluster.environment.recipe import Recipe

FOLDER, FILE = Path("/env"), Path("/env/requirements.txt")
PYTHON = "/env/bin/python"


def commands(recipe):
    return [" ".join(step.command) for step in steps(recipe, FOLDER, FILE)]


def program(folder, name):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """A machine without installers."""
    for name in ("CONDA_EXE", "MAMBA_EXE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installer.sys, "executable", str(tmp_path / "python"))
    return tmp_path


class TestPip:
    def test_installs_from_a_file(self):
        assert commands(Recipe("pip", ["a"])) == [f"{PYTHON} -P -m pip install -r {FILE} --disable-pip-version-check"]
        assert written(Recipe("pip", ["a", "b==1"])) == "a\nb==1\n"

    def test_version_options_and_check(self):
        assert commands(Recipe("pip", ["a"], ["--no-index"], True, "==24.0")) == [
            f"{PYTHON} -P -m pip install --disable-pip-version-check pip==24.0",
            f"{PYTHON} -P -m pip install -r {FILE} --no-index",
            f"{PYTHON} -P -m pip check --disable-pip-version-check",
        ]
        assert "pip==24.0" in commands(Recipe("pip", ["a"], version="24.0"))[0]

    def test_variables_that_lead_elsewhere_are_left_out(self):
        found = variables(
            Recipe("pip", variables={"PIP_INDEX_URL": "x"}),
            FOLDER,
            {"PIP_TARGET": "/t", "PYTHONPATH": "/p", "HOME": "/h"},
        )
        assert found == {
            "HOME": "/h",
            "PIP_INDEX_URL": "x",
            "PIP_USER": "0",
            "PIP_NO_INPUT": "1",
            "VIRTUAL_ENV": "/env",
        }

    @pytest.mark.parametrize(("has_pip", "first"), [(True, []), (False, ["install pip"])])
    def test_an_interpreter_without_pip_gets_it_first(self, tmp_path, has_pip, first):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\nexit {int(not has_pip)}\n")
        (tmp_path / "bin" / "python").chmod(0o755)
        planned = steps(Recipe("pip", ["a"]), tmp_path, tmp_path / "requirements.txt")
        assert [step.title for step in bootstrap(planned, tmp_path)] == first
        assert bootstrap([Step("uv", ["uv", "pip", "install"])], tmp_path) == []


class TestUv:
    def test_the_one_on_the_path(self, nothing):
        uv = program(nothing, "uv")
        assert commands(Recipe("uv", ["a"], ["--offline"], True)) == [
            f"{uv} pip install --python {PYTHON} -r {FILE} --offline",
            f"{uv} pip check --python {PYTHON}",
        ]

    @pytest.mark.parametrize(("version", "wanted"), [("", "uv"), ("==0.9", "uv==0.9")])
    def test_else_pip_installs_it(self, nothing, version, wanted):
        if version:
            program(nothing, "uv")
        assert commands(Recipe("uv", ["a"], version=version)) == [
            f"{PYTHON} -P -m pip install --disable-pip-version-check {wanted}",
            f"{PYTHON} -P -m uv pip install --python {PYTHON} -r {FILE}",
        ]


class TestConda:
    def test_without_one_says_what_to_do(self, nothing):
        with pytest.raises(ToolMissingError, match="none of conda, mamba and micromamba"):
            conda_tool()

    @pytest.mark.parametrize(
        ("name", "words"),
        [("conda", "env create"), ("mamba", "env create"), ("micromamba", "create --yes")],
    )
    def test_each_tool_has_its_own_words(self, nothing, name, words):
        tool = program(nothing, name)
        assert commands(Recipe("conda")) == [f"{tool} {words} --prefix /env --file {FILE}"]

    def test_the_active_one_comes_first(self, nothing, monkeypatch):
        program(nothing, "mamba")
        (nothing / "other").mkdir()
        monkeypatch.setenv("CONDA_EXE", program(nothing / "other", "conda"))
        assert conda_tool() == str(nothing / "other" / "conda")

    def test_gets_this_nodes_version_of_python(self):
        python = f"python={sys.version_info.major}.{sys.version_info.minor}"
        document = {"name": "x", "dependencies": ["a", {"pip": ["b"]}]}
        assert json.loads(written(Recipe("conda", document=document))) == {
            "name": "x",
            "dependencies": ["a", {"pip": ["b"]}, python],
        }
        assert json.loads(written(Recipe("conda"))) == {"dependencies": [python]}

    @pytest.mark.parametrize("given", ["python=3.11", "python>=3.11", "python"])
    def test_unless_it_names_one(self, given):
        assert json.loads(written(Recipe("conda", document={"dependencies": [given]})))["dependencies"] == [given]
