// Where the built programs are, a model to run them on, and what ends them.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const binaries = process.env.PENSIEVE_BIN ?? join(root, "build", "release", "bin");

export const bin = (name) => join(binaries, name);

// A test that fails leaves its programs behind, and the run would wait for them.
const running = new Set();
after(() => running.forEach((child) => child.kill("SIGKILL")));
export function endedWithTheTests(child) {
  running.add(child);
  child.on("exit", () => running.delete(child));
  return child;
}

// The trained model that ships with the project, else a stand-in of random weights.
export async function model() {
  const shipped = join(root, "models", "pensieve-demo.gguf");
  if (existsSync(shipped)) return shipped;
  const made = join(binaries, "..", "tiny.gguf");
  if (!existsSync(made)) execFileSync(bin("pensieve-make-model"), ["tiny", made], { stdio: "ignore" });
  return made;
}
