// Where the built programs are, and a model to run them on.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const binaries = process.env.PENSIEVE_BIN ?? join(root, "build", "release", "bin");

export const bin = (name) => join(binaries, name);

// The trained model that ships with the project, else a stand-in of random weights.
export async function model() {
  const shipped = join(root, "models", "pensieve-demo.gguf");
  if (existsSync(shipped)) return shipped;
  const made = join(binaries, "..", "tiny.gguf");
  if (!existsSync(made)) execFileSync(bin("pensieve-make-model"), ["tiny", made], { stdio: "ignore" });
  return made;
}
