"""The official Python SDKs against the built server with the scripted worker, whose words are known.

    python3 python_sdks.py BUILD/bin

Sync and async, streaming helpers, the tool runner, errors, and the openai package if it is installed here. Batches are
tried too; a server without them is reported as skipped, not as passed. Prints one line a check and "N passed, N failed".
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import anthropic

BIN = Path(sys.argv[1])
PASSED = FAILED = SKIPPED = 0


class Skip(Exception):
    pass


def check(name, run):
    global PASSED, FAILED, SKIPPED
    try:
        asyncio.run(run()) if asyncio.iscoroutinefunction(run) else run()
        PASSED += 1
        print("ok    " + name, flush=True)
    except Skip as why:
        SKIPPED += 1
        print(f"skip  {name}: {why}", flush=True)
    except Exception as problem:  # What went wrong is the report.
        FAILED += 1
        print(f"FAIL  {name}: {type(problem).__name__}: {problem}", flush=True)


def start(*args, **env):
    server = subprocess.Popen(
        [BIN / "pensieve", "serve", "--port", "0", "--worker", BIN / "pensieve-fake-worker", "--model", "script", "--log-level", "error",
         "--batches", Path(tempfile.mkdtemp(prefix="pensieve-conformance-")) / "batches.sqlite", *args],
        stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    url = server.stdout.readline().split()[-1]
    for _ in range(300):
        try:
            if json.load(urllib.request.urlopen(url + "/health"))["ready"]:
                return server, url
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server did not get ready")


def ask(text, **more):
    return {"model": "claude-test", "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


def turns(*said):
    return "!turns " + json.dumps(said)


def call(name, **arguments):
    return f'<tool_call>\n{json.dumps({"name": name, "arguments": arguments})}\n</tool_call>'


WEATHER = {"name": "get_weather", "description": "The weather of a city",
           "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


def raises(kind, run, words=""):
    try:
        run()
    except kind as error:
        assert words in str(error), f"{words!r} is not in {error}"
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def anthropic_checks(url):
    client = anthropic.Anthropic(base_url=url, api_key="dummy", max_retries=0)
    # Connections belong to one event loop, and every check has its own.
    def new_async():
        return anthropic.AsyncAnthropic(base_url=url, api_key="dummy", max_retries=0)

    def whole():
        message = client.messages.create(**ask("hello there"))
        assert message.content[0].text == "hello there" and message.stop_reason == "end_turn"
        assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 0 and message.usage.output_tokens == len("hello there") + 1

    def streamed():
        with client.messages.stream(**ask("one two three")) as stream:
            assert "".join(stream.text_stream) == "one two three"
            final = stream.get_final_message()
        assert final.content[0].text == "one two three" and final.stop_reason == "end_turn"

    def raw_events():
        kinds = [event.type for event in client.messages.create(**ask("abc"), stream=True)]
        assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds

    async def whole_later():
        later = new_async()
        replies = await asyncio.gather(*(later.messages.create(**ask(f"number {i}")) for i in range(8)))
        assert [reply.content[0].text for reply in replies] == [f"number {i}" for i in range(8)]

    async def streamed_later():
        later = new_async()
        async with later.messages.stream(**ask("one two")) as stream:
            said = [piece async for piece in stream.text_stream]
        assert "".join(said) == "one two"

    async def left_early():
        later = new_async()
        async with later.messages.stream(**ask("!repeat 150 x")) as stream:
            async for _ in stream.text_stream:
                break
        assert (await later.messages.create(**ask("still here"))).content[0].text == "still here"

    def counted():
        usage = client.messages.create(**ask("count")).usage
        whole = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        assert client.messages.count_tokens(model="m", messages=ask("count")["messages"]).input_tokens == whole

    def models():
        page = client.models.list()
        assert client.models.retrieve(page.data[0].id).id == page.data[0].id

    def tool():
        message = client.messages.create(**ask(turns("Let me see.\n" + call("get_weather", city="Oslo"))), tools=[WEATHER])
        assert message.stop_reason == "tool_use" and message.content[-1].input == {"city": "Oslo"}, message

    def tool_streamed():
        with client.messages.stream(**ask(turns(call("get_weather", city="Oslo"))), tools=[WEATHER]) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_message()
        assert "input_json" in kinds and final.content[0].input == {"city": "Oslo"}, kinds

    def runner():
        if not hasattr(anthropic, "beta_tool"):
            raise Skip("this SDK has no tool runner")
        asked = []

        @anthropic.beta_tool
        def get_weather(city: str) -> str:
            """The weather of a city.

            Args:
                city: Which one.
            """
            asked.append(city)
            return "rain"

        final = None
        for message in client.beta.messages.tool_runner(**ask(turns(call("get_weather", city="Oslo"), call("get_weather", city="Rome"), "Rain in both.")), tools=[get_weather]):
            final = message
        assert asked == ["Oslo", "Rome"] and final.content[0].text == "Rain in both.", (asked, final)

    def errors():
        raises(anthropic.BadRequestError, lambda: client.messages.create(**ask("x"), extra_body={"temperature": 7}), "temperature")
        raises(anthropic.BadRequestError, lambda: client.messages.create(**ask("x" * 200000)), "prompt is too long")
        raises(anthropic.NotFoundError, lambda: client.models.retrieve("no-such-model"))
        raises(anthropic.InternalServerError, lambda: client.messages.create(**ask("!fail")))
        def broken_stream():
            with client.messages.stream(**ask("!fail")) as stream:
                stream.get_final_message()
        raises(anthropic.APIStatusError, broken_stream)

    def batches():
        try:
            batch = client.messages.batches.create(requests=[{"custom_id": f"r{i}", "params": ask(f"batch {i}")} for i in range(3)])
        except anthropic.NotFoundError:
            raise Skip("this server has no batches") from None
        for _ in range(200):
            if client.messages.batches.retrieve(batch.id).processing_status == "ended":
                break
            time.sleep(0.1)
        results = {result.custom_id: result.result for result in client.messages.batches.results(batch.id)}
        assert sorted(results) == ["r0", "r1", "r2"] and results["r1"].message.content[0].text == "batch 1", results
        assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"

    for run in (whole, streamed, raw_events, whole_later, streamed_later, left_early, counted, models, tool, tool_streamed, runner, errors, batches):
        check(f"anthropic {anthropic.__version__}: {run.__name__}", run)


def retry_checks():
    server, url = start("--slots", "1", "--queue", "0", PENSIEVE_FAKE_STEP_US="5000")
    patient = anthropic.Anthropic(base_url=url, api_key="dummy", max_retries=5)

    async def full_line():
        later = anthropic.AsyncAnthropic(base_url=url, api_key="dummy", max_retries=0)
        async with later.messages.stream(**ask("!repeat 150 x")) as stream:
            async for _ in stream.text_stream:
                break
            try:
                await later.messages.create(**ask("refused"))
                raise AssertionError("a full line must refuse")
            except anthropic.APIStatusError as error:
                assert error.status_code == 529 and 1 <= int(error.response.headers["retry-after"]) <= 60

    def retried():
        holder = subprocess.Popen([BIN / "pensieve", "run", "--url", url, "!repeat 200 x"], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        assert patient.messages.create(**ask("after the other")).content[0].text == "after the other"
        holder.wait()

    for run in (full_line, retried):
        check(f"anthropic {anthropic.__version__}: {run.__name__}", run)
    server.send_signal(signal.SIGTERM)
    server.wait()


def openai_checks(url):
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key="dummy", max_retries=0)
    later = openai.AsyncOpenAI(base_url=url + "/v1", api_key="dummy", max_retries=0)
    user = lambda text: [{"role": "user", "content": text}]
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER["input_schema"]}}]

    def chat():
        reply = client.chat.completions.create(model="m", messages=user("hello"))
        assert reply.choices[0].message.content == "hello" and reply.usage.completion_tokens == 6

    def chat_streamed():
        chunks = list(client.chat.completions.create(model="m", messages=user("one two"), stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
        assert chunks[-1].usage.completion_tokens == 8

    async def chat_later():
        replies = await asyncio.gather(*(later.chat.completions.create(model="m", messages=user(f"n{i}")) for i in range(5)))
        assert [reply.choices[0].message.content for reply in replies] == [f"n{i}" for i in range(5)]

    def tool():
        reply = client.chat.completions.create(model="m", messages=user(turns(call("get_weather", city="Oslo"))), tools=tools)
        made = reply.choices[0].message.tool_calls[0]
        assert reply.choices[0].finish_reason == "tool_calls" and json.loads(made.function.arguments) == {"city": "Oslo"}
        conversation = [*user(turns(call("get_weather", city="Oslo"), "It rains.")), reply.choices[0].message, {"role": "tool", "tool_call_id": made.id, "content": "rain"}]
        assert client.chat.completions.create(model="m", messages=conversation, tools=tools).choices[0].message.content == "It rains."

    def tool_streamed():
        with client.chat.completions.stream(model="m", messages=user(turns(call("get_weather", city="Oslo"))), tools=tools) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        assert json.loads(final.choices[0].message.tool_calls[0].function.arguments) == {"city": "Oslo"}

    def responses():
        assert client.responses.create(model="m", input="hello").output_text == "hello"
        with client.responses.stream(model="m", input="streamed") as stream:
            kinds = [event.type for event in stream]
            assert stream.get_final_response().output_text == "streamed"
        assert kinds[-1] == "response.completed"

    def response_tool():
        reply = client.responses.create(model="m", input=turns(call("get_weather", city="Oslo")), tools=[{"type": "function", "name": "get_weather", "parameters": WEATHER["input_schema"], "strict": False}])
        assert reply.output[0].type == "function_call" and json.loads(reply.output[0].arguments) == {"city": "Oslo"}, reply.output

    def completions():
        assert client.completions.create(model="m", prompt="<|user|>as it stands<|end|><|assistant|>as it", max_tokens=50).choices[0].text == " stands"

    def errors():
        raises(openai.BadRequestError, lambda: client.chat.completions.create(model="m", messages=user("x"), n=2), "only one choice")
        raises(openai.InternalServerError, lambda: client.chat.completions.create(model="m", messages=user("!fail")))
        raises(openai.APIError, lambda: list(client.chat.completions.create(model="m", messages=user("!fail"), stream=True)), "failed step")
        raises(openai.BadRequestError, lambda: client.embeddings.create(model="m", input="x"), "embeddings")

    for run in (chat, chat_streamed, chat_later, tool, tool_streamed, responses, response_tool, completions, errors):
        check(f"openai {openai.__version__}: {run.__name__}", run)


def main():
    server, url = start("--slots", "2", "--queue", "16")
    anthropic_checks(url)
    try:
        import openai  # noqa: F401
    except ImportError:
        pass
    else:
        openai_checks(url)
    server.send_signal(signal.SIGTERM)
    server.wait()
    retry_checks()
    print(f"python SDKs: {PASSED} passed, {FAILED} failed" + (f", {SKIPPED} skipped" if SKIPPED else ""))
    raise SystemExit(1 if FAILED else 0)


main()
