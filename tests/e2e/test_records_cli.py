"""Records in and out by the command line."""

from pathlib import Path

import pytest

from stepwell import Client
from tests.e2e.commands import Shell

TABLE = 'id,name,n,zip,tags,ok\na,Ada,5,007,"[1, 2]",true\nb,Bob,,12345x,,\n'
ADA = {"id": "a", "name": "Ada", "n": 5, "zip": "007", "tags": [1, 2], "ok": True}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "people.csv").write_text(TABLE)
    return Shell(tmp_path)


def test_what_is_imported_exported_and_imported_again_is_the_same(shell: Shell, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'app.db'}"
    assert shell.run("records", "import", "people", "people.csv", "--store", url, "--json").json["records"] == 2
    for file in ("out.csv", "out.jsonl"):
        assert shell.run("records", "export", "people", file, "--sort=-id", "--store", url).code == 0
        assert shell.run("records", "import", f"again-{file}", file, "--store", url).code == 0
    shown = shell.run("records", "export", "people", "--filter", "n = 5", "--fields", "id,tags", "--store", url)
    assert shown.lines == [{"id": "a", "tags": [1, 2]}]
    refused = shell.run("records", "import", "people", "people.csv", "--create", "--store", url)
    assert (refused.code, "has a record 'a' already" in refused.err) == (1, True)
    with Client(url) as client:
        for name in ("people", "again-out.csv", "again-out.jsonl"):
            ada, bob = client.collection(name).get_full_list()
            assert {key: value for key, value in ada.items() if key not in {"created", "updated"}} == ADA
            assert set(bob) == {"id", "name", "zip", "created", "updated"}
