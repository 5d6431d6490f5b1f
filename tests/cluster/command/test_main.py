"""What is typed wrong is said in a line, with where to look."""

import signal
import subprocess
import sys

import pytest

from limelight.cluster.command.main import main


def typed_wrong(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 2
    assert "--help` shows" in error
    return error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "VERB"),
        (["strt"], "choose from 'start', 'join'"),
        (["start"], "say --head"),
        (["start", "--head", "--port", "99999"], "'99999' is no port"),
        (["start", "--head", "--num-cpus", "many"], "'many'"),
        (["start", "--head", "--labels", "zone"], "key=value"),
        (["start", "--head", "--host", "0.0.0.0"], "one of this machine's"),
        (["start", "--head", "--host", "::"], "one of this machine's"),
        (["join"], "head"),
        (["join", "http://10.0.0.5"], "is no address of a head"),
        (["join", "10.0.0.5:99999"], "is no address of a head"),
        (["start", "--head", "10.0.0.5"], "type: cluster join HEAD"),
        (["start", "--head", "--host", "10.0.0.5:6379"], "no port"),
        (["start", "--head", "--host", ""], "is no host"),
        (["start", "--head", "--dashboard-host", "10.0.0.5:8265"], "no port"),
        (["start", "--head", "--labels", "a=b,a=c"], "two values for 'a'"),
        (["status", "--adress", "x"], "cluster status: unrecognized arguments: --adress x. Did you mean --address?"),
        (["job", "list", "--jsno"], "cluster job list: unrecognized arguments: --jsno. Did you mean --json?"),
        (["job", "submit", "python", "x.py", "-v"], "`--`: cluster job submit -- python x.py"),
        (["drain", "bee", "--deadline", "-5"], "'-5' is no time"),
        (["drain", "bee", "--deadline", "nan"], "'nan' is no time"),
    ],
)
def test_a_mistake_is_told_in_a_line(capsys, arguments, said):
    assert said in typed_wrong(capsys, *arguments)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Limelight ")


def test_a_folder_for_sessions_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_TMPDIR", "/nonexistent")
    assert main(["status"]) == 1
    assert "/nonexistent is not a folder" in capsys.readouterr().err


def test_a_verb_that_asks_nobody_begins_without_aiohttp():
    code = "import sys, limelight.cluster.command.command_line; print('aiohttp' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


INTERRUPTED = """
import os, runpy, signal, sys
when, sys.argv[1:] = sys.argv[1], ["status"]
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == when:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
runpy.run_module("limelight.cluster.command.main", run_name="__main__")
"""


@pytest.mark.parametrize(
    "when", ["limelight.cluster.command.command_line", "limelight.cluster.command.join", "aiohttp"]
)
def test_ctrl_c_ends_it_without_a_word_also_while_it_begins(when):
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # in the background it is ignored
    command = [sys.executable, "-c", INTERRUPTED, when]
    result = subprocess.run(command, capture_output=True, text=True, check=False, **heeding)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


START_INTERRUPTED = """
import os, signal, sys
from limelight.cluster.command import main, start
launch = start.launch_node
def interrupted(config, main=None, **options):
    if main is not None:
        return launch(config, main=main, **options)  # the head
    return launch(config, meanwhile=lambda: os.kill(os.getpid(), signal.SIGINT), **options)
start.launch_node = interrupted
sys.exit(main.main(["start", "--head", "--port", "0"]))
"""


def test_ctrl_c_between_the_head_and_its_node_leaves_nothing(own):
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    command = [sys.executable, "-c", START_INTERRUPTED]
    result = subprocess.run(command, env=own.environment, capture_output=True, text=True, check=False, **heeding)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
    assert own.processes() == []
    assert own.sessions() == []


def test_tls_needs_both_of_its_files(capsys):
    assert main(["start", "--head", "--tls-cert", "x"]) == 1
    assert "TLS needs two files: --tls-cert is given, and --tls-key is not" in capsys.readouterr().err
