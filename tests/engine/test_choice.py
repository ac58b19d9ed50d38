import sys

import pytest

from trapline.core.errors import InputError
from trapline.engine.choice import engine_of
from trapline.engine.local import LOCAL
from trapline.engine.ray import connect


def test_this_machine_unless_said_otherwise():
    assert engine_of("local", None) is LOCAL


@pytest.mark.parametrize("options", [{"address": "head:6379"}, {"address": None, "workers": 2}])
def test_a_cluster_s_options_are_refused_without_one(options):
    with pytest.raises(InputError, match="--engine ray"):
        engine_of("local", **options)


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="uv sync --extra ray") as caught:
        connect(None)
    assert "\n" not in str(caught.value)


def test_an_address_where_no_cluster_is():
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        connect("127.0.0.1:1")
