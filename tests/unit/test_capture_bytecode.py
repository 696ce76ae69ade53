"""Pickles for the same minor: the user's modules by value, culprits by name, limits, the cache."""

import asyncio
import pickle
import sys

import cloudpickle
import geopod
import numpy as np
import pytest
from capture_builders import OWN, captured_names, program, unpickled, user_module
from geopod.capture import CaptureReport, LargeCaptureWarning, capture_function
from geopod.errors import FunctionTooLargeError, UnpicklableFunctionError


def capture(f, **options):
    return capture_function(f, node_python=OWN, **options)


SHAPES = {
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
        def f_def_f(x):
            return 'def'
        f = f_def_f
        """,
        "def",
    ),
    "globals and imports": (
        """
        import math
        K = {1, 2}
        def f(x):
            return math.floor(x), K
        """,
        (1, {1, 2}),
    ),
    "decorated": (
        """
        import functools
        def twice(g):
            @functools.wraps(g)
            def run(x):
                return g(g(x))
            return run
        @twice
        def f(x):
            return x + 1
        """,
        3,
    ),
    "nested with closure": (
        """
        def make(k):
            def f(x):
                return x + k
            return f
        f = make(4)
        """,
        5,
    ),
    "multi-line string": (
        '''
        def f(x):
            return """a
          b"""
        ''',
        "a\n  b",
    ),
    "async def": (
        """
        async def f(x):
            return x + 1
        """,
        2,
    ),
    "lambda": ("f = lambda x: x + 1\n", 2),
    "bound method": (
        """
        class A:
            k = 2
            def f(self, x):
                return x + self.k
        f = A().f
        """,
        3,
    ),
    "callable object": (
        """
        class A:
            def __call__(self, x):
                return x + 2
        f = A()
        """,
        3,
    ),
    "partial": (
        """
        import functools
        def g(a, x):
            return a + x
        f = functools.partial(g, 2)
        """,
        3,
    ),
    "class of its own": (
        """
        class A:
            n = 0
            def add(self, x):
                return A.n + x
        def f(x):
            return A().add(x)
        """,
        1,
    ),
    "global of a nested class body": (
        """
        K = 3
        def f(x):
            class A:
                k = K
            return A.k
        """,
        3,
    ),
    "lambda in a default": (
        """
        def f(x, g=lambda x: x + 1):
            return g(x)
        """,
        2,
    ),
    "cached helper that calls itself": (
        """
        import functools
        @functools.lru_cache(maxsize=None)
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        def f(x):
            return fib(30), fib.cache_parameters()
        """,
        (832040, {"maxsize": None, "typed": False}),
    ),
    "cached itself": (
        """
        import functools
        @functools.cache
        def f(x):
            return x + 1
        """,
        2,
    ),
    "single dispatch that calls itself": (
        """
        import functools
        LETTERS = "ab"
        class Own:
            pass
        @functools.singledispatch
        def told(value):
            '''What it is.'''
            return "other", LETTERS
        @told.register
        def _(value: int):
            return "int"
        @told.register
        def _(value: list | tuple):
            return [told(each) for each in value]
        @told.register(Own)
        def _(value):
            return "own"
        def f(x):
            return told([x, (), Own(), None]), told.__name__, told.__doc__
        """,
        (["int", [], "own", ("other", "ab")], "told", "What it is."),
    ),
    "single dispatch itself": (
        """
        import functools
        @functools.singledispatch
        def f(x):
            return "other"
        @f.register
        def _(x: int):
            return "int"
        """,
        "int",
    ),
    "single dispatch of a method": (
        """
        import functools
        class Kind:
            @functools.singledispatchmethod
            def of(self, value):
                return "other"
            @of.register
            def _(self, value: int):
                return "int"
        def f(x):
            return Kind().of(x), Kind().of("")
        """,
        ("int", "other"),
    ),
    "cached property": (
        """
        import functools
        class Scene:
            @functools.cached_property
            def bands(self):
                return [1, 2]
        def f(x):
            scene = Scene()
            return scene.bands is scene.bands
        """,
        True,
    ),
    "enum": (
        """
        import enum
        class E(enum.Enum):
            A = 1
        def f(x):
            return E(x).name
        """,
        "A",
    ),
}


@pytest.mark.parametrize(("text", "expected"), SHAPES.values(), ids=SHAPES)
def test_function_runs_where_its_module_cannot_be_imported(tmp_path, text, expected):
    with user_module(tmp_path, text) as analysis:
        bundle = capture(analysis.f)
    assert (bundle.format, bundle.python) == ("cloudpickle", OWN)
    assert bundle.cloudpickle == cloudpickle.__version__
    assert "analysis" not in sys.modules
    result = unpickled(bundle.payload)(1)
    assert (asyncio.run(result) if asyncio.iscoroutine(result) else result) == expected


def test_helper_modules_travel_too_but_only_what_is_named_of_them(tmp_path):
    helpers = """
        import threading
        LOCK = threading.Lock()
        STEP = 3
        def step():
            return STEP
        """
    text = """
        import helpers
        from helpers import step
        def f(x):
            return x + helpers.step() + helpers.STEP + step()
        """
    with user_module(tmp_path, helpers, "helpers"), user_module(tmp_path, text) as analysis:
        bundle = capture(analysis.f)
    assert unpickled(bundle.payload)(1) == 10
    assert captured_names(bundle) == {
        "helpers": "module",
        "step": "global",
        "STEP": "global",
        "helpers.step": "global",
        "helpers.STEP": "global",
    }


HOLDERS = {
    "dictionary": "TABLE = {1: lambda: helpers.step()}\ndef f(x):\n    return TABLE[x]()\n",
    "instance": """
        class Model:
            def __init__(self):
                self.step = lambda: helpers.step()
        MODEL = Model()
        def f(x):
            return MODEL.step()
        """,
    "partial": """
        import functools
        step = functools.partial(lambda k: helpers.step(), 1)
        def f(x):
            return step()
        """,
    "property": """
        import functools
        class Scene:
            @functools.cached_property
            def step(self):
                return helpers.step()
        def f(x):
            return Scene().step
        """,
}


@pytest.mark.parametrize("text", HOLDERS.values(), ids=HOLDERS)
def test_function_in_an_object_brings_what_it_uses_of_a_module(tmp_path, text):
    helpers = "import threading\nUNUSED = threading.Lock()\ndef step():\n    return 3\n"
    whole = "import helpers\n" + program(text)
    with user_module(tmp_path, helpers, "helpers"), user_module(tmp_path, whole) as analysis:
        bundle = capture(analysis.f)
    assert unpickled(bundle.payload)(1) == 3


def test_package_with_relative_imports_travels(tmp_path):
    package = tmp_path / "bands"
    package.mkdir()
    (package / "__init__.py").write_text("from .maths import ratio\n")
    maths = """
        def ratio(a, b):
            return half(a) / half(b)
        def half(a):
            return a / 2
        """
    (package / "maths.py").write_text(program(maths))
    text = """
        import bands.maths
        def f(x):
            return bands.maths.ratio(x, 2) + bands.ratio(x, 4)
        """
    with user_module(tmp_path, text) as analysis:
        bundle = capture(analysis.f)
    for name in ("bands", "bands.maths"):
        del sys.modules[name]
    assert unpickled(bundle.payload)(4) == 3


def test_installed_modules_travel_by_name(tmp_path):
    with user_module(
        tmp_path,
        """
        import numpy as np
        def f(x):
            return np.mean([x])
        """,
    ) as analysis:
        bundle = capture(analysis.f)
    assert len(bundle.payload) < 2000
    assert captured_names(bundle) == {"np": "module"}


def test_capture_leaves_the_list_of_modules_by_value_as_it_was(tmp_path):
    before = cloudpickle.list_registry_pickle_by_value()
    with user_module(
        tmp_path,
        """
        def g(x):
            return x
        def f(x):
            return g(x)
        """,
    ) as analysis:
        capture(analysis.f)
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_two_lambdas_on_one_line_are_not_mixed_up(tmp_path):
    with user_module(tmp_path, "one, two = (lambda x: x + 1), (lambda x: x + 2)\n") as analysis:
        bundles = [capture(analysis.one), capture(analysis.two), capture(analysis.one)]
    assert [unpickled(bundle.payload)(0) for bundle in bundles] == [1, 2, 1]


def test_annotation_of_a_geopod_type_does_not_make_the_node_import_geopod(tmp_path):
    text = """
        import geopod.capture as g
        def f(x: g.CaptureReport, y: list[g.CaptureReport] = 1) -> int:
            return x
        """
    with user_module(tmp_path, text) as analysis:
        bundle = capture(analysis.f)
    assert b"geopod.capture" in bundle.payload  # as text
    assert unpickled(bundle.payload).__annotations__["x"] == "geopod.capture.report.CaptureReport"
    assert unpickled(bundle.payload).__annotations__["return"] is int


class Remote:
    """Stands for what `@geopod.function` makes."""

    def __init__(self, f):
        self.__geopod_function__ = f


def test_function_object_of_geopod_is_captured_as_the_function_it_was_made_of(tmp_path):
    text = """
        def f(x):
            return 1 if x < 1 else 2 * f.__geopod_function__(x - 1) if False else x
        """
    with user_module(tmp_path, text) as analysis:
        analysis.f = Remote(analysis.f)
        bundle = capture(analysis.f)
    assert unpickled(bundle.payload)(1) == 1


def test_recursion_through_a_function_object_of_geopod_runs_in_place(tmp_path):
    text = """
        def f(x):
            return 1 if x < 1 else 2 * f(x - 1)
        """
    with user_module(tmp_path, text) as analysis:
        analysis.f = Remote(analysis.f)
        bundle = capture(analysis.f)
    assert unpickled(bundle.payload)(3) == 8


UNPICKLABLE = {
    "closure variable": (
        """
        import sqlite3
        def make(db):
            def ndvi(p):
                return db.execute(p)
            return ndvi
        ndvi = make(sqlite3.connect(':memory:'))
        """,
        "closure variable 'db' is a sqlite3.Connection (analysis.py:4)",
    ),
    "global": (
        """
        import threading
        L = threading.Lock()

        def ndvi(p):
            x = 1
            return L
        """,
        "global 'L' is a _thread.lock (analysis.py:6)",
    ),
    "inside a container": (
        """
        import threading
        CFG = {'a': 1, 'locks': [0, threading.Lock()]}
        def ndvi(p):
            return CFG
        """,
        "global \"CFG['locks'][1]\" is a _thread.lock (analysis.py:4)",
    ),
    "of a helper": (
        """
        import threading
        L = threading.Lock()
        def g():
            return L
        def ndvi(p):
            return g()
        """,
        "global 'L' is a _thread.lock (analysis.py:4)",
    ),
    "default": (
        """
        import threading
        def ndvi(p, lock=threading.Lock()):
            return 1
        """,
        "default 'lock' is a _thread.lock (analysis.py:2)",
    ),
    "instance of a bound method": (
        """
        import threading
        class A:
            def __init__(self):
                self.lock = threading.Lock()
            def ndvi(self, p):
                return self.lock
        ndvi = A().ndvi
        """,
        "closure variable 'self.lock' is a _thread.lock (analysis.py:5)",
    ),
}


@pytest.mark.parametrize(("text", "fact"), UNPICKLABLE.values(), ids=UNPICKLABLE)
def test_what_cannot_be_pickled_is_named_with_its_type_and_line(tmp_path, text, fact):
    with user_module(tmp_path, text) as analysis, pytest.raises(UnpicklableFunctionError) as caught:
        capture(analysis.ndvi)
    assert str(caught.value) == (
        f"GP-E102 Cannot send 'ndvi': {fact}. Everything else can be sent.\n"
        "fix: 1) open it inside ndvi(), or pass what opens it"
    )
    assert isinstance(caught.value, TypeError)


def test_client_in_a_function_is_named_and_not_what_is_inside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path))
    client = geopod.connect("local")

    def ndvi(params):
        return client

    with pytest.raises(UnpicklableFunctionError) as caught:
        capture(ndvi)
    client.close()
    assert "closure variable 'client' is a geopod.client.sync.client.Client" in str(caught.value)


def test_all_objects_that_cannot_be_pickled_are_named(tmp_path):
    text = """
        import threading
        A, B = threading.Lock(), (i for i in ())
        def f(p):
            return A, B
        """
    with user_module(tmp_path, text) as analysis, pytest.raises(UnpicklableFunctionError) as caught:
        capture(analysis.f)
    assert caught.value.details == {"names": ["A", "B"]}


def test_object_above_the_limit_is_refused_by_name(tmp_path):
    text = """
        import numpy as np
        MODEL = np.zeros(17 << 20, np.uint8)
        def f(p):
            return MODEL
        """
    with user_module(tmp_path, text) as analysis, pytest.raises(FunctionTooLargeError) as caught:
        capture(analysis.f)
    assert str(caught.value) == (
        "GP-E104 Global 'MODEL' is 17.0 MiB; the limit is 16 MiB.\n"
        "fix: 1) include_data=['model.pt']"
    )


def test_large_object_warns_at_the_line_of_the_caller(tmp_path):
    text = """
        import numpy as np
        TABLE = np.zeros(300 << 10, np.uint8)
        def f(p):
            return TABLE
        """
    large = "Global 'TABLE' of 'f' is 300 KiB"
    with (
        user_module(tmp_path, text) as analysis,
        pytest.warns(LargeCaptureWarning, match=large) as caught,
    ):
        capture(analysis.f)
    assert caught[0].filename == __file__


def test_bundle_above_the_limit_is_refused_with_its_largest_members(tmp_path, monkeypatch):
    monkeypatch.setattr("geopod.capture.function.MAX_BUNDLE_BYTES", 1 << 10)
    text = """
        A, B = bytes(3000), bytes(10)
        def f(p):
            return A, B
        """
    with user_module(tmp_path, text) as analysis, pytest.raises(FunctionTooLargeError) as caught:
        capture(analysis.f)
    assert caught.value.fact.startswith("The bundle of 'f' is 3.")
    assert caught.value.fact.endswith("the limit is 1 KiB. Largest: A 2.9 KiB, B 25 bytes.")


CHANGES = {
    "global": (
        """
        K = 1
        def f(x):
            return K
        """,
        "analysis.K = 2",
    ),
    "global of a helper": (
        """
        K = 1
        def g():
            return K
        def f(x):
            return g()
        """,
        "analysis.K = 2",
    ),
    "item of a list": (
        """
        K = [1]
        def f(x):
            return K[0]
        """,
        "analysis.K[0] = 2",
    ),
    "nested item": (
        """
        K = {'a': [1]}
        def f(x):
            return K['a'][0]
        """,
        "analysis.K['a'][0] = 2",
    ),
    "array in place": (
        """
        import numpy as np
        K = np.ones(3)
        def f(x):
            return K[0]
        """,
        "analysis.K[0] = 2",
    ),
    "attribute": (
        """
        class A:
            pass
        A = A()
        A.k = 1
        def f(x):
            return A.k
        """,
        "analysis.A.k = 2",
    ),
    "class attribute": (
        """
        class A:
            k = 1
        def f(x):
            return A.k
        """,
        "analysis.A.k = 2",
    ),
    "closure": (
        """
        def make():
            k = 1
            def f(x):
                return k
            def put(v):
                nonlocal k
                k = v
            return f, put
        f, put = make()
        """,
        "analysis.put(2)",
    ),
    "defaults": (
        """
        def f(x, k=1):
            return k
        """,
        "analysis.f.__defaults__ = (2,)",
    ),
    "default of a keyword": (
        """
        def f(x, *, k=1):
            return k
        """,
        "analysis.f.__kwdefaults__ = {'k': 2}",
    ),
    "code": (
        """
        def f(x):
            return 1
        """,
        "analysis.f.__code__ = (lambda x: 2).__code__",
    ),
    "global that hides a built-in": (
        """
        def f(x):
            return len([x])
        """,
        "analysis.len = lambda _: 2",
    ),
    "module in place of another": (
        """
        import math as source
        def f(x):
            return 1 if hasattr(source, 'pi') else 2
        """,
        "import json; analysis.source = json",
    ),
    "helper redefined": (
        """
        def g():
            return 1
        def f(x):
            return g()
        """,
        "analysis.g = lambda: 2",
    ),
    "what a function in a dictionary uses": (
        """
        K = 1
        def g():
            return K
        TABLE = {'a': g}
        def f(x):
            return TABLE['a']()
        """,
        "analysis.K = 2",
    ),
    "helper of the same name": (
        """
        def g():
            return 1
        def f(x):
            return g()
        """,
        "analysis.g.__code__ = (lambda: 2).__code__",
    ),
}


@pytest.mark.parametrize(("text", "change"), CHANGES.values(), ids=CHANGES)
def test_second_capture_notices_a_change(tmp_path, text, change):
    with user_module(tmp_path, text) as analysis:
        first = capture(analysis.f)
        exec(change, {"analysis": analysis})  # noqa: S102  # the table's own text
        second = capture(analysis.f)
    assert [unpickled(bundle.payload)(0) for bundle in (first, second)] == [1, 2]


def test_keyword_default_put_into_an_empty_dictionary_is_noticed(tmp_path):
    with user_module(tmp_path, "def f(x, *, k):\n    return k\n") as analysis:
        analysis.f.__kwdefaults__ = {}
        first = capture(analysis.f)
        analysis.f.__kwdefaults__["k"] = 2
        assert unpickled(capture(analysis.f).payload)(0) == 2
    assert unpickled(first.payload)(0, k=1) == 1


def test_change_while_it_is_captured_is_noticed_by_the_next_capture(tmp_path):
    """As another thread makes it: when the bytes are written and not yet kept."""
    with user_module(tmp_path, "K = 1\ndef f(x):\n    return K\n") as analysis:

        def change(frame, event, _):
            if event == "return" and frame.f_code.co_name == "pickle_by_value":
                analysis.K = 2

        before = sys.getprofile()
        sys.setprofile(change)
        try:
            first = capture(analysis.f)
        finally:
            sys.setprofile(before)
        second = capture(analysis.f)
    assert [unpickled(bundle.payload)(0) for bundle in (first, second)] == [1, 2]


def test_second_capture_of_an_unchanged_function_is_the_same_bundle(tmp_path):
    text = """
        import math
        K = [1]
        def g():
            return math.floor(K[0])
        def f(x):
            return g()
        """
    with user_module(tmp_path, text) as analysis:
        assert capture(analysis.f) is capture(analysis.f)


def test_capture_is_the_same_for_every_name_of_the_environment_but_not_for_every_minor(tmp_path):
    with user_module(
        tmp_path,
        """
        def f(x):
            return x
        """,
    ) as analysis:
        bundle = capture(analysis.f)
        assert capture_function(analysis.f, node_python="3.99", client_python="3.99") is not bundle


def test_report_is_one_line_and_a_table(tmp_path):
    text = """
        import math
        NAMES = ['red'] * 9
        def f(x, k=2.5):
            return math.pi, NAMES, k
        """
    with user_module(tmp_path, text) as analysis:
        report = CaptureReport.of(capture(analysis.f))
    assert repr(report) == (
        f"<CaptureReport f: cloudpickle from Python {OWN}, {report.size} bytes, 3 captured names>"
    )
    assert str(report).splitlines()[1:] == [
        "NAME   KIND     TYPE   SIZE",
        "NAMES  global   list   " + f"{len(pickle.dumps(['red'] * 9, 5))} bytes",
        "k      default  float  21 bytes",
        "math   module   math   0 bytes",
    ]


def test_array_is_measured_whole_and_sent(tmp_path):
    text = """
        import numpy as np
        K = np.zeros(1 << 17)
        def f(x):
            return K
        """
    with user_module(tmp_path, text) as analysis, pytest.warns(LargeCaptureWarning):
        bundle = capture(analysis.f)
    assert bundle.captured[0].bytes > 1 << 20
    assert np.array_equal(unpickled(bundle.payload)(0), np.zeros(1 << 17))


def test_code_keeps_the_name_of_its_file(tmp_path):
    text = """
    def inner():
        return lambda: 1

    def f():
        return inner()
    """
    with user_module(tmp_path, text) as module:
        file = module.__file__
        loaded = unpickled(capture(module.f).payload)

    assert loaded.__code__.co_filename == file
    assert loaded().__code__.co_filename == file
