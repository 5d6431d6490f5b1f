"""Logs are read from the folder of logs, and nothing else is."""

import os

import pytest

from limelight.cluster.job.job_message import ReadLog
from limelight.cluster.node import log_desk
from limelight.cluster.node.log_desk import read_log


@pytest.fixture
def logs(tmp_path):
    """A folder of logs, beside which a secret lies."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "job.log").write_bytes(b"0123456789")
    (folder / ".hidden").write_text("secret")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep.log").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    return folder


def test_a_part_of_a_log_is_read(logs):
    assert read_log(logs, ReadLog("job.log", 3, 4)) == b"3456"
    assert read_log(logs, ReadLog("job.log", 8, 100)) == b"89"
    assert read_log(logs, ReadLog("job.log", 10, 100)) == b""
    assert read_log(logs, ReadLog("job.log", -5, 2)) == b"01"
    assert read_log(logs, ReadLog("job.log", 0, -1)) == b""


def test_no_more_is_read_at_a_time_than_fits_into_a_message(logs, monkeypatch):
    monkeypatch.setattr(log_desk, "_MOST", 4)
    assert read_log(logs, ReadLog("job.log", 0, 1 << 40)) == b"0123"


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "", ".hidden", "inner/deep.log", "inner/../../secret", "/etc/passwd", "job.log\0"]
)
def test_a_name_that_leads_elsewhere_is_none(logs, name):
    with pytest.raises(ValueError, match="is no name of a log"):
        read_log(logs, ReadLog(name, 0, 100))


def test_links_lead_nowhere(logs):
    (logs / "link.log").symlink_to(logs.parent / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        read_log(logs, ReadLog("link.log", 0, 100))


def test_what_is_no_file_is_not_read_nor_waited_for(logs):
    os.mkfifo(logs / "pipe.log")
    for name in ("pipe.log", "inner"):
        with pytest.raises((ValueError, IsADirectoryError)):
            read_log(logs, ReadLog(name, 0, 100))


def test_a_log_that_is_not_there_is_said_so(logs):
    with pytest.raises(FileNotFoundError):
        read_log(logs, ReadLog("other.log", 0, 100))
