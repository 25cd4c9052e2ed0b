// Images: with the scripted worker, and with a real projector of random weights through
// the engine's own library (pensieve-make-model tiny-sight), where what an image
// says is noise, but another noise for another image.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { crc32, deflateSync } from "node:zlib";
import { hasEngineTool, start as startServer } from "../../bench/servers.mjs";
import { bin } from "./programs.mjs";
import { ask, call, Server, turns } from "./server.mjs";

const crc = crc32 ?? ((bytes) => {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
});
const chunk = (name, data) => {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(name, 4, "latin1");
  data.copy(bytes, 8);
  bytes.writeUInt32BE(crc(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
};
// A PNG whose pixels `colour` gives.
export function png(width, height, colour) {
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) Buffer.from(colour(x, y)).copy(rows, y * (1 + width * 3) + 1 + x * 3);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}
// A PDF written by hand. Its objects from the fourth on are pages, each with its content.
function pdfOf(objects, pages) {
  objects[1] = `<< /Type /Pages /Kids [${Array.from({ length: pages }, (_, i) => `${4 + 2 * i} 0 R`).join(" ")}] /Count ${pages} >>`;
  let file = "%PDF-1.4\n";
  const places = objects.map((object, i) => {
    const at = file.length;
    file += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(at).padStart(10, "0")} 00000 n \n`;
  });
  return Buffer.from(`${file}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${places.join("")}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${file.length}\n%%EOF\n`, "latin1");
}
// A line of text on each page.
function pdf(pages) {
  const objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"];
  for (const words of pages) {
    const drawn = words ? `BT /F1 24 Tf 72 700 Td (${words}) Tj ET` : "";
    objects.push(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents ${objects.length + 2} 0 R /Resources << /Font << /F1 3 0 R >> >> >>`, `<< /Length ${drawn.length} >>\nstream\n${drawn}\nendstream`);
  }
  return pdfOf(objects, pages.length);
}
// Each page a picture of 64 by 64 pixels of noise, drawn large and smooth: a megabyte as PNG.
function noisyPdf(pages) {
  const noise = randomBytes(64 * 64 * 3).toString("latin1");
  const objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", `<< /Type /XObject /Subtype /Image /Width 64 /Height 64 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Interpolate true /Length ${noise.length} >>\nstream\n${noise}\nendstream`];
  const drawn = "612 0 0 792 0 0 cm /I Do";
  for (let page = 0; page < pages; page++) objects.push(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents ${objects.length + 2} 0 R /Resources << /XObject << /I 3 0 R >> >> >>`, `<< /Length ${drawn.length} >>\nstream\n${drawn}\nendstream`);
  return pdfOf(objects, pages);
}
const image = (bytes, media_type = "image/png") => ({ type: "image", source: { type: "base64", media_type, data: Buffer.from(bytes).toString("base64") } });
const text = (words) => ({ type: "text", text: words });
// By cwebp: stripes of red and blue, without loss; and 12000 by 12000 pixels of one colour.
const webp = Buffer.from("UklGRiYAAABXRUJQVlA4TBoAAAAvT8AOAA8wCqP/hf/5Dx4ABeJvG0srov+pFQ==", "base64");
const largeWebp = Buffer.from("UklGRiAAAABXRUJQVlA4TBQAAAAv3+63CwdQgVQIIAAKmv7HiIj+Bw==", "base64");
const red = png(80, 60, () => [250, 10, 10]);
const stripes = png(80, 60, (x) => (x % 8 < 4 ? [0, 0, 0] : [255, 255, 255]));

const said = async (server, content, more = {}) => {
  const reply = await server.post(ask(content, { temperature: 0, ...more }));
  const body = await reply.json();
  assert.equal(reply.status, 200, JSON.stringify(body));
  return { text: body.content.map((block) => block.text).join(""), usage: body.usage };
};

describe("images, scripted", () => {
  let folder;
  let server;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-images-"));
    writeFileSync(join(folder, "mmproj"), "x");
    server = await Server.start({ fake: true, args: ["--mmproj", join(folder, "mmproj")] });
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  test("reach the model where they stand, in messages and in results of tools", async () => {
    const one = await said(server, [image("image one"), text("!see")]);
    assert.match(one.text, /^12 rows, \d+$/);
    const other = await said(server, [image("image two"), text("!see")]);
    assert.notEqual(other.text, one.text);
    assert.equal((await said(server, [image("image one"), text("!see")])).text, one.text);
    const tools = [{ name: "look", input_schema: { type: "object" } }];
    const first = { role: "user", content: [text(`look ${turns(call("look", {}), "unused")}`)] };
    const called = { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "look", input: {} }] };
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [text("found"), image("image three")] }, text("!see")] };
    const reply = await (await server.post({ model: "m", max_tokens: 64, tools, messages: [first, called, result] })).json();
    assert.match(reply.content[0].text, /^12 rows/);
  });

  test("one that cannot be decoded is a 400 before anything is promised, and counts still", async () => {
    const reply = await server.post(ask([image("image bad"), text("x")], { stream: true }));
    assert.equal(reply.status, 400);
    assert.match((await reply.json()).error.message, /^messages: image 1 of 1: this image is damaged.*\(capability_rejected: image_block\)$/);
    const counted = await server.post({ model: "m", messages: [{ role: "user", content: [image("image one"), text("x")] }] }, {}, "/v1/messages/count_tokens");
    const plain = await server.post({ model: "m", messages: [{ role: "user", content: [text("x")] }] }, {}, "/v1/messages/count_tokens");
    assert.equal((await counted.json()).input_tokens, (await plain.json()).input_tokens + 12 + 2, "twelve rows and an empty line");
  });

  test("pages of a PDF follow its text as pictures; one of pictures only is those alone", async () => {
    const document = (pages) => ({ type: "document", source: { type: "base64", media_type: "application/pdf", data: pdf(pages).toString("base64") } });
    assert.match((await said(server, [document(["one", "two"]), text("!see")])).text, /^24 rows/);
    assert.match((await said(server, [document([""]), text("!see")])).text, /^12 rows/);
    const tools = [{ name: "Read", input_schema: { type: "object" } }];
    const messages = [{ role: "user", content: "read" }, { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "Read", input: {} }] }, { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [document(["a", "b", "c"])] }, text("!see")] }];
    const reply = await (await server.post({ model: "m", max_tokens: 64, tools, messages })).json();
    assert.match(reply.content[0].text, /^36 rows/);
    const many = await (await server.post({ model: "m", messages: [{ role: "user", content: [document(Array.from({ length: 25 }, () => ""))] }] }, {}, "/v1/messages/count_tokens")).json();
    assert.ok(many.input_tokens > 20 * 12 && many.input_tokens < 25 * 12 + 60, "the first twenty");
  });

  test("what small PDFs are drawn to is reserved, for counting, too", async () => {
    const small = await Server.start({ fake: true, args: ["--mmproj", join(folder, "mmproj"), "--max-body", "2M"] });
    const document = () => ({ type: "document", source: { type: "base64", media_type: "application/pdf", data: noisyPdf(3).toString("base64") } });
    const count = (documents) => small.post({ model: "m", messages: [{ role: "user", content: documents }] }, {}, "/v1/messages/count_tokens");
    const one = await count([document()]);
    assert.equal(one.status, 200);
    assert.ok((await one.json()).input_tokens > 3 * 12);
    const many = await count([document(), document(), document(), document(), document()]); // 30 KB each, drawn 3 MB.
    assert.equal(many.status, 413, "it never fits: nobody should come again with it");
    assert.equal(many.headers.get("retry-after"), null);
    const { error } = await many.json();
    assert.equal(error.type, "request_too_large");
    assert.match(error.message, /^this request needs \d+ bytes and more; all requests together may have \d+ \(--memory\)$/);
    assert.equal((await count([document()])).status, 200, "and is given back");
    await small.stop();
  });

  test("go on in the next worker when theirs dies", async () => {
    const slow = await Server.start({ fake: true, args: ["--mmproj", join(folder, "mmproj")], env: { PENSIEVE_FAKE_STEP_US: "20000" } });
    const expected = (await said(slow, [image("image one"), text("!see")])).text;
    const running = said(slow, [image("image one"), text("!see ".repeat(3) + "again")]);
    await slow.until((health) => health.slots.running === 1);
    await new Promise((resolve) => setTimeout(resolve, 150));
    await slow.signalWorker();
    assert.equal((await running).text, expected);
    await slow.stop();
  });

  test("by URL: only where it is allowed, never from an address that is not public; in a result a note", async () => {
    let asked = 0;
    const inside = createServer((_, reply) => {
      asked += 1;
      reply.end(red);
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => inside.once("listening", resolve));
    const byUrl = (host) => ({ type: "image", source: { type: "url", url: `http://${host}:${inside.address().port}/x.png` } });
    const refused = async (at, host) => {
      const reply = await at.post(ask([byUrl(host), text("!see")]));
      assert.equal(reply.status, 400);
      return (await reply.json()).error.message;
    };
    assert.equal(await refused(server, "127.0.0.1"), "messages.0.content.0.source.url: images are not fetched by URL here (--url-sources on allows it) (capability_rejected: image_block)");
    const allowed = await Server.start({ fake: true, args: ["--mmproj", join(folder, "mmproj"), "--url-sources", "on"] });
    for (const host of ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254"]) {
      assert.equal(await refused(allowed, host), "messages.0.content.0.source.url: this URL leads to an address that is not public, and is not fetched (capability_rejected: image_block)");
    }
    const tools = [{ name: "look", input_schema: { type: "object" } }];
    const called = { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "look", input: {} }] };
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [byUrl("127.0.0.1"), image("image one")] }, text("!see")] };
    const reply = await (await allowed.post({ model: "m", max_tokens: 64, tools, messages: [{ role: "user", content: "look" }, called, result] })).json();
    assert.match(reply.content[0].text, /^12 rows/, "the other one is seen");
    assert.equal(asked, 0);
    await allowed.stop();
    inside.close();
  });

  test("without a projector: a 400 in a message, a note in a result", async () => {
    const blind = await Server.start({ fake: true, args: ["--mmproj", "off"] });
    const refused = await blind.post(ask([image(red), text("x")]));
    assert.equal(refused.status, 400);
    assert.match((await refused.json()).error.message, /^messages\.0\.content\.0\.type: 'image': this model cannot see \(capability_rejected: image_block\)$/);
    await blind.stop();
  });
});

// Of the second all rows of a picture stand at one position (M-RoPE).
// Not quantised: our products round otherwise than the engine's, and it is held to the engine's own server.
for (const [shape, projector, quant] of [["tiny", "tiny-sight", "q4_k"], ["tiny-qwen2vl", "tiny-sight-mrope", "f16"]]) describe(`images, through the engine, ${shape}`, () => {
  let folder;
  let model;
  let server;
  const start = (args = []) => Server.start({ modelFile: model, args: ["--context", "2048", "--deaths-max", "1000", ...args], env: { PENSIEVE_STORE: join(folder, "store") } });
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "pensieve-images-"));
    model = join(folder, "tiny.gguf");
    execFileSync(bin("pensieve-make-model"), [shape, model, "--quant", quant], { stdio: "ignore" });
    execFileSync(bin("pensieve-make-model"), [projector, join(folder, "mmproj-tiny.gguf")], { stdio: "ignore" }); // Found beside the model.
    server = await start();
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });
  const words = "these are some words that stand before the picture so that there is something to be found again later on. ".repeat(8);
  const look = (bytes, more) => [text(words), image(bytes), text(`What is there to be seen in this picture? ${more ?? ""}`)];

  test("another picture is another prompt, the same one is the same, cold and warm", async () => {
    const first = await said(server, look(red));
    const other = await said(server, look(stripes));
    assert.notEqual(other.text, first.text, "the picture makes a difference");
    assert.equal(other.usage.input_tokens + other.usage.cache_read_input_tokens, first.usage.input_tokens, "and as many tokens");
    assert.ok(other.usage.cache_read_input_tokens > 100, "what stands before it is not computed again");
    // In between the server may use a slot for itself: then a later time finds it.
    let found = 0;
    for (let i = 0; i < 4 && found <= other.usage.cache_read_input_tokens + 16; i++) {
      const again = await said(server, look(red));
      assert.equal(again.text, first.text);
      found = again.usage.cache_read_input_tokens;
    }
    assert.ok(found > other.usage.cache_read_input_tokens + 16, "nor is the picture");
    const blank = await said(server, [text(words), text("What is there to be seen in this picture? ")]);
    assert.equal(first.usage.input_tokens - blank.usage.input_tokens - blank.usage.cache_read_input_tokens > 16, true);
  });

  test("beside another stream it says the same", async () => {
    const alone = await said(server, look(red, "Tell me."), { max_tokens: 48 });
    const [one, two] = await Promise.all([said(server, look(red, "Tell me."), { max_tokens: 48 }), said(server, look(stripes, "Say it."), { max_tokens: 48 })]);
    assert.equal(one.text, alone.text);
    assert.equal((await said(server, look(stripes, "Say it."), { max_tokens: 48 })).text, two.text);
  });

  test("from the store after a restart: the same for the same picture, no hit for another", async () => {
    const first = await said(server, look(red, "And now?"));
    const other = await said(server, look(stripes, "And now?"));
    await server.until((health) => health.kv.store.pending === 0);
    await server.stop();
    server = await start();
    const otherAgain = await said(server, look(stripes, "And now?"));
    const again = await said(server, look(red, "And now?"));
    assert.equal(again.text, first.text);
    assert.equal(otherAgain.text, other.text);
    assert.ok(otherAgain.usage.cache_read_input_tokens > 250);
  });

  test("WebP is the picture that it shows, also under another name and in a result", async () => {
    const same = png(80, 60, (x) => ((x >> 2) % 2 ? [250, 10, 10] : [0, 0, 255]));
    const seen = await said(server, look(webp));
    assert.equal((await said(server, [text(words), image(webp, "image/webp"), look(webp)[2]])).text, seen.text);
    assert.equal((await said(server, look(same))).text, seen.text, "a PNG of the same pixels");
    assert.notEqual((await said(server, look(red))).text, seen.text);
    const tools = [{ name: "look", input_schema: { type: "object" } }];
    const called = { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "look", input: {} }] };
    const result = (bytes) => ({ role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [image(bytes, "image/webp")] }] });
    const count = async (bytes) => (await (await server.post({ model: "m", tools, messages: [{ role: "user", content: "look" }, called, result(bytes)] }, {}, "/v1/messages/count_tokens")).json()).input_tokens;
    assert.ok((await count(webp)) > 16);
    assert.ok((await count(largeWebp)) > 16, "a note: the session goes on");
  });

  test("count_tokens counts an image as the answer does", async () => {
    const { usage } = await said(server, look(red, "How many?"));
    const counted = await (await server.post({ model: "m", messages: [{ role: "user", content: look(red, "How many?") }] }, {}, "/v1/messages/count_tokens")).json();
    assert.equal(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens);
  });

  test("kill -9 of the worker at any moment: the same tokens", async () => {
    for (let cycle = 0; cycle < 8; cycle++) {
      const content = look(png(80, 60, (x, y) => [(x * 7 + cycle * 31) % 256, (y * 5) % 256, (x * y + cycle) % 256]), `Go on, ${cycle}.`);
      const running = said(server, content, { max_tokens: 300 });
      await new Promise((resolve) => setTimeout(resolve, cycle * 40));
      await server.signalWorker();
      const killed = await running;
      const again = await said(server, content, { max_tokens: 300 });
      assert.equal(killed.text, again.text);
      assert.equal(killed.usage.output_tokens, again.usage.output_tokens);
    }
    assert.ok((await server.health()).worker.restarts >= 8);
  });

  test("what is no picture, damaged or too large is a 400", async () => {
    const { restarts } = (await server.health()).worker;
    const refused = async (bytes, media_type) => {
      const reply = await server.post(ask([image(bytes, media_type), text("x")]));
      assert.equal(reply.status, 400);
      const { message } = (await reply.json()).error;
      assert.match(message, /capability_rejected: image_block/);
      return message;
    };
    assert.match(await refused("%PDF-1.4 hello"), /neither PNG, JPEG nor GIF/);
    const large = Buffer.from(red);
    large.writeUInt32BE(60000, 16);
    assert.match(await refused(large), /60000 by 60 pixels|damaged/);
    large.writeUInt32BE(60000, 20);
    assert.match(await refused(large), /60000 by 60000 pixels; at most 8 million are read/);
    assert.match(await refused(red.subarray(0, red.length - 40)), /damaged/);
    const noise = Buffer.from(red);
    for (let i = 45; i < noise.length; i++) noise[i] = (i * 37) % 256;
    assert.match(await refused(noise), /damaged/);
    assert.match(await refused("RIFF1234WEBPVP8 ", "image/webp"), /^messages\.0\.content\.0\.source: this image is damaged: dwebp ended with/);
    assert.match(await refused(largeWebp, "image/webp"), /this image takes more than \d+ MiB to decode/);
    assert.match(await refused("II*", "image/tiff"), /must be 'image\/png', 'image\/jpeg', 'image\/gif' or 'image\/webp'/);
    assert.equal((await server.health()).worker.restarts, restarts, "nobody died of it");
  });

  test("what the engine's own server says of the same picture", { skip: shape !== "tiny-qwen2vl" ? "the rows of the other follow one another" : hasEngineTool("llama-server") ? false : "the engine's package brings no llama-server" }, async () => {
    const theirs = await startServer("llama-server", model, ["--mmproj", join(folder, "mmproj-tiny.gguf"), "-c", "2048", "--parallel", "1", "--no-repack"]);
    try {
      const mark = (await (await fetch(`${theirs.url}/props`)).json()).media_marker ?? "<__media__>";
      for (const picture of [red, stripes, png(200, 40, (x, y) => [(x * 7) % 256, (y * 5) % 256, (x * y) % 256])]) {
        const ours = await said(server, [image(picture), text("What is there to be seen?"), image(stripes), text("And there?")], { max_tokens: 24 });
        const prompt_string = `<|im_start|>user\n${mark}\n\nWhat is there to be seen?\n\n${mark}\n\nAnd there?<|im_end|>\n<|im_start|>assistant\n`;
        const reply = await (await fetch(`${theirs.url}/completion`, {
          method: "POST", headers: { "content-type": "application/json" },
          body: JSON.stringify({ prompt: { prompt_string, multimodal_data: [picture, stripes].map((bytes) => bytes.toString("base64")) }, n_predict: 24, temperature: 0 }),
        })).json();
        assert.equal(reply.tokens_evaluated, ours.usage.input_tokens + ours.usage.cache_read_input_tokens + (ours.usage.cache_creation_input_tokens ?? 0), JSON.stringify(reply));
        assert.equal(ours.text, reply.content);
      }
    } finally {
      theirs.child.kill("SIGKILL");
    }
  });

  test("the projector is in the plan, and one that does not fit is said", async () => {
    const plan = JSON.parse(execFileSync(bin("pensieve"), ["plan", model, "--json"], { encoding: "utf8" }));
    const line = plan.budget.lines.find(({ name }) => name === "sight");
    assert.ok(line.bytes > 100 << 20, "an image being read is counted");
    const without = JSON.parse(execFileSync(bin("pensieve"), ["plan", model, "--json", "--mmproj", "off"], { encoding: "utf8" }));
    assert.equal(without.budget.lines.find(({ name }) => name === "sight"), undefined);
    // Found beside the model: it serves without.
    copyFileSync(model, join(folder, "mmproj-other.gguf"));
    copyFileSync(model, join(folder, "other.gguf"));
    const blind = await Server.start({ modelFile: join(folder, "other.gguf"), args: ["--context", "1024"], env: { PENSIEVE_STORE: "off" } });
    assert.equal((await blind.post(ask([image(red), text("x")]))).status, 400);
    assert.match(blind.log, /this model does not see: --mmproj/);
    await blind.stop();
  });
});
