// Bad input: each gets a clear answer in the API's error shape, and nothing else is disturbed.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { bin } from "./programs.mjs";
import { ask, Server } from "./server.mjs";

const user = (content) => [{ role: "user", content }];
const deep = (levels) => "[".repeat(levels) + "]".repeat(levels);

// [what, body, status, what the message must name]
const bodies = [
  ["an empty body", "", 400, /not valid JSON/],
  ["no JSON", "hello", 400, /not valid JSON/],
  ["half a JSON object", '{"model":"m"', 400, /not valid JSON/],
  ["two JSON objects", "{}{}", 400, /not valid JSON/],
  ["a trailing comma", '{"model":"m",}', 400, /not valid JSON/],
  ["a comment", '{"model":"m" /* hi */}', 400, /not valid JSON/],
  ["an array", "[]", 400, /must be a JSON object/],
  ["a string", '"hi"', 400, /must be a JSON object/],
  ["null", "null", 400, /must be a JSON object/],
  ["bytes that are no UTF-8", new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]), 400, /UTF-8/],
  ["nesting of 100,000 levels", deep(100000), 400, /levels deep|not valid JSON/],
  ["nesting inside a message", `{"model":"m","max_tokens":1,"messages":${deep(500)}}`, 400, /levels deep/],
  ["no model", { max_tokens: 1, messages: user("x") }, 400, /^model: /],
  ["a numeric model", { ...ask("x"), model: 7 }, 400, /^model: /],
  ["an empty model", { ...ask("x"), model: "" }, 400, /^model: /],
  ["an endless model", { ...ask("x"), model: "m".repeat(300) }, 400, /^model: /],
  ["no max_tokens", { model: "m", messages: user("x") }, 400, /^max_tokens: /],
  ["max_tokens null", { ...ask("x"), max_tokens: null }, 400, /^max_tokens: /],
  ["max_tokens negative", { ...ask("x"), max_tokens: -5 }, 400, /^max_tokens: .*-5/],
  ["max_tokens a string", { ...ask("x"), max_tokens: "10" }, 400, /^max_tokens: .*"10"/],
  ["max_tokens a fraction", { ...ask("x"), max_tokens: 1.5 }, 400, /^max_tokens: /],
  ["max_tokens beyond 64 bits", '{"model":"m","max_tokens":99999999999999999999,"messages":[{"role":"user","content":"x"}]}', 400, /^max_tokens: /],
  ["no messages", { model: "m", max_tokens: 1 }, 400, /^messages: /],
  ["messages null", { ...ask("x"), messages: null }, 400, /^messages: /],
  ["messages an object", { ...ask("x"), messages: {} }, 400, /^messages: /],
  ["messages empty", { ...ask("x"), messages: [] }, 400, /^messages: /],
  ["a message that is a string", { ...ask("x"), messages: ["hi"] }, 400, /^messages\.0: /],
  ["a message without role", { ...ask("x"), messages: [{ content: "x" }] }, 400, /^messages\.0\.role: /],
  ["an unknown role", { ...ask("x"), messages: [{ role: "robot", content: "x" }] }, 400, /^messages\.0\.role: .*robot/],
  ["a numeric role", { ...ask("x"), messages: [{ role: 1, content: "x" }] }, 400, /^messages\.0\.role: /],
  ["a message without content", { ...ask("x"), messages: [{ role: "user" }] }, 400, /^messages\.0\.content: /],
  ["empty content", { ...ask("x"), messages: user("") }, 400, /^messages\.0\.content: /],
  ["no content blocks", { ...ask("x"), messages: user([]) }, 400, /^messages\.0\.content: /],
  ["numeric content", { ...ask("x"), messages: user(7) }, 400, /^messages\.0\.content: /],
  ["a block that is a string", { ...ask("x"), messages: user(["x"]) }, 400, /^messages\.0\.content\.0: /],
  ["a block without type", { ...ask("x"), messages: user([{ text: "x" }]) }, 400, /^messages\.0\.content\.0\.type: /],
  ["a text block without text", { ...ask("x"), messages: user([{ type: "text" }]) }, 400, /^messages\.0\.content\.0\.text: /],
  ["a text block with a numeric text", { ...ask("x"), messages: user([{ type: "text", text: 1 }]) }, 400, /^messages\.0\.content\.0\.text: /],
  ["an image", { ...ask("x"), messages: user([{ type: "image", source: {} }]) }, 400, /^messages\.0\.content\.0\.type: 'image'.*image_block/],
  ["a document", { ...ask("x"), messages: user([{ type: "document", source: {} }]) }, 400, /^messages\.0\.content\.0\.source\.type: .*document_block/],
  ["the error in the second message", { ...ask("x"), messages: [...user("a"), { role: "assistant", content: 1 }] }, 400, /^messages\.1\.content: /],
  ["a tool_result without its call", { ...ask("x"), messages: user([{ type: "tool_result" }]) }, 400, /^messages\.0\.content\.0\.tool_use_id: /],
  ["a call in the user's mouth", { ...ask("x"), messages: user([{ type: "tool_use", id: "a", name: "b", input: {} }]) }, 400, /^messages\.0\.content\.0\.type: /],
  ["a call without its result", { ...ask("x"), messages: [...user("a"), { role: "assistant", content: [{ type: "tool_use", id: "a", name: "b", input: {} }] }] }, 400, /tool_result/],
  ["a tool without schema", { ...ask("x"), tools: [{ name: "t" }] }, 400, /^tools\.0\.input_schema: /],
  ["two tools of one name", { ...ask("x"), tools: [{ name: "t", input_schema: {} }, { name: "t", input_schema: {} }] }, 400, /^tools\.1\.name: .*twice/],
  ["the choice of a tool that is not there", { ...ask("x"), tools: [{ name: "t", input_schema: {} }], tool_choice: { type: "tool", name: "u" } }, 400, /^tool_choice\.name: 'u'/],
  ["any tool, and none given", { ...ask("x"), tool_choice: { type: "any" } }, 400, /^tool_choice: /],
  ["tools that are no array", { ...ask("x"), tools: "t" }, 400, /^tools: /],
  ["thinking that is a string", { ...ask("x"), thinking: "yes" }, 400, /^thinking: /],
  ["system a number", { ...ask("x"), system: 7 }, 400, /^system: /],
  ["system with an image", { ...ask("x"), system: [{ type: "image" }] }, 400, /^system\.0\.type: /],
  ["stream a string", { ...ask("x"), stream: "true" }, 400, /^stream: /],
  ["temperature a string", { ...ask("x"), temperature: "hot" }, 400, /^temperature: .*hot/],
  ["temperature 3", { ...ask("x"), temperature: 3 }, 400, /^temperature: .*3/],
  ["temperature negative", { ...ask("x"), temperature: -0.1 }, 400, /^temperature: /],
  ["top_p 2", { ...ask("x"), top_p: 2 }, 400, /^top_p: /],
  ["min_p -1", { ...ask("x"), min_p: -1 }, 400, /^min_p: /],
  ["top_k a fraction", { ...ask("x"), top_k: 1.5 }, 400, /^top_k: /],
  ["top_k negative", { ...ask("x"), top_k: -1 }, 400, /^top_k: /],
  ["seed negative", { ...ask("x"), seed: -1 }, 400, /^seed: /],
  ["stop_sequences a string", { ...ask("x"), stop_sequences: "a" }, 400, /^stop_sequences: /],
  ["an empty stop sequence", { ...ask("x"), stop_sequences: ["a", ""] }, 400, /^stop_sequences\.1: /],
  ["a numeric stop sequence", { ...ask("x"), stop_sequences: [1] }, 400, /^stop_sequences\.0: /],
  ["too many stop sequences", { ...ask("x"), stop_sequences: Array(65).fill("a") }, 400, /^stop_sequences: .*65/],
  ["a prompt that can never fit", ask("x".repeat(9000)), 400, /^prompt is too long: \d+ tokens > 4095 maximum$/],
  ["a body over the limit", ask("x".repeat(300000)), 413, /262144 bytes/],
];

describe("bad input", () => {
  let server;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--max-body", "256K"] });
  });
  after(async () => {
    // After all of it: the same worker, and it still answers.
    const health = await server.health();
    assert.equal(health.worker.restarts, 0);
    assert.equal(health.slots.running, 0);
    assert.equal((await (await server.post(ask("still here"))).json()).content[0].text, "still here");
    assert.equal((await server.stop()).code, 0);
  });

  const checkError = async (reply, status, message) => {
    assert.equal(reply.status, status);
    const body = await reply.json();
    assert.equal(body.type, "error");
    assert.match(body.error.message, message);
    assert.equal(body.error.type, { 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large" }[status] ?? "invalid_request_error");
    assert.equal(body.request_id, reply.headers.get("request-id"));
  };

  for (const [what, body, status, message] of bodies) {
    test(`${what}: ${status}`, async () => checkError(await server.post(body), status, message));
  }

  test("the same checks guard count_tokens", async () => {
    await checkError(await server.post({ model: "m", messages: [] }, {}, "/v1/messages/count_tokens"), 400, /^messages: /);
  });

  for (const [method, path, status] of [
    ["GET", "/v1/messages", 405],
    ["DELETE", "/v1/messages", 405],
    ["POST", "/v1/models", 405],
    ["POST", "/health", 405],
    ["GET", "/v1/nothing", 404],
    ["POST", "/v1/complete", 404],
    ["GET", "/v1/models/no-such-model", 404],
    ["GET", "/..%2f..%2fetc/passwd", 404],
  ]) {
    test(`${method} ${path}: ${status}`, async () => checkError(await fetch(server.url + path, { method }), status, /./));
  }

  test("another content type: 415", async () => checkError(await server.post("a=b", { "content-type": "application/x-www-form-urlencoded" }), 415, /content-type/));
  test("a foreign Origin: 403", async () => checkError(await server.post(ask("x"), { origin: "http://evil.example" }), 403, /Origin/));

  const raw = (text, { end = false } = {}) =>
    new Promise((resolve) => {
      const { hostname, port } = new URL(server.url);
      const socket = connect(Number(port), hostname, () => (end ? socket.end(text) : socket.write(text)));
      let heard = "";
      socket.on("data", (data) => (heard += data));
      socket.on("close", () => resolve(heard));
      socket.on("error", () => resolve(heard));
    });

  test("a foreign Host (DNS rebinding): 403", async () => {
    assert.match(await raw("GET /health HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"), /^HTTP\/1\.1 403 [^]*permission_error/);
  });
  test("no Host: 403", async () => {
    assert.match(await raw("GET /health HTTP/1.1\r\nconnection: close\r\n\r\n"), /^HTTP\/1\.1 403 /);
  });
  test("no HTTP: 400", async () => {
    assert.match(await raw("how do you do\r\n\r\n"), /^HTTP\/1\.1 400 [^]*invalid_request_error/);
  });
  test("headers without end: 431", async () => {
    assert.match(await raw("GET / HTTP/1.1\r\nhost: localhost\r\nx: " + "y".repeat(70000)), /^HTTP\/1\.1 431 /);
  });
  test("a content-length over the limit is refused before the body is sent", async () => {
    assert.match(await raw("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n\r\n"), /^HTTP\/1\.1 413 /);
  });
  test("a body cut short by the client", async () => {
    assert.equal(await raw("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{", { end: true }), "");
  });
});

describe("keys", () => {
  let server;
  before(async () => {
    server = await Server.start({ fake: true, env: { PENSIEVE_API_KEY: "right" } });
  });
  after(() => server.stop());

  for (const [what, headers, status] of [
    ["no key", {}, 401],
    ["a wrong x-api-key", { "x-api-key": "wrong" }, 401],
    ["an empty x-api-key", { "x-api-key": "" }, 401],
    ["the key's beginning", { "x-api-key": "righ" }, 401],
    ["the key and more", { "x-api-key": "right!" }, 401],
    ["a wrong bearer", { authorization: "Bearer wrong" }, 401],
    ["the key by another scheme", { authorization: "Basic right" }, 401],
    ["the right x-api-key", { "x-api-key": "right" }, 200],
    ["the right bearer", { authorization: "Bearer right" }, 200],
  ]) {
    test(`${what}: ${status}`, async () => assert.equal((await server.post(ask("x"), headers)).status, status));
  }
});

describe("command line", () => {
  const pensieve = (...args) => spawnSync(bin("pensieve"), args, { encoding: "utf8", timeout: 10000 });
  for (const [args, code, message] of [
    [["serve", "--port", "99999"], 2, /--port: '99999'/],
    [["serve", "--slots", "none"], 2, /--slots: 'none'/],
    [["serve", "--host", "0.0.0.0", "--port", "0"], 2, /--host 0\.0\.0\.0: .*needs a key/],
    [["serve", "--worker", "/nonexistent"], 2, /--worker: '\/nonexistent'/],
    [["serve", "--api-key-file", "/nonexistent"], 2, /--api-key-file: '\/nonexistent'/],
    [["serve", "--config", "/nonexistent.toml"], 2, /nonexistent\.toml/],
    [["serve", "--colour", "red"], 2, /--colour/],
    [["dance"], 2, /./],
    [[], 2, /subcommand/i],
    [["run", "--url", "ftp://x", "hi"], 2, /--url: 'ftp:\/\/x'/],
    [["run", "--url", "http://127.0.0.1:9", "hi"], 1, /no server answers.*pensieve serve/],
  ]) {
    test(`pensieve ${args.join(" ")}`, () => {
      const { status, stderr, stdout } = pensieve(...args);
      assert.match(stderr + stdout, message);
      assert.equal(status, code);
    });
  }

  test("--help, help, version and --print-config answer and end with 0", () => {
    for (const args of [["--help"], ["help"], ["version"], ["serve", "--help"], ["run", "--help"]]) assert.equal(pensieve(...args).status, 0, args.join(" "));
    const folder = mkdtempSync(join(tmpdir(), "pensieve-"));
    writeFileSync(join(folder, "c.toml"), "slots = 3\n");
    const { status, stdout } = pensieve("serve", "--config", join(folder, "c.toml"), "--port", "1", "--print-config");
    assert.equal(status, 0);
    assert.match(stdout, /^port = 1 +# --port$/m);
    assert.match(stdout, /^slots = 3 +# .*c\.toml: slots$/m);
    rmSync(folder, { recursive: true });
  });
});
