// PDFs, text documents, search results, and documents by URL. The scripted worker answers
// with the last message of the user, so the answer is what the model was given to read.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, unlinkSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { ask, Server } from "./server.mjs";

// A PDF with a line of text on each page, written by hand.
function pdf(pages) {
  const objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"];
  const kids = pages.map((text) => {
    const drawn = text ? `BT /F1 24 Tf 72 700 Td (${text}) Tj ET` : "";
    objects.push(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents ${objects.length + 2} 0 R /Resources << /Font << /F1 3 0 R >> >> >>`, `<< /Length ${drawn.length} >>\nstream\n${drawn}\nendstream`);
    return `${objects.length - 1} 0 R`;
  });
  objects[1] = `<< /Type /Pages /Kids [${kids.join(" ")}] /Count ${pages.length} >>`;
  let file = "%PDF-1.4\n";
  const places = objects.map((object, i) => {
    const at = file.length;
    file += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(at).padStart(10, "0")} 00000 n \n`;
  });
  return Buffer.from(`${file}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${places.join("")}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${file.length}\n%%EOF\n`);
}
const base64 = (bytes, media_type = "application/pdf") => ({ type: "base64", media_type, data: Buffer.from(bytes).toString("base64") });
const document = (source, more = {}) => ({ type: "document", source, ...more });

describe("documents", () => {
  let server, client;
  before(async () => {
    server = await Server.start({ fake: true, args: ["--context", "65536"] });
    client = new Anthropic({ baseURL: server.url, apiKey: "any", maxRetries: 0 });
  });
  after(async () => {
    assert.equal((await server.stop()).code, 0);
  });
  const said = async (content) => {
    const message = await client.messages.create({ model: "m", max_tokens: 4000, messages: [{ role: "user", content }] });
    return message.content[0].text;
  };
  const refused = async (content) => {
    const reply = await server.post(ask(content));
    assert.equal(reply.status, 400);
    return (await reply.json()).error.message;
  };

  test("a PDF is its text: title, context, then the pages by number", async () => {
    assert.equal(await said([document(base64(pdf(["Hello from a page"]))), { type: "text", text: "what does it say?" }]), "Hello from a page\n\nwhat does it say?");
    assert.equal(await said([document(base64(pdf(["one", "two"])), { title: "T", context: "C", citations: { enabled: true } })]), "T\n\nC\n\n[page 1]\none\n\n[page 2]\ntwo");
    const body = { model: "m", messages: [{ role: "user", content: [document(base64(pdf(["count me"])))] }] };
    const { input_tokens } = await client.messages.countTokens(body);
    const { usage } = await client.messages.create({ ...body, max_tokens: 100 });
    assert.equal(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens, input_tokens);
  });

  test("a PDF in a tool's result is read, and one that cannot be read does not end the session", async () => {
    const call = { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "Read", input: {} }] };
    const result = (source) => [{ role: "user", content: "read" }, call, { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [document(source)] }, { type: "text", text: "go on" }] }];
    const tokens = async (source) => (await client.messages.countTokens({ model: "m", messages: result(source) })).input_tokens;
    assert.equal((await tokens(base64(pdf(["abcdefgh"])))) - (await tokens(base64(pdf(["abcd"])))), 4);
    for (const bad of [base64("no PDF"), base64(pdf([""])), { type: "base64", media_type: "application/pdf", data: "%" }, { type: "url", url: "http://127.0.0.1/x" }]) {
      const message = await client.messages.create({ model: "m", max_tokens: 400, messages: result(bad) });
      assert.equal(message.stop_reason, "end_turn");
    }
  });

  test("text documents and search results", async () => {
    assert.equal(await said([document({ type: "text", media_type: "text/plain", data: "D" }, { title: "T" })]), "T\n\nD");
    assert.equal(await said([document(base64("plain words", "text/plain"))]), "plain words");
    assert.equal(await said([document({ type: "content", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] })]), "a\n\nb");
    assert.equal(await said([{ type: "search_result", source: "https://example.org", title: "S", content: [{ type: "text", text: "found" }] }]), "S\n\nhttps://example.org\n\nfound");
  });

  test("what cannot be read is a 400 that names the field and the reason", async () => {
    const cases = [
      [base64("hello"), /^messages\.0\.content\.0\.source: this is not a PDF \(capability_rejected: document_block\)$/],
      [base64(pdf(["", ""])), /^messages\.0\.content\.0\.source: this PDF has no text/],
      [base64(pdf(Array.from({ length: 101 }, (_, i) => `p${i}`))), /^messages\.0\.content\.0\.source: this PDF has more than 100 pages/],
      [base64("%PDF-1.4 broken"), /^messages\.0\.content\.0\.source: this PDF could not be read: pdftotext ended with exit code 1/],
      [{ type: "base64", media_type: "application/pdf", data: "not base64!" }, /^messages\.0\.content\.0\.source\.data: must be base64/],
      [{ type: "base64", media_type: "application/pdf", data: "" }, /^messages\.0\.content\.0\.source\.data: must be base64/],
      [base64("x", "application/msword"), /^messages\.0\.content\.0\.source\.media_type: must be 'application\/pdf' or 'text\/plain'/],
      [{ type: "file", file_id: "file_1" }, /^messages\.0\.content\.0\.source\.type: 'file'/],
      [{ type: "text", data: 1 }, /^messages\.0\.content\.0\.source\.data: must be a string/],
      [{ type: "url", url: "https://example.org/x.pdf" }, /^messages\.0\.content\.0\.source\.url: documents are not fetched by URL here \(--url-sources on allows it\)/],
    ];
    for (const [source, message] of cases) assert.match(await refused([document(source)]), message);
  });

  test("what was read once is remembered, and without pdftotext the error says what to install", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pensieve-path-"));
    const program = join(folder, "pdftotext");
    symlinkSync(execFileSync("/bin/sh", ["-c", "command -v pdftotext"]).toString().trim(), program);
    const other = await Server.start({ fake: true, env: { PATH: folder } });
    try {
      const answer = async (text) => (await other.post(ask([document(base64(pdf([text])))]))).json();
      assert.equal((await answer("kept")).content[0].text, "kept");
      unlinkSync(program);
      assert.equal((await answer("kept")).content[0].text, "kept");
      assert.match((await answer("new")).error.message, /^messages\.0\.content\.0\.source: this PDF cannot be read: pdftotext is not installed.*apt install poppler-utils/);
    } finally {
      await other.stop();
      rmSync(folder, { recursive: true });
    }
  });

  test("documents by URL: never from an address that is not public", async () => {
    let asked = 0;
    const inside = createServer((_, reply) => {
      asked += 1;
      reply.end("secret");
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => inside.once("listening", resolve));
    const other = await Server.start({ fake: true, args: ["--url-sources", "on"] });
    try {
      for (const host of ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254"]) {
        const reply = await other.post(ask([document({ type: "url", url: `http://${host}:${inside.address().port}/x` })]));
        assert.equal(reply.status, 400);
        assert.match((await reply.json()).error.message, /^messages\.0\.content\.0\.source\.url: this URL leads to an address that is not public/);
      }
      assert.equal(asked, 0);
      const reply = await other.post(ask([document({ type: "url", url: "file:///etc/passwd" })]));
      assert.match((await reply.json()).error.message, /only http and https URLs are fetched/);
    } finally {
      await other.stop();
      inside.close();
    }
  });
});
