"""Smoke flows against a real server: sentences, saved values, cleanup, and the ways in which a server is hostile."""

import gzip
import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.http import HttpProber
from backstay.adapters.http.exchange import LARGEST_BODY_BYTES
from backstay.adapters.http.paths import parsed, value_at
from backstay.errors import Cancelled
from backstay.plan import CommandCheck, HttpCheck, Ref, Request, Space, Template
from backstay.ports import Seen
from fix_http import Reply, Site

TOKEN = Ref(Space.SAVED, "token")
RUN = Ref(Space.RUN, "id")
PASSWORD = Ref(Space.ENV, "PASSWORD")

REST = timedelta(seconds=5)


def text(*parts: str | Ref) -> Template:
    return Template(parts)


def look_up(ref: Ref) -> str:
    return {PASSWORD: "hunter2-hunter2", RUN: "run-7"}[ref]


@pytest.fixture
def prober(tmp_path: Path) -> HttpProber:
    return HttpProber(tmp_path, SystemClock())


Ask = Callable[..., Seen]


@pytest.fixture
def ask(prober: HttpProber, site: Site) -> Ask:
    """Probe one request to the site."""

    def probe(method: Any = "GET", path: str = "/health", within: timedelta = REST, **more: Any) -> Seen:
        request = Request(method, text(site.address + path), more.pop("expect", (200,)), **more)
        return prober.probe(HttpCheck("one", (request,), timeout=within), look_up)

    return probe


# ── sentences ────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_told_with_method_path_status_and_time(site: Site, ask: Ask) -> None:
    site.says("GET /health", 503)
    seen = ask()
    assert seen.colour == "red"
    assert seen.why.startswith("GET /health answered 503 in ")
    assert seen.why.endswith(" ms, 200 expected")
    assert (seen.heard, seen.status) == ("answered", 503)


def test_several_statuses_may_be_right(site: Site, ask: Ask) -> None:
    site.says("GET /health", 204)
    assert ask(expect=(200, 204)).colour == "green"
    assert ask(expect=(200, 201)).why.endswith("200 or 201 expected")


def test_nobody_there_is_told_as_such_and_nothing_was_sent(prober: HttpProber) -> None:
    request = Request("POST", text("http://127.0.0.1:1/register"), (201,))
    seen = prober.probe(HttpCheck("x", (request,)), look_up)
    assert (seen.colour, seen.heard) == ("red", "not-sent")
    assert seen.why == "POST /register: 127.0.0.1:1 nobody listens there"


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/", "http://[::1", "http://h/\n", "file:///etc/passwd", ""])
def test_an_address_that_is_none_is_red_and_never_raises(prober: HttpProber, url: str) -> None:
    seen = prober.probe(HttpCheck("x", (Request("GET", text(url), (200,)),)), look_up)
    assert (seen.colour, seen.heard) == ("red", "not-sent")


def test_a_secret_in_the_address_is_not_shown(site: Site, prober: HttpProber) -> None:
    url = text(site.address, "/hook/", PASSWORD, "?key=", PASSWORD)
    seen = prober.probe(HttpCheck("x", (Request("GET", url, (200,)),)), look_up)
    assert site.paths() == ["GET /hook/hunter2-hunter2?key=hunter2-hunter2"]
    assert "GET /hook/*** answered 404" in seen.why


# ── flows ────────────────────────────────────────────────────────────────────────────────────────


def user_flow(site: Site) -> HttpCheck:
    api = site.address
    who = {"email": text("smoke+", RUN, "@example.com"), "password": text(PASSWORD)}
    return HttpCheck(
        "user",
        (
            Request("POST", text(api, "/register"), (201,), json=who),
            Request("POST", text(api, "/login"), (200,), json=who, save={"token": "$.session.token"}),
            Request("POST", text(api, "/lattices"), (201,), json={"dimensions": text("4")}, bearer=text(TOKEN)),
        ),
        (Request("DELETE", text(api, "/me"), (204,), bearer=text(TOKEN)),),
        timeout=REST,
    )


def a_good_site(site: Site) -> None:
    site.says("POST /register", 201)
    site.says("POST /login", 200, {"session": {"token": "t0ps3cret"}})
    site.says("POST /lattices", 201)
    site.says("DELETE /me", 204)


def test_a_flow_carries_what_it_saved_and_cleans_up(site: Site, prober: HttpProber) -> None:
    a_good_site(site)
    seen = prober.probe(user_flow(site), look_up)
    assert seen.colour == "green", seen.why
    assert seen.why.startswith("3 requests answered as expected in ")
    assert seen.saved == {"token": "t0ps3cret"}
    assert site.paths() == ["POST /register", "POST /login", "POST /lattices", "DELETE /me"]
    assert json.loads(site.asked[0].body) == {"email": "smoke+run-7@example.com", "password": "hunter2-hunter2"}
    assert [one.headers.get("Authorization") for one in site.asked[2:]] == ["Bearer t0ps3cret"] * 2


def test_after_a_red_request_nothing_more_is_asked_but_the_cleanup(site: Site, prober: HttpProber) -> None:
    a_good_site(site)
    site.says("POST /lattices", 500, b"t0ps3cret in a stack trace")
    check = user_flow(site)
    check = HttpCheck("user", (*check.flow, Request("GET", text(site.address, "/more"), (200,))), check.cleanup)
    seen = prober.probe(check, look_up)
    assert seen.why.startswith("POST /lattices answered 500 in ")
    assert "stack" not in seen.why
    assert site.paths()[-2:] == ["POST /lattices", "DELETE /me"]


def test_a_cleanup_that_needs_what_was_never_saved_is_left_out(site: Site, prober: HttpProber) -> None:
    a_good_site(site)
    site.says("POST /login", 401)
    assert prober.probe(user_flow(site), look_up).colour == "red"
    assert site.paths() == ["POST /register", "POST /login"]


def test_a_cleanup_that_fails_makes_a_green_flow_red(site: Site, prober: HttpProber) -> None:
    a_good_site(site)
    site.says("DELETE /me", 500)
    seen = prober.probe(user_flow(site), look_up)
    assert seen.colour == "red"
    assert seen.why.startswith("cleanup: DELETE /me answered 500 in ")


def test_a_value_that_is_not_in_the_answer_is_red_and_the_answer_is_not_shown(site: Site, ask: Ask) -> None:
    site.says("GET /health", 200, {"secret": "t0ps3cret"})
    seen = ask(save={"token": "$.token"})
    assert seen.colour == "red"
    assert seen.why.endswith("but the answer has no $.token")


def test_an_answer_without_the_expected_text_is_red(site: Site, ask: Ask) -> None:
    site.says("GET /health", 200, b"status: degraded")
    assert ask(contains="status: ok").colour == "red"
    assert ask(contains="degraded").colour == "green"


# ── hostile servers ──────────────────────────────────────────────────────────────────────────────


def test_a_redirect_to_another_host_is_not_followed(site: Site, other_site: Site, ask: Ask) -> None:
    site.says("GET /health", 302, Location=f"{other_site.address}/steal")
    other_site.says("GET /steal", 200)
    assert ask(bearer=text(PASSWORD)).why.startswith("GET /health answered 302")
    assert other_site.asked == []


def test_a_redirect_on_the_same_host_is_followed_unless_it_is_what_is_expected(site: Site, ask: Ask) -> None:
    site.says("GET /health", 307, Location="/healthz")
    site.says("GET /healthz", 200)
    assert ask().colour == "green"
    assert ask(expect=(307,)).colour == "green"
    assert site.paths() == ["GET /health", "GET /healthz", "GET /health"]


def test_a_redirect_of_a_post_is_not_followed(site: Site, ask: Ask) -> None:
    site.says("POST /health", 307, Location="/elsewhere")
    assert ask("POST").status == 307
    assert len(site.asked) == 1


def test_redirects_in_a_circle_end(site: Site, ask: Ask) -> None:
    site.says("GET /health", 302, Location="/health")
    assert ask().status == 302
    assert len(site.asked) < 10


def test_an_endless_body_is_not_read(site: Site, ask: Ask) -> None:
    def pour(server: Any) -> None:
        server.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not site.done.is_set():
            server.wfile.write(b"x" * 65536)

    site.replies["GET /health"] = Reply(act=pour)
    assert ask().colour == "green", "nobody asked for the body"
    seen = ask(contains="y")
    assert seen.colour == "red"
    assert "longer than" in seen.why


def test_an_answer_that_comes_compressed_is_not_unpacked(site: Site, ask: Ask) -> None:
    bomb = gzip.compress(b" " * (LARGEST_BODY_BYTES * 4) + b"{}")
    site.says("GET /health", 200, bomb, Content_Encoding="gzip")
    seen = ask(save={"a": "$.a"})
    assert seen.colour == "red"
    assert "compressed" in seen.why


def test_a_server_that_drips_is_left_at_the_deadline(site: Site, ask: Ask) -> None:
    def drip(server: Any) -> None:
        server.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not site.done.wait(0.02):
            server.wfile.write(b"x")

    site.replies["POST /health"] = Reply(act=drip)
    began = time.monotonic()
    seen = ask("POST", within=timedelta(milliseconds=300))
    assert time.monotonic() - began < 5
    assert (seen.colour, seen.heard) == ("red", "no-answer")
    assert "did not answer within 300 ms" in seen.why


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"])
def test_half_an_answer_is_none(site: Site, ask: Ask, said: bytes) -> None:
    site.replies["POST /health"] = Reply(act=lambda server: server.wfile.write(said))
    seen = ask("POST", contains="x")
    assert (seen.colour, seen.heard) == ("red", "no-answer")


def test_a_line_break_in_a_header_sends_nothing(site: Site, prober: HttpProber) -> None:
    request = Request("GET", text(site.address), (200,), headers={"X-A": text(PASSWORD)})
    seen = prober.probe(HttpCheck("x", (request,)), lambda ref: "a\r\nX-Admin: yes")
    assert (seen.colour, site.asked) == ("unknown", [])
    assert "admin" not in seen.why.lower()


# ── paths ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.id", "12345678901234567890"),
        ("$.user.ok", "true"),
        ("$.items[1].name", "b"),
        ("$['odd name']", "1.10"),
        ('$["odd name"]', "1.10"),
    ],
)
def test_a_path_finds_its_value(path: str, expected: str) -> None:
    body = b'{"id": 12345678901234567890, "user": {"ok": true}, "items": [{}, {"name": "b"}], "odd name": 1.10}'
    assert value_at(parsed(body), path) == expected


@pytest.mark.parametrize(
    "path", ["$.none", "$.user", "$.items[7]", "$.id.x", "$.items.x", "$.null", "$.empty", "id", "$..id"]
)
def test_a_path_without_a_single_value_says_so(path: str) -> None:
    body = b'{"id": 1, "user": {}, "items": [], "null": null, "empty": ""}'
    with pytest.raises(ValueError):
        value_at(parsed(body), path)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_said_without_showing_it(body: bytes) -> None:
    with pytest.raises(ValueError, match="the answer is not JSON"):
        parsed(body)


# ── programs ─────────────────────────────────────────────────────────────────────────────────────


def command(script: str, env: Mapping[str, Template] | None = None, within: timedelta = REST) -> CommandCheck:
    return CommandCheck("script", tuple(text(part) for part in ("/bin/sh", "-c", script)), env or {}, within)


def test_a_program_that_hangs_is_red_and_gone(prober: HttpProber) -> None:
    seen = prober.probe(command("exec sleep 60", within=timedelta(milliseconds=200)), look_up)
    assert (seen.colour, seen.heard) == ("red", "no-answer")
    assert seen.why == "sh did not end within 200 ms"


def test_a_program_gets_its_secrets_by_environment_and_shows_none(prober: HttpProber) -> None:
    seen = prober.probe(command('test "${#P}" = 15', {"P": text(PASSWORD)}), look_up)
    assert seen.colour == "green"
    seen = prober.probe(command('echo "$P"; exit 9', {"P": text(PASSWORD)}), look_up)
    assert seen.colour == "red"
    assert "hunter2" not in seen.why


def test_a_program_that_is_not_there_is_unknown(prober: HttpProber) -> None:
    assert prober.probe(CommandCheck("x", (text("/no/such/program"),)), look_up).colour == "unknown"


def test_a_secret_among_the_arguments_is_refused(prober: HttpProber) -> None:
    seen = prober.probe(CommandCheck("x", (text("echo"), text(PASSWORD))), look_up)
    assert seen.colour == "unknown"
    assert "hunter2" not in seen.why


def test_being_told_to_stop_is_the_only_thing_that_is_raised(tmp_path: Path) -> None:
    prober = HttpProber(tmp_path, SystemClock(), stop=lambda: True)
    with pytest.raises(Cancelled):
        prober.probe(command("exec sleep 60"), look_up)
