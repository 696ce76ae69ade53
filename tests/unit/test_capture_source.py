"""Source for another Python minor: what stands alone is sent as text, the rest is named."""

import asyncio

import pytest
from capture_builders import OTHER, OWN, REMOTE, captured_names, load_source, user_module
from geopod.capture import capture_function

STAND_ALONE = {
    "plain def": (
        """
        def f(x):
            return x + 1
        """,
        2,
    ),
    "recursive": (
        """
        def f(x):
            return 1 if x < 1 else 2 * f(x - 1)
        """,
        2,
    ),
    "name containing def": (
        """
        def undefined_def(x):
            return 'def f' + str(x)
        f = undefined_def
        """,
        "def f1",
    ),
    "constants": (
        """
        K, NAMES, TABLE = 2, ['a'], {'k': 1.5}
        def f(x):
            return x * K, NAMES, TABLE
        """,
        (2, ["a"], {"k": 1.5}),
    ),
    "tuple and integer keys": (
        """
        BANDS = ('red', ('nir',), ())
        BY = {1: None}
        def f(x):
            return BANDS, BY
        """,
        (("red", ("nir",), ()), {1: None}),
    ),
    "numbers that JSON lacks": (
        """
        BIG = (float('inf'), 10 ** 30)
        def f(x):
            return BIG
        """,
        (float("inf"), 10**30),
    ),
    "module import": (
        """
        import math
        def f(x):
            return math.floor(x + 0.5)
        """,
        1,
    ),
    "import under another name": (
        """
        import os.path as places
        def f(x):
            return places.join('a', 'b')
        """,
        "a/b",
    ),
    "submodule": (
        """
        import xml.etree.ElementTree
        def f(x):
            return xml.etree.ElementTree.Element('a').tag
        """,
        "a",
    ),
    "from import": (
        """
        from math import floor as down
        def f(x):
            return down(x + 0.5)
        """,
        1,
    ),
    "object of an installed module": (
        """
        from string import Formatter
        def f(x):
            return Formatter().format('{}', x)
        """,
        "1",
    ),
    "helper": (
        """
        def g(x):
            return x + 1
        def f(x):
            return g(x)
        """,
        2,
    ),
    "helpers that call each other": (
        """
        def odd(n):
            return n > 0 and even(n - 1)
        def even(n):
            return n == 0 or odd(n - 1)
        def f(x):
            return odd(x)
        """,
        True,
    ),
    "helper under another name": (
        """
        def g(x):
            return x + 1
        h = g
        def f(x):
            return h(x)
        """,
        2,
    ),
    "class": (
        """
        class Base:
            step = 1
        class Adder(Base):
            def add(self, x):
                return x + self.step
        def f(x):
            return Adder().add(x)
        """,
        2,
    ),
    "dataclass": (
        """
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int
            y: int = 2
        def f(x):
            return Point(x).y
        """,
        2,
    ),
    "names in nested code": (
        """
        STEP = 2
        def f(x):
            def g():
                return [STEP * i for i in range(x)]
            class C:
                s = STEP
            return (lambda: STEP)(), g(), C.s
        """,
        (2, [0], 2),
    ),
    "default that is a global": (
        """
        STEP = 2
        def f(x, step=STEP, *, n=STEP):
            return x * step * n
        """,
        4,
    ),
    "async def": (
        """
        async def f(x):
            return x + 1
        """,
        2,
    ),
    "annotations without their imports": (
        """
        import typing
        if typing.TYPE_CHECKING:
            import nowhere
        def f(x: 'nowhere.T', *, y: int = 1) -> 'nowhere.T':
            return x + y
        """,
        2,
    ),
    "future annotations": (
        """
        from __future__ import annotations
        import typing
        def f(x: Missing) -> Missing:
            return x + 1
        """,
        2,
    ),
    "decorator with arguments": (
        """
        import functools
        def times(n):
            def wrap(g):
                @functools.wraps(g)
                def run(x):
                    return g(x) * n
                return run
            return wrap
        @times(3)
        def f(x):
            return x + 1
        """,
        6,
    ),
    "decorator without wraps": (
        """
        def twice(g):
            def run(x):
                return g(g(x))
            return run
        @twice
        def f(x):
            return x + 1
        """,
        3,
    ),
    "decorator of the standard library": (
        """
        import functools
        @functools.cache
        def f(x):
            return x + 1
        """,
        2,
    ),
    "cached helper": (
        """
        import functools
        @functools.cache
        def g(x):
            return x + 1
        def f(x):
            return g(x)
        """,
        2,
    ),
    "nested": (
        """
        def make(k):
            def f(x):
                return x + k
            return f
        f = make(4)
        """,
        5,
    ),
    "nested and recursive": (
        """
        def make():
            def f(x):
                return 1 if x < 1 else 2 * f(x - 1)
            return f
        f = make()
        """,
        2,
    ),
    "nested default": (
        """
        def make(k):
            def f(x, k=k):
                return x + k
            return f
        f = make(4)
        """,
        5,
    ),
    "multi-line string in a nested function": (
        '''
        def make():
            def f(x):
                return """a
          b
              c
        d""" + str(x)
            return f
        f = make()
        ''',
        "a\n  b\n      c\nd1",
    ),
    "indented with tabs": ("if 1:\n\tdef f(x):\n\t\treturn '''\n\ta'''\n", "\n\ta"),
    "last line without newline": ("def f(x): return x + 1", 2),
    "global that f itself assigns": (
        """
        def f(x):
            global COUNT
            COUNT = x
            return COUNT
        """,
        1,
    ),
    "function of an installed module": ("from math import floor as f\n", 1),
    "decorated by a class attribute": (
        """
        class A:
            @staticmethod
            def f(x):
                return x + 1
        f = A.f
        """,
        2,
    ),
}


@pytest.mark.parametrize(("text", "expected"), STAND_ALONE.values(), ids=STAND_ALONE)
def test_function_that_stands_alone_returns_the_same_from_its_source(tmp_path, text, expected):
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OTHER)
    assert (bundle.format, bundle.python) == ("source", OWN)
    result = load_source(bundle)(1)
    assert (asyncio.run(result) if asyncio.iscoroutine(result) else result) == expected


def test_source_can_be_asked_for_on_the_same_minor(tmp_path):
    text = """
        def f(x):
            return x + 1
        """
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OWN, send="source")
    assert bundle.format == "source"
    assert load_source(bundle)(1) == 2


GEOPOD_DECORATORS = {
    "alone": "@sdk.function\n",
    "called": "@sdk.function(\n    nodes=3,  # three\n)\n",
    "above another": "@sdk.function()\n@twice\n",
    "below another": "@twice\n# a comment\n@sdk.function()\n",
}


@pytest.mark.parametrize("lines", GEOPOD_DECORATORS.values(), ids=GEOPOD_DECORATORS)
def test_decorator_of_geopod_is_dropped_and_others_stay(tmp_path, lines):
    text = REMOTE + lines + "def f(x):\n    return x + 1\n"
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OTHER)
        expected = analysis.f(1)
    assert load_source(bundle)(1) == expected
    assert "sdk" not in bundle.payload.decode()


def test_helper_made_by_geopod_function_is_called_in_place(tmp_path):
    text = REMOTE + "@sdk.function\ndef g(x):\n    return x + 1\ndef f(x):\n    return g(x)\n"
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OTHER)
    assert load_source(bundle)(1) == 2


def test_report_of_source_lists_what_is_embedded(tmp_path):
    text = """
        import math
        K = 2
        def g(x):
            return x
        def f(x):
            return g(math.pi * K)
        """
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OTHER)
    assert captured_names(bundle) == {"g": "global", "math": "import", "K": "constant"}
