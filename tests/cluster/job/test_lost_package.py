"""A job whose files nobody has any more says so."""

import shutil
from pathlib import Path

from limelight.job_submission import JobStatus
from tests.cluster.cluster_program import eventually


def test_a_job_whose_package_is_gone_says_so_and_what_to_do(cluster, client, tmp_path):
    (tmp_path / "text").write_text("not to be had")
    env = {"working_dir": str(tmp_path)}
    job = client.submit_job(entrypoint="cat text", runtime_env=env, entrypoint_resources={"late": 1})
    shutil.rmtree(Path(cluster.environment["HOME"]) / ".limelight" / "packages" / "archives")
    joined = cluster.run(
        "join", cluster.address, "--num-cpus", "1", "--resources", '{"late": 1}', "--node-name", "late"
    )
    assert joined.returncode == 0, joined.stderr
    eventually(lambda: client.get_job_status(job) is JobStatus.FAILED)
    failed = client.get_job_info(job)
    assert failed.error_type == "RUNTIME_ENV_SETUP_FAILURE"
    assert (
        f"{failed.runtime_env['working_dir']} of the runtime environment is not in the cluster any more"
        in failed.message
    )
    assert "2 of those that may have it were asked, and do not" in failed.message
    assert "Submit the job, or start the program, again" in failed.message
    assert "bytes." not in failed.message  # of an error that this process cannot read
