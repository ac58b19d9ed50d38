"""How templates become pages: everything from outside is escaped as text."""

from functools import cache

import jinja2


@cache
def environment() -> jinja2.Environment:
    """Of templates/."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("trapline.report"),
        autoescape=True,  # labels and file names are hostile input
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
