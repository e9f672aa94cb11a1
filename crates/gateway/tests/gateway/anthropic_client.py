"""Drives the server at argv[1] with the unmodified `anthropic` package; exits 1 on any difference."""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
MODEL = "own/script"
SAID = "You said: hi ♥"


def ask(text="hi", **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return client.messages.create(model=MODEL, max_tokens=50, messages=messages, **more)


# Newer clients have no arguments for these, and the interface still does.
sampling = {"temperature": 0.5, "top_k": 5, "top_p": 0.9}
answer = ask(system="Be brief.", metadata={"user_id": "u"}, extra_body=sampling)
assert [block.type for block in answer.content] == ["text"], answer
assert answer.content[0].text == SAID
assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
usage = answer.usage
assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (2, 1, 4), usage
assert answer._request_id

raw = client.messages.with_raw_response.create(
    model=MODEL,
    max_tokens=50,
    system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
    messages=[{"role": "user", "content": "hi"}],
    extra_body={"new_thing": 1},
    extra_headers={"anthropic-beta": "new-2026"},
)
assert raw.headers["x-freehold-ignored"] == "new_thing, cache_control, anthropic-beta", raw.headers
assert raw.parse().content[0].text == SAID

stopped = ask("stop", stop_sequences=["END"])
assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END"), stopped

# Thinking: a block before the text, with a signature, the same in a stream.
thinking = {"type": "enabled", "budget_tokens": 1024}
thought = ask(thinking=thinking)
assert [block.type for block in thought.content] == ["thinking", "text"], thought
assert thought.content[0].thinking == "Let me see." and thought.content[0].signature
with client.messages.stream(
    model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "hi"}], thinking=thinking
) as stream:
    events = [event.type for event in stream]
    final = stream.get_final_message()
assert final.to_dict()["content"] == thought.to_dict()["content"], (final, thought)
assert (final.stop_reason, final.usage.cache_read_input_tokens) == ("end_turn", 1), final
assert events[0] == "message_start" and events[-1] == "message_stop", events
raw_events = [
    event.type
    for event in client.messages.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "hi"}], stream=True
    )
]
expected = ["message_start", "content_block_start"] + ["content_block_delta"] * 3
assert [kind for kind in raw_events if kind != "ping"] == expected + [
    "content_block_stop",
    "message_delta",
    "message_stop",
], raw_events

# Tools: a call, its result with the thinking sent back, another answer.
schema = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
tools = [
    {"name": "weather", "description": "The weather in a place.", "input_schema": schema},
    {"name": "time", "input_schema": schema},
]
called = ask("call", tools=tools, tool_choice={"type": "tool", "name": "weather"})
assert called.stop_reason == "tool_use"
assert [(b.type, b.name, b.input) for b in called.content] == [
    ("tool_use", "weather", {"place": "Paris"})
], called
with client.messages.stream(
    model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "call"}], tools=tools
) as stream:
    both = stream.get_final_message()
assert [block.input for block in both.content] == [{"place": "Paris"}] * 2, both
result = {"type": "tool_result", "tool_use_id": called.content[0].id, "is_error": True}
history = [
    {"role": "user", "content": "call"},
    {"role": "assistant", "content": [thought.content[0].to_dict(), *called.to_dict()["content"]]},
    {"role": "user", "content": [{**result, "content": [{"type": "text", "text": "rain"}]}]},
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
]
assert ask(messages=history, tools=tools).content[0].text == SAID

# Thinking and a call, whole and streamed: the model gets its thinking back with the result, where
# the text was not shown too; nothing of it is listed as without effect.
def recalled(content, **more):
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "rain"}
        for block in content
        if block["type"] == "tool_use"
    ]
    turns = [
        {"role": "user", "content": "think"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [*results, {"type": "text", "text": "recall"}]},
    ]
    back = client.messages.with_raw_response.create(
        model=MODEL, max_tokens=50, messages=turns, tools=tools, **more
    )
    return back.parse().content[0].text, back.headers.get("x-freehold-ignored")


for display in ("summarized", "omitted"):
    asked = {
        "model": MODEL,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "think"}],
        "tools": tools,
        "thinking": {"type": "adaptive", "display": display},
    }
    whole = client.messages.create(**asked).to_dict()["content"]
    assert [block["type"] for block in whole] == ["thinking", "tool_use", "tool_use"], whole
    assert whole[0]["thinking"] == ("Let me see." if display == "summarized" else ""), whole
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message().to_dict()["content"]
    assert streamed == whole, (streamed, whole)
    assert recalled(whole) == ("thought Let me see.", None), recalled(whole)
# A text that was changed is read all the same, and that its signature is another's is told.
whole = client.messages.create(**{**asked, "thinking": thinking}).to_dict()["content"]
changed = [{**whole[0], "thinking": "Rain?"}, *whole[1:]]
assert recalled(changed) == ("thought Rain?", "thinking.signature"), recalled(changed)

# What another provider signed or redacted passes through unchanged, whole and streamed.
foreign = ask("sealed").to_dict()["content"]
assert foreign == [
    {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB+/="},
    {"type": "redacted_thinking", "data": "EmwK"},
    {"type": "text", "text": "signed"},
], foreign
with client.messages.stream(
    model=MODEL, max_tokens=50, messages=[{"role": "user", "content": "sealed"}]
) as stream:
    assert stream.get_final_message().to_dict()["content"] == foreign
said, ignored = recalled(foreign)
assert said == "thought Let me see.; signed EqQB+/=; redacted EmwK", said
assert ignored == "thinking.signature, redacted_thinking", ignored

# Structured output.
form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
held = ask("json", output_config=form)
assert held.content[0].text == '{"held":true}', held

# Counting and listing.
count = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hi"}])
more = client.messages.count_tokens(
    model=MODEL, messages=[{"role": "user", "content": "hi"}], tools=tools
)
assert 0 < count.input_tokens < more.input_tokens, (count, more)
models = client.models.list()
assert [model.id for model in models] == [MODEL], models
assert client.models.retrieve(MODEL).display_name == MODEL


def refused(kind, text="hi", **more):
    try:
        ask(text, **more)
    except kind as error:
        return error
    raise AssertionError(f"{more} was not refused")


assert "images" in str(
    refused(
        anthropic.BadRequestError,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}
                ],
            }
        ],
    )
)
server_tool = [{"type": "web_search_20250305", "name": "web_search"}]
assert "tools[0].type" in str(refused(anthropic.BadRequestError, tools=server_tool))
busy = refused(anthropic.APIStatusError, "busy")
assert (busy.status_code, busy.body["error"]["type"]) == (529, "overloaded_error"), busy.body
assert busy.body["request_id"] == busy.response.headers["request-id"]
long = refused(anthropic.BadRequestError, "long").body["error"]
assert long["type"] == "invalid_request_error"
assert long["message"] == "prompt is too long: 250 tokens > 100 maximum", long
try:
    client.messages.create(
        model="claude-9", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
    )
    raise AssertionError("an unknown model was not refused")
except anthropic.NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error", error.body
try:
    for _ in client.messages.create(
        model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "fail"}], stream=True
    ):
        pass
    raise AssertionError("a failure midway was not reported")
except anthropic.APIStatusError as error:
    assert "not finite" in str(error), error
print("ok")
