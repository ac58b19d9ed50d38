import subprocess
import sys

RACE = """
import threading
from trapline.io import loop
begin, found = threading.Barrier(16), []
def ask():
    begin.wait()
    found.append(loop.loop())
threads = [threading.Thread(target=ask) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(set(map(id, found))))
"""
END = """
import asyncio
from trapline.io import loop
loop.run(asyncio.sleep(0.05))
asyncio.run_coroutine_threadsafe(asyncio.sleep(60), loop.loop())
print("end")
"""


def outcome(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


def test_threads_that_ask_at_once_get_the_same_loop():
    """Two loops would each wait for a gate that the other opens."""
    assert outcome(RACE) == (0, "1", "")


def test_it_ends_with_its_process():
    assert outcome(END) == (0, "end", "")
