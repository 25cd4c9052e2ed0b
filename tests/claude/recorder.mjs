// Stands between a client and a server and keeps the request bodies, as they were and redacted.
import { createHash } from "node:crypto";
import { createServer, request } from "node:http";

export class Recorder {
  static async start(target) {
    const recorder = new Recorder();
    recorder.bodies = []; // {path, headers, body} of every POST, in order of arrival.
    recorder.server = createServer((incoming, outgoing) => {
      const pieces = [];
      incoming.on("data", (piece) => pieces.push(piece));
      incoming.on("end", () => {
        const bytes = Buffer.concat(pieces);
        if (incoming.method === "POST") recorder.bodies.push({ path: incoming.url, headers: incoming.headers, body: JSON.parse(bytes.toString()) });
        const { host, ...headers } = incoming.headers;
        const onward = request(new URL(incoming.url, target), { method: incoming.method, headers }, (reply) => {
          outgoing.writeHead(reply.statusCode, reply.headers);
          reply.pipe(outgoing);
        });
        outgoing.on("close", () => onward.destroy());
        onward.on("error", () => outgoing.destroy());
        onward.end(bytes);
      });
    });
    await new Promise((resolve) => recorder.server.listen(0, "127.0.0.1", resolve));
    recorder.url = `http://127.0.0.1:${recorder.server.address().port}`;
    return recorder;
  }
  messages() {
    return this.bodies.filter(({ path }) => path.startsWith("/v1/messages") && !path.includes("count_tokens")).map(({ body }) => body);
  }
  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

// The same structure without anybody's words: every longer text becomes its length and a hash, so that equal texts stay equal.
export function redacted(value, key = "") {
  if (Array.isArray(value)) return value.map((item) => redacted(item, key));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).filter(([name]) => !["metadata", "$schema"].includes(name)).map(([name, item]) => [name, redacted(item, name)]));
  }
  if (typeof value !== "string") return value;
  const mark = /^x-anthropic-billing-header:/.exec(value)?.[0] ?? "";
  if (value.length <= 24 || ["id", "tool_use_id", "type", "name", "model", "role", "tool_name"].includes(key)) return value;
  return `${mark} ${value.length} characters, ${createHash("sha256").update(value).digest("hex").slice(0, 12)}`.trim();
}
