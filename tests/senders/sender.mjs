// Signs as senders in Node do, and sends: each payload of the input in each scheme, once right and once forged.
//
// Called with the webhook's address and the secret. Reads one JSON object, {response type: response_data}, and writes
// one JSON line a delivery.

import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [url, secret] = process.argv.slice(2);

const digest = (key, text) => createHmac('sha256', key).update(text).digest('hex');

// What CPython's json.dumps(value, sort_keys=True) prints, for values without fractions that the two print differently.
const python = (value) => {
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    const members = Object.keys(value).sort().map((name) => `${python(name)}: ${python(value[name])}`);
    return `{${members.join(', ')}}`;
  }
  const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escape);
};

const schemes = {
  timestamped: (key, payload) => {
    const body = JSON.stringify(payload);
    const t = String(Math.floor(Date.now() / 1000));
    return [body, `t=${t},v1=${digest(key, `${t}.${body}`)}`];
  },
  raw: (key, payload) => {
    const body = JSON.stringify(payload, null, 2);
    return [body, digest(key, body)];
  },
  'python-canonical': (key, payload) => [JSON.stringify(payload), digest(key, python(payload))],
  // What is signed is compact, what is sent is not.
  'node-compact': (key, payload) => [
    JSON.stringify(payload, null, 2),
    digest(key, JSON.stringify(payload)),
  ],
};

for (const [kind, data] of Object.entries(JSON.parse(readFileSync(0, 'utf8')))) {
  for (const [scheme, sign] of Object.entries(schemes)) {
    for (const key of [secret, "somebody else's webhook secret"]) {
      const payload = {
        notification_id: `${kind}/${scheme}`,
        action_id: kind,
        response_data: data,
        timestamp: new Date().toISOString(),
      };
      const [body, signature] = sign(key, payload);
      const headers = {
        'Content-Type': 'application/json',
        'X-ATP-Signature': signature,
        'X-ATP-Request-ID': `req_${kind}`,
      };
      const answer = await fetch(url, { method: 'POST', headers, body });
      const line = { kind, scheme, forged: key !== secret, status: answer.status, body: await answer.text() };
      console.log(JSON.stringify(line));
    }
  }
}
