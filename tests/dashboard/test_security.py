"""Who is answered, and what browsers are told."""

from __future__ import annotations

from evolver.dashboard.security import Access
from tests.dashboard.conftest import opened

TOKEN = "a secret; with = signs"


def test_only_names_of_this_server_are_answered(sqlite_url: str) -> None:
    with opened(sqlite_url) as pages:
        for host, status in (
            ("127.0.0.1:8050", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8050", 200),
            ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("10.0.0.1", 421), ("", 421),
        ):  # fmt: skip
            assert pages.get("/", headers={"host": host}).status_code == status, host


def test_a_server_for_others_needs_a_token_and_answers_addresses() -> None:
    access = Access.to("0.0.0.0", None, ["gpu.example.org"])
    assert access.token
    assert len(access.token) >= 32
    assert access.token != Access.to("0.0.0.0", None).token
    assert access.answers("192.168.1.5:8050")
    assert access.answers("gpu.example.org")
    assert access.answers("[fe80::1]:8050")
    assert not access.answers("evil.example")
    assert Access.to("127.0.0.1", None).token is None
    assert Access.to("localhost", None).is_local
    assert Access.to("::1", None).is_local


def test_the_token_opens_the_pages_once_and_the_cookie_from_then_on(sqlite_url: str) -> None:
    with opened(sqlite_url, Access.to("127.0.0.1", TOKEN)) as pages:
        for path in ("/", "/static/dashboard.css", "/?token=wrong", "/?token=", "/experiment/1?token=ä"):
            refused = pages.get(path)
            assert refused.status_code == 401
            assert refused.text == (
                "evolver: wrong or missing token; open the address that 'evolver dashboard' printed\n"
            )
        admitted = pages.get("/compare", params={"token": TOKEN, "a": "1"})
        assert admitted.status_code == 303
        assert admitted.headers["location"] == "/compare?a=1"
        cookie = admitted.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        assert pages.get("/").status_code == 200
        assert pages.get("/?token=wrong").status_code == 401
        pages.cookies.clear()
        assert pages.get("/").status_code == 401


def test_the_token_never_leads_to_another_host(sqlite_url: str) -> None:
    with opened(sqlite_url, Access.to("127.0.0.1", TOKEN)) as pages:
        admitted = pages.get("http://127.0.0.1//evil.example/", params={"token": TOKEN})
        assert admitted.headers["location"] == "/evil.example/"


def test_nothing_but_reading(sqlite_url: str) -> None:
    with opened(sqlite_url) as pages:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert pages.request(method, "/").status_code == 405


def test_every_answer_has_the_policy(sqlite_url: str) -> None:
    with opened(sqlite_url) as pages:
        for path in ("/", "/nothing", "/static/htmx.min.js", "/genome/1"):
            headers = pages.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
        assert pages.get("/", headers={"host": "evil.example"}).headers["content-security-policy"]


def test_assets_are_kept_and_packed_and_pages_are_not(sqlite_url: str) -> None:
    with opened(sqlite_url) as pages:
        text = pages.get("/").text
        assert "https://" not in text
        asset = pages.get("/static/plotly.min.js?v=1")
        assert asset.headers["content-encoding"] == "gzip"
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-type"].startswith("text/javascript")
        plain = pages.get("/static/dashboard.css", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert pages.get("/").headers["cache-control"] == "no-store"
