"""Crops packed many to a file, beside plain files: how fast they are written, and read at random and in order.

    uv run --with pylance --with litdata --with pyarrow benchmarks/packed.py --n 20000 --folder DIR

On this disk (pages dropped from memory before each reading), and with --s3 from a server that speaks S3 and
answers --delay ms late. Reads of single crops are shared by THREADS threads, as training's loader does; Lance takes
a batch at a time, which is its way to do the same. Rates are of one run: compare within it.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np

THREADS, BATCH, SHARD_BYTES = 16, 64, 64_000_000
ROW_GROUP = 64  # crops of a Parquet row group


def crops(n: int):
    """Names and bytes that nothing compresses, 4 to 80 kB, mostly about 15 kB."""
    rng = np.random.default_rng(0)
    for k, size in enumerate(np.clip(rng.lognormal(9.5, 0.6, n), 4e3, 8e4).astype(int)):
        yield f"islands/cam{k % 97:02}/p-{k:07}.jpg___crop00.jpg", rng.bytes(size)


class Kind:
    """`write(folder, items)`; then `open(where)` and `read(ks)`. `where` is a folder, or an S3 prefix."""

    threads = THREADS
    folder = Path()

    def one(self, k):
        raise NotImplementedError

    def read(self, ks):
        return [self.one(int(k)) for k in ks]


class Files(Kind):
    def write(self, folder, items):
        self.names = []
        for name, data in items:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.names.append(name)

    def open(self, where):
        self.at = blobs(where)

    def one(self, k):
        return self.at(self.names[k])


class Tar(Kind):
    """Uncompressed tar files (WebDataset's format) and an index: shard, offset and size of every crop."""

    def write(self, folder, items):
        self.index, shard, out = [], -1, None
        for name, data in items:
            if out is None or out.offset > SHARD_BYTES:
                if out:
                    out.close()
                shard += 1
                out = tarfile.open(folder / f"{shard:05}.tar", "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, BytesIO(data))
            self.index.append((f"{shard:05}.tar", out.offset - -(-len(data) // 512) * 512, len(data)))
        assert out is not None
        out.close()
        (folder / "index.json").write_text(json.dumps(self.index))

    def open(self, where):
        self.at = blobs(where)

    def one(self, k):
        return self.at(*self.index[k])


class Lance(Kind):
    threads = 1

    def write(self, folder, items):
        import lance  # pyright: ignore[reportMissingImports]
        import pyarrow as pa

        schema = pa.schema([("crop_id", pa.string()), ("data", pa.large_binary())])

        def batches():
            held = []
            for item in items:
                held.append(item)
                if len(held) == 1000:
                    yield pa.record_batch([*map(list, zip(*held, strict=True))], schema=schema)
                    held = []
            if held:
                yield pa.record_batch([*map(list, zip(*held, strict=True))], schema=schema)

        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(folder / "crops.lance"))

    def open(self, where):
        import lance  # pyright: ignore[reportMissingImports]

        options = where.options() if isinstance(where, Bucket) else None
        self.data = lance.dataset(f"{where}/crops.lance", storage_options=options)

    def read(self, ks):
        return self.data.take(list(map(int, ks)), columns=["data"])["data"].to_pylist()


class Parquet(Kind):
    def write(self, folder, items):
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([("crop_id", pa.string()), ("data", pa.large_binary())])
        with pq.ParquetWriter(folder / "crops.parquet", schema, compression="none", use_dictionary=False) as out:
            held = []
            for item in items:
                held.append(item)
                if len(held) == ROW_GROUP:
                    out.write_table(pa.table([*map(list, zip(*held, strict=True))], schema=schema))
                    held = []
            if held:
                out.write_table(pa.table([*map(list, zip(*held, strict=True))], schema=schema))

    def open(self, where):
        import pyarrow.parquet as pq

        fs = where.arrow() if isinstance(where, Bucket) else None
        path = f"{where.path if fs else where}/crops.parquet"
        self.footer = pq.read_metadata(path, filesystem=fs)
        self.each = threading.local()  # a file object serves one thread

        def file():
            if not hasattr(self.each, "file"):
                self.each.file = pq.ParquetFile(path, filesystem=fs, metadata=self.footer, pre_buffer=True)
            return self.each.file

        self.file = file

    def one(self, k):
        table = self.file().read_row_group(k // ROW_GROUP, columns=["data"], use_threads=False)
        return table["data"][k % ROW_GROUP].as_py()


def _same(item):
    return item


class LitData(Kind):
    threads = 1  # its reader keeps state

    def write(self, folder, items):
        from litdata.streaming.writer import BinaryWriter  # pyright: ignore[reportMissingImports]

        writer = BinaryWriter(str(folder), chunk_bytes=SHARD_BYTES)
        for k, (_, data) in enumerate(items):
            writer.add_item(k, {"data": data})
        writer.done()
        writer.merge()

    def open(self, where):
        from litdata import StreamingDataset  # pyright: ignore[reportMissingImports]

        cache = Path(str(self.folder) + ".cache")
        shutil.rmtree(cache, ignore_errors=True)
        if isinstance(where, Bucket):
            options = {"endpoint_url": where.endpoint, "region_name": "us-east-1"}
            self.data = StreamingDataset(str(where), storage_options=options, cache_dir=str(cache))
        else:
            self.data = StreamingDataset(str(where))

    def one(self, k):
        return self.data[k]["data"]


class Place(Files):
    """Plain files, or objects, as trapline reads them: io/places.py and io/away.py."""

    def open(self, where):
        from trapline.core.config import FetchConfig
        from trapline.io import away, places

        under = places.Folder(where)
        if isinstance(where, Bucket):
            under = away.Objects(str(where), FetchConfig(endpoint=where.endpoint))
        self.one = lambda k: under.read(self.names[k])


class Packs(Kind):
    """Tar files as trapline writes and reads them: io/packed.py, 64 crops each, about as the crop stage writes them."""

    pack = 64

    def write(self, folder, items):
        from trapline.io.packed import Packed
        from trapline.io.places import Folder

        place, self.names = Packed(Folder(folder)), []
        for k, (name, data) in enumerate(items):
            place.write(name, data)
            self.names.append(name)
            if k % self.pack == self.pack - 1:
                place.sync(self.names[-self.pack :])
        place.sync(self.names)
        place.settle()

    def open(self, where):
        from trapline.core.config import FetchConfig
        from trapline.io import away, packed
        from trapline.io.places import Folder

        packed._shelves.clear()
        under = Folder(where)
        if isinstance(where, Bucket):
            under = away.Objects(str(where), FetchConfig(endpoint=where.endpoint))
        place = packed.Packed(under)
        place.state(self.names[:1])
        self.one = lambda k: place.read(self.names[k])


KINDS = {
    "files": Files,
    "places": Place,
    "packs": Packs,
    "tar": Tar,
    "lance": Lance,
    "parquet": Parquet,
    "litdata": LitData,
}


# -- where they lie ---------------------------------------------------------------------------------------------------


class Bucket:
    """A prefix of the server's bucket."""

    def __init__(self, endpoint: str, prefix: str):
        self.endpoint, self.path = endpoint, f"crops-bench/{prefix}"

    def __str__(self):
        return f"s3://{self.path}"

    def options(self):
        return {"aws_endpoint": self.endpoint, "allow_http": "true", "aws_region": "us-east-1"}

    def arrow(self):
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(endpoint_override=self.endpoint, region="us-east-1")


def blobs(where):
    """A function of name, and optionally start and length, that gives bytes."""
    if isinstance(where, Bucket):
        from obstore.store import S3Store

        bucket, _, prefix = where.path.partition("/")
        store = S3Store(
            bucket, prefix=prefix, endpoint=where.endpoint, region="us-east-1", client_options={"allow_http": True}
        )
        return lambda name, start=None, length=None: bytes(
            store.get(name).bytes() if start is None else store.get_range(name, start=start, length=length)
        )
    opened = {}

    def read(name, start=None, length=0):
        if start is None:
            return (where / name).read_bytes()
        if name not in opened:
            opened[name] = os.open(where / name, os.O_RDONLY)
        return os.pread(opened[name], length, start)

    return read


class S3(BaseHTTPRequestHandler):
    """As much of S3 as readers ask for: ranges of files below `root`, and listings; each answer comes late."""

    protocol_version = "HTTP/1.1"
    root, delay_s = Path(), 0.0

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        time.sleep(self.delay_s)
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        path = self.root / unquote(url.path).removeprefix("/crops-bench").strip("/")
        if "list-type" in query or url.path.strip("/") == "crops-bench":
            return self.say("200 OK", self.listing(query), body)
        if not path.is_file():
            return self.say("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>", body)
        size = path.stat().st_size
        start, end, status, extra = 0, size - 1, "200 OK", {}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else size - int(last)
            end = min(int(last), size - 1) if first and last else size - 1
            status, extra = "206 Partial Content", {"Content-Range": f"bytes {start}-{end}/{size}"}
        with open(path, "rb") as stream:
            data = os.pread(stream.fileno(), end - start + 1, start) if body else b""
        self.say(status, data, body, length=end - start + 1, **extra)

    def say(self, status, data, body, length=None, **extra):
        code, _, words = status.partition(" ")
        self.send_response_only(int(code), words)
        fields = {"Content-Length": str(len(data) if length is None else length), "ETag": '"1-2"',
                  "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT", "Accept-Ranges": "bytes"}  # fmt: skip
        for name, value in {**fields, **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def listing(self, query):
        prefix, mark = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for path in sorted((self.root / prefix.rpartition("/")[0]).rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if path.is_file() and key.startswith(prefix):
                rest = key.removeprefix(prefix)
                if mark and mark in rest:
                    folders.add(prefix + rest.partition(mark)[0] + mark)
                else:
                    keys.append((key, path.stat().st_size))
        found = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;1-2&quot;</ETag><Size>{size}</Size></Contents>"
            for key, size in keys
        ) + "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in sorted(folders))
        n = len(keys) + len(folders)
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{n}</KeyCount>{found}</ListBucketResult>"
        return text.encode()


def serve(address, root: Path, delay_s: float) -> None:
    """Such a server, in a process of its own."""
    S3.root, S3.delay_s = root, delay_s
    server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
    address.put(server.server_address[1])
    server.serve_forever()


# -- measuring --------------------------------------------------------------------------------------------------------


def forget(folder: Path) -> int:
    """Drop the folder's files from the page cache; their bytes on disk."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            total += path.stat().st_blocks * 512
    return total


def rate(kind: Kind, order: np.ndarray, sizes: list[int], seconds: float) -> float:
    """Crops per second, until they are all read or the time is over; each is checked by its length."""
    begin, done = time.perf_counter(), 0
    parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    with ThreadPoolExecutor(kind.threads) as pool:
        for part in parts:
            # a batch at a time, shared by the threads
            shares = np.array_split(part, kind.threads)
            got = [data for share in pool.map(kind.read, [s for s in shares if len(s)]) for data in share]
            assert [len(data) for data in got] == [sizes[k] for k in part]
            done += len(part)
            if time.perf_counter() - begin > seconds:
                break
    return done / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--delay", type=float, default=20.0, help="ms of every answer")
    parser.add_argument("--seconds", type=float, default=10.0, help="most per measurement")
    args = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    sizes = [len(data) for _, data in crops(args.n)]
    order = np.random.default_rng(1).integers(0, args.n, args.n)  # with replacement, as weighted sampling
    port = None
    if args.s3:
        address = multiprocessing.get_context("spawn").Queue()
        server = multiprocessing.get_context("spawn").Process(
            target=serve, args=(address, args.folder, args.delay / 1000)
        )
        server.daemon = True
        server.start()
        port = address.get()
    print(f"{args.n:,} crops, {sum(sizes) / 1e6:.0f} MB; crops/s")
    print("| kind | files | MB on disk | written | at random | in order | S3 at random | S3 in order |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.kinds:
        kind, folder = KINDS[name](), args.folder / name
        kind.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begin = time.perf_counter()
        kind.write(folder, crops(args.n))
        disk = forget(folder)  # synced: part of writing
        cells = [sum(path.is_file() for path in folder.rglob("*")), f"{disk / 1e6:.0f}"]
        cells.append(f"{args.n / (time.perf_counter() - begin):.0f}")
        places = [folder]
        if args.s3:
            places.append(Bucket(f"http://127.0.0.1:{port}", name))
        for where in places:
            for chosen in (order, np.arange(args.n)):
                forget(folder)
                try:
                    kind.open(where)
                    cells.append(f"{rate(kind, chosen, sizes, args.seconds):.0f}")
                except Exception as error:  # a benchmark goes on
                    cells.append(f"{type(error).__name__}: {str(error)[:60]}")
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
