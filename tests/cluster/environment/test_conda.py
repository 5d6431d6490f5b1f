"""Environments of a real conda, mamba or micromamba, where this machine has one; what they install is made here."""

import os
import shutil
import subprocess

import pytest
import yaml

import limelight as ll
from limelight.exceptions import RuntimeEnvSetupError

from .conda_channel import MINOR, make_channel

TOOLS = [tool for tool in ("conda", "mamba", "micromamba") if shutil.which(tool)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOLS, reason="needs conda, mamba or micromamba on the PATH (Miniforge, for example)"),
]


@pytest.fixture(params=TOOLS or ["none"], scope="module")
def conda(request, tmp_path_factory):
    """One of the tools, with a home of its own and the channel, and a session whose node uses it."""
    folder = tmp_path_factory.mktemp("conda")
    settings = {"channels": [make_channel(folder / "channel")], "add_pip_as_python_dependency": False}
    (folder / ".condarc").write_text(yaml.safe_dump(settings))
    own = shutil.which(request.param)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("CONDA_", "MAMBA_"))]:
            patch.delenv(name)
        variables = {
            "HOME": folder,
            "CONDARC": folder / ".condarc",
            "CONDA_PKGS_DIRS": folder / "pkgs",
            "CONDA_ENVS_DIRS": folder / "envs",
            "CONDA_EXE": own,
            "MAMBA_ROOT_PREFIX": folder,
            "LIMELIGHT_CACHE_DIR": folder / "cache",
        }
        for name, value in variables.items():
            patch.setenv(name, str(value))
        ll.init(num_cpus=1)
        yield folder
        ll.shutdown()


@ll.task
def look():
    import sys

    import trifle

    return trifle.VERSION, sys.prefix, f"{sys.version_info.major}.{sys.version_info.minor}"


def seen(conda):
    return ll.get(look.options(runtime_env={"conda": conda}).remote(), timeout=50)


def test_a_dict(conda):
    version, prefix, minor = seen({"dependencies": ["trifle=1.5"]})
    assert (version, minor) == ("1.5", MINOR)
    assert prefix.startswith(str(conda / "cache"))
    assert seen({"dependencies": ["trifle=1.5"]})[1] == prefix
    registered = conda / ".conda" / "environments.txt"
    assert not registered.exists() or prefix not in registered.read_text()


def test_a_file(conda):
    (conda / "wanted.yml").write_text("name: any\ndependencies:\n  - trifle>=1.5\n")
    assert seen(str(conda / "wanted.yml"))[0] == "1.6"


def test_a_name_and_a_folder(conda):
    tool = os.environ["CONDA_EXE"]
    typed = [tool, "create", "--yes", "--quiet", "--prefix", str(conda / "envs" / "mine"), "trifle=1.5", "python"]
    subprocess.run(typed, check=True, capture_output=True)
    for given in ("mine", str(conda / "envs" / "mine")):
        assert seen(given)[:2] == ("1.5", str(conda / "envs" / "mine"))
    with pytest.raises(RuntimeEnvSetupError, match=r"no conda environment 'yours'; it has .*mine"):
        seen("yours")


def test_what_is_not_to_be_had_is_told_in_condas_words(conda):
    with pytest.raises(RuntimeEnvSetupError, match="nothere"):
        seen({"dependencies": ["nothere"]})
