"""Secrets are compared in a time that does not tell how much of them was right."""

import ast
from pathlib import Path

import pytest

from limelight.cluster.web.guard import Guard
from limelight.transport import auth

ROOT = Path(__file__).parent.parent.parent
SECRETS = ("token", "proof", "secret", "password")
WHERE = ("transport", "cluster", "actors")


class Watched(bytes):
    """A secret that is not to be looked at byte by byte."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared as any other bytes")


class Text(str):
    """The same as text."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared as any other text")

    def encode(self, *_: object, **__: object) -> bytes:
        return Watched(super().encode())


def test_proofs() -> None:
    assert auth.same(Text("0a"), Text("0a"))
    assert not auth.same(Text("0a"), Text("0b"))
    assert not auth.same(Text("ö"), Text("0b"))


@pytest.mark.parametrize(("shown", "status"), [("the token", 200), ("the tokex", 401), ("", 401)])
async def test_the_token_on_the_web(shown, status) -> None:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    async def hello(_: web.Request) -> web.Response:
        return web.Response()

    guard = Guard(Text("the token"))
    application = web.Application(middlewares=[guard.middleware()])
    application.router.add_get("/", hello)
    async with TestClient(TestServer(application)) as client:
        answer = await client.get("/", headers={"Authorization": f"Bearer {shown}"})
        assert answer.status == status
    guard.close()


def names(node: ast.expr) -> str:
    """What an operand is called, where it is called anything."""
    return ast.unparse(node).lower() if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript) else ""


def test_no_other_code_compares_secrets() -> None:
    """Comparisons with nothing, and of lengths, tell nothing."""
    found = []
    for path in (path for folder in WHERE for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
                continue
            operands = [node.left, *node.comparators]
            secret = any(word in names(operand) for operand in operands for word in SECRETS)
            empty = any(isinstance(operand, ast.Constant) for operand in operands)
            if secret and not empty and "len(" not in ast.unparse(node):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
