"""Every sentence of the error tables, word for word, and how its numbers read."""

# ruff: noqa: E501, S106  # sentences stay whole; a Secret's name is no secret

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from geopod import errors
from geopod.api.reasons import EnvironmentCondition, sentence
from geopod.errors import wording

TEN = datetime(2026, 1, 3, 10, 0, tzinfo=UTC)


def quoted(condition, reason, **values):
    """Return the error of an environment's condition, whose sentence is the operator's."""
    return errors.from_condition(reason, sentence(condition, reason, **values), during="start")


# id, error, text
SENTENCES = [
    (
        "E001",
        errors.ConfigError.no_cluster(),
        (
            "No cluster found: no GEOPOD_TARGET, not inside a cluster, no kubeconfig.\n"
            'fix: 1) connect("local") runs on this machine 2) connect("my-context")'
        ),
    ),
    (
        "E001 with a context",
        errors.ConfigError.no_cluster("prod"),
        (
            "No cluster found: no context 'prod' in the kubeconfig.\n"
            'fix: 1) connect("local") runs on this machine 2) connect("my-context")'
        ),
    ),
    (
        "E001 without a folder",
        errors.ConfigError.unusable_folder(folder="/var/geopod", words="permission denied"),
        (
            "geopod's folder /var/geopod cannot be used: permission denied.\n"
            "fix: 1) GEOPOD_HOME=… names another folder"
        ),
    ),
    (
        "E001 after close",
        errors.ConfigError.closed(target="prod"),
        ("The client of 'prod' is closed; environments and runs go on.\nfix: 1) connect('prod')"),
    ),
    (
        "E002",
        errors.AuthError.token_refused(expired_s=720),
        "The API server refused the token (expired 12 min ago).\nfix: 1) sign in again",
    ),
    (
        "E003",
        errors.PermissionDeniedError.forbidden(
            verb="create", resource="computeruns.geopod.dev", namespace="geo", user="ana"
        ),
        (
            "You may not create computeruns.geopod.dev in namespace 'geo' (user 'ana').\n"
            "fix: 1) ask for ClusterRole geopod-edit: kubectl create rolebinding geopod-edit-ana "
            "--clusterrole=geopod-edit --user=ana --namespace=geo"
        ),
    ),
    (
        "E004",
        errors.MissingExtraError.needed(extra="geo", purpose="Reading a layer", module="rasterio"),
        (
            "Reading a layer needs the extra 'geo': module 'rasterio' is not installed.\n"
            'fix: 1) pip install "geopod[geo]"'
        ),
    ),
    (
        "E010",
        errors.ClusterUnreachableError.no_answer(cluster="prod", timeout_s=30, tries=3),
        "The cluster 'prod' did not answer: timed out after 30 s, 3 tries.\nfix: 1) geopod doctor",
    ),
    (
        "E010 at once",
        errors.ClusterUnreachableError.no_answer(
            cluster="prod", timeout_s=30, tries=1, why="connection refused"
        ),
        "The cluster 'prod' did not answer: connection refused, 1 try.\nfix: 1) geopod doctor",
    ),
    (
        "E011",
        errors.CRDsNotInstalledError.unknown_kind(
            cluster="prod", kind="ComputeEnvironment", api_version="geopod.dev/v1alpha1"
        ),
        (
            "The cluster 'prod' does not know ComputeEnvironment (geopod.dev/v1alpha1).\n"
            "fix: 1) an administrator installs the chart: helm install geopod …"
        ),
    ),
    (
        "E012",
        errors.OperatorNotRunningError.not_picked_up(
            environment="ndvi-env", namespace="geo", waited_s=60
        ),
        (
            "'ndvi-env' was created 60 s ago and nothing picked it up (no status); the operator is not "
            "running or does not watch namespace 'geo'.\n"
            "fix: 1) kubectl -n geopod-system get deploy geopod-operator"
        ),
    ),
    (
        "E013",
        errors.GatewayUnavailableError.no_answer(
            route="the API server's proxy", timeout_s=30, tries=3
        ),
        (
            "The gateway, reached through the API server's proxy, did not answer: timed out after "
            "30 s, 3 tries.\nfix: 1) geopod doctor"
        ),
    ),
    (
        "E013 at once",
        errors.GatewayUnavailableError.no_answer(
            route="https://store.example", timeout_s=30, tries=9, why="connection refused"
        ),
        (
            "The gateway, reached through https://store.example, did not answer: connection refused, "
            "9 tries in 30 s.\nfix: 1) geopod doctor"
        ),
    ),
    (
        "E014",
        errors.RateLimitedError.slow_down(retry_after_s=20),
        "The gateway asks to slow down (retry after 20 s).",
    ),
    (
        "E015",
        errors.ProtocolMismatchError.differs(
            client="0.4", speaks=3, environment="ndvi-env", environment_speaks=2, fitting="0.3"
        ),
        (
            "Client 0.4 speaks protocol 3, environment 'ndvi-env' speaks 2.\n"
            'fix: 1) pip install "geopod~=0.3" 2) recreate the environment'
        ),
    ),
    (
        "E015 from a later release",
        errors.ProtocolMismatchError.differs(
            client="0.4", speaks=3, environment="ndvi-env", environment_speaks=5
        ),
        (
            "Client 0.4 speaks protocol 3, environment 'ndvi-env' speaks 5.\n"
            "fix: 1) pip install --upgrade geopod"
        ),
    ),
    (
        "E015 before it is made",
        errors.ProtocolMismatchError.undeclared(
            client="0.4",
            what="environment 'ndvi-env'",
            words=".spec.tide: field not declared in schema",
        ),
        (
            "Client 0.4 sends what this cluster's definitions do not have, in environment "
            "'ndvi-env': .spec.tide: field not declared in schema.\n"
            "fix: 1) an administrator upgrades the chart: helm upgrade geopod …"
        ),
    ),
    (
        "E101",
        errors.PythonVersionMismatchError.no_source(
            function="ndvi",
            client="3.11",
            environment="ndvi-env",
            runs="3.12",
            why="a lambda has no source to send",
        ),
        (
            "'ndvi' was written on Python 3.11, environment 'ndvi-env' runs 3.12, and a lambda has no "
            "source to send. Nothing was started.\n"
            "fix: 1) def ndvi(params): … 2) interpreter='python3.11' 3) run this client on Python 3.12"
        ),
    ),
    (
        "E102",
        errors.UnpicklableFunctionError.holds(
            function="ndvi",
            role="closure variable",
            name="db",
            type_name="sqlite3.Connection",
            where="analysis.py:12",
        ),
        (
            "Cannot send 'ndvi': closure variable 'db' is a sqlite3.Connection (analysis.py:12). "
            "Everything else can be sent.\n"
            "fix: 1) open it inside ndvi(), or pass what opens it"
        ),
    ),
    (
        "E103",
        errors.BoundGlobalError.not_writable(
            function="ndvi",
            role="global",
            name="MODEL",
            type_name="torch.nn.Module",
            runs="3.12",
            client="3.11",
        ),
        (
            "'ndvi' does not stand alone: global 'MODEL' (torch.nn.Module) cannot be written as source "
            "for Python 3.12 (client: 3.11).\n"
            "fix: 1) load it inside 2) files=[…] 3) the same Python minor"
        ),
    ),
    (
        "E104",
        errors.FunctionTooLargeError.holds(
            role="Global", name="MODEL", size=412 << 20, limit=16 << 20
        ),
        "Global 'MODEL' is 412 MiB; the limit is 16 MiB.\nfix: 1) include_data=['model.pt']",
    ),
    (
        "E105",
        errors.SourceUnavailableError.unreadable(function="ndvi"),
        (
            "The source of 'ndvi' cannot be read (typed into a bare interpreter).\n"
            "fix: 1) put it in a file or a notebook cell"
        ),
    ),
    (
        "E111",
        errors.RequirementsError.invalid(
            total=5, wrong=[("geopandas=0.14", "use '=='"), ("rasterio >=", "version missing")]
        ),
        (
            "2 of 5 requirements are not valid: 'geopandas=0.14' (use '=='), 'rasterio >=' "
            "(version missing).\n"
            "fix: 1) correct them 2) for one string: requirements=['numpy']"
        ),
    ),
    (
        "E112",
        errors.RequirementsBuildError.unresolvable(
            environment="ndvi-env", python="3.12", lines="no version of nonesuch"
        ),
        (
            "Dependencies of 'ndvi-env' cannot be resolved for Python 3.12: no version of nonesuch\n"
            "fix: 1) change requirements 2) env.build_log()"
        ),
    ),
    (
        "E112 on a cluster",
        quoted(
            EnvironmentCondition.DEPENDENCIES_READY,
            "ResolutionFailed",
            python="python3.12",
            platform="linux/amd64",
            words="no version of nonesuch",
            log="6f3a",
        ),
        (
            "requirements cannot be installed for python3.12 linux/amd64: no version of nonesuch. "
            "Full log: 6f3a.\n"
            "fix: 1) change requirements 2) env.build_log()"
        ),
    ),
    (
        "E113",
        errors.InterpreterNotFoundError.not_offered(
            interpreter="python3.9",
            offered=["python3.10", "python3.11", "python3.12", "python3.13"],
        ),
        (
            "No runtime offers 'python3.9'. Offered: python3.10 … python3.13.\n"
            "fix: 1) one of these 2) ask an administrator for a ComputeRuntime"
        ),
    ),
    (
        "E113 with a gap",
        errors.InterpreterNotFoundError.not_offered(
            interpreter="python3.9", offered=["python3.10", "python3.12"]
        ),
        (
            "No runtime offers 'python3.9'. Offered: python3.10, python3.12.\n"
            "fix: 1) one of these 2) ask an administrator for a ComputeRuntime"
        ),
    ),
    (
        "E121",
        errors.LayerNotFoundError.missing(
            path_id="dem",
            timestamp_id="2024",
            namespace="geo",
            nearest={"dem-30m": ["2023", "2024-06"]},
        ),
        (
            "No layer 'dem' with timestamp '2024' in namespace 'geo'. Nearest: 'dem-30m' (2023, "
            "2024-06).\nfix: 1) client.layers()"
        ),
    ),
    (
        "E122",
        errors.LayerAccessError.refused(path_id="dem", answer="403 from s3", secret="dem-key"),
        "Layer 'dem' cannot be read: 403 from s3 (secret 'dem-key').\nfix: 1) renew the secret",
    ),
    (
        "E123 overlap",
        errors.PartitionError.overlap_too_large(
            overlap=256, node=3, smallest=(300, 512), largest_overlap=150
        ),
        (
            "overlap=256 is more than half of the smallest partition (300 px).\n"
            "fix: 1) overlap=150 fits"
        ),
    ),
    (
        "E123 overlap that fewer nodes allow",
        errors.PartitionError.overlap_too_large(
            overlap=256, node=3, smallest=(300, 512), largest_overlap=150, fitting_nodes=2
        ),
        (
            "overlap=256 is more than half of the smallest partition (300 px).\n"
            "fix: 1) overlap=150 fits 2) nodes=2 fits"
        ),
    ),
    (
        "E123 memory",
        errors.PartitionError.too_large(
            partition=3, need=int(9.1 * 2**30), limit=4 << 30, fitting_nodes=12
        ),
        "Partition 3 needs 9.1 GiB, a node has 4.\nfix: 1) nodes=12 fits 2) memory='10Gi'",
    ),
    (
        "E124",
        errors.DuplicateKeyError.repeated(key="2024", times=2),
        (
            "timestampId 2024 is given 2 times; params has one value per timestampId.\n"
            "fix: 1) Remove one, or name it instead of latest"
        ),
    ),
    (
        "E125 missing",
        errors.LayerCRSError.missing(key="dem", path_id="dem", bounds=(0, 0, 10.5, 20)),
        (
            "dem has no CRS (bounds (0, 0, 10.5, 20)).\n"
            "fix: 1) set spec.crs on Layer dem 2) client.add_layer('dem', crs='EPSG:…')"
        ),
    ),
    (
        "E125 unsupported",
        errors.LayerCRSError.unsupported(
            crs="EPSG:99999", path_id="dem", words="crs not found: EPSG:99999"
        ),
        (
            "CRS EPSG:99999 cannot be used: crs not found: EPSG:99999.\n"
            "fix: 1) set spec.crs on Layer dem 2) client.add_layer('dem', crs='EPSG:…')"
        ),
    ),
    (
        "E126 irregular",
        errors.UnsupportedGridError.irregular(key="topo", smallest=0.0214, largest=0.0223),
        "topo: irregular spacing 0.0214..0.0223.\nfix: 1) convert to a regular grid",
    ),
    (
        "E126 none",
        errors.UnsupportedGridError.no_transform(key="topo"),
        "topo: no transform.\nfix: 1) convert to a regular grid",
    ),
    (
        "E127",
        errors.NoOverlapError.outside(
            key="dem",
            bounds=(0, 0, 1, 1),
            crs="EPSG:4326",
            extent=(5, 5, 6, 6),
            count=177,
            unit="features",
        ),
        (
            "dem covers (0, 0, 1, 1) in EPSG:4326, job extent is (5, 5, 6, 6): 0 of 177 features "
            "inside.\nfix: 1) wrong CRS, swapped axes or extent?"
        ),
    ),
    (
        "E128",
        errors.UnknownBandError.unknown(key="s2", names=["B02", "B03"], asked="nir"),
        "s2 has 2 bands B02, B03; nir is not one of them.",
    ),
    (
        "E129",
        errors.SourceChangedError.changed(key="dem", planned='"abc"', found='"def"'),
        'dem: etag "abc" at plan time, "def" now.\nfix: 1) env.refresh() plans on the new bytes',
    ),
    (
        "E201",
        errors.EnvironmentNotFoundError.missing(
            name="3f0c",
            namespace="geo",
            target="prod",
            history="It was deleted 2 h ago by ttl; results of 2 runs stay until 2026-01-03",
            yours=["ndvi-env"],
        ),
        (
            "No environment '3f0c' in namespace 'geo' (cluster 'prod'). It was deleted 2 h ago by ttl; "
            "results of 2 runs stay until 2026-01-03. Yours: ndvi-env.\n"
            "fix: 1) create it again 2) client.environments()"
        ),
    ),
    (
        "E202",
        errors.RunNotFoundError.missing(name="ndvi-7f3", namespace="geo", target="prod"),
        (
            "No run 'ndvi-7f3' in namespace 'geo' (cluster 'prod').\n"
            "fix: 1) submit it again 2) client.runs()"
        ),
    ),
    (
        "E203",
        errors.ResultExpiredError.expired(run="ndvi-7f3", at=TEN, keep_s=604_800),
        (
            "Results of 'ndvi-7f3' expired at 10:00Z (keep_results 7 d).\n"
            'fix: 1) run.rerun(tasks="all")'
        ),
    ),
    (
        "E203 without its environment",
        errors.ResultExpiredError.gone(run="ndvi-7f3"),
        (
            "Results of 'ndvi-7f3' are not in the store any more; its environment was deleted.\n"
            "fix: 1) submit it again"
        ),
    ),
    (
        "E204",
        errors.EnvironmentTerminatedError.terminated(
            environment="ndvi-env", at=TEN.replace(hour=9, minute=12), by="ana"
        ),
        "Environment 'ndvi-env' was terminated at 09:12Z by ana.\nfix: 1) env.resume()",
    ),
    (
        "E301",
        errors.ResultTooLargeError.returned(
            size=7_759_113, codec="npy", limit=2_097_152, over=12, task=17, total=240
        ),
        (
            "Task 17 of 240 returned 7.4 MiB (7,759,113 bytes as npy); the limit with "
            "large_result=False is 2 MiB (2,097,152 bytes). 12 tasks are over it; all are kept until "
            "they expire.\n"
            "fix: 1) large_result=True 2) return a summary or a smaller dtype 3) write_to=…"
        ),
    ),
    (
        "E302",
        errors.TaskTimeoutError.stopped(
            after_s=1800,
            timeout_s=1800,
            attempt=1,
            attempts=1,
            seen=errors.TaskTimeoutError.last_seen(
                fraction=0.62,
                text="band 4",
                peak=int(3.1 * 2**30),
                memory=4 << 30,
                cpu_percent=6,
                log_line="reading block 7",
            ),
            task=3,
            total=240,
        ),
        (
            "Task 3 of 240 was stopped after 30m00s (task_timeout=30m), attempt 1 of 1. Last progress "
            '62 % "band 4"; peak 3.1 of 4.0 GiB; cpu 6 %; last log line: reading block 7\n'
            "fix: 1) run.rerun(task_timeout='2h') 2) task.reproduce()"
        ),
    ),
    (
        "E303",
        errors.ResultNotSerializableError.returned(type_name="generator", task=0),
        (
            "Task 0 returned a generator; results are JSON, arrays, tables, rasters, bytes.\n"
            "fix: 1) return list(…)"
        ),
    ),
    (
        "E304",
        errors.OutOfMemoryError.killed(limit=4 << 30, partition_bytes=812 << 20, task=9),
        (
            "Task 9 was killed at its 4.0 GiB memory limit (exit 137); its partition holds 812 MiB.\n"
            "fix: 1) memory='8Gi' 2) more nodes"
        ),
    ),
    (
        "E305 signal",
        errors.ProcessCrashedError.died(signal="SIGSEGV", where="rasterio/_io", task=5),
        "Task 5 died with SIGSEGV in rasterio/_io (frames below).\nfix: 1) task.reproduce()",
    ),
    (
        "E305 exit",
        errors.ProcessCrashedError.exited(exit_code=0, task=5),
        "Task 5 called sys.exit(0) without returning.\nfix: 1) task.reproduce()",
    ),
    (
        "E306",
        errors.NodeLostError.lost(times=3, limit=2, why="evicted: disk pressure", kept=239, task=2),
        (
            "Task 2 lost its node 3 times (limit 2; evicted: disk pressure); 239 results are kept.\n"
            "fix: 1) run.rerun()"
        ),
    ),
    (
        "E308",
        errors.TaskCancelledError.cancelled(by="ana", task=2),
        "Task 2 was cancelled by ana.\nfix: 1) run.rerun()",
    ),
    (
        "E310",
        errors.ShapeMismatchError.returned(node=2, shape=(3, 5), core=(4, 4), padded=(6, 6)),
        (
            "node 2 returned (3, 5); core is (4, 4), padded (6, 6).\n"
            "fix: 1) Return one of these or {'raster','transform','crs'}"
        ),
    ),
    (
        "E311",
        errors.NotAFileResultError.returned(node=2, type_name="dict"),
        (
            "node 2 returned dict; writeToLayer/addLayer need files.\n"
            "fix: 1) largeResult=True, return an array, GeoDataFrame or BytesIO"
        ),
    ),
    (
        "E312",
        errors.InconsistentPartsError.differ(
            wrong=1,
            total=4,
            node=3,
            has={"dtype": "float64", "bands": 1},
            first={"dtype": "int16", "bands": 1},
        ),
        (
            "1 of 4 parts differ: node 3 has dtype float64, bands 1, node 0 has dtype int16, bands 1.\n"
            "fix: 1) make f return one type"
        ),
    ),
    (
        "E401",
        errors.UnschedulableError.no_machine(
            waiting=4,
            total=4,
            after_s=60,
            missing="nvidia.com/gpu (1 each)",
            scheduler="0/6 nodes are available: 6 Insufficient nvidia.com/gpu.",
            fix="enable_gpu=False",
        ),
        (
            "4 of 4 nodes cannot be scheduled (after 60 s): no machine offers nvidia.com/gpu (1 each). "
            "Scheduler: 0/6 nodes are available: 6 Insufficient nvidia.com/gpu.\n"
            "fix: 1) enable_gpu=False 2) ask for a GPU pool 3) geopod capacity"
        ),
    ),
    (
        "E402",
        quoted(
            EnvironmentCondition.NODES_READY,
            "ImagePullFailed",
            image="reg/runtime-py312@sha256:ab",
            count=4,
            total=4,
            words="unauthorized: access denied",
            runtime="default",
            secrets="regcred",
        ),
        (
            "image reg/runtime-py312@sha256:ab cannot be pulled on 4/4 nodes: unauthorized: access "
            "denied. Check ComputeRuntime default and imagePullSecrets [regcred].\n"
            "fix: 1) administrator: image or secret of the ComputeRuntime"
        ),
    ),
    (
        "E403",
        quoted(
            EnvironmentCondition.NODES_READY,
            "QuotaExceeded",
            quota="team",
            namespace="geo",
            words="requested cpu 8, used 28 of 32",
            fits=2,
            total=4,
        ),
        (
            "quota team in geo refuses pods: requested cpu 8, used 28 of 32. 2 of 4 nodes fit; lower "
            "spec.nodes or raise the quota.\n"
            "fix: 1) fewer nodes 2) terminate an environment that sleeps 3) geopod capacity"
        ),
    ),
    (
        "E403 of the runtime",
        quoted(
            EnvironmentCondition.ACCEPTED,
            "LimitExceeded",
            runtime="default",
            what="nodes",
            limit=16,
            asked=40,
        ),
        (
            "ComputeRuntime default allows nodes=16; the spec asks 40.\n"
            "fix: 1) ask for less 2) geopod capacity"
        ),
    ),
    (
        "E404",
        errors.EnvironmentStartTimeout.not_ready(
            environment="ndvi-env", ready=1, total=4, after_s=600, why="3 nodes are staging."
        ),
        (
            "'ndvi-env' has 1 of 4 nodes ready after 10 min: 3 nodes are staging.\n"
            "fix: 1) env.explain() 2) start_timeout='30m'"
        ),
    ),
    (
        "E501",
        errors.WaitTimeoutError.stopped_waiting(
            after_s=600, run="ndvi-7f3", done=212, total=240, remaining_s=80
        ),
        (
            "Stopped waiting after 600 s; run 'ndvi-7f3' goes on (212 of 240 done, about 1m20s left).\n"
            "fix: 1) run.wait() 2) run.cancel()"
        ),
    ),
]


@pytest.mark.parametrize(
    ("error", "text"), [row[1:] for row in SENTENCES], ids=[row[0] for row in SENTENCES]
)
def test_sentence_word_for_word(error, text):
    assert str(error) == f"GP-{error.code} {text}"


@pytest.mark.parametrize(("name", "error"), [row[:2] for row in SENTENCES])
def test_sentence_is_of_its_code(name, error):
    assert error.code == name.split()[0]


@pytest.mark.parametrize("error", [row[1] for row in SENTENCES], ids=[row[0] for row in SENTENCES])
def test_error_crosses_a_process_as_text(error):
    wire = json.loads(json.dumps(error.to_wire()))
    again = errors.from_wire(**wire)
    assert type(again) is type(error)
    assert (str(again), again.hint) == (str(error), error.hint)


def test_code_of_a_later_release_keeps_its_number():
    later = errors.from_wire("E777", "Something of tomorrow.", ["update"])
    assert str(later) == "GP-E777 Something of tomorrow.\nfix: 1) update"
    assert errors.GeopodError("x").code == "E000"


# ---- numbers


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1, "1 byte"),
        (812, "812 bytes"),
        (2048, "2.0 KiB"),
        (7_759_113, "7.4 MiB"),
        (812 << 20, "812 MiB"),
        (4 << 30, "4.0 GiB"),
        (3 << 50, "3.0 PiB"),
    ],
)
def test_sizes(size, text):
    assert wording.size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2s"), (42, "42s"), (80, "1m20s"), (1800, "30m00s"), (7500, "2h05m")],
)
def test_measured_times(seconds, text):
    assert wording.span_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5s"), (90, "90s"), (1800, "30m"), (7200, "2h"), (604_800, "7d")]
)
def test_options(seconds, text):
    assert wording.option_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "60 s"), (119, "119 s"), (720, "12 min"), (7200, "2 h"), (604_800, "7 d")],
)
def test_rough_times(seconds, text):
    assert wording.about_text(seconds) == text


def test_moment_of_another_day_has_its_date():
    assert wording.moment_text(TEN, TEN.replace(hour=23)) == "10:00Z"
    assert wording.moment_text(TEN, TEN.replace(day=4)) == "2026-01-03 10:00Z"


def test_limit_that_is_not_whole_keeps_its_tenth():
    assert wording.limit_text(1_500_000) == "1.4 MiB"


def test_many_items_are_cut():
    assert wording.items_text(range(7)) == "0, 1, 2, 3, 4 and 2 more"
