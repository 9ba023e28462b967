"""Redaction of credentials in URIs: pyarrow's have them before an '@' or among the options."""

from __future__ import annotations

import re
from urllib.parse import unquote

# Options that hold no secret; the values of all others are redacted.
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
# A '/' and an '@' may be part of a secret: with a ':' or an '@' before the first '/', everything up to the last '@' is
# redacted. Without either it is a path, in which an '@' follows no secret. Redacted text stays as it is.
_CREDENTIALS = re.compile(r"(:/{1,2})(?!/|\*\*\*@)(?=[^/\s?]*[:@])[^\s?]*@")
_OPTIONS = re.compile(r"(:/{1,2}[^\s?]*\?)(\S*?)(?=[:;,.'\")]*(?:\s|$))")  # without what ends a sentence


def redact(text: str) -> str:
    """Return a URI, or a text with URIs in it, without credentials."""
    text = _CREDENTIALS.sub(r"\1***@", text)
    return _OPTIONS.sub(lambda match: match[1] + "&".join(map(_redact_option, match[2].split("&"))), text)


def is_redacted(uri: str) -> bool:
    """Return whether a URI was redacted: nothing can be read from it any more."""
    return "***" in uri


def _redact_option(option: str) -> str:
    name, mark, value = option.partition("=")
    if not option or (unquote(name).lower() in _PUBLIC_OPTIONS and "@" not in unquote(value)):
        return option
    return f"{name}=***" if mark else "***"
