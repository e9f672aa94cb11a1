"""Drives the server at argv[1] with the unmodified `ollama` package; exits 1 on any difference."""

import sys

import httpx
import ollama

client = ollama.Client(host=sys.argv[1], timeout=30)
MODEL = "own/script"
HI = [{"role": "user", "content": "hi"}]
SAID = "You said: hi ♥"

answer = client.chat(model=MODEL, messages=HI, options={"temperature": 0, "num_ctx": 2048})
assert answer.message.content == SAID, answer
assert (answer.done, answer.done_reason) == (True, "stop")
assert (answer.prompt_eval_count, answer.eval_count) == (3, 4)
assert answer.total_duration == 3_000_000, "nanoseconds"
assert client.chat(model=MODEL + ":latest", messages=HI).message.content == SAID

pieces = list(client.chat(model=MODEL, messages=HI, stream=True))
assert "".join(piece.message.content for piece in pieces) == SAID
assert [piece.done for piece in pieces] == [False] * 3 + [True]

thought = client.chat(model=MODEL, messages=HI, think=True)
assert thought.message.thinking == "Let me see.", thought
pieces = list(client.chat(model=MODEL, messages=HI, think="low", stream=True))
assert "".join(piece.message.thinking or "" for piece in pieces) == "Let me see."

held = client.chat(
    model=MODEL, messages=[{"role": "user", "content": "json"}], format={"type": "object"}
)
assert held.message.content == '{"held":true}', held
scored = client.chat(model=MODEL, messages=HI, logprobs=True, top_logprobs=1)
assert "".join(score.token for score in scored.logprobs) == SAID, scored


def weather(place: str) -> str:
    """The weather in a place.

    Args:
      place: Where.
    """
    return "rain"


call = [{"role": "user", "content": "call"}]
called = client.chat(model=MODEL, messages=call, tools=[weather])
assert called.message.tool_calls[0].function.name == "weather"
assert called.message.tool_calls[0].function.arguments == {"place": "Paris"}
streamed = list(client.chat(model=MODEL, messages=call, tools=[weather], stream=True))
calls = [one for piece in streamed for one in piece.message.tool_calls or []]
assert [one.function.arguments for one in calls] == [{"place": "Paris"}], streamed
history = call + [
    called.message,
    {"role": "tool", "tool_name": "weather", "content": "rain"},
    *HI,
]
assert client.chat(model=MODEL, messages=history, tools=[weather]).message.content == SAID

assert client.generate(model=MODEL, prompt="hi", system="Be brief.").response == SAID
assert client.generate(model=MODEL, prompt="hi", raw=True).response == SAID
pieces = list(client.generate(model=MODEL, prompt="hi", stream=True))
assert "".join(piece.response for piece in pieces) == SAID
loaded = client.generate(model=MODEL, keep_alive="5m")
assert (loaded.done, loaded.done_reason) == (True, "load"), loaded

listed = client.list().models[0]
assert (listed.model, listed.size) == (MODEL, 9), listed
assert (listed.details.parameter_size, listed.details.quantization_level) == ("1.50B", "Q8_0")
shown = client.show(MODEL)
assert shown.capabilities == ["completion", "tools", "thinking"], shown
assert (shown.modelinfo["script.context_length"], shown.license) == (100, "Apache-2.0")
assert shown.template == "{{ messages }}"
assert client.ps().models[0].context_length == 100

assert client.pull("good").status == "success"
steps = list(client.pull("good", stream=True))
assert [(step.status, step.completed) for step in steps] == [
    ("pulling manifest", None),
    ("pulling good.gguf", 4),
    ("pulling good.gguf", 9),
    ("success", None),
], steps


def refused(ask, status):
    try:
        ask()
    except ollama.ResponseError as error:
        assert error.status_code == status, (error.status_code, error.error)
        return error.error
    raise AssertionError("not refused")


assert "not found" in refused(lambda: client.pull("bad"), 404)
assert "not found" in refused(lambda: list(client.pull("bad", stream=True)), -1)
assert "gpt-9" in refused(lambda: client.chat(model="gpt-9", messages=HI), 404)
assert "gpt-9" in refused(lambda: client.show("gpt-9"), 404)
assert client.embed(model=MODEL, input="four").embeddings == [[4, 0.5, -2]]
embedded = client.embed(model=MODEL, input=["a", "too long"], dimensions=2, truncate=True)
assert embedded.embeddings == [[1, 0.5], [8, 0.5]], embedded
assert (embedded.prompt_eval_count, embedded.total_duration) == (3, 3_000_000), embedded
assert client.embeddings(model=MODEL, prompt="four").embedding == [4, 0.5, -2]
assert client.embed(model=MODEL, input="").embeddings == [], "a model is loaded so"
assert "freehold rm" in refused(lambda: client.delete(MODEL), 501)
assert "alias" in refused(lambda: client.copy(MODEL, "x"), 501)
assert "create" in refused(lambda: client.create(model="x", from_=MODEL), 501)
mirostat = {"mirostat": 2}
assert "options.mirostat" in refused(lambda: client.chat(MODEL, HI, options=mirostat), 400)
failing = [{"role": "user", "content": "fail"}]
assert "not finite" in refused(lambda: list(client.chat(MODEL, failing, stream=True)), -1)
assert "too many" in refused(lambda: client.chat(MODEL, [{"role": "user", "content": "busy"}]), 429)

# What clients look at before they ask anything.
for method in ["GET", "HEAD"]:
    assert httpx.request(method, sys.argv[1]).status_code == 200
assert httpx.get(sys.argv[1]).text == "Ollama is running"
version = httpx.get(sys.argv[1] + "/api/version").json()["version"]
assert tuple(map(int, version.split("."))) >= (0, 6, 4), version
print("ok")
