"""Which files of a folder are left out: patterns in the language of .gitignore (git-scm.com/docs/gitignore)."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Rule(NamedTuple):
    """One pattern: `matches` is tried on paths relative to the root, with "/" between their parts."""

    matches: re.Pattern[str]
    keeps: bool
    only_folders: bool


class IgnoreRules:
    """Patterns in the order they were read; the last that matches decides. Immutable."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self._rules = rules

    def extended(self, lines: Iterable[str], folder: str = "") -> "IgnoreRules":
        """With the patterns of a file that lies in `folder` (relative to the root, "" for the root itself)."""
        parsed = (_parse(line, folder) for line in lines)
        return IgnoreRules((*self._rules, *(rule for rule in parsed if rule is not None)))

    def ignores(self, path: str, is_folder: bool) -> bool:
        """Whether `path` is left out, with all in it. The caller does not ask about what is in such a folder."""
        for rule in reversed(self._rules):
            if (is_folder or not rule.only_folders) and rule.matches.fullmatch(path):
                return not rule.keeps
        return False


def _parse(line: str, folder: str) -> Rule | None:
    pattern = line.rstrip("\r\n")
    if not pattern.endswith("\\ "):
        pattern = pattern.rstrip(" ")
    if not pattern or pattern.startswith("#"):
        return None
    keeps = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    only_folders = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    if not pattern:
        return None
    start = re.escape(f"{folder}/") if folder else ""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return Rule(re.compile(start + anywhere + _regex(pattern.removeprefix("/")), re.DOTALL), keeps, only_folders)


_TOKEN = re.compile(
    r"(?P<leading>(?:^|(?<=/))\*\*/)|(?P<trailing>(?<=/)\*\*$)|(?P<star>\*+)|(?P<one>\?)"
    r"|(?P<set>\[(?P<not>[!^]?)(?P<of>\]?(?:\\.|[^\]\\])*)\])|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)


def _regex(pattern: str) -> str:
    return "".join(_translate(token) for token in _TOKEN.finditer(pattern))


def _translate(token: re.Match[str]) -> str:
    if token["leading"]:
        return "(?:.*/)?"
    if token["trailing"]:
        return ".+"
    if token["star"]:
        return "[^/]*"
    if token["one"]:
        return "[^/]"
    if token["set"]:
        members = re.sub(r"([\[&~|]|^\])", r"\\\1", token["of"])
        return f"(?!/)[{'^' if token['not'] else ''}{members}]"
    return re.escape(token["escaped"] or token["plain"])
