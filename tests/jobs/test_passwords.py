"""A password in GROWRES_DATABASE_URL is nowhere to be seen: not in a file, an output or a list of processes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import URL, make_url

from tests.databases import CANARY, Place, canaries_below, postgres_place, traces
from tests.jobs.conftest import FIXED, SpecWriter

GROWRES = (sys.executable, "-c", "import sys; from growres.cli.app import main; sys.exit(main())")


@pytest.fixture
def postgres(postgres_server: URL, postgres_template: str) -> Iterator[Place]:
    if postgres_server.password is not None:
        pytest.skip("the server of GROWRES_TEST_PG_URL wants a password of its own")
    yield from postgres_place(postgres_server, postgres_template)


class Watched:
    """Runs growres in a process of its own, and keeps the command lines of it and of all that it starts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen = b""
        """All that was printed, and every command line."""
        self.num_looks = 0

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        process = subprocess.Popen(
            [*GROWRES, *arguments],
            env={**os.environ, "GROWRES_DATABASE_URL": self._url, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        watching = threading.Thread(target=self._watch, args=(process,))
        watching.start()
        out, err = process.communicate(timeout=300)
        watching.join()
        self.seen += out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                try:
                    self.seen += Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:  # it has ended
                    continue
                self.num_looks += 1
            time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [one for child in children for one in descendants(child)]


def test_the_forms_are_found_where_they_stand() -> None:
    address = make_url(f"postgresql://ann:{quote(CANARY)}@host/db").render_as_string(hide_password=False)
    assert traces(address.encode()) and traces(repr(address).encode()) and traces(json.dumps(address).encode())
    assert traces(base64.b64encode(address.encode())) and traces(address.encode("utf-16"))
    assert not traces(make_url(address).render_as_string().encode())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_password_is_nowhere_to_be_seen_whatever_is_run(
    postgres: Place, write_spec: SpecWriter, home: Path, tmp_path: Path
) -> None:
    growres = Watched(postgres.url)
    spec = str(write_spec({"fixed": FIXED}))
    postgres.take_away()
    away = growres("-vv", "submit", spec, "--backend", "inline")
    assert away.returncode == 3 and b"Cannot" in away.stderr and b"Traceback" not in away.stderr
    postgres.bring_back()
    submitted = growres("-vv", "submit", spec, "--backend", "inline")
    assert submitted.returncode == 0, submitted.stderr
    for arguments in (
        ("list",),
        ("status",),
        ("query", "select * from leaderboard"),
        ("db", "current"),
        ("db", "check"),
        ("db", "copy", "default", str(tmp_path / "copy.db")),
        ("resume", "latest", "--backend", "inline"),
    ):
        done = growres("-vv", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    wrong = make_url(postgres.url).set(port=1, host="127.0.0.1", query={}).render_as_string(hide_password=False)
    for arguments, environment in (
        (("query", "select current_setting('nonsense')"), {}),
        (("db", "copy", str(tmp_path / "copy.db"), "default"), {}),
        (("list",), {"GROWRES_DATABASE_URL": wrong}),
        (("query", "select 1"), {"GROWRES_QUERY_DATABASE_URL": wrong}),
    ):
        done = growres("-vv", *arguments, **environment)
        assert done.returncode and b"Traceback" not in done.stderr, (arguments, done.stderr)
    assert growres.num_looks > 20
    assert traces(growres.seen) == []
    assert list(home.rglob("checkpoint.pt*"))
    assert canaries_below(home, tmp_path) == []
