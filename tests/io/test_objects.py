"""The store client against a real server that misbehaves, and a real S3 server (moto)."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from misbehaving import jpeg, misbehaving
from trapline.core.config import FetchConfig
from trapline.core.errors import StoreDown, StoreRefused
from trapline.io import objects
from trapline.io.loop import run

QUICK = FetchConfig(stall_s=0.4, request_s=1.0, budget_s=8.0)
BRIEF = QUICK.model_copy(update={"budget_s": 1.5})


@pytest.fixture
def server():
    with misbehaving() as running:
        running.objects = {f"is/{n}.jpg": jpeg(n) for n in range(4)}
        yield running


def http(server, cfg=QUICK, **kwargs):
    return objects.open_store(f"{server.url}/is", cfg, **kwargs)


def s3(server, cfg=QUICK, **changes):
    changes = {"anonymous": True, "endpoint": server.url, **changes}
    return objects.open_store("s3://is", cfg.model_copy(update=changes))


def test_an_object_comes_whole(server):
    assert http(server).read("0.jpg") == server.objects["is/0.jpg"]
    assert s3(server).read("1.jpg") == server.objects["is/1.jpg"]
    assert server.gets == {"is/0.jpg": 1, "is/1.jpg": 1}
    assert http(server).size("0.jpg") == len(server.objects["is/0.jpg"])


@pytest.mark.parametrize(
    "fault", ["500", "502", "503", "429", "reset", "truncated", "short", "corrupt", "stall", "hang", "503 SlowDown"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_passes_is_tried_again(server, fault, times):
    server.faults["is/0.jpg"] = [fault] * times
    store = http(server)
    assert store.read("1.jpg") == server.objects["is/1.jpg"]
    if fault in ("short", "corrupt") and times == 2:  # the same wrong bytes twice: it is how the object is
        with pytest.raises(objects.ObjectFailure, match="checksum does not match"):
            store.read("0.jpg")
    else:
        assert store.read("0.jpg") == server.objects["is/0.jpg"]
        assert server.gets["is/0.jpg"] == times + 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "server error (500)"),
        ("503", "server error (503)"),
        ("429", "throttled (429)"),
        ("reset", "connection broken"),
        ("truncated", "connection broken"),
        ("stall", "timed out"),
        ("hang", "timed out"),
        ("drip", "timed out"),
    ],
)
def test_what_does_not_pass_is_given_up_in_time(server, fault, reason):
    server.faults["is/0.jpg"] = fault
    store = http(server, BRIEF)
    store.read("1.jpg")
    begin = time.monotonic()
    with pytest.raises(objects.ObjectFailure) as caught:
        store.read("0.jpg")
    assert (caught.value.reason, caught.value.transient) == (reason, True)
    assert time.monotonic() - begin < BRIEF.budget_s + 0.5
    assert server.gets["is/0.jpg"] >= (1 if fault == "drip" else 2)


@pytest.mark.parametrize(
    ("key", "fault", "reason"),
    [
        ("none.jpg", None, "missing (404)"),
        ("0.jpg", "403", "access denied (403)"),
        ("0.jpg", "410", "missing (410)"),
        ("0.jpg", "416", "refused (416)"),
        ("0.jpg", "no length", "server states no size (Content-Length)"),
        ("a//b.jpg", None, "key cannot be asked for (empty, `.` or `..` between slashes)"),
        ("../../etc/passwd", None, "key cannot be asked for (empty, `.` or `..` between slashes)"),
    ],
)
def test_what_is_for_good_is_asked_once(server, key, fault, reason):
    server.faults["is/0.jpg"] = fault or []
    store = http(server)
    store.read("1.jpg")
    with pytest.raises(objects.ObjectFailure) as caught:
        store.read(key)
    assert (caught.value.reason, caught.value.transient) == (reason, False)
    assert server.gets[f"is/{key}"] <= 1


def test_larger_than_memory_may_hold(server):
    server.objects["is/big.jpg"] = bytes(1_500_000)
    with pytest.raises(objects.ObjectFailure, match="larger than 1 MB"):
        http(server, QUICK.model_copy(update={"in_flight_mb": 1})).read("big.jpg")


@pytest.mark.parametrize(
    "key", ["a b.jpg", "a%20b.jpg", "a#b?c.jpg", "é.jpg", "a+b&c.jpg", "[x]'(1)*!~.jpg", "a\\b.jpg"]
)
def test_keys_are_taken_as_they_are(server, key):
    server.objects[f"is/{key}"] = jpeg(9)
    assert http(server).read(key) == jpeg(9)
    assert s3(server).read(key) == jpeg(9)


# -- the store itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "400 ExpiredToken",
            r"s3://is refused what was asked with no credentials \(anonymous\), region us-east-1: acc",
        ),
        ("403 InvalidAccessKeyId", r"access denied \(403\), InvalidAccessKeyId. Name an AWS profile with --profile"),
        ("403 SignatureDoesNotMatch", "SignatureDoesNotMatch"),
        ("403 AccessDenied", r"access denied \(403\), AccessDenied"),
        ("301 PermanentRedirect", "is in another region .* --region with its own"),
        ("400 AuthorizationHeaderMalformed <Region>us-west-2</Region>", "is in another region .*--region us-west-2"),
        ("404 NoSuchBucket", "there is no such bucket"),
    ],
)
def test_what_concerns_the_store_ends_at_once(server, fault, message):
    server.default = fault
    store = s3(server, BRIEF)
    begin = time.monotonic()
    with pytest.raises(StoreRefused, match=message):
        store.read("0.jpg")
    assert time.monotonic() - begin < 2.5
    assert server.gets["is/0.jpg"] == 1


def test_one_forbidden_object_is_not_the_store(server):
    server.faults["is/0.jpg"] = "403 AccessDenied"
    store = s3(server)
    with ThreadPoolExecutor(2) as pool:  # the refusal comes first; it waits for the other's answer
        first = pool.submit(store.read, "0.jpg")
        time.sleep(0.3)
        assert pool.submit(store.read, "1.jpg").result() == server.objects["is/1.jpg"]
        with pytest.raises(objects.ObjectFailure, match=r"access denied \(403\)"):
            first.result()


def test_an_address_of_nothing_but_missing_images_is_wrong(server):
    async def many(store):
        return await asyncio.gather(*(store.get(f"no{n}.jpg") for n in range(300)), return_exceptions=True)

    found = run(many(http(server)))
    assert any(isinstance(error, StoreRefused) for error in found)
    assert "none of the first 100 images is in" in str(
        next(error for error in found if isinstance(error, StoreRefused))
    )
    found = run(many(http(server, proven=True)))
    assert all(isinstance(error, objects.ObjectFailure) for error in found)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://nosuch.invalid/x", r"host name not found \(DNS\)"), ("http://127.0.0.1:1/x", "connection refused")],
)
def test_a_host_that_cannot_be_reached(url, reason):
    begin = time.monotonic()
    with pytest.raises(StoreDown, match=rf"has given nothing for \d s: {reason}. Check the address and the network"):
        objects.open_store(url, BRIEF).read("0.jpg")
    assert 0.5 < time.monotonic() - begin < 2.5


def test_a_store_that_went_down_ends_it(server):
    """Not every image of a hundred thousand has to wait out its own budget."""
    server.default = "500"
    store = http(server, BRIEF)

    async def many():
        return await asyncio.gather(*(store.get(f"{n}.jpg") for n in range(40)), return_exceptions=True)

    assert any(isinstance(error, StoreDown) for error in run(many()))


def test_no_such_profile(server, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text("[other]\naws_access_key_id = A\naws_secret_access_key = B\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(
        StoreRefused, match=r"there is no AWS profile animl. Known are other. Make it with `aws configure"
    ):
        s3(server, anonymous=False, profile="animl")


def test_the_profile_signs(server, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text("[animl]\naws_access_key_id = AKIATEST\naws_secret_access_key = hushhush\n")
    (tmp_path / "config").write_text("[profile animl]\nregion = us-west-2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = s3(server, anonymous=False, profile="animl")
    assert store.read("0.jpg") == server.objects["is/0.jpg"]
    signed = server.requests[-1][1]["authorization"]
    assert "Credential=AKIATEST/" in signed
    assert "/us-west-2/s3/" in signed
    server.default = "400 ExpiredToken"
    with pytest.raises(StoreRefused) as caught:
        store.read("1.jpg")
    assert "AWS profile animl, region us-west-2: access denied (400), ExpiredToken. Renew it (aws sso login" in str(
        caught.value
    )
    assert "hush" not in str(caught.value)
    assert "AKIATEST" not in str(caught.value)


def test_anonymous_is_not_signed(server):
    s3(server).read("0.jpg")
    assert "authorization" not in server.requests[-1][1]


@pytest.mark.parametrize(("url", "name"), [("gs://is/pre", "is/pre/0.jpg"), ("az://is/pre", "is/pre/0.jpg")])
def test_google_and_azure(server, url, name, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acct")
    server.objects[name] = jpeg(3)
    cfg = QUICK.model_copy(update={"anonymous": True, "endpoint": server.url})
    assert objects.open_store(url, cfg).read("0.jpg") == jpeg(3)


# -- checksums ----------------------------------------------------------------------------------------------------


def test_tags_that_are_no_checksums_are_not_held_against_the_bytes(server):
    """Buckets encrypted with KMS keys have tags that look like MD5 and are not."""
    server.tags = False
    store = http(server)
    assert store.read("0.jpg") == server.objects["is/0.jpg"]
    assert store.read("1.jpg") == server.objects["is/1.jpg"]
    assert server.gets == {"is/0.jpg": 2, "is/1.jpg": 1}


def test_the_checksum_names_its_kind(server):
    async def both(store):
        return (await store.get("0.jpg")).checksum

    import hashlib

    data = server.objects["is/0.jpg"]
    assert run(both(http(server))) == f"md5-{hashlib.md5(data).hexdigest()}"
    server.faults["is/0.jpg"] = lambda to: to.send("200 OK", data)
    assert run(both(http(server))) == f"sha256-{hashlib.sha256(data).hexdigest()[:32]}"


# -- how many at a time -------------------------------------------------------------------------------------------


def all_of(store, n):
    async def many():
        await asyncio.gather(*(store.get(f"{k % 4}.jpg") for k in range(n)))

    run(many())


def test_never_more_requests_than_allowed(server):
    server.delay = 0.02
    all_of(http(server, QUICK.model_copy(update={"max_concurrency": 3})), 60)
    assert server.most_inside == 3


def test_waiting_for_a_turn_is_not_held_against_an_object(server):
    server.delay = 0.05
    all_of(http(server, QUICK.model_copy(update={"max_concurrency": 1, "budget_s": 1.0})), 40)
    assert sum(server.gets.values()) == 40


def test_the_number_of_requests_grows_where_it_pays(server):
    server.delay = 0.05
    all_of(http(server, FetchConfig()), 800)
    assert server.most_inside > 16


def test_the_number_of_requests_shrinks_where_it_is_too_many(server):
    """A server that takes four at a time and throttles the rest is not hammered, and everything comes."""
    refused = 0
    plain = server.answer

    def answer(to, method, name, path, headers):
        nonlocal refused
        if server.inside > 4:
            refused += 1
            to.send("503 Slow Down", b"")
            return True
        time.sleep(0.01)
        return plain(to, method, name, path, headers)

    server.answer = answer
    store = http(server, FetchConfig())
    all_of(store, 400)
    assert sum(server.gets.values()) == 400
    assert refused < 200
    assert store._pace.gate.limit <= 12


def test_bytes_in_flight_are_bounded(server):
    """With room for three bodies of 0.3 MB, no fourth is read before one is done."""
    big = jpeg(1) + bytes(300_000)
    held = most = 0
    guard = threading.Lock()

    def slowly(to):
        nonlocal held, most
        to.send("200 OK", b"", length=len(big))
        to.wfile.write(big[:1000])
        to.wfile.flush()
        time.sleep(0.05)
        to.wfile.write(big[1000:])
        return True

    server.objects = {f"is/{n}.jpg": big for n in range(4)}
    server.faults = {f"is/{n}.jpg": slowly for n in range(4)}
    store = http(server, FetchConfig(in_flight_mb=1))
    enter, leave = store._bytes.enter, store._bytes.leave

    async def entering(weight=1):
        nonlocal held, most
        await enter(weight)
        with guard:
            held += weight
            most = max(most, held)

    def leaving(weight=1):
        nonlocal held
        with guard:
            held -= weight
        leave(weight)

    store._bytes.enter, store._bytes.leave = entering, leaving
    all_of(store, 24)
    assert 2 * len(big) <= most <= 1_000_000


def test_many_threads_share_one_store(server):
    store = http(server, QUICK.model_copy(update={"max_concurrency": 4}))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: store.read(f"{n % 4}.jpg"), range(80)))
    assert found == [server.objects[f"is/{n % 4}.jpg"] for n in range(80)]
    assert server.most_inside <= 4
