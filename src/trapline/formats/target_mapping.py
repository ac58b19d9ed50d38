"""The reference chain's target mapping: JSON of target -> labels of a classifier that become it."""

from pathlib import Path

import msgspec

from trapline.core.errors import InputError


def read(path: Path) -> dict[str, list[str]]:
    """Target -> labels, in the file's order.

    Raises:
        InputError: It is missing or not such a file.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    except OSError as error:
        raise InputError(f"target mapping {path} cannot be read: {error.strerror or error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'{path} is not a target mapping: {error}. It holds {{"deer": ["mule_deer", "elk"], ...}}: each target '
            "with the classifier's labels that become it."
        ) from None
    if not found or "" in found:
        raise InputError(f"{path} names no target." if not found else f"{path} names a target without a name.")
    return found
