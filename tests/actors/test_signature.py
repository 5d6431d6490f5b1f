"""`CallSignature.check` agrees with Python about which calls are right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.actors.signature import ANY_CALL, signature_of


def no_arguments():
    pass


def plain(a, b=1):
    pass


def positional_only(a, b=1, /, c=2):
    pass


def keyword_only(a, *, b, c=1):
    pass


def anything(*args, **kwargs):
    pass


def keywords(a, **kwargs):
    pass


def star(a, *rest, b=1):
    pass


def shadow(a, /, **kwargs):
    pass


FUNCTIONS = [no_arguments, plain, positional_only, keyword_only, anything, keywords, star, shadow]


@given(
    function=st.sampled_from(FUNCTIONS),
    count=st.integers(0, 4),
    names=st.sets(st.sampled_from("abcd")),
)
def test_a_call_is_right_when_python_says_so(function, count, names):
    args, kwargs = tuple(range(count)), dict.fromkeys(names, 0)
    signature = signature_of(function)
    try:
        function(*args, **kwargs)  # `inspect.Signature.bind` is not always of the same opinion
    except TypeError:
        with pytest.raises(TypeError, match=function.__name__):
            signature.check(function.__name__, args, kwargs)
        assert kwargs or not signature.least <= len(args) <= signature.most
    else:
        signature.check(function.__name__, args, kwargs)
        assert kwargs or signature.least <= len(args) <= signature.most


def test_a_method_is_checked_without_self():
    class A:
        def method(self, x):
            pass

    signature = signature_of(A.method, bound=True)
    signature.check("method", (1,), {})
    with pytest.raises(TypeError, match=r"method\(x\)"):
        signature.check("method", (1, 2), {})


def test_what_cannot_be_inspected_accepts_everything():
    assert signature_of(type) is ANY_CALL or signature_of(dict.fromkeys)
    ANY_CALL.check("f", (1, 2), {"x": 3})
