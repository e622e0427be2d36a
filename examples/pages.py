"""Download a few hundred pages at once, take them apart and store what they say.

An ordinary asyncio program. A web server on this machine (aiohttp) serves generated pages; a client session
downloads them all, no more than so many at a time; a queue hands them to workers, which store them in SQLite,
or in MariaDB with ``--database mysql://user@host:port/name``. One page answers with an error and one never
answers at all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import web

Result = TypeVar("Result")

VOCABULARY = (
    "amber anchor apple arrow autumn bakery basket beacon birch bridge butter candle canyon carpet castle "
    "cedar cherry cinder circle clover cobalt copper coral cotton crystal daisy desert dragon ember "
    "falcon feather fern forest fossil garden ginger glacier granite harbor hazel honey island ivory "
    "jasmine juniper kettle ladder lagoon lantern lemon linen magnet maple marble meadow mirror mosaic "
    "nectar needle ocean olive orchard pebble"
)
WORDS = VOCABULARY.split()
WORDS_PER_PAGE = 250
LINKS_PER_PAGE = 6
# Every so many pages one is sent in pieces, with no length said beforehand.
PIECEWISE_EVERY = 10


def page_text(number: int, pages: int) -> str:
    """The HTML of one page; the same number always gives the same text."""
    noise = hashlib.shake_128(f"page {number}".encode()).digest(WORDS_PER_PAGE)
    words = [WORDS[byte % len(WORDS)] for byte in noise]
    links = [(number * 7 + step * 13 + 1) % pages for step in range(LINKS_PER_PAGE)]
    anchors = "\n".join(f'<li><a href="/page/{link}">page {link}</a></li>' for link in links)
    paragraphs = "\n".join(
        f"<p>{' '.join(words[start : start + 50])}.</p>" for start in range(0, len(words), 50)
    )
    return (
        f"<!doctype html>\n<html><head><title>{words[0]} &amp; {words[1]}, page {number}</title></head>\n"
        f"<body>\n{paragraphs}\n<ul>\n{anchors}\n</ul>\n</body></html>\n"
    )


@dataclass(frozen=True)
class Site:
    """The generated web site: how many pages, and which two of them are out of order."""

    pages: int

    @property
    def failing(self) -> int:
        return self.pages // 3

    @property
    def hanging(self) -> int:
        return self.pages // 2

    async def answer(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        if number == self.failing:
            return web.Response(status=500, text="this page is broken")
        if number == self.hanging:
            # Until the client gives up: the server cancels the handler then (handler_cancellation).
            await asyncio.Event().wait()
        text = page_text(number, self.pages)
        if number % PIECEWISE_EVERY == 0:
            return await self.answer_piecewise(request, text)
        return web.Response(text=text, content_type="text/html")

    async def answer_piecewise(self, request: web.Request, text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
        await response.prepare(request)
        for line in text.splitlines(keepends=True):
            await response.write(line.encode())
        await response.write_eof()
        return response


@contextlib.asynccontextmanager
async def serve(site: Site) -> AsyncIterator[str]:
    """Run the web server on a free port; gives its address."""
    application = web.Application()
    application.router.add_get(r"/page/{number:\d+}", site.answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Page:
    """What is stored of one page."""

    number: int
    title: str
    links: str
    words: int
    digest: str


class PageParser(HTMLParser):
    """Collects the title, the links and the number of words of the paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self.words = 0
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag == "a":
            self.links.extend(value for name, value in attrs if name == "href" and value)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "title":
            self.title += data
        elif self.inside == "p":
            self.words += len(data.split())


def parse_page(number: int, text: str) -> Page:
    parser = PageParser()
    parser.feed(text)
    parser.close()
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Page(number, parser.title, " ".join(parser.links), parser.words, digest)


CREATE_TABLE = (
    "CREATE TABLE pages (number INTEGER PRIMARY KEY, title VARCHAR(200), links VARCHAR(500), words INTEGER,"
    " digest CHAR(64))"
)
SELECT_ALL = "SELECT number, title, links, words, digest FROM pages ORDER BY number"


class Store(Protocol):
    """What the program asks of a database."""

    async def save(self, page: Page) -> None: ...

    async def load_all(self) -> list[Page]: ...


class SqliteStore:
    """SQLite only blocks, so it lives on one thread of its own, where its connection is made and used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self.connection: sqlite3.Connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[SqliteStore]:
        store = cls(path)
        try:
            await store.in_thread(store.connect)
            try:
                yield store
            finally:
                await store.in_thread(store.connection.close)
        finally:
            store.thread.shutdown()

    async def in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def connect(self) -> None:
        # Every page is a transaction of its own; the file is thrown away, so the disk need not be waited for.
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.execute("DROP TABLE IF EXISTS pages")
        self.connection.execute(CREATE_TABLE)

    def insert(self, page: Page) -> None:
        self.connection.execute(
            "INSERT INTO pages VALUES (:number, :title, :links, :words, :digest)", asdict(page)
        )

    def select(self) -> list[Page]:
        return [Page(*row) for row in self.connection.execute(SELECT_ALL)]

    async def save(self, page: Page) -> None:
        await self.in_thread(self.insert, page)

    async def load_all(self) -> list[Page]:
        return await self.in_thread(self.select)


class MariaDBStore:
    """MariaDB through aiomysql: a pool of connections, one for each worker."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str, connections: int) -> AsyncIterator[MariaDBStore]:
        import aiomysql

        parts = urlsplit(address)
        pool = await aiomysql.create_pool(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            db=parts.path.strip("/"),
            minsize=connections,
            maxsize=connections,
            autocommit=True,
        )
        try:
            store = cls(pool)
            await store.execute("CREATE OR REPLACE" + CREATE_TABLE.removeprefix("CREATE"))
            yield store
        finally:
            pool.close()
            await pool.wait_closed()

    async def execute(self, statement: str, values: Sequence[object] = ()) -> Sequence[Sequence[Any]]:
        async with self.pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, values)
            rows: Sequence[Sequence[Any]] = await cursor.fetchall()
            return rows

    async def save(self, page: Page) -> None:
        await self.execute("INSERT INTO pages VALUES (%s, %s, %s, %s, %s)", list(asdict(page).values()))

    async def load_all(self) -> list[Page]:
        return [Page(*row) for row in await self.execute(SELECT_ALL)]


@contextlib.asynccontextmanager
async def open_store(database: str | None, connections: int) -> AsyncIterator[Store]:
    """The database asked for; none named means SQLite in a temporary folder."""
    if database and database.startswith("mysql://"):
        async with MariaDBStore.open(database, connections) as mariadb:
            yield mariadb
    elif database:
        async with SqliteStore.open(Path(database)) as sqlite:
            yield sqlite
    else:
        with tempfile.TemporaryDirectory(prefix="pages-") as folder:
            async with SqliteStore.open(Path(folder) / "pages.db") as sqlite:
                yield sqlite


class Progress:
    """How far the job is, on stderr: a bar for a person, a plain line per quarter for a file."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.for_a_person = sys.stderr.isatty()

    def advance(self) -> None:
        before = self.done * 4 // self.total
        self.done += 1
        if not self.for_a_person and self.done * 4 // self.total > before:
            print(f"pages: {self.done} of {self.total}", file=sys.stderr, flush=True)

    def draw(self) -> None:
        filled = "#" * (self.done * 40 // self.total)
        sys.stderr.write(f"\r[{filled:<40}] {self.done} of {self.total}")
        sys.stderr.flush()

    @contextlib.asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Redraw the bar ten times a second while the block runs."""
        if not self.for_a_person:
            yield
            return
        drawing = asyncio.create_task(self.draw_for_ever())
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
            self.draw()
            sys.stderr.write("\n")

    async def draw_for_ever(self) -> None:
        while True:
            self.draw()
            await asyncio.sleep(0.1)


@dataclass
class Report:
    """What happened to the pages; the same for every run of the same job."""

    pages: int
    fetched: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    timed_out: list[str] = field(default_factory=list)
    stored: int = 0
    words: int = 0
    digest: str = ""

    def lines(self) -> list[str]:
        failed = "".join(f" ({path}: {reason})" for path, reason in sorted(self.failed.items()))
        timed_out = "".join(f" ({path})" for path in sorted(self.timed_out))
        return [
            f"pages: {self.pages}",
            f"fetched: {self.fetched}",
            f"failed: {len(self.failed)}{failed}",
            f"timed out: {len(self.timed_out)}{timed_out}",
            f"stored rows: {self.stored}",
            f"words: {self.words}",
            f"digest of what is stored: {self.digest}",
        ]


@dataclass
class Job:
    """One run: downloads on one side of the queue, workers on the other."""

    options: argparse.Namespace
    session: aiohttp.ClientSession
    store: Store
    report: Report
    progress: Progress
    started: float
    last_stored_after: float = 0.0

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.options.at_once)
        self.queue: asyncio.Queue[Page | None] = asyncio.Queue(maxsize=2 * self.options.workers)

    async def run(self) -> None:
        async with self.progress.showing(), asyncio.TaskGroup() as workers:
            for number in range(self.options.workers):
                workers.create_task(self.work(), name=f"worker {number}")
            async with asyncio.TaskGroup() as downloads:
                for number in range(self.options.pages):
                    downloads.create_task(self.download(number), name=f"page {number}")
            for _ in range(self.options.workers):
                await self.queue.put(None)

    async def download(self, number: int) -> None:
        path = f"/page/{number}"
        async with self.slots:
            try:
                async with asyncio.timeout(self.options.timeout), self.session.get(path) as response:
                    response.raise_for_status()
                    text = await response.text()
            except aiohttp.ClientResponseError as error:
                self.report.failed[path] = f"{error.status} {error.message}"
            except TimeoutError:
                self.report.timed_out.append(path)
            else:
                self.report.fetched += 1
                await self.queue.put(parse_page(number, text))
        self.progress.advance()

    async def work(self) -> None:
        while (page := await self.queue.get()) is not None:
            await self.store.save(page)
            self.last_stored_after = time.perf_counter() - self.started

    async def sum_up(self) -> None:
        stored = await self.store.load_all()
        self.report.stored = len(stored)
        self.report.words = sum(page.words for page in stored)
        content = "\n".join(repr(asdict(page)) for page in stored)
        self.report.digest = hashlib.sha256(content.encode()).hexdigest()[:32]


async def main(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    report = Report(options.pages)
    async with (
        asyncio.timeout(options.deadline),
        serve(Site(options.pages)) as address,
        open_store(options.database, options.workers) as store,
        aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        job = Job(options, session, store, report, Progress(options.pages), started)
        await job.run()
        await job.sum_up()
    print("\n".join(report.lines()))
    print(f"stored the last page after {job.last_stored_after:.2f} s", file=sys.stderr)
    if options.json:
        loop = type(asyncio.get_running_loop())
        task = type(asyncio.current_task())
        run = {
            "result": asdict(report),
            "stored_after": job.last_stored_after,
            "loop": f"{loop.__module__}.{loop.__qualname__}",
            "task": f"{task.__module__}.{task.__qualname__}",
        }
        options.json.write_text(json.dumps(run, indent=1, sort_keys=True) + "\n")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=400, help="how many pages the site has (default 400)")
    parser.add_argument(
        "--at-once", type=int, default=32, help="how many are downloaded at a time (default 32)"
    )
    parser.add_argument("--workers", type=int, default=4, help="how many tasks store pages (default 4)")
    parser.add_argument("--timeout", type=float, default=3, help="seconds one page may take (default 3)")
    parser.add_argument("--deadline", type=float, default=120, help="seconds the job may take (default 120)")
    parser.add_argument("--database", help="a SQLite file, or mysql://user[:password]@host:port/name")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    if options.pages < 4:
        parser.error("--pages must be 4 at least: two of them are out of order")
    return options


if __name__ == "__main__":
    try:
        asyncio.run(main(parse_options()))
    except KeyboardInterrupt:
        sys.exit("interrupted")
