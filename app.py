"""The skill's server.

Run it with `python app.py`, or with several workers by
`gunicorn -c deploy/gunicorn.conf.py 'app:create_app()'`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask

from dialogue import allocator, trial
from dialogue.agent import DialogueAgent, Reply
from dialogue.batching import WAITING, BatchingAgent
from dialogue.bounded import LIMIT, LIMIT_BYTES
from dialogue.checkpoint import PRETRAINED, digest
from dialogue.command_line import at_least, command, tell
from dialogue.models.history import max_history_bytes
from dialogue.safety import Level, level_from_environment
from dialogue.state.choice import MEMORY, check, check_carried, open_state
from dialogue.state.memory import MemoryState
from dialogue.state.sealing import keys_of
from skill import (
    build_skill,
    deploy,
    health,
    interaction_settings,
    logs,
    simulator,
    state,
    tunnel,
    tunnel_command,
    watchdog,
    workers,
)
from skill.endpoint import BODY_LIMIT, is_loopback, mount
from skill.interaction_settings import InteractionSettings
from skill.metrics import Metrics
from skill.reload import Reloader
from skill.transaction import Transactions
from skill.verify import Verifier

log = logging.getLogger("app")

CLOSE_SECONDS = 5.0
CONNECTIONS = 4000  # silent ones cost little, and those past the limit would keep Alexa waiting
# No skill has this id: until the first deployment makes a skill, every request is refused.
NOT_DEPLOYED = ("not deployed yet",)
SAMPLE_REQUEST = Path(__file__).parent / "skill" / "sample_request.json"


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
    safety: Level = "standard"
    log_text: bool = False  # log what was said; for development only
    open_page: bool = False  # open the simulator in a browser
    metrics_token: str = field(default="", repr=False)  # lets /metrics be read from elsewhere
    # Where conversations live: memory, attributes, or a Redis address, which may hold a password.
    state: str = field(default=MEMORY, repr=False)
    state_keys: tuple[bytes, ...] = field(default=(), repr=False)  # the first seals, any opens
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
        """Read SKILL_ID (comma-separated), NGROK_DOMAIN, CHECKPOINT, SAFETY and LOG_TEXT.

        METRICS_TOKEN, STATE, STATE_KEY, MAX_CONVERSATIONS and MAX_STATE_MB, too. Raises ValueError
        on an unknown SAFETY, a bad STATE_KEY or a limit that is not a number. The domain is checked
        when a tunnel is opened.
        """
        skill_ids = tuple(
            filter(None, (part.strip() for part in os.environ.get("SKILL_ID", "").split(",")))
        )
        return cls(
            skill_ids=skill_ids,
            domain=os.environ.get("NGROK_DOMAIN", ""),
            checkpoint=Path(os.environ.get("CHECKPOINT") or PRETRAINED),
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


def create_app(settings: Settings | None = None, agent: DialogueAgent | None = None) -> Flask:
    """Build the WSGI application: load the model once and mount the skill.

    Without settings this serves production: they come from the environment, and SKILL_ID is
    required. Raises ValueError if it is missing, if the checkpoint cannot be loaded, or if
    conversations cannot be kept as asked.
    """
    if settings is None:
        settings = Settings.from_environment()
        if not settings.skill_ids:
            raise ValueError(
                "SKILL_ID is not set: without it any skill's requests would be answered "
                "(amzn1.ask.skill....)"
            )
    check(settings.state, keys=settings.state_keys, workers=workers.count())
    app = Flask(__name__, static_folder=None)
    metrics = Metrics()

    def replied(replies: Sequence[Reply]) -> None:
        metrics.replied(replies, waiting=served.waiting)
        store = app.extensions["transactions"].store
        if isinstance(store, MemoryState):
            metrics.keeps(len(store), store.nbytes)

    if agent is None:
        allocator.use_few_arenas()
        agent = load_agent(settings, replied)
        allocator.give_back()
    served = BatchingAgent(agent) if isinstance(agent, DialogueAgent) else agent
    app.extensions["agent"] = served
    app.extensions["reloader"] = Reloader(
        served,
        lambda: load_agent(settings, replied),
        lambda new: trial.provoke(new.with_observer(None), settings.safety),
        version=lambda: digest(settings.checkpoint),
        told=metrics.reloaded,
    )
    health.mount(app, metrics, token=settings.metrics_token, checks={})
    if not settings.verify:
        return _create_simulated(app, settings, served, metrics)
    verifier = Verifier(skill_ids=settings.skill_ids)
    app.extensions["verifier"] = verifier
    skill = build_skill(
        served,
        interaction=settings.interaction,
        safety=settings.safety,
        may_send=True,
        log_text=settings.log_text,
        metrics=metrics,
    )
    mount(
        app,
        skill,
        verifier=verifier,
        transactions=_transactions(app, settings, served, served.of),
        interaction=settings.interaction,
        metrics=metrics,
    )
    return app


def load_agent(
    settings: Settings, observe: Callable[[Sequence[Reply]], None] | None = None
) -> DialogueAgent:
    """Load the model, and talk with it before anybody else does.

    observe: is told the replies of every batch after that. Raises ValueError if it cannot be
    loaded, says nothing, or has histories that cannot be kept as asked.
    """
    agent = DialogueAgent.load(settings.checkpoint, safety=settings.safety)
    check_carried(settings.state, max_history_bytes(agent.empty_history, half=True))
    try:
        trial.converse(agent)
    except ValueError as error:
        raise ValueError(f"{settings.checkpoint} holds no model to talk with: {error}") from None
    return agent.with_observer(observe)


def _transactions(
    app: Flask, settings: Settings, agent: BatchingAgent, agent_of: Callable[[str], Any]
) -> Transactions:
    """Open the store of conversations."""
    store = open_state(
        settings.state,
        keys=settings.state_keys,
        history_bytes=max_history_bytes(agent.empty_history, half=True),
        limit=settings.max_conversations,
        limit_bytes=settings.max_state_mb << 20,
    )
    app.extensions["transactions"] = found = Transactions(store, agent_of)
    return found


def _create_simulated(
    app: Flask, settings: Settings, agent: BatchingAgent, metrics: Metrics
) -> Flask:
    """Mount the skill without verification, and the simulator, which observes its own sessions."""
    agents = simulator.build_agents(
        agent,
        settings.checkpoint,
        load=lambda checkpoint: DialogueAgent.load(checkpoint, safety=settings.safety),
    )
    skill = build_skill(
        agents,
        interaction=settings.interaction,
        safety=settings.safety,
        log_text=settings.log_text,
        observe=agents.observe,
        metrics=metrics,
    )
    mount(
        app,
        skill,
        verifier=None,
        transactions=_transactions(app, settings, agent, agents.of),
        interaction=settings.interaction,
        metrics=metrics,
    )
    simulator.mount(app, agents, settings.interaction)
    return app


def check_address(settings: Settings) -> None:
    """Check that the host and port can be bound, before the model is loaded.

    Raises ValueError if they cannot.
    """
    host = None if settings.host in ("", "*") else settings.host
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":  # on Windows this would let two servers share a port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name with an empty label
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}; --host must be a name or "
            "an address of this machine, such as 127.0.0.1, and another --port may be free"
        ) from None


def listen(app: Flask, settings: Settings) -> Any:
    """Bind the port and return waitress's server, ready to run.

    Raises OSError if the port cannot be bound.
    """
    import waitress

    _allow_files(CONNECTIONS + 100)
    return waitress.create_server(
        app,
        host=settings.host,
        port=settings.port,
        threads=WAITING + 16,  # more than may wait, so that the others are told at once
        max_request_body_size=BODY_LIMIT + 1,  # waitress also refuses a body of exactly this size
        max_request_header_size=16 * 1024,
        # The rest of a larger body goes to a file, so that many callers cannot fill the memory.
        inbuf_overflow=32 * 1024,
        connection_limit=CONNECTIONS,
        channel_timeout=30,
        cleanup_interval=10,
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=False,  # skill.endpoint refuses requests that carry them
        ident=None,
    )


def _allow_files(count: int) -> None:
    """Let this process have so many files open at once, connections included, if it may."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def announce(settings: Settings) -> None:
    """Print where the skill is, how to try it, and what a device still needs."""
    local = address_of(settings)
    print(f"\nThe skill answers at {local}")
    if not settings.verify:
        print(f"Talk to it in a browser: {local}simulator")
        print(
            "WARNING: verification is OFF. Anybody on this machine can talk to it; "
            "nobody else can. Not for a device."
        )
        print("Try it:")
        print(f"    curl -s {local} -H 'Content-Type: application/json' -d '@{SAMPLE_REQUEST}'")
    elif not settings.skill_ids:
        print(
            "WARNING: no skill id is set, so any Alexa skill's requests are answered. "
            "Pass --skill-id amzn1.ask.skill...."
        )
    missing = []
    if settings.tunnel == "none":
        missing.append(
            "an https address that Alexa can reach (--tunnel ngrok, with NGROK_AUTHTOKEN set)"
        )
    if not settings.verify:
        missing.append("verification (leave --no-verify out)")
    if not settings.skill_ids:
        missing.append(
            "a skill made from interaction_models/ in the Alexa developer console, "
            "and its id (--skill-id)"
        )
    if missing:
        print("A device still needs: " + ";\n    ".join(missing) + ".")
    sys.stdout.flush()


def address_of(settings: Settings) -> str:
    """Return the server's address on this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}/"


def announce_tunnel(
    settings: Settings, app: Flask | None = None, stopped: threading.Event | None = None
) -> None:
    """Open the tunnel, print its address, and keep it open until stopped.

    If it cannot be opened, say why in one sentence; the server answers meanwhile.
    app: its verifier learns the skill's id when the skill is deployed.
    """
    watchdog.keep_open(
        lambda: open_tunnel(settings),
        lambda address: announce_address(address, settings, app),
        stopped=stopped or threading.Event(),
    )


def open_tunnel(settings: Settings) -> watchdog.Tunnel:
    """Open the tunnel that the settings name. Raises NoTunnel if it cannot be opened."""
    if settings.tunnel == "ngrok":
        return tunnel.Ngrok(tunnel.open_tunnel(settings.port, domain=settings.domain))
    command = tunnel_command.CLOUDFLARED if settings.tunnel == "cloudflared" else settings.tunnel
    return tunnel_command.open_by_command(command, settings.port, domain=settings.domain)


def announce_address(address: str, settings: Settings, app: Flask | None) -> None:
    """Print a tunnel's address, record it for skill.deploy and skill.doctor; deploy if asked."""
    kind = deploy.certificate_of(address).lower()
    print(
        f"Alexa reaches it at {address}/  "
        f"(put this into the skill's endpoint, certificate type: {kind})",
        flush=True,
    )
    try:
        state.write(state.TUNNEL, {"address": address})
        if settings.deploy:
            known = "" if settings.skill_ids == NOT_DEPLOYED else settings.skill_ids[0]
            skill_id = deploy.deploy_address(settings.interaction, address, skill_id=known)
            if skill_id and app is not None:
                app.extensions["verifier"].answer_only(
                    skill_id, *(set(settings.skill_ids) - set(NOT_DEPLOYED))
                )
    except (ValueError, OSError) as error:  # a failed deployment does not stop the server
        tell(f"Not deployed: {error}")


def options_of(before: Settings) -> argparse.ArgumentParser:
    """Return the options of the command line, whose defaults are the environment's settings."""
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
    _add_state_options(parser, before)
    add("--open", action="store_true", help="open the simulator in a browser (with --no-verify)")
    interaction_settings.add_options(parser)
    return parser


def _add_state_options(parser: argparse.ArgumentParser, before: Settings) -> None:
    add = parser.add_argument
    add(
        "--state",
        default=before.state,
        metavar="memory|attributes|redis://...",
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
        return ""  # NGROK_DOMAIN concerns ngrok only
    name, domain = ("--domain", asked) if asked else ("NGROK_DOMAIN", before)
    try:
        return tunnel.domain_name(domain) if domain.strip() else ""
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def close_tunnel(settings: Settings, watch: threading.Thread, stopped: threading.Event) -> None:
    """Close the tunnel and forget its address."""
    stopped.set()
    if settings.tunnel == "none" or watch.ident is None:
        return
    if settings.tunnel == "ngrok":
        tunnel.close()  # also one that is still being opened
    watch.join(CLOSE_SECONDS)
    with suppress(OSError):
        (state.folder() / state.TUNNEL).unlink(missing_ok=True)


def _leave(signum: int, frame: object) -> NoReturn:
    sys.exit(0)


@command
def main(arguments: list[str] | None = None) -> int:
    """Serve the skill from the command line."""
    logs.set_up(os.environ.get("LOG_FORMAT") or "text")
    settings = settings_of(arguments)
    check_address(settings)
    app = create_app(settings)
    server = listen(app, settings)
    stopped = threading.Event()
    watch = threading.Thread(
        target=announce_tunnel, args=(settings, app, stopped), name="tunnel", daemon=True
    )
    app.extensions["reloader"].on_hangup()
    signal.signal(signal.SIGTERM, _leave)  # so that `finally` also ends the tunnel's agent
    with suppress(OSError):  # stdout may be closed; the skill answers all the same
        announce(settings)
    try:
        if settings.tunnel != "none":
            watch.start()
        if settings.open_page:
            threading.Thread(
                target=webbrowser.open,
                args=(f"{address_of(settings)}simulator",),
                name="page",
                daemon=True,
            ).start()
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        close_tunnel(settings, watch, stopped)
        app.extensions["agent"].close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
