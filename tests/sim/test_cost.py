"""A decision costs about as much in a large cluster as in a small one: counted in steps, which repeat exactly."""

import pytest

from .cost import SCENES, Load, costs_of

FEW, MANY = 30, 300
FLAT = 2.0
QUICK = Load(tasks=12_000, actors=2_000, groups=60, copies=1_200, every=1, killed=20)
MOST = {
    "caller": 100,
    "node": 500,
    "scheduler": 500,
    "actor directory": 200,
    "placement groups": 500,
    "puller": 100,
    "directory, asked": 150,
    "directory, told": 100,
}
"""Steps that a decision may take on average; about twice what it does."""
RARE = 20
"""Parts with fewer decisions than that a run are not what the scene is about."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scene", SCENES)
def test_a_decision_costs_as_much_with_ten_times_the_nodes(scene):
    small, large = (costs_of(scene, nodes, QUICK) for nodes in (FEW, MANY))
    steps = {part: (small[part].steps, cost.steps) for part, cost in large.items() if small[part].decisions > RARE}
    assert len(steps) >= 3
    grown = {part: (few, many) for part, (few, many) in steps.items() if many > FLAT * few}
    assert not grown, f"steps a decision, with {FEW} and {MANY} nodes: {grown}"
    costly = {part: many for part, (_, many) in steps.items() if many > MOST[part]}
    assert not costly, f"steps a decision, with {MANY} nodes: {costly}"
