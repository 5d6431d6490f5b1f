"""Patterns mean what git says they mean."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.actors.ignore import IgnoreRules
from tests.debian import why_no


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "ignored"),
    [
        ("*.log", "a.log", False, True),
        ("*.log", "deep/down/a.log", False, True),
        ("*.log", "a.log.txt", False, False),
        ("/a", "a", False, True),
        ("/a", "b/a", False, False),
        ("a/b", "a/b", False, True),
        ("a/b", "x/a/b", False, False),
        ("data/", "data", True, True),
        ("data/", "data", False, False),
        ("data/", "x/data", True, True),
        ("**/b", "b", False, True),
        ("**/b", "x/y/b", False, True),
        ("a/**/b", "a/b", False, True),
        ("a/**/b", "a/x/y/b", False, True),
        ("a/**", "a", True, False),
        ("a/**", "a/x/y", False, True),
        ("a*b", "a/b", False, False),
        ("a?c", "abc", False, True),
        ("a?c", "a/c", False, False),
        ("[ab].py", "a.py", False, True),
        ("[!ab].py", "c.py", False, True),
        ("[!ab].py", "a.py", False, False),
        ("[a-c]x", "bx", False, True),
        ("a.b", "axb", False, False),
        ("\\#file", "#file", False, True),
        ("#file", "#file", False, False),
        ("file  ", "file", False, True),
        ("", "x", False, False),
        ("/", "x", True, False),
        ("x//", "x", True, False),
    ],
)
def test_pattern(pattern, path, is_folder, ignored):
    assert IgnoreRules().extended([pattern]).ignores(path, is_folder) is ignored


def test_the_last_match_decides():
    rules = IgnoreRules().extended(["*.log", "!keep.log"])
    assert rules.ignores("a.log", is_folder=False)
    assert not rules.ignores("keep.log", is_folder=False)


def test_patterns_of_a_folder_hold_in_it():
    rules = IgnoreRules().extended(["/a", "*.x"], "sub")
    assert rules.ignores("sub/a", is_folder=False)
    assert rules.ignores("sub/deep/b.x", is_folder=False)
    assert not rules.ignores("a", is_folder=False)
    assert not rules.ignores("b.x", is_folder=False)


@pytest.mark.skipif(bool(why_no("git", "git")), reason=why_no("git", "git"))
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("ab*?/.![]-^\\", min_size=1, max_size=6), min_size=1, max_size=3),
    st.lists(st.sampled_from(["a", "b", "ab", "a.b", ".a"]), min_size=1, max_size=3).map("/".join),
)
def test_git_agrees(tmp_path_factory, patterns, path):
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / ".gitignore").write_text("\n".join(patterns) + "\n")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("")
    asked = subprocess.run(["git", "-C", root, "check-ignore", "-q", "--no-index", path], check=False)
    rules = IgnoreRules().extended(patterns)
    parents = path.split("/")
    ours = any(
        rules.ignores("/".join(parents[:end]), is_folder=end < len(parents)) for end in range(1, len(parents) + 1)
    )
    assert ours == (asked.returncode == 0), patterns
