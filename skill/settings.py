"""How the server runs: the command line overrides the environment, which overrides defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dialogue.bounded import LIMIT, LIMIT_BYTES
from dialogue.checkpoint import PRETRAINED
from dialogue.command_line import at_least
from dialogue.config import DecodeConfig
from dialogue.safety import Level, level_from_environment
from dialogue.state.choice import MEMORY, check
from dialogue.state.sealing import keys_of
from skill import interaction_settings
from skill.endpoint import is_loopback
from skill.interaction_settings import InteractionSettings

# No skill has this id: until the first deployment creates a skill, every request is refused.
NOT_DEPLOYED = ("not deployed yet",)


@dataclass(frozen=True)
class Settings:
    """How the server runs. The command line overrides the environment, which overrides these."""

    host: str = "127.0.0.1"
    port: int = 5000
    skill_ids: tuple[str, ...] = ()  # skills to answer; empty: all of them
    verify: bool = True
    tunnel: str = "none"
    domain: str = ""  # the tunnel's domain; empty: ngrok chooses one
    deploy: bool = False  # deploy the skill whenever the tunnel's address changes
    checkpoint: Path = PRETRAINED
    model: str | None = None  # the model's class, if it is not one of this project's
    watch: bool = False  # serve a new model as soon as it is in the checkpoint's folder
    ranker: str = DecodeConfig.ranker  # orders the candidates; see docs/ranking.md
    safety: Level = "standard"
    log_text: bool = False  # log what was said; for development only
    open_page: bool = False  # open the simulator in a browser
    metrics_token: str = field(default="", repr=False)  # lets /metrics be read from elsewhere
    # Where conversations live: memory, attributes, or a Redis address, which may hold a password.
    state: str = field(default=MEMORY, repr=False)
    state_keys: tuple[bytes, ...] = field(default=(), repr=False)  # the first seals, each can open
    max_conversations: int = LIMIT  # kept in memory; the least recently used goes first
    max_state_mb: int = LIMIT_BYTES >> 20
    interaction: InteractionSettings = field(
        default_factory=interaction_settings.load
    )  # the skill's names, and how it takes free speech

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"the port is {self.port}; it must be from 0 to 65535")
        if not self.verify and self.tunnel != "none":
            raise ValueError(
                "--no-verify with a tunnel would let anybody in; "
                "use --tunnel none, or leave --no-verify out"
            )
        if self.deploy and self.tunnel == "none":
            raise ValueError(
                "--deploy deploys the tunnel's address, but there is no tunnel: "
                "pass --tunnel cloudflared, or set NGROK_AUTHTOKEN; "
                "for a server of your own, run python -m skill.deploy --endpoint https://..."
            )
        if not self.verify and not is_loopback(self.host):
            raise ValueError(
                f"--no-verify on {self.host} would let anybody in; "
                "it works on loopback only (--host 127.0.0.1)"
            )
        check(self.state, keys=self.state_keys, workers=1)
        at_least(1, max_conversations=self.max_conversations, max_state_mb=self.max_state_mb)
        if self.verify and self.open_page:
            raise ValueError(
                "--open shows the simulator, which is there only with --no-verify; "
                "add --no-verify, or leave --open out"
            )

    @classmethod
    def from_environment(cls) -> Settings:
        """Read SKILL_ID (comma-separated), NGROK_DOMAIN, CHECKPOINT, MODEL_CLASS and RANKER.

        Also SAFETY, LOG_TEXT, METRICS_TOKEN, STATE, STATE_KEY, MAX_CONVERSATIONS and MAX_STATE_MB.
        Raises ValueError on an unknown SAFETY, a bad STATE_KEY or a limit that is not a number. The
        domain is checked when a tunnel is opened.
        """
        skill_ids = tuple(
            filter(None, (part.strip() for part in os.environ.get("SKILL_ID", "").split(",")))
        )
        return cls(
            skill_ids=skill_ids,
            domain=os.environ.get("NGROK_DOMAIN", ""),
            checkpoint=Path(os.environ.get("CHECKPOINT") or PRETRAINED),
            model=os.environ.get("MODEL_CLASS") or None,
            ranker=os.environ.get("RANKER") or DecodeConfig.ranker,
            safety=level_from_environment(),
            log_text=os.environ.get("LOG_TEXT") == "1",
            metrics_token=os.environ.get("METRICS_TOKEN", "").strip(),
            state=os.environ.get("STATE") or MEMORY,
            state_keys=keys_of(os.environ.get("STATE_KEY", "")),
            max_conversations=_number("MAX_CONVERSATIONS", LIMIT),
            max_state_mb=_number("MAX_STATE_MB", LIMIT_BYTES >> 20),
        )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdecimal():
        raise ValueError(f"{name} is {value!r}; it must be a whole number")
    return int(value)
