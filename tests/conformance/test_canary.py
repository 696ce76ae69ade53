"""What users pickle sings where it is opened: in the runner's child, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import geopod

SINGS = """
import os
with open("/proc/self/cmdline") as me, open({path!r}, "a") as song:
    song.write(f"{{os.getpid()}} {{me.read()!r}}\\n")
"""


class Canary:
    """Whoever unpickles it writes down who he is."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return exec, (SINGS.format(path=self.path),)


def test_only_the_runners_child_opens_what_users_pickle(geopod_home, tmp_path):
    songs = {part: tmp_path / part for part in ("function", "argument", "result")}
    caged = Canary(songs["function"])

    def f(argument):
        del argument
        return caged or Canary(songs["result"])

    with (
        geopod.connect("local") as client,
        client.environment("canary", nodes=1, progress=False) as environment,
    ):
        run = environment.submit_map(f, [(Canary(songs["argument"]),)])
        run.wait(180, progress=False)
        (result,) = run.results()
        assert not songs["result"].exists()
        result.load()
    for part in ("function", "argument"):
        for song in songs[part].read_text().splitlines():
            pid, _, command = song.partition(" ")
            assert int(pid) != os.getpid()
            assert "geopod.runner" in command, song
    (song,) = songs["result"].read_text().splitlines()
    assert int(song.split()[0]) == os.getpid()
