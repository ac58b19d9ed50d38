"""Write the versions installed now into pyproject.toml as `[tool.uv] constraint-dependencies`.

Run it in an environment whose tests are green: `just pin`. No lock file is kept, because it would record addresses.
"""

import importlib.metadata
import re
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
BEGIN, END = "# pins: begin (just pin)\n", "# pins: end\n"


def main() -> None:
    """Replace the block between the two marker lines."""
    names = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    names.pop("trapline", None)
    lines = [f'    "{name.lower().replace("_", "-")}=={version}",\n' for name, version in names.items()]
    block = "".join(["[tool.uv]\n", "constraint-dependencies = [\n", *sorted(lines), "]\n"])
    text = PYPROJECT.read_text()
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    if not re.search(pattern, text, re.DOTALL):
        text += f"\n{BEGIN}{END}"
    PYPROJECT.write_text(re.sub(pattern, lambda _: BEGIN + block + END, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
