"""The dashboard of a cluster with TLS."""

import pytest
import trustme

from limelight.exceptions import AuthenticationError
from limelight.job_submission import JobStatus, JobSubmissionClient
from tests.cluster.cluster_program import eventually

from .running_cluster import RunningCluster


def test_with_tls_the_dashboard_is_who_it_says(tmp_path_factory, tmp_path):
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(paths["key"])
    paths["key"].chmod(0o600)
    for part in certificate.cert_chain_pems:
        part.write_to_path(paths["cert"], append=True)
    options = ["--tls-cert", str(paths["cert"]), "--tls-key", str(paths["key"])]
    cluster = RunningCluster(tmp_path_factory.mktemp("home"), *options)
    try:
        assert cluster.url.startswith("https://127.0.0.1:")
        client = JobSubmissionClient(cluster.url, token=cluster.token, verify=str(paths["ca"]))
        job = client.submit_job(entrypoint="echo secret")
        eventually(lambda: client.get_job_status(job) is JobStatus.SUCCEEDED)
        with pytest.raises(ConnectionError, match="certificate"):
            JobSubmissionClient(cluster.url, token=cluster.token)
        with pytest.raises(AuthenticationError):
            JobSubmissionClient(cluster.url, token="0" * 64, verify=False)
        followed = cluster.run("job", "logs", "--follow", job)
        assert (followed.returncode, followed.stdout) == (0, "secret\n"), followed.stderr
    finally:
        cluster.stop()
