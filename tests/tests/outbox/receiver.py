"""A receiver as others write it: the package `cloudevents`, and a signature checked with `hmac`.

It prints its port, and then one line of JSON for each event that it took.
"""

import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event

SECRET = os.environ["ATP_WEBHOOK_SECRET"].encode()


def is_signed(header, body):
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(SECRET, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(time.time() - int(parts["t"])) <= 300


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(self.headers.get("x-atp-signature", "t=0,v1="), body):
            return self.answer(401)
        event = from_http_event(HTTPMessage(dict(self.headers.items()), body))
        told = {name: event.get_attributes().get(name) for name in ("id", "source", "type", "subject", "traceparent")}
        told["time"] = event.get_time().isoformat()
        told["mode"] = "binary" if "ce-id" in self.headers else "structured"
        told["data"] = event.get_data()
        print(json.dumps(told), flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
