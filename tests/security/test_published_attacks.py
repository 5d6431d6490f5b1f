"""The attacks on Ray that were published (CVE), tried against a cluster of ours.

Each is tried at every port that a process of the cluster listens on, so that a new port is tried, too, once somebody
adds one; in the disguises of stranger.py; and those that do not need to be a stranger's also with the token.
"""

import json
from urllib.parse import quote

import pytest

from .stranger import Request, disguises, openings, status, try_everything

SECRET = b"the secret of the canary"


@pytest.fixture
def attempt(cluster, canary):
    """Tries requests without the token, or with it; asserts that nothing is read, nothing runs and nobody is asked."""
    marker = cluster.folder / "broken-into"

    def make(requests: list[Request], more: dict[str, str] | None = None) -> None:
        ports = cluster.ports()
        assert ports
        for request in requests:
            for answer in try_everything(ports, request, more):
                assert SECRET not in answer, request
                assert b"root:" not in answer, request
                assert cluster.token.encode() not in answer, request
                if more is None:
                    # Cut off, or refused; never taken, and never sent on to somewhere else.
                    assert status(answer) == 0 or status(answer) >= 400, (request, answer)
        # What is accepted may run a moment later: a task that is asked for now has run after it.
        assert cluster.python(BARRIER).strip() == "49"
        assert not marker.exists()
        assert not canary.heard

    return make


BARRIER = """
import limelight as ll
ll.init(address="auto")
print(ll.get(ll.task(lambda x: x * x).remote(7)))
"""


def runs(cluster) -> str:
    """What an attacker has run: leaves a mark."""
    return f"touch {cluster.folder / 'broken-into'}"


def test_the_ports_that_are_tried_are_all(cluster) -> None:
    """A head's and a node's, on the loopback; no worker has one."""
    ports = cluster.ports()
    assert len(ports) >= 2
    assert all(address == "127.0.0.1" for address, _ in ports)
    assert f"127.0.0.1:{ports[0][1]}" in cluster.said or f"127.0.0.1:{ports[1][1]}" in cluster.said


def test_cve_2023_48022_nobody_runs_a_job_without_the_token(cluster, attempt) -> None:
    """ShadowRay: the API for jobs ran whatever whoever sent."""
    job = {"entrypoint": runs(cluster), "runtime_env": {}, "job_id": None, "metadata": {"job_submission_id": "x"}}
    setup = {"entrypoint": "true", "runtime_env": {"env_vars": {}, "worker_process_setup_hook": runs(cluster)}}
    attempt(
        [
            Request(method, path, json.dumps(body))
            for method, path in (("POST", "/api/jobs/"), ("POST", "/api/jobs"), ("PUT", "/api/jobs/"), ("POST", "/"))
            for body in (job, setup)
        ]
        + [Request("GET", "/api/jobs/"), Request("GET", "/api/job_agent/jobs/"), Request("GET", "/api/packages/pkg/x")]
    )


def test_cve_2023_48023_no_port_asks_others_on_a_strangers_behalf(cluster, canary, attempt) -> None:
    """The dashboard fetched any URL that the parameter `url` of its log proxy named."""
    requests = [
        Request("GET", f"/log_proxy?url={quote(url, safe='')}")
        for url in (f"http://{canary.address}/", f"http://{canary.address}@localhost/", "file:///etc/passwd")
    ]
    requests += [
        Request("GET", f"http://{canary.address}/"),  # as to a proxy
        Request("CONNECT", canary.address),
        Request("GET", f"/api/jobs/?address=http://{canary.address}"),
        Request("GET", f"//{canary.address}/"),
    ]
    attempt(requests)
    attempt(requests, {"Authorization": f"Bearer {cluster.token}"})


def test_cve_2023_6019_no_parameter_reaches_a_shell(cluster, attempt) -> None:
    """`format` of the dashboard's profiler became part of a command line."""
    command = runs(cluster)
    requests = [
        Request("GET", f"/worker/{what}?pid={quote(pid)}&ip=127.0.0.1&duration=1&native=0&format={quote(form)}")
        for what in ("cpu_profile", "traceback")
        for pid, form in (
            ("1", f"`{command}`"),
            ("1", f"$({command})"),
            ("1", f"flamegraph;{command};"),
            (f"1;{command}", "x"),
        )
    ]
    attempt(requests)
    attempt(requests, {"Authorization": f"Bearer {cluster.token}"})


TRAVERSALS = ("../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "....//" * 12, "..%252f" * 12, "..\\" * 12, "/", "%2f", "./")


def files(cluster) -> list[str]:
    """A file of the user, and one of the machine."""
    return [str(cluster.home / "secret").lstrip("/"), "etc/passwd"]


def test_cve_2023_6020_no_path_leads_out_of_what_is_served(cluster, attempt) -> None:
    """GET /static/js/../../../etc/passwd"""
    requests = [
        Request("GET", f"/{folder}{step}{name}")
        for folder in ("static/", "static/js/", "", "bulk/")
        for step in TRAVERSALS
        for name in files(cluster)
    ]
    attempt(requests)
    attempt(requests, {"Authorization": f"Bearer {cluster.token}"})


def test_cve_2023_6021_the_log_api_gives_no_other_files(cluster, attempt) -> None:
    """GET /api/v0/logs/file?filename=../../../etc/passwd"""
    requests = [
        Request("GET", f"/api/v0/logs/{kind}?node_id=x&node_ip=127.0.0.1&filename={quote(step, safe='%')}{name}")
        for kind in ("file", "stream")
        for step in (*TRAVERSALS, "")
        for name in files(cluster)
    ]
    requests += [Request("GET", f"/api/v0/logs?node_ip=127.0.0.1&glob={quote(step, safe='%')}*") for step in TRAVERSALS]
    attempt(requests)
    attempt(requests, {"Authorization": f"Bearer {cluster.token}"})


def test_cve_2025_62593_a_page_in_a_browser_runs_nothing(cluster, attempt) -> None:
    """DNS rebinding: the page's requests were told from a program's by their `User-Agent`, which a page may choose.

    `disguises` has what such a page sends. Here also with the token, which no page knows, but a browser might one day
    be brought to send: a name that is not ours is then still refused.
    """
    body = json.dumps({"entrypoint": runs(cluster)})
    attempt([Request("POST", "/api/jobs/", body), Request("POST", "/api/jobs/", body, {"Content-Type": "text/plain"})])
    rebound = {"Host": "rebound.evil.example", "Authorization": f"Bearer {cluster.token}"}
    attempt([Request("POST", "/api/jobs/", body)], rebound)
    elsewhere = {"Origin": "http://evil.example", "Authorization": f"Bearer {cluster.token}"}
    attempt([Request("POST", "/api/jobs/", body)], elsewhere)


def test_cve_2026_27482_no_method_was_forgotten(cluster, attempt) -> None:
    """Pages could not POST nor PUT, but DELETE."""
    methods = ("DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "MOVE", "QUERY", "delete")
    paths = ("/api/jobs/x", "/api/jobs/", "/api/serve/applications/", "/api/v0/nodes", "/", "/channel", "/bulk/x")
    attempt([Request(method, path) for method in methods for path in paths])
    attempt([Request("POST", "/api/jobs/x", headers={"X-HTTP-Method-Override": "DELETE"})])
    assert "1 node" in cluster.cluster("status")


def test_no_port_tells_browsers_that_others_may_use_it(cluster) -> None:
    """No answer has a header of CORS, which would open to pages what the checks close."""
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in try_everything(cluster.ports(), Request("OPTIONS", "/api/jobs/", headers=ask)):
        assert b"access-control-allow" not in answer.lower()


def test_the_stranger_gets_through_to_http(cluster) -> None:
    """Without this, the tests above would pass where nobody is at home."""
    for port in cluster.ports():
        answers = try_everything([port], Request("GET", "/channel", headers={"Limelight-Version": "1"}))
        assert 403 in {status(answer) for answer in answers}
        assert any(status(answer) in {400, 401} for answer in answers)
    assert len(list(disguises("x:1"))) * len(list(openings())) > 40
