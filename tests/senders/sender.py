"""Signs as senders in Python do, and sends: each payload of the input in each scheme, once right and once forged.

Called with the webhook's address and the secret. Reads one JSON object, {response type: response_data}, and writes one
JSON line a delivery.
"""

import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone

url, secret = sys.argv[1], sys.argv[2].encode()
# Whatever proxy the machine has is not for this.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def digest(key, text):
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def timestamped(key, payload):
    body, t = json.dumps(payload).encode(), str(int(time.time()))
    return body, "t=" + t + ",v1=" + digest(key, t.encode() + b"." + body)


def raw(key, payload):
    body = json.dumps(payload, ensure_ascii=False, indent=1).encode()
    return body, digest(key, body)


def python_canonical(key, payload):
    # As the protocol's guide does it: what is signed is sorted, what is sent is not.
    return json.dumps(payload).encode(), digest(key, json.dumps(payload, sort_keys=True).encode())


def node_compact(key, payload):
    compact = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(payload).encode(), digest(key, compact.encode())


def send(body, signature, request_id):
    headers = {
        "Content-Type": "application/json",
        "X-ATP-Signature": signature,
        "X-ATP-Request-ID": request_id,
    }
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


schemes = {
    "timestamped": timestamped,
    "raw": raw,
    "python-canonical": python_canonical,
    "node-compact": node_compact,
}
for kind, data in json.load(sys.stdin).items():
    for scheme, sign in schemes.items():
        for key in (secret, b"somebody else's webhook secret"):
            payload = {
                "notification_id": f"{kind}/{scheme}",
                "action_id": kind,
                "response_data": data,
                "responded_at": datetime.now(timezone.utc).isoformat(),
                "responder": {"id": "user_123", "type": "human"},
            }
            status, text = send(*sign(key, payload), f"req_{kind}")
            line = {"kind": kind, "scheme": scheme, "forged": key != secret, "status": status, "body": text}
            print(json.dumps(line), flush=True)
