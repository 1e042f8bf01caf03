"""python -m skill.deploy: create or update your own skill's development stage.

It uses `ask` if that is on PATH and logged in, else Amazon's skill management API if --login was
run once; otherwise it prints what to click. Running it again changes only what is out of date.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from dialogue.command_line import command, tell
from skill import smapi, state
from skill.deployment import Deployment
from skill.interaction_model import (
    MANIFEST_FILE,
    interaction_model,
    model_file,
    package_faults,
)
from skill.interaction_settings import InteractionSettings, add_options, chosen
from skill.target import Certificate, Target, certificate_of, endpoint_address

CONSOLE = "https://developer.amazon.com/alexa/console/ask"


def target_of(options: argparse.Namespace) -> Target:
    """Return what to deploy. Raises ValueError if the endpoint is missing or unusable."""
    known = [
        options.endpoint,
        state.read(state.TUNNEL).get("address"),
        state.read(state.DEPLOYED).get("endpoint"),
    ]
    address = next((found for found in known if found), "")
    if not address:
        raise ValueError(
            "no endpoint is known: pass --endpoint https://..., "
            "or start a tunnel (python app.py --tunnel ngrok)"
        )
    endpoint = endpoint_address(address)
    asked: dict[str, Certificate] = {"wildcard": "Wildcard", "trusted": "Trusted"}
    return Target(
        chosen(options), endpoint, asked.get(options.certificate) or certificate_of(endpoint)
    )


def check(target: Target) -> None:
    """Check the package before anything is sent. Raises ValueError if it has faults."""
    models = {
        model_file(locale): interaction_model(target.settings) for locale in target.settings.locales
    }
    if found := package_faults({**models, MANIFEST_FILE: target.manifest()}):
        raise ValueError("; ".join(found))


def clicks(target: Target) -> str:
    """Return the steps to do by hand, with the values filled in."""
    first, *others = target.settings.locales
    kind = (
        "My development endpoint is a sub-domain of a domain that has a wildcard certificate "
        "from a certificate authority"
        if target.certificate == "Wildcard"
        else "My development endpoint has a certificate from a trusted certificate authority"
    )
    folder = "interaction_models/interactionModels/custom"
    called = target.settings.invocation_name
    return f"""\
There is neither `ask` nor a login, so do this by hand (or run python -m skill.deploy --login, and
then this again).
 1. Open {CONSOLE} and press Create Skill.
    Name: {target.settings.name}. Locale: {first}.
    Then: Other, Custom, Provision your own, Start from Scratch.
 2. Write the interaction models: python -m skill.interaction_model \
--invocation-name "{called}" --free-speech {target.settings.free_speech}
 3. Build > Interaction Model > JSON Editor: drag {folder}/{first}.json in. Save. Build skill.
    You see "Build Completed".
 4. Language Settings (the list at the top): add {", ".join(others) or "no other"};
    for each do the same with its own file.
 5. Build > Endpoint: HTTPS. Default Region: {target.endpoint}
    Certificate type: {kind}. Save.
 6. Test: "Skill testing is enabled in": Development. Type: open {called}
 7. Copy the skill's id (View Skill ID, in the list of skills) and start the server:
    python app.py --skill-id amzn1.ask.skill....
"""


def dry_run(target: Target, skill_id: str) -> None:
    """Print what would be sent and, if the deployed skill can be read, what would change."""
    sent = {MANIFEST_FILE: target.manifest()}
    sent |= {
        model_file(locale): interaction_model(target.settings) for locale in target.settings.locales
    }
    print(json.dumps(sent, indent=2))
    try:
        client = smapi.find_client()
        if client is None:
            tell("what would change is unknown: there is neither `ask` nor a login")
            return
        for change in Deployment(client, target).changes(skill_id) or ["nothing"]:
            tell(f"would change: {change}")
    except ValueError as error:
        tell(f"what would change is unknown: {error}")


def log_in() -> None:
    """Ask for a login, and store it so that only its owner can read it."""
    tell(
        "Create a security profile at "
        "https://developer.amazon.com/settings/console/securityprofile\n"
        "In its web settings allow the return address\n"
        "https://ask-cli-static-content.s3-us-west-2.amazonaws.com/html/ask-cli-no-browser.html\n"
        "Then get a refresh token: "
        "ask util generate-lwa-tokens --client-id ID --client-confirmation SECRET\n"
        "What you type here is not shown."
    )
    login = {
        key: getpass.getpass(f"{key.replace('_', ' ')}: ", stream=sys.stderr).strip()
        for key in smapi.LOGIN_KEYS
    }
    smapi.Https(login).call("get-vendor-list")
    print(f"The login works; it is stored in {state.write(state.LOGIN, login)}")


@command
def main(arguments: list[str] | None = None) -> int:
    """Deploy from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.deploy", description="Create or update your own skill."
    )
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="where Alexa reaches it (default: the open tunnel, else the last endpoint)",
    )
    parser.add_argument(
        "--certificate",
        choices=("wildcard", "trusted"),
        help="the endpoint's certificate type (default: by its host)",
    )
    parser.add_argument(
        "--skill-id",
        default="",
        metavar="ID",
        help="which of your skills to update (default: by name)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="send nothing; print what would be sent"
    )
    parser.add_argument(
        "--login", action="store_true", help="enter the login for the skill management API, once"
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.login:
        log_in()
        return 0
    target = target_of(options)
    check(target)
    if options.dry_run:
        dry_run(target, options.skill_id)
        return 0
    if skill_id := send(target, options.skill_id):
        print(f"Serve it: python app.py --skill-id {skill_id}")
    return 0


def deploy_address(settings: InteractionSettings, address: str, *, skill_id: str = "") -> str:
    """Deploy a tunnel's address and return the skill's id; without a login, see `send`.

    If that fails, raises ValueError, which says why and what was already done.
    """
    endpoint = endpoint_address(address)
    target = Target(settings, endpoint, certificate_of(endpoint))
    check(target)
    return send(target, skill_id)


def send(target: Target, skill_id: str) -> str:
    """Deploy and return the skill's id; without a login, print what to click and return ""."""
    client = smapi.find_client()
    if client is None:
        print(clicks(target), flush=True)
        return ""
    tell(f"deploying {target.settings.name} to {target.endpoint} through {client.name}")
    found = Deployment(client, target).run(skill_id)
    print(f'Say: "Alexa, open {target.settings.invocation_name}".', flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
