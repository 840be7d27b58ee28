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


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.csv", b"id,n\na,1\nb,2,3\n", "line 3 has 3 cells, and line 1 names 2 columns"),
        ("a.csv", b'id,n\na,1\nb,"2\n', "line 3 is no row of a table"),
        ("a.csv", b"id,n,id\na,1,b\n", "line 1 names two columns 'id'"),
        ("a.csv", b"id,n\na,\xff\n", "is not UTF-8"),
        ("a.csv", b"id,n\na,1\nb/c,2\n", "data/1/id"),
        ("a.jsonl", b'{"id":"a"}\n{"id":\n', "line 2"),
        ("a.jsonl", b'{"id":"a"}\n[1]\n', "data/1"),
        ("a.jsonl", b'{"id":"a"}\n{"id":"b","id":"c"}\n', "line 2"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_nothing_of_its_part_is_written(
    shell: Shell, tmp_path: Path, file: str, content: bytes, said: str
):  # fmt: skip
    url = f"sqlite:///{tmp_path / 'app.db'}"
    (tmp_path / file).write_bytes(content)
    refused = shell.run("records", "import", "c", file, "--store", url)
    assert (refused.code, said in refused.err, "Traceback" in refused.err) == (2, True, False), refused.err
    with Client(url) as client:
        assert client.collection("c").count() == 0


def test_a_table_may_begin_with_a_byte_order_mark_and_have_long_cells(shell: Shell, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'app.db'}"
    (tmp_path / "a.csv").write_text(f"\ufeffid,text\na,{'x' * 200_000}\n\nb\n", encoding="utf-8")
    assert shell.run("records", "import", "c", "a.csv", "--store", url).code == 0
    with Client(url) as client:
        one, other = client.collection("c").get_full_list()
        assert (one["id"], len(one["text"]), other["id"]) == ("a", 200_000, "b")


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
