"""Where a machine keeps the cluster's secret."""

import errno
import os
import stat
import threading

import pytest

from limelight.cluster.token_file import (
    FILE_VARIABLE,
    TOKEN_VARIABLE,
    TokenError,
    find_token,
    make_token,
    token_path,
    write_token,
)


@pytest.fixture
def environment(tmp_path):
    return {FILE_VARIABLE: str(tmp_path / "config" / "token")}


def test_the_first_start_makes_one_that_only_its_user_can_read(environment):
    assert find_token(environment) is None
    token = make_token(environment)
    assert len(token) == 64
    assert find_token(environment) == make_token(environment) == token
    path = token_path(environment)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_two_that_start_at_once_agree(environment):
    barrier, found = threading.Barrier(8), []

    def start():
        barrier.wait()
        found.append(make_token(environment))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_the_environment_comes_first(environment):
    make_token(environment)
    assert find_token({**environment, TOKEN_VARIABLE: "ab" * 32 + "\n"}) == "ab" * 32


def test_what_was_given_once_is_kept(environment):
    make_token(environment)
    write_token(token_path(environment), "cd" * 32)
    assert find_token(environment) == "cd" * 32


@pytest.mark.parametrize("content", ["", "secret", "AB" * 32, "g" * 64, "ab" * 31])
def test_what_is_no_token_is_refused_and_not_shown(environment, content):
    path = token_path(environment)
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(TokenError, match="64 hexadecimal digits") as caught:
        find_token(environment)
    assert not content or content not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_one_that_others_can_read_is_refused(environment, mode):
    make_token(environment)
    token_path(environment).chmod(mode)
    with pytest.raises(TokenError, match="chmod 600"):
        find_token(environment)


def test_a_folder_that_cannot_be_had_is_named(tmp_path):
    (tmp_path / "x").symlink_to("/nowhere/at/all")  # not even root makes a folder of that
    with pytest.raises(TokenError, match="cannot be kept"):
        make_token({FILE_VARIABLE: str(tmp_path / "x" / "token")})


def test_a_full_disk_is_told_and_nothing_is_left_of_the_try(environment, monkeypatch):
    def fdopen(descriptor, *_, **__):
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", fdopen)
    with pytest.raises(TokenError, match="No space left on device"):
        make_token(environment)
    assert list(token_path(environment).parent.iterdir()) == []
