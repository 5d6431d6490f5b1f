"""Second names for modules: `import limelight.util.queue` is `limelight.libs.util.queue`, the same module object.

Ray's public modules have places of their own in Limelight's layout. A finder, first in `sys.meta_path`, answers for the
public names, and for all below them, with the module of the real name. `docs/design.md` lists the names.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast


class AliasFinder:
    """Finds modules under other names. Implements importlib's finder and loader protocols; stateless, thread-safe."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for `fullname` if it, or a package above it, is an alias."""
        del path, target
        head, tail = fullname, ""
        while head:
            real = self._names.get(head)
            if real is not None:
                return ModuleSpec(fullname, cast("Any", self), loader_state=real + tail)
            head, dot, last = head.rpartition(".")
            tail = f"{dot}{last}{tail}"
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Importlib makes a placeholder, which `exec_module` replaces."""
        del spec

    def exec_module(self, module: ModuleType) -> None:
        """Put the real module in the placeholder's place, where importlib takes it from."""
        name = module.__name__
        real: str = cast("ModuleSpec", module.__spec__).loader_state
        try:
            sys.modules[name] = importlib.import_module(real)
        except ModuleNotFoundError as error:
            if error.name == real:
                raise ModuleNotFoundError(f"There is no module {name} (it would be {real}).", name=name) from None
            raise


def install(names: Mapping[str, str]) -> None:
    """Make each name in `names` stand for the module it maps to, and names below it for that module's submodules."""
    sys.meta_path.insert(0, AliasFinder(names))
