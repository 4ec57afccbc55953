"""The journal in a PostgreSQL database, for which several processes measure at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.errors import MissingExtra, StoreError, format_error
from .base import Bad, BadEntry, Entries, TextStore, body_text
from .members import Presence, give_up, has_ended, new_name
from .recent import Recent, Row

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

FORMAT = 1
"""Of the tables."""

PART = 2000
"""Entries that are read at a time."""

TRIES = 3
"""How often what is added is decided while others may add; then nobody else may meanwhile."""

SEEN_S = 0.5
"""Seconds for which who was seen to be a member counts as one."""

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds before each further try, where the connection is lost."""

FIRST_PAUSES = (0.5, 1.0, 2.0)
"""The same before there was one: the server may be starting, or the address be wrong."""

CONNECTION = {
    "connect_timeout": "10", "application_name": "netwright",
    "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000",
}  # fmt: skip
"""What a connection is made with where the connection string says nothing else: one to a machine that is gone is given
up."""

STUCK = "60s"
"""How long a process that stands still may keep others from adding entries."""

TABLES = """
CREATE TABLE netwright_study (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    format integer NOT NULL,
    entries bigint NOT NULL DEFAULT 0);
CREATE TABLE netwright_journal (
    study integer NOT NULL REFERENCES netwright_study,
    seq bigint NOT NULL,
    kind text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (study, seq));
CREATE TABLE netwright_member (
    study integer NOT NULL REFERENCES netwright_study,
    name text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (study, name));
"""
"""Entries are numbered 1, 2, 3, ... in the order in which they are committed, since whoever adds some changes the
study's row with them. Members are there until a time of the server's clock, which they put off while they live."""

LOCK = 0x6E777267  # "nwrg": nobody else makes the tables meanwhile

STUDY = "SELECT id, format FROM netwright_study WHERE name = %s"
READ = "SELECT seq, kind, body FROM netwright_journal WHERE study = %s AND seq > %s ORDER BY seq LIMIT %s"
KEEP = "SELECT 1 FROM netwright_study WHERE id = %s FOR UPDATE"
ADD = """
WITH kept AS (
    UPDATE netwright_study SET entries = entries + %(new)s::bigint
    WHERE id = %(study)s AND entries = coalesce(%(last)s::bigint, entries)
    RETURNING entries - %(new)s::bigint AS last),
added AS (
    INSERT INTO netwright_journal (study, seq, kind, body)
    SELECT %(study)s, last + i, kind, body
    FROM kept, unnest(%(kinds)b::text[], %(bodies)b::text[]) WITH ORDINALITY AS new (kind, body, i))
(SELECT last, NULL, NULL FROM kept)
UNION ALL
(SELECT seq, kind, body FROM netwright_journal
WHERE study = %(study)s AND seq > %(last)s::bigint AND NOT EXISTS (SELECT 1 FROM kept) ORDER BY seq LIMIT %(part)s)
"""
"""Adds entries in one step, where the last before them is the one that is known, and says which that was; where it is
another, gives what follows the known one, but for what was added while this waited."""
MEMBERS = "SELECT name FROM netwright_member WHERE study = %s AND until > clock_timestamp()"
STAY = (
    "INSERT INTO netwright_member (study, name, until) VALUES (%(study)s, %(name)s, "
    "clock_timestamp() + make_interval(secs => %(lease)s)) "
    "ON CONFLICT (study, name) DO UPDATE SET until = excluded.until"
)
LEAVE = "DELETE FROM netwright_member WHERE study = %s AND (name = %s OR until < clock_timestamp() - interval '1 day')"

FIXES = {
    "42501": "the role may not do this: let it create tables and use those named netwright_...",
    "25006": "nothing may be written there: give the address of the primary server",
    "53100": "its disk is full: free some space and run this again",
    "3D000": "make the database with createdb, or give another",
    "28P01": "give the right password by PGPASSWORD or ~/.pgpass",
    "28000": "see that pg_hba.conf lets you in",
}
"""What to do, by SQLSTATE."""

REACH = "see that the server runs and lets you in, and run this again"


class ConnectionString(str):
    """A connection string of libpq's, without a password: what is written in recipes is kept in many places."""

    def __new__(cls, text: str) -> ConnectionString:
        netloc = text.partition("://")[2].partition("/")[0].partition("?")[0]
        if re.search(r"password\s*=", text, re.IGNORECASE) or ":" in netloc.rpartition("@")[0]:
            raise StoreError(
                "store: a password in a connection string would be written to recipes and reports: leave it out, and "
                "give it by the variable PGPASSWORD, by ~/.pgpass or by a service"
            )
        return super().__new__(cls, text)


class PostgresqlStore(TextStore):
    """A journal in a PostgreSQL database (``netwright[postgresql]``), for which any number of processes and machines
    measure at once. Each claims what it evaluates; what one that is gone had claimed is taken up by another.

    What is added is committed before the call returns. A connection that is lost is made again, for half a minute.

    Args:
        study: its name; one database holds many.
        dsn: a connection string of libpq's without a password, such as ``postgresql://me@host/database`` or
            ``host=... dbname=...``; what it leaves out is taken from the environment (``PGHOST``, ``PGSERVICE``, ...),
            the password from ``PGPASSWORD`` or ``~/.pgpass``.
        lease: seconds after which a process that has not been heard of is taken to be gone.
        must_exist: refuse a study that is not there.

    Raises :class:`StoreError` where the study cannot be reached, and :class:`MissingExtra` without psycopg.
    """

    shared = True

    def __init__(self, study: str, dsn: ConnectionString | str = "", lease: float = 30.0, *, must_exist: bool = False):
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "postgresql", "a study in PostgreSQL") from None
        if not study or "\0" in study or not lease > 0:
            raise StoreError("store: postgresql takes a name, study=night, and a lease in seconds, such as lease=30")
        self.study, self.dsn, self.lease = study, ConnectionString(dsn), float(lease)
        self._psycopg, self._lock, self._inside, self._where = psycopg, RLock(), False, ""
        self._connection: psycopg.Connection[Any] | None = None
        self._deciding, self._recent = False, Recent()
        self._seen: tuple[frozenset[str], float] = frozenset(), 0.0
        self._pauses: tuple[float, ...] = FIRST_PAUSES
        self._settings = self._read_settings()
        self._id = self._do(lambda connection: self._found(connection, must_exist))
        self._pauses = PAUSES

    @property
    def place(self) -> str:
        """Which study, and in which database."""
        return f"the study {self.study} in PostgreSQL ({self._where or self.dsn or 'PGHOST'})"

    def append(self, kind: str, body: Mapping[str, Any]) -> None:
        self.append_all([(kind, body)])

    def append_all(self, entries: Entries) -> None:
        if (texts := _texts(entries)) and not self._put(texts, None):
            raise self._gone()

    def add(self, decide: Callable[[], Entries]) -> None:
        # Decided by what this process knows, in the hope that it is all there is: the step in which entries are added
        # fails where it is not, and what is new is read and decided by. Mostly that is one question to the server.
        with self._lock:
            for _ in range(TRIES):
                self._deciding, last = True, self._recent.last
                try:
                    new = _texts(decide())
                finally:
                    self._deciding = False
                if new and self._put(new, last):
                    return
                if self._recent.last == last and not self._read(last) and not new:
                    return
            self._recent.note(*self._do(lambda connection: self._add_alone(connection, decide)))

    def _add_alone(
        self, connection: psycopg.Connection[Any], decide: Callable[[], Entries]
    ) -> tuple[int, Sequence[Row]]:
        """The same while others wait; gives what :meth:`Recent.note` takes."""
        with connection.transaction():
            if connection.execute(KEEP, (self._id,)).fetchone() is None:
                raise self._gone()
            new = _texts(decide())
            return self._put_with(connection, new, None)[1:] if new else (0, [])

    def _put(self, new: Sequence[tuple[str, str]], last: int | None) -> bool:
        """Add entries; whether it was done, which it is not where the last before them is another than this."""
        with self._lock:
            done, since, rows = self._do(lambda connection: self._put_with(connection, new, last))
            self._recent.note(since, rows)
        return done

    def _put_with(
        self, connection: psycopg.Connection[Any], new: Sequence[tuple[str, str]], last: int | None
    ) -> tuple[bool, int, Sequence[Row]]:
        kinds, bodies = zip(*new, strict=True)
        about = {"study": self._id, "new": len(new), "last": last, "kinds": [*kinds], "bodies": [*bodies], "part": PART}
        rows = connection.execute(ADD, about).fetchall()
        if rows and rows[0][1] is None:
            first = rows[0][0]
            return True, first, [(first + i, *each) for i, each in enumerate(new, 1)]
        return False, last or 0, rows

    def numbered(self, since: int = 0, bad: Bad | None = None) -> Iterator[tuple[int, str, str]]:
        """The entries as texts."""
        told = bad or self.refuse
        while True:
            with self._lock:
                known = self._recent.after(since) if self._deciding else None
                rows = self._read(since) if known is None else known
            for number, kind, body in rows:
                if number > since + 1:
                    told(BadEntry(since + 1, "nothing is there", number - 1))
                since = number
                yield number, kind, body
            if len(rows) < PART:
                return

    def added(self, since: int) -> Iterator[tuple[int, str, str]]:
        with self._lock:
            rows = self._recent.after(since)
        return self.numbered(since) if rows is None else iter(rows)

    def _read(self, since: int) -> list[Row]:
        """The entries that follow so many, or the first of them."""
        rows = self._rows(READ, self._id, since, PART)
        self._recent.note(since, rows)
        return rows

    @contextmanager
    def held(self) -> Iterator[None]:
        if self.member:
            raise StoreError(f"{self.place} is being searched with by this process already; wait until it is done")
        name = new_name()
        about = {"study": self._id, "name": name, "lease": self.lease}
        self._do(lambda connection: connection.execute(STAY, about))
        self.member = name
        try:
            with Presence(self.lease, self._connect, STAY, about):
                yield
        finally:
            self.member = ""
            give_up(name)
            pauses, self._pauses = self._pauses, ()
            with suppress(StoreError):  # the lease ends by itself
                self._do(lambda connection: connection.execute(LEAVE, (self._id, name)))
            self._pauses = pauses

    def members(self) -> frozenset[str]:
        found = frozenset(name for (name,) in self._rows(MEMBERS, self._id) if not has_ended(name))
        self._seen = found, time.monotonic()
        return found

    def present(self, names: Set[str]) -> Set[str]:
        seen, when = self._seen
        recent = names <= seen and time.monotonic() - when < SEEN_S
        return names & (seen if recent else self.members())

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._do(lambda connection: connection.execute(sql, values).fetchall())

    def _do(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What comes of work with a connection, which is done once more where that is lost, but for work within
        other."""
        with self._lock:
            if self._inside:
                assert self._connection is not None
                return work(self._connection)
            for pause in (*self._pauses, None):
                try:
                    if self._connection is None:
                        self._connection = self._connect()
                    self._inside = True
                    return work(self._connection)
                except self._psycopg.Error as error:
                    if pause is None or not self._is_lost(error):
                        raise self._error(error) from None
                finally:
                    self._inside = False
                self._close()
                time.sleep(pause)
            raise AssertionError

    def _is_lost(self, error: psycopg.Error) -> bool:
        """Whether it is the connection that failed: also of a server that is shut down, or starts."""
        if self._connection is None:
            return _fix(error) == REACH
        return bool(self._connection.closed or (error.sqlstate or "").startswith(("08", "57P")))

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self._psycopg.connect(**self._settings, autocommit=True)
        self._where = f"{connection.info.host or 'local'}, {connection.info.dbname}"
        connection.isolation_level = self._psycopg.IsolationLevel.READ_COMMITTED
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (STUCK,))
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(self._psycopg.Error):
                self._connection.close()
        self._connection = None

    def _read_settings(self) -> dict[str, Any]:
        """The parts of the connection string."""
        try:
            found = self._psycopg.conninfo.conninfo_to_dict(self.dsn)
        except self._psycopg.Error:  # what it says may quote anything
            raise StoreError(
                "store: dsn is no connection string of libpq's: write postgresql://user@host/database, or "
                "host=... dbname=... with spaces between"
            ) from None
        ConnectionString("".join(f"{key}=" for key in found))
        return {**CONNECTION, "client_encoding": "UTF8", **found}

    def _found(self, connection: psycopg.Connection[Any], must_exist: bool) -> int:
        """The number of the study; unless it must exist, it is made where it is not there."""
        with connection.transaction():
            row = self._row(connection)
            if row is None and must_exist:
                raise StoreError(f"there is no study at {self.place}; 'netwright fit' or 'netwright search' makes one")
            if row is None:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                if not self._has_tables(connection):
                    connection.execute(TABLES)
                made = "INSERT INTO netwright_study (name, format) VALUES (%s, %s) ON CONFLICT DO NOTHING"
                connection.execute(made, (self.study, FORMAT))
                row = self._row(connection)
        assert row is not None
        number, version = row
        if version != FORMAT:
            raise StoreError(
                f"{self.place} has format {version}, this netwright reads up to {FORMAT}: read it with the netwright "
                "that wrote it, or a later one; it is left as it is"
            )
        return int(number)

    def _row(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
        return connection.execute(STUDY, (self.study,)).fetchone() if self._has_tables(connection) else None

    def _has_tables(self, connection: psycopg.Connection[Any]) -> bool:
        (found,) = connection.execute("SELECT to_regclass('netwright_study') IS NOT NULL").fetchone() or (False,)
        return bool(found)

    def _gone(self) -> StoreError:
        return StoreError(f"{self.place} is not there any more: somebody has deleted it")

    def _error(self, error: psycopg.Error) -> StoreError:
        """What is said of an error: what happened where, and what to do."""
        return StoreError(f"{self.place}: {format_error(error)[:300]}; {_fix(error)}; what is in the study is kept")


def _texts(entries: Entries) -> list[tuple[str, str]]:
    return [(kind, body_text(body)) for kind, body in entries]


def _fix(error: psycopg.Error) -> str:
    """What to do about an error."""
    said = (FIXES[state] for state, words in SAID.items() if words in str(error))
    return FIXES.get(error.sqlstate or "") or next(said, REACH)


SAID = {"3D000": "does not exist", "28P01": "password", "28000": "pg_hba.conf"}
"""Words of errors of connections that are not made, of which psycopg knows no SQLSTATE."""
