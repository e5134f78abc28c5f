"""Addresses of database servers, as the configuration, the environment and the command line give them: one check, made
before anything keeps, prints or uses one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from components.common.errors import ConfigError

POSTGRESQL, MYSQL, MARIADB, GRPC = "postgresql", "mysql", "mariadb", "grpc"
MODE, AUTHORITY, CERTIFICATE, KEY = "sslmode", "sslrootcert", "sslcert", "sslkey"
TLS = (MODE, AUTHORITY, CERTIFICATE, KEY)
_MODES = {POSTGRESQL: ("disable", "prefer", "require", "verify-ca", "verify-full")}
_MODES[MYSQL] = _MODES[MARIADB] = ("disable", "require", "verify-full")
_NO_DATABASE = (GRPC,)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What an address may be.

    subject: begins the sentence that refuses one, such as "a ledger". schemes: those that are taken. user: who may be
    in it; where nobody may, the variable of the environment that has the user. password: the variable that has the
    password. limits: schemes whose client can do less of TLS: the values of sslmode that are left, and why. file:
    whether the path of a file may stand in its place.
    """

    subject: str
    schemes: Sequence[str]
    password: str
    user: str = ""
    limits: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    file: bool = True

    @property
    def forms(self) -> str:
        """In a sentence."""
        return f"{'a file or ' if self.file else ''}one of {', '.join(f'{scheme}://' for scheme in self.schemes)}"


METADATA_USER, METADATA_PASSWORD = "LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"
LEDGER_PASSWORD = "LOCKGATE_LEDGER_PASSWORD"
METADATA = Taken(
    subject="MLMD's place",
    schemes=(POSTGRESQL, MYSQL, GRPC),
    user=METADATA_USER,
    password=METADATA_PASSWORD,
    limits={
        POSTGRESQL: ((), "MLMD's client for PostgreSQL is built without TLS: encrypt below it, see docs/metadata.md"),
        MYSQL: (("disable", "require"), "MLMD's client for MySQL encrypts and cannot check who the server is"),
    },
)
LEDGER = Taken(subject="a ledger", schemes=(POSTGRESQL, MYSQL, MARIADB), password=LEDGER_PASSWORD)


@dataclass(frozen=True, kw_only=True)
class ServerUrl:
    """An address. user: empty if it has none. port: None for the scheme's own. tls: of `TLS`, what it says."""

    scheme: str
    host: str
    port: int | None
    database: str
    user: str
    tls: dict[str, str] = field(hash=False)


def server_url(text: str, taken: Taken) -> ServerUrl:
    """Takes an address apart.

    Args:
        text: `postgresql://[user@]host[:port]/database[?sslmode=verify-full&sslrootcert=/file]`, `mysql://…`,
            `mariadb://…`, or `grpc://host[:port]`.
        taken: which of them.

    Raises:
        ConfigError: it is none, holds a password, or holds something that nothing would use. The message quotes nothing
            but the scheme: what stands at the wrong place may be a secret.
    """
    scheme = text.partition("://")[0] if "://" in text else ""

    def refuse(must: str) -> ConfigError:
        shown = f"{scheme}://…" if scheme in taken.schemes or scheme.isalpha() else "something else"
        return ConfigError(f"{taken.subject} must {must}. Received: {shown}")

    if scheme not in taken.schemes:
        raise refuse(f"be {taken.forms}")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise refuse("have a host and a port from 1 to 65535, an IPv6 address in brackets") from None
    if url.password is not None:
        raise refuse(f"hold no password, which would be kept in the lineage: {taken.password} has it")
    if taken.user and url.username is not None:
        raise refuse(f"hold no user: {taken.user} has it")
    database = _database(url)
    if not url.hostname or port == 0 or "@" in url.hostname or database is None or url.fragment:
        example = "host:port" if scheme in _NO_DATABASE else "host:port/database"
        raise refuse(f"be {scheme}://{example}, each part of its own kind")
    return ServerUrl(
        scheme=scheme,
        host=url.hostname,
        port=port,
        database=database,
        user=unquote(url.username or ""),
        tls=_tls(url, taken, refuse),
    )


def _database(url: SplitResult) -> str | None:
    """The database's name, None where there is none or should be none."""
    name = unquote(url.path.removeprefix("/"))
    if url.scheme in _NO_DATABASE:
        return None if name else ""
    return name if name and not set(name) & set("/@:\0") else None


def _tls(url: SplitResult, taken: Taken, refuse) -> dict[str, str]:
    pairs = parse_qsl(url.query, keep_blank_values=True)
    options = dict(pairs)
    modes, reason = taken.limits.get(url.scheme, (_MODES.get(url.scheme, ()), ""))
    why = f". {reason}" if reason else ""
    if options and not modes:
        raise refuse(f"have no options{why}")
    if len(options) < len(pairs) or set(options) - set(TLS):
        raise refuse(f"have no options but {', '.join(TLS)}, each once; no option may hold a secret")
    if options and options.get(MODE) not in modes:
        raise refuse(f"say sslmode, as one of {', '.join(modes)}{why}")
    if url.scheme in (MYSQL, MARIADB) and (options.get(MODE) == "verify-full") != (AUTHORITY in options):
        raise refuse(f"name the authority's file in {AUTHORITY} if sslmode is verify-full, and else not")
    if any(not options[name].startswith("/") for name in TLS[1:] if name in options):
        raise refuse(f"have absolute paths in {', '.join(TLS[1:])}")
    return options
