"""A look at a store of another schema, which must not change it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell import AsyncClient
from stepwell.cli.options import Common
from stepwell.cli.stores import refuse_other_schema
from stepwell.connect import find_schema
from stepwell.errors import ConflictError, CorruptStoreError, UnavailableError
from stepwell.store import migrate, postgres_migrate


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def of_code(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let this code know one migration more, or one less, than the store has seen."""
    for module in (migrate, postgres_migrate):
        known: list[Any] = list(module.MIGRATIONS)
        newest = known[-1][0]
        changed = [*known, (newest + 1, "more", [])] if step > 0 else [(newest - 1, *known[-1][1:])]
        monkeypatch.setattr(module, "MIGRATIONS", changed)


async def test_an_older_store_is_told_with_what_to_do_and_stays_as_it_is(url: str, monkeypatch: pytest.MonkeyPatch):
    assert await find_schema(url) is None
    async with AsyncClient(url):
        pass
    seen = await find_schema(url)
    assert seen is not None
    assert seen.number == seen.newest
    await refuse_other_schema(Common(store=url))
    of_code(monkeypatch, 1)
    for _ in range(2):
        with pytest.raises(ConflictError, match=r"older stepwell.*run `stepwell db migrate`"):
            await refuse_other_schema(Common(store=url))


async def test_a_newer_store_is_told(url: str, monkeypatch: pytest.MonkeyPatch):
    async with AsyncClient(url):
        pass
    of_code(monkeypatch, -1)
    with pytest.raises(CorruptStoreError, match=r"newer stepwell.*upgrade"):
        await find_schema(url)


async def test_what_is_no_store_is_told(tmp_path: Path):
    text = tmp_path / "text.db"
    await asyncio.to_thread(text.write_text, "no database " * 100)
    with pytest.raises(CorruptStoreError, match="not a SQLite database"):
        await find_schema(f"sqlite:///{text}")
    with pytest.raises(UnavailableError):
        await find_schema("postgresql://127.0.0.1:9/db")
    assert await find_schema("http://127.0.0.1:9") is None
    assert await find_schema(f"sqlite:///{tmp_path}/none.db") is None
