"""Runtime environments are checked when they are given, merged as Ray's are, and applied to the worker."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from limelight.actors import runtime_env
from limelight.actors.runtime_env import RuntimeEnv, RuntimeEnvConfig

URI = "pkg://" + "0" * 64
OTHER = "pkg://" + "1" * 64


class TestValidation:
    def test_is_a_dict_of_what_was_given(self, tmp_path):
        env = RuntimeEnv(env_vars={"A": "1"}, working_dir=str(tmp_path), py_modules=[tmp_path], excludes=["*.log"])
        assert env == {
            "env_vars": {"A": "1"},
            "working_dir": str(tmp_path),
            "py_modules": [str(tmp_path)],
            "excludes": ["*.log"],
        }
        assert RuntimeEnv() == {}
        assert RuntimeEnv(env_vars=None, working_dir=None, pip=None) == {}

    def test_reads_back_what_it_has(self, tmp_path):
        env = RuntimeEnv(env_vars={"A": "1"}, working_dir=tmp_path)
        assert (env.env_vars(), env.working_dir(), env.has_working_dir(), env.py_modules()) == (
            {"A": "1"},
            str(tmp_path),
            True,
            [],
        )
        assert RuntimeEnv().env_vars() == {}

    def test_of_takes_what_users_pass(self):
        env = RuntimeEnv(env_vars={"A": "1"})
        assert RuntimeEnv.of(env) is env
        assert RuntimeEnv.of({"env_vars": {"A": "1"}}) == env
        assert RuntimeEnv.of(None) == {}
        with pytest.raises(TypeError, match="dict or a RuntimeEnv, not list"):
            RuntimeEnv.of([1])

    def test_an_unknown_field_names_the_nearest(self):
        with pytest.raises(ValueError, match=r"no field 'env_var'\. Did you mean 'env_vars'"):
            RuntimeEnv(env_var={})
        with pytest.raises(ValueError, match="Known are env_vars, working_dir"):
            RuntimeEnv(zzz=1)
        with pytest.raises(
            ValueError, match=r"config has no field 'setup_timeout'\. Did you mean 'setup_timeout_seconds'"
        ):
            RuntimeEnv(config={"setup_timeout": 1})

    @pytest.mark.parametrize("field", runtime_env.LATER)
    def test_a_field_of_a_later_version_says_so(self, field):
        with pytest.raises(NotImplementedError, match=f"'{field}' is not in this version"):
            RuntimeEnv(**{field: ["x"]})

    @pytest.mark.parametrize(
        ("fields", "error", "match"),
        [
            ({"env_vars": [1]}, TypeError, "dict of str to str, not list"),
            ({"env_vars": {"A": 1}}, TypeError, "'A' is of type str and its value of type int"),
            ({"env_vars": {1: "A"}}, TypeError, "1 is of type int"),
            ({"env_vars": {"A=B": ""}}, ValueError, "'A=B' cannot be"),
            ({"env_vars": {"A": "\0"}}, ValueError, "'A' cannot be"),
            ({"working_dir": 3}, TypeError, "must name a path, not int"),
            ({"working_dir": "/no/such/folder"}, ValueError, "there is no /no/such/folder"),
            ({"working_dir": __file__}, ValueError, "a folder or a .zip"),
            ({"working_dir": "nowhere://bucket/x.zip"}, ValueError, "nowhere://"),
            ({"py_modules": "x"}, TypeError, "list of paths or modules, not str"),
            ({"py_modules": [3]}, TypeError, "must name a path, not int"),
            ({"py_modules": [sys]}, ValueError, "sys has no file"),
            ({"excludes": "x"}, TypeError, "list of str"),
            ({"config": {"setup_timeout_seconds": 0}}, ValueError, "positive, or -1"),
            ({"config": {"setup_timeout_seconds": "1"}}, TypeError, "must be an int, not str"),
            ({"config": {"eager_install": "x"}}, TypeError, "must be a bool"),
            ({"config": {"log_files": "x"}}, TypeError, "list of str"),
        ],
    )
    def test_a_wrong_value_is_refused(self, fields, error, match):
        with pytest.raises(error, match=match):
            RuntimeEnv(**fields)

    def test_values_of_variables_are_secrets(self):
        with pytest.raises(ValueError) as raised:
            RuntimeEnv(env_vars={"PASSWORD": "hunter2\0"})
        assert "hunter2" not in str(raised.value)

    def test_config_has_rays_defaults(self):
        assert RuntimeEnv(config={"setup_timeout_seconds": 10})["config"] == {
            "setup_timeout_seconds": 10,
            "eager_install": True,
            "log_files": [],
        }
        assert RuntimeEnvConfig()["setup_timeout_seconds"] == 600

    def test_modules_stand_for_their_folder_or_file(self):
        assert RuntimeEnv(py_modules=[json]).py_modules() == [str(Path(json.__file__).parent)]
        assert RuntimeEnv(py_modules=[pickle]).py_modules() == [pickle.__file__]

    def test_paths_become_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert RuntimeEnv(working_dir=".").working_dir() == str(tmp_path)

    def test_travels_by_pickle_and_json_without_looking_at_paths_again(self, tmp_path):
        folder = tmp_path / "gone"
        folder.mkdir()
        env = RuntimeEnv(working_dir=folder, env_vars={"A": "1"})
        folder.rmdir()
        assert pickle.loads(pickle.dumps(env)) == env
        assert RuntimeEnv.deserialize(env.serialize()) == env
        assert type(pickle.loads(pickle.dumps(env))) is RuntimeEnv


class TestInstaller:
    @pytest.mark.parametrize("kind", ["pip", "uv"])
    def test_takes_a_list_a_file_and_a_dict(self, kind, tmp_path):
        (tmp_path / "more.txt").write_text("c==3\n")
        (tmp_path / "r.txt").write_text("# all\na==1  # one\n\nb==2 \\\n  --hash=sha256:00\n-r more.txt\n--pre\n")
        wanted = ["a==1", "b==2    --hash=sha256:00", "c==3", "--pre"]
        check = f"{kind}_check"
        assert RuntimeEnv(**{kind: ["a", "b", "a"]})[kind] == {"packages": ["a", "b"], check: False}
        for given in (str(tmp_path / "r.txt"), tmp_path / "r.txt", {"packages": str(tmp_path / "r.txt")}):
            assert RuntimeEnv(**{kind: given})[kind] == {"packages": wanted, check: False}
        assert RuntimeEnv(**{kind: [f"-r {tmp_path}/more.txt", f"--requirement={tmp_path}/more.txt", "a"]})[kind] == {
            "packages": ["c==3", "a"],
            check: False,
        }
        options = f"{kind}_install_options" if kind == "pip" else "uv_pip_install_options"
        full = {"packages": ["a"], check: True, f"{kind}_version": "==1", options: ["-q"]}
        assert RuntimeEnv(**{kind: full})[kind] == full

    def test_a_file_in_the_working_directory_is_read_there(self):
        line = "-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/r.txt"
        assert RuntimeEnv(pip=[line])["pip"]["packages"] == [line]

    def test_files_that_include_each_other_end(self, tmp_path):
        (tmp_path / "a.txt").write_text("-r b.txt\na")
        (tmp_path / "b.txt").write_text("-r a.txt\nb")
        assert RuntimeEnv(pip=str(tmp_path / "a.txt"))["pip"]["packages"] == ["b", "a"]

    def test_nothing_wanted_is_no_field(self):
        assert RuntimeEnv(pip=[], uv={"packages": []}) == {}

    def test_conda_takes_a_name_a_folder_a_file_and_a_dict(self, tmp_path):
        document = {"dependencies": ["a", {"pip": ["b"]}]}
        (tmp_path / "env.yml").write_text("dependencies:\n- a\n- pip:\n  - b\n")
        assert RuntimeEnv(conda="name")["conda"] == "name"
        assert RuntimeEnv(conda=tmp_path)["conda"] == str(tmp_path)
        assert RuntimeEnv(conda=tmp_path / "env.yml")["conda"] == RuntimeEnv(conda=document)["conda"] == document

    @pytest.mark.parametrize(
        ("fields", "error", "match"),
        [
            ({"pip": 3}, TypeError, "not int"),
            ({"pip": [3]}, TypeError, "list of str"),
            ({"pip": "/no/such.txt"}, ValueError, "/no/such.txt cannot be read"),
            ({"pip": {"package": ["a"]}}, ValueError, "no field 'package'. Did you mean 'packages'"),
            ({"pip": {"pip_check": True}}, ValueError, "no 'packages'"),
            ({"pip": {"packages": ["a"], "pip_check": "yes"}}, TypeError, "must be a bool"),
            ({"pip": {"packages": ["a"], "pip_version": 24}}, TypeError, "must be a str"),
            ({"pip": {"packages": ["a"], "pip_install_options": "-q"}}, TypeError, "list of str"),
            ({"uv": {"packages": ["a"], "pip_check": True}}, ValueError, "Did you mean 'uv_check'"),
            ({"pip": ["a"], "uv": ["a"]}, ValueError, "pip and uv"),
            ({"pip": ["a"], "conda": "x"}, ValueError, "under 'dependencies: - pip:'"),
            ({"pip": ["a"], "py_executable": "python"}, ValueError, "pip and py_executable"),
            ({"conda": 3}, TypeError, "not int"),
            ({"conda": "/no/such/folder"}, ValueError, "no folder /no/such/folder"),
            ({"conda": "/no/such.yaml"}, ValueError, "cannot be read"),
            ({"py_executable": ""}, ValueError, "is empty"),
            ({"py_executable": "a 'b"}, ValueError, "cannot be read as a command"),
            ({"py_executable": ["python"]}, TypeError, "not list"),
            ({"worker_process_setup_hook": "hook"}, ValueError, "'module.function'"),
            ({"worker_process_setup_hook": 3}, TypeError, "not int"),
            ({"working_dir": "https://x/y.exe"}, ValueError, "takes archives"),
            ({"working_dir": "https://x/y.whl"}, ValueError, "takes archives"),
        ],
    )
    def test_a_wrong_value_is_refused(self, fields, error, match):
        with pytest.raises(error, match=match):
            RuntimeEnv(**fields)

    def test_a_yaml_file_that_is_none(self, tmp_path):
        (tmp_path / "x.yml").write_text("[1, 2")
        with pytest.raises(ValueError, match="cannot be read"):
            RuntimeEnv(conda=tmp_path / "x.yml")
        (tmp_path / "x.yml").write_text("word")
        with pytest.raises(TypeError, match="describes no environment"):
            RuntimeEnv(conda=tmp_path / "x.yml")

    def test_fields_can_be_set_one_by_one(self):
        env = RuntimeEnv()
        env["pip"] = ["a"]
        env.set("env_vars", {"A": "1"})
        assert (env.has_pip(), env.pip_config()["packages"], env.env_vars()) == (True, ["a"], {"A": "1"})
        with pytest.raises(ValueError, match="Did you mean 'pip'"):
            env["pipp"] = ["a"]

    def test_packages_may_lie_on_the_network(self):
        env = RuntimeEnv(working_dir="https://x/y.zip?token=1", py_modules=["s3://b/m.whl", "gs://b/m.tar.gz"])
        assert env.uris() == ["https://x/y.zip?token=1", "s3://b/m.whl", "gs://b/m.tar.gz"]
        assert runtime_env.packaged(env, None) == env
        assert runtime_env.key(env)


class TestHook:
    def test_a_function_is_pickled_once_it_has_to_travel(self):
        def hook():
            os.environ["SET_BY_HOOK"] = "yes"

        env = RuntimeEnv(worker_process_setup_hook=hook)
        assert env["worker_process_setup_hook"] is hook
        there = pickle.loads(pickle.dumps(env))
        assert there["worker_process_setup_hook"].endswith("hook")
        assert there == RuntimeEnv.deserialize(env.serialize()) == runtime_env.packaged(env, None)
        runtime_env.run_hook(there)
        assert os.environ.pop("SET_BY_HOOK") == "yes"

    def test_another_function_is_another_environment(self):
        keys = {
            runtime_env.key(runtime_env.packaged(RuntimeEnv(worker_process_setup_hook=hook), None))
            for hook in (lambda: 1, lambda: 2, "a.b", "a.c")
        }
        assert len(keys) == 4

    def test_a_childs_replaces_its_parents(self):
        parent = runtime_env.packaged(RuntimeEnv(worker_process_setup_hook=lambda: 1), None)
        child = RuntimeEnv(worker_process_setup_hook="a.b")
        assert runtime_env.merge(parent, child) == {"worker_process_setup_hook": "a.b"}
        assert runtime_env.merge(parent, {}) == parent

    def test_without_one_nothing_is_called(self):
        runtime_env.run_hook({})


class TestMerge:
    def test_variables_of_both_and_fields_of_the_child(self):
        parent = RuntimeEnv(env_vars={"A": "1", "B": "1"}, working_dir=URI, excludes=["x"])
        child = RuntimeEnv(env_vars={"B": "2"}, working_dir=OTHER)
        assert runtime_env.merge(parent, child) == {
            "env_vars": {"A": "1", "B": "2"},
            "working_dir": OTHER,
            "excludes": ["x"],
        }
        assert runtime_env.merge({}, {}) == {}

    @pytest.mark.parametrize("child", [{"pip": ["a"]}, {"conda": "x"}, {"py_executable": "python"}])
    def test_a_child_has_one_interpreter_its_own(self, child):
        parent = RuntimeEnv(uv=["b"], env_vars={"A": "1"})
        assert runtime_env.merge(parent, RuntimeEnv(**child)) == {**RuntimeEnv(**child), "env_vars": {"A": "1"}}

    def test_changes_neither(self):
        parent, child = RuntimeEnv(env_vars={"A": "1"}), RuntimeEnv(env_vars={"B": "2"})
        runtime_env.merge(parent, child)
        assert (parent, child) == ({"env_vars": {"A": "1"}}, {"env_vars": {"B": "2"}})


class TestKey:
    def test_is_equal_for_equal_environments(self):
        assert runtime_env.key({"env_vars": {"A": "1", "B": "2"}}) == runtime_env.key(
            {"env_vars": {"B": "2", "A": "1"}}
        )
        assert runtime_env.key({"working_dir": URI}) != runtime_env.key({"working_dir": OTHER})
        assert runtime_env.key({"py_modules": [URI, OTHER]}) != runtime_env.key({"py_modules": [OTHER, URI]})

    def test_does_not_heed_what_does_not_reach_the_worker(self):
        plain = runtime_env.key({"env_vars": {"A": "1"}})
        assert plain == runtime_env.key({"env_vars": {"A": "1"}, "excludes": ["x"], "config": {"eager_install": False}})

    def test_of_nothing_is_empty(self):
        assert runtime_env.key({}) == runtime_env.key({"env_vars": {}, "config": {}}) == ""

    def test_refuses_paths(self, tmp_path):
        with pytest.raises(ValueError, match="make it a package first"):
            runtime_env.key(RuntimeEnv(working_dir=tmp_path))


class TestPackaged:
    def test_paths_become_packages(self, tmp_path):
        asked = []

        def upload(path, excludes, keep_name):
            asked.append((path, excludes, keep_name))
            return OTHER

        env = runtime_env.packaged(RuntimeEnv(working_dir=tmp_path, py_modules=[tmp_path, URI], excludes=["x"]), upload)
        assert (env.working_dir(), env.py_modules(), env.uris()) == (OTHER, [OTHER, URI], [OTHER, URI])
        assert asked == [(tmp_path, ["x"], False), (tmp_path, ["x"], True)]


PROGRAM = """
import os, pathlib, sys
from limelight.actors import runtime_env
env = {"working_dir": "pkg://a", "py_modules": ["pkg://b"], "env_vars": {"A": "${A}:${NONE}x$B", "PYTHONPATH": "/own"}}
runtime_env.apply(env, {"pkg://a": pathlib.Path(sys.argv[1]), "pkg://b": pathlib.Path(sys.argv[2])})
import mod
print(os.environ["A"], os.getcwd() == sys.argv[1], mod.WHERE, sys.path[:2] == sys.argv[1:3])
print(os.environ["PYTHONPATH"] == ":".join([*sys.argv[1:3], "/own"]))
"""


def test_apply_sets_up_the_process(tmp_path):
    work, modules = tmp_path / "work", tmp_path / "modules"
    work.mkdir()
    modules.mkdir()
    (modules / "mod.py").write_text("WHERE = 'shipped'")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, work, modules],
        env=os.environ | {"A": "1", "B": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["1:x2", "True", "shipped", "True", "True"]
