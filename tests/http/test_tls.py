"""TLS: versions, a certificate that is replaced while connections go on, files that make no sense, the commands.

SPDX-License-Identifier: Apache-2.0
"""
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time

from daemon import BINARY, JSON, SLOWNESS, Daemon

from test_access import create, wait_until


def make_certificate(folder, name, subject="localhost", alternatives="DNS:localhost,IP:127.0.0.1"):
    certificate, key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", f"/CN={subject}",
                    "-addext", f"subjectAltName={alternatives}"], check=True, capture_output=True)
    return certificate, key


class Encrypted(Daemon):
    def __init__(self, *settings):
        super().__init__()
        self.certificate, self.key = make_certificate(self.folder, "first")
        self.settings = [f"tls.cert={self.certificate}", f"tls.key={self.key}", *settings]
        self.authorities = self.certificate

    def connect(self, timeout=30):
        context = ssl.create_default_context(cafile=self.authorities)
        return http.client.HTTPSConnection("localhost", self.port, timeout=timeout * SLOWNESS, context=context)

    def serial(self):
        context = ssl._create_unverified_context()  # whatever it is: its fingerprint is wanted
        with context.wrap_socket(socket_to(self.port), server_hostname="localhost") as link:
            return link.getpeercert(binary_form=True)


def socket_to(port):
    return socket.create_connection(("127.0.0.1", port), 10 * SLOWNESS)


def replace(source, target):
    with open(source, "rb") as file:
        content = file.read()
    with open(target + ".new", "wb") as file:
        file.write(content)
    os.rename(target + ".new", target)


def test_requests_over_tls():
    daemon = Encrypted().start()
    points = [{"series": "a", "timestamp": 1795354740000 + 1000 * i, "value": i} for i in range(2000)]
    assert daemon.post_json("/api/v1/points", points).status == 200
    connection = daemon.connect()
    for _ in range(3):  # kept alive
        connection.request("GET", "/api/v1/series/a/points?limit=2000")
        body = connection.getresponse().read()
        assert body.count(b"[17") == 2000, len(body)
    connection.close()
    # refused in the middle of a body: the answer is written by hand, through TLS as well
    link = ssl.create_default_context(cafile=daemon.certificate).wrap_socket(socket_to(daemon.port),
                                                                             server_hostname="localhost")
    link.sendall(b"POST /api/v1/points HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
    assert link.recv(100).startswith(b"HTTP/1.1 413 ")
    link.close()
    assert daemon.stop() == 0
    daemon.remove()


def test_files_where_systemd_puts_them():
    """A key by LoadCredential=, the audit file in a LogsDirectory= that is a link: read and opened again in the sandbox."""
    daemon = Encrypted()
    credentials = os.path.join(daemon.folder, "run/credentials/forecastd.service")
    os.makedirs(credentials)
    key = os.path.join(credentials, "tls.key")
    os.rename(daemon.key, key)
    os.chmod(key, 0o400)
    os.chmod(credentials, 0o500)
    private, logs = os.path.join(daemon.folder, "logs/private/forecastd"), os.path.join(daemon.folder, "logs/forecastd")
    os.makedirs(private)
    os.symlink("private/forecastd", logs)
    audit = os.path.join(logs, "audit.log")
    daemon.settings = [f"tls.cert={daemon.certificate}", f"tls.key={key}", f"log.audit={audit}"]
    daemon.start()
    assert daemon.request("DELETE", "/api/v1/series/none").status == 404
    holds = lambda words: os.path.exists(audit) and words in open(audit, encoding="utf-8").read()
    wait_until(lambda: holds("event=admin"), "the request is not in the file")
    os.rename(audit, audit + ".1")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: holds("event=reload result=\"done\""), "not everything was read again")
    os.chmod(credentials, 0o700)
    assert daemon.stop() == 0
    daemon.remove()


def test_plain_text_is_not_answered():
    daemon = Encrypted().start()
    said = daemon.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP/" not in said, said
    assert daemon.stop() == 0
    daemon.remove()


def handshake(port, low, high, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = low, high
    with context.wrap_socket(socket_to(port), server_hostname="localhost") as link:
        return link.version(), link.cipher()[0]


def test_modern_versions_and_ciphers_only():
    daemon = Encrypted().start()
    assert handshake(daemon.port, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)[0] == "TLSv1.3"
    version, cipher = handshake(daemon.port, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert version == "TLSv1.2" and cipher.startswith("ECDHE-") and ("GCM" in cipher or "CHACHA" in cipher), cipher
    for version, ciphers in ((ssl.TLSVersion.TLSv1, None), (ssl.TLSVersion.TLSv1_1, None),
                             (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")):
        try:
            found = handshake(daemon.port, version, version, ciphers)
        except (ssl.SSLError, ConnectionError):
            continue
        raise AssertionError(f"the daemon agreed on {found}")
    assert daemon.stop() == 0
    daemon.remove()


def test_certificate_is_replaced_while_connections_go_on():
    daemon = Encrypted().start()
    kept = daemon.connect()
    kept.request("GET", "/healthz")
    assert kept.getresponse().read()
    before = daemon.serial()
    second, second_key = make_certificate(daemon.folder, "second")
    replace(second, daemon.certificate)
    replace(second_key, daemon.key)
    assert daemon.serial() == before, "it is read on SIGHUP only"
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.serial() != before, "the new certificate is not used")
    kept.request("GET", "/healthz")  # the old connection lives on
    assert kept.getresponse().status == 200
    kept.close()
    assert daemon.get("/healthz").status == 200  # and the new one holds for new connections
    # what makes no sense is refused by name, and the last good one stays
    now = daemon.serial()
    with open(daemon.key, "w", encoding="utf-8") as file:
        file.write("nonsense")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "certificate not read again" in daemon.log() and "tls.key" in daemon.log(), daemon.log())
    assert daemon.serial() == now and daemon.get("/healthz").status == 200
    assert daemon.stop() == 0
    daemon.remove()


def test_many_reloads_while_clients_come_and_go():
    daemon = Encrypted().start()
    other, other_key = make_certificate(daemon.folder, "other")
    first, first_key = daemon.certificate + ".keep", daemon.key + ".keep"
    replace(daemon.certificate, first)
    replace(daemon.key, first_key)
    both = os.path.join(daemon.folder, "both.pem")
    with open(both, "w", encoding="utf-8") as out:
        for path in (first, other):
            with open(path, encoding="utf-8") as file:
                out.write(file.read())
    daemon.authorities = both
    for i in range(20):
        replace(other if i % 2 else first, daemon.certificate)
        replace(other_key if i % 2 else first_key, daemon.key)
        daemon.signal(signal.SIGHUP)
        for _ in range(5):
            assert daemon.get("/healthz").status == 200
    assert daemon.stop() == 0
    daemon.remove()


def start_fails(folder, *settings):
    command = [BINARY, "serve", "--set", "server.listen=127.0.0.1:0", "--set", f"storage.path={folder}/data"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 * SLOWNESS, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_bad_files_stop_the_start_by_name():
    daemon = Daemon()
    certificate, key = make_certificate(daemon.folder, "good")
    _, other_key = make_certificate(daemon.folder, "other")
    bad = os.path.join(daemon.folder, "bad")
    with open(bad, "w", encoding="utf-8") as file:
        file.write("-----BEGIN CERTIFICATE-----\nnonsense\n")
    said = start_fails(daemon.folder, f"tls.cert={certificate}")
    assert "tls.cert" in said and "tls.key" in said, said
    for settings, words in (((f"tls.cert={bad}", f"tls.key={key}"), ("tls.cert", bad)),
                            ((f"tls.cert={certificate}", f"tls.key={bad}"), ("tls.key", bad)),
                            (("tls.cert=/nowhere/c", f"tls.key={key}"), ("tls.cert", "/nowhere/c")),
                            ((f"tls.cert={certificate}", f"tls.key={other_key}"), ("tls.key", other_key))):
        said = start_fails(daemon.folder, *settings)
        assert all(word in said for word in words), said
    daemon.remove()


def test_commands_speak_tls_and_have_a_token():
    daemon = Encrypted()
    tokens, secret_file = os.path.join(daemon.folder, "tokens"), os.path.join(daemon.folder, "secret")
    with open(secret_file, "w", encoding="utf-8") as file:
        file.write(create(tokens, "--scope", "admin", "--name", "ops") + "\n")
    daemon.settings.append(f"auth.tokens={tokens}")
    daemon.start()
    csv = os.path.join(daemon.folder, "a.csv")
    with open(csv, "w", encoding="utf-8") as file:
        file.write("time,a\n" + "".join(f"2026-11-2{d}T{h:02}:00:00Z,{h}\n" for d in (1, 2, 3) for h in range(24)))
    url, ca = f"https://localhost:{daemon.port}", daemon.certificate
    access = ("--url", url, "--ca", ca, "--token-file", secret_file)
    code, _, said = daemon.command("import", *access, csv, data=False)
    assert code == 0, said
    code, out, said = daemon.command("forecast", *access, "--series", "a", "--steps", "3", "--format", "csv", data=False)
    assert code == 0 and out.count("\n") == 4, (out, said)
    environment = {"FORECASTD_TOKEN_FILE": secret_file, "FORECASTD_CA_FILE": ca}
    code, out, said = daemon.command("forecast", "--url", url, "--series", "a", data=False, environment=environment)
    assert code == 0 and out.startswith("{"), said
    code, _, said = daemon.command("forecast", "--url", url, "--ca", ca, "--series", "a", data=False)
    assert code == 1 and "401" in said, said
    code, _, said = daemon.command("forecast", "--url", url, "--token-file", secret_file, "--series", "a", data=False)
    assert code == 1 and "certificate" in said, said  # nobody known has signed it
    # a certificate for another name
    other, other_key = make_certificate(daemon.folder, "other", "example.org", "DNS:example.org")
    replace(other, daemon.certificate)
    replace(other_key, daemon.key)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "certificate read again" in daemon.log(), daemon.log())
    code, _, said = daemon.command("forecast", *access, "--series", "a", data=False)
    assert code == 1 and "certificate" in said, said
    # the container's probe knows the certificate from the configuration, whatever its name
    sets = [word for setting in daemon.settings for word in ("--set", setting)]
    code, _, said = daemon.command("healthcheck", "--set", f"server.listen=127.0.0.1:{daemon.port}", *sets, data=False)
    assert code == 0, said
    assert daemon.stop() == 0
    daemon.remove()


def test_silent_and_slow_handshakes_are_cut():
    daemon = Encrypted().start()
    link = socket_to(daemon.port)
    link.settimeout(25 * SLOWNESS)
    begin = time.monotonic()
    link.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello, and nothing more
    try:
        assert link.recv(1) == b""
    except ConnectionResetError:
        pass
    assert time.monotonic() - begin < 15 * SLOWNESS
    link.close()
    assert daemon.request("POST", "/api/v1/points", "[]", JSON).status == 200
    assert daemon.stop() == 0
    daemon.remove()
