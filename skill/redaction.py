"""Redact another program's output: remove tokens, account names and addresses."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

_LABELS = r"auth[ _-]?token|token|api[ _-]?key|key|credential|password"
_LABEL = re.compile(
    rf"""(\b(?:{_LABELS})s?\b["']?(?:\s*[:=]\s*|\s+(?=["']))["']?|--authtoken[ =])"""
    r"""(?!https?://)[^\s"',;]+""",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"\b(?:[a-z]{2,4}_\w{10,}|(?=\w*\d)\w{24,})~?|\b(?=[\w-]*\d)[\w-]{28,}")
_ACCOUNT_NAME = re.compile(r"""(\baccount\s+)(['"]).*?\2""", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"\b[a-z]{2,6}://[^\s\"'`]+", re.IGNORECASE)
_HOST = re.compile(r"\b(?:[a-z0-9](?:[\w-]*[a-z0-9])?\.)+[a-z]{2,}\b(?::\d+)?", re.IGNORECASE)
_IP = re.compile(
    r"\[[0-9a-f:.]+(?:%\w+)?\](?::\d+)?|\b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?"
    r"|\b(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{0,4}|(?<![\w:])(?:[0-9a-f]{0,4}:)*:(?::?[0-9a-f]{1,4})+",
    re.IGNORECASE,
)
# ngrok's own pages and servers: these may be shown.
_PUBLIC = re.compile(r"(?:.*\.)?ngrok(?:-agent)?\.com", re.IGNORECASE)
_FILE = re.compile(r".*\.(?:ya?ml|json|log|exe|py|sh|txt)", re.IGNORECASE)
_ERROR_CODE = re.compile(r"ERR_NGROK_\d+")


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Replace tokens, account names and addresses, except the addresses of ngrok's own pages."""
    text = redact_secrets(text, secrets)
    text = _LABEL.sub(r"\1<token>", text)
    text = _ACCOUNT_NAME.sub(r"\1<name>", text)
    text = _MAIL.sub("<address>", text)
    text = _URL.sub(lambda found: _address(found[0], _host(found[0])), text)
    text = _IP.sub("<address>", text)
    text = _HOST.sub(lambda found: _address(found[0], found[0].split(":")[0]), text)
    return redact_tokens(text)


def redact_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Replace known secrets; a short secret is replaced only as a whole word."""
    for secret in sorted(secrets, key=len, reverse=True):
        whole = re.escape(secret)
        text = re.sub(whole if len(secret) > 7 else rf"(?<!\w){whole}(?!\w)", "<token>", text)
    return text


def redact_tokens(text: str) -> str:
    """Replace what looks like a token or an id."""
    return _TOKENS.sub(
        lambda found: found[0] if _ERROR_CODE.fullmatch(found[0]) else "<token>", text
    )


def _address(text: str, host: str) -> str:
    return text if _PUBLIC.fullmatch(host) or _FILE.fullmatch(host) else "<address>"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Redacting(logging.Filter):
    """A logging filter that redacts every record."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record and let it pass."""
        record.msg, record.args = redact(record.getMessage(), self._secrets), ()
        return True


def redact_logs(package: str, secrets: tuple[str, ...]) -> None:
    """Make all loggers of a package redact; a logger's filter does not see its children's records.

    Loggers that are created later are not covered.
    """
    names = [
        name for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == package
    ]
    for logger in map(logging.getLogger, {package, *names}):
        for old in [found for found in logger.filters if isinstance(found, Redacting)]:
            logger.removeFilter(old)
        logger.addFilter(Redacting(secrets))
