"""Drives `/v1/responses` of the server at argv[1] with the unmodified `openai` package."""

import sys

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
MODEL = "own/script"
SAID = "You said: hi ♥"

answer = client.responses.create(
    model=MODEL, input="hi", instructions="Be brief.", max_output_tokens=20, metadata={"k": "v"}
)
assert answer.output_text == SAID, answer
assert (answer.status, answer.object, answer.store) == ("completed", "response", False)
assert answer.instructions == "Be brief." and answer.metadata == {"k": "v"}
assert (answer.usage.total_tokens, answer.usage.input_tokens_details.cached_tokens) == (7, 1)

thought = client.responses.create(model=MODEL, input="hi", reasoning={"effort": "low"})
assert [item.type for item in thought.output] == ["reasoning", "message"], thought
assert thought.output[0].content[0].text == "Let me see."

with client.responses.stream(model=MODEL, input="hi", reasoning={"effort": "low"}) as stream:
    events = list(stream)
    final = stream.get_final_response()
assert final.output_text == SAID, final
assert [event.sequence_number for event in events] == list(range(len(events)))
assert events[0].type == "response.created" and events[-1].type == "response.completed"
deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
assert "".join(deltas) == SAID

schema = {"type": "object", "properties": {"place": {"type": "string"}}}
tools = [{"type": "function", "name": "weather", "parameters": schema, "strict": False}]
called = client.responses.create(model=MODEL, input="call", tools=tools, tool_choice="required")
call = called.output[0]
assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"place":"Paris"}')
with client.responses.stream(model=MODEL, input="call", tools=tools) as stream:
    kinds = [event.type for event in stream]
    assert stream.get_final_response().output[0].arguments == call.arguments
assert kinds.count("response.function_call_arguments.delta") == 2, kinds
history = [
    {"role": "user", "content": "call"},
    thought.output[0],
    call,
    {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    {"role": "user", "content": "hi"},
]
assert client.responses.create(model=MODEL, input=history, tools=tools).output_text == SAID


class Held(BaseModel):
    held: bool


parsed = client.responses.parse(model=MODEL, input="json", text_format=Held)
assert parsed.output_parsed == Held(held=True), parsed


def refused(kind, **arguments):
    try:
        client.responses.create(**({"model": MODEL, "input": "hi"} | arguments))
    except kind as error:
        return error
    raise AssertionError(f"{arguments} was not refused")


assert refused(openai.BadRequestError, previous_response_id="resp_1").param == "previous_response_id"
assert refused(openai.BadRequestError, background=True).param == "background"
raw = client.responses.with_raw_response.create(model=MODEL, input="hi", store=True)
assert raw.headers["x-freehold-ignored"] == "store" and raw.parse().store is False
assert refused(openai.BadRequestError, tools=[{"type": "web_search"}]).param == "tools[0].type"
assert refused(openai.NotFoundError, model="gpt-9").code == "model_not_found"
failed = [event for event in client.responses.create(model=MODEL, input="fail", stream=True)][-1]
assert failed.type == "response.failed" and "not finite" in failed.response.error.message
print("ok")
