"""Camtrap DP packages (the Camera Trap Data Package standard): read 0.1 to 1.0, write 1.0.2.

`schemas/` holds the standard's own profile and table schemas of version 1.0.2 (CC0), which validators fetch by URL.
"""

from trapline.formats.camtrap_dp.reader import DESCRIPTOR, is_package, read
from trapline.formats.camtrap_dp.writer import write

__all__ = ["DESCRIPTOR", "is_package", "read", "write"]
