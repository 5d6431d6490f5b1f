"""A package holds what a folder shows, and has the same name wherever and whenever it is made."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from limelight.actors import package


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    files = {
        "main.py": "print(1)",
        "pkg/__init__.py": "",
        "pkg/__pycache__/x.pyc": "x",
        ".git/config": "x",
        ".venv/bin/python": "x",
        "data/big.bin": "x" * 1000,
        "data/keep.txt": "x",
        "run.sh": "#!/bin/sh",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "run.sh").chmod(0o755)
    return root


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(made):
    with zipfile.ZipFile(made.path) as archive:
        return sorted(name for name in archive.namelist() if not name.endswith("/"))


def test_holds_the_files_without_what_is_never_wanted(project, out):
    made = package.build_package(project, out)
    assert names(made) == ["data/big.bin", "data/keep.txt", "main.py", "pkg/__init__.py", "run.sh"]
    assert made.uri == f"pkg://{package.digest_of(made.path)}"
    assert made.size == made.path.stat().st_size
    assert list(out.iterdir()) == [made.path]


def test_the_same_content_makes_the_same_package(project, out, tmp_path):
    first = package.build_package(project, out)
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert package.build_package(copy, out).uri == first.uri
    (copy / "main.py").write_text("print(2)")
    assert package.build_package(copy, out).uri != first.uri


def test_which_files_may_be_run_is_part_of_the_content(project, out):
    first = package.build_package(project, out)
    (project / "run.sh").chmod(0o644)
    assert package.build_package(project, out).uri != first.uri


def test_excludes_and_ignore_files_leave_out(project, out):
    (project / ".gitignore").write_text("*.sh\n")
    (project / "data" / ".rayignore").write_text("/big.bin\n")
    made = package.build_package(project, out, excludes=["pkg/"])
    assert names(made) == [".gitignore", "data/.rayignore", "data/keep.txt", "main.py"]


def test_an_exclude_can_take_something_in_again(project, out):
    (project / ".gitignore").write_text("*.bin\n")
    assert "data/big.bin" in names(package.build_package(project, out, excludes=["!data/big.bin"]))


def test_a_python_package_keeps_its_folder(project, out):
    assert names(package.build_package(project / "pkg", out, keep_name=True)) == ["pkg/__init__.py"]


def test_a_single_file(project, out):
    assert names(package.build_package(project / "main.py", out, keep_name=True)) == ["main.py"]


def test_an_archive_is_taken_as_it_is(tmp_path, out):
    path = tmp_path / "mod-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mod.py", "x = 1")
    made = package.build_package(path, out)
    assert made.path == path
    assert not list(out.iterdir())


def test_links_are_followed_and_loops_end(project, out, tmp_path):
    (tmp_path / "shared.txt").write_text("shared")
    (project / "link.txt").symlink_to(tmp_path / "shared.txt")
    (project / "loop").symlink_to(project)
    (project / "dangling").symlink_to(project / "nothing")
    (project / "dangling-too").symlink_to(project / "main.py" / "nothing")
    (project / "dangling-in-a-circle").symlink_to(project / "dangling-in-a-circle")
    found = names(package.build_package(project, out))
    assert "link.txt" in found
    assert not any(name.startswith(("loop/", "dangling")) for name in found)


def test_sockets_and_pipes_are_left_out(project, out):
    os.mkfifo(project / "pipe")
    assert "pipe" not in names(package.build_package(project, out))


def test_too_large_a_folder_is_refused_and_its_largest_parts_named(project, out):
    with pytest.raises(ValueError, match=r"data/ \(0\.0 MiB\), run\.sh.*excludes") as raised:
        package.build_package(project, out, limit=900)
    assert str(project) in str(raised.value)
    assert not list(out.iterdir())


def test_a_failure_leaves_no_file(project, out, monkeypatch):
    def disk_full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "_write", disk_full)
    with pytest.raises(OSError, match="No space left"):
        package.build_package(project, out)
    assert not list(out.iterdir())


def test_what_goes_while_it_is_read_is_left_out(project, out, monkeypatch):
    """A working directory is in use: editors and programs make and remove files in it all the time."""
    write, walk = package._write, package._walk

    def removing(archive, prefix, entry, most):
        (project / "main.py").unlink(missing_ok=True)
        return write(archive, prefix, entry, most)

    def removing_folder(folder, name, *others):
        if name == "pkg":
            shutil.rmtree(folder)
        return walk(folder, name, *others)

    monkeypatch.setattr(package, "_write", removing)
    monkeypatch.setattr(package, "_walk", removing_folder)
    made = package.build_package(project, out)
    assert names(made) == ["data/big.bin", "data/keep.txt", "run.sh"]
    assert made.uri == f"pkg://{package.digest_of(made.path)}"
    shutil.rmtree(project)
    with pytest.raises(FileNotFoundError):
        package.build_package(project, out)


def test_a_file_that_grows_while_it_is_read_is_not_followed_beyond_the_limit(project, out, monkeypatch):
    monkeypatch.setattr(package, "_CHUNK", 1000)
    write = package._write

    def growing(archive, prefix, entry, most):
        if entry.name == "main.py":
            entry.path.write_bytes(os.urandom(1 << 20))
        return write(archive, prefix, entry, most)

    monkeypatch.setattr(package, "_write", growing)
    assert "main.py" in names(package.build_package(project, out))
    (project / "main.py").write_text("small again")
    before = set(out.iterdir())
    with pytest.raises(ValueError, match=r"main\.py grows while it is read.*excludes"):
        package.build_package(project, out, limit=100_000)
    assert set(out.iterdir()) == before


def test_an_archive_has_the_same_limit(tmp_path, out):
    (tmp_path / "large.zip").write_bytes(b"x" * 1001)
    with pytest.raises(ValueError, match=r"large\.zip has .* more than the .* a runtime environment may ship"):
        package.build_package(tmp_path / "large.zip", out, limit=1000)
    assert package.build_package(tmp_path / "large.zip", out, limit=1001).size == 1001


@pytest.mark.parametrize("name", [b"back\\slash", b"no\xffutf-8"])
@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.close(os.open(path, os.O_CREAT))])
def test_a_name_that_no_archive_can_hold_is_told_at_once_and_can_be_excluded(project, out, name, make):
    """Otherwise every node would refuse the package, or the driver would end with an error of the codec."""
    make(os.fsencode(project / "data") + b"/" + name)
    with pytest.raises(ValueError, match=r"data/.*cannot be put into a package.*excludes"):
        package.build_package(project, out)
    assert not list(out.iterdir())
    assert package.build_package(project, out, excludes=["back*", "no*"]).uri.startswith("pkg://")


def test_a_python_package_that_is_named_by_dots_has_its_name(project, out, monkeypatch):
    monkeypatch.chdir(project / "pkg")
    for place in (Path("..").absolute(), Path().absolute().parent / "pkg" / ".."):
        assert "project/main.py" in names(package.build_package(place, out, keep_name=True))
