"""Requests byte by byte: what each gets, how often, and whether the connection lives on.

SPDX-License-Identifier: Apache-2.0

Each row of the tables is sent as it stands. Answers are cut by their own framing, so that a second one, or bytes behind
one, are seen. A connection that should live on is asked once more, and its next answer has to be that one's.

What is libmicrohttpd's (0.9.75), cannot be seen from outside of it, and is written down here as it is: it takes a bare LF
for an end of line, also between chunks; it cuts a target or a value at a NUL; a line without a name ends a head; its own
refusal of a length of the body has its head twice, before it closes. A proxy in front has to refuse or mend these.
"""
import re
import socket
import time

from daemon import SLOWNESS

SETTINGS = ["ingest.max_body=1MiB"]
OPEN, CLOSED = True, False
HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
GOOD = b'{"series":"wire","value":1}'
HIDDEN = b'{"series":"hide","value":1}'  # of the same length: must never be stored
NEXT = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"
LENGTH = b"Content-Length: 27\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(target=b"/healthz", version=b"HTTP/1.1", fields=HOST, method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def post(fields, body=HIDDEN, version=b"HTTP/1.1"):
    return (b"POST /api/v1/points " + version + b"\r\n" + HOST + b"Content-Type: application/json\r\n" + fields + b"\r\n" +
            body)


def chunked(body, fields=b""):
    return post(CHUNKED + fields, body)


class Link:
    """A connection, and the answers cut from what comes back."""

    def __init__(self, daemon, data):
        self.socket = socket.create_connection(("127.0.0.1", daemon.port), 20 * SLOWNESS)
        self.received = b""
        self.over = False
        self.send(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the daemon may have closed already: what it said counts

    def more(self):
        try:
            part = self.socket.recv(65536)
        except ConnectionError:
            part = b""
        self.over = self.over or not part
        self.received += part

    def answer(self, has_body=True):
        """(status, head) of the next one, or None at the end."""
        while b"\r\n\r\n" not in self.received and not self.over:
            self.more()
        if self.over and b"\r\n\r\n" not in self.received:
            return None
        head, _, rest = self.received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d\d\d) ", head)
        assert status, self.received[:300]
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        wanted = int(length[1]) if has_body and length else 0
        while len(rest) < wanted and not self.over:
            self.more()
            rest = self.received[len(head) + 4:]
        assert len(rest) >= wanted, ("cut off", self.received)
        self.received = rest[wanted:]
        return int(status[1]), head

    def ends(self, excess=False):
        """The daemon closes, and has said no more than its answers."""
        while not self.over:
            self.more()
        assert bool(self.received) == excess, self.received[:300]
        assert not self.received.startswith(b"HTTP/"), self.received[:300]

    def lives_on(self, mark):
        """The next answer is the one to this very request."""
        self.send(b"GET /nowhere HTTP/1.1\r\n" + HOST + b"X-Request-Id: " + mark + b"\r\n\r\n")
        answer = self.answer()
        assert answer and answer[0] == 404 and b"X-Request-Id: " + mark in answer[1], answer


def walk(daemon, rows, excess=False):
    for number, (name, data, wanted, lives) in enumerate(rows):
        with Link(daemon, data) as link:
            try:
                got = []
                for _ in wanted:
                    answer = link.answer(has_body=not data.startswith(b"HEAD"))
                    got.append(answer and answer[0])
                assert got == wanted, got
                if lives:
                    link.lives_on(b"row-%d" % number)
                else:
                    link.ends(excess)
            except (AssertionError, TimeoutError) as failure:
                raise AssertionError(f"{name}: {data[:100]!r} wanted {wanted}: {failure!r}") from failure
    assert daemon.get("/api/v1/series/hide").status == 404, "a refused body was stored"


def test_lines_and_targets(daemon):
    walk(daemon, [
        ("as it should be", get(), [200], OPEN),
        ("bare LF", get().replace(b"\r\n", b"\n"), [200], OPEN),
        ("empty lines before", b"\r\n\r\n" + get(), [200], OPEN),
        ("a blank before", b" " + get(), [], CLOSED),
        ("two blanks", get(b" /healthz"), [200], OPEN),
        ("tabs", b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n", [], CLOSED),
        ("a blank in the target", get(b"/health z"), [400], CLOSED),
        ("a control character in the target", get(b"/health\x07z"), [400], CLOSED),
        ("NUL in the target", get(b"/heal\x00thz"), [404], OPEN),
        ("a blank behind the version", get(version=b"HTTP/1.1 "), [400], CLOSED),
        ("absolute form", get(b"http://localhost/healthz"), [200], OPEN),
        ("absolute form, capitals", get(b"HTTP://LOCALHOST/healthz"), [200], OPEN),
        ("absolute form of TLS", get(b"https://localhost/healthz"), [200], OPEN),
        ("absolute form without a path", get(b"http://localhost"), [200], OPEN),
        ("absolute form, a query without a path", get(b"http://localhost?a=/healthz/x"), [200], OPEN),
        ("absolute form comes before Host", get(b"http://evil.example/healthz"), [400], OPEN),
        ("and also where Host is the foreign one", get(b"http://localhost/healthz", fields=b"Host: evil.example\r\n"),
         [200], OPEN),
        ("absolute form of nobody", get(b"http:///healthz"), [400], CLOSED),
        ("another scheme", get(b"ftp://localhost/healthz"), [404], OPEN),
        ("asterisk", get(b"*", method=b"OPTIONS"), [404], OPEN),
        ("authority form", get(b"localhost:80", method=b"CONNECT"), [404], OPEN),
        ("no slash", get(b"healthz"), [404], OPEN),
        ("percent without digits", get(b"/api/v1/series/%zz"), [400], OPEN),
        ("percent at the end", get(b"/api/v1/series/%2"), [400], OPEN),
        ("an encoded NUL", get(b"/api/v1/series/a%00b"), [400], OPEN),
        ("an encoded letter of a route", get(b"/%68ealthz"), [404], OPEN),
        ("two slashes", get(b"//healthz"), [404], OPEN),
        ("dot", get(b"/./healthz"), [404], OPEN),
        ("dots", get(b"/api/../healthz"), [404], OPEN),
        ("encoded dots", get(b"/%2e%2e/%2e%2e/etc/passwd"), [404], OPEN),
        ("a fragment", get(b"/healthz#x"), [404], OPEN),
        ("bytes beyond ASCII", get(b"/healthz\xff"), [404], OPEN),
        ("a target too long", get(b"/" + b"a" * 100000), [414], CLOSED),
    ])


def test_methods_and_versions(daemon):
    walk(daemon, [
        ("HEAD has no body", get(method=b"HEAD"), [200], OPEN),
        ("unknown method", get(method=b"BREW"), [405], OPEN),
        ("lower case", get(method=b"get"), [405], OPEN),
        ("TRACE", get(method=b"TRACE"), [405], OPEN),
        ("no token", get(method=b"GE(T"), [405], OPEN),
        ("1.0 closes", get(version=b"HTTP/1.0"), [200], CLOSED),
        ("1.0 needs no Host", get(version=b"HTTP/1.0", fields=b""), [200], CLOSED),
        ("1.0 keeps alive where asked", get(version=b"HTTP/1.0", fields=HOST + b"Connection: keep-alive\r\n"), [200], OPEN),
        ("1.0 with a second request", get(version=b"HTTP/1.0") + NEXT, [200], CLOSED),
        ("1.0 has no chunks", post(CHUNKED + b"Connection: keep-alive\r\n", b"1b\r\n" + HIDDEN + b"\r\n0\r\n\r\n", b"HTTP/1.0"),
         [400], CLOSED),
        ("0.9", b"GET /healthz\r\n\r\n", [400], CLOSED),
        ("1.2", get(version=b"HTTP/1.2"), [200], OPEN),
        ("2.0", get(version=b"HTTP/2.0"), [505], CLOSED),
        ("lower case version", get(version=b"http/1.1"), [400], CLOSED),
        ("more behind the version", get(version=b"HTTP/1.1x"), [400], CLOSED),
        ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", [505], CLOSED),
        ("an upgrade is not taken", get(fields=HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), [200], OPEN),
        ("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [], CLOSED),
    ])


def test_fields(daemon):
    walk(daemon, [
        ("no Host", GET + b"\r\n", [400], CLOSED),
        ("two Hosts", get(fields=HOST + HOST), [400], CLOSED),
        ("a list of Hosts", get(fields=b"Host: localhost, evil.example\r\n"), [400], OPEN),
        ("a foreign Host", get(fields=b"Host: evil.example\r\n"), [400], OPEN),
        ("a fold", get(fields=HOST + b"X-A: a\r\n b\r\n"), [200], OPEN),
        ("a fold before the first field", get(fields=b" X-A: a\r\n" + HOST), [400], CLOSED),
        ("a folded length", post(b"Content-Length: 2\r\n 7\r\n") + NEXT, [400], CLOSED),
        ("a folded length, first line empty", post(b"Content-Length:\r\n\t27\r\n") + NEXT, [400], CLOSED),
        ("a folded coding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"1b\r\n" + HIDDEN + b"\r\n0\r\n\r\n"), [400], CLOSED),
        ("a folded Host", get(fields=b"Host: local\r\n host\r\n"), [400], CLOSED),
        ("a blank before the colon", get(fields=HOST + b"X-A : b\r\n"), [400], CLOSED),
        ("... of a length", post(b"Content-Length : 27\r\n") + NEXT, [400], CLOSED),
        ("... of a coding", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n") + NEXT, [400], CLOSED),
        ("... of Host", get(fields=b"Host : localhost\r\n"), [400], CLOSED),
        ("a blank in a name", get(fields=HOST + b"X A: b\r\n"), [400], CLOSED),
        ("quotes in a name", get(fields=HOST + b'"X": b\r\n'), [400], CLOSED),
        ("no colon", get(fields=HOST + b"nonsense\r\n"), [400], CLOSED),
        ("no name: ends the head", GET + HOST + b": x\r\n" + NEXT, [200, 200], OPEN),
        ("NUL in a name", get(fields=HOST + b"X-\x00A: b\r\n"), [400], CLOSED),
        ("NUL in a value: the rest is dropped", get(fields=HOST + b"X-Request-Id: a\x00b\r\n"), [200], OPEN),
        ("CR in a value", get(fields=HOST + b"X-A: a\rContent-Length: 5\r\n"), [400], CLOSED),
        ("LF between fields", get(fields=HOST + b"X-A: a\nX-B: b\r\n"), [200], OPEN),
        ("control characters in a value", get(fields=HOST + b"X-A: a\x01\x07b\r\n"), [200], OPEN),
        ("bytes beyond ASCII in a value", get(fields=HOST + b"X-A: \xff\xfe\r\n"), [200], OPEN),
        ("30 fields", get(fields=HOST + b"X-A: 1\r\n" * 30), [200], OPEN),
        ("1,000 fields", get(fields=HOST + b"X-A: 1\r\n" * 1000), [431], CLOSED),
        ("a field of 200 kB", get(fields=HOST + b"X-A: " + b"y" * 200000 + b"\r\n"), [431], CLOSED),
    ])


def test_lengths(daemon):
    walk(daemon, [
        ("twice the same", post(LENGTH + LENGTH) + NEXT, [400], CLOSED),
        ("twice, different", post(LENGTH + b"Content-Length: 5\r\n") + NEXT, [400], CLOSED),
        ("of 2^63", post(b"Content-Length: 9223372036854775808\r\n"), [400], CLOSED),
        ("over the limit", post(b"Content-Length: 999999999999\r\n"), [413], CLOSED),
        ("with many zeros", post(b"Content-Length: 0000000000000000000027\r\n"), [400], CLOSED),
        ("with some zeros", post(b"Content-Length: 00027\r\n", GOOD), [200], OPEN),
        ("and chunked", post(LENGTH + CHUNKED, b"0\r\n\r\n") + NEXT, [400], CLOSED),
        ("chunked, and a length", post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n") + NEXT, [400], CLOSED),
        ("of a GET", get(fields=HOST + b"Content-Length: 5\r\n") + b"hello" + NEXT, [200, 200], OPEN),
        ("of a refused request", post(LENGTH).replace(b"/api/v1/points", b"/nowhere") + NEXT, [404, 200], OPEN),
        ("of another type", post(LENGTH).replace(b"application/json", b"image/png") + NEXT, [415, 200], OPEN),
    ])


def test_lengths_that_the_library_refuses(daemon):
    walk(daemon, [(str(value), post(b"Content-Length: " + value + b"\r\n") + NEXT, [status], CLOSED) for value, status in (
        (b"", 400), (b"-1", 400), (b"+27", 400), (b"0x1b", 400), (b"27, 27", 400), (b"2 7", 400), (b"27.0", 400),
        (b"27 \t", 400), (b"18446744073709551616", 413), (b"18446744073709551643", 413))], excess=True)


def test_codings(daemon):
    last = b"0\r\n\r\n" + NEXT
    walk(daemon, [
        *((str(value), post(b"Transfer-Encoding: " + value + b"\r\n", last), [400], CLOSED) for value in (
            b"", b"identity", b"xchunked", b"chunked;x=1", b"\x0bchunked", b"gzip, chunked", b"chunked, chunked",
            b"identity, chunked", b"chunked ")),
        ("twice", post(CHUNKED + CHUNKED, last), [400], CLOSED),
        ("capitals", post(CHUNKED.upper(), b"1B\r\n" + GOOD + b"\r\n0\r\n\r\n") + NEXT, [200, 200], OPEN),
    ])


def test_chunks(daemon):
    whole = HIDDEN + b"\r\n0\r\n\r\n"
    walk(daemon, [
        ("one", chunked(b"1b\r\n" + GOOD + b"\r\n0\r\n\r\n") + NEXT, [200, 200], OPEN),
        ("two", chunked(b"10\r\n" + GOOD[:16] + b"\r\nb\r\n" + GOOD[16:] + b"\r\n0\r\n\r\n") + NEXT, [200, 200], OPEN),
        ("zeros", chunked(b"000000000000000000001b\r\n" + GOOD + b"\r\n0\r\n\r\n"), [200], OPEN),
        ("an extension", chunked(b'1b;a="b;c"\r\n' + GOOD + b"\r\n0;x\r\n\r\n") + NEXT, [200, 200], OPEN),
        ("an extension with LF", chunked(b"1b;a\nb\r\n" + whole) + NEXT, [400], CLOSED),
        ("an endless extension", chunked(b"1b;a=" + b"x" * 100000 + b"\r\n" + whole), [500], CLOSED),
        ("size over 64 bits", chunked(b"1000000000000001b\r\n" + whole), [413], CLOSED),
        *((f"size {size!r}", chunked(size + b"\r\n" + whole) + NEXT, [400], CLOSED) for size in (
            b"zz", b"0x1b", b"-1b", b"+1b", b" 1b", b"1b ", b"")),
        ("nothing behind the data", chunked(b"1b\r\n" + HIDDEN + b"0\r\n\r\n") + NEXT, [400], CLOSED),
        ("more data than its size", chunked(b"1a\r\n" + whole) + NEXT, [400], CLOSED),
        ("bare CR", chunked(b"1b\r" + HIDDEN + b"\r0\r\r") + NEXT, [400], CLOSED),
        ("bare LF", chunked(b"1b\n" + GOOD + b"\n0\n\n") + NEXT, [200, 200], OPEN),
        ("trailers", chunked(b"1b\r\n" + GOOD + b"\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n") + NEXT, [200, 200], OPEN),
        ("trailers that would frame", chunked(b"1b\r\n" + GOOD + b"\r\n0\r\nContent-Length: 5\r\nHost: evil.example\r\n\r\n") + NEXT,
         [200, 200], OPEN),
        ("trailers too long", chunked(b"1b\r\n" + HIDDEN + b"\r\n0\r\nX-A: " + b"y" * 20000 + b"\r\n\r\n") + NEXT, [431], CLOSED),
        ("a body over the limit", chunked(b"100001\r\n" + b" " * 0x100001 + b"\r\n0\r\n\r\n") + NEXT, [413, 200], OPEN),
        ("a size without end", chunked(b"ffffffffffffffff\r\n" + b" " * 0x300001), [413], CLOSED),
    ])


def test_one_after_the_other(daemon):
    close = HOST + b"Connection: close\r\n"
    walk(daemon, [
        ("three at once", get() + get(b"/nowhere") + NEXT, [200, 404, 200], OPEN),
        ("one that waits for the disk comes first", post(LENGTH, GOOD) + NEXT, [200, 200], OPEN),
        ("behind close", get(fields=close) + NEXT, [200], CLOSED),
        ("behind close in a list", get(fields=HOST + b"Connection: x, CLOSE\r\n") + NEXT, [200], CLOSED),
        ("a body, then close", post(LENGTH + b"Connection: close\r\n", GOOD) + NEXT, [200], CLOSED),
        ("continue, and no wait", post(b"Expect: 100-continue\r\n" + LENGTH, GOOD) + NEXT, [100, 200, 200], OPEN),
        ("continue without a body", get(fields=HOST + b"Expect: 100-continue\r\n"), [100, 200], OPEN),
        ("refused before continue", post(b"Expect: 100-continue\r\n" + LENGTH, b"").replace(b"/api/v1/points", b"/nowhere"),
         [404], CLOSED),
        ("another expectation", post(b"Expect: tea\r\n" + LENGTH, GOOD), [200], OPEN),
    ])


def test_a_client_waits_for_continue(daemon):
    with Link(daemon, post(b"Expect: 100-continue\r\n" + LENGTH, b"")) as link:
        assert link.answer()[0] == 100
        link.send(GOOD)
        assert link.answer()[0] == 200
        link.lives_on(b"continued")


def test_answers_come_in_order(daemon):
    """Two hundred at once, every third of which waits for a commit."""
    asked = b"".join(
        (post(b"X-Request-Id: a%d\r\n" % i + LENGTH, GOOD) if i % 3 == 0 else
         get(fields=HOST + b"X-Request-Id: a%d\r\n" % i)) for i in range(200))
    with Link(daemon, asked) as link:
        for i in range(200):
            status, head = link.answer()
            assert status == 200 and b"X-Request-Id: a%d\r\n" % i in head, (i, head)
        link.lives_on(b"after-200")


def half_closed(daemon, data):
    link = Link(daemon, data)
    link.socket.shutdown(socket.SHUT_WR)
    return link


def test_half_closed_clients_that_asked(daemon):
    """Who says no more is answered; where that waits for the disk the library may take it for gone, and closes."""
    with half_closed(daemon, get()) as link:
        assert link.answer()[0] == 200
    for _ in range(20):
        with half_closed(daemon, post(LENGTH, GOOD)) as link:
            answer = link.answer()
            assert answer is None or answer[0] == 200, answer


def test_half_closed_clients_that_never_ask(daemon):
    """What is not whole gets no answer, and the connection ends at its deadline."""
    begin = time.monotonic()
    links = [half_closed(daemon, data) for data in (
        post(LENGTH, HIDDEN[:10]), GET + HOST, b"GET /he", chunked(b"1b\r\n" + HIDDEN))]
    for link in links:
        with link:
            assert link.answer() is None
            link.ends()
    assert time.monotonic() - begin < 15 * SLOWNESS
    assert daemon.get("/api/v1/series/hide").status == 404
