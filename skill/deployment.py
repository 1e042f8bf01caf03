"""Deploy through Amazon's API: find the skill, send what is out of date, wait for its builds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from skill import smapi, state
from skill.interaction_model import interaction_model
from skill.interaction_settings import InteractionSettings
from skill.target import Target

BUILD_SECONDS, ASK_AGAIN_SECONDS = 600.0, 3.0


def find_skill(client: smapi.Client, settings: InteractionSettings, skill_id: str) -> str:
    """Return the id of the skill to update, or "" if there is none yet.

    This is the given one, else the one deployed last, else the one with the settings' name. Raises
    ValueError if several have that name.
    """
    if skill_id:
        return skill_id
    # The list is paginated, and contains a published skill once per stage.
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
    # The skill that was last deployed from here may since have been deleted in the console.
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
        """Deploy and return the skill's id. Raises ValueError, which says what was already done."""
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
        # The manifest is replaced as a whole, so the owner's additions must be sent back too.
        there = self._client.call("get-skill-manifest", skill_id=self.skill_id, stage=smapi.STAGE)
        whole = merged(there.body, ours)
        if not differences(there.body, whole):
            self._say("manifest: up to date")
            return
        try:
            self._put_manifest(whole, there.etag)
        except smapi.SmapiError as error:
            if error.status != 412:  # 412: somebody else has changed it in the meantime
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
            # There was no answer, but the skill may have been created anyway.
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
        """Return each locale whose deployed model is out of date, with that model's ETag."""
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
        # Send them all before waiting for any, because Alexa builds them in parallel.
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
            # 412: somebody else has changed it in the meantime, or the answer to an earlier attempt
            # of ours was lost.
            if error.status != 412:
                raise
            there = self._client.call("get-interaction-model", body=None, etag="", **place)
            if differences({"interactionModel": there.body.get("interactionModel")}, ours):
                self._client.call("set-interaction-model", body=ours, etag=there.etag, **place)

    def _await(self, resource: str, of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Wait until Alexa has processed what was sent, and show its progress.

        Raises SmapiError if any part of it fails or takes too long.
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
            # Anything without a status has not been started yet.
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
    """Return the deployed document with our values; the owner's own, such as icons, are kept."""
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
    # Amazon may leave out empty values, which must not look like a change on every run.
    empty: tuple[Any, ...] = (None, [], "")
    return [] if before == after or (before in empty and after in empty) else [place]
