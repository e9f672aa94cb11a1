"""Drives the server at argv[1] with the unmodified `openai` package; exits 1 on any difference."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
MODEL = "own/script"
HI = [{"role": "user", "content": "hi"}]
SAID = "You said: hi ♥"

models = client.models.list()
assert [model.id for model in models] == [MODEL], models
assert client.models.retrieve(MODEL).owned_by == "freehold"

answer = client.chat.completions.create(
    model=MODEL, messages=HI, temperature=0, seed=1, stop=["\n\n"], max_completion_tokens=9
)
assert answer.choices[0].message.content == SAID, answer
assert answer.choices[0].finish_reason == "stop"
assert answer.usage.total_tokens == 7
assert answer._request_id

raw = client.chat.completions.with_raw_response.create(
    model=MODEL, messages=HI, store=True, extra_body={"top_k": 5, "new_thing": 1}
)
assert raw.headers["x-freehold-ignored"] == "store, new_thing", raw.headers
assert raw.parse().choices[0].message.content == SAID

scored = client.chat.completions.create(model=MODEL, messages=HI, logprobs=True, top_logprobs=2)
assert "".join(t.token for t in scored.choices[0].logprobs.content) == SAID

text, usage = "", None
for chunk in client.chat.completions.create(
    model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
assert text == SAID, text
assert usage.completion_tokens == 4

with client.chat.completions.stream(model=MODEL, messages=HI) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.content == SAID, final

tools = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a place.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
]
history = HI + [
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"place": "Paris"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
]
answer = client.chat.completions.create(
    model=MODEL, messages=history, tools=tools, tool_choice="auto"
)
assert answer.choices[0].message.content == SAID, answer

done = client.completions.create(model=MODEL, prompt="hi", max_tokens=5, logprobs=1)
assert done.choices[0].text == SAID
assert "".join(done.choices[0].logprobs.tokens) == SAID
assert done.choices[0].logprobs.text_offset == [0, 10, 12]
pieces = client.completions.create(model=MODEL, prompt=[1, 2, 3], stream=True)
assert "".join(piece.choices[0].text for piece in pieces) == "You said: 3 tokens ♥"
for listed, texts in [
    (["one", "two", "three"], ["after one", "after two", "after three"]),
    ([[1], [1, 2]], ["after 1 tokens", "after 2 tokens"]),
]:
    several = client.completions.create(model=MODEL, prompt=listed)
    assert [choice.text for choice in several.choices] == texts, several
    assert [choice.index for choice in several.choices] == list(range(len(listed))), several
    told = {}
    for piece in client.completions.create(model=MODEL, prompt=listed, stream=True):
        for choice in piece.choices:
            told[choice.index] = told.get(choice.index, "") + choice.text
    assert told == dict(enumerate(texts)), told


def refused(kind, **arguments):
    try:
        client.chat.completions.create(**({"model": MODEL, "messages": HI} | arguments))
    except kind as error:
        return error
    raise AssertionError(f"{arguments} was not refused")


assert refused(openai.NotFoundError, model="gpt-9").code == "model_not_found"
assert refused(openai.BadRequestError, n=2).param == "n"
assert refused(openai.BadRequestError, temperature=7).param == "temperature"
long = [{"role": "user", "content": "long"}]
assert refused(openai.BadRequestError, messages=long).code == "context_length_exceeded"
busy = refused(openai.RateLimitError, messages=[{"role": "user", "content": "busy"}])
assert busy.response.headers["retry-after"] == "1"
try:
    failing = [{"role": "user", "content": "fail"}]
    for chunk in client.chat.completions.create(model=MODEL, messages=failing, stream=True):
        pass
    raise AssertionError("a failure midway was not reported")
except openai.APIError as error:
    assert "not finite" in error.message, error
vectors = client.embeddings.create(model=MODEL, input=["four", "a"])
assert [vector.embedding for vector in vectors.data] == [[4, 0.5, -2], [1, 0.5, -2]], vectors
assert [vector.index for vector in vectors.data] == [0, 1]
assert (vectors.usage.prompt_tokens, vectors.usage.total_tokens) == (3, 3)
plain = client.embeddings.create(model=MODEL, input=[[1, 2]], encoding_format="float", dimensions=2)
assert plain.data[0].embedding == [2, 0.5], plain
raw = client.embeddings.with_raw_response.create(model=MODEL, input=["a", "too long"], user="u")
assert raw.headers["x-freehold-cut"] == "1:5", raw.headers
assert raw.headers["x-freehold-ignored"] == "user", raw.headers

print("ok")
