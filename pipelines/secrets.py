"""What may be shown and written of URIs: credentials stand in pyarrow's, before an '@' or among the options."""

from __future__ import annotations

import re
from urllib.parse import unquote

# Options that only say where something is; whatever else stands there may be a secret.
_OPEN = frozenset(
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
# A '/' and an '@' may be part of a secret: where a ':' or an '@' stands before the first '/', all goes up to the last
# '@'. Without either it is a path, in which an '@' hides nothing; and what is masked already stays as it is.
_CREDENTIALS = re.compile(r"(:/{1,2})(?!/|\*\*\*@)(?=[^/\s?]*[:@])[^\s?]*@")
_OPTIONS = re.compile(r"(:/{1,2}[^\s?]*\?)(\S*?)(?=[:;,.'\")]*(?:\s|$))")  # not what ends a sentence


def masked(text: str) -> str:
    """A URI, or a sentence with URIs in it, without their credentials."""
    text = _CREDENTIALS.sub(r"\1***@", text)
    return _OPTIONS.sub(lambda found: found[1] + "&".join(map(_masked_option, found[2].split("&"))), text)


def is_masked(where: str) -> bool:
    """Whether a URI has been masked: nothing can be read by it any more."""
    return "***" in where


def _masked_option(option: str) -> str:
    name, mark, value = option.partition("=")
    if not option or (unquote(name).lower() in _OPEN and "@" not in unquote(value)):
        return option
    return f"{name}=***" if mark else "***"
