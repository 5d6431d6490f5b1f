"""What goes wrong with Slurm in particular."""

import json

import pytest

from limelight.cluster.provider.instance import NodeType
from limelight.cluster.provider.node_provider import ProviderError
from limelight.cluster.provider.slurm import SlurmProvider, SlurmSettings
from limelight.cluster.scheduling.resources import ResourceSet

from .grounds import SlurmGround

CPU = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 2, "memory": 3e9, "GPU": 1}), machine={"time": "2:00"})


@pytest.fixture
def ground(tmp_path):
    made = SlurmGround(tmp_path)
    yield made
    made.close()


async def test_a_job_that_waits_is_starting_and_says_why(ground):
    ground.weather(pending=True)
    provider = ground.provider()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    [job] = await provider.instances()
    assert (job.state, job.text) == ("starting", "Slurm says PENDING (Resources)")
    await provider.terminate([made.instance_id])
    assert await provider.instances() == []


async def test_a_job_that_slurm_cancels_is_gone(ground):
    provider = ground.provider()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    await ground.report("w-1")
    await ground.provider().terminate([made.instance_id])  # stands for an administrator
    await ground.until(lambda: gone(provider))


async def gone(provider):
    return await provider.instances() == []


async def test_a_job_that_may_not_be_cancelled_is_an_error_and_shown_still(ground):
    provider = ground.provider()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    await ground.report("w-1")
    ground.weather(denied=True)
    with pytest.raises(ProviderError, match="permission denied"):
        await provider.terminate([made.instance_id])
    assert [one.state for one in await provider.instances()] == ["running"]
    ground.weather()
    await provider.terminate([made.instance_id])


async def test_jobs_are_not_queued_again_by_slurm_and_other_jobs_of_the_user_are_left_alone(ground):
    provider = ground.provider()
    [made] = (await provider.create(CPU, ["w-1"], ground.start())).instances
    await ground.report("w-1")
    jobs = ground.folder / "slurm" / "jobs"
    ours = json.loads((jobs / f"{made.instance_id}.json").read_text())
    assert "no-requeue" in ours["options"], "a second job of the name would be a second node"
    for number, comment in ((2, "(null)"), (3, "my thesis | part 2"), (4, '{"cluster": 5}')):
        (jobs / f"{number}.json").write_text(json.dumps({**ours, "id": number, "name": "thesis", "comment": comment}))
    assert [one.name for one in await provider.instances()] == ["w-1"]
    for number in (2, 3, 4):
        (jobs / f"{number}.json").unlink()
    await provider.terminate([made.instance_id])


def test_jobs_ask_for_what_their_node_offers_and_for_what_is_said_besides():
    settings = SlurmSettings(partition="gpu", account="project_1", time="1:00:00", options={"qos": "high"})
    assert SlurmProvider("mine", settings)._options(CPU) == [
        "--nodes=1", "--ntasks=1", "--cpus-per-task=2", "--gres=gpu:1", "--mem=2862M",
        "--partition=gpu", "--account=project_1", "--time=2:00", "--qos=high",
    ]  # fmt: skip


async def test_a_machine_without_slurm_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = await SlurmProvider("mine").create(CPU, ["w-1"], SlurmGround.start(ground_like(tmp_path)))
    assert "`squeue` cannot be run here: No such file or directory" in made.error


def ground_like(folder):
    class Like:
        reports = folder

    return Like()
