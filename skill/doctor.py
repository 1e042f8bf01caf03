"""python -m skill.doctor: check what your own Echo still needs, one line per check.

With --certification, it checks what Alexa's reviewers look for, in the code and, if it can be
fetched, in the skill's manifest.
"""

from __future__ import annotations

import argparse
import json
import locale
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import requests

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_model, command
from dialogue.text_files import read_lines
from skill import certification, deadline, device, smapi, state
from skill.background import begin
from skill.interaction_model import check_package
from skill.interaction_settings import InteractionSettings, add_options, chosen
from skill.target import WILDCARD_DOMAINS, certificate_of, endpoint_address
from skill.verify import TOLERANCE, roots_file

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
CLOCK = "https://api.amazonalexa.com/"  # the clock is compared with its Date header
ALL_SECONDS, CALL_SECONDS = 25.0, 8.0
PYTHON = (3, 11)


@dataclass(frozen=True)
class Place:
    """What to check."""

    settings: InteractionSettings
    checkpoint: Path
    model: str | None = None  # its class, if it is not one of this project's
    port: int = 5000
    skill_ids: tuple[str, ...] = ()
    endpoint: str = ""
    certificate: str = ""  # the endpoint's certificate type, as deployed
    deployed_id: str = ""
    tunnel: str = ""  # the open tunnel's address
    locale: str = ""


class Finding(NamedTuple):
    """What a check found, and what to do if it failed."""

    ok: bool
    found: str
    todo: str = ""


def check_packages(place: Place) -> Finding:
    """Check Python and the packages of requirements.txt."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        return Finding(
            False, f"Python {running}", f"install Python {'.'.join(map(str, PYTHON))} or newer"
        )
    pinned = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", "\n".join(read_lines(REQUIREMENTS)), re.MULTILINE)
    )
    odd = [found for name, wanted in pinned.items() if (found := _other_version(name, wanted))]
    install = "python -m pip install -r requirements.txt, in the project's environment"
    return Finding(
        not odd,
        f"Python {running}; " + (", ".join(odd) or f"{len(pinned)} packages"),
        install if odd else "",
    )


def check_model(place: Place) -> Finding:
    """Load the model and check that it answers in the time that Alexa allows."""
    try:
        agent = DialogueAgent.load(place.checkpoint, model_name=place.model)
        began = time.monotonic()
        reply = agent.respond(["doctor"], ["hi, how are you?"], deadline=deadline.SEARCH_FOR)[0]
    except (ValueError, OSError) as error:
        return Finding(
            False,
            str(error),
            "name a checkpoint with --checkpoint, or leave it out to use the shipped one",
        )
    seconds = time.monotonic() - began
    ok = bool(reply.strip()) and seconds < deadline.GIVE_UP_AFTER
    found = f"answers in {seconds:.2f} s" if reply.strip() else "gives an empty reply"
    todo = "stop other work on this machine, or choose a smaller model"
    return Finding(ok, found, "" if ok else todo)


def check_interaction_models(place: Place) -> Finding:
    """Check interaction_models/ for faults, and that it matches the settings."""
    found = check_package(place.settings)
    whole = (
        f"{len(place.settings.locales)} locales, invocation name {place.settings.invocation_name!r}"
    )
    return Finding(
        not found,
        "; ".join(found[:2]) or whole,
        "python -m skill.interaction_model" if found else "",
    )


def check_port(place: Place) -> Finding:
    """Check that the port is free or that the skill answers on it."""
    try:
        # Another program may answer here too, but only the skill answers in these words.
        answer = _local().get(f"http://127.0.0.1:{place.port}/healthz", timeout=CALL_SECONDS)
        if answer.json() == {"status": "ok"}:
            return Finding(True, f"the skill answers on port {place.port}")
        taken = True
    except requests.ConnectionError:
        taken = not _can_listen(place.port)
    except (requests.RequestException, ValueError):
        taken = True
    todo = "choose another with --port, or stop the program that listens there"
    return Finding(
        not taken,
        f"port {place.port} is {'taken by another program' if taken else 'free'}",
        todo if taken else "",
    )


def check_endpoint(place: Place) -> Finding:
    """Reach the endpoint as Alexa does; check its name, its certificate, and that it verifies."""
    if not place.endpoint:
        return Finding(
            False,
            "no endpoint is known",
            "python app.py --deploy, or python -m skill.deploy --endpoint https://...",
        )
    host = urlsplit(place.endpoint).hostname or ""
    deployed = place.certificate or certificate_of(place.endpoint)
    # Send an unsigned launch: a server that verifies refuses it, which shows that it is ours.
    try:
        with requests.post(
            place.endpoint,
            json=_launch(place),
            timeout=CALL_SECONDS,
            verify=str(roots_file()),
            stream=True,  # the certificate can be read only while the connection is open
            allow_redirects=False,
        ) as answer:
            kind = _certificate_kind(answer, host)
            status, text = (
                answer.status_code,
                answer.raw.read(200, decode_content=True).decode(errors="replace"),
            )
    except requests.exceptions.SSLError:
        return Finding(
            False,
            f"the certificate of {host} is not for that name, or no trusted authority issued it",
            "have one issued for it",
        )
    except requests.RequestException as error:
        return Finding(
            False,
            f"{host} cannot be reached ({type(error).__name__})",
            "make sure this machine is online, and start the server and its tunnel (python app.py)",
        )
    if kind and kind != deployed:
        todo = f"python -m skill.deploy --endpoint {place.endpoint} --certificate {kind.lower()}"
        return Finding(
            False, f"its certificate has the type {kind}, but {deployed} was deployed", todo
        )
    if status == 200:
        return Finding(
            False, "it answers unsigned requests", "start the server without --no-verify"
        )
    if status != 400 or "Signature" not in text:
        return Finding(
            False,
            f"it answers {status}, which is not how the skill answers",
            "start the server (python app.py) behind that address",
        )
    return Finding(
        True, f"{host}: TLS, certificate type {deployed}, an unsigned request is refused with 400"
    )


def check_clock(place: Place) -> Finding:
    """Compare the clock with Amazon's."""
    try:
        answer = requests.head(
            CLOCK, timeout=CALL_SECONDS, verify=str(roots_file()), allow_redirects=False
        )
        off = abs(
            (
                datetime.now(UTC) - parsedate_to_datetime(answer.headers.get("Date", ""))
            ).total_seconds()
        )
    except (requests.RequestException, ValueError, TypeError) as error:
        return Finding(
            False,
            f"nothing to compare it with ({type(error).__name__})",
            "make sure this machine is online",
        )
    ok = off < TOLERANCE.total_seconds()
    return Finding(ok, f"{off:.0f} s off", "" if ok else "set the clock, or turn network time on")


def check_skill_id(place: Place) -> Finding:
    """Check that a skill id is set, and that it is the deployed skill's."""
    if not place.skill_ids:
        return Finding(
            False,
            "no skill id is set",
            f"set SKILL_ID={place.deployed_id or 'amzn1.ask.skill....'}, or pass --skill-id",
        )
    if place.deployed_id not in place.skill_ids:
        found = (
            f"{place.deployed_id} was deployed"
            if place.deployed_id
            else "nothing was deployed from this machine"
        )
        return Finding(
            False,
            f"{place.skill_ids[0]} is set; {found}",
            "run python -m skill.deploy, and set the id that it prints",
        )
    return Finding(True, place.deployed_id)


def check_locale(place: Place) -> Finding:
    """Check that the skill supports the language of the owner's Echo."""
    todo = (
        f"set the Echo's language to one of {', '.join(place.settings.locales)} "
        "(Alexa app: Devices, your Echo, Language)"
    )
    if not place.locale:
        return Finding(
            False,
            "the language of the Echo is not known",
            f"pass it, such as --locale en-GB; or {todo}",
        )
    ok = place.locale in place.settings.locales
    return Finding(
        ok, f"{place.locale}{'' if ok else ', which the skill does not have'}", "" if ok else todo
    )


def check_tunnel(place: Place) -> Finding:
    """Check that the open tunnel is the one that was deployed."""
    host, opened = (urlsplit(address).hostname or "" for address in (place.endpoint, place.tunnel))
    if opened and opened != host:
        return Finding(
            False,
            f"{opened} is open, but {host or 'nothing'} was deployed",
            f"python -m skill.deploy --endpoint {place.tunnel}",
        )
    if opened:
        return Finding(True, f"{opened} is open and deployed")
    if any(host.endswith(f".{domain}") for domain in WILDCARD_DOMAINS) or not host:
        return Finding(
            False,
            "none is open",
            "python app.py --deploy (with --tunnel cloudflared, or NGROK_AUTHTOKEN set)",
        )
    return Finding(True, f"{host} needs none")


def check_verification(place: Place) -> Finding:
    """Check that the running server refuses requests that Alexa did not sign."""
    try:
        answer = _local().post(
            f"http://127.0.0.1:{place.port}/", json=_launch(place), timeout=CALL_SECONDS
        )
    except requests.RequestException:
        return Finding(True, "on by default; the server is not running")
    if answer.status_code == 200:
        return Finding(False, f"off on port {place.port}", "start the server without --no-verify")
    return Finding(True, f"on: an unsigned request is answered with {answer.status_code}")


CHECKS: dict[str, Callable[[Place], Finding]] = {
    "Python and packages": check_packages,
    "model": check_model,
    "interaction models": check_interaction_models,
    "port": check_port,
    "endpoint": check_endpoint,
    "clock": check_clock,
    "skill id": check_skill_id,
    "locale": check_locale,
    "tunnel": check_tunnel,
    "verification": check_verification,
}


def examine(
    place: Place, checks: dict[str, Callable[[Place], Finding]], *, seconds: float = ALL_SECONDS
) -> dict[str, Finding]:
    """Run all checks at once, and return their findings in order; a late check counts as failed."""
    # In threads: several wait for the network, and one that hangs must not hold up the rest.
    results = {name: begin(partial(check, place), name=name) for name, check in checks.items()}
    done, _ = wait(results.values(), seconds)
    late = Finding(
        False, f"no result within {seconds:.0f} s", "run it again when this machine is less busy"
    )
    return {
        name: _finding_of(result) if result in done else late for name, result in results.items()
    }


def _finding_of(result: Future[Finding]) -> Finding:
    """Return what a check found; one that raised counts as failed."""
    if (error := result.exception()) is not None:
        return Finding(False, f"{type(error).__name__}: {error}", "correct that, and run it again")
    return result.result()


def place_of(options: argparse.Namespace) -> Place:
    """Return what to check. Raises ValueError if an endpoint or a setting cannot be used."""
    deployed, ids = state.read(state.DEPLOYED), os.environ.get("SKILL_ID", "").split(",")
    opened = state.read(state.TUNNEL).get("address", "")
    endpoint = options.endpoint or deployed.get("endpoint", "") or opened
    endpoint = endpoint_address(endpoint) if endpoint else ""
    same = endpoint == deployed.get("endpoint")  # otherwise its certificate type does not apply
    language = (locale.getlocale()[0] or "").replace("_", "-")
    return Place(
        settings=chosen(options),
        checkpoint=options.checkpoint,
        model=options.model,
        port=options.port,
        skill_ids=tuple(options.skill_id or filter(None, (part.strip() for part in ids))),
        endpoint=endpoint,
        certificate=deployed.get("certificate", "") if same else "",
        deployed_id=deployed.get("skill_id", ""),
        tunnel=opened,
        locale=options.locale or (language if re.fullmatch(r"[a-z]{2}-[A-Z]{2}", language) else ""),
    )


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the checks from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.doctor", description="Check what your own Echo still needs."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--certification", action="store_true", help="check instead what Alexa's reviewers check"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="where Alexa reaches the skill (default: as deployed)"
    )
    parser.add_argument(
        "--port", type=int, default=5000, help="the server's port (default: %(default)s)"
    )
    parser.add_argument(
        "--skill-id", action="append", metavar="ID", help="as for app.py (env SKILL_ID)"
    )
    parser.add_argument(
        "--locale", help="the language of your Echo, such as en-GB (default: this machine's)"
    )
    add_model(parser)
    add_options(parser)
    options = parser.parse_args(arguments)
    place = place_of(options)
    checks = CHECKS
    if options.certification:
        listed = certification.checklist(place.settings, _published(place))
        checks = {
            name: lambda _, result=result: Finding(*result)  # type: ignore[misc]
            for name, result in listed.items()
        }
    found = examine(place, checks)
    ok = all(finding.ok for finding in found.values())
    if options.json:
        print(
            json.dumps(
                {
                    "ok": ok,
                    "checks": [
                        {"name": name, **finding._asdict()} for name, finding in found.items()
                    ],
                }
            )
        )
    else:
        for name, finding in found.items():
            print(
                f"{'✓' if finding.ok else '✗'} {name}: {finding.found}"
                + (f". To do: {finding.todo}" if finding.todo else "")
            )
    return 0 if ok else 1


def _published(place: Place) -> dict[str, Any]:
    """Return the deployed skill's manifest, or {} if it cannot be fetched."""
    try:
        client = smapi.find_client()
        if client is None or not place.deployed_id:
            return {}
        return client.call("get-skill-manifest", skill_id=place.deployed_id, stage=smapi.STAGE).body
    except ValueError:
        return {}


def _launch(place: Place) -> dict[str, Any]:
    return device.say(device.Session("doctor"), None, interaction=place.settings)


def _local() -> requests.Session:
    """Return a session that ignores proxies, to reach this machine."""
    session = requests.Session()
    session.trust_env = False
    return session


def _can_listen(port: int) -> bool:
    try:
        with socket.socket() as probe:
            # As servers do: otherwise a port with recently closed connections would count as taken.
            # On Windows it means something else: sharing a port that is in use.
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _other_version(name: str, wanted: str) -> str:
    """Return how the installed version of a package differs from the wanted one, or ""."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is missing"
    # "2.13.0+cpu" is the CPU build of 2.13.0.
    return "" if found.partition("+")[0] == wanted else f"{name} {found} instead of {wanted}"


def _certificate_kind(answer: requests.Response, host: str) -> str:
    """Return Trusted for a certificate of the host itself, or Wildcard for one of its domain.

    The result is "" if the certificate cannot be seen.
    """
    connection = cast(Any, answer.raw).connection
    certificate = (
        connection.sock.getpeercert()
        if connection is not None and hasattr(connection.sock, "getpeercert")
        else None
    )
    names = [
        name.lower()
        for kind, name in (certificate or {}).get("subjectAltName", ())
        if kind == "DNS"
    ]
    return "" if not names else "Trusted" if host in names else "Wildcard"


if __name__ == "__main__":
    sys.exit(main())
