"""Objects of a remote store: one at a time and whole, verified, retried within a time budget. The only network.

From any thread, blocking (what a crop worker that streams does):

    store = objects.open_store("s3://bucket/prefix", cfg)      # cfg: FetchConfig; no object is asked for yet
    try:
        data = store.read(key)                                 # bytes: whole, size and checksum verified
    except objects.ObjectFailure as failure:                   # this object: a row whose failure is failure.reason
        ...
    # StoreRefused and StoreDown (TraplineErrors) mean that no object will come: let them end the stage.

From a coroutine on `loop.loop()`, `await store.get(key)` gives the same without a copy. One store serves all threads:
how many requests run and how many bytes are held is bounded by the store, whoever asks.
"""

import asyncio
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from trapline.core.config import FetchConfig
from trapline.core.errors import StoreDown, StoreRefused
from trapline.io.answers import Problem, problem_of
from trapline.io.connect import Connection, connect
from trapline.io.loop import run
from trapline.io.pace import Gate, Pace

FIRST_CONTACT_S = 30.0  # a host that never answered is given up after this
FIRST_ANSWERS_S = 2.0  # how long a refusal waits for another object's success before it is taken as the store's
GIVEN_UP_IN_A_ROW = 16  # objects given up one after another, after which the store itself is
MISSING_AT_FIRST = 100  # objects missing before any came, after which the address must be wrong
LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = {"odd": 0.1, "transient": 0.3, "throttled": 1.0, "unreachable": 1.0}
IMAGES = "`images:`, or --bucket"
BAD_CHECKSUM = "checksum does not match"
_T = TypeVar("_T")


class ObjectFailure(Exception):
    """One object that cannot be had; `reason` in words for the failures table, the same for all that share it.

    `transient`: it might come another time (it timed out, or the server had errors, for as long as it was tried).
    `missing`: the store says that there is none.
    """

    def __init__(self, reason: str, *, transient: bool = False, missing: bool = False):
        super().__init__(reason)
        self.reason = reason
        self.transient = transient
        self.missing = missing


@dataclass(frozen=True)
class Fetched:
    """A whole object.

    Args:
        data: Its bytes, as a buffer.
        checksum: What stands for the bytes: `md5-...` where the store's tag is one, and agrees; else `tag-...`, the tag
            of that version and the size; `sha256-...` where the store gives no tag.
    """

    data: Any
    checksum: str


def open_store(url: str, cfg: FetchConfig, *, proven: bool = False, setting: str = IMAGES) -> "Store":
    """Open the store at `url`, whose path is the prefix of all keys.

    Args:
        proven: Objects came from there before: a refusal is then an object's, not the store's.
        setting: What names the URL, for messages.

    Raises:
        StoreRefused: No such profile, no credentials, or a URL that names no bucket.
    """
    return Store(connect(url, cfg), cfg, proven=proven, setting=setting)


class Stores:
    """Opened stores by their URL, each opened when it is first asked for; for any number of threads. Another process
    that it is sent to opens its own."""

    def __init__(self, cfg: FetchConfig):
        self._cfg = cfg
        self._opened: dict[str, Store] = {}
        self._lock = threading.Lock()

    def open(self, url: str) -> "Store":
        """The store at a URL. Raises as open_store."""
        with self._lock:
            if url not in self._opened:
                self._opened[url] = open_store(url, self._cfg)
            return self._opened[url]

    def read(self, url: str, key: str) -> bytes:
        """An object's bytes, whole and verified. Raises as Store.read."""
        return self.open(url).read(key)

    def __reduce__(self):
        return Stores, (self._cfg,)


class Store:
    """An opened store. `read` and `size` are for threads; `get` and `head` for coroutines on the loop."""

    def __init__(self, connection: Connection, cfg: FetchConfig, *, proven: bool = False, setting: str = IMAGES):
        self.connection = connection
        self.place = connection.place
        self._cfg = cfg
        self._pace = Pace(cfg.max_concurrency)
        self._bytes = Gate(cfg.in_flight_mb * 1_000_000)
        self._proven, self._setting = proven, setting
        self._tags_are_md5: bool | None = None  # not known until one agrees; KMS-encrypted buckets have other tags
        self._begun_at = self._came_at = 0.0  # of the first attempt, and of the last success
        self._given_up = self._missing = 0  # since the last success
        self._ended: StoreRefused | StoreDown | None = None  # what nothing more is asked after

    def read(self, key: str) -> bytes:
        """The object's bytes. Blocks; call it from any thread but the loop's.

        Raises:
            ObjectFailure: This object cannot be had; its `reason` says why.
            StoreRefused, StoreDown: No object can be had.
        """

        async def one() -> bytes:
            return bytes((await self.get(key)).data)

        return run(one())

    def size(self, key: str) -> int:
        """The object's size in bytes, without fetching it. Blocks and raises as `read`."""
        return run(self.head(key))

    async def get(
        self, key: str, *, check: Callable[[Any], str | None] | None = None, budget_s: float | None = None
    ) -> Fetched:
        """Fetch an object whole; what may pass is tried again, with backoff and jitter.

        Args:
            check: Says what is odd about the bytes, or None. Odd bytes are fetched again; the same bytes twice are a
                failure of that reason.
            budget_s: Seconds until the object is given up; at most, and by default, the configuration's.

        Raises:
            ObjectFailure, StoreRefused, StoreDown: As `read`.
        """
        seen: Any = None  # the odd bytes of the attempt before

        async def once() -> Fetched | Problem:
            nonlocal seen
            data, tag = await self._request(key)
            again = seen is not None and data == seen
            checksum, odd = self._verify(data, tag, again)
            odd = odd or (check(data) if check else None)
            if odd is None:
                return Fetched(data, checksum)
            seen = data
            return Problem("permanent" if again else "odd", odd)

        return await self.attempt(once, budget_s)

    async def head(self, key: str) -> int:
        """The object's size in bytes. Raises as `get`."""

        async def once() -> int:
            return (await self.connection.client.head_async(key))["size"]

        return await self.attempt(once, None)

    def usual_s(self) -> float:
        """Seconds that a request takes lately, waits for its turn not included; 0 before the first came."""
        return self._pace.usual_s

    # -- one attempt ----------------------------------------------------------------------------------------------

    async def _request(self, key: str) -> tuple[Any, str]:
        """One GET, whole: its bytes and the store's tag. Waits for room in memory before it reads them."""
        begin = time.monotonic()
        answer = await self.connection.client.get_async(key)
        size = answer.meta["size"]
        if size > self._bytes.limit:
            raise ObjectFailure(f"larger than {self._cfg.in_flight_mb} MB (in_flight_mb)")
        await self._bytes.enter(size)
        try:
            data = await answer.bytes_async()
        finally:
            self._bytes.leave(size)
        self._pace.done(size, time.monotonic() - begin)
        return data, (answer.meta["e_tag"] or "").strip('"')

    def _verify(self, data: Any, tag: str, again: bool) -> tuple[str, str | None]:
        """(checksum, what is odd about the bytes). `again`: the attempt before brought the same."""
        if self._tags_are_md5 is not False and re.fullmatch(r"[0-9a-f]{32}", tag):
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if digest == tag:
                self._tags_are_md5 = True
                return f"md5-{digest}", None
            if not (again and self._tags_are_md5 is None):
                return "", BAD_CHECKSUM
            self._tags_are_md5 = False  # the same bytes twice, and no tag ever agreed: they are no MD5 at all
        return f"tag-{tag}-{len(data)}" if tag else f"sha256-{hashlib.sha256(data).hexdigest()[:32]}", None

    # -- again, or not --------------------------------------------------------------------------------------------

    async def attempt(
        self,
        once: Callable[[], Coroutine[Any, Any, _T | Problem]],
        budget_s: float | None = None,
        *,
        n_bytes: int = 0,
    ) -> _T:
        """Attempts until one succeeds, one fails for good, or the time is up. Waiting for a turn takes no time.

        Args:
            n_bytes: That an attempt moves, where `once` does not tell the pace itself.

        Raises as `read`.
        """
        left = min(budget_s or self._cfg.budget_s, self._cfg.budget_s)
        problem, tries, first, begin = Problem("transient", "timed out"), 0, 0.0, 0.0
        while True:
            await self._pace.gate.enter()
            try:
                if self._ended is not None:
                    raise self._ended
                begin = time.monotonic()
                first = first or begin
                self._begun_at = self._begun_at or begin
                async with asyncio.timeout(left):
                    result = await once()
            except TimeoutError:
                self._pace.refused()
                break
            except (ObjectFailure, StoreRefused, StoreDown):
                raise
            except Exception as error:  # obstore's own, and whatever a source of credentials raises inside it
                result = problem_of(error, plain_http=self.connection.scheme == "http")
            finally:
                self._pace.gate.leave()
            if not isinstance(result, Problem):
                self._came_at, self._given_up = time.monotonic(), 0
                if n_bytes:
                    self._pace.done(n_bytes, self._came_at - begin)
                return result
            problem = result
            await self._judge(problem)
            wait = random.uniform(0.5, 1.0) * min(FIRST_WAIT_S[problem.kind] * 2**tries, LONGEST_WAIT_S)
            tries += 1
            left -= time.monotonic() - begin + wait
            if left <= 0:
                break
            await asyncio.sleep(wait)
        self._count_given_up(first, problem)
        raise ObjectFailure(problem.reason, transient=True)

    async def _judge(self, problem: Problem) -> None:
        """Return where another attempt may help; raise what the problem is otherwise."""
        known = self._proven or self._came_at > 0
        if problem.may_pass:
            if problem.kind != "odd":
                self._pace.refused()
            waited = time.monotonic() - self._begun_at
            if problem.kind == "unreachable" and not self._came_at and waited > FIRST_CONTACT_S:
                self._down(problem, waited)
            return
        if problem.kind == "missing" and not known:
            self._missing += 1
            if self._missing >= MISSING_AT_FIRST:
                self._end_with(
                    StoreRefused(
                        f"none of the first {MISSING_AT_FIRST} images is in {self.place} (asked with "
                        f"{self.connection.who}). Check the dataset's `images:` and fetch's --bucket and --key."
                    )
                )
        if problem.kind == "denied" and not known:
            end = time.monotonic() + min(FIRST_ANSWERS_S, self._cfg.budget_s)
            while not self._came_at and time.monotonic() < end:
                await asyncio.sleep(0.05)
            if not self._came_at:
                self._refuse(problem)
        if problem.kind in ("credentials", "bucket", "region"):
            self._refuse(problem)
        raise ObjectFailure(problem.reason, missing=problem.kind == "missing")

    def _refuse(self, problem: Problem) -> NoReturn:
        who, hint = self.connection.who, problem.hint
        if problem.kind == "bucket":
            self._end_with(StoreRefused(f"{self.place}: there is no such bucket. Check {self._setting}."))
        if problem.kind == "region":
            right = f"--region {hint}" if hint else "--region with its own"
            self._end_with(StoreRefused(f"{self.place} is in another region (asked with {who}). Name it: {right}."))
        why = f"{problem.reason}, {hint}" if hint else problem.reason
        self._end_with(StoreRefused(f"{self.place} refused what was asked with {who}: {why}. {self.connection.renew}"))

    def _count_given_up(self, begin: float, problem: Problem) -> None:
        """End it all where nothing has come for long, rather than fail every object in turn."""
        if self._came_at >= begin:
            return
        self._given_up += 1
        silent = time.monotonic() - max(self._came_at, self._begun_at)
        in_a_row = self._given_up >= GIVEN_UP_IN_A_ROW and silent >= 0.5 * self._cfg.budget_s
        if problem.kind == "unreachable" or in_a_row:
            self._down(problem, silent)

    def _down(self, problem: Problem, seconds: float) -> NoReturn:
        self._end_with(
            StoreDown(
                f"{self.place} has given nothing for {seconds:.0f} s: {problem.reason}. Check the address and the "
                "network, then run the same command again: what was fetched is kept."
            )
        )

    def _end_with(self, error: StoreRefused | StoreDown) -> NoReturn:
        """Raise what concerns the whole store, now and for whoever asks it again."""
        self._ended = self._ended or error
        raise self._ended
