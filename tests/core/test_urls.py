import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.core import urls
from trapline.core.addresses import addresses
from trapline.core.config import FetchConfig
from trapline.core.schemas import IMAGES

ROW = {"uri": "original/p:1-original.jpg", "file_name": "cam 1/IMG.1.JPG", "image_id": "is/p:1", "dataset": "is"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://host/a b.jpg", "https://host/a b.jpg"),
        ("https://host/a.jpg?X-Amz-Signature=1&X-Amz-Date=2", "https://host/a.jpg"),
        (
            "https://acct.blob.core.windows.net/c/a.jpg?sv=1&se=2&sr=c&sp=rl&sig=x%2B",
            "https://acct.blob.core.windows.net/c/a.jpg",
        ),
        (
            "https://storage.googleapis.com/b/a.jpg?GoogleAccessId=x&Expires=1&Signature=y",
            "https://storage.googleapis.com/b/a.jpg",
        ),
        ("https://d1.cloudfront.net/a.jpg?Policy=x&Key-Pair-Id=y&Signature=z", "https://d1.cloudfront.net/a.jpg"),
        ("https://host/a.jpg?id=7&token=x", "https://host/a.jpg?id=7"),
        ("https://host/a.jpg?id=7%20&size=", "https://host/a.jpg?id=7%20&size="),
        ("https://me:pw@host:81/a.jpg#frag", "https://host:81/a.jpg"),
        ("s3://AKIA:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("abfs://container@acct.dfs.core.windows.net/a", "abfs://container@acct.dfs.core.windows.net/a"),
        ("abfs://c:pw@acct.dfs.core.windows.net/a", "abfs://acct.dfs.core.windows.net/a"),
        ("original/x?sig=1.jpg", "original/x?sig=1.jpg"),
        ("http://[broken/a?sig=1", "http://[broken/a"),
    ],
)
def test_what_lets_in_is_taken_out(text, kept):
    assert urls.without_secrets(text) == kept
    assert urls.without_secrets(kept) == kept


@given(st.text(max_size=40), st.sampled_from(["", "s3://", "https://h/", "http://u:p@h/?sig="]))
def test_any_text_is_taken(text, begin):
    urls.is_url(begin + text)
    assert urls.without_secrets(urls.without_secrets(begin + text)) == urls.without_secrets(begin + text)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        *(("s3://b", True), ("S3://b/p", True), ("https://h", True), ("az://c", True), ("/a/b", False)),
        *(("C:\\a", False), ("s3://", False), ("file:///a", False), ("images", False), ("ftp://h/a", False)),
    ],
)
def test_what_is_a_url(text, remote):
    assert urls.is_url(text) == remote


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (None, "original/p:1-original.jpg"),
        ("{file_name}", "cam 1/IMG.1.JPG"),
        ("thumbs/{image_id}_{stem}{suffix}", "thumbs/p:1_IMG.1.JPG"),
        ("{dataset}/{uri}", "is/original/p:1-original.jpg"),
    ],
)
def test_keys(template, key):
    assert urls.object_key(template, ROW) == key


def test_keys_without_what_they_need():
    bare = {**ROW, "uri": None}
    assert urls.object_key(None, bare) == "cam 1/IMG.1.JPG"
    assert urls.object_key("x/{uri}", bare) is None


@pytest.mark.parametrize(
    "template", ["{", "{0}", "{uri.upper}", "{uri!r}", "{uri:>9}", "{camera}", "fixed", "{uri[0]}"]
)
def test_templates_that_make_no_sense(template):
    assert urls.template_problem(template)


def test_addresses():
    rows = [
        {**ROW, "image_id": "is/1"},
        {**ROW, "image_id": "is/2", "uri": "https://other/a%20b.jpg?sig=x"},
        {**ROW, "image_id": "is/3", "uri": "ftp://other/a.jpg"},
        {**ROW, "image_id": "is/4", "uri": "https://other"},
        {**ROW, "image_id": "is/5", "uri": "/lead/a.jpg"},
        {**ROW, "image_id": "local/6", "dataset": "local"},
    ]
    images = pl.DataFrame(rows, schema=IMAGES.columns)
    found = addresses(images, {"is": "s3://bucket/p"}, None)
    assert found.rows() == [
        ("is/1", "s3://bucket/p", "original/p:1-original.jpg", None),
        ("is/2", "https://other", "a b.jpg", None),
        ("is/3", None, None, "address of a kind that cannot be fetched"),
        ("is/4", None, None, "no key (the export gives none)"),
        ("is/5", "s3://bucket/p", "lead/a.jpg", None),
    ]


def test_the_bucket_of_a_url():
    assert urls.with_bucket("s3://a/p", "b") == "s3://b/p"
    assert urls.with_bucket("s3://a/p", None) == "s3://a/p"
    assert urls.with_bucket("https://a/p", "b") == "https://a/p"


@pytest.mark.parametrize(
    ("text", "n"),
    [("20GB", 20e9), ("1.5 GiB", 1.5 * 2**30), ("500mb", 500e6), ("7", 7), ("3k", 3000), ("2TB", 2e12), (None, None)],
)
def test_sizes(text, n):
    assert FetchConfig(max_disk=text).max_disk_bytes == n
