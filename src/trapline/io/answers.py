"""What an object store's refusal means, from obstore's message. Nothing of the message itself is passed on: it quotes
addresses and bodies, and these can hold signatures."""

import re
from dataclasses import dataclass

# S3's, GCS's and Azure's names for what is wrong with who asks, not with the object.
_CREDENTIAL_CODES = (
    "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired RequestTimeTooSkewed "
    "InvalidSecurity MissingSecurityHeader NotSignedUp UnrecognizedClientException InvalidClientTokenId "
    "AuthenticationFailed InvalidAuthenticationInfo AccountProblem NoAuthenticationInformation"
)
CREDENTIAL_CODES = frozenset(_CREDENTIAL_CODES.split())
REGION_CODES = frozenset(["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"])
CREDENTIAL_TROUBLE = re.compile(r"UnauthorizedSSOToken|CredentialRetrieval|TokenRetrieval|RefreshWithMFA|SSOToken|sts:")
METADATA_HOSTS = ("metadata.google.internal", "169.254.169.254")  # where cloud machines find their credentials


@dataclass(frozen=True)
class Problem:
    """What an attempt at an object ended with.

    Args:
        kind: May pass: odd (the bytes), transient, throttled, unreachable. The object's: missing, denied, permanent.
            The store's: credentials, region, bucket.
        reason: In words, the same for all objects that share it.
        hint: The store's own name for it, or the right region.
    """

    kind: str
    reason: str
    hint: str = ""

    @property
    def may_pass(self) -> bool:
        return self.kind in ("odd", "transient", "throttled", "unreachable")


def problem_of(error: Exception, *, plain_http: bool = False) -> Problem:
    """Sort an exception of obstore's; a plain web server has no regions and no credentials."""
    text = str(error)
    code = found.group(1) if (found := re.search(r"<Code>(\w{1,60})</Code>", text)) else ""
    status = int(found.group(1)) if (found := re.search(r"status code: (\d{3})", text)) else 0
    if isinstance(error, ValueError):
        return Problem("permanent", "key cannot be asked for (empty, `.` or `..` between slashes)")
    if plain_http and "BareRedirect" in text:
        return Problem("permanent", "redirected to nowhere")
    if plain_http and status:
        return _by_status(status, code)
    if code in REGION_CODES or "BareRedirect" in text:
        region = re.search(r"<Region>([a-z0-9-]{1,40})</Region>|expecting '([a-z0-9-]{1,40})'", text)
        return Problem("region", "redirected to nowhere", next(filter(None, region.groups()), "") if region else "")
    if (code in CREDENTIAL_CODES and status in (400, 401, 403)) or CREDENTIAL_TROUBLE.search(text):
        return Problem("credentials", f"access denied ({status or code})", code)
    if not status and any(host in text for host in METADATA_HOSTS):
        return Problem("credentials", "no credentials", "there are none")
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return Problem("bucket", "no such bucket")
    if status:
        return _by_status(status, code)
    if isinstance(error, FileNotFoundError):
        return Problem("missing", "missing (404)")
    if "MissingContentLength" in text:
        return Problem("permanent", "server states no size (Content-Length)")
    return _by_transport(text)


def _by_status(status: int, code: str) -> Problem:
    if status in (404, 410):
        return Problem("missing", f"missing ({status})")
    if status in (401, 403):
        return Problem("denied", f"access denied ({status})", code)
    if status == 429 or code in ("SlowDown", "ServerBusy", "TooManyRequests"):
        return Problem("throttled", f"throttled ({status})")
    if status >= 500 or status == 408 or code == "RequestTimeout":
        return Problem("throttled" if status == 503 else "transient", f"server error ({status})")
    return Problem("permanent", f"refused ({status})")


def _by_transport(text: str) -> Problem:
    kind = found.group(1) if (found := re.search(r"kind: (Timeout|Connect|Interrupted|Request|Decode)", text)) else ""
    if kind == "Connect":
        if "dns error" in text:
            return Problem("unreachable", "host name not found (DNS)")
        if "certificate" in text:
            return Problem("unreachable", "certificate not trusted")
        return Problem("unreachable", "connection refused" if "Refused" in text else "no connection")
    if kind == "Timeout":
        return Problem("unreachable" if "ConnectError" in text else "transient", "timed out")
    return Problem("transient", "connection broken")
