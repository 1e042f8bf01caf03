"""Amazon's skill management API as a fake on loopback.

Each call is checked against the schema that ask-smapi-model publishes: its path, method and query,
and that the body comes through the model of its type without loss. So is each answer of the fake's
own.
"""

import ast
import contextlib
import http.server
import inspect
import json
import re
import ssl
import threading
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from ask_sdk_core.serialize import DefaultSerializer
from ask_smapi_model.services.skill_management import skill_management_service_client as published

Operation = tuple[str, str, set[str], str | None]  # method, path, query, type of the good answer
Place = dict[str, str]
Query = dict[str, list[str]]
Answer = tuple[int, dict[str, Any], dict[str, str]]  # status, body, headers
NEW_SKILL = "amzn1.ask.skill.11111111-2222-3333-4444-555555555555"
REFRESH = "Atzr|cAnArYrEfReShToKeN0123456789abcdefghij"
SECRET = "amzn1.oa2-cs.v1.cAnArYsEcReT0123456789"
LOGIN = {
    "client_id": "amzn1.application-oa2-client.1",
    "client_secret": SECRET,
    "refresh_token": REFRESH,
}
BODIES = {
    operation: f"ask_smapi_model.v1.skill.{model}"
    for operation, model in (
        ("create_skill_for_vendor_v1", "create_skill_request.CreateSkillRequest"),
        ("update_skill_manifest_v1", "manifest.skill_manifest_envelope.SkillManifestEnvelope"),
        (
            "set_interaction_model_v1",
            "interaction_model.interaction_model_data.InteractionModelData",
        ),
    )
}


def operations() -> dict[str, Operation]:
    """Read the operations out of the published client: name -> method, path, query, and the type of
    the good answer.
    """
    found: dict[str, Operation] = {}
    for name, function in inspect.getmembers(
        published.SkillManagementServiceClient, inspect.isfunction
    ):
        source = inspect.getsource(function)
        path = re.search(r"resource_path = '(/v\d[^']*)'", source)
        method = re.search(r'method="([A-Z]+)"', source)
        if name.endswith("_v1") and path and method:
            good = re.search(r'response_type=(?:"([\w.]+)"|None), status_code=20\d', source)
            query = set(re.findall(r"query_params\.append\(\('(\w+)'", source))
            found[name] = (method[1], path[1], query, good[1] if good else None)
    return found


OPERATIONS = operations()
assert ast.literal_eval(repr(OPERATIONS["get_vendor_list_v1"][1])) == "/v1/vendors"


def without_loss(document: object, kind: str) -> bool:
    """Return whether a document comes through the published model of its type as it is."""
    serializer = DefaultSerializer()
    module, _, name = kind.rpartition(".")
    model = getattr(__import__(module, fromlist=[name]), name)
    through = serializer.serialize(serializer.deserialize(json.dumps(document), model))
    return bool(_full(through) == _full(document))


def _full(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _full(value) for key, value in node.items() if value not in ([], {}, None)}
    return [_full(value) for value in node] if isinstance(node, list) else node


class Amazon(http.server.ThreadingHTTPServer):
    """The API and its login. `plan` has what is answered before the real thing: [(operation, status
    or "silence")].
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.skills: dict[str, Any] = {}
        self.models: dict[tuple[str, str], Any] = {}
        self.enabled: set[tuple[str, str]] = set()
        self.calls: list[tuple[str, Place]] = []
        self.faults: list[str] = []
        self.plan: list[tuple[str, int | str]] = []
        self.tokens = 0
        self.builds: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        self.chain = b""  # that is served as S3 does, at any address of its folder
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> Answer | None:
        parts = urlsplit(target)
        if parts.path == "/auth/o2/token":
            return self.log_in(dict(parse_qsl(body.decode())))
        found = [
            (name, matched.groupdict())
            for name, (verb, path, _, _) in OPERATIONS.items()
            if verb == method
            and (matched := re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path), parts.path))
        ]
        if not found:
            self.faults.append(f"{method} {parts.path} is no operation")
            return 404, {"message": "no such operation"}, {}
        name, place = found[0]
        self.calls.append((name, place))
        query = parse_qs(parts.query)
        if unknown := set(query) - OPERATIONS[name][2]:
            self.faults.append(f"{name}: no query {unknown}")
        if headers.get("Authorization") != f"Bearer Atza|{self.tokens}":
            return 401, {"message": "the token is not valid"}, {}
        for i, (planned, status) in enumerate(self.plan):
            if planned == name:
                del self.plan[i]
                if status == "silence":
                    return None
                if isinstance(status, int):
                    more = {"Retry-After": "0"} if status == 429 else {}
                    return (
                        status,
                        {"message": f"planned {status}", "violations": [{"message": "as a test"}]},
                        more,
                    )
                getattr(self, name)(place, query, json.loads(body), headers)
                return None
        document = json.loads(body) if body else None
        if name in BODIES and not without_loss(document, BODIES[name]):
            self.faults.append(f"{name}: the body loses something")
        answered: Answer = getattr(self, name)(place, query, document, headers)
        kind = OPERATIONS[name][3]
        if answered[0] < 300 and kind and not without_loss(answered[1], kind):
            self.faults.append(f"the fake itself: {name} answers what is no {kind}")
        return answered

    def log_in(self, asked: dict[str, str]) -> Answer:
        if asked != {"grant_type": "refresh_token", **LOGIN}:
            return (
                400,
                {
                    "error": "invalid_grant",
                    "error_description": f"{asked.get('refresh_token')} is not valid",
                },
                {},
            )
        self.tokens += 1
        return (
            200,
            {"access_token": f"Atza|{self.tokens}", "token_type": "bearer", "expires_in": 3600},
            {},
        )

    def get_vendor_list_v1(self, place: Place, query: Query, body: Any, headers: Message) -> Answer:
        return (
            200,
            {"vendors": [{"id": "M1VENDOR", "name": "ann", "roles": ["ROLE_ADMINISTRATOR"]}]},
            {},
        )

    def list_skills_for_vendor_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        assert query["vendorId"] == ["M1VENDOR"]
        start = int(query.get("nextToken", ["0"])[0])
        page = list(self.skills.items())[start : start + 1]
        answer = {
            "skills": [_summary(key, found) for key, found in page],
            "isTruncated": start + 1 < len(self.skills),
        }
        return 200, answer | ({"nextToken": str(start + 1)} if answer["isTruncated"] else {}), {}

    def create_skill_for_vendor_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        if body.get("vendorId") != "M1VENDOR":
            return 400, {"message": "vendorId"}, {}
        key = NEW_SKILL if not self.skills else f"{NEW_SKILL[:-1]}{len(self.skills)}"
        self.skills[key] = {"manifest": body["manifest"]}
        self.builds["manifest"] = 2
        return 202, {"skillId": key}, {"Location": f"/v1/skills/{key}/status"}

    def get_skill_manifest_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        if place["skillId"] not in self.skills:
            return 404, {"message": f"no skill {place['skillId']}"}, {}
        return 200, self.skills[place["skillId"]], {"ETag": _etag(self.skills[place["skillId"]])}

    def update_skill_manifest_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        if headers.get("If-Match", _etag(self.skills[place["skillId"]])) != _etag(
            self.skills[place["skillId"]]
        ):
            return 412, {"message": "changed meanwhile"}, {}
        self.skills[place["skillId"]] = body
        self.builds["manifest"] = 2
        return 202, {}, {"Location": f"/v1/skills/{place['skillId']}/status"}

    def get_interaction_model_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        model = self.models.get((place["skillId"], place["locale"]))
        if model is None:
            return 404, {"message": "no model for the locale"}, {}
        return 200, {**model, "version": "1"}, {"ETag": _etag(model)}

    def set_interaction_model_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        key = (place["skillId"], place["locale"])
        if key in self.models and headers.get("If-Match", _etag(self.models[key])) != _etag(
            self.models[key]
        ):
            return 412, {"message": "changed meanwhile"}, {}
        self.builds[place["locale"]] = 3
        if place["locale"] not in self.broken:
            self.models[key] = body
        return 202, {}, {"Location": f"/v1/skills/{place['skillId']}/status"}

    def get_skill_status_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        def update(name: str) -> dict[str, Any]:
            self.builds[name] = left = max(self.builds.get(name, 0) - 1, 0)
            if left:
                return {"status": "IN_PROGRESS"}
            if name in self.broken:
                return {"status": "FAILED", "errors": [{"message": self.broken[name]}]}
            return {"status": "SUCCEEDED"}

        answer: dict[str, Any] = {}
        if "manifest" in query["resource"]:
            answer["manifest"] = {"lastUpdateRequest": update("manifest")}
        if "interactionModel" in query["resource"]:
            locales = [name for name in self.builds if name != "manifest"]
            answer["interactionModel"] = {
                name: {"lastUpdateRequest": _steps(update(name))} for name in locales
            }
        return 200, answer, {}

    def set_skill_enablement_v1(
        self, place: Place, query: Query, body: Any, headers: Message
    ) -> Answer:
        self.enabled.add((place["skillId"], place["stage"]))
        return 204, {}, {}


def _etag(document: object) -> str:
    return str(abs(hash(json.dumps(document, sort_keys=True))))


def _summary(key: str, found: dict[str, Any]) -> dict[str, Any]:
    locales = found["manifest"]["publishingInformation"]["locales"]
    names = {locale: texts.get("name") for locale, texts in locales.items()}
    return {
        "skillId": key,
        "stage": "development",
        "nameByLocale": names,
        "apis": ["custom"],
        "publicationStatus": "DEVELOPMENT",
    }


def _steps(update: dict[str, Any]) -> dict[str, Any]:
    step = {"name": "LANGUAGE_MODEL_QUICK_BUILD", "status": update["status"]}
    return {**update, "buildDetails": {"steps": [step]}}


class _Api(http.server.BaseHTTPRequestHandler):
    server: Amazon
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle_one_request()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/echo.api/") and self.server.chain:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.chain)))
            self.end_headers()
            self.wfile.write(self.server.chain)
            return
        with self.server.lock:
            found = self.server.answer(self.command, self.path, self.headers, body)
        if found is None:
            self.close_connection = True
            return
        status, answer, more = found
        data = json.dumps(answer).encode() if status != HTTPStatus.NO_CONTENT else b""
        self.send_response(status)
        for name, value in {
            **more,
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _answer


ASK = r'''#!{python} -S
"""A stand-in for ASK's command line, with the published operations and its own login."""
import json, sys, urllib.error, urllib.request
operations, token, port = {operations!r}, {token!r}, {port!r}
smapi, operation, *rest = sys.argv[1:]
options = dict(zip(rest[::2], rest[1::2]))
if smapi != "smapi" or operation not in operations:
    sys.exit("[Error]: no such command")
method, path, query = operations[operation]
for name, key in (
    ("--skill-id", "skillId"), ("--locale", "locale"), ("--stage", "stageV2"), ("--stage", "stage")
):
    if "{{%s}}" % key in path:
        path = path.replace("{{%s}}" % key, options[name])
asked = []
if "vendorId" in query: asked.append("vendorId=M1VENDOR")
for name, key in (("--resource", "resource"), ("--next-token", "nextToken")):
    if name in options: asked += ["%s=%s" % (key, part) for part in options[name].split(",")]
body = None
for name in ("--manifest", "--interaction-model"):
    if name in options:
        assert options[name].startswith("file:")
        body = json.load(open(options[name][5:]))
        if operation.startswith("create-skill"): body["vendorId"] = "M1VENDOR"
known = "skill-id locale stage resource next-token manifest interaction-model"
unknown = set(options) - {{"--" + name for name in known.split()}}
if unknown: sys.exit("error: unknown option %s" % unknown)
url = "http://127.0.0.1:%d%s?%s" % (port, path, "&".join(asked))
data = None if body is None else json.dumps(body).encode()
request = urllib.request.Request(url, data, {{"Authorization": "Bearer " + token}}, method=method)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
try:
    answer = opener.open(request).read().decode()
except urllib.error.HTTPError as error:
    told = {{"message": json.loads(error.read())["message"], "statusCode": error.code}}
    sys.exit("[Error]: " + json.dumps(told))
print(answer if answer and answer != "{{}}" else "Command executed successfully!")
'''


def write_ask(path: Path, amazon: Amazon, python: str) -> None:
    """Put a stand-in for `ask` somewhere, logged in."""
    amazon.tokens += 1
    known = {
        name.removesuffix("_v1").replace("_", "-"): (verb, place, sorted(query))
        for name, (verb, place, query, _) in OPERATIONS.items()
    }
    path.write_text(
        ASK.format(python=python, operations=known, token=f"Atza|{amazon.tokens}", port=amazon.port)
    )
    path.chmod(0o755)
