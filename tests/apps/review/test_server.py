import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from reviews import draw, written
from trapline.apps.review.guard import Guard
from trapline.apps.review.material import Later
from trapline.apps.review.server import application
from trapline.apps.review.session import Query, Session

BASE = "http://127.0.0.1:8000"


class Client:
    """A browser that opened the page."""

    def __init__(self, material, opened=True):
        self.session, self.guard = Session(material, "Ada"), Guard(8000)
        self.http = TestClient(application(self.session, self.guard), base_url=BASE)
        if opened:
            self.http.get("/", params={"token": self.guard.token}).raise_for_status()
        self.headers = {"origin": BASE, "x-trapline-token": self.guard.key}

    def get(self, path, **asked):
        return self.http.get(path, params=asked)

    def decide(self, *rows, action="relabel", to="skunk", tab="t", headers=None):
        body = {"rows": rows, "action": action, "to": to if action == "relabel" else "", "tab": tab}
        return self.http.post("/api/decide", json=body, headers={**self.headers, **(headers or {})})

    def undo(self, **body):
        return self.http.post("/api/undo", json={"tab": "t", **body}, headers=self.headers)


@pytest.fixture
def client(tmp_path):
    return Client(draw(tmp_path / "drawn", 30))


PATHS = ["/", "/page/review.js", "/api/meta", "/api/rows", "/api/crops/0", "/api/changes", "/picture/crop/0"]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(tmp_path, path):
    stranger = Client(draw(tmp_path, 3), opened=False)
    for asked in ({}, {"token": "guess"}, {"token": ""}, {"token": stranger.guard.key}):
        answer = stranger.get(path, **asked)
        assert (answer.status_code, "refused" in answer.text) == (403, True)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", "", "0.0.0.0"]
)
def test_another_host_is_refused(client, host):
    assert client.http.get("/api/meta", headers={"host": host}).status_code == 403


def test_a_forwarded_port_is_no_other_host(client):
    assert client.http.get("/api/meta", headers={"host": "localhost:9999"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:9000"},
        {"x-trapline-token": "guess"},
        {"x-trapline-token": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-length": "10000000"},
    ],
)
def test_another_page_cannot_decide(client, headers):
    assert client.decide(0, headers=headers).status_code == 403
    assert written(client.session.material.corrections) == []


def test_the_cookie_alone_cannot_decide(client):
    body = {"rows": [0], "action": "exclude", "tab": "t"}
    assert client.http.post("/api/decide", json=body).status_code == 403
    assert client.http.post("/api/decide", json=body, headers={"origin": BASE}).status_code == 403


def test_the_page_lets_nothing_in_from_outside(client):
    answer = client.get("/", token=client.guard.token)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert not re.search(r"https?://", answer.text)
    for name in ("review.js", "keys.js", "review.css"):
        assert not re.search(
            r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", client.get(f"/page/{name}").text
        )


@pytest.mark.parametrize("path", ["/page/..%2fguard.py", "/page/review.html", "/docs", "/picture/crop/x"])
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_a_relabel_is_in_the_file_before_it_is_confirmed(client):
    answer = client.decide(1, to="bobcat").json()
    (row,) = written(client.session.material.corrections)
    assert (row["image_id"], row["box_id"], row["action"]) == ("f0001", "b1", "relabel")
    assert (row["from"], row["to"], row["who"]) == ("skunk", "bobcat", "Ada")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", row["when"])
    assert [(r["row"], r["label"], r["action"]) for r in answer["rows"]] == [(1, "bobcat", "relabel")]


def test_filters_and_sorts(client):
    rows = client.session.material.rows
    page = client.get("/api/rows", now="fox", split="test", sort="score, lowest first", limit="3").json()
    expected = [k for k in range(30) if k % 3 == 0 and k % 2 == 1]
    assert page["total"] == len(expected)
    scores = rows["score"].to_list()
    assert [r["row"] for r in page["rows"]] == sorted(expected, key=lambda k: scores[k])[:3]
    worst = client.get("/api/rows", issue="label error").json()
    assert worst["total"] == 6
    assert [r["row"] for r in worst["rows"]] == [25, 20, 15, 10, 5, 0]  # the worst first
    assert client.get("/api/rows", location="cam1").json()["total"] == 6
    client.decide(0, 3)
    assert client.get("/api/rows", decision="relabel").json()["total"] == 2
    assert client.get("/api/rows", now="fox").json()["total"] == 8


def test_a_view_stays_while_decisions_are_made_in_it(client):
    first = client.get("/api/rows", now="fox", view="v", limit="5").json()["rows"]
    client.decide(*[r["row"] for r in first])
    second = client.get("/api/rows", now="fox", view="v", offset="5", limit="5").json()["rows"]
    assert [r["row"] for r in first + second] == list(range(0, 30, 3))
    assert client.get("/api/rows", now="fox", view="w").json()["total"] == 5


def test_undo_takes_back_a_tabs_own_last_decision(client):
    client.decide(0, 1, 2, to="bobcat", tab="one")
    client.decide(5, action="exclude", tab="two")
    answer = client.undo(tab="one").json()
    assert [(r["row"], r["label"], r["action"]) for r in answer["rows"]] == [
        (0, "fox", ""),
        (1, "skunk", ""),
        (2, "bobcat", ""),
    ]
    assert client.get("/api/crops/5").json()["action"] == "exclude"
    assert client.undo(tab="one").json()["rows"] == []
    assert [row["action"] for row in written(client.session.material.corrections)] == ["relabel"] * 3 + ["exclude"] + [
        "undo"
    ] * 3


def test_undo_leaves_what_another_tab_decided_since(client):
    client.decide(0, to="bobcat", tab="one")
    client.decide(0, action="exclude", tab="two")
    assert client.undo(tab="one").json()["rows"] == []
    (row,) = client.undo(tab="one", row=0).json()["rows"]
    assert (row["label"], row["action"]) == ("bobcat", "relabel")


def test_two_servers_see_each_others_decisions(client):
    other = Client(client.session.material)
    client.decide(0, to="bobcat")
    other.decide(1, action="exclude", tab="u")
    news = client.get("/api/changes", since="0").json()
    assert [(r["row"], r["action"]) for r in news["rows"]] == [(0, "relabel"), (1, "exclude")]
    assert len(written(client.session.material.corrections)) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"rows": [99], "action": "accept", "tab": "t"}, 400),
        ({"rows": [-1], "action": "accept", "tab": "t"}, 400),
        ({"rows": [0], "action": "undo", "tab": "t"}, 400),
        ({"rows": [0], "action": "relabel", "to": "  ", "tab": "t"}, 400),
        ({"rows": [0], "action": "relabel", "to": "a\nb", "tab": "t"}, 400),
        ({"rows": "all", "action": "accept", "tab": "t"}, 400),
        ({"rows": [0], "action": "accept", "tab": "t", "who": "Eve"}, 400),
    ],
)
def test_what_makes_no_sense_is_not_written(client, body, status):
    assert client.http.post("/api/decide", json=body, headers=client.headers).status_code == status
    assert written(client.session.material.corrections) == []


def test_neighbours_and_burst(client):
    found = client.get("/api/crops/4").json()
    assert [r["row"] for r in found["burst"]] == [3, 4, 5]
    units = client.session.material.features
    alike = units @ units[4]
    expected = [int(k) for k in (-alike).argsort() if k != 4][:12]
    assert [r["row"] for r in found["neighbours"]] == expected
    assert found["box"] == pytest.approx([0.25, 0.2, 0.2, 4 / 15])


def test_a_missing_picture_says_so(client):
    (client.session.material.corrections.parent / "c0007.jpg").unlink()
    answer = client.get("/picture/crop/7")
    assert (answer.status_code, answer.text) == (404, "file is missing")
    assert client.get("/picture/frame/7").headers["content-type"] == "image/jpeg"


def test_rows_are_there_before_the_features(tmp_path):
    drawn = draw(tmp_path / "m", 6)
    read, units = threading.Event(), drawn.features
    assert isinstance(units, np.ndarray)
    features = Later(lambda: units if read.wait(60) else None)
    session = Session(replace(drawn, features=features), "Ada")
    assert session.page(Query(), 0, 10)["total"] == 6
    session.decide([0], "accept", "", "tab")
    read.set()
    assert len(session.detail(0)["neighbours"]) == 5
    assert session.detail(0)["embedded"]
