"""What cannot be sent to another minor is refused by its name, before anything starts."""

import pytest
from capture_builders import OTHER, OWN, user_module
from geopod.capture import capture_function
from geopod.errors import BoundGlobalError, PythonVersionMismatchError

REFUSED = {
    "object as global": (
        """
        import logging
        LOG = logging.getLogger('x')
        def f(x):
            LOG.info('a')
        """,
        "global 'LOG' (logging.Logger)",
    ),
    "object in a helper": (
        """
        import threading
        L = threading.Lock()
        def g():
            return L
        def f(x):
            return g()
        """,
        "global 'L' (_thread.lock)",
    ),
    "set": (
        """
        S = {1}
        def f(x):
            return S
        """,
        "global 'S' (set)",
    ),
    "functions by the type of an argument": (
        """
        import functools
        @functools.singledispatch
        def told(x):
            return "other"
        @told.register
        def _(x: int):
            return "int"
        def f(x):
            return told(x)
        """,
        "global 'told' (functools.singledispatch)",
    ),
    "enum member": (
        """
        import enum
        class E(enum.IntEnum):
            A = 1
        A = E.A
        def f(x):
            return A
        """,
        "global 'A' (analysis.E)",
    ),
    "closure": (
        """
        def make(k):
            def f(x):
                return k
            return f
        f = make(object())
        """,
        "closure variable 'k' (object)",
    ),
    "rebound closure": (
        """
        def make(k):
            def f(x):
                nonlocal k
                k += x
                return k
            return f
        f = make(1)
        """,
        "closure variable 'k' (int)",
    ),
    "helper lambda": (
        """
        g = lambda x: x
        def f(x):
            return g(x)
        """,
        "global 'g' (lambda)",
    ),
    "own module": (
        """
        import analysis
        def f(x):
            return analysis.f
        """,
        "global 'analysis' (module of your own: analysis)",
    ),
    "undefined": (
        """
        def f(x):
            return missing
        """,
        "global 'missing' (not defined)",
    ),
    "one name, two objects": (
        """
        k = 1
        def g():
            return k
        def make(k):
            def f(x):
                return k + g()
            return f
        f = make(2)
        """,
        "global 'k' (int)",
    ),
    "decorator": (
        """
        class Deco:
            def __call__(self, g):
                import functools
                return functools.wraps(g)(lambda x: g(x))
        deco = Deco()
        @deco
        def f(x):
            return x
        """,
        "global 'deco' (analysis.Deco)",
    ),
}


@pytest.mark.parametrize(("text", "named"), REFUSED.values(), ids=REFUSED)
def test_function_that_needs_an_object_is_refused_by_its_name(tmp_path, text, named):
    with user_module(tmp_path, text) as analysis, pytest.raises(BoundGlobalError) as caught:
        capture_function(analysis.f, node_python=OTHER)
    assert str(caught.value) == (
        f"GP-E103 'f' does not stand alone: {named} cannot be written as source for "
        f"Python {OTHER} (client: {OWN}).\n"
        "fix: 1) load it inside 2) files=[…] 3) the same Python minor"
    )
    assert isinstance(caught.value, NameError)


SHAPES = {
    "lambda": ("f = lambda x: x\n", "a lambda"),
    "bound method": (
        """
        class A:
            def f(self, x):
                return x
        f = A().f
        """,
        "a bound method",
    ),
    "callable object": (
        """
        class A:
            def __call__(self, x):
                return x
        f = A()
        """,
        "a callable object (analysis.A)",
    ),
    "partial": (
        """
        import functools
        f = functools.partial(max, 1)
        """,
        "a callable object (functools.partial)",
    ),
    "class": (
        """
        class f:
            pass
        """,
        "a class",
    ),
}


@pytest.mark.parametrize(("text", "shape"), SHAPES.values(), ids=SHAPES)
def test_shape_without_text_is_refused_on_another_minor(tmp_path, text, shape):
    with (
        user_module(tmp_path, text) as analysis,
        pytest.raises(PythonVersionMismatchError) as caught,
    ):
        capture_function(analysis.f, node_python=OTHER, environment="ndvi-env")
    assert caught.value.fact.endswith(
        f" was written on Python {OWN}, environment 'ndvi-env' runs {OTHER}, and {shape} has no "
        "source to send. Nothing was started."
    )
    assert "run this client on Python" in caught.value.hint


def test_lambda_is_called_by_the_name_it_is_bound_to(tmp_path):
    with (
        user_module(tmp_path, "ndvi = lambda p: p\n") as analysis,
        pytest.raises(PythonVersionMismatchError, match="'ndvi' was written") as caught,
    ):
        capture_function(analysis.ndvi, node_python=OTHER)
    assert caught.value.fixes[0] == "def ndvi(params): …"


def test_bytecode_is_not_sent_to_another_minor_even_when_asked_to(tmp_path):
    with (
        user_module(
            tmp_path,
            """
            def f(x):
                return x
            """,
        ) as analysis,
        pytest.raises(PythonVersionMismatchError, match="never crosses minors"),
    ):
        capture_function(analysis.f, node_python=OTHER, send="pickle")
