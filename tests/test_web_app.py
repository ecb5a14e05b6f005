"""The pages' interface, asked over real sockets: who is let in to what, and what hostile peers can do."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from hub_server import hub
from pull_driver import SOURCE
from web_world import PASSWORD, AtLine, Device, device, open_site, running

from edgeapp.apps.content_file import ContentFile
from edgeapp.core.events import BackendError, ConfigError, Outcome
from edgeapp.models.golden import Examined
from edgeapp.near_edge.certificates import make
from edgeapp.web import models_api
from edgeapp.web.access import CSRF_HEADER
from edgeapp.web.app import create_app
from edgeapp.web.live import Live
from edgeapp.web.serve import Address, serving
from edgeapp.web.watching import news

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def signed_in(one: Device, user: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with a session."""
    async with httpx.AsyncClient(base_url=one.url, timeout=20) as client:
        client.headers[CSRF_HEADER] = "none"
        answer = await client.post("/api/login", json={"user": user, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers[CSRF_HEADER] = answer.json()["csrf"]
        yield client


async def test_without_a_login_only_the_face_and_the_door_open(tmp_path: Path) -> None:
    async with device(tmp_path, ledger_rows=4) as one, httpx.AsyncClient(base_url=one.url) as client:
        for path in ("/api/session", "/api/visitor/face", "/", "/kiosk", "/login", "/assets/style.css"):
            assert (await client.get(path)).status_code == 200
        for path in (
            "/api/state",
            "/api/station/summary",
            "/api/models",
            "/api/health/doctor",
            "/api/users",
            "/api/audit",
        ):
            assert (await client.get(path)).status_code == 401
        assert (await client.get("/docs")).status_code == 404
        with pytest.raises(websockets.InvalidStatus):
            async with websockets.connect(f"{one.url.replace('http', 'ws')}/api/live") as socket:
                await socket.recv()


async def test_each_role_may_what_it_may_and_every_change_has_a_line(tmp_path: Path) -> None:
    by: list[str] = []
    line = AtLine()
    async with device(tmp_path, ledger_rows=4, acknowledge=by.append, shift=line) as one:
        async with signed_in(one, "viewer") as client:
            assert (await client.get("/api/station/summary")).json()["failed"] == 1
            assert (await client.post("/api/station/acknowledge")).status_code == 403
            assert (await client.get("/api/station/shift")).json() == {"operator": "", "lot": "L1"}
            assert (await client.put("/api/station/shift", json={"operator": "x", "lot": ""})).status_code == 403
            assert (await client.get("/api/users")).status_code == 403
        async with signed_in(one, "operator") as client:
            assert (await client.post("/api/station/acknowledge")).status_code == 204
            assert by == ["operator"]
            changed = await client.put("/api/station/shift", json={"operator": "ann", "lot": "L2"})
            assert (changed.status_code, line.said) == (200, ["ann", "L2", "operator"])
            judged = await client.post("/api/station/verdicts/3/judgement", json={"outcome": "PASS"})
            assert judged.status_code == 200
            again = (await client.get("/api/station/verdicts/3")).json()
            assert [each["operator"] for each in again["judgements"]] == ["operator"]
            assert (
                await client.put("/api/users/eve", json={"role": "viewer", "password": PASSWORD})
            ).status_code == 403
        async with signed_in(one, "engineer") as client:
            assert (
                await client.put("/api/users/eve", json={"role": "viewer", "password": PASSWORD})
            ).status_code == 204
            assert (await client.put("/api/users/eve", json={"role": "viewer", "password": "x"})).status_code == 409
            changes = (await client.get("/api/audit")).json()
    said = [(each["who"], each["what"], each["outcome"].partition(":")[0]) for each in reversed(changes)]
    assert said == [
        ("viewer", "sign in", "done"),
        ("operator", "sign in", "done"),
        ("operator", "acknowledge alarms", "begun"),
        ("operator", "acknowledge alarms", "done"),
        ("operator", "shift", "begun"),
        ("operator", "shift", "done"),
        ("operator", "judge", "begun"),
        ("operator", "judge", "done"),
        ("engineer", "sign in", "done"),
        ("engineer", "users set", "begun"),
        ("engineer", "users set", "done"),
        ("engineer", "users set", "begun"),
        ("engineer", "users set", "refused"),
    ]


async def test_a_new_password_or_a_removed_user_ends_the_sessions_at_once(tmp_path: Path) -> None:
    async with device(tmp_path) as one, signed_in(one, "viewer") as client, signed_in(one, "operator") as other:
        assert (await client.get("/api/state")).status_code == 200
        one.site.users.set("viewer", one.site.users.all()["viewer"].role, "another password")
        one.site.users.remove("operator")
        assert (await client.get("/api/state")).status_code == 401
        assert (await other.get("/api/state")).status_code == 401


async def test_who_signs_out_is_out_and_the_trail_says_so(tmp_path: Path) -> None:
    async with device(tmp_path) as one, signed_in(one, "viewer") as client:
        assert (await client.post("/api/logout")).status_code == 204
        assert (await client.get("/api/state")).status_code == 401
        assert (await client.post("/api/logout")).status_code == 204
        assert [each.what for each in one.site.trail.newest(9)] == ["sign out", "sign in"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({CSRF_HEADER: "wrong"}, 403),
        ({CSRF_HEADER: ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
    ],
)
async def test_a_request_of_another_site_is_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async with device(tmp_path, acknowledge=lambda _: None) as one, signed_in(one, "engineer") as client:
        answer = await client.post("/api/station/acknowledge", headers=headers)
        assert answer.status_code == status


async def test_a_request_that_is_too_large_is_refused_however_it_says_its_size(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(1_000)

    async with device(tmp_path) as one, signed_in(one, "engineer") as client:
        assert (await client.put("/api/users/eve", content=bytes(70_000))).status_code == 413
        with pytest.raises(httpx.HTTPError):
            (await client.put("/api/users/eve", content=endless())).raise_for_status()


async def test_a_websocket_of_another_site_is_refused(tmp_path: Path) -> None:
    async with device(tmp_path) as one:
        for origin, host in (("https://evil.example", None), (one.url, "evil.example")):
            headers = {"Host": host} if host else {}
            with pytest.raises((websockets.InvalidStatus, websockets.InvalidHandshake, websockets.ConnectionClosed)):
                async with websockets.connect(
                    f"{one.url.replace('http', 'ws')}/api/visitor",
                    origin=websockets.Origin(origin),
                    additional_headers=headers,
                ) as socket:
                    await socket.recv()


async def test_the_cookie_cannot_be_read_or_sent_by_another_site_and_the_pages_run_nothing_foreign(
    tmp_path: Path,
) -> None:
    async with device(tmp_path) as one, httpx.AsyncClient(base_url=one.url) as client:
        login = {"user": "viewer", "password": PASSWORD}
        assert (await client.post("/api/login", json=login)).status_code == 403  # no header: a form of another site
        answer = await client.post("/api/login", json=login, headers={CSRF_HEADER: "none"})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        page = await client.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-cache"
        assert (await client.get("/api/state")).headers["cache-control"] == "no-store"


async def test_twenty_wrong_passwords_are_slowed_and_none_stands_in_an_answer_or_the_trail(tmp_path: Path) -> None:
    async with device(tmp_path) as one, httpx.AsyncClient(base_url=one.url) as client:
        answers = [
            await client.post(
                "/api/login", json={"user": "engineer", "password": f"guess number {n}"}, headers={CSRF_HEADER: "x"}
            )
            for n in range(20)
        ]
        assert [each.status_code for each in answers] == [401] * 5 + [429] * 15
        assert all(0 < int(each.headers["retry-after"]) <= 12 for each in answers[5:])
        wrong = await client.post(
            "/api/login", json={"user": "engineer", "password": ["guess"]}, headers={CSRF_HEADER: "x"}
        )
        assert wrong.status_code == 422
        assert "guess" not in wrong.text
        assert "guess" not in (tmp_path / "changes.log").read_text()


async def test_over_tls_the_cookie_belongs_to_this_host_alone(tmp_path: Path) -> None:
    make(tmp_path / "certificates", ("127.0.0.1",), 2)
    server = tmp_path / "certificates" / "server"
    address = Address(port=0, certificate=str(server / "server.pem"), key=str(server / "server.key"))
    live = Live()
    site = open_site(tmp_path, live, secure=True)
    trusted = ssl.create_default_context(cafile=str(server / "ca.pem"))
    async with (
        serving(create_app(site), live, address) as url,
        httpx.AsyncClient(base_url=url, verify=trusted) as client,
    ):
        answer = await client.post(
            "/api/login", json={"user": "viewer", "password": PASSWORD}, headers={CSRF_HEADER: "none"}
        )
        assert url.startswith("https://")
        assert answer.headers["set-cookie"].startswith("__Host-edgeapp=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert (await client.get("/api/session")).json()["user"] == "viewer"
    site.trail.close()


async def test_top_looks_at_a_device_whose_certificate_has_another_name_than_loopback(tmp_path: Path) -> None:
    make(tmp_path / "certificates", ("line3.example",), 2)
    server = tmp_path / "certificates" / "server"
    certificate, live = str(server / "server.pem"), Live()
    site = open_site(tmp_path, live, secure=True)
    live.topic("drops", lambda: {"microphone": 3})

    def look(url: str, trusted: str) -> dict[str, Any]:
        with closing(news(url, "the-device-token", ["drops"], trusted)) as told:
            return next(each for each in told if each)

    async with serving(
        create_app(site), live, Address(port=0, certificate=certificate, key=str(server / "server.key"))
    ) as url:
        assert await asyncio.to_thread(look, url, certificate) == {"drops": {"microphone": 3}}
        with pytest.raises(BackendError, match="certificate verify failed"):
            await asyncio.to_thread(look, url, "")
        with pytest.raises(ConfigError, match=r"give the file of web\.certificate"):
            await asyncio.to_thread(look, url, str(tmp_path / "none.pem"))
    site.trail.close()


async def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    site, live = open_site(tmp_path, Live()), Live()
    with pytest.raises(ConfigError, match="cannot use web"):
        async with serving(
            create_app(site), live, Address(port=0, certificate=str(tmp_path / "x.pem"), key=str(tmp_path / "x.pem"))
        ):
            pass
    site.trail.close()


async def test_where_nobody_has_a_password_the_device_itself_may_look_and_nothing_more(tmp_path: Path) -> None:
    async with device(tmp_path, acknowledge=lambda _: None) as one, httpx.AsyncClient(base_url=one.url) as client:
        (tmp_path / "users.json").unlink()
        assert (await client.get("/api/state")).status_code == 200
        assert (await client.post("/api/station/acknowledge", headers={CSRF_HEADER: ""})).status_code == 403
        assert (await client.get("/api/audit")).status_code == 403


async def test_the_devices_token_may_look_and_nothing_more(tmp_path: Path) -> None:
    headers = {"authorization": "Bearer the-device-token", CSRF_HEADER: ""}
    async with device(tmp_path, acknowledge=lambda _: None) as one:
        async with httpx.AsyncClient(base_url=one.url, headers=headers) as client:
            assert (await client.get("/api/state")).status_code == 200
            assert (await client.post("/api/station/acknowledge")).status_code == 403
        async with httpx.AsyncClient(base_url=one.url, headers={"authorization": "Bearer wrong"}) as client:
            assert (await client.get("/api/state")).status_code == 401


async def test_visitors_see_captions_and_touch_and_nothing_more(tmp_path: Path) -> None:
    async with device(tmp_path) as one:
        one.part(1, Outcome.FAIL)
        async with websockets.connect(f"{one.url.replace('http', 'ws')}/api/visitor") as socket:
            assert set(json.loads(await socket.recv())) == {"hello"}
            assert set(json.loads(await socket.recv())) == {"captions"}
            await socket.send('{"touch": true}')
            await socket.send('{"want": ["verdicts"]}')
            await socket.wait_closed()
            assert socket.close_code == 1008
        assert one.touches == ["pressed", "released"]  # the finger is lifted when the screen goes
        one.site.visitors = "nobody"
        async with httpx.AsyncClient(base_url=one.url) as client:
            assert (await client.get("/api/visitor/face")).status_code == 403


def hostile(chance: random.Random) -> str | bytes:
    """Something that our pages never send."""
    kinds: list[Any] = [
        "", "{", "null", "[]", '"x"', "1e999", '{"want": 1}', '{"want": [1]}', '{"want": [[]]}', '{"got": -1}', '{"got": 1e9}',
        '{"got": "1"}', '{"touch": 1}', '{"touch": null}', "[" * 900, '{"a":' * 200, "\u0000", "\ud7ff", "x" * 60_000, b"", b"\xff\xd8", bytes(60_000),
        '{"want": ["' + "a" * 900 + '"]}', '{"want": ["nothing"], "got": 1}', "NaN", '{"got": true, "x": 2}',
    ]  # fmt: skip
    pick = chance.choice([*kinds, None])
    return chance.randbytes(chance.randint(0, 300)) if pick is None else pick


async def test_a_thousand_hostile_messages_end_their_own_connection_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(3)
    headers = {"Authorization": "Bearer the-device-token"}
    async with device(tmp_path) as one:
        urls = [f"{one.url.replace('http', 'ws')}/api/{door}" for door in ("live", "visitor")]
        sent = connections = 0
        while sent < 1_000:
            connections += 1
            async with websockets.connect(chance.choice(urls), additional_headers=headers, max_size=None) as socket:
                try:
                    for _ in range(8):
                        await socket.send(hostile(chance))
                        sent += 1
                except websockets.ConnectionClosed:
                    pass
        assert connections < 1_000
        async with websockets.connect(urls[0], additional_headers=headers) as socket:  # and the next guest is served
            assert "hello" in json.loads(await socket.recv())
        assert one.live.viewers <= 1


async def test_a_flood_of_good_messages_is_ended(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer the-device-token"}
    async with (
        device(tmp_path) as one,
        websockets.connect(f"{one.url.replace('http', 'ws')}/api/live", additional_headers=headers) as socket,
    ):
        with suppress(websockets.ConnectionClosed):
            for _ in range(2_000):
                await socket.send('{"want": ["verdicts"]}')
        await socket.wait_closed()
        assert socket.close_code == 1008


async def test_the_evidence_is_found_shown_and_paged(tmp_path: Path) -> None:
    async with device(tmp_path, ledger_rows=12) as one, signed_in(one, "viewer") as client:
        rows = (await client.get("/api/station/verdicts", params={"outcome": "FAIL", "last": 2})).json()
        older = (
            await client.get("/api/station/verdicts", params={"outcome": "FAIL", "before": rows[-1]["seq"]})
        ).json()
        assert [row["number"] for row in rows + older] == [10, 6, 2]
        whole = (await client.get(f"/api/station/verdicts/{rows[0]['seq']}")).json()
        assert [(each["label"], each["counts"]) for each in whole["boxes"]] == [
            ("washer", "part"),
            ("scratch", "defect"),
        ]
        assert (whole["serial"], whole["causes"]) == ("S10", ["scratch"])
        picture = await client.get(f"/api/station/images/{rows[0]['image']}")
        assert picture.content.startswith(b"\xff\xd8\xff")
        assert (await client.get(f"/api/station/images/{'0' * 64}.jpg")).status_code == 404
        assert (await client.get("/api/station/images/..%2f..%2fusers.json")).status_code in {404, 422}
        assert (await client.get("/api/station/verdicts/1")).status_code == 404  # the row that opened the session


def _sound(operation: Any, limits: Any, seen: set[int], csrf: str, cookies: dict[str, str]) -> None:
    """Ask one operation with what schemathesis makes of its schema."""
    from hypothesis import given

    @limits  # type: ignore[untyped-decorator]
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers={CSRF_HEADER: csrf}, cookies=cookies)
        seen.add(answer.status_code)
        assert answer.status_code < 500, answer.text

    ask()


def test_schemathesis_finds_no_server_error(tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, settings

    limits = settings(
        max_examples=8, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with running(tmp_path) as one:
        with httpx.Client(base_url=one.device.url) as client:
            login = client.post(
                "/api/login", json={"user": "engineer", "password": PASSWORD}, headers={CSRF_HEADER: "x"}
            )
            cookies, csrf = dict(client.cookies), login.json()["csrf"]
        schema = schemathesis.openapi.from_url(f"{one.device.url}/api/openapi.json")
        codes: dict[str, set[int]] = {}
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            seen = codes.setdefault(f"{operation.method.upper()} {operation.path}", set())
            jar = {} if operation.path == "/api/logout" else cookies  # which would end the session

            _sound(operation, limits, seen, csrf, jar)
    assert len(codes) >= 18
    assert 200 in codes["GET /api/station/summary"]
    assert not [path for path, seen in codes.items() if seen == {401}]


FILES = {"config.json": b"{}", "sub/model.bin": bytes(range(256)) * 4_000}


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model, of FILES, that is not here yet."""
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr(models_api, "source_of", {"tiny": SOURCE}.get)


@pytest.mark.usefixtures("catalogue")
async def test_a_model_is_fetched_with_progress_and_switched_to_if_it_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Examined | ConfigError] = [
        ConfigError("2 of 3 cases are wrong"),
        Examined("tiny", 3, 3, 3, 0, "", 0.1, ""),
    ]

    def check(*_: object) -> Examined:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    async with device(tmp_path / "device", check=check) as one, signed_in(one, "engineer") as client:
        with hub(FILES) as served:
            monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
            assert (await client.post("/api/models/nothing/pull")).status_code == 404
            assert (await client.post("/api/models/tiny/pull")).status_code == 202
            pull: dict[str, Any] = {"state": "under way"}
            for _ in range(600):
                if pull["state"] != "under way":
                    break
                pull = (await client.get("/api/state")).json()["pull"]
                await asyncio.sleep(0.02)
        assert (pull["state"], pull["came_bytes"]) == ("done", sum(map(len, FILES.values())))
        assert "tiny" in [each["name"] for each in (await client.get("/api/models")).json()["here"]]
        refused = await client.post(f"/api/models/{SOURCE.kind}/switch/tiny")
        assert refused.status_code == 409
        assert "2 of 3 cases are wrong" in refused.json()["detail"]
        switched = await client.post(f"/api/models/{SOURCE.kind}/switch/tiny")
        assert switched.json() == {"says": "3 of 3 golden cases right"}
        models = (await client.get("/api/models")).json()
        assert [each["accepted"] for each in models["switches"]] == [True, False]


@pytest.mark.usefixtures("catalogue")
async def test_a_fetch_that_nobody_wants_any_more_is_stopped_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        device(tmp_path / "device") as one,
        signed_in(one, "engineer") as client,
        signed_in(one, "viewer") as other,
    ):

        async def until(*states: str) -> dict[str, Any]:
            async with asyncio.timeout(30):
                while True:
                    pull: dict[str, Any] = (await client.get("/api/state")).json()["pull"]
                    if pull["state"] in states and pull["came_bytes"] > 10_000:
                        return pull
                    await asyncio.sleep(0.01)

        with hub(FILES) as served:
            monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
            served.wrong["sub/model.bin"] = ["cut:1024"] * 1_000  # a link over which it takes seconds
            assert (await client.delete("/api/models/tiny/pull")).status_code == 404
            assert (await client.post("/api/models/tiny/pull")).status_code == 202
            await until("under way")
            assert (await other.delete("/api/models/tiny/pull")).status_code == 403
            assert (await client.delete("/api/models/other/pull")).status_code == 404
            assert (await client.delete("/api/models/tiny/pull")).status_code == 202
            stopped = await until("stopped")
            assert 10_000 < stopped["came_bytes"] < 1_000_000
            assert stopped["says"][-1] == "what came is kept: fetching it again goes on there"
            assert "tiny" not in [each["name"] for each in (await client.get("/api/models")).json()["here"]]
            served.wrong.clear()
            served.served.clear()
            assert (await client.post("/api/models/tiny/pull")).status_code == 202
            await until("done")
            assert served.ranges("model.bin") == [f"bytes={stopped['came_bytes'] - 2}-"]  # the other file has two bytes
        changes = (await client.get("/api/audit")).json()[::-1]
        said = {what: [each["outcome"] for each in changes if each["what"] == what] for what in ("models pull", "models pull stop")}  # fmt: skip
        assert said == {
            "models pull": ["begun", "failed: Stopped", "begun", "done"],
            "models pull stop": ["begun", "done"],
        }


async def test_a_content_is_shown_to_viewers_and_changed_by_engineers_from_the_newest_text_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop.toml").write_text('name = "Corner"\n[[items]]\nname = "hinge"\nprice = 4\n')
    async with device(tmp_path / "device", content=ContentFile(tmp_path / "shop.toml")) as one:
        async with signed_in(one, "viewer") as client:
            was = (await client.get("/api/content")).json()
            assert (was["locked"], was["in_use"]) == ("", True)
            new = {"text": was["text"].replace("4", "5"), "tag": was["tag"]}
            assert (await client.post("/api/content/check", json=new)).status_code == 403
            assert (await client.put("/api/content", json=new)).status_code == 403
        async with signed_in(one, "engineer") as client:
            wrong = await client.post("/api/content/check", json={"text": was["text"].replace("4", "-4")})
            assert wrong.status_code == 409
            assert wrong.json()["detail"].startswith("shop.toml, line 4: items[0].price is -4")
            assert (await client.put("/api/content", json={"text": "x" * 16_001, "tag": ""})).status_code == 422
            saved = await client.put("/api/content", json=new)
            assert saved.json() == {"gone": ["hinge costs 4 euros"], "new": ["hinge costs 5 euros"]}
            second = await client.put("/api/content", json=new)
            assert (second.status_code, second.json()["detail"]) == (
                409, "somebody else saved the content meanwhile: load it, and put in again what you changed",
            )  # fmt: skip
            changes = (await client.get("/api/audit")).json()
    assert [(each["of"], each["outcome"]) for each in reversed(changes) if each["what"] == "content save"] == [
        ("- hinge costs 4 euros; + hinge costs 5 euros", "begun"),
        ("- hinge costs 4 euros; + hinge costs 5 euros", "done"),
        ("no fact", "begun"),
        ("no fact", f"refused: {second.json()['detail']}"),
    ]
