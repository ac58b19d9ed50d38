"""An obstore client for a URL: credentials by profile, environment or none; own retries off (objects.py does them)."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from trapline.core import urls
from trapline.core.config import FetchConfig
from trapline.core.errors import StoreRefused

CREDENTIALS_TTL = timedelta(minutes=5)  # the profile's session renews what it hands out well before it ends


@dataclass(frozen=True)
class Connection:
    """An opened store.

    Args:
        client: The obstore store.
        place: How it is named to a person: the URL, without secrets.
        scheme: s3, gs, az or http.
        who: With which credentials it is asked, in words.
        renew: What to do where these are refused.
    """

    client: Any
    place: str
    scheme: str
    who: str
    renew: str


def connect(url: str, cfg: FetchConfig) -> Connection:
    """Open the store at `url`; its path is the prefix of all keys. Asks nothing of the network, but where credentials
    come from (single sign-on, an instance's role).

    Raises:
        StoreRefused: No such profile, no credentials, or a URL that names no bucket.
    """
    place = urls.without_secrets(url).rstrip("/")
    parts = urlsplit(url)
    if not parts.netloc:
        raise StoreRefused(f"{place} names no bucket or host. Write it as s3://bucket/prefix or https://host/path.")
    options: dict[str, Any] = {
        "client_options": {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=min(cfg.stall_s, 10.0)),
            "read_timeout": timedelta(seconds=cfg.stall_s),
            "timeout": timedelta(seconds=cfg.request_s),
            "user_agent": "trapline",
        },
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(0)},
    }
    if parts.scheme == "s3":
        return _s3(place, parts.netloc, parts.path.strip("/"), cfg, options)
    if parts.scheme == "gs":
        return _gs(place, parts.netloc, parts.path.strip("/"), cfg, options)
    if parts.scheme in ("az", "abfs", "abfss"):
        return _az(place, cfg, options)
    from obstore.store import HTTPStore

    path = quote(parts.path.rstrip("/"), safe="/%~!$&'()*+,;=:@")
    client = HTTPStore(f"{parts.scheme}://{parts.netloc}{path}", **options)
    return Connection(client, place, "http", "no credentials", "See whether the address opens in a browser.")


def _s3(place: str, bucket: str, prefix: str, cfg: FetchConfig, options: dict[str, Any]) -> Connection:
    from obstore.store import S3Store

    settings: dict[str, Any] = {"prefix": prefix or None}
    region = cfg.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if cfg.anonymous:
        settings["skip_signature"] = True
        who, renew = "no credentials (anonymous)", "Name an AWS profile with --profile instead of --anonymous."
    else:
        session = _session(cfg.profile)
        settings["credential_provider"] = _provider(session, cfg.profile)
        region = cfg.region or session.region_name or region
        if cfg.profile is not None:
            who = f"AWS profile {cfg.profile}"
            renew = f"Renew it (aws sso login --profile {cfg.profile}, or new keys), or name another with --profile."
        else:
            who = "the AWS credentials of the environment"
            renew = "Renew them, or name a profile of ~/.aws with --profile."
    endpoint = cfg.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings["endpoint"] = endpoint
    client = S3Store(bucket, region=region or "us-east-1", **settings, **options)
    return Connection(client, place, "s3", f"{who}, region {region or 'us-east-1'}", renew)


def aws_profiles() -> list[str]:
    """The AWS profiles of this user, sorted.

    Raises:
        StoreRefused: Their files cannot be read.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return sorted(boto3.Session().available_profiles)
    except BotoCoreError as error:
        raise StoreRefused(f"the AWS configuration cannot be read ({type(error).__name__}). Mend ~/.aws.") from None


def _session(profile: str | None) -> Any:
    import boto3  # a third of a second: only where S3 is asked with credentials
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    try:
        return boto3.Session(profile_name=profile)
    except ProfileNotFound:
        known = boto3.Session().available_profiles
        raise StoreRefused(
            f"there is no AWS profile {profile}. "
            + (f"Known are {', '.join(sorted(known))}. " if known else "There are none on this machine. ")
            + f"Make it with `aws configure --profile {profile}`, or name another with --profile."
        ) from None
    except BotoCoreError as error:
        raise StoreRefused(f"the AWS configuration cannot be read ({type(error).__name__}). Mend ~/.aws.") from None


def _provider(session: Any, profile: str | None) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        credentials = session.get_credentials()
        if credentials is None:
            raise StoreRefused(
                (f"AWS profile {profile} holds no credentials. " if profile else "no AWS credentials were found. ")
                + "Name a profile that has some with --profile, or ask a public bucket with --anonymous."
            )
        credentials.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        whose = f"AWS profile {profile}" if profile else "the AWS credentials of the environment"
        login = f" (aws sso login --profile {profile})" if profile else ""
        raise StoreRefused(f"{whose} cannot be used: {type(error).__name__}. Log in again{login}.") from None
    return Boto3CredentialProvider(session, ttl=CREDENTIALS_TTL)


def _gs(place: str, bucket: str, prefix: str, cfg: FetchConfig, options: dict[str, Any]) -> Connection:
    from obstore.store import GCSStore

    settings: dict[str, Any] = {"prefix": prefix or None}
    if cfg.anonymous:
        settings["skip_signature"] = True
    if cfg.endpoint:
        settings["base_url"] = cfg.endpoint
    who = "no credentials (anonymous)" if cfg.anonymous else "Google's application default credentials"
    renew = "Log in again (gcloud auth application-default login), or ask a public bucket with --anonymous."
    return Connection(_made(GCSStore, place, bucket, **settings, **options), place, "gs", who, renew)


def _az(place: str, cfg: FetchConfig, options: dict[str, Any]) -> Connection:
    from obstore.store import AzureStore

    settings: dict[str, Any] = {}
    if cfg.anonymous:
        settings["skip_signature"] = True
    if cfg.endpoint:
        settings["endpoint"] = cfg.endpoint
    who = "no credentials (anonymous)" if cfg.anonymous else "the Azure credentials of the environment"
    renew = (
        "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_SAS_TOKEN (or _ACCOUNT_KEY), or ask a public container with "
        "--anonymous."
    )
    client = _made(AzureStore.from_url, place, place, **settings, **options)
    return Connection(client, place, "az", who, renew)


def _made(make: Any, place: str, *arguments: Any, **settings: Any) -> Any:
    """A client, or what its settings lack; obstore's own message could quote a key."""
    from obstore.exceptions import BaseError

    try:
        return make(*arguments, **settings)
    except (BaseError, ValueError):
        account = " Azure needs the account's name in AZURE_STORAGE_ACCOUNT_NAME." if place.startswith("az://") else ""
        raise StoreRefused(f"{place} cannot be opened with the credentials of the environment.{account}") from None
