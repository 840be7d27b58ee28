"""What a ``postgresql://`` URL says. It knows no driver, reads no file and no environment.

Options are libpq's. What the driver knows is left to it, what is ours is taken out, what makes no difference here is dropped, and
what would make one that we cannot keep is refused. All others are settings of the session, as the server knows them.
"""

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from stepwell.errors import ValidationError
from stepwell.store.postgres_capabilities import Capabilities, from_options

Prepared = Literal["auto", "on", "off"]
_PREPARED: Final[dict[str, Prepared]] = {"auto": "auto", "on": "on", "off": "off"}

_SECRETS: Final = {"password", "sslpassword"}
_OF_DRIVER: Final = {
    "user", "password", "passfile", "dbname", "database", "host", "port", "service", "sslmode", "sslcert", "sslkey",
    "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib",
}  # fmt: skip
_WITHOUT_EFFECT: Final = {
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslcompression",
    "fallback_application_name", "sslkeylogfile",
}  # fmt: skip
"""Nodes notice by themselves when a wire is dead, and at once when they need it."""

_ONLY_SO: Final = {
    "channel_binding": {"disable", "prefer"}, "gssencmode": {"disable", "prefer"}, "sslsni": {"1"}, "gssdelegation": {"0"},
    "load_balance_hosts": {"disable"}, "sslcertmode": {"allow"}, "client_encoding": {"utf8", "UTF8", "utf-8", "auto"},
}  # fmt: skip
_UNKNOWN: Final = {
    "hostaddr", "require_auth", "requirepeer", "requiressl", "sslcrldir", "replication", "min_protocol_version",
    "max_protocol_version", "scram_client_key", "scram_server_key", "servicefile", "oauth_issuer", "oauth_client_id",
    "oauth_client_secret", "oauth_scope",
}  # fmt: skip
_SETTING: Final = re.compile(r"\s*(?:-c\s*|--)([\w.-]+)=((?:\\.|[^\s\\])*)\s*")
_NAME: Final = re.compile(r"[A-Za-z_][\w.]*")


class Address(NamedTuple):
    """Where a database is, and how it is to be spoken to."""

    dsns: tuple[str, ...]
    """As the driver takes it; one for each host, in the order in which they are tried."""
    name: str
    """For people: without passwords."""
    settings: dict[str, str]
    """Settings of each session."""
    application_name: str
    connect_timeout_s: float | None
    """How long one host may take to answer. None: as long as there is time."""
    prepared: Prepared
    """Whether statements may be kept prepared under names. "auto": if no pooler stands in between."""
    trusts_system: bool
    """Whether the server's certificate is checked by what this machine trusts (``sslrootcert=system``)."""
    has: Capabilities
    """What the database can do, as far as the address says."""


def parse_address(url: str) -> Address:
    """Read a ``postgresql://`` URL.

    Raises:
        ValidationError: It is none, or has an option that cannot be kept. ``field`` is ``url``.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port if "," not in parts.netloc and "%2F" not in parts.netloc.upper() else None
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ValidationError(f"url is no address of PostgreSQL: {error}", field="url") from None
    if "\0" in unquote(url) or parts.fragment:
        raise _refused("# and NUL have no meaning: write %23 for # in a password")
    user, _, place = parts.netloc.rpartition("@")
    shown_user = user.partition(":")[0]
    shown = urlencode([(key, value) for key, value in given.items() if key not in _SECRETS], quote_via=quote, safe="/:,")
    name = f"postgresql://{shown_user}{shown_user and '@'}{place}{parts.path}{shown and '?'}{shown}"

    has = from_options(given)
    prepared = _PREPARED.get(given.pop("prepared", "auto"))
    if prepared is None:
        raise _refused("prepared must be auto, on or off")
    timeout = given.pop("connect_timeout", "0")
    if not timeout.isdecimal():
        raise _refused(f"connect_timeout must be a whole number of seconds, not {timeout!r}")
    trusts_system = given.get("sslrootcert") == "system"
    if trusts_system and given.get("sslmode", "verify-full") != "verify-full":
        raise _refused("sslrootcert=system needs sslmode=verify-full")
    application_name = given.pop("application_name", "") or given.get("fallback_application_name", "") or "stepwell"
    settings = _settings(given)
    if trusts_system:
        del given["sslrootcert"]
        given.pop("sslmode", None)
    given = {key: value for key, value in given.items() if key in _OF_DRIVER}
    return Address(
        _dsns(user, place, parts.path, given), name, settings, application_name, int(timeout) or None,
        prepared, trusts_system, has,
    )  # fmt: skip


def _settings(given: dict[str, str]) -> dict[str, str]:
    """Return what is said to the server, and refuse what neither it nor we would keep."""
    settings: dict[str, str] = {}
    for key, value in given.items():
        if key in _OF_DRIVER or key in _WITHOUT_EFFECT:
            continue
        if key in _UNKNOWN or (key in _ONLY_SO and value not in _ONLY_SO[key]):
            raise _refused(f"{key}={value} is not supported by the driver" if key in _ONLY_SO else f"{key} is not supported")
        if key == "options":
            settings |= _of_options(value)
        elif key not in _ONLY_SO:
            settings[key] = value
    strange = [key for key in settings if not _NAME.fullmatch(key)]
    if strange:
        raise _refused(f"there is no option {strange[0]!r}")
    return settings


def _of_options(text: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _SETTING.match(text, at)
        if found is None:
            raise _refused(f"options must be like '-c name=value --name=value', not {text!r}")
        settings[found.group(1).replace("-", "_")] = re.sub(r"\\(.)", r"\1", found.group(2))
        at = found.end()
    return settings


def _dsns(user: str, place: str, path: str, given: dict[str, str]) -> tuple[str, ...]:
    """Return one for each host: the driver would give all of them together the time of one."""
    hosts, ports = place.split(","), given.get("port", "").split(",")
    is_option = not place and "host" in given
    if is_option:
        hosts = given["host"].split(",")
    if len(ports) not in (1, len(hosts)):
        raise _refused(f"there are {len(hosts)} hosts, and {len(ports)} ports")
    result: list[str] = []
    for number, host in enumerate(hosts):
        options = dict(given)
        if ports != [""]:
            options["port"] = ports[number if len(ports) > 1 else 0]
        if is_option:
            options["host"] = host
        text = urlencode(options, quote_via=quote)
        result.append(f"postgresql://{user}{user and '@'}{'' if is_option else host}{path}{text and '?'}{text}")
    return tuple(result)


def _refused(why: str) -> ValidationError:
    return ValidationError(f"url is no address of PostgreSQL: {why}", field="url")


_LOCAL: Final = {"localhost", "127.0.0.1", "::1"}


def is_exposed(host: str | None, sslmode: str) -> bool:
    """Tell whether somebody on the way to a host could read along or take its place. None is a socket of this machine."""
    is_local = host is None or host in _LOCAL or host.startswith("127.")
    return not is_local and sslmode != "verify-full"
