// Runs Claude Code as its users do, in a HOME of its own, against a server of ours.
import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
export const program = (version) => join(here, "node_modules", `claude-code-${version}`, "bin", "claude.exe");

export class Claude {
  constructor(version, url, env = {}) {
    this.program = program(version);
    this.folder = mkdtempSync(join(tmpdir(), "pensieve-claude-"));
    this.work = join(this.folder, "work");
    mkdirSync(join(this.folder, "home"));
    mkdirSync(this.work);
    this.env = {
      PATH: process.env.PATH,
      HOME: join(this.folder, "home"),
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_AUTH_TOKEN: "dummy",
      ANTHROPIC_MODEL: "local",
      ANTHROPIC_DEFAULT_HAIKU_MODEL: "local",
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      CLAUDE_CODE_MAX_CONTEXT_TOKENS: "250000",
      DISABLE_AUTOUPDATER: "1",
      ...env,
    };
  }
  // Resolves with {code, out, err}.
  run(args, { timeout = 120000 } = {}) {
    const child = spawn(this.program, args, { cwd: this.work, env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeout);
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    return new Promise((resolve) => child.on("close", (code) => (clearTimeout(timer), resolve({ code, out: out.trim(), err }))));
  }
  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
