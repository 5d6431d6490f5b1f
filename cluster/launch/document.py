"""Reading YAML into structs, with errors that name the line: every fault of a file is found, and told at once.

Source of the positions: the marks that PyYAML's composer leaves on nodes.
"""

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...actors import option_rule

Node = Any
"""A node as PyYAML composes it; the package comes with the extra "launch"."""


class DocumentError(ValueError):
    """The file is not as it must be; the message has a line for each fault: file:line:column, what, and what to do."""


class PackageMissingError(DocumentError):
    """What reads files is not installed; nothing is wrong with the file."""


class Document:
    """A YAML file, its faults, and where things are.

    Args:
        path: shown in messages.
        text: the file's.
        examples: by the name of a key, how to write it.

    Raises:
        DocumentError: it is not YAML, or has what only YAML can mean: keys that are lists, things inside themselves.
    """

    def __init__(self, path: str, text: str, examples: Mapping[str, str]) -> None:
        self.path = path
        self._examples = examples
        self._faults: list[tuple[int, int, str]] = []
        self._yaml = _library()
        self._safe = self._yaml.constructor.SafeConstructor()
        resolver = self._yaml.resolver.BaseResolver
        self._plain_tags = {resolver.DEFAULT_SEQUENCE_TAG, resolver.DEFAULT_MAPPING_TAG}
        try:
            self.root: Node = self._yaml.compose(text, Loader=self._yaml.SafeLoader)
        except self._yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else path
            told = ", ".join(filter(None, [error.context, error.problem]))
            raise DocumentError(f"{where}: this is not YAML: {told}") from error
        except self._yaml.reader.ReaderError as error:
            before = text[: error.position]
            where = f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
            raise DocumentError(f"{where}: this is not YAML: the character {chr(error.character)!r}") from error
        except RecursionError as error:
            raise DocumentError(f"{path}:1:1: there is more nested in each other here than can be read.") from error
        if self.root is None:
            raise DocumentError(f"{path}:1:1: the file is empty. For example:\n{examples.get('', '')}")
        self._examine(self.root, {})
        self.check()

    def fault(self, node: Node, text: str, key: str | None = None) -> None:
        """Something is wrong there. `key`: show how that is written; "": how the whole file is."""
        example = self._examples.get(key) if key is not None else None
        mark = node.start_mark
        gap = "\n" if example and "\n" in example else " "
        shown = f" For example:{gap}{example}" if example else ""
        self._faults.append((mark.line + 1, mark.column + 1, f"{text}{shown}"))

    def check(self) -> None:
        """Raise DocumentError if there are faults."""
        if self._faults:
            lines = [f"{self.path}:{line}:{column}: {text}" for line, column, text in sorted(self._faults)]
            raise DocumentError("\n".join(lines))

    def guarded(self, node: Node, check: Callable[[], Any], key: str | None = None) -> Any:
        """What `check` gives; where it raises ValueError or TypeError, that is a fault there."""
        try:
            return check()
        except (ValueError, TypeError) as error:
            self.fault(node, str(error), key)
            return None

    def find(self, *keys: str, name: bool = False) -> Node:
        """The node at the end of these keys, or of the last of them that there is; `name`: of the key itself."""
        node = self.root
        for key in keys:
            pairs = [(one, value) for one, value in self._pairs(node) if one.value == key]
            if not pairs:
                break
            node = pairs[0][0] if name and key == keys[-1] else pairs[0][1]
        return node

    def read(self, node: Node, expected: Any, key: str = "", within: str | None = None) -> Any:
        """The value of a node as a type: a struct, a mapping, a list, a plain value or Any. Faults give None.

        Args:
            node: where it stands.
            expected: the type.
            key: what it is called; "": the whole file.
            within: the key whose example shows how it is written; None: its own.
        """
        shown = key if within is None else within
        origin = typing.get_origin(expected)
        if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
            return self._read_struct(node, expected, key, shown)
        if origin is dict:
            return self._read_mapping(node, typing.get_args(expected)[1], key)
        if origin is list:
            if not isinstance(node, self._yaml.SequenceNode):
                return self.fault(node, f"{_named(key)} must be a list.", shown)
            return [self.read(one, typing.get_args(expected)[0], key, shown) for one in node.value]
        if origin in {types.UnionType, typing.Union} and isinstance(node, self._yaml.ScalarNode):
            plain = self.plain(node)
            if plain is None:
                return None
        plain = self.plain(node)
        try:
            return msgspec.convert(plain, expected)
        except msgspec.ValidationError as error:
            return self.fault(node, f"{_named(key)}: {error} (it is {plain!r}).", shown)

    def plain(self, node: Node) -> Any:
        """A node as plain data."""
        return self._safe.construct_object(node, deep=True)

    def _examine(self, node: Node, seen: dict[Node, bool]) -> None:
        """Find what cannot be made plain data. `seen`: the nodes that were met, and whether all in them was, too."""
        if seen.get(node) is not None:
            if not seen[node]:
                self.fault(node, "this contains itself.")
            return
        seen[node] = False
        if isinstance(node, self._yaml.ScalarNode):
            try:
                self._safe.construct_object(node)
            except (self._yaml.YAMLError, ValueError, TypeError, LookupError) as error:
                self.fault(node, f"{node.value!r} cannot be read: {getattr(error, 'problem', None) or error}.")
        elif node.tag not in self._plain_tags:
            self.fault(node, f"{node.tag!r} is no tag that is known here.")
        elif isinstance(node, self._yaml.SequenceNode):
            for one in node.value:
                self._examine(one, seen)
        else:
            for name, value in node.value:
                if not isinstance(name, self._yaml.ScalarNode):
                    self.fault(name, "a key must be a plain word, and not a list or a mapping.")
                self._examine(value, seen)
        seen[node] = True

    def _read_struct(self, node: Node, expected: type[msgspec.Struct], key: str, shown: str) -> Any:
        if not isinstance(node, self._yaml.MappingNode):
            return self.fault(node, f"{_named(key)} must be a mapping of keys to values.", shown)
        fields = {field.name: field for field in msgspec.structs.fields(expected)}
        values: dict[str, Any] = {}
        for name_node, value_node in self._pairs(node):
            field = fields.get(name_node.value)
            if field is None:
                problem = f"{_named(key)} has no key {name_node.value!r}"
                known = option_rule.unknown_name(problem, name_node.value, fields) if fields else f"{problem}, nor any."
                self.fault(name_node, known)
            else:
                value = self.read(value_node, field.type, field.name)
                if value is not None:
                    values[field.name] = value
        present = {name_node.value for name_node, _ in self._pairs(node)}
        for name, field in fields.items():
            if field.required and name not in present:
                self.fault(node, f"{_named(key)} needs the key {name!r}.", name)
        if any(field.required and name not in values for name, field in fields.items()):
            return None
        return expected(**values)

    def _read_mapping(self, node: Node, expected: Any, key: str) -> Any:
        if not isinstance(node, self._yaml.MappingNode):
            return self.fault(node, f"{_named(key)} must be a mapping of keys to values.", key)
        read = {str(name.value): self.read(value, expected, str(name.value), key) for name, value in self._pairs(node)}
        return {name: value for name, value in read.items() if value is not None}

    def _pairs(self, node: Node) -> Iterator[tuple[Node, Node]]:
        """The keys and values of a mapping; one that stands there twice is a fault."""
        if not isinstance(node, self._yaml.MappingNode):
            return
        seen: dict[str, Node] = {}
        for name, value in node.value:
            if name.value in seen:
                fault = (name.start_mark.line + 1, name.start_mark.column + 1,
                         f"{name.value!r} stands in line {seen[name.value].start_mark.line + 1} already.")  # fmt: skip
                if fault not in self._faults:
                    self._faults.append(fault)
                continue
            seen[name.value] = name
            yield name, value


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        DocumentError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _named(key: str) -> str:
    return repr(key) if key else "the file"


def _library() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise PackageMissingError('Cluster files need a package: pip install "limelight[launch]"') from error
    return yaml
