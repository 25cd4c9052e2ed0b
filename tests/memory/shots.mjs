// What clients do to a server that is to be broken: one function for each kind. Used by the attack test and bench/attack.mjs.
import { request as httpRequest } from "node:http";

const ask = (content, more = {}) => ({ model: "claude-test", max_tokens: 64, messages: [{ role: "user", content }], ...more });

// One request by hand: how it ended, as one word, whatever the server does.
export function shoot(url, body, { leaveAfter, slow } = {}) {
  return new Promise((resolve) => {
    let left = false;
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const request = httpRequest(`${url}/v1/messages`, { method: "POST", agent: false, headers: { "content-type": "application/json", "content-length": bytes.length } }, (reply) => {
      let text = "";
      reply.setEncoding("utf8");
      reply.on("data", (part) => {
        if (text.length < 100_000) text = (text + part).slice(-20_000);
        if (slow) { reply.pause(); setTimeout(() => reply.resume(), 100); }
      });
      reply.on("close", () => {
        const wait = Number(reply.headers["retry-after"]);
        if (left) resolve("cancelled");
        else if (reply.statusCode === 529) resolve(wait >= 1 && wait <= 60 ? "529" : `529 with retry-after ${reply.headers["retry-after"]}`);
        else if (reply.statusCode === 413) resolve("413");
        else if (reply.statusCode === 400) resolve(/prompt is too long: \d+ tokens > \d+ maximum/.test(text) ? "too long" : `400 ${text.slice(0, 200)}`);
        else if (reply.statusCode === 200) resolve(/message_stop|"stop_reason":"/.test(text) ? "complete" : `200, then ${text.slice(-200)}`);
        else resolve(`${reply.statusCode} ${text.slice(0, 200)}`);
      });
    });
    request.on("error", (error) => resolve(left ? "cancelled" : `socket: ${error.code}`));
    request.end(bytes);
    if (leaveAfter !== undefined) setTimeout(() => { left = true; request.destroy(); }, leaveAfter);
  });
}

const huge = Buffer.alloc(9 << 20, 97);
export const words = (n) => "word ".repeat(n);
export const shots = [
  (url) => shoot(url, ask(words(20), { max_tokens: 20 })),
  (url) => shoot(url, ask(words(200), { max_tokens: 40, stream: true })),
  (url) => shoot(url, ask(words(800), { max_tokens: 100000, stream: true }), { leaveAfter: 1500 }),
  (url) => shoot(url, ask(words(20000), { max_tokens: 20 })),
  (url) => shoot(url, huge),
  (url) => shoot(url, ask(words(10), { max_tokens: 60, stream: true }), { slow: true }),
  (url) => shoot(url, ask(words(100), { max_tokens: 50, stream: true }), { leaveAfter: 20 }),
];
