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
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    start = re.escape(f"{folder}/") if folder else ""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return Rule(re.compile(start + anywhere + _regex(pattern.removeprefix("/")), re.DOTALL), keeps, only_folders)


_TOKEN = re.compile(
    r"(?P<leading>(?:^|(?<=/))\*\*/)|(?P<trailing>(?<=/)\*\*$)|(?P<star>\*+)|(?P<one>\?)"
    r"|\[(?P<not>[!^]?)(?P<of>(?:\\.|[^\\])(?:\\.|[^\]\\])*)\]|\\(?P<escaped>.)|(?P<plain>[^\[\\])|(?P<broken>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\?(?P<first>.)(?:-\\?(?P<last>.))?", re.DOTALL)
_NEVER = "(?!)"


def _regex(pattern: str) -> str:
    return "".join(_translate(token) for token in _TOKEN.finditer(pattern))


def _translate(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "leading":
            return "(?:.*/)?"
        case "trailing":
            return ".+"
        case "star":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "of":
            return _set(token["of"], negated=bool(token["not"]))
        case "broken":  # a set that does not end, a backslash at the end
            return _NEVER
        case _:
            return re.escape(token["escaped"] or token["plain"])


def _set(members: str, *, negated: bool) -> str:
    """The class of "[a-c]"; a range that runs backwards has no members."""
    ranges = [(member["first"], member["last"] or member["first"]) for member in _MEMBER.finditer(members)]
    inside = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges if first <= last)
    if negated:
        return f"[^/{inside}]"
    return f"(?!/)[{inside}]" if inside else _NEVER
