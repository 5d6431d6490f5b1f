"""`cluster stop` where something does not end."""

import argparse
import subprocess
import sys

import pytest

from limelight.cluster.client.failure import CommandError
from limelight.cluster.client.running import ClusterProcess
from limelight.cluster.command import stop
from limelight.cluster.session_folder import SessionFolder
from limelight.cluster.session_info import read_info

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


@pytest.fixture
def deaf(tmp_path, monkeypatch):
    """A head that does not end when it is told to, as `cluster stop` finds it."""
    monkeypatch.setattr(stop, "_PATIENCE_S", 0.2)
    folder = SessionFolder.create("1", base=tmp_path / "sessions")
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "\n"
        info = read_info(folder.path)
        told = type(info)(info.name, info.version, process.pid, 0, info.started, kind="head")
        made = ClusterProcess(folder.path, told)
        monkeypatch.setattr(stop, "cluster_processes", lambda: [made])
        yield made
        process.kill()
    folder.remove()


def stopped() -> str:
    with pytest.raises(CommandError) as caught:
        stop._run(argparse.Namespace(force=False))
    return str(caught.value)


def test_who_does_not_end_is_named_with_what_it_is_at(deaf):
    deaf.log.write_text("12:00 INFO listening\n12:01 INFO ending: the dashboard is closed\n")
    said = stopped()
    assert said.startswith(f"the head (pid {deaf.info.pid}) has not ended within 0.2 s. It is at this: ")
    assert '"the dashboard is closed"' in said
    assert f"Its log: {deaf.folder}/logs/head.log." in said
    assert said.endswith("`cluster stop --force` kills it.")


def test_who_has_not_even_begun_to_end_is_named_too(deaf):
    deaf.log.write_text("12:00 INFO listening\n")
    assert "It has not begun to, as far as its log says." in stopped()
