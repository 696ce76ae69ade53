"""`helm test`: one environment, one run, and its result. The standard library and nothing else."""

import base64
import hashlib
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NAME = "geopod-test"
POLL_S = 1.0

PAYLOAD = json.dumps(
    {
        "entry": "answer",
        "constants": {},
        "imports": [],
        "pieces": [
            {
                "filename": "answer.py",
                "firstLine": 1,
                "text": "def answer(params):\n    return 6 * 7\n",
            }
        ],
    }
).encode()


def main(namespace, interpreter, timeout_s):
    """Make both objects, wait for the run, remove them; the exit status is the verdict."""
    deadline = time.monotonic() + float(timeout_s)
    remove(namespace)
    try:
        create(namespace, "ComputeEnvironment", environment(interpreter))
        create(namespace, "ComputeRun", run(interpreter))
        return watch(namespace, deadline)
    finally:
        remove(namespace)


def environment(interpreter):
    small = {"cpu": "100m", "memory": "256Mi", "ephemeralStorage": "100Mi"}
    return {"nodes": 1, "interpreter": interpreter, "resources": small}


def run(interpreter):
    function = {
        "format": "source",
        "name": "answer",
        "sha256": hashlib.sha256(PAYLOAD).hexdigest(),
        "pythonVersion": interpreter.removeprefix("python"),
        "inline": base64.b64encode(PAYLOAD).decode(),
    }
    return {"environment": NAME, "function": function, "onEmpty": "call", "timeoutSeconds": 60}


def watch(namespace, deadline):
    pause = threading.Event()
    told = None
    while time.monotonic() < deadline:
        for plural in ("computeenvironments", "computeruns"):
            status = ask("GET", path(namespace, plural, NAME)).get("status", {})
            words = summary(status)
            if plural == "computeruns" and status.get("phase") in {"Succeeded", "Failed", "Cancelled"}:
                print(f"run: {words}", flush=True)
                return 0 if status["phase"] == "Succeeded" else 1
            if plural == "computeenvironments" and words != told:
                print(f"environment: {words}", flush=True)
                told = words
        pause.wait(POLL_S)
    print("the time is up; kubectl describe cenv,crun geopod-test says more", flush=True)
    return 1


def summary(status):
    shown = [
        f"{it['type']}={it['status']} {it['reason']}: {it['message']}"
        for it in status.get("conditions", ())
        if it["type"] in {"Ready", "Failed", "Accepted"} and it["status"] != "Unknown"
    ]
    return "; ".join([status.get("phase", "new"), *shown])


def create(namespace, kind, spec):
    manifest = {"apiVersion": "geopod.dev/v1alpha1", "kind": kind, "metadata": {"name": NAME}, "spec": spec}
    ask("POST", path(namespace, f"{kind.lower()}s") + "?fieldValidation=Strict", manifest)


def remove(namespace):
    pause = threading.Event()
    for plural in ("computeruns", "computeenvironments"):
        while ask("DELETE", path(namespace, plural, NAME)).get("code") != 404:
            pause.wait(POLL_S / 5)


def path(namespace, plural, name=""):
    return f"/apis/geopod.dev/v1alpha1/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def ask(method, where, content=None):
    """The API server's answer; a missing object is its answer too."""
    request = urllib.request.Request(
        f"https://kubernetes.default.svc{where}",
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/json",
        },
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = json.loads(error.read() or b"{}")
        if error.code == 404 and method != "POST":
            return said
        raise SystemExit(f"{method} {where}: {error.code} {said.get('message')}") from error


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
