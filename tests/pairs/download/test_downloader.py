"""Against a real web server on this machine, honest and hostile."""

import asyncio
import datetime
import gzip
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.download.opt_out import opts_out
from isoenergy.pairs.rejection import Reason, Rejected
from tests.pairs.download.server import Server, answer
from tests.pairs.made_up_pairs import encoded_image

Outcome = bytes | Reason


def fetch(*urls: str | None, **settings: Any) -> list[Outcome]:
    config = DownloadConfig(**({"allow_loopback": True, "retry_wait": 0.0, "seconds": 20.0} | settings))
    (outcomes,) = Downloader(config).fetch([list(urls)])
    return [outcome.reason if isinstance(outcome, Rejected) else outcome for outcome in outcomes]


def redirect(to: str, status: str = "302 Found", *headers: str) -> bytes:
    return answer(b"elsewhere", status, f"Location: {to}", *headers)


def ask(*answers: Any, **settings: Any) -> Callable[[Server], Outcome]:
    """Return what becomes of a URL that is answered in turn so."""

    def outcome(server: Server) -> Outcome:
        server.answers["/x"] = list(answers)
        return fetch(server.url("/x"), **settings)[0]

    return outcome


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of names, as the resolver gives them; `.test` ones are this machine."""
    known: dict[str, list[str]] = {}
    system = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **options: Any) -> list:
        addresses = known.get(host, ["127.0.0.1"] if host.endswith(".test") else None)
        if addresses is None:
            return system(host, port, *args, **options)
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        places = [(a, port, 0, 0) if ":" in a else (a, port) for a in addresses]
        return [(f, socket.SOCK_STREAM, 6, "", place) for f, place in zip(families, places, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


_connected: list[str] = []
_others: set[int | None] = set()
"""Threads that other tests have left at work, such as those of a client of MLflow."""


def _note(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and threading.get_ident() not in _others:
        _connected.append(str(arguments[1][0]))


sys.addaudithook(_note)


@pytest.fixture
def connected() -> list[str]:
    """The addresses that this process connects to, but for its threads of before."""
    _others.clear()
    _others.update({thread.ident for thread in threading.enumerate()} - {threading.get_ident()})
    _connected.clear()
    return _connected


# --- what is asked, and what comes back ----------------------------------------------------------------------------


def test_bodies_come_back_in_order(server: Server) -> None:
    server.answers = {f"/{n}": answer(b"%d" % n) for n in range(20)} | {"/gone": answer(status="404 Not Found")}
    batches = [[server.url("/0"), None, server.url("/gone")], [], [server.url(f"/{n}") for n in range(20)], [""]]
    found = list(Downloader(DownloadConfig(allow_loopback=True)).fetch(batches))
    assert found[0][0] == b"0"
    assert [outcome.reason for outcome in found[0][1:]] == [Reason.MISSING_IMAGE, Reason.HTTP_CLIENT_ERROR]
    assert found[1] == []
    assert found[2] == [b"%d" % n for n in range(20)]
    assert found[3][0].reason == Reason.MISSING_IMAGE


def test_a_request_is_honest_and_carries_nothing_from_another(server: Server, names: dict) -> None:
    names["host.example"] = ["127.0.0.1"]  # a client may keep cookies of names alone
    server.answers = {"/a": redirect("/b", "302 Found", "Set-Cookie: a=b; Path=/"), "/b": answer(b"x")}
    assert fetch(f"  {server.url('/a', 'host.example')}\n") == [b"x"]
    assert fetch(server.url("/b"), user_agent="me/1.0") == [b"x"]
    for _, headers in server.requests[:2]:
        assert headers["user-agent"].startswith("isoenergy/")
        assert headers["accept-encoding"] == "identity"
        assert headers["connection"] == "close"
        assert not set(headers) & {"cookie", "referer", "authorization"}
    assert server.requests[2][1]["user-agent"] == "me/1.0"


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(answer(b"x"))(server) == b"x"


def test_names_in_other_scripts_and_addresses_without_dots(server: Server, names: dict) -> None:
    names["xn--bcher-kva.example"] = ["127.0.0.1"]
    server.answers["/%C3%BC?q=+1"] = answer(b"x")
    for host in ("bücher.example", "xn--bcher-kva.example", "0x7f.1", "localhost"):
        assert fetch(server.url("/ü?q=+1", host)) == [b"x"], host


def test_a_page_instead_of_an_image_is_left_to_the_decoder(server: Server) -> None:
    assert ask(answer(b"<html>", "200 OK", "Content-Type: text/html"))(server) == b"<html>"


# --- bounds --------------------------------------------------------------------------------------------------------


class Crowd:
    """Answers only when as many requests as there may be are waiting, and counts them by host."""

    def __init__(self, size: int) -> None:
        self._size, self._barrier = size, None
        self.now: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)

    async def __call__(self, _: Server, writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        self._barrier = self._barrier or asyncio.Barrier(self._size)
        for name in ("all", headers["host"].split(":")[0]):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        await self._barrier.wait()
        for name in ("all", headers["host"].split(":")[0]):
            self.now[name] -= 1
        writer.write(answer(b"x"))


def test_connections_are_bounded_in_total(server: Server, names: dict) -> None:
    del names
    server.answers["/x"] = crowd = Crowd(6)
    urls = [server.url("/x", f"host-{n}.test") for n in range(12)] * 2
    assert fetch(*urls, connections=6, connections_per_host=8) == [b"x"] * 24
    assert crowd.most["all"] == 6


def test_connections_are_bounded_by_host_even_after_a_redirect(server: Server, names: dict) -> None:
    del names
    server.answers["/x"] = crowd = Crowd(6)
    server.answers |= {f"/to/{n}": redirect(server.url("/x", f"{n}.test")) for n in range(3)}
    urls = [server.url(f"/to/{n}", f"from-{k}.test") for k in range(4) for n in range(3)]
    assert fetch(*urls, connections=64, connections_per_host=2) == [b"x"] * 12
    assert dict(crowd.most) == {"all": 6, "0.test": 2, "1.test": 2, "2.test": 2}


def test_the_time_of_waiting_for_a_connection_is_not_a_try_s(server: Server) -> None:
    async def never(*_: Any) -> None:
        await asyncio.sleep(60)

    server.answers = {"/never": never, "/x": answer(b"x")}
    urls = [server.url("/never"), server.url("/x")]
    assert fetch(*urls, connections=1, seconds=1.0) == [Reason.DOWNLOAD_TIMEOUT, b"x"]


@pytest.mark.parametrize("size", [99, 100, 101])
@pytest.mark.parametrize("with_length", [True, False])
def test_bytes_are_bounded(server: Server, size: int, with_length: bool) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
    whole = answer(b"x" * size) if with_length else answer(chunked, "200 OK", "Transfer-Encoding: chunked")
    assert ask(whole, max_bytes=100)(server) == (b"x" * size if size <= 100 else Reason.IMAGE_TOO_LARGE)


@pytest.mark.parametrize("length", ["Transfer-Encoding: chunked", "Content-Length: 99999999999", "Connection: close"])
def test_a_body_without_an_end_is_left(server: Server, length: str) -> None:
    sent = threading.Event()

    async def endless(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        chunk = b"x" * 2**16
        framed = b"%x\r\n%b\r\n" % (len(chunk), chunk) if "chunked" in length else chunk
        head = b"HTTP/1.1 200 OK\r\n" + (f"{length}\r\n".encode() if length else b"") + b"\r\n"
        try:
            writer.write(head)
            while True:
                writer.write(framed)
                await writer.drain()
        finally:
            sent.set()

    assert ask(endless, max_bytes=2**20)(server) == Reason.IMAGE_TOO_LARGE
    assert sent.wait(20), "the connection is still open"


def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(server: Server) -> None:
    async def never(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        writer.write(answer(b"", "200 OK", "Content-Length: 101"))
        await asyncio.sleep(60)

    assert ask(never, max_bytes=100)(server) == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("where", ["head", "headers", "body"])
def test_a_server_that_drips_is_left_after_its_time_and_not_tried_again(server: Server, where: str) -> None:
    async def drip(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        writer.write(
            {"head": b"HTTP/1.1 200 ", "headers": b"HTTP/1.1 200 OK\r\nX: ", "body": answer(b"x" * 10**6)[: -(10**6)]}[
                where
            ]
        )
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert ask(drip, seconds=0.5)(server) == Reason.DOWNLOAD_TIMEOUT
    assert server.tries == {"/x": 1}


def test_the_time_is_that_of_all_redirects_together(server: Server) -> None:
    async def slowly(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        await asyncio.sleep(0.4)
        writer.write(redirect("/x"))

    assert ask(slowly, seconds=1.0, max_redirects=20)(server) == Reason.DOWNLOAD_TIMEOUT
    assert server.tries["/x"] <= 3


# --- redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
@pytest.mark.parametrize("to", ["/b/c", "../b/c", "//{host}/b/c", "http://{host}/b/c#fragment", "c"])
def test_redirects_are_followed(server: Server, status: str, to: str) -> None:
    server.answers = {"/b/a": redirect(to.format(host=f"127.0.0.1:{server.port}"), status), "/b/c": answer(b"x")}
    assert fetch(server.url("/b/a")) == [b"x"]


PUBLISHED = [
    "/a%2Cb%28c%29/d%3Ae%40f%3Bg%24h", "/r?url=http%3A%2F%2Fi.example%2Fa%2Cb&sig=a%2fb%3D%3d+x", "/p%2fq/../r/./s//t",
    "/sp%20ace/100%/%zz%e9", "/(a),b:c@d;e$f!g*h'i", "/a|b^c`d{e}[f]\\g\"h<i>", "/q?a[]=1&b=x+y%2By&c=%26",
]  # fmt: skip


@pytest.mark.parametrize("target", PUBLISHED)
def test_a_url_goes_out_as_it_was_published(server: Server, target: str) -> None:
    server.answers[target] = answer(b"x")
    for location in (target, server.url(target), f"//127.0.0.1:{server.port}{target}"):
        server.answers["/to"] = redirect(location)
        assert fetch(server.url(target), server.url("/to")) == [b"x", b"x"]


def test_what_no_request_may_hold_is_escaped(server: Server) -> None:
    server.answers |= {"/%C3%BC%20x?y%20=%E2%82%AC": answer(b"x"), "/?q=%2C": answer(b"y")}
    assert fetch(server.url("/ü x?y =€#part"), server.url("?q=%2C")) == [b"x", b"y"]


def test_a_relative_redirect_keeps_both_as_they_were_published(server: Server) -> None:
    server.answers |= {"/a%2Cb/c": redirect("d%3Ae?f=%2F"), "/a%2Cb/d%3Ae?f=%2F": answer(b"x")}
    assert fetch(server.url("/a%2Cb/c")) == [b"x"]


def test_redirects_are_bounded(server: Server) -> None:
    server.answers = {f"/{n}": redirect(f"/{n + 1}") for n in range(6)} | {
        "/6": answer(b"x"),
        "/loop": redirect("/loop"),
    }
    assert fetch(server.url("/1"), server.url("/0"), server.url("/loop"), max_redirects=5) == [
        b"x", Reason.TOO_MANY_REDIRECTS, Reason.TOO_MANY_REDIRECTS
    ]  # fmt: skip
    assert server.tries["/loop"] == 6
    assert fetch(server.url("/6"), server.url("/5"), max_redirects=0) == [b"x", Reason.TOO_MANY_REDIRECTS]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("file:///etc/passwd", Reason.BAD_URL), ("ftp://127.0.0.1/x", Reason.BAD_URL), ("data:,x", Reason.BAD_URL),
        ("javascript:x", Reason.BAD_URL), ("http://u:p@127.0.0.1:9999/", Reason.BAD_URL), ("http://[", Reason.BAD_URL),
        ("http://127.0.0.1:22/", Reason.BAD_URL), ("//10.0.0.1/", Reason.FORBIDDEN_ADDRESS),
        ("http://169.254.169.254/latest/meta-data/", Reason.FORBIDDEN_ADDRESS),
        ("http://[fd00:ec2::254]/", Reason.FORBIDDEN_ADDRESS), ("http://[::ffff:10.0.0.1]/", Reason.FORBIDDEN_ADDRESS),
        ("http://metadata.test:8080/", Reason.FORBIDDEN_ADDRESS), ("http://0xa9fea9fe/", Reason.FORBIDDEN_ADDRESS),
        ("http://nowhere.invalid/", Reason.UNKNOWN_HOST),
    ],
)  # fmt: skip
def test_redirects_to_what_is_forbidden_get_nothing(
    server: Server, names: dict, connected: list[str], to: str, reason: Reason
) -> None:
    names["metadata.test"] = ["169.254.169.254"]
    assert ask(redirect(to))(server) == reason
    assert set(connected) == {"127.0.0.1"}
    assert server.tries == {"/x": 1}


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b" /y ", b"y"), (b"", Reason.TOO_MANY_REDIRECTS), (b"http://\xe2\x80\xa8/", Reason.BAD_URL),
        (b"http://127.0.0.1:99999/", Reason.BAD_URL), (b"/\xc3\xbc", b"umlaut"), (b"/y\xff", Reason.BAD_URL),
        (b"/" + b"y" * 9000, Reason.CONNECTION_FAILED),
    ],
)  # fmt: skip
def test_odd_redirects_do_no_harm(server: Server, location: bytes, expected: Outcome) -> None:
    server.answers |= {"/y": answer(b"y"), "/%C3%BC": answer(b"umlaut")}
    assert ask(b"HTTP/1.1 302 x\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")(server) == expected


def test_a_redirect_to_nowhere_is_no_redirect(server: Server) -> None:
    assert ask(answer(b"x", "302 Found"))(server) == Reason.HTTP_CLIENT_ERROR


# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "0", "0.0.0.0", "[::1]",
        "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1",
        "100.64.0.1", "192.0.0.1", "169.254.169.254", "[fe80::1%25lo]", "[fe80::1]", "here.test", "localhost.",
        "①②⑦.⓪.⓪.①", "127。0。0。1",
    ],
)  # fmt: skip
def test_this_machine_and_private_ones_are_not_connected_to(
    server: Server, names: dict, connected: list[str], host: str
) -> None:
    del names
    server.answers["/x"] = answer(b"secret")
    refusals = (Reason.FORBIDDEN_ADDRESS, Reason.BAD_URL, Reason.UNKNOWN_HOST)  # as the system's resolver takes it
    assert fetch(server.url("/x", host), allow_loopback=False)[0] in refusals
    assert connected == []
    assert server.requests == []


def test_every_address_of_a_name_is_checked_when_it_is_connected_to(
    server: Server, names: dict, connected: list[str]
) -> None:
    names["mixed.test"] = ["10.0.0.1", "::1", "fd00::1", "127.0.0.2", "169.254.169.254", "127.0.0.1"]
    server.answers["/x"] = answer(b"x")
    assert fetch(server.url("/x", "mixed.test")) == [b"x"]
    assert set(connected) <= {"::1", "127.0.0.2", "127.0.0.1"}
    connected.clear()
    names["private.test"] = ["10.0.0.1", "fd00::1", "169.254.169.254"]
    assert fetch(server.url("/x", "private.test")) == [Reason.FORBIDDEN_ADDRESS]
    assert connected == []


def test_a_name_that_changes_its_address_between_tries_gets_nothing(
    server: Server, names: dict, connected: list[str]
) -> None:
    names["rebound.test"] = ["127.0.0.1"]

    async def rebind(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        names["rebound.test"] = ["10.0.0.1", "169.254.169.254"]
        writer.write(redirect("/y"))

    server.answers |= {"/x": rebind, "/y": answer(b"y")}
    assert fetch(server.url("/x", "rebound.test"))[0] in (Reason.FORBIDDEN_ADDRESS, b"y")
    assert fetch(server.url("/y", "rebound.test")) == [Reason.FORBIDDEN_ADDRESS]
    assert set(connected) == {"127.0.0.1"}


@pytest.mark.parametrize(
    "url",
    [
        "x.jpg", "/etc/passwd", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:6379/_x", "data:,x",
        "http://", "http:", "//127.0.0.1/", "http://user@127.0.0.1/", "http://user:pass@127.0.0.1/", "http://127.0.0.1:0/",
        "http://127.0.0.1:22/", "http://127.0.0.1:65536/", "http://127.0.0.1:x/", "http://[::1/",
        "http://127.0.0.1:80:80/", "http://xn--\udcff/", "\0", "é", "unix:///x", "http+unix://x/",
    ],
)  # fmt: skip
def test_what_is_no_url_of_an_image_is_not_asked_for(connected: list[str], url: str) -> None:
    assert fetch(url) == [Reason.BAD_URL]
    assert connected == []


@pytest.mark.parametrize(
    "host", ["a b", "a" * 70 + ".invalid", "a..b.invalid", "nowhere.invalid", "-.invalid", "\r\nHost: x"]
)
def test_a_host_that_cannot_be_is_not_asked(connected: list[str], host: str) -> None:
    assert fetch(f"http://{host}/")[0] in (Reason.BAD_URL, Reason.UNKNOWN_HOST)
    assert connected == []


def test_a_path_cannot_smuggle_a_request(server: Server) -> None:
    server.answers["/xHost:%20evil"] = server.answers["/y%0d%0aHost:%20evil"] = answer(b"x")
    assert fetch(server.url("/x\r\nHost: evil"), server.url("/y%0d%0aHost: evil")) == [b"x", b"x"]
    assert {headers["host"] for _, headers in server.requests} == {f"127.0.0.1:{server.port}"}


# --- tries ---------------------------------------------------------------------------------------------------------


async def reset(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
    writer.transport.abort()


async def cut(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
    writer.write(answer(b"x" * 100)[:-50])
    await writer.drain()
    writer.close()


BUSY, BROKEN = answer(status="429 Too Many Requests"), answer(status="503 Service Unavailable")


@pytest.mark.parametrize("fault", [BUSY, BROKEN, answer(status="500 x"), answer(status="599 x"), reset, cut])
def test_what_may_pass_is_tried_again(server: Server, fault: Any) -> None:
    assert ask(fault, fault, answer(b"x"), retries=2)(server) == b"x"
    assert server.tries == {"/x": 3}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (BUSY, Reason.HTTP_TOO_MANY_REQUESTS), (BROKEN, Reason.HTTP_SERVER_ERROR), (reset, Reason.CONNECTION_FAILED),
        (cut, Reason.CONNECTION_FAILED),
    ],
)  # fmt: skip
def test_tries_come_to_an_end(server: Server, fault: Any, reason: Reason) -> None:
    assert ask(fault, retries=2)(server) == reason
    assert server.tries == {"/x": 3}
    assert ask(fault, retries=0)(server) == reason
    assert server.tries == {"/x": 4}


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "410", "418", "451", "204", "206", "304", "300"])
def test_what_will_not_pass_is_asked_for_once(server: Server, status: str) -> None:
    assert ask(answer(b"", f"{status} x", "Content-Length: 0"))(server) == Reason.HTTP_CLIENT_ERROR
    assert server.tries == {"/x": 1}


def test_a_server_that_names_a_time_is_given_it(server: Server) -> None:
    times: list[float] = []

    async def busy(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        times.append(time.monotonic())
        writer.write(answer(b"", "429 x", "Retry-After: 1") if len(times) == 1 else answer(b"x"))

    assert ask(busy)(server) == b"x"
    assert times[1] - times[0] >= 1


def dated(seconds: float) -> str:
    return format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "tries"),
    [("0", 2), ("3600", 1), ("9" * 400, 1), (dated(-60), 2), (dated(3600), 1), ("soon", 2), ("-5", 2), ("", 2)],
    ids=["now", "an hour", "for ever", "a minute ago", "in an hour", "a word", "negative", "nothing"],
)  # fmt: skip
def test_a_server_that_asks_for_too_long_is_left(server: Server, value: str, tries: int) -> None:
    busy = answer(b"", "503 x", f"Retry-After: {value}")
    assert ask(busy, answer(b"x"))(server) == (b"x" if tries == 2 else Reason.HTTP_SERVER_ERROR)
    assert server.tries == {"/x": tries}


def test_waits_grow(server: Server) -> None:
    times: list[float] = []

    async def busy(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        times.append(time.monotonic())
        writer.write(BUSY)

    assert ask(busy, retries=3, retry_wait=0.1)(server) == Reason.HTTP_TOO_MANY_REQUESTS
    waits = [later - sooner for sooner, later in pairwise(times)]
    assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3


def test_a_closed_port_is_a_failed_connection() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    assert fetch(f"http://127.0.0.1:{port}/", retries=1) == [Reason.CONNECTION_FAILED]


# --- hostile answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"junk\r\n\r\n", b"\x00" * 100, b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**5 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n bad\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
    ],
)  # fmt: skip
def test_answers_that_are_not_http(server: Server, raw: bytes) -> None:
    async def hostile(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    server.answers["/good"] = answer(b"x")
    server.answers["/bad"] = hostile
    bad, good = fetch(server.url("/bad"), server.url("/good"), retries=1)
    assert (bad, good) in [(Reason.CONNECTION_FAILED, b"x"), (Reason.HTTP_CLIENT_ERROR, b"x")]


@pytest.mark.parametrize("line", [b"X-%d: " + b"x" * 8000 + b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_headers_without_an_end_are_left(server: Server, line: bytes) -> None:
    async def endless(_: Server, writer: asyncio.StreamWriter, __: dict) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" if b"X-" in line else b"")
        for number in range(10**9):
            writer.write(line.replace(b"%d", b"%d" % number))
            await writer.drain()

    assert ask(endless, seconds=0.5, retries=0)(server) in (Reason.CONNECTION_FAILED, Reason.DOWNLOAD_TIMEOUT)


def test_long_headers_and_many_are_read(server: Server) -> None:
    long, many = f"X-Long: {'x' * 60_000}", [f"X-{number}: y" for number in range(480)]
    assert ask(answer(b"x", "200 OK", long))(server) == b"x"
    assert ask(answer(b"x", "200 OK", *many))(server) == b"x"
    assert ask(answer(b"x", "200 OK", f"X-Long: {'x' * 70_000}"))(server) == Reason.CONNECTION_FAILED
    assert ask(answer(b"x", "200 OK", *many, *many))(server) == Reason.CONNECTION_FAILED


def test_a_proxy_s_answer_is_one(server: Server) -> None:
    assert ask(answer(b"x", "203 Non-Authoritative Information"))(server) == b"x"


@pytest.mark.parametrize("encoding", ["none", "utf-8", "binary", "aws-chunked", "identity, UTF-8", "image/jpeg", ""])
def test_what_is_no_coding_is_not_taken_for_one(server: Server, encoding: str) -> None:
    assert ask(answer(b"x", "200 OK", f"Content-Encoding: {encoding}"))(server) == b"x"


def test_a_plain_image_that_is_said_to_be_compressed_is_one(server: Server) -> None:
    image = encoded_image("JPEG")
    assert ask(answer(image, "200 OK", "Content-Encoding: gzip"))(server) == image
    packed = gzip.compress(image)
    assert ask(answer(packed, "200 OK", "Content-Encoding: gzip"))(server) == Reason.CONTENT_ENCODED


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
def test_a_compressed_body_is_not_unpacked(server: Server, encoding: str) -> None:
    assert ask(answer(b"x", "200 OK", f"Content-Encoding: {encoding}"))(server) == Reason.CONTENT_ENCODED
    assert ask(answer(b"x", "200 OK", "Content-Encoding: Identity"))(server) == b"x"


# --- opting out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "out"),
    [
        (["noai"], True), (["noimageai"], True), (["NoAI , noindex"], True), (["noindex, noimageai"], True),
        (["noindex", "noai"], True), (["isoenergy: noai"], True), (["ISOENERGY : noindex, NOAI"], True),
        (["otherbot: noai"], False), (["otherbot: noindex, noai"], False), (["otherbot: all", "noai"], True),
        (["otherbot: noai, isoenergy: noimageai"], True), (["isoenergy: noindex, otherbot: noai"], False),
        (["noai, otherbot: all"], True),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], True), (["max-snippet: 5, noai"], True),
        (["none"], False), (["noindex, nofollow"], False), (["noaixyz"], False), ([""], False),
        ([], False), ([":"], False),
    ],
)  # fmt: skip
def test_who_opts_out(values: list[str], out: bool) -> None:
    assert opts_out(values) == out


def test_images_whose_server_opts_out_are_not_taken(server: Server) -> None:
    server.answers = {
        "/a": answer(b"x", "200 OK", "X-Robots-Tag: noindex", "x-robots-tag: NOAI"),
        "/b": redirect("/c", "302 Found", "X-Robots-Tag: noimageai"),
        "/c": answer(b"x", "200 OK", "X-Robots-Tag: otherbot: noai"),
        "/d": answer(b"x", "404 Not Found", "X-Robots-Tag: noai"),
    }
    urls = [server.url(path) for path in server.answers]
    assert fetch(*urls) == [Reason.OPTED_OUT, Reason.OPTED_OUT, b"x", Reason.HTTP_CLIENT_ERROR]
    assert fetch(*urls, ignore_opt_out=True) == [b"x", b"x", b"x", Reason.HTTP_CLIENT_ERROR]


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that nobody vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, address = datetime.datetime.now(datetime.UTC), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused_once(server: Server, own_certificate: ssl.SSLContext) -> None:
    secure = Server().start(own_certificate)
    server.answers["/x"] = redirect(secure.url("/y").replace("http:", "https:"))
    assert fetch(server.url("/x")) == [Reason.CONNECTION_FAILED]
    assert (server.tries, secure.requests, secure.accepted) == ({"/x": 1}, [], 0)
    secure.stop()


# --- reading ahead -------------------------------------------------------------------------------------------------


def test_batches_are_downloaded_ahead_but_not_without_bound(server: Server) -> None:
    asked: list[int] = []
    server.answers = {f"/{n}": answer(b"x") for n in range(30)}

    def batches() -> Iterator[list[str]]:
        for n in range(30):
            asked.append(n)
            yield [server.url(f"/{n}")]

    found = Downloader(DownloadConfig(allow_loopback=True)).fetch(batches())
    assert next(found) == [b"x"]
    deadline = time.monotonic() + 20
    while len(server.requests) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(server.tries) == sorted(f"/{n}" for n in asked) == sorted(f"/{n}" for n in range(5))
    assert len(list(found)) == 29


def test_whoever_stops_early_leaves_nothing_behind(server: Server) -> None:
    hung = threading.Event()

    async def never(_: Server, __: asyncio.StreamWriter, ___: dict) -> None:
        hung.set()
        await asyncio.sleep(600)

    server.answers = {"/x": answer(b"x"), "/never": never}
    batches = [[server.url("/x")], [server.url("/never")] * 3]
    found = Downloader(DownloadConfig(allow_loopback=True, seconds=600)).fetch(batches)
    before = threading.active_count()
    assert next(found) == [b"x"]
    assert hung.wait(20)
    found.close()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_whoever_forgets_it_can_still_end_the_program(server: Server) -> None:
    server.answers["/x"] = answer(b"x")
    program = f"""
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
found = Downloader(DownloadConfig(allow_loopback=True)).fetch([["{server.url("/x")}"]] * 9)
print(next(found))
forgotten = [found]
forgotten.append(forgotten)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert ended.stdout == "[b'x']\n"


def test_an_error_of_the_list_is_the_reader_s(server: Server) -> None:
    def batches() -> Iterator[list[str]]:
        yield [server.url("/x")]
        raise OSError("the list is gone")

    server.answers["/x"] = answer(b"x")
    with pytest.raises(OSError, match="the list is gone"):
        list(Downloader(DownloadConfig(allow_loopback=True)).fetch(batches()))


def test_downloads_work_within_another_event_loop(server: Server) -> None:
    async def within() -> list[Outcome]:
        return fetch(server.url("/x"))

    server.answers["/x"] = answer(b"x")
    assert asyncio.run(within()) == [b"x"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("connections", 0), ("seconds", 0.0), ("seconds", float("nan")), ("retries", -1), ("max_redirects", -1),
     ("max_bytes", 0), ("connections_per_host", -3), ("retry_wait", -0.1)],
)  # fmt: skip
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} must be (0 or more|above 0), got {value}"):
        DownloadConfig(**{name: value})


@pytest.mark.parametrize("agent", ["", " ", "a\r\nHost: x", "é"])
def test_a_user_agent_is_one_line(agent: str) -> None:
    with pytest.raises(InputError, match="user_agent must be printable"):
        DownloadConfig(user_agent=agent)
