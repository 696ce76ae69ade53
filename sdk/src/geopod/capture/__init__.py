"""The function and its arguments, as they travel: a pickle on the same minor, else source.

With files that it names itself, on any minor: a zip of them.

Never does bytecode cross Python minors, and nothing is unpickled here.
"""

from __future__ import annotations

from geopod.capture.arguments import encode_arguments
from geopod.capture.function import capture_function
from geopod.capture.limits import Inclusion, LargeCaptureWarning, Send
from geopod.capture.report import CaptureReport

__all__ = [
    "CaptureReport",
    "Inclusion",
    "LargeCaptureWarning",
    "Send",
    "capture_function",
    "encode_arguments",
]
