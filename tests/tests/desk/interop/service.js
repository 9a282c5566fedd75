// A service in Express, with the signature check that the protocol's guide gives for Node: what it
// takes and what it refuses.
//
// It prints its port, and then one line of JSON for each answer that was posted to it.
"use strict";

const crypto = require("node:crypto");
const express = require("express");

const SECRET = process.env.ATP_WEBHOOK_SECRET;
const TOLERANCE = 5 * 60 * 1000;
const decided = new Map();

// The guide's own: HMAC-SHA256 of the payload, serialised again.
function verifySignature(payload, signature) {
    const expected = crypto.createHmac("sha256", SECRET).update(JSON.stringify(payload)).digest("hex");
    const [one, other] = [Buffer.from(expected), Buffer.from(signature)];
    return one.length === other.length && crypto.timingSafeEqual(one, other);
}

function tell(request, status, what) {
    const told = { status, what, request_id: request.get("X-ATP-Request-ID") };
    if (status === 200) {
        const { notification_id, action_id, response_data } = request.body;
        Object.assign(told, { notification_id, action_id, response_data });
    }
    process.stdout.write(`${JSON.stringify(told)}\n`);
}

function refuse(request, response, status, error) {
    tell(request, status, error);
    response.status(status).json({ error });
}

const app = express();
app.use(express.json());
app.post("/atp/webhook", (request, response) => {
    const payload = request.body;
    if (!verifySignature(payload, request.get("X-ATP-Signature") ?? "")) {
        return refuse(request, response, 401, "Invalid signature");
    }
    if (!(Math.abs(Date.now() - Date.parse(payload.timestamp)) <= TOLERANCE)) {
        return refuse(request, response, 400, "Invalid timestamp");
    }
    // An answer that comes twice is handled once.
    const isFirst = !decided.has(payload.notification_id);
    decided.set(payload.notification_id, payload.action_id);
    tell(request, 200, isFirst ? "handled" : "known");
    response.json({ status: "success" });
});
// What is no JSON.
app.use((error, request, response, _next) => refuse(request, response, 400, "Invalid payload"));

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
