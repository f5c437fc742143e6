"""A node that asks for TLS, a certificate of ours and a password: who is let in, who lets it in, and what is said otherwise."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acsylla.errors import CassErrorServerBadCredentials

from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable
from devtools import ports
from devtools.cassandra import DATA_CENTRE, CassandraNode
from devtools.cql import CqlError
from devtools.paths import REPO
from tests.support import early
from tests.support.certificates import Authority

pytestmark = [pytest.mark.needs_cassandra, pytest.mark.timeout(240)]

ADDRESS, ELSEWHERE = "127.0.2.9", "127.0.2.10"
#: The role that every new cluster has.
LOGIN = {"username": "cassandra", "password": "cassandra"}


class Guarded:
    """The node, and the files of those who may talk to it."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        self.certificate, self.key = self.authority.sign("client")
        self.own = folder / "node.pem"
        self.show(ADDRESS)
        tls = ssl.create_default_context(cafile=str(self.authority.file))
        tls.check_hostname = False
        tls.load_cert_chain(self.certificate, self.key)
        port = ports.choose(hosts=[ADDRESS])
        self.node = CassandraNode(
            folder / "node",
            log=folder / "node.log",
            address=ADDRESS,
            port=port,
            storage_port=ports.choose({port}, hosts=[ADDRESS]),
            compilers="quick",
            sync="periodic",
            lasting=False,
            manager=(ports.choose(), "a-password-for-nodetool"),
            tls=tls,
            settings={
                "authenticator": "PasswordAuthenticator",
                "role_manager": "CassandraRoleManager",
                # Not as the store wants them: the last test but one hears of it.
                "paxos_variant": "v1",
                "batch_size_fail_threshold": "100KiB",
                "client_encryption_options": (
                    "{enabled: true, optional: false, require_client_auth: true, "
                    "ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}, "
                    f"keystore: '{self.own}', truststore: '{self.authority.file}'}}"
                ),
            },
        )

    def show(self, address: str) -> None:
        """The certificate that the node shows from its next reading on is for this address."""
        certificate, key = self.authority.sign("node-" + address, address)
        self.own.write_bytes(key.read_bytes() + certificate.read_bytes())

    def session(self, *, authority: Authority | None = None, known: bool = True, **options: Any) -> Cassandra:
        trusted = (authority or self.authority).file.read_text()
        mine = {"certificate": self.certificate.read_text(), "key": self.key.read_text()} if known else {}
        return Cassandra(
            [ADDRESS],
            "system",
            port=self.node.port,
            data_center=DATA_CENTRE,
            **{"trusted": trusted, **mine, **LOGIN, **options},
        )

    def sync(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "sync_cassandra"],
            cwd=REPO,
            env={
                **os.environ,
                "CASSANDRA_CONTACT_POINTS": f"{ADDRESS}:{self.node.port}",
                "CASSANDRA_REPLICATION": f"{DATA_CENTRE}:1",
                "CASSANDRA_USER": LOGIN["username"],
                "CASSANDRA_PASSWORD": LOGIN["password"],
                "CASSANDRA_CA_FILE": str(self.authority.file),
                "CASSANDRA_CERT_FILE": str(self.certificate),
                "CASSANDRA_KEY_FILE": str(self.key),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    found = Guarded(Path(tempfile.mkdtemp(dir=early.FOLDER)))
    child = found.node.start()
    yield found
    child.kill()


@pytest.fixture
async def refused(guarded: Guarded) -> Callable[..., Any]:
    """Says why a session does not open."""

    async def ask(**options: Any) -> str:
        session = guarded.session(**options)
        try:
            with pytest.raises(Unavailable) as caught:
                await session.open()
        finally:
            await session.close()
        return str(caught.value)

    return ask


async def asks(session: Cassandra) -> bool:
    try:
        await session.open()
        return bool(await session.rows("SELECT key FROM $.local"))
    finally:
        await session.close()


async def test_who_has_all_three_is_let_in(guarded: Guarded) -> None:
    assert await asks(guarded.session())


async def test_another_authority_is_not_believed(refused: Callable[..., Any], guarded: Guarded) -> None:
    assert "certificate" in await refused(authority=guarded.stranger)


async def test_without_tls_nothing_is_said(refused: Callable[..., Any], guarded: Guarded) -> None:
    assert await refused(trusted="", certificate="", key="")
    guarded.node.tls, tls = None, guarded.node.tls
    try:
        with pytest.raises(CqlError):
            guarded.node.cql("SELECT key FROM system.local", timeout=2.0)
    finally:
        guarded.node.tls = tls


async def test_without_a_certificate_of_ours_the_node_does_not_talk(refused: Callable[..., Any]) -> None:
    assert await refused(known=False)


async def test_a_wrong_password_is_called_that(guarded: Guarded) -> None:
    session = guarded.session(password="wrong")
    with pytest.raises(CassErrorServerBadCredentials, match="Bad credentials"):
        await session.open()
    await session.close()


async def test_a_certificate_of_another_host_is_refused_unless_told_otherwise(
    refused: Callable[..., Any], guarded: Guarded
) -> None:
    """The certificate is changed without a restart, as in the runbook."""
    guarded.show(ELSEWHERE)
    try:
        guarded.node.nodetool("reloadssl")
        assert "certificate" in await refused()
        assert await asks(guarded.session(check_host=False))
    finally:
        guarded.show(ADDRESS)
        guarded.node.nodetool("reloadssl")
    assert await asks(guarded.session())


def test_the_tables_are_made_over_it(guarded: Guarded) -> None:
    run = guarded.sync()
    assert run.returncode == 0, run.stderr
    assert f"{ADDRESS} has paxos_variant v1, and v2 is needed" in run.stdout
    assert f"{ADDRESS} has batch_size_fail_threshold_in_kb 100, and 640 is needed" in run.stdout
    found = guarded.node.cql(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'whatsapp'",
        user=LOGIN["username"],
        password=LOGIN["password"],
    )
    assert (b"event",) in found


def test_and_not_when_the_authority_is_not_believed(guarded: Guarded) -> None:
    run = guarded.sync(CASSANDRA_CA_FILE=str(guarded.stranger.file))
    assert run.returncode
    assert "certificate" in run.stderr
    assert "Traceback" not in run.stderr
