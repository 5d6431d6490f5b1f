"""Second names for modules: `import limelight.util.queue` is `limelight.libs.util.queue`, the same module object.

Ray's public modules have places of their own in Limelight's layout. A finder, first in `sys.meta_path`, answers for the
public names, and for all below them, with the module of the real name. `docs/design.md` lists the names.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


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
                return ModuleSpec(fullname, self, loader_state=real + tail)
            head, dot, last = head.rpartition(".")
            tail = f"{dot}{last}{tail}"
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Importlib makes a placeholder, which `exec_module` replaces."""
        del spec

    def exec_module(self, module: ModuleType) -> None:
        """Put the real module in the placeholder's place, where importlib takes it from."""
        spec = module.__spec__
        assert spec is not None, "importlib gives every module it loads a spec"
        try:
            sys.modules[spec.name] = importlib.import_module(spec.loader_state)
        except ModuleNotFoundError as error:
            if error.name == spec.loader_state:
                raise ModuleNotFoundError(
                    f"There is no module {spec.name} (it would be {spec.loader_state}).", name=spec.name
                ) from None
            raise


def install(names: Mapping[str, str]) -> None:
    """Make each name in `names` stand for the module it maps to, and names below it for that module's submodules."""
    sys.meta_path.insert(0, AliasFinder(names))
