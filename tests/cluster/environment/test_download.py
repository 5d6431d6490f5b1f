"""Archives from the network become packages of the node."""

import http.server
import io
import os
import tarfile
import threading
import zipfile

import pytest

from limelight.cluster.environment.download import fetch_package
from limelight.cluster.package_store import PackageStore
from limelight.exceptions import RuntimeEnvSetupError


def zipped(files, compression=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def tarred(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.fixture
def site():
    """A web site on this machine: what lies at which path, and where it is."""
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield files, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path):
    made = PackageStore(tmp_path / "store")
    yield made
    made.close()


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("ending", "pack"), [(".zip", zipped), (".tar.gz", tarred), (".tgz", tarred)])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.py", "sub/b.py"], ["a.py", "sub/b.py"]),
        (["repository-1/a.py", "repository-1/sub/b.py"], ["a.py", "sub/b.py"]),
        (["module/__init__.py", "module/b.py"], ["module/__init__.py", "module/b.py"]),
        (["repository-1/venv/a.py", "repository-1/.gitignore"], [".gitignore", "venv/a.py"]),
        (["made-on-a-mac/a.py", "__MACOSX/made-on-a-mac/._a.py"], ["a.py"]),
    ],
)
async def test_what_is_in_an_archive(site, store, ending, pack, files, expected):
    there, where = site
    there[f"/x{ending}"] = pack(dict.fromkeys(files, "content"))
    uri = await fetch_package(f"{where}/x{ending}", store)
    assert names(store.acquire(uri)) == expected


async def test_links_of_an_archive_become_what_they_lead_to(site, store):
    there, where = site
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo("run.sh")
        member.size, member.mode = 2, 0o755
        archive.addfile(member, io.BytesIO(b"hi"))
        member = tarfile.TarInfo("sub")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
        for name, target in (("link", "run.sh"), ("folder", "sub")):
            archive.addfile(link(name, target))
    there["/x.tgz"] = content.getvalue()
    folder = store.acquire(await fetch_package(f"{where}/x.tgz", store))
    assert (folder / "link").read_text() == "hi"
    assert not (folder / "link").is_symlink()
    assert os.access(folder / "run.sh", os.X_OK)


async def test_links_that_lead_out_of_an_archive_are_refused(site, store):
    there, where = site
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(link("out", "../../../../../../../etc/passwd"))
    there["/x.tgz"] = content.getvalue()
    with pytest.raises(RuntimeEnvSetupError, match=r"linkname '\.\./.*etc/passwd' not found"):
        await fetch_package(f"{where}/x.tgz", store)


async def test_equal_content_is_one_package(site, store):
    there, where = site
    there["/one.zip?token=x"] = zipped({"a.py": "1"})
    there["/two.zip"] = zipped({"repository/a.py": "1"})
    assert await fetch_package(f"{where}/one.zip?token=x", store) == await fetch_package(f"{where}/two.zip", store)


@pytest.mark.parametrize(
    ("path", "content", "match"),
    [
        ("/none.zip", None, "answered 404"),
        ("/odd.zip", b"no archive", "not a zip file"),
        ("/odd.tgz", b"no archive", "could not be fetched"),
        ("/evil.zip", zipped({"../evil": "x"}), "unsafe name"),
        ("/evil.tgz", tarred({"../evil": "x"}), "unsafe name"),
        ("/large.zip", bytes(2000), "larger than"),
        ("/bomb.zip", zipped({"a": "x" * 1500}, zipfile.ZIP_DEFLATED), "more than the store's quota of 1000 bytes"),
        ("/bomb.tgz", tarred({"a": "x" * 1500}), "more than 1000 bytes"),
    ],
)
async def test_what_is_refused(site, store, tmp_path, path, content, match):
    there, where = site
    if content is not None:
        there[f"{path}?secret"] = content
    with pytest.raises(RuntimeEnvSetupError, match=match) as raised:
        await fetch_package(f"{where}{path}?secret", store, limit=1000)
    assert "secret" not in str(raised.value)
    assert not list(tmp_path.rglob("evil"))


async def test_nobody_there(store):
    with pytest.raises(RuntimeEnvSetupError, match="could not be fetched: ClientConnector"):
        await fetch_package("http://127.0.0.1:9/x.zip", store)


async def test_a_store_whose_library_is_missing_names_it(store, monkeypatch):
    import fsspec

    def missing(uri):
        raise ImportError("no s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(RuntimeEnvSetupError, match=r"s3://.*pip install fsspec s3fs"):
        await fetch_package("s3://bucket/x.zip", store)


async def test_other_stores_are_fsspecs(store, monkeypatch):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/x.zip", zipped({"a.py": "1"}))
    asked = []

    def url_to_fs(uri):
        asked.append(uri)
        return memory, "/bucket/x.zip"

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    uri = await fetch_package("gs://bucket/x.zip", store)
    assert asked == ["gcs://bucket/x.zip"]
    assert names(store.acquire(uri)) == ["a.py"]
