"""The public face: what `import limelight` brings, and under which names."""

import importlib
import pickle
import subprocess
import sys

import pytest

import limelight


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_all_is_sorted_and_there():
    assert limelight.__all__ == sorted(limelight.__all__)
    for name in limelight.__all__:
        assert hasattr(limelight, name), name


def test_importing_is_light():
    heavy = ["aiohttp", "uvloop", "numpy", "asyncio", "cloudpickle", "psutil", "pykka", "ssl", "pandas", "torch"]
    assert run(f"import sys, limelight; print(*[m for m in {heavy} if m in sys.modules])") == []


@pytest.mark.parametrize(
    ("alias", "real"),
    [
        ("limelight.actor", "limelight.actors.actor"),
        ("limelight.runtime_context", "limelight.actors.context"),
        ("limelight.remote_function", "limelight.actors.task"),
        ("limelight.util", "limelight.libs.util"),
        ("limelight.cloudpickle", "cloudpickle"),
    ],
)
def test_a_module_is_the_same_under_both_names(alias, real):
    assert importlib.import_module(alias) is importlib.import_module(real)
    assert getattr(limelight, alias.split(".")[1]) is importlib.import_module(real)


def test_aliases_reach_below_packages_whichever_name_comes_first(tmp_path, monkeypatch):
    from limelight.actors import alias

    package = tmp_path / "real_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from . import other\nvalue = object()")
    (package / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    alias.install({"public_name": "real_package"})
    by_alias = importlib.import_module("public_name.inner")
    by_name = importlib.import_module("real_package.inner")
    assert by_alias is by_name
    assert by_alias.__name__ == by_alias.__spec__.name == "real_package.inner"
    assert importlib.import_module("public_name").inner is by_name
    with pytest.raises(ModuleNotFoundError, match=r"public_name\.nothing .*real_package\.nothing"):
        importlib.import_module("public_name.nothing")
    for name in ("public_name", "public_name.inner", "real_package", "real_package.inner", "real_package.other"):
        del sys.modules[name]


def test_import_statements():
    code = (
        "import limelight.actor\n"
        "from limelight.actor import ActorHandle, exit_actor\n"
        "import limelight.exceptions\n"
        "from limelight import ObjectRef, util\n"
        "import limelight.util\n"
        "print(callable(limelight.actor), limelight.util is util, ActorHandle is limelight.ActorHandle)"
    )
    assert run(code) == ["True"] * 3


def test_the_module_actor_is_the_decorator():
    @limelight.actor
    class Plain:
        pass

    @limelight.actor(num_cpus=1)
    class WithOptions:
        pass

    assert isinstance(Plain, limelight.actor.ActorClass)
    assert isinstance(WithOptions, limelight.actor.ActorClass)


def test_the_module_actor_can_be_pickled():
    """As cloudpickle asks of each module that a function names in passing."""
    assert pickle.loads(pickle.dumps(limelight.actor)) is limelight.actor


def test_unknown_names():
    with pytest.raises(AttributeError, match="nothing"):
        _ = limelight.nothing
    assert {"init", "util", "serve", "exceptions"} <= set(dir(limelight))
