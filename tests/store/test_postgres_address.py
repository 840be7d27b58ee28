"""Addresses of PostgreSQL: TLS and the other options of libpq, on a server that insists on them."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from stepwell.clock import Clock
from stepwell.errors import UnavailableError, ValidationError
from stepwell.settings import Settings
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_address import is_exposed, parse_address
from tests import postgres
from tests.proxy import Proxy

_PASSWORD = "p@ss/wörd #1%?&:"


async def answer(url: str, asked: str = "SELECT 1") -> object:
    """Open a store, ask its database something, close it."""
    store = PostgresStore(url, clock=Clock(), settings=Settings(patience_ms=5_000))
    await store.open()
    try:
        async with store._pool.lend() as wire:
            return await wire.fetchval(asked)
    finally:
        await store.close()


class Strict(NamedTuple):
    """A server that takes nobody but over TLS, and only with a password or a certificate."""

    port: int
    folder: Path
    """``ca.crt``; ``client.crt`` and ``client.key`` for the user ``certified``; ``stranger.crt``, a CA that nobody trusts."""


def _certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    for name in ("ca", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.crt", "-addext", "keyUsage=keyCertSign,cRLSign")  # fmt: skip
    for name, subject, names in (("server", "server", "subjectAltName=DNS:localhost"), ("client", "certified", "")):
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr"
        )
        (folder / "names").write_text(names)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "names", "-out", f"{name}.crt")  # fmt: skip


@pytest.fixture(autouse=True)
async def _the_driver_has_hung_up() -> AsyncIterator[None]:
    """Wait for the ends of connections: where TLS refuses somebody, the driver takes leave of the server in the background."""
    yield
    loop: Any = asyncio.get_running_loop()
    while len(loop._selector.get_map()) > 1:  # its own pipe
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Strict:
    if shutil.which("openssl") is None or (binaries := postgres.of_debian()) is None:
        pytest.skip("NOT TESTED: TLS needs openssl and Debian's PostgreSQL (scripts/system-packages postgres)")
    made = tmp_path_factory.mktemp("certificates")
    _certificates(made)
    dsn = postgres.start({"unix_socket_directories": "/tmp", "password_encryption": "scram-sha-256"}, binaries=binaries)
    ((data,),) = postgres.sql(dsn, "SHOW data_directory")
    home = Path(str(data))
    for name in ("server.crt", "server.key", "ca.crt"):
        shutil.copy(made / name, home / name)
        shutil.chown(home / name, home.owner())
    (home / "server.key").chmod(0o600)
    quoted = _PASSWORD.replace("'", "''")
    postgres.sql(dsn, f"CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{quoted}'")
    postgres.sql(dsn, "CREATE ROLE certified LOGIN SUPERUSER")
    for setting in ("ssl_ca_file = 'ca.crt'", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl = on"):
        postgres.sql(dsn, f"ALTER SYSTEM SET {setting}")
    (home / "pg_hba.conf").write_text(
        "local all all trust\nhostssl all certified 127.0.0.1/32 cert\nhostssl all keeper 127.0.0.1/32 scram-sha-256\n"
        "hostnossl all all 127.0.0.1/32 reject\n"
    )
    postgres.sql(dsn, "SELECT pg_reload_conf()")
    return Strict(int(dsn.rpartition(":")[2].partition("/")[0]), made)


_IS_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def _of_keeper(strict: Strict, options: str, host: str = "localhost") -> str:
    return f"postgresql://keeper:{quote(_PASSWORD, safe='')}@{host}:{strict.port}/postgres?{options}"


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("localhost", ""), ("localhost", "sslmode=prefer"), ("localhost", "sslmode=require"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={ca}"), ("localhost", "sslmode=verify-full&sslrootcert={ca}"),
        ("localhost", "sslmode=allow"), ("localhost", "sslmode=require&ssl_min_protocol_version=TLSv1.3"),
        ("localhost", "sslmode=require&channel_binding=prefer&keepalives=1&gssencmode=prefer&connect_timeout=4"),
    ],
)  # fmt: skip
async def test_a_connection_that_is_as_safe_as_was_asked_is_used(strict: Strict, host: str, options: str):
    url = _of_keeper(strict, options.format(ca=strict.folder / "ca.crt"), host)
    assert await answer(url, _IS_TLS) is True


@pytest.mark.parametrize(
    ("host", "options", "why"),
    [
        ("localhost", "sslmode=disable", "no encryption|reject"),
        ("localhost", "sslmode=verify-full&sslrootcert={stranger}", "TLS failed"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={ca}", "TLS failed"),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere/root.crt", "No such file|not exist"),
        ("localhost", "sslrootcert=system", "TLS failed"),
        ("localhost", "sslmode=sometimes", "sslmode"),
        ("localhost", "sslmod=require", "sslmod"),
    ],
)
async def test_a_connection_that_is_less_safe_than_was_asked_is_refused_without_a_word_of_the_password(
    strict: Strict, host: str, options: str, why: str
):
    url = _of_keeper(strict, options.format(ca=strict.folder / "ca.crt", stranger=strict.folder / "stranger.crt"), host)
    with pytest.raises(UnavailableError, match=why) as raised:
        await answer(url)
    assert "p@ss" not in str(raised.value)
    assert quote(_PASSWORD, safe="") not in str(raised.value)


async def test_a_client_shows_its_certificate(strict: Strict):
    files = f"sslcert={strict.folder / 'client.crt'}&sslkey={strict.folder / 'client.key'}"
    url = f"postgresql://certified@localhost:{strict.port}/postgres?sslmode=verify-full&sslrootcert={strict.folder / 'ca.crt'}"
    assert await answer(f"{url}&{files}", "SELECT current_user::text") == "certified"
    with pytest.raises(UnavailableError, match="certificate"):
        await answer(url)


async def test_a_wrong_password_is_told_and_not_shown(strict: Strict):
    with pytest.raises(UnavailableError, match="password") as raised:
        await answer(f"postgresql://keeper:hunter2@localhost:{strict.port}/postgres")
    assert "hunter2" not in str(raised.value)


async def test_passwords_come_from_files_services_and_the_environment(
    strict: Strict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = f"postgresql://keeper@localhost:{strict.port}/postgres"
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"localhost:{strict.port}:*:keeper:{_PASSWORD}\n")
    passwords.chmod(0o600)
    assert await answer(f"{plain}?passfile={passwords}", "SELECT current_user::text") == "keeper"
    services = tmp_path / "services"
    services.write_text(f"[kept]\nhost=localhost\nport={strict.port}\nuser=keeper\ndbname=postgres\npassfile={passwords}\n")
    with monkeypatch.context() as patched:
        patched.setenv("PGSERVICEFILE", str(services))
        assert await answer("postgresql://?service=kept", "SELECT current_user::text") == "keeper"
    for name, value in {"PGHOST": "localhost", "PGPORT": strict.port, "PGUSER": "keeper", "PGDATABASE": "postgres",
                        "PGPASSWORD": _PASSWORD, "PGSSLMODE": "require"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    assert await answer("postgresql://", _IS_TLS) is True


@pytest.mark.parametrize(
    "form", ["postgresql://postgres@%2Ftmp:{port}/postgres", "postgresql:///postgres?host=/tmp&port={port}&user=postgres"]
)
async def test_a_socket_of_this_machine_is_an_address(strict: Strict, form: str):
    url = form.format(port=strict.port)
    assert await answer(url, "SELECT inet_client_addr() IS NULL") is True


async def test_sessions_are_named_and_set_as_the_address_says(postgres_url: str):
    named = "SELECT current_setting('application_name')"
    assert await answer(postgres_url, named) == "stepwell"
    assert await answer(f"{postgres_url}&application_name=shop", named) == "shop"
    assert await answer(f"{postgres_url}&fallback_application_name=app", named) == "app"
    options = quote(r"-c work_mem=1MB --datestyle=German,\ DMY")
    assert await answer(f"{postgres_url}&options={options}", "SHOW datestyle") == "German, DMY"


async def test_a_host_that_says_nothing_leaves_time_for_the_next(postgres_url: str, postgres_dsn: str):
    port = postgres_dsn.rpartition(":")[2].partition("/")[0]
    async with Proxy("127.0.0.1", int(port)) as proxy:
        proxy.silence()
        hosts = f"127.0.0.1:{proxy.port},127.0.0.1:1,127.0.0.1:{port}"
        url = postgres_url.replace(f"127.0.0.1:{port}", hosts)
        assert await answer(f"{url}&target_session_attrs=read-write&connect_timeout=1") == 1
        apart = postgres_url.replace(f"@127.0.0.1:{port}", "@") + f"&host=127.0.0.1,127.0.0.1&port={proxy.port},{port}"
        assert await answer(f"{apart}&connect_timeout=1") == 1


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("channel_binding=require", "channel_binding"), ("require_auth=scram-sha-256", "require_auth"),
        ("hostaddr=::1", "hostaddr"),
        ("gssencmode=require", "gssencmode"), ("client_encoding=latin1", "client_encoding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("options=--help", "options"), ("a%20b=c", "a b"), ("sslrootcert=system&sslmode=require", "verify-full"),
        ("host=a,b&port=1,2,3", "2 hosts"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_kept_is_refused_by_name(option: str, word: str):
    with pytest.raises(ValidationError, match=word):
        parse_address(f"postgresql:///d?{option}")


@pytest.mark.parametrize(
    ("host", "sslmode", "expected"),
    [
        ("db.example.com", "require", True), ("db.example.com", "verify-ca", True), ("10.0.0.1", "prefer", True),
        ("db.example.com", "verify-full", False), ("localhost", "disable", False), ("127.0.0.1", "prefer", False),
        ("::1", "disable", False), (None, "disable", False),
    ],
)  # fmt: skip
def test_tls_is_warned_of_where_somebody_could_stand_between(host: str | None, sslmode: str, expected: bool):
    # S5
    assert is_exposed(host, sslmode) is expected
