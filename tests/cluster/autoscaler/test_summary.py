"""What `cluster status` can say of the autoscaler."""

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.machine import Autoscaler
from limelight.cluster.autoscaler.summary import summary
from limelight.cluster.provider.instance import NodeType
from limelight.cluster.scheduling.resources import ResourceSet


def test_it_says_what_there_is_what_fails_what_waits_and_what_was_done():
    node_type = NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 4}), max_workers=3)
    autoscaler = Autoscaler(ScalingConfig(node_types={"cpu": node_type}, max_workers=3), "a", lambda: 1.0)
    autoscaler.handle(m.InstancesListed((), 0.0), 0.0)
    wants = [m.Want(ResourceSet.parse({"CPU": cpus}), 1) for cpus in (2, 64)]
    autoscaler.handle(m.LoadSeen(tuple(wants)), 1.0)
    [launch] = autoscaler.handle(m.Decide(), 1.0)
    assert summary(autoscaler, 3.0).lines() == [
        "cpu: 1 requested (min 0, max 3)",
        "cannot be helped: 1 x tasks or actors wait for {CPU: 64}: no node type of the cluster has that",
        "2 s ago: launching 1 x cpu: tasks or actors wait for {CPU: 2}",
    ]
    autoscaler.handle(m.LaunchAnswered(launch.request_id, error="quota exceeded"), 4.0)
    lines = summary(autoscaler, 5.0).lines()
    assert lines[:2] == ["cpu: none (min 0, max 3)", "  launches fail: quota exceeded; tried again in 4 s"]
    assert lines[-1] == "1 s ago: 1 x cpu could not be launched: quota exceeded"
