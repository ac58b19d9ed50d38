"""Images per second and CPU of `fetch`, against the old script's way and a bare keep-alive loop, in one run.

nginx (Debian: apt-get install nginx-light) on loopback serves JPEGs of 150 kB; every way writes the same files:

- bare: one http.client connection kept alive, GET, write, rename; no retries, no ledger, nothing synced;
- old: boto3's download_file in 12 threads, HEAD and GET per object;
- ours: the fetch stage as a project runs it, verified, synced, committed.

Each way runs in a process of its own; imports are not counted. Rounds of bare and ours alternate, and the medians of
their ratios are printed.

    uv run python benchmarks/fetch.py --objects 20000
"""

import argparse
import http.client
import io
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIZE = 150_000
PER_FOLDER = 500
THREADS = 12  # of the old script
CONFIG = """
user root; worker_processes {cores}; pid {work}/nginx.pid; error_log {work}/error.log; daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3; uwsgi_temp_path {work}/4;
  scgi_temp_path {work}/5;
  server {{ listen 127.0.0.1:{port}; root {work}/www; }}
}}
"""


def keys(n: int) -> list[str]:
    """Names of the objects, as Animl's export would give them."""
    return [f"cam{k // PER_FOLDER}/{k:06d}.jpg" for k in range(n)]


def draw(folder: Path, n: int) -> None:
    """n JPEGs of SIZE bytes, each with a comment of its own."""
    from PIL import Image

    noise = random.Random(0).randbytes(320 * 240 * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (320, 240), noise).resize((640, 480)).save(buffer, "JPEG", quality=85)
    picture = buffer.getvalue()
    for k, key in enumerate(keys(n)):
        comment = f"{k:06d}".encode() * 10_000
        segment = b"\xff\xfe" + (2 + 60_000).to_bytes(2, "big") + comment
        padding = SIZE - len(picture) - len(segment) - 4
        more = b"\xff\xfe" + (2 + padding).to_bytes(2, "big") + bytes(padding) if padding > 0 else b""
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture[:2] + segment + more + picture[2:])


def write(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(data)
    os.replace(beside, path)


def bare(port: int, out: Path, names: list[str]) -> Callable[[], None]:
    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for name in names:
            connection.request("GET", f"/bucket/{name}")
            write(out / name, connection.getresponse().read())

    return run


def old(port: int, out: Path, names: list[str]) -> Callable[[], None]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-west-2",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(client.download_file, "bucket", name, str(out / name)) for name in names]:
                done.result()

    return run


def ours(port: int, out: Path, names: list[str]) -> Callable[[], None]:
    import polars as pl

    from trapline.core.config import FetchConfig
    from trapline.core.log import Log
    from trapline.core.schemas import IMAGES
    from trapline.io.ledger import Parts
    from trapline.stages.fetch import fetch

    rows = [{"image_id": name, "dataset": "is", "file_name": name} for name in names]
    images = pl.DataFrame(rows, schema=IMAGES.columns)

    def run() -> None:
        files = fetch(
            images,
            {"is": out.relative_to(out.parent)},
            root=out.parent,
            log=Log(),
            stores={"is": f"http://127.0.0.1:{port}/bucket"},
            cfg=FetchConfig(max_disk="1TB"),
            parts=Parts(out.parent / "parts"),
        )
        assert files["failure"].null_count() == len(names)

    return run


WAYS = {"bare": bare, "old": old, "ours": ours}


def one(way: str, port: int, out: Path, n: int) -> None:
    """Run one way here and print its figures as JSON."""
    names = keys(n)
    for name in names[::PER_FOLDER]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    run = WAYS[way](port, out, names)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"rate": n / seconds, "cpu_ms": 1000 * cpu / n, "memory_mb": after.ru_maxrss / 1024}))


def measure(way: str, port: int, work: Path, n: int) -> dict[str, float]:
    """Figures of one way, in a process of its own, on an empty folder."""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / "out" / "images").mkdir(parents=True)
    os.sync()
    command = [sys.executable, __file__, "--one", way, "--port", str(port), "--work", str(work), "--objects", str(n)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"{way:5} {n:6} images: {found['rate']:6.0f}/s, {found['cpu_ms']:.2f} ms CPU each, {found['memory_mb']:.0f} MB",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--old-objects", type=int, default=1000, help="the old way is slow; a part is enough")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.port, args.work / "out" / "images", args.objects)
        return
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None:
        sys.exit("benchmarks/fetch.py needs nginx: apt-get install nginx-light")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        draw(work / "www" / "bucket", args.objects)
        (work / "nginx.conf").write_text(CONFIG.format(work=work, port=port, cores=os.cpu_count()))
        server = subprocess.Popen([nginx, "-p", str(work), "-c", str(work / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            rounds = []
            for _ in range(args.rounds):
                plain = measure("bare", port, work, args.objects)
                rounds.append((plain, measure("ours", port, work, args.objects)))
            slow = measure("old", port, work, min(args.old_objects, args.objects))
        finally:
            server.terminate()
            server.wait()
    rate = statistics.median(mine["rate"] / plain["rate"] for plain, mine in rounds)
    cpu = statistics.median(mine["cpu_ms"] / plain["cpu_ms"] for plain, mine in rounds)
    ours_rate = statistics.median(mine["rate"] for _, mine in rounds)
    ours_cpu = statistics.median(mine["cpu_ms"] for _, mine in rounds)
    print(f"ours / bare: {rate:.2f} of its images/s (wanted: at least 0.40), {cpu:.2f} of its CPU (at most 2.5)")
    print(f"ours / old: {ours_rate / slow['rate']:.1f} times its images/s (at least 7), ", end="")
    print(f"{ours_cpu / slow['cpu_ms']:.2f} of its CPU")


if __name__ == "__main__":
    main()
