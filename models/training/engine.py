"""The engine, as the training needs it: llama-server and llama-quantize as child processes.

Where the system has no engine package, PENSIEVE_ENGINE_ROOT (or the project's
build/engine/root) holds it unpacked, with its own loader.
"""

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(os.environ.get("PENSIEVE_ENGINE_ROOT", Path(__file__).parents[2] / "build/engine/root")).resolve()


def command(tool):
    """The command line that runs one of the engine's programs."""
    loader = ROOT / "usr/lib64/ld-linux-x86-64.so.2"
    if not loader.exists():
        return [tool]
    libs = ROOT / "usr/lib/x86_64-linux-gnu"
    return [str(loader), "--library-path", f"{libs}:{libs}/llama:{libs}/ggml", str(ROOT / "usr/bin" / tool)]


def environment():
    env = dict(os.environ)
    plugins = sorted((ROOT / "usr/lib/x86_64-linux-gnu/ggml/backends0").glob("libggml-cpu-*.so"))
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    wanted = "skylakex" if "avx512bw" in flags else "haswell" if "avx2" in flags else "x64"
    fit = [p for p in plugins if wanted in p.name] or plugins
    if fit: env["GGML_BACKEND_PATH"] = str(fit[0])
    return env


def quantize(source, target, types):
    """Quantises a GGUF. types maps a part of a tensor's name to a type; token_embd sets the (tied) output as well."""
    args = [f"--tensor-type={part}={kind}" for part, kind in types.items() if part != "token_embd"]
    head = ["--token-embedding-type", types["token_embd"], "--output-tensor-type", types["token_embd"]]
    flat = [x for a in args for x in a.split("=", 1)]
    subprocess.run(command("llama-quantize") + head + flat + [str(source), str(target), "q6_k", "2"],
                   env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Server:
    """llama-server on a free port of the loopback, for one model."""

    def __init__(self, model, context=8192, slots=1, threads=2, template=True):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.child = subprocess.Popen(
            command("llama-server") + ["-m", str(model), "--host", "127.0.0.1", "--port", str(self.port), "-c", str(context * slots), "-np", str(slots),
                                       "-t", str(threads), "--jinja", "--no-warmup", "-cb", "--no-webui"],
            env=environment(), stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1)
                return
            except OSError:
                if self.child.poll() is not None:
                    raise RuntimeError("llama-server ended: " + Path(self.log.name).read_text()[-3000:])
                time.sleep(0.1)
        raise RuntimeError("llama-server did not become ready")

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=900) as reply:
            return json.loads(reply.read())

    def close(self):
        self.child.terminate()
        self.child.wait()
        os.unlink(self.log.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
