"""The geopod command on a terminal of its own, as somebody who reads and types meets it."""

from __future__ import annotations

import codecs
import os
import pty
import re
import subprocess
import sys

COMMAND = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this session's own terminal: Ctrl-C is heard
from geopod.cli import main
main()
"""


class Session:
    """A command that runs, and what its terminal showed so far."""

    def __init__(self, *arguments: str) -> None:
        self.said = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=os.environ | {"GEOPOD_PROGRESS": "1", "TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def until(self, pattern: str) -> re.Match[str]:
        """Read until the terminal shows it."""
        while not (found := re.search(pattern, self.said)):
            piece = self._read()
            assert piece, f"ended without {pattern!r}: {self.said}"
            self.said += piece
        return found

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def exit_code(self) -> int:
        """Read to the end and return how the command ended."""
        while piece := self._read():
            self.said += piece
        os.close(self._terminal)
        return self.process.wait()

    def _read(self) -> str:
        try:
            piece = os.read(self._terminal, 4096)
        except OSError:  # the command has ended
            return ""
        return self._decode(piece) or self._read()  # or half of a character
