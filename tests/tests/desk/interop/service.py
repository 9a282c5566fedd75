"""A service in Flask, with the checks of the protocol's guide: what it takes and what it refuses.

It prints its port, and then one line of JSON for each answer that was posted to it.
"""

import hashlib
import hmac
import json
import os
from datetime import datetime, timedelta, timezone

from flask import Flask, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

SECRET = os.environ["ATP_WEBHOOK_SECRET"]
TOLERANCE = timedelta(minutes=5)

app = Flask(__name__)
decided = {}


def verify_signature(payload, signature):
    """The guide's own: HMAC-SHA256 of the payload, serialised again with its names sorted."""
    text = json.dumps(payload, sort_keys=True)
    expected = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


def verify_response_timestamp(payload):
    """The guide's five minutes, into the future too, where the guide has no bound."""
    then = datetime.fromisoformat(payload["timestamp"])
    return abs(datetime.now(timezone.utc) - then) <= TOLERANCE


def tell(status, payload, what):
    told = {"status": status, "what": what, "request_id": request.headers.get("X-ATP-Request-ID")}
    if status == 200:
        told["notification_id"] = payload["notification_id"]
        told["action_id"] = payload["action_id"]
        told["response_data"] = payload["response_data"]
    print(json.dumps(told), flush=True)


def refuse(status, payload, error):
    tell(status, payload, error)
    return jsonify({"error": error}), status


@app.post("/atp/webhook")
def handle_atp_webhook():
    payload = request.get_json(silent=True)
    if not isinstance(payload, dict):
        return refuse(400, payload, "Invalid payload")
    if not verify_signature(payload, request.headers.get("X-ATP-Signature", "")):
        return refuse(401, payload, "Invalid signature")
    if not verify_response_timestamp(payload):
        return refuse(400, payload, "Invalid timestamp")
    # An answer that comes twice is handled once.
    notification = payload["notification_id"]
    is_first = notification not in decided
    decided.setdefault(notification, payload["action_id"])
    tell(200, payload, "handled" if is_first else "known")
    return jsonify({"status": "success"})


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
