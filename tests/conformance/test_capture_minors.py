"""Real interpreters of other minors run what was captured for them, and nothing else is sent."""

import json
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
from capture_builders import OWN, unpickled, user_module
from geopod.capture import capture_function
from geopod.errors import CaptureError
from runner_builders import interpreter

MINORS = ("3.10", "3.12", "3.13", "3.14")
LOADER = """
import asyncio, importlib, json, sys
payload = json.load(sys.stdin)
namespace = {"__name__": "__main__", **payload["constants"]}
for module, attribute, alias in payload["imports"]:
    loaded = importlib.import_module(module)
    namespace[alias] = loaded if attribute is None else getattr(loaded, attribute)
for piece in payload["pieces"]:
    text = "\\n" * (piece["firstLine"] - 1) + piece["text"]
    exec(compile(text, piece["filename"], "exec", dont_inherit=True), namespace)
result = namespace[payload["entry"]](3)
if asyncio.iscoroutine(result):
    result = asyncio.run(result)
print(json.dumps([result, "%d.%d" % sys.version_info[:2]]))
"""
FUNCTIONS = {
    "global, try, comprehension, f-string": (
        """
        K = 2
        def f(x):
            try:
                return f'{[K * i for i in range(x)]}'
            except ValueError:
                return None
        """,
        "[0, 2, 4]",
    ),
    "recursive": (
        """
        def f(x):
            return 1 if x < 1 else x * f(x - 1)
        """,
        6,
    ),
    "name containing def": (
        """
        def my_def(x):
            return 'def'
        f = my_def
        """,
        "def",
    ),
    "imports and constants": (
        """
        import math
        from itertools import chain as joined
        T = ((1, 2), 'é\\ud800')
        def f(x):
            return [math.floor(x + 0.5), *joined(T[0]), len(T[1])]
        """,
        [3, 1, 2, 2],
    ),
    "decorated": (
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
        12,
    ),
    "nested, with closure": (
        """
        def make(k):
            def f(x):
                return x + k
            return f
        f = make(4)
        """,
        7,
    ),
    "multi-line string, indented": (
        """
        def make():
            def f(x):
                return '''a
          b
                c'''
            return f
        f = make()
        """,
        "a\n  b\n        c",
    ),
    "async def": (
        """
        async def f(x):
            return x + 1
        """,
        4,
    ),
    "dataclass and helper": (
        """
        from dataclasses import dataclass
        @dataclass
        class P:
            x: int
            def double(self) -> int:
                return helper(self.x)
        def helper(x):
            return 2 * x
        def f(x: int) -> 'P':
            return P(x).double()
        """,
        6,
    ),
    "match statement": (
        """
        def f(x):
            match x:
                case 3:
                    return 'three'
            return None
        """,
        "three",
    ),
}


def run(python: str, script: str, payload: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, "-c", script], input=payload, capture_output=True, check=False, timeout=180
    )


@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor != OWN])
@pytest.mark.parametrize(("text", "expected"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_source_captured_here_runs_on_another_minor(tmp_path, minor, text, expected):
    python = interpreter(minor)
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=minor)
    assert bundle.format == "source"
    done = run(python, LOADER, bundle.payload)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == [expected, minor]


@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor != OWN])
def test_line_numbers_of_a_traceback_are_those_of_the_users_file(tmp_path, minor):
    python = interpreter(minor)
    text = """
        import os

        if os:
            def f(x: int) -> int:
                return x / 0
        """
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=minor)
    done = run(python, LOADER, bundle.payload)
    assert 'analysis.py", line 5, in f' in done.stderr.decode()


@pytest.mark.parametrize("minor", [minor for minor in MINORS if minor != OWN])
@pytest.mark.parametrize("send", ["auto", "source", "pickle"])
@pytest.mark.parametrize(
    "text",
    [
        "f = lambda x: x\n",
        """
        import threading
        L = threading.Lock()
        def f(x):
            return L
        """,
    ],
    ids=["lambda", "lock"],
)
def test_bytecode_never_crosses_minors(tmp_path, minor, send, text):
    with user_module(tmp_path, text) as analysis, pytest.raises(CaptureError):
        capture_function(analysis.f, node_python=minor, send=send)


def test_pickle_runs_in_a_fresh_process_of_the_same_minor(tmp_path):
    helpers = """
        STEP = 2
        def step():
            return STEP
        """
    text = """
        import helpers
        def f(x):
            return x + helpers.step()
        """
    with user_module(tmp_path, helpers, "helpers"), user_module(tmp_path, text) as analysis:
        payload = capture_function(analysis.f, node_python=OWN).payload
    folder = str(Path(cloudpickle.__file__).parents[1])
    script = (
        f"import pickle, sys; sys.path.append({folder!r}); print(pickle.load(sys.stdin.buffer)(3))"
    )
    done = run(sys.executable, script, payload)
    assert done.stdout.strip() == b"5", done.stderr.decode()
    assert unpickled(payload)(3) == 5
