"""The REST API as other programs use it: what is asked in the wrong way is refused, and costs nothing."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from limelight.cluster.job.http_request import HttpRequests
from tests.cluster.cluster_program import eventually


@pytest.fixture
def http(cluster):
    return HttpRequests(cluster.url, {"Authorization": f"Bearer {cluster.token}"}, verify=True)


def archive(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name, text in files.items():
            written.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `entrypoint`"),
        (b'{"entrypoint": "ls", "entry_point": "ls"}', "unknown field `entry_point`"),
        (b'{"entrypoint": "ls", "entrypoint_num_cpus": "2"}', "Expected `float | null`"),
        (b'{"entrypoint": "ls", "runtime_env": {"working_dir": "/"}}', "names the path /"),
        (b'{"entrypoint": "ls", "runtime_env": {"env_vars": {"A": 1}}}', "must be a dict of str to str"),
        (b'{"entrypoint": "ls", "runtime_env": {"worker_process_setup_hook": "hook"}}', "'hook' is no such name"),
        (b'{"entrypoint": "ls", "runtime_env": {"_setup_hook": "AA=="}}', "no function that was pickled"),
        (
            b'{"entrypoint": "w", "runtime_env": {"_setup_hook": "", "worker_process_setup_hook": "a", "env_var": {}}}',
            "env_vars",
        ),
        (b"\xff" * 100, "Invalid UTF-8|malformed"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(http, body, told):
    answer = http.send("POST", "/api/jobs/", body)
    assert answer.status == 400
    assert any(part in answer.text for part in told.split("|")), answer.text


def test_a_body_that_is_too_large_is_refused(http):
    body = json.dumps({"entrypoint": "x" * 2_000_000}).encode()
    assert http.send("POST", "/api/jobs/", body).status == 413


def test_a_job_by_hand(http):
    answer = http.send("POST", "/api/jobs/", b'{"entrypoint": "echo by hand", "job_id": "hand"}')
    assert json.loads(answer.body) == {"job_id": "hand", "submission_id": "hand"}
    eventually(lambda: json.loads(http.send("GET", "/api/jobs/hand").body)["status"] == "SUCCEEDED")
    assert json.loads(http.send("GET", "/api/jobs/hand/logs").body) == {"logs": "by hand\n"}
    assert http.send("PUT", "/api/jobs/hand").status == 405
    assert http.send("GET", "/").status == 404


def test_a_package_is_what_its_name_says(http):
    content = archive(hello="world")
    name = hashlib.sha256(content).hexdigest()
    assert http.send("GET", f"/api/packages/pkg/{name}.zip").status == 404
    damaged = http.send("PUT", f"/api/packages/pkg/{name}.zip", content + b"x")
    assert (damaged.status, "arrived damaged" in damaged.text) == (400, True)
    assert http.send("PUT", f"/api/packages/pkg/{name}.zip", content).status == 200
    assert http.send("GET", f"/api/packages/pkg/{name}.zip").status == 200
    for place in (f"gcs/{name}.zip", "pkg/..%2F..%2Fetc.zip", f"pkg/{name}.tar", f"pkg/{name.upper()}.zip"):
        assert http.send("PUT", f"/api/packages/{place}", content).status == 400


def test_a_package_that_was_damaged_on_the_heads_disk_is_taken_in_again(cluster, http):
    """Else who submits again would be told for ever that it is there."""
    content = archive(hello="damaged meanwhile")
    place = f"/api/packages/pkg/{hashlib.sha256(content).hexdigest()}.zip"
    assert http.send("PUT", place, content).status == 200
    kept = Path(cluster.environment["HOME"]) / ".limelight" / "packages" / "archives" / place.rpartition("/")[2]
    kept.write_bytes(content[:50])
    assert http.send("GET", place).status == 404
    assert http.send("PUT", place, content).status == 200
    assert kept.read_bytes() == content
    kept.write_bytes(b"")
    assert http.send("PUT", place, content).status == 200
    assert http.send("GET", place).status == 200


@pytest.mark.parametrize("name", ["..%2F..%2Fsession.json", "%2e%2e%2ftoken", "head", "a%00b"])
def test_logs_are_those_of_jobs(http, name):
    assert http.send("GET", f"/api/jobs/{name}/logs").status == 404
