"""What is deployed: the skill's settings, and the endpoint where Alexa reaches it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from skill.interaction_model import manifest
from skill.interaction_settings import InteractionSettings

Certificate = Literal["Wildcard", "Trusted"]

# Tunnels whose addresses are sub-domains of a domain with a wildcard certificate.
WILDCARD_DOMAINS = (
    "ngrok-free.app", "ngrok-free.dev", "ngrok.app", "ngrok.dev", "ngrok.io", "trycloudflare.com",
    "lhr.life", "loca.lt", "serveo.net", "devtunnels.ms",
)  # fmt: skip


class Target(NamedTuple):
    """What to deploy."""

    settings: InteractionSettings
    endpoint: str
    certificate: Certificate

    def manifest(self) -> dict[str, Any]:
        """Build the manifest with its endpoint."""
        return manifest(self.settings, endpoint=self.endpoint, certificate=self.certificate)


def endpoint_address(text: str) -> str:
    """Return an endpoint in normal form. Raises ValueError if Alexa would not accept it."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if (
        parts.scheme != "https"
        or "." not in host
        or port not in (None, 443)
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise ValueError(
            f"the endpoint {text!r} cannot be used: expected an https address on port 443, "
            "such as https://example.com/"
        )
    return f"https://{host}{parts.path or '/'}"


def certificate_of(endpoint: str) -> Certificate:
    """Return an endpoint's certificate type, judged by its host."""
    host = urlsplit(endpoint).hostname or ""
    return (
        "Wildcard" if any(host.endswith(f".{domain}") for domain in WILDCARD_DOMAINS) else "Trusted"
    )
