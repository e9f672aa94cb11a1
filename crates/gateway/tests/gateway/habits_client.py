"""Drives the server at argv[1] with what the unmodified packages `openai` and `anthropic` do beside
plain calls: helpers that parse, async clients, retries, timeouts, streams that are left.

Prints how many answers it left before their end."""

import asyncio
import io
import sys
import time

import anthropic
import openai
from pydantic import BaseModel
from refusals import refused

URL, MODEL, SAID = sys.argv[1], "own/script", "You said: hi ♥"
patient = {"api_key": "none", "max_retries": 0, "timeout": 30}
client = openai.OpenAI(base_url=URL + "/v1", **patient)
anthropic_client = anthropic.Anthropic(base_url=URL, **patient)
n_left = 0


class Held(BaseModel):
    held: bool


class weather(BaseModel):
    """The weather in a place."""

    place: str


def user(text):
    return [{"role": "user", "content": text}]


def helpers_parse():
    chat = client.chat.completions
    parsed = chat.parse(model=MODEL, messages=user("json"), response_format=Held)
    assert parsed.choices[0].message.parsed == Held(held=True), parsed
    with chat.stream(model=MODEL, messages=user("json"), response_format=Held) as stream:
        streamed = stream.until_done().get_final_completion()
    assert streamed.choices[0].message.parsed == Held(held=True), streamed
    tools = [openai.pydantic_function_tool(weather)]
    called = chat.parse(model=MODEL, messages=user("call"), tools=tools)
    with chat.stream(model=MODEL, messages=user("call"), tools=tools) as stream:
        kinds = [event.type for event in stream]
        for whole in [called, stream.get_final_completion()]:
            (call,) = whole.choices[0].message.tool_calls
            assert call.function.parsed_arguments == weather(place="Paris"), call
    assert kinds.count("tool_calls.function.arguments.done") == 1, kinds
    with client.responses.stream(model=MODEL, input="json", text_format=Held) as stream:
        assert stream.get_final_response().output_parsed == Held(held=True)
    for messages in [anthropic_client.messages, anthropic_client.beta.messages]:
        parsed = messages.parse(
            model=MODEL, messages=user("json"), max_tokens=9, output_format=Held
        )
        assert parsed.parsed_output == Held(held=True), parsed


def raw_responses():
    named = {"model": MODEL, "messages": user("hi")}
    raw = client.chat.completions.with_raw_response.create(**named)
    assert raw.request_id and raw.parse().choices[0].message.content == SAID
    streaming = client.chat.completions.with_streaming_response
    with streaming.create(**named, stream=True) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and len(lines) > 4, lines
    raw = anthropic_client.messages.with_raw_response.create(**named, max_tokens=9)
    assert raw.headers["request-id"] == raw.parse()._request_id


def retries():
    """A refusal for want of room is tried again after the time that it gives."""
    for again, kind, create in [
        (client.with_options(max_retries=1), openai.RateLimitError, "chat.completions"),
        (anthropic_client.with_options(max_retries=1), anthropic.APIStatusError, "messages"),
    ]:
        resource = again
        for name in create.split("."):
            resource = getattr(resource, name)
        begun = time.monotonic()
        error = refused(kind, resource.create, model=MODEL, messages=user("busy"), max_tokens=9)
        assert error.status_code in (429, 529), error
        assert error.response.headers["retry-after"] == "1", error.response.headers
        assert error.response.request.headers["x-stainless-retry-count"] == "1"
        # No sooner than it says, and no later than what the clients choose by themselves.
        assert 1.0 <= time.monotonic() - begun < 5.0


def timeouts():
    global n_left
    hasty = {"timeout": 0.2, "max_retries": 0}
    slow = {"model": MODEL, "messages": user("slow")}
    refused(openai.APITimeoutError, client.with_options(**hasty).chat.completions.create, **slow)
    create = anthropic_client.with_options(**hasty).messages.create
    refused(anthropic.APITimeoutError, create, **slow, max_tokens=9)
    n_left += 2


def streams_are_left():
    global n_left
    named = {"model": MODEL, "messages": user("slow")}
    with client.chat.completions.create(**named, stream=True) as stream:
        next(iter(stream))
    with client.chat.completions.stream(**named) as stream:
        next(iter(stream))
    with client.responses.stream(model=MODEL, input="slow") as stream:
        next(iter(stream))
    with anthropic_client.messages.stream(**named, max_tokens=9) as stream:
        next(stream.text_stream)
    n_left += 4


async def async_clients():
    global n_left
    ours = openai.AsyncOpenAI(base_url=URL + "/v1", **patient)
    theirs = anthropic.AsyncAnthropic(base_url=URL, **patient)
    hi = {"model": MODEL, "messages": user("hi")}
    answers = await asyncio.gather(*[ours.chat.completions.create(**hi) for _ in range(20)])
    assert {answer.choices[0].message.content for answer in answers} == {SAID}
    assert len({answer.id for answer in answers}) == 20
    async with ours.responses.stream(model=MODEL, input="hi") as stream:
        assert (await stream.get_final_response()).output_text == SAID
    async with theirs.messages.stream(**hi, max_tokens=9) as stream:
        assert await stream.get_final_text() == SAID
    assert [model.id async for model in ours.models.list()] == [MODEL]
    assert [model.id async for model in theirs.models.list(limit=1)] == [MODEL]
    slow = {"model": MODEL, "messages": user("slow")}
    task = asyncio.create_task(ours.chat.completions.create(**slow))
    await asyncio.sleep(0.3)
    task.cancel()
    async with await ours.chat.completions.create(**slow, stream=True) as stream:
        await anext(aiter(stream))
    await ours.close()
    await theirs.close()
    n_left += 2


def kept_things():
    """Pages, waiting, and contents piece by piece."""
    content = b"x" * 200_000
    kept = [client.files.create(file=io.BytesIO(content), purpose="batch") for _ in range(3)]
    assert client.files.wait_for_processing(kept[0].id).status == "processed"
    with client.files.with_streaming_response.content(kept[0].id) as answer:
        assert b"".join(answer.iter_bytes(1000)) == content
    page = client.files.list(limit=2)
    assert [file.id for file in page.data] == [kept[2].id, kept[1].id] and page.has_next_page()
    assert page.get_next_page().data[0].id == kept[0].id
    # Anthropic's files have another shape, and its clients must not read these as such.
    error = refused(anthropic.NotFoundError, anthropic_client.beta.files.list)
    assert "OpenAI" in str(error), error


for check in [helpers_parse, raw_responses, retries, timeouts, streams_are_left, kept_things]:
    check()
asyncio.run(async_clients())
print(n_left)
