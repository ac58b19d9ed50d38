from pathlib import Path

from trapline.io.layout import Layout


def test_where_things_lie(tmp_path):
    layout = Layout(tmp_path)
    assert layout.images("islands", None) == tmp_path / "images" / "islands"
    assert layout.images("islands", "photos") == tmp_path / "photos"
    assert layout.images("islands", "/elsewhere/photos") == Path("/elsewhere/photos")
    assert layout.resolve("~/export.json") == Path.home() / "export.json"
    assert layout.shorten(tmp_path / "images" / "islands") == "images/islands"
    assert layout.shorten(Path("/elsewhere/photos")) == "/elsewhere/photos"
    assert layout.table("crops").relative_to(tmp_path) == Path("tables/crops.parquet")
