import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from geopod.backends.local import interpreters
from geopod.backends.local.interpreters import Interpreter, find_interpreter, offered, probe
from geopod.backends.local.members import CRASHES_LIMIT, STEADY_S, Member
from geopod.backends.local.orders import memory_limit, quantity, runner_environment, thread_limit
from geopod.backends.local.packages import check_requirements, packages_key
from geopod.errors import InterpreterNotFoundError, RequirementsError
from local_builders import a_record

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
INSTALL = Path(interpreters.__file__).parents[2] / "builder" / "install.py"


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Return a machine's home without any interpreter but the client's own."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "PATH"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def a_python(path: Path, version: str) -> Path:
    """Write a program that answers as a Python of this version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([str(path), [int(part) for part in version.split(".")]])
    path.write_text(f"#!/bin/sh\necho '{answer}'\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("bare")
def test_own_minor_is_the_clients_own_interpreter():
    assert find_interpreter(OWN).executable == sys.executable


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("PYENV_ROOT/versions/3.14.2/bin/python3.14", id="pyenv"),
        pytest.param("UV_PYTHON_INSTALL_DIR/cpython-3.14.2-linux/bin/python3.14", id="uv"),
        pytest.param("PATH/python3.14", id="PATH"),
    ],
)
def test_other_minor_is_found_where_uv_looks(bare, place):
    python = a_python(bare / place, "3.14.2")
    assert find_interpreter("python3.14") == Interpreter(str(python), (3, 14, 2))


def test_newest_patch_release_wins(bare):
    for patch in (9, 10, 2):
        a_python(bare / f"PYENV_ROOT/versions/3.14.{patch}/bin/python3.14", f"3.14.{patch}")
    assert find_interpreter("python3.14").version == (3, 14, 10)


def test_entry_on_path_that_refuses_to_start_is_passed_over(bare):
    """pyenv puts scripts on PATH that fail for versions which are not switched on."""
    shim = bare / "PATH" / "python3.14"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n", "utf-8")
    shim.chmod(stat.S_IRWXU)
    with pytest.raises(InterpreterNotFoundError):
        find_interpreter("python3.14")


@pytest.mark.parametrize("name", ["python3.9", "python2.7", "python3", "perl", "python3.14; rm"])
@pytest.mark.usefixtures("bare")
def test_missing_interpreter_says_what_there_is(name):
    with pytest.raises(InterpreterNotFoundError) as caught:
        find_interpreter(name)
    assert caught.value.code == "E113"
    assert caught.value.fact == f"No runtime offers {name!r}. Offered: {OWN}."


def test_everything_found_is_offered_in_order(bare):
    a_python(bare / "PATH/python3.14", "3.14.0")
    a_python(bare / "PATH/python3.10", "3.10.1")
    names = sorted({OWN, "python3.10", "python3.14"}, key=lambda name: int(name[8:]))
    assert offered() == names


def test_no_python_is_no_interpreter(tmp_path):
    assert probe(tmp_path / "missing") is None
    assert probe(Path("/bin/true")) is None


class TestPackages:
    OWN = interpreters.own_interpreter()
    OTHER = Interpreter("/opt/python3.14", (3, 14, 0))

    def test_own_interpreter_without_requirements_uses_what_is_installed(self):
        assert packages_key(self.OWN, [], refreshed=0) == ""

    def test_other_interpreter_always_gets_a_set_of_its_own(self):
        assert packages_key(self.OTHER, [], refreshed=0)

    def test_order_spelling_and_spaces_do_not_matter(self):
        one = packages_key(self.OWN, ["Scikit_Learn >= 1", "numpy"], refreshed=0)
        two = packages_key(self.OWN, ["numpy", "scikit-learn>=1"], refreshed=0)
        assert one == two

    @pytest.mark.parametrize(
        ("requirements", "refreshed"), [(["numpy<2"], 0), (["numpy"], 4)], ids=["other", "refresh"]
    )
    def test_another_set_has_another_key(self, requirements, refreshed):
        key = packages_key(self.OWN, requirements, refreshed=refreshed)
        assert key != packages_key(self.OWN, ["numpy"], refreshed=0)

    def test_every_wrong_requirement_is_named_with_its_fix(self):
        with pytest.raises(RequirementsError) as caught:
            check_requirements(["numpy", "geopandas=0.14", "rasterio >=", "scipy>1"])
        assert caught.value.code == "E111"
        assert caught.value.fact == (
            "2 of 4 requirements are not valid: "
            "'geopandas=0.14' (use '=='), 'rasterio >=' (version missing)."
        )


class TestInstall:
    """`geopod.builder.install`, started as it is in a builder: by itself, isolated."""

    @staticmethod
    def install(tmp_path, **request):
        request_file, outcome_file = tmp_path / "request.json", tmp_path / "outcome.json"
        request_file.write_text(
            json.dumps(
                {"uv": interpreters.find_uv(), "python": sys.executable}
                | {"target": str(tmp_path / "set"), **request}
            ),
            "utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-I", str(INSTALL), str(request_file), str(outcome_file)],
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, "UV_OFFLINE": "1"},
        )
        return done, json.loads(outcome_file.read_text("utf-8"))

    @pytest.fixture
    def wheels(self, tmp_path):
        """Return a folder with a wheel of `tiny` 1.0."""
        folder = tmp_path / "wheels"
        folder.mkdir()
        head = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        files = {
            "tiny.py": "ANSWER = 42\n",
            "tiny-1.0.dist-info/METADATA": head,
            "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            "tiny-1.0.dist-info/RECORD": "tiny.py,,\n",
        }
        with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)
        return folder

    def test_requirements_are_importable_in_the_target(self, tmp_path, wheels):
        wheel = wheels / "tiny-1.0-py3-none-any.whl"
        done, outcome = self.install(tmp_path, requirements=[f"tiny @ {wheel.as_uri()}"])
        assert done.returncode == 0, done.stderr
        assert "tiny" in outcome["lock"]
        python = tmp_path / "set" / "bin" / "python"
        answer = subprocess.check_output([python, "-c", "import tiny; print(tiny.ANSWER)"])
        assert answer == b"42\n"

    def test_unknown_package_fails_with_uvs_own_lines(self, tmp_path):
        done, outcome = self.install(tmp_path, requirements=["no-such-package-of-geopod"])
        assert done.returncode == 1
        assert not outcome["ok"]
        assert any("no-such-package-of-geopod" in line for line in outcome["lines"])
        assert not (tmp_path / "set").exists()

    @pytest.mark.parametrize(
        "line", ["-r /etc/passwd", "--index-url=http://evil", " -e .", "numpy\n--pre"]
    )
    def test_option_in_place_of_a_requirement_is_refused(self, tmp_path, line):
        done, outcome = self.install(tmp_path, requirements=["numpy", line])
        assert done.returncode == 1
        assert outcome["reason"] == "ResolutionFailed"
        assert outcome["lines"] == [f"{line!r} is an option, not a requirement"]

    def test_set_without_any_package_for_this_interpreter_fails(self, tmp_path):
        _, outcome = self.install(tmp_path, requirements=["numpy; python_version < '3'"])
        assert outcome["lines"] == ["no requirement applies to this interpreter"]


class TestMember:
    @staticmethod
    def ended(times, *, lived=0.0, code=1):
        member = Member("agent 0", lambda: 4711)
        now = 0.0
        for _ in range(times):
            now = max(now, member.due)
            member.run(now)
            now += lived
            member.ended(code, now)
        return member, now

    def test_first_end_is_followed_by_a_start_at_once(self):
        member, now = self.ended(1)
        assert member.pid is None
        assert member.due == now

    def test_pauses_grow_and_are_bounded(self):
        pauses = [member.due - now for member, now in (self.ended(times) for times in range(1, 12))]
        assert pauses == sorted(pauses)
        assert pauses[-1] == 5.0

    def test_crash_after_crash_is_hopeless(self):
        assert self.ended(CRASHES_LIMIT)[0].is_hopeless
        assert not self.ended(CRASHES_LIMIT - 1)[0].is_hopeless

    def test_process_killed_from_outside_is_never_hopeless(self):
        assert not self.ended(100, code=-9)[0].is_hopeless

    def test_steady_life_wipes_the_record(self):
        assert not self.ended(100, lived=STEADY_S)[0].is_hopeless

    def test_end_is_told_in_words(self):
        assert self.ended(1, code=-11)[0].end_text() == "SIGSEGV"
        assert self.ended(1, code=3)[0].end_text() == "exit 3"


class TestOrders:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("4Gi", 4 << 30),
            ("512Mi", 512 << 20),
            ("1000", 1000),
            ("2G", 2 * 10**9),
            ("1.5Gi", 3 << 29),
        ],
    )
    def test_quantity_is_bytes(self, text, size):
        assert quantity(text) == size

    def test_memory_is_what_the_spec_says(self):
        assert memory_limit({"resources": {"memory": "512Mi"}}) == 512 << 20
        assert memory_limit({}) <= 4 << 30

    @pytest.mark.parametrize(("cpu", "threads"), [("2", 2), ("500m", 1), ("2500m", 2), ("1.5", 1)])
    def test_threads_are_the_nodes_cpus(self, cpu, threads):
        assert thread_limit({"resources": {"cpu": cpu}}) == threads

    def test_nodes_share_the_machines_cpus(self):
        assert thread_limit({"nodes": 1000}) == 1

    def test_users_variables_reach_the_runner_last(self, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", "/client/only")
        record = a_record(spec={"env": [{"name": "OMP_NUM_THREADS", "value": "7"}]})
        variables = runner_environment(record)
        assert variables["OMP_NUM_THREADS"] == "7"
        assert "PYTHONPATH" not in variables
