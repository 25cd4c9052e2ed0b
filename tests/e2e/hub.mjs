// A model hub on this machine, as far as `pensieve pull` can tell: a tree of files with sizes and hashes, resolve
// addresses that redirect to a second host (the CDN), ranges, ETags, and every way to fail.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const listen = (handler) => new Promise((resolve) => {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1", () => resolve(server));
});
const url = (server) => `http://127.0.0.1:${server.address().port}`;

export class Hub {
  // files: {"OWNER/REPO": {"path/in/repo": Buffer}}
  static async start(files) {
    const hub = new Hub();
    hub.files = files;
    hub.seen = []; // {where, method, path, range, authorization}
    hub.lies = {}; // path: {sha256, size} in the tree instead of the truth
    hub.onHub = () => null; // (request) => a status to answer instead, or null
    hub.onCdn = () => null; // (request, response, bytes) => true when it has answered
    hub.pages = 0; // Entries on one page of the tree; 0: all.
    hub.ranges = true;
    hub.signature = 1; // Old signatures are refused.
    hub.cdn = await listen((request, response) => hub.#serveCdn(request, response));
    hub.server = await listen((request, response) => hub.#serveHub(request, response));
    hub.url = url(hub.server);
    return hub;
  }

  async stop() {
    for (const server of [this.server, this.cdn]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #note(where, request) {
    const { range, authorization } = request.headers;
    this.seen.push({ where, path: request.url, range, authorization });
  }

  #serveHub(request, response) {
    this.#note("hub", request);
    const instead = this.onHub(request);
    if (instead !== null) {
      response.writeHead(instead.status ?? instead, instead.headers ?? {}).end("<html>an error's page</html>");
      return;
    }
    const { pathname, searchParams } = new URL(request.url, this.url);
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/main$/.exec(pathname);
    if (tree) return this.#serveTree(tree[1], Number(searchParams.get("cursor") ?? 0), response);
    const resolved = /^\/([^/]+\/[^/]+)\/resolve\/main\/(.+)$/.exec(pathname);
    const bytes = resolved && this.files[resolved[1]]?.[decodeURIComponent(resolved[2])];
    if (!bytes) return void response.writeHead(404).end("not found");
    response.writeHead(302, { location: `${url(this.cdn)}/${resolved[1]}/${resolved[2]}?signature=${this.signature}`, "x-linked-size": bytes.length }).end("found");
  }

  #serveTree(repository, cursor, response) {
    const files = this.files[repository];
    if (!files) return void response.writeHead(401).end("no such repository, or a private one");
    const entries = Object.entries(files).map(([path, bytes]) => {
      const truth = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length };
      const lie = this.lies[path] ?? {};
      return { type: "file", path: lie.path ?? path, oid: "0".repeat(40), size: 130, lfs: { oid: lie.sha256 ?? truth.oid, size: lie.size ?? truth.size, pointerSize: 130 } };
    });
    const end = this.pages > 0 ? cursor + this.pages : entries.length;
    const headers = { "content-type": "application/json" };
    if (end < entries.length) headers.link = `<${this.url}/api/models/${repository}/tree/main?recursive=true&cursor=${end}>; rel="next"`;
    response.writeHead(200, headers).end(JSON.stringify(entries.slice(cursor, end)));
  }

  #serveCdn(request, response) {
    this.#note("cdn", request);
    const { pathname, searchParams } = new URL(request.url, url(this.cdn));
    const [, owner, name, ...path] = pathname.split("/");
    const bytes = this.files[`${owner}/${name}`]?.[decodeURIComponent(path.join("/"))];
    if (!bytes) return void response.writeHead(404).end();
    if (Number(searchParams.get("signature")) !== this.signature) return void response.writeHead(403).end("expired");
    if (this.onCdn(request, response, bytes)) return;
    this.send(request, response, bytes);
  }

  send(request, response, bytes, transform = (part) => part) {
    const headers = { etag: `"${createHash("md5").update(bytes).digest("hex")}"` };
    const range = this.ranges && /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (!range) return void response.writeHead(200, { ...headers, "content-length": bytes.length }).end(transform(bytes));
    const begin = Number(range[1]);
    const end = Math.min(range[2] === "" ? bytes.length - 1 : Number(range[2]), bytes.length - 1);
    if (begin >= bytes.length) return void response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    const part = bytes.subarray(begin, end + 1);
    response.writeHead(206, { ...headers, "accept-ranges": "bytes", "content-length": part.length, "content-range": `bytes ${begin}-${end}/${bytes.length}` });
    response.end(transform(part));
  }

  addressOf(repository, path) {
    return `${url(this.cdn)}/${repository}/${path}?signature=${this.signature}`;
  }
}
