"""The name of an environment changes with whatever changes the environment, and with nothing else."""

import platform
import sys

import pytest

from limelight.actors.runtime_env import RuntimeEnv
from limelight.actors.runtime_env.installation import WORKING_DIR
from limelight.cluster.environment import recipe as module
from limelight.cluster.environment.recipe import Recipe


def recipe(*packages, **fields):
    return Recipe("pip", list(packages), **fields)


def digests(made, monkeypatch):
    """In two sessions of one day, and on the next day."""
    found = []
    for session, day in (("a", 1), ("b", 1), ("a", 2)):
        monkeypatch.setattr(module.time, "time", lambda day=day: day * 86_400.0 + 5)
        found.append(made.digest(session))
    return found


@pytest.mark.parametrize(
    "line",
    [
        "a==1.0",
        "a[x,y] == 1.0",
        "a===1",
        "a-b.c==1.0 ; python_version > '3'",
        "a==1 --hash=sha256:00",
        "--pre",
        "-i https://x/",
    ],
)
def test_exact_versions_are_kept(line, monkeypatch):
    assert len(set(digests(recipe("b==1.0", line), monkeypatch))) == 1


@pytest.mark.parametrize("line", ["a", "a>=1", "a==1.*", "a[x]", "a~=1.0,<2", "a; python_version > '3'"])
def test_what_the_index_decides_is_made_anew_each_day(line, monkeypatch):
    today, also_today, tomorrow = digests(recipe("b==1.0", line), monkeypatch)
    assert today == also_today != tomorrow


@pytest.mark.parametrize(
    "line",
    [
        "./a",
        "/a/b",
        "a @ https://x/y.zip",
        "git+https://x/y",
        "-e .",
        "-r more.txt",
        "-c limits.txt",
        "a-1.0-py3-none-any.whl",
    ],
)
def test_what_lies_somewhere_is_made_anew_with_each_session(line, monkeypatch):
    here, there, tomorrow = digests(recipe("b==1.0", line), monkeypatch)
    assert here == tomorrow != there


def test_all_that_decides_has_a_part_in_the_name():
    made = [
        recipe("a==1"),
        recipe("a==2"),
        recipe("a==1", options=["--pre"]),
        recipe("a==1", check=True),
        recipe("a==1", version="==24"),
        recipe("a==1", variables={"PIP_INDEX_URL": "https://x/"}),
        Recipe("uv", ["a==1"]),
        Recipe("conda", document={"dependencies": ["a"]}),
    ]
    assert len({each.digest("s") for each in made}) == len(made)
    assert recipe("a==1", variables={"RANK": "1"}).digest("s") == recipe("a==1").digest("s")


@pytest.mark.parametrize(
    ("where", "name"), [(sys, "executable"), (sys, "version"), (sys, "prefix"), (platform, "machine")]
)
def test_another_interpreter_has_other_environments(monkeypatch, where, name):
    """They are links to it, and the user's folder may lie on machines of other kinds."""
    before = recipe("a==1").digest("s")
    monkeypatch.setattr(where, name, (lambda: "other") if name == "machine" else "other")
    assert recipe("a==1").digest("s") != before


class TestOf:
    def test_nothing_to_install(self):
        assert Recipe.of(RuntimeEnv(env_vars={"A": "1"})) is None
        assert Recipe.of(RuntimeEnv(conda="named")) is None

    def test_pip_and_uv(self):
        env = RuntimeEnv(
            pip={"packages": ["a"], "pip_check": True, "pip_version": "==24", "pip_install_options": ["-q"]}
        )
        assert Recipe.of(env) == Recipe("pip", ["a"], ["-q"], True, "==24")
        env = RuntimeEnv(
            uv={"packages": ["a"], "uv_check": True, "uv_version": "==1", "uv_pip_install_options": ["-q"]}
        )
        assert Recipe.of(env) == Recipe("uv", ["a"], ["-q"], True, "==1")

    def test_the_working_directory_is_filled_in(self):
        env = RuntimeEnv(
            pip={
                "packages": [f"-r {WORKING_DIR}/r.txt", f"{WORKING_DIR}/a"],
                "pip_install_options": [f"--find-links={WORKING_DIR}"],
            }
        )
        made = Recipe.of(env, "/here")
        assert (made.packages, made.options, made.folder) == (
            ["-r /here/r.txt", "/here/a"],
            ["--find-links=/here"],
            "/here",
        )

    def test_variables_are_expanded(self, monkeypatch):
        monkeypatch.setenv("HERE", "x")
        assert Recipe.of(RuntimeEnv(pip=["a"], env_vars={"V": "${HERE}y"})).variables == {"V": "xy"}
