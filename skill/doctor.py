"""python -m skill.doctor: what stands between this machine and one's own Echo, one line a check, and what to do.

With --certification: what Alexa's reviewers look for, from the code and, where one can look, the skill's manifest.
"""

from __future__ import annotations

import argparse
import json
import locale
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import requests

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_checkpoint, command
from dialogue.text_files import read_lines
from skill import certification, deadline, device, smapi, state
from skill.deploy import WILDCARD_DOMAINS, certificate_of, endpoint_address
from skill.interaction_model import check_package
from skill.interaction_settings import InteractionSettings, add_options, chosen
from skill.verify import TOLERANCE, roots_file

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
CLOCK = "https://api.amazonalexa.com/"  # whose Date header the clock is compared with
ALL_SECONDS, CALL_SECONDS = 25.0, 8.0
PYTHON = (3, 11)


@dataclass(frozen=True)
class Place:
    """What is looked at."""

    settings: InteractionSettings
    checkpoint: Path
    port: int = 5000
    skill_ids: tuple[str, ...] = ()
    endpoint: str = ""
    certificate: str = ""  # of the endpoint, as deployed
    deployed_id: str = ""
    tunnel: str = ""  # the address of the open one
    locale: str = ""


class Finding(NamedTuple):
    """What a check found, and what to do where that is not as it should be."""

    ok: bool
    found: str
    todo: str = ""


def check_packages(place: Place) -> Finding:
    """Look at Python and the packages of requirements.txt."""
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
    """Load the model and have it answer in the time that Alexa leaves."""
    try:
        agent = DialogueAgent.load(place.checkpoint)
        began = time.monotonic()
        reply = agent.respond(["doctor"], ["hi, how are you?"], deadline=deadline.SEARCH_FOR)[0]
    except (ValueError, OSError) as error:
        return Finding(
            False,
            str(error),
            "name a checkpoint by --checkpoint, or leave that out for the one that ships",
        )
    seconds = time.monotonic() - began
    ok = bool(reply.strip()) and seconds < deadline.GIVE_UP_AFTER
    found = f"answers in {seconds:.2f} s" if reply.strip() else "gives an empty reply"
    return Finding(
        ok, found, "" if ok else "stop what else this machine does, or choose a smaller model"
    )


def check_interaction_models(place: Place) -> Finding:
    """Look for faults in interaction_models/, and whether it is what the settings make."""
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
    """See whether the port is free, or has the skill on it."""
    try:
        answer = _local().get(f"http://127.0.0.1:{place.port}/healthz", timeout=CALL_SECONDS)
        if answer.json() == {"status": "ok"}:
            return Finding(True, f"the skill answers at port {place.port}")
        taken = True
    except requests.ConnectionError:
        taken = not _can_listen(place.port)
    except (requests.RequestException, ValueError):
        taken = True
    todo = "choose another by --port, or stop what listens there"
    return Finding(
        not taken,
        f"port {place.port} is {'taken by another program' if taken else 'free'}",
        todo if taken else "",
    )


def check_endpoint(place: Place) -> Finding:
    """Reach the endpoint as Alexa does: its name, its certificate, and that it refuses what is not signed."""
    if not place.endpoint:
        return Finding(
            False,
            "no endpoint is known",
            "python app.py --deploy, or python -m skill.deploy --endpoint https://...",
        )
    host = urlsplit(place.endpoint).hostname or ""
    deployed = place.certificate or certificate_of(place.endpoint)
    try:
        with requests.post(
            place.endpoint,
            json=_launch(place),
            timeout=CALL_SECONDS,
            verify=str(roots_file()),
            stream=True,
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
            f"the certificate of {host} is not for that name, or nobody vouches for it",
            "have one issued for it",
        )
    except requests.RequestException as error:
        todo = (
            "see that this machine is online, and start the server with its tunnel (python app.py)"
        )
        return Finding(False, f"{host} cannot be reached ({type(error).__name__})", todo)
    if kind and kind != deployed:
        todo = f"python -m skill.deploy --endpoint {place.endpoint} --certificate {kind.lower()}"
        return Finding(
            False, f"its certificate is of the type {kind}, and {deployed} was deployed", todo
        )
    if status == 200:
        return Finding(
            False, "it answers what nobody signed", "start the server without --no-verify"
        )
    if status != 400 or "Signature" not in text:
        return Finding(
            False,
            f"it answers {status}, not as the skill does",
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
            "see that this machine is online",
        )
    ok = off < TOLERANCE.total_seconds()
    return Finding(ok, f"{off:.0f} s off", "" if ok else "set the clock, or turn network time on")


def check_skill_id(place: Place) -> Finding:
    """See that a skill id is set, and that it is the deployed one's."""
    if not place.skill_ids:
        return Finding(
            False,
            "no skill id is set",
            f"set SKILL_ID={place.deployed_id or 'amzn1.ask.skill....'}, or pass --skill-id",
        )
    if place.deployed_id not in place.skill_ids:
        found = (
            f"deployed is {place.deployed_id}"
            if place.deployed_id
            else "nothing was deployed from this machine"
        )
        return Finding(
            False,
            f"set is {place.skill_ids[0]}; {found}",
            "python -m skill.deploy, and set the id that it prints",
        )
    return Finding(True, place.deployed_id)


def check_locale(place: Place) -> Finding:
    """See that the skill has the language of the owner's Echo."""
    todo = f"set the Echo's language to one of {', '.join(place.settings.locales)} (Alexa app: Devices, your Echo, Language)"
    if not place.locale:
        return Finding(
            False,
            "the language of the Echo is not known",
            f"say it by --locale, such as --locale en-GB; or {todo}",
        )
    ok = place.locale in place.settings.locales
    return Finding(
        ok, f"{place.locale}{'' if ok else ', which the skill does not have'}", "" if ok else todo
    )


def check_tunnel(place: Place) -> Finding:
    """See that the open tunnel is the one that was deployed."""
    host, opened = (urlsplit(address).hostname or "" for address in (place.endpoint, place.tunnel))
    if opened and opened != host:
        return Finding(
            False,
            f"open is {opened}, and deployed {host or 'nothing'}",
            f"python -m skill.deploy --endpoint {place.tunnel}",
        )
    if opened:
        return Finding(True, f"{opened} is open, and deployed")
    if any(host.endswith(f".{domain}") for domain in WILDCARD_DOMAINS) or not host:
        return Finding(
            False,
            "none is open",
            "python app.py --deploy (with --tunnel cloudflared, or NGROK_AUTHTOKEN set)",
        )
    return Finding(True, f"{host} needs none")


def check_verification(place: Place) -> Finding:
    """See that the running server refuses what Alexa did not sign."""
    try:
        answer = _local().post(
            f"http://127.0.0.1:{place.port}/", json=_launch(place), timeout=CALL_SECONDS
        )
    except requests.RequestException:
        return Finding(True, "on by default; the server does not run")
    if answer.status_code == 200:
        return Finding(False, f"off at port {place.port}", "start the server without --no-verify")
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
    """Run all checks at once and give what they found, in order; one that takes too long has failed."""
    found: dict[str, Finding] = {}

    def run(name: str, check: Callable[[Place], Finding]) -> None:
        try:
            found[name] = check(place)
        except Exception as error:  # a check that breaks has found something, too
            found[name] = Finding(
                False, f"{type(error).__name__}: {error}", "correct that, and run it again"
            )

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in checks.items()]
    ends = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    late_one = Finding(
        False, f"no result within {seconds:.0f} s", "run it again when this machine has less to do"
    )
    return {name: found.get(name, late_one) for name in checks}


def place_of(options: argparse.Namespace) -> Place:
    """Read what to look at. Raises ValueError where an endpoint or a setting cannot be used."""
    deployed, ids = state.read(state.DEPLOYED), os.environ.get("SKILL_ID", "").split(",")
    opened = state.read(state.TUNNEL).get("address", "")
    endpoint = options.endpoint or deployed.get("endpoint", "") or opened
    endpoint = endpoint_address(endpoint) if endpoint else ""
    same = endpoint == deployed.get("endpoint")
    language = (locale.getlocale()[0] or "").replace("_", "-")
    return Place(
        settings=chosen(options),
        checkpoint=options.checkpoint,
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
    """Examine from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.doctor", description="Say what is missing for your own Echo."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--certification", action="store_true", help="check what Alexa's reviewers look for instead"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="where Alexa reaches the skill (default: as deployed)"
    )
    parser.add_argument(
        "--port", type=int, default=5000, help="the server's (default: %(default)s)"
    )
    parser.add_argument(
        "--skill-id", action="append", metavar="ID", help="as app.py takes it (env SKILL_ID)"
    )
    parser.add_argument(
        "--locale", help="the language of your Echo, such as en-GB (default: this machine's)"
    )
    add_checkpoint(parser)
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
    """Return the manifest of the deployed skill, as far as one can look."""
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
    """Return a session that reaches this machine past any proxy."""
    session = requests.Session()
    session.trust_env = False
    return session


def _can_listen(port: int) -> bool:
    try:
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _other_version(name: str, wanted: str) -> str:
    """Say which version of a package is there; "" where it is the wanted one."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is missing"
    return "" if found.partition("+")[0] == wanted else f"{name} {found} instead of {wanted}"


def _certificate_kind(answer: requests.Response, host: str) -> str:
    """Return whether a certificate is for the host itself or for its domain's sub-domains; "": it cannot be seen."""
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
