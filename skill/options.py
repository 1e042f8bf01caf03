"""The server's command-line options, and the settings from them and the environment."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from dialogue.config import DecodeConfig
from dialogue.state.choice import choices
from skill import interaction_settings, state, tunnel
from skill.settings import NOT_DEPLOYED, Settings

HELP = {setting.name: setting.metadata["help"] for setting in fields(DecodeConfig)}


def options_of(before: Settings) -> argparse.ArgumentParser:
    """Return the command line's parser, whose defaults are the environment's settings."""
    parser = argparse.ArgumentParser(prog="python app.py", description="Serve the skill.")
    add = parser.add_argument
    add("--host", default=before.host, help="where to listen (default: %(default)s)")
    add("--port", type=int, default=before.port, help="(default: %(default)s)")
    add(
        "--skill-id",
        action="append",
        metavar="ID",
        help="answer this skill only; repeat it for several skills (env SKILL_ID)",
    )
    add(
        "--no-verify",
        action="store_true",
        help="answer requests that Alexa has not signed: for trying it out on this machine",
    )
    add(
        "--tunnel", metavar="ngrok|cloudflared|none|'COMMAND {port}'",
        help="(default: ngrok if an ngrok token is configured; "
        "a command of your own must print an https address)",
    )  # fmt: skip
    add(
        "--deploy",
        action="store_true",
        help="deploy the skill whenever the tunnel's address changes",
    )
    add(
        "--domain",
        metavar="NAME",
        help="the tunnel's fixed domain, such as your-name.ngrok-free.app (env NGROK_DOMAIN)",
    )
    add(
        "--checkpoint",
        type=Path,
        default=before.checkpoint,
        help="the model's folder (env CHECKPOINT; default: %(default)s)",
    )
    add(
        "--model",
        default=before.model,
        metavar="MODULE:CLASS",
        help="the model's class, where it is not of this project (env MODEL_CLASS)",
    )
    add(
        "--watch",
        action="store_true",
        help="serve a new model as soon as it lies in that folder",
    )
    add(
        "--ranker",
        default=before.ranker,
        metavar="NAME",
        help=f"{HELP['ranker']} (env RANKER; default: %(default)s)",
    )
    _add_state_options(parser, before)
    add("--open", action="store_true", help="open the simulator in a browser (with --no-verify)")
    interaction_settings.add_options(parser)
    return parser


def _add_state_options(parser: argparse.ArgumentParser, before: Settings) -> None:
    add = parser.add_argument
    add(
        "--state",
        default=before.state,
        metavar="|".join(choices()),
        help="where conversations live (env STATE; default: memory; docs/state.md)",
    )
    add(
        "--max-conversations",
        type=int,
        default=before.max_conversations,
        metavar="N",
        help="kept in memory at most (env MAX_CONVERSATIONS; default: %(default)s)",
    )
    add(
        "--max-state-mb",
        type=int,
        default=before.max_state_mb,
        metavar="MB",
        help="what they may take (env MAX_STATE_MB; default: %(default)s)",
    )


def settings_of(arguments: list[str] | None) -> Settings:
    """Read the settings from the command line and the environment.

    Raises ValueError on options that contradict each other.
    """
    before = Settings.from_environment()
    asked = options_of(before).parse_args(arguments)
    by_itself = asked.domain or (not asked.no_verify and tunnel.is_configured())
    chosen = asked.tunnel or ("ngrok" if by_itself else "none")
    if chosen not in ("ngrok", "cloudflared", "none") and "{port}" not in chosen:
        raise ValueError(
            f"--tunnel {chosen!r} is unknown; it must be ngrok, cloudflared, none, "
            "or a command with {port} in it"
        )
    skill_ids = tuple(asked.skill_id or before.skill_ids)
    if asked.deploy and not skill_ids:
        skill_ids = (
            tuple(filter(None, [state.read(state.DEPLOYED).get("skill_id")])) or NOT_DEPLOYED
        )
    return Settings(
        host=asked.host,
        port=asked.port,
        skill_ids=skill_ids,
        verify=not asked.no_verify,
        tunnel=chosen,
        deploy=asked.deploy,
        domain=_domain_of(asked.domain, before.domain, chosen),
        checkpoint=asked.checkpoint,
        model=asked.model,
        watch=asked.watch,
        ranker=asked.ranker,
        safety=before.safety,
        log_text=before.log_text,
        metrics_token=before.metrics_token,
        state=asked.state,
        state_keys=before.state_keys,
        max_conversations=asked.max_conversations,
        max_state_mb=asked.max_state_mb,
        open_page=asked.open,
        interaction=interaction_settings.chosen(asked),
    )


def _domain_of(asked: str | None, before: str, chosen: str) -> str:
    """Return the tunnel's domain.

    Raises ValueError if it is not a domain name, or was asked for without a tunnel that takes one.
    """
    if chosen == "none":
        if asked:
            raise ValueError(
                "--domain needs a tunnel, and there is none: leave it out, or pass --tunnel ngrok"
            )
        return ""
    if chosen == "cloudflared" and asked:
        raise ValueError(
            "cloudflared's quick tunnels have no fixed domain; "
            "for a tunnel of your own account pass its command: "
            "--tunnel 'cloudflared tunnel --url http://127.0.0.1:{port} run NAME' "
            "--domain alexa.example.com"
        )
    if chosen != "ngrok" and not asked:
        return ""  # NGROK_DOMAIN is for ngrok only
    name, domain = ("--domain", asked) if asked else ("NGROK_DOMAIN", before)
    try:
        return tunnel.domain_name(domain) if domain.strip() else ""
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
