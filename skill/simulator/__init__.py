"""An Echo in the browser: a local page that talks to the skill's POST / and shows what happens.

It is served only when verification is off. What is said is kept only in the page; see
docs/simulator.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, jsonify, request

from dialogue.config import METHODS, DecodeConfig
from skill import contract, device
from skill.commands import command
from skill.endpoint import plain, refuse_strangers
from skill.interaction_settings import LOCALES, InteractionSettings, load
from skill.replay import Talk, faults, parse, turn_of
from skill.simulator.agents import WATCHED, Agents, Seen
from skill.verify import NotAlexa

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent
    from skill.simulator.agents import AnAgent

PAGE = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# The possible values of settings that are words.
CHOICES = {"method": METHODS, "ranker": ("auto", "likelihood", "recall", "learned")}
HISTORY = 2048  # show at most this many numbers of a history


def mount(app: Flask, agents: Agents, interaction: InteractionSettings | None = None) -> None:
    """Serve the page and what it requests under /simulator."""
    page = Blueprint("simulator", __name__, url_prefix="/simulator")

    @page.before_request
    def guard() -> Response | None:
        try:
            refuse_strangers()
        except NotAlexa as finding:
            return plain(str(finding), 400)
        return None

    @page.after_request
    def harden(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @page.errorhandler(ValueError)
    def wrong(error: ValueError) -> Response:
        return plain(str(error), 400)

    _serve_files(page)
    _serve_talk(page, agents, interaction or load())
    app.register_blueprint(page)


def _serve_files(page: Blueprint) -> None:
    """Serve the page's files."""
    files = {
        path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.suffix in KINDS
    }

    @page.get("", strict_slashes=False)
    def index() -> Response:
        return Response(files["index.html"], mimetype="text/html")

    @page.get("/<name>")
    def file(name: str) -> Response:
        if name not in files or name == "index.html":
            return plain("Not Found", 404)
        return Response(files[name], mimetype=KINDS[Path(name).suffix])


def _serve_talk(page: Blueprint, agents: Agents, interaction: InteractionSettings) -> None:
    """Serve what the page asks for while somebody talks."""

    @page.get("/about")
    def about() -> Response:
        return jsonify(_about(agents, interaction))

    @page.post("/settings")
    def settings() -> Response:
        asked = _asked(session=str, settings=dict)
        chosen = agents.choose(
            asked["session"], asked["settings"], checkpoint=str(asked.get("checkpoint") or "")
        )
        return jsonify(asdict(chosen))

    @page.post("/request")
    def build() -> Response:
        asked = _asked(session=dict, turn=dict)
        return jsonify(
            turn_of(asked["turn"], "the turn").to(
                device.Session.read(asked["session"]), interaction
            )
        )

    @page.post("/inside")
    def inside() -> Response:
        asked = _asked(session=dict, request=dict, response=dict)
        session, response = device.Session.read(asked["session"]), asked["response"]
        try:
            found = look_inside(
                asked["request"],
                response,
                agents.take(asked["request"]["request"]["requestId"]),
                interaction,
            )
            found["session"] = device.after(session, response).written()
            found["faults"] = list(
                faults(
                    asked.get("expect") or {}, response, before=asked.get("before") or [], broken=[]
                )
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"that is not a request with its response: {type(error).__name__} {error}"
            ) from None
        return jsonify(found)

    @page.post("/read")
    def read() -> Response:
        asked = _asked(name=str, text=str)
        return jsonify([_talk(talk) for talk in parse(asked["text"], asked["name"])])


def look_inside(
    envelope: Mapping[str, Any],
    response: dict[str, Any],
    seen: Seen | None,
    interaction: InteractionSettings,
) -> dict[str, Any]:
    """Return who answered a request and why, from which candidates and history, and how fast."""
    found: dict[str, Any] = {
        "contract": contract.check(response, dict(envelope), interaction),
        "seconds": [],
        "candidates": [],
        "history": [],
    }
    if seen is None:
        return found | {"by": "skill", "reason": _reason(envelope["request"], interaction)}
    found |= {"by": seen.answer.by, "reason": seen.answer.reason, "written": seen.answer.written}
    found["seconds"] = [list(stage) for stage in seen.answer.seconds]
    if seen.reply and seen.agent:
        reply = seen.reply
        found["seconds"] = [*found["seconds"][:1], *map(list, reply.seconds)]
        found["candidates"] = [
            {
                "why": why,
                **{
                    name: value
                    for name, value in vars(candidate).items()
                    if isinstance(value, (str, float, int))
                },
                **({} if why else {"text": reply.conversation.turns[-1].text}),
            }
            for candidate, why in zip(reply.candidates, seen.agent.why(reply), strict=True)
        ]
        found["history"] = [round(number, 4) for number in reply.conversation.numbers()[:HISTORY]]
        found["reason"] = "fallback" if reply.is_fallback else ""
    return found


def _reason(asked: Mapping[str, Any], interaction: InteractionSettings) -> str:
    """Return why the skill answered by itself: a command, the intent, or the request type."""
    intent = asked.get("intent") or {}
    said = ((intent.get("slots") or {}).get(interaction.slot) or {}).get("value")
    if intent.get("name") in interaction.carrier_of:
        asked_for = command(said, interaction.invocation_name) if said else None
        return f"the command {asked_for!r}" if asked_for else "nothing was understood"
    return str(intent.get("name") or asked["type"])


def _about(agents: Agents, interaction: InteractionSettings) -> dict[str, Any]:
    """Return what the page offers to choose from."""
    settings = [
        {
            "name": place.name,
            "default": list(place.default) if isinstance(place.default, tuple) else place.default,
            "help": place.metadata["help"],
            "whole": isinstance(place.default, int),
            "choices": list(CHOICES.get(place.name, ())),
        }
        for place in fields(DecodeConfig)
        if place.name not in ("block_list", "stop_words")
    ]
    return {
        "name": interaction.invocation_name,
        "watched": WATCHED,
        "settings": settings,
        "checkpoints": list(agents.checkpoints),
        "locales": LOCALES,
    }


def _talk(talk: Talk) -> dict[str, Any]:
    turns = []
    for turn in talk.turns:
        other: dict[str, Any] = {"intent": turn.intent, "end": turn.end, "request": turn.request}
        done = {name: value for name, value in other.items() if value} or {"say": turn.say}
        turns.append(
            {"do": done, "answer": turn.answer, "expect": dict(turn.expect), "shown": turn.shown}
        )
    session = talk.session
    return {
        "session": session.id,
        "locale": session.locale,
        "user": session.user,
        "settings": dict(talk.settings),
        "turns": turns,
    }


def _asked(**kinds: type) -> dict[str, Any]:
    """Return the JSON object that the page sent. Raises ValueError unless it fits `kinds`."""
    asked = request.get_json()
    if not isinstance(asked, dict) or not all(
        isinstance(asked.get(name), kind) for name, kind in kinds.items()
    ):
        raise ValueError(f"expected an object with {', '.join(kinds)}")
    return asked


def build_agents(
    agent: AnAgent,
    served: Path,
    *,
    load: Callable[[Path], DialogueAgent],
    runs: Path = Path("runs"),
) -> Agents:
    """Return the simulator's agents: the served one, and this machine's runs to compare it with."""
    found = {
        path.parent.name: path
        for path in sorted(runs.glob("*/checkpoint"))
        if path.resolve() != served.resolve()
    }
    return Agents(agent, checkpoints=found, load=load)
