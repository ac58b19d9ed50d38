"""What torchrun tells each of the processes that it starts side by side, by environment variables."""

import os


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are; (0, 1) where torchrun did not start it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")) if world > 1 else 0), world
