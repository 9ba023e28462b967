"""Redaction of credentials in URIs. pyarrow accepts credentials before an '@' and in the options of a URI."""

from __future__ import annotations

import re
from urllib.parse import unquote

# Options that contain no secret. The values of all other options are redacted.
_PUBLIC_OPTIONS = frozenset(
    {
        "allow_bucket_creation",
        "allow_bucket_deletion",
        "blob_storage_authority",
        "default_bucket_location",
        "dfs_storage_authority",
        "enable_tls",
        "endpoint_override",
        "region",
        "replication",
        "retry_limit_seconds",
        "scheme",
        "user",
    }
)
# A secret may contain '/' and '@'. If there is a ':' or an '@' before the first '/', everything up to the last '@' is
# redacted. Otherwise the text is a path, in which an '@' does not follow a secret. Redacted text is not changed again.
_CREDENTIALS = re.compile(r"(:/{1,2})(?!/|\*\*\*@)(?=[^/\s?]*[:@])[^\s?]*@")
_OPTIONS = re.compile(r"(:/{1,2}[^\s?]*\?)(\S*?)(?=[:;,.'\")]*(?:\s|$))")  # without punctuation at its end


def redact(text: str) -> str:
    """Return a text with the credentials in its URIs replaced by '***'.

    Args:
        text: A URI, or any text that contains URIs or paths.

    Returns:
        The redacted text; redacting it again does not change it.
    """
    text = _CREDENTIALS.sub(r"\1***@", text)
    return _OPTIONS.sub(lambda match: match[1] + "&".join(map(_redact_option, match[2].split("&"))), text)


def is_redacted(uri: str) -> bool:
    """Return whether a URI has been redacted, so that it cannot be used to access files.

    Args:
        uri: Path or URI.

    Returns:
        True if the text contains '***'.
    """
    return "***" in uri


def _redact_option(option: str) -> str:
    name, mark, value = option.partition("=")
    if not option or (unquote(name).lower() in _PUBLIC_OPTIONS and "@" not in unquote(value)):
        return option
    return f"{name}=***" if mark else "***"
