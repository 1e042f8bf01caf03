"""python -m skill.deploy: create or update your own skill's development stage.

It uses `ask` if that is on PATH and logged in, else Amazon's skill management API if --login was
run once; otherwise it prints what to click. Running it again changes only what is out of date.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from dialogue.command_line import command, tell
from skill import smapi, state
from skill.interaction_model import (
    MANIFEST_FILE,
    interaction_model,
    manifest,
    model_file,
    package_faults,
)
from skill.interaction_settings import InteractionSettings, add_options, chosen

Certificate = Literal["Wildcard", "Trusted"]

BUILD_SECONDS, ASK_AGAIN_SECONDS = 600.0, 3.0
CONSOLE = "https://developer.amazon.com/alexa/console/ask"
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
    """Return an endpoint in its normal form. Raises ValueError if Alexa would not accept it."""
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


def find_skill(client: smapi.Client, settings: InteractionSettings, skill_id: str) -> str:
    """Return the id of the skill to update, or "" if there is none yet.

    It is the given one, else the one deployed last, else the one with the settings' name. Raises
    ValueError if several have that name.
    """
    if skill_id:
        return skill_id
    # The list comes in pages, and has a published skill once for each stage.
    mine, token = [], ""
    while True:
        page = {"next_token": token} if token else {}
        answer = client.call("list-skills-for-vendor", body=None, etag="", **page).body
        mine += [
            skill
            for skill in answer.get("skills") or []
            if skill.get("stage", smapi.STAGE) == smapi.STAGE
        ]
        token = str(answer.get("nextToken") or "")
        if not token:
            break
    ids = {str(skill.get("skillId")) for skill in mine}
    # What was deployed from here may have been deleted in the console since.
    if (last := state.read(state.DEPLOYED).get("skill_id", "")) in ids:
        return last
    named = sorted(
        {str(s["skillId"]) for s in mine if settings.name in (s.get("nameByLocale") or {}).values()}
    )
    if len(named) > 1:
        raise ValueError(
            f"{len(named)} skills are named {settings.name}: "
            f"choose one with --skill-id {' or '.join(named)}"
        )
    return named[0] if named else ""


class Deployment:
    """One deployment: what it changes, step by step, and what it has done so far."""

    def __init__(
        self, client: smapi.Client, target: Target, *, say: Callable[[str], None] = print
    ) -> None:
        self._client, self._target, self._say = client, target, say
        self.skill_id = ""
        self.done: list[str] = []

    def run(self, skill_id: str = "") -> str:
        """Deploy and return the skill's id. Raises ValueError that says what was already done."""
        try:
            self.skill_id = find_skill(self._client, self._target.settings, skill_id)
            self._send_manifest()
            self._send_models()
            self._client.call("set-skill-enablement", skill_id=self.skill_id, stage=smapi.STAGE)
        except smapi.SmapiError as error:
            half = (
                f"done so far: {', '.join(self.done)}; run it again to finish"
                if self.done
                else "nothing was changed"
            )
            raise ValueError(f"{error}; {half}") from None
        self._say("testing: enabled in development")
        values = {"endpoint": self._target.endpoint, "certificate": self._target.certificate}
        state.write(
            state.DEPLOYED,
            {
                "skill_id": self.skill_id,
                **values,
                "invocation_name": self._target.settings.invocation_name,
            },
        )
        return self.skill_id

    def changes(self, skill_id: str = "") -> list[str]:
        """Return what a deployment would change."""
        settings = self._target.settings
        self.skill_id = find_skill(self._client, settings, skill_id)
        if not self.skill_id:
            return [
                f"a new skill, {settings.name}, with {len(settings.locales)} interaction models"
            ]
        there = self._client.call(
            "get-skill-manifest", skill_id=self.skill_id, stage=smapi.STAGE
        ).body
        found = [
            f"manifest: {place}"
            for place in differences(there, merged(there, self._target.manifest()))
        ]
        return found + [f"{locale}: interaction model" for locale, _ in self._stale_models()]

    def _send_manifest(self) -> None:
        ours = self._target.manifest()
        if not self.skill_id:
            self.skill_id = self._create(ours)
            self.done.append(f"skill {self.skill_id} created")
            self._await("manifest", lambda status: {"manifest": status.get("manifest") or {}})
            self._say(f"skill: created, {self.skill_id}")
            return
        # The manifest is replaced as a whole, so the owner's additions must be sent back, too.
        there = self._client.call("get-skill-manifest", skill_id=self.skill_id, stage=smapi.STAGE)
        whole = merged(there.body, ours)
        if not differences(there.body, whole):
            self._say("manifest: up to date")
            return
        try:
            self._put_manifest(whole, there.etag)
        except smapi.SmapiError as error:
            if error.status != 412:  # 412: somebody else has changed it meanwhile
                raise
            again = self._client.call(
                "get-skill-manifest", skill_id=self.skill_id, stage=smapi.STAGE
            )
            self._put_manifest(merged(again.body, ours), again.etag)
        self._await("manifest", lambda status: {"manifest": status.get("manifest") or {}})
        self.done.append("manifest updated")
        self._say(f"manifest: updated ({', '.join(differences(there.body, whole))})")

    def _create(self, ours: dict[str, Any]) -> str:
        try:
            return str(self._client.call("create-skill-for-vendor", body=ours).body["skillId"])
        except (smapi.SmapiError, KeyError) as error:
            if getattr(error, "status", 0):
                raise
            # There was no answer, but the skill may have been created all the same.
            if found := find_skill(self._client, self._target.settings, ""):
                return found
            raise smapi.SmapiError(
                "no answer to the request for a new skill, and none was made"
            ) from None

    def _put_manifest(self, whole: dict[str, Any], etag: str) -> None:
        self._client.call(
            "update-skill-manifest",
            skill_id=self.skill_id,
            stage=smapi.STAGE,
            body=whole,
            etag=etag,
        )

    def _stale_models(self) -> list[tuple[str, str]]:
        """Return the locales whose deployed model is out of date, with its ETag."""
        ours, stale = interaction_model(self._target.settings), []
        for locale in self._target.settings.locales:
            try:
                there = self._client.call(
                    "get-interaction-model",
                    skill_id=self.skill_id,
                    stage=smapi.STAGE,
                    locale=locale,
                )
            except smapi.SmapiError as error:
                if error.status != 404:
                    raise
                there = smapi.Answer({})
            if differences({"interactionModel": there.body.get("interactionModel")}, ours):
                stale.append((locale, there.etag))
        return stale

    def _send_models(self) -> None:
        ours, sent = interaction_model(self._target.settings), []
        stale = self._stale_models()
        for locale in self._target.settings.locales:
            if locale not in dict(stale):
                self._say(f"{locale}: up to date")
        # All are sent before any is waited for, because Alexa builds them at the same time.
        for locale, etag in stale:
            self._put_model(locale, ours, etag)
            self.done.append(f"{locale} sent")
            sent.append(locale)
        if sent:
            self._await(
                "interactionModel",
                lambda status: {
                    key: (status.get("interactionModel") or {}).get(key) or {} for key in sent
                },
            )

    def _put_model(self, locale: str, ours: dict[str, Any], etag: str) -> None:
        place = {"skill_id": self.skill_id, "stage": smapi.STAGE, "locale": locale}
        try:
            self._client.call("set-interaction-model", body=ours, etag=etag, **place)
        except smapi.SmapiError as error:
            # 412: somebody else has changed it meanwhile, or the answer to an earlier attempt of
            # our own was lost.
            if error.status != 412:
                raise
            there = self._client.call("get-interaction-model", body=None, etag="", **place)
            if differences({"interactionModel": there.body.get("interactionModel")}, ours):
                self._client.call("set-interaction-model", body=ours, etag=there.etag, **place)

    def _await(self, resource: str, of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Wait until Alexa has processed what was sent, and show its progress.

        Raises SmapiError if any of it fails or takes too long.
        """
        shown: dict[str, str] = {}
        deadline = time.monotonic() + BUILD_SECONDS
        while True:
            status = self._client.call(
                "get-skill-status", skill_id=self.skill_id, resource=resource
            ).body
            updates = {
                name: found.get("lastUpdateRequest") or {} for name, found in of(status).items()
            }
            for name, update in updates.items():
                progress = _progress(update)
                if shown.get(name) != progress and resource != "manifest":
                    self._say(f"{name}: {progress}")
                shown[name] = progress
            # What has no status yet has not been begun.
            states = {name: update.get("status", "IN_PROGRESS") for name, update in updates.items()}
            if "IN_PROGRESS" not in states.values():
                break
            if time.monotonic() > deadline:
                waiting = ", ".join(
                    name for name, found in states.items() if found == "IN_PROGRESS"
                )
                raise smapi.SmapiError(
                    f"{waiting} is still being built after {BUILD_SECONDS:.0f} s"
                )
            time.sleep(ASK_AGAIN_SECONDS)
        failed = [name for name, found in states.items() if found != "SUCCEEDED"]
        if failed:
            why = "; ".join(f"{name}: {_errors(updates[name])}" for name in failed)
            raise smapi.SmapiError(f"Alexa refused {why}; the previous version stays in use")


def _progress(update: dict[str, Any]) -> str:
    status = str(update.get("status", "IN_PROGRESS"))
    if status != "IN_PROGRESS":
        return "built" if status == "SUCCEEDED" else "failed"
    steps = (update.get("buildDetails") or {}).get("steps") or []
    finished = sum(step.get("status") == "SUCCEEDED" for step in steps)
    return f"building, {finished} of {len(steps)} steps done" if steps else "building"


def _errors(update: dict[str, Any]) -> str:
    found = [*(update.get("errors") or [])]
    found += [
        error
        for step in (update.get("buildDetails") or {}).get("steps") or []
        for error in step.get("errors") or []
    ]
    return (
        ", ".join(
            dict.fromkeys(
                str(error.get("message") or error.get("code") or error) for error in found
            )
        )
        or "no reason given"
    )


def merged(there: Any, ours: Any) -> Any:
    """Return the deployed document with our values; keep the owner's others, such as icons."""
    if isinstance(there, dict) and isinstance(ours, dict):
        return {**there, **{name: merged(there.get(name), value) for name, value in ours.items()}}
    return ours


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Return the places where two documents differ; an empty value equals a missing one."""
    if isinstance(before, dict) or isinstance(after, dict):
        first, second = (part if isinstance(part, dict) else {} for part in (before, after))
        names = [*second, *(name for name in first if name not in second)]
        return [
            found
            for name in names
            for found in differences(
                first.get(name), second.get(name), f"{place}.{name}".lstrip(".")
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            found
            for i, pair in enumerate(zip(before, after, strict=True))
            for found in differences(*pair, f"{place}[{i}]")
        ]
    # Amazon may leave empty values out, which must not look like a change at every run.
    empty: tuple[Any, ...] = (None, [], "")
    return [] if before == after or (before in empty and after in empty) else [place]


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


def target_of(options: argparse.Namespace) -> Target:
    """Return what to deploy. Raises ValueError if there is no endpoint, or an unusable one."""
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
    """Ask for a login and keep it, readable by its owner only."""
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
    """Deploy a tunnel's address and return the skill's id; without a login see `send`.

    Raises ValueError that says why it cannot be deployed, and what was already done.
    """
    endpoint = endpoint_address(address)
    target = Target(settings, endpoint, certificate_of(endpoint))
    check(target)
    return send(target, skill_id)


def send(target: Target, skill_id: str) -> str:
    """Deploy and return the skill's id; without a login print what to click and return ""."""
    client = smapi.find_client()
    if client is None:
        print(clicks(target), flush=True)
        return ""
    tell(f"deploying {target.settings.name} to {target.endpoint} through {client.name}")
    found = Deployment(client, target).run(skill_id)
    print(f'Say: "Alexa, open {target.settings.invocation_name}".', flush=True)
    return found


def check(target: Target) -> None:
    """Check the package before anything is sent. Raises ValueError if it has faults."""
    models = {
        model_file(locale): interaction_model(target.settings) for locale in target.settings.locales
    }
    if found := package_faults({**models, MANIFEST_FILE: target.manifest()}):
        raise ValueError("; ".join(found))


if __name__ == "__main__":
    sys.exit(main())
