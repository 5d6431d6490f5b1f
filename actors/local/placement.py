"""Placement groups of local mode: noted down, and always ready."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .. import ids


class PlacementGroups:
    """The groups there are, by id."""

    def __init__(self) -> None:
        self._groups: dict[bytes, tuple[str, str, list[dict[str, float]]]] = {}

    def __contains__(self, group_id: bytes) -> bool:
        return group_id in self._groups

    def create(self, bundles: Sequence[Mapping[str, float]], strategy: str, name: str) -> bytes:
        """A new group's id.

        Raises:
            ValueError: the name is taken.
        """
        if name and any(known == name for known, _, _ in self._groups.values()):
            raise ValueError(f"The name {name!r} is taken by another placement group: choose another.")
        group_id = os.urandom(ids.PLACEMENT_GROUP_ID_SIZE)
        self._groups[group_id] = (name, strategy, [dict(bundle) for bundle in bundles])
        return group_id

    def remove(self, group_id: bytes) -> None:
        """Forget a group; no effect if there is none."""
        self._groups.pop(group_id, None)

    def find(self, name: str) -> tuple[bytes, list[dict[str, float]]]:
        """The id and the bundles of a named group.

        Raises:
            ValueError: there is none.
        """
        for group_id, (known, _, bundles) in self._groups.items():
            if name and known == name:
                return group_id, bundles
        raise ValueError(f"There is no placement group named {name!r}.")

    def table(self) -> list[dict[str, Any]]:
        """All groups, as the state API shows them."""
        return [
            {
                "placement_group_id": group_id.hex(),
                "name": name,
                "strategy": strategy,
                "state": "CREATED",
                "bundles": dict(enumerate(bundles)),
                "bundles_to_node_id": dict.fromkeys(range(len(bundles)), ""),
                "stats": {"problem": ""},
            }
            for group_id, (name, strategy, bundles) in self._groups.items()
        ]
