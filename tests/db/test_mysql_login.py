"""Logging in: MySQL 8's passwords with and without its cache, TLS wanted, checked, and missing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from compose.services import Mariadb, Mysql
from db.errors import StoreUnavailable, StoreUnusable
from db.mysql_connection import Connection
from db.mysql_pool import Pool
from db.url import MysqlUrl, Tls, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PASSWORDS = ["belfry", "", "with ' \" \\ and %40", "naïve pässwörd € 👋", "x" * 100]


class Authority:
    """A CA and one server certificate for 127.0.0.1, as files."""

    def __init__(self, directory: Path, name: str) -> None:
        self.ca, self.certificate, self.key = (directory / f"{name}-{part}.pem" for part in ("ca", "cert", "key"))
        ca_key, server_key = (rsa.generate_private_key(65_537, 2_048) for _ in range(2))
        ca_name, server_name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {n}")]) for n in "cs")
        ca = (
            _builder(ca_name, ca_name, ca_key, ca_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        server = (
            _builder(server_name, ca_name, server_key, ca_key)
            .add_extension(alternative, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: RSAPrivateKey, issuer_key: RSAPrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module", params=[Mysql, Mariadb])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Mysql | Mariadb]:
    """A server with a certificate for 127.0.0.1."""
    server: Mysql | Mariadb = request.param(tmp_path_factory.mktemp(request.param.name))
    server.extra = [f"--ssl-ca={authority.ca}", f"--ssl-cert={authority.certificate}", f"--ssl-key={authority.key}"]
    with server:
        yield server


def parsed(text: str) -> MysqlUrl:
    url = parse_url(text)
    assert isinstance(url, MysqlUrl)
    return url


async def login(url: MysqlUrl, *, opening: bool = True) -> tuple[str, str]:
    """Log in; who the server says we are, and the cipher it talks to us with."""
    pool = Pool(url, 1)
    async with pool.connection(opening=opening) as connection:
        user, cipher = await connection.run(b"SELECT CURRENT_USER();SHOW STATUS LIKE 'Ssl_cipher'")
    await pool.aclose()
    name: str = user.rows[0][0]
    return name.partition("@")[0], cipher.rows[0][1]


async def as_admin(server: Mysql | Mariadb, sql: str) -> None:
    connection = Connection(parsed(server.admin_url()))
    await connection.open()
    await connection.run(sql.encode())
    connection.drop()


@pytest.mark.parametrize("tls", [None, "required"])
@pytest.mark.parametrize("password", PASSWORDS)
async def test_caching_sha2_with_a_cold_and_a_warm_cache(mysql_server: Mysql, password: str, tls: Tls | None) -> None:
    url = dataclasses.replace(parsed(mysql_server.url), user="sha", password=password, tls=tls)
    literal = password.replace("\\", "\\\\").replace("'", "\\'")
    await as_admin(
        mysql_server,
        "DROP USER IF EXISTS sha@'%';FLUSH PRIVILEGES;"
        f"CREATE USER sha@'%' IDENTIFIED WITH caching_sha2_password BY '{literal}';GRANT ALL ON belfry.* TO sha@'%'",
    )
    for _ in range(3):  # the first one sends the password itself, the others find it in the server's cache
        user, cipher = await login(url)
        assert user == "sha"
        assert bool(cipher) == (tls is not None)
    for wrong in ("wrong", "" if password else "x"):
        with pytest.raises(StoreUnusable, match="refuses the user or the password"):
            await login(dataclasses.replace(url, password=wrong))
    assert (await login(url))[0] == "sha"


async def test_the_older_native_password(server: Mysql | Mariadb) -> None:
    await as_admin(
        server,
        "DROP USER IF EXISTS old@'%';CREATE USER old@'%' IDENTIFIED WITH mysql_native_password;"
        "SET PASSWORD FOR old@'%' = " + ("'pw'" if isinstance(server, Mysql) else "PASSWORD('pw')") + ";"
        "GRANT ALL ON belfry.* TO old@'%'",
    )
    for tls in (None, "required"):
        url = dataclasses.replace(parsed(server.url), user="old", password="pw", tls=tls)
        assert (await login(url))[0] == "old"


async def test_tls_is_used_when_it_is_asked_for(server: Mysql | Mariadb, authority: Authority) -> None:
    assert (await login(parsed(server.url)))[1] == ""
    assert (await login(parsed(f"{server.url}?tls=required")))[1] != ""
    assert (await login(parsed(f"{server.url}?tls=verify&ca={authority.ca}")))[1] != ""


async def test_a_certificate_that_cannot_be_trusted(
    server: Mysql | Mariadb, tmp_path: Path, authority: Authority
) -> None:
    other = Authority(tmp_path, "other")
    by_name = f"{server.url}?tls=verify&ca={authority.ca}".replace("127.0.0.1", "localhost")
    for url in (f"{server.url}?tls=verify", f"{server.url}?tls=verify&ca={other.ca}", by_name):
        with pytest.raises(StoreUnusable, match=r"certificate of the database .* is not trusted .*&ca=FILE"):
            await login(parsed(url))
        with pytest.raises(StoreUnavailable, match="is not trusted"):
            await login(parsed(url), opening=False)


async def test_a_ca_file_that_cannot_be_read(server: Mysql | Mariadb, tmp_path: Path) -> None:
    (tmp_path / "not.pem").write_text("Dear diary")
    for path in (tmp_path / "missing.pem", tmp_path / "not.pem"):
        with pytest.raises(StoreUnusable, match="cannot be read"):
            await login(parsed(f"{server.url}?tls=verify&ca={path}"))


async def test_a_server_without_tls_is_never_talked_to_in_plain_text_when_tls_is_asked_for(tmp_path: Path) -> None:
    server = Mysql(tmp_path)
    server.extra = ["--skip-ssl"]
    with server:
        for query in ("tls=required", "tls=verify"):
            with pytest.raises(StoreUnusable, match="offers no TLS"):
                await login(parsed(f"{server.url}?{query}"))
        assert (await login(parsed(server.url)))[0] == "belfry"
