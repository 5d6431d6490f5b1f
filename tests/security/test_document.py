"""docs/security.md promises nothing that no test tries."""

import re
from pathlib import Path

import pytest

from limelight.cluster.certificate_authority import CERTIFICATE_DAYS
from limelight.cluster.command.main import main
from limelight.transport.limits import DEFAULT_LIMITS
from limelight.transport.stranger import MOST_BYTES

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()


def test_the_tests_it_names_are_there() -> None:
    named = set(re.findall(r"`(tests/\S+?\.py)`", TEXT))
    assert len(named) >= 8
    assert not [path for path in named if not (ROOT / path).is_file()]


def test_every_test_of_this_folder_is_named() -> None:
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert not [name for name in here if f"tests/security/{name}" not in TEXT]


def test_its_figures_are_those_of_the_code() -> None:
    assert f"may send {MOST_BYTES // 1024} KiB and take {DEFAULT_LIMITS.handshake:g} seconds" in TEXT
    assert f"{DEFAULT_LIMITS.handshakes} wait at most" in TEXT
    assert CERTIFICATE_DAYS == 2 * 365
    assert "two years" in TEXT


@pytest.mark.parametrize("verb", ["start", "join", "status", "token"])
def test_the_options_it_names_are_there(verb, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    wanted = {
        "start": ["--host", "--port", "--node-port", "--tls-cert", "--tls-key"],
        "join": ["--node-port", "--tls-cert", "--tls-key"],
        "status": ["--address", "--tls-cert", "--tls-key"],
        "token": ["--new-ca", "--new-cert", "--path"],
    }
    assert not [option for option in wanted[verb] if option not in shown or option not in TEXT]
