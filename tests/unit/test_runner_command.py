"""The first words of a runner's container, in whatever folder its image puts it."""

import subprocess
import sys
import zipfile

from geopod.api import deployment

MAIN = "import sys; print(sys.argv[1], '' in sys.path)"


def test_container_finds_no_module_in_its_current_folder(tmp_path):
    zipapp, folder = tmp_path / "geopod.runner.pyz", tmp_path / "work"
    with zipfile.ZipFile(zipapp, "w") as archive:
        archive.writestr("__main__.py", MAIN)
    folder.mkdir()
    for name in ("signal", "enum", "runpy", "pkgutil"):
        (folder / f"{name}.py").write_text("raise SystemExit('of the current folder')")
    *python, wait = deployment.runner_command(sys.executable)
    command = [*python, wait.replace(deployment.RUNNER_FILE, str(zipapp))]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("--socket False\n", "")
