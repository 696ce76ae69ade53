"""Write a ComputeRun with a function as source: `python write_run.py relief.py:relief alps`.

For people who have kubectl and no SDK; needs nothing but Python. The whole file travels, so it may
import what the environment has and hold helpers. The payload's form: `geopod.api.bundles`.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

TEMPLATE = """\
# Made by write_run.py from {file}; the text of the file is in `inline`, as JSON in base64.
apiVersion: geopod.dev/v1alpha1
kind: ComputeRun
metadata:
  name: {name}
spec:
  environment: {environment}
  function:
    format: source
    name: {entry}
    pythonVersion: "3.13"
    sha256: {sha256}
    inline: {inline}
"""


def write_run(file, entry, environment):
    """Return the YAML of a run of `entry`, a function of `file`, on an environment."""
    piece = {"filename": file.name, "firstLine": 1, "text": file.read_text("utf-8")}
    payload = {"entry": entry, "constants": {}, "imports": [], "pieces": [piece]}
    content = json.dumps(payload).encode()
    return TEMPLATE.format(
        file=file.name,
        name=entry.replace("_", "-").lower(),
        environment=environment,
        entry=entry,
        sha256=hashlib.sha256(content).hexdigest(),
        inline=base64.b64encode(content).decode(),
    )


if __name__ == "__main__":
    where, _, function = sys.argv[1].partition(":")
    print(write_run(Path(where), function, sys.argv[2]), end="")
