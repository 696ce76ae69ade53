"""How an environment of this machine is seen to stand while its supervisor ends."""

import msgspec
import pytest
from geopod.api.messages import PROTOCOL
from geopod.api.runs import EnvironmentState
from geopod.backends.local import standing
from geopod.backends.local.state import Report, StateFolder
from local_builders import a_record


def a_report(record, phase):
    state = EnvironmentState(uid=record.uid, name=record.name, phase=phase)
    return Report(generation=record.generation, state=state)


def test_last_word_of_a_supervisor_that_ends_meanwhile_is_heard(tmp_path, monkeypatch):
    folder, record = StateFolder(tmp_path), a_record()
    folder.write_environment(record)
    folder.write_report(record.name, a_report(record, "Starting"))

    def ends_as_it_is_looked_at(folder, name):
        folder.write_report(name, a_report(record, "Failed"))
        return False

    monkeypatch.setattr(standing, "is_alive", ends_as_it_is_looked_at)
    assert standing.standing(folder, record).phase == "Failed"


@pytest.mark.parametrize("phase", ["Suspended", "Failed"])
def test_nobody_speaks_the_protocol_of_processes_that_have_ended(tmp_path, phase):
    folder, record = StateFolder(tmp_path), a_record()
    folder.write_environment(record)
    report = a_report(record, phase)
    earlier = msgspec.structs.replace(report.state, protocol=PROTOCOL)
    folder.write_report(record.name, msgspec.structs.replace(report, state=earlier))

    state = standing.standing(folder, record)

    assert (state.phase, state.protocol) == (phase, 0)
