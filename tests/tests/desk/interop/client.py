"""A client of an ATP server, written from section 4 of the protocol alone, with Python's own library.

`client.py register URL ADMIN_TOKEN CALLBACK_URL SECRET` registers a service.
`client.py ask URL API_KEY` asks a question for each response type.
`client.py calls URL ADMIN_TOKEN USER_TOKEN` makes every call, right and wrong in each way that can be brought about.

It prints one line of JSON for each call, and fails where the server does not say what the protocol does.
"""

import json
import sys
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from datetime import datetime, timedelta, timezone

# Whatever proxy the machine has is not for this.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
OPTIONS = [{"value": "1h", "label": "1 hour"}, {"value": "1d", "label": "1 day"}]
# The actions of a question, one of each response type.
ACTIONS = [
    {"id": "simple", "label": "Approve", "response_type": "simple", "flags": ["irreversible"]},
    {"id": "binary", "label": "Sure?", "response_type": "binary", "options": {"true_label": "Yes", "false_label": "No"}},
    {"id": "choice", "label": "Delay", "response_type": "choice", "options": OPTIONS},
    {
        "id": "multi_choice",
        "label": "Where",
        "response_type": "multi_choice",
        "options": OPTIONS,
        "constraints": {"min_selections": 1, "max_selections": 1},
    },
    {"id": "text", "label": "Reject", "response_type": "text", "constraints": {"placeholder": "Reason", "max_length": 99}},
    {"id": "number", "label": "How much", "response_type": "number", "constraints": {"max": 1e30}},
    {"id": "select", "label": "Which", "response_type": "select", "options": OPTIONS},
    {"id": "form", "label": "Who", "response_type": "form", "fields": [{"name": "name", "label": "Name", "required": True}]},
    {"id": "json", "label": "Anything", "response_type": "json", "schema": {"type": "object"}},
    {"id": "file", "label": "A file", "response_type": "file"},
]
# What fits each of them.
FITTING = {
    "simple": None,
    "binary": True,
    "choice": "1h",
    "multi_choice": ["1d"],
    "text": "Wait, \u00e9 \U0001f600.",
    "number": 47.5,
    "select": "1d",
    "form": {"name": "Ada", "age": 36},
    "json": {"b": [1, {"a": None}], "a": False},
    "file": {"name": "a.txt", "content_type": "text/plain", "size": 2, "data": b64encode(b"hi").decode()},
}


class Server:
    def __init__(self, url):
        self.url = url

    def call(self, method, path, token, body=None):
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = "Bearer " + token
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.load(error)

    def says(self, status, code, method, path, token, body=None):
        """A call to which the server must say this."""
        found, headers, answer = self.call(method, path, token, body)
        said = answer.get("code")
        print(json.dumps({"call": f"{method} {path}", "status": found, "code": said}), flush=True)
        assert (found, said) == (status, code), f"{method} {path} {body}: {found} {answer}, not {status} {code}"
        if code:
            assert answer["message"] and answer["request_id"].startswith("req_"), answer
        if status == 429:
            assert 1 <= int(headers["Retry-After"]) <= 61, headers["Retry-After"]
        return answer


NOTIFICATIONS = "/api/v1/notifications"
SERVICES = "/api/v1/services"
LIST = "/api/v1/client/notifications"
RESPOND = "/api/v1/client/respond"


def now():
    return datetime.now(timezone.utc)


def time(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def question(identifier, actions=None, deadline=None):
    """All that section 4 names."""
    return {
        "id": identifier,
        "version": "1.0",
        "timestamp": time(now()),
        "deadline": time(deadline or now() + timedelta(hours=1)),
        "service": {"id": "lovelace-ide", "name": "Lovelace IDE", "icon": "https://lovelace.dev/icon.png"},
        "context": {
            "title": "Deploy to Production?",
            "description": "New version 2.1.0 is ready.",
            "project": "backend-api",
            "metadata": {"version": "2.1.0", "changes": 47},
            "attachments": [
                {"type": "text/plain", "description": "Release notes", "data": b64encode(b"notes").decode()},
                {"type": "text/html", "description": "Diff", "uri": "https://lovelace.dev/diff"},
            ],
        },
        "actions": actions or ACTIONS,
    }


def registration(name, callback, secret):
    return {"name": name, "description": "Asks.", "callback_url": callback, "webhook_secret": secret}


def register(server, admin, name, callback, secret):
    told = server.says(201, None, "POST", SERVICES, admin, registration(name, callback, secret))
    assert told["webhook_secret"] == secret and told["service_id"] and told["api_key"], told
    return told


def ask(server, key, body):
    told = server.says(201, None, "POST", NOTIFICATIONS, key, body)
    assert told["notification_id"] and told["status"] == "created" and told["estimated_delivery"], told
    return told["notification_id"]


def register_one(url, admin, callback, secret):
    service = register(Server(url), admin, "service at " + callback, callback, secret)
    print(json.dumps({"service_id": service["service_id"], "api_key": service["api_key"]}), flush=True)


def ask_one_of_each(url, key):
    server = Server(url)
    asked = {action["id"]: ask(server, key, question(str(uuid.uuid4()))) for action in ACTIONS}
    print(json.dumps(asked), flush=True)


def every_call(url, admin, user):
    server, secret = Server(url), "a-secret-of-32-characters-or-more"
    service = register(server, admin, "Lovelace IDE", "https://127.0.0.1:9/atp/webhook", secret)
    other = register(server, admin, "Another", "https://127.0.0.1:9/atp/webhook", secret)
    key = service["api_key"]
    refused_services(server, admin, key, secret)
    answered_and_listed(server, key, user)
    refused_notifications(server, key, other["api_key"], user)
    refused_answers(server, key, admin, user)
    changes(server, key, other["api_key"], user)
    limits(server, other["api_key"])


def refused_services(server, admin, key, secret):
    good = registration("Third", "https://127.0.0.1:9/", secret)
    server.says(401, "AUTH_INVALID_TOKEN", "POST", SERVICES, None, good)
    server.says(401, "AUTH_INVALID_TOKEN", "POST", SERVICES, "somebody", good)
    server.says(403, "AUTH_INSUFFICIENT_PERMISSIONS", "POST", SERVICES, key, good)
    server.says(400, "INVALID_CALLBACK_URL", "POST", SERVICES, admin, {**good, "callback_url": "http://third.dev/"})
    server.says(400, "INVALID_CALLBACK_URL", "POST", SERVICES, admin, {**good, "callback_url": "third"})
    server.says(409, "SERVICE_ALREADY_EXISTS", "POST", SERVICES, admin, {**good, "name": "Another"})
    for member in ("name", "callback_url"):
        left = {name: value for name, value in good.items() if name != member}
        server.says(400, "MISSING_REQUIRED_FIELD", "POST", SERVICES, admin, left)


def answered_and_listed(server, key, user):
    """Each response type: asked, listed, answered, and answered no more."""
    for action, data in FITTING.items():
        identifier = ask(server, key, question(str(uuid.uuid4())))
        listed = server.says(200, None, "GET", LIST, user)["notifications"]
        mine = next(notification for notification in listed if notification["id"] == identifier)
        assert mine["context"]["metadata"] == {"version": "2.1.0", "changes": 47}, mine
        assert mine["status"] in ("created", "delivered", "acknowledged"), mine
        answer = {"notification_id": identifier, "action_id": action, "response_data": data}
        told = server.says(200, None, "POST", RESPOND, user, answer)
        assert told["notification_id"] == identifier and told["action_id"] == action, told
        assert told["status"] == "responded" and datetime.fromisoformat(told["responded_at"]), told
        server.says(409, "NOTIFICATION_ALREADY_RESPONDED", "POST", RESPOND, user, answer)
        waiting = server.says(200, None, "GET", LIST, user)["notifications"]
        assert identifier not in [notification["id"] for notification in waiting], waiting


def refused_notifications(server, key, other, user):
    def refused(code, change):
        body = question(str(uuid.uuid4()))
        change(body)
        server.says(400, code, "POST", NOTIFICATIONS, key, body)

    def with_action(**members):
        action = {"id": "a", "label": "A", "response_type": "simple", **members}
        return lambda body: body.update(actions=[{name: value for name, value in action.items() if value is not None}])

    refused("MISSING_REQUIRED_FIELD", lambda body: body.pop("context"))
    refused("MISSING_REQUIRED_FIELD", lambda body: body.pop("actions"))
    refused("MISSING_REQUIRED_FIELD", lambda body: body["context"].pop("title"))
    refused("MISSING_REQUIRED_FIELD", lambda body: body.update(actions=[]))
    refused("INVALID_RESPONSE_TYPE", with_action(response_type="dance"))
    refused("MALFORMED_ACTION", with_action(label=None))
    refused("MALFORMED_ACTION", with_action(id=None))
    refused("MALFORMED_ACTION", with_action(response_type="choice"))
    refused("INVALID_PARAMETER", lambda body: body.update(deadline="soon"))
    server.says(401, "AUTH_INVALID_TOKEN", "POST", NOTIFICATIONS, "somebody", question("n"))
    server.says(403, "AUTH_INSUFFICIENT_PERMISSIONS", "POST", NOTIFICATIONS, user, question("n"))
    # What may be left out is; and the guide's SDK asks in a flat form.
    bare = {"context": {"title": "Deploy?", "description": "It is ready."}, "actions": ACTIONS[:1]}
    flat = {"title": "Deploy?", "description": "It is ready.", "priority": "high", "actions": ACTIONS[:1]}
    for body in (bare, flat):
        identifier = ask(server, other, body)
        listed = server.says(200, None, "GET", LIST, user)["notifications"]
        mine = next(notification for notification in listed if notification["id"] == identifier)
        assert mine["context"] == bare["context"], mine


def refused_answers(server, key, admin, user):
    identifier = ask(server, key, question(str(uuid.uuid4())))

    def answer(action, data):
        return {"notification_id": identifier, "action_id": action, "response_data": data}

    for action, data in (
        ("simple", 1),
        ("binary", "true"),
        ("choice", "1 hour"),
        ("multi_choice", ["1h", "1h"]),
        ("text", 7),
        ("text", "a" * 10_001),
        ("number", "7"),
        ("select", []),
        ("form", {"age": 36}),
        ("json", []),
        ("file", "a.txt"),
    ):
        server.says(400, "INVALID_RESPONSE_DATA", "POST", RESPOND, user, answer(action, data))
    for action, data in (("multi_choice", ["1h", "1d"]), ("multi_choice", []), ("text", "a" * 100), ("number", 1e31)):
        server.says(422, "CONSTRAINT_VIOLATION", "POST", RESPOND, user, answer(action, data))
    server.says(400, "INVALID_ACTION_ID", "POST", RESPOND, user, answer("dance", None))
    server.says(400, "MISSING_REQUIRED_FIELD", "POST", RESPOND, user, {"notification_id": identifier})
    server.says(401, "AUTH_INVALID_TOKEN", "POST", RESPOND, "somebody", answer("simple", None))
    server.says(401, "AUTH_INVALID_TOKEN", "GET", LIST, "somebody")
    server.says(403, "AUTH_INSUFFICIENT_PERMISSIONS", "POST", RESPOND, admin, answer("simple", None))
    server.says(403, "AUTH_INSUFFICIENT_PERMISSIONS", "GET", LIST, key)
    unknown = {**answer("simple", None), "notification_id": str(uuid.uuid4())}
    server.says(404, "NOTIFICATION_NOT_FOUND", "POST", RESPOND, user, unknown)
    past = ask(server, key, question(str(uuid.uuid4()), deadline=now() - timedelta(hours=1)))
    late = {**answer("simple", None), "notification_id": past}
    told = server.says(409, "NOTIFICATION_EXPIRED", "POST", RESPOND, user, late)
    assert told["details"]["notification_id"] == past and datetime.fromisoformat(told["details"]["expired_at"]), told
    # None of it has answered the question.
    server.says(200, None, "POST", RESPOND, user, answer("simple", None))


def changes(server, key, other, user):
    def change(status, code, token, identifier, change):
        return server.says(status, code, "PATCH", f"{NOTIFICATIONS}/{identifier}", token, change)

    withdraw, processed = {"status": "invalidated", "reason": "Not needed."}, {"status": "processed"}
    taken_back = ask(server, key, question(str(uuid.uuid4())))
    change(401, "AUTH_INVALID_TOKEN", "somebody", taken_back, withdraw)
    change(403, "AUTH_INSUFFICIENT_PERMISSIONS", user, taken_back, withdraw)
    change(403, "SERVICE_NOT_OWNER", other, taken_back, withdraw)
    change(404, "NOTIFICATION_NOT_FOUND", key, uuid.uuid4(), withdraw)
    change(400, "INVALID_STATUS", key, taken_back, {"status": "delivered"})
    change(400, "INVALID_STATUS", key, taken_back, processed)
    change(400, "MISSING_REQUIRED_FIELD", key, taken_back, {"reason": "Not needed."})
    told = change(200, None, key, taken_back, withdraw)
    assert told["notification_id"] == taken_back and told["status"] == "invalidated", told
    assert datetime.fromisoformat(told["updated_at"]), told
    answer = {"notification_id": taken_back, "action_id": "simple", "response_data": None}
    server.says(409, "NOTIFICATION_INVALIDATED", "POST", RESPOND, user, answer)
    answered = ask(server, key, question(str(uuid.uuid4())))
    server.says(200, None, "POST", RESPOND, user, {**answer, "notification_id": answered})
    change(409, "NOTIFICATION_ALREADY_RESPONDED", key, answered, withdraw)
    assert change(200, None, key, answered, processed)["notification_id"] == answered


def limits(server, key):
    """What a service may do in a minute, and no more."""
    # Two were asked before.
    asked = [ask(server, key, question(str(uuid.uuid4()))) for _ in range(98)]
    server.says(429, "RATE_LIMIT_EXCEEDED", "POST", NOTIFICATIONS, key, question(str(uuid.uuid4())))
    path, change = f"{NOTIFICATIONS}/{asked[0]}", {"status": "dance"}
    # One of another service's was tried before.
    for _ in range(199):
        server.says(400, "INVALID_STATUS", "PATCH", path, key, change)
    server.says(429, "RATE_LIMIT_EXCEEDED", "PATCH", path, key, change)


if __name__ == "__main__":
    {"register": register_one, "ask": ask_one_of_each, "calls": every_call}[sys.argv[1]](*sys.argv[2:])
