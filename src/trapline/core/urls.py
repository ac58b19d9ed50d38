"""Addresses of objects: which texts are URLs, what in them is secret, and an image's key. Pure text; no network."""

import string
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "http", "https")
KEY_FIELDS = ("uri", "file_name", "image_id", "dataset", "stem", "suffix")
# Query parameters that let their holder in: pre-signed S3 and GCS URLs, Azure SAS, CloudFront, plain tokens.
SECRET_PREFIXES = ("x-amz-", "x-goog-")
_SECRET_NAMES = (
    "signature sig se sp sv sr st ss srt spr sip skoid sktid skt ske sks skv awsaccesskeyid googleaccessid expires "
    "policy key-pair-id token access_token id_token auth key api_key apikey api-key sas password secret"
)
SECRET_NAMES = frozenset(_SECRET_NAMES.split())


def is_url(text: str) -> bool:
    """Whether a text names a remote place, and not a folder."""
    scheme, mark, rest = text.partition("://")
    return bool(mark) and bool(rest) and scheme.casefold() in SCHEMES


def without_secrets(text: str) -> str:
    """A URL without user, password, signature and token, as it may be stored; any other text as it is."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        # abfs://container@account names a place; a password is one wherever it stands
        keeps_user = parts.scheme in ("abfs", "abfss") and ":" not in (parts.netloc.rpartition("@")[0] or "")
    except ValueError:
        return text.partition("?")[0].partition("#")[0]
    host = parts.netloc if keeps_user else parts.netloc.rpartition("@")[2]
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _is_secret(name)]
    same = len(kept) == len(parse_qsl(parts.query, keep_blank_values=True))
    query = parts.query if same else urlencode(kept)
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _is_secret(name: str) -> bool:
    folded = name.casefold()
    return folded in SECRET_NAMES or folded.startswith(SECRET_PREFIXES)


def object_key(template: str | None, row: Mapping[str, str | None]) -> str | None:
    """An image's key below its dataset's URL, or a whole URL; None where the template needs what the row lacks.

    Args:
        template: Text with KEY_FIELDS in braces. None: the key that the export gives, else the file's name.
        row: uri (may be None), file_name, image_id, dataset of the image.
    """
    if template is None:
        return row["uri"] or row["file_name"]
    name = (row["file_name"] or "").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    image_id = (row["image_id"] or "").removeprefix(f"{row['dataset']}/")
    fields = {**row, "image_id": image_id, "stem": stem if dot else name, "suffix": dot + suffix if dot else ""}
    used = [field for _, field, _, _ in string.Formatter().parse(template) if field]
    if any(fields.get(field) is None for field in used):
        return None
    return template.format_map(fields)


def template_problem(template: str) -> str | None:
    """What is wrong with a key template, or None."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        return f"{error}"
    fields = [field for _, field, _, _ in pieces if field is not None]
    unknown = [field for field in fields if field not in KEY_FIELDS]
    if unknown or any(spec or conversion for _, _, spec, conversion in pieces):
        return f"fields in braces are {', '.join(KEY_FIELDS)}, as they stand"
    return None if fields else "it names no field, so all images would have the same key"


def split_url(url: str) -> tuple[str, str]:
    """(place, key) of an object's whole URL: its bucket or host, and the key in it, not percent-encoded."""
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme.startswith("http") else parts.path
    return f"{parts.scheme}://{parts.netloc}", path.lstrip("/")


def with_bucket(url: str, bucket: str | None) -> str:
    """An s3:// URL with its bucket replaced; any other URL as it is."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=bucket)) if bucket and parts.scheme == "s3" else url
