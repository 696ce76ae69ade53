"""How an environment of this machine is seen to stand while its supervisor ends."""

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
