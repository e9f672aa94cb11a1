"""Drives `/v1/conversations`, and `/v1/responses` in them, of the server at argv[1] with the
unmodified `openai` package."""

import asyncio
import sys
import time

import openai
from refusals import refused, until

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
MODEL = "own/script"


def said(items):
    return [(item.role, item.content[0].text) for item in items]


def oldest(conversation, **more):
    return list(client.conversations.items.list(conversation, order="asc", **more))


def answer(text, conversation, **more):
    return client.responses.create(model=MODEL, input=text, conversation=conversation, **more)


# The objects.
empty = client.conversations.create()
assert (empty.object, empty.metadata) == ("conversation", {}), empty
assert empty.id.startswith("conv_") and abs(empty.created_at - time.time()) < 60
talk = client.conversations.create(
    items=[{"type": "message", "role": "user", "content": "one"}], metadata={"k": "v"}
)
assert client.conversations.retrieve(talk.id) == talk and talk.metadata == {"k": "v"}
changed = client.conversations.update(talk.id, metadata={"l": "w"})
assert changed.metadata == {"l": "w"} and changed.created_at == talk.created_at, changed
call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
result = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
added = client.conversations.items.create(
    talk.id, items=[{"role": "assistant", "content": "two"}, call, result]
)
assert [item.type for item in added.data] == ["message", "function_call", "function_call_output"]
assert (added.first_id, added.last_id) == (added.data[0].id, added.data[2].id), added
items = oldest(talk.id)
assert [item.id for item in items[1:]] == [item.id for item in added.data]
assert said(items[:2]) == [("user", "one"), ("assistant", "two")], items
assert [item.content[0].type for item in items[:2]] == ["input_text", "output_text"], items
page = client.conversations.items.list(talk.id, limit=2)
assert page.has_more and [item.id for item in page] == [item.id for item in reversed(items)]
assert oldest(talk.id, after=items[2].id) == items[3:]
one = client.conversations.items.retrieve(items[1].id, conversation_id=talk.id)
assert one == items[1], one
assert client.conversations.items.delete(items[3].id, conversation_id=talk.id).id == talk.id
assert oldest(talk.id) == items[:3]
for method in (client.conversations.items.retrieve, client.conversations.items.delete):
    refused(openai.NotFoundError, method, items[3].id, conversation_id=talk.id)
    refused(openai.NotFoundError, method, items[1].id, conversation_id=empty.id)
client.conversations.items.delete(items[2].id, conversation_id=talk.id)

# Answers go on with what is there, and are added.
first = answer("turns", talk.id, instructions="Be brief.")
assert first.output_text == "4 turns" and first.conversation.id == talk.id, first
assert first.previous_response_id is None
begun = [("user", "one"), ("assistant", "two")]
assert said(oldest(talk.id)) == begun + [("user", "turns"), ("assistant", "4 turns")]
assert said(client.responses.input_items.list(first.id)) == [("user", "turns")]
assert client.responses.retrieve(first.id).conversation.id == talk.id
# Instructions are an answer's own.
with client.responses.stream(
    model=MODEL, input="turns", conversation={"id": talk.id}, store=False
) as stream:
    events = list(stream)
    second = stream.get_final_response()
assert second.output_text == "5 turns" and second.conversation.id == talk.id, second
assert events[0].response.conversation.id == talk.id
refused(openai.NotFoundError, client.responses.retrieve, second.id)
client.conversations.items.create(talk.id, items=[{"role": "user", "content": "turns"}])
silent = client.responses.create(model=MODEL, conversation=talk.id)
assert silent.output_text == "7 turns", silent
queued = answer("hold", talk.id, background=True)
assert queued.conversation.id == talk.id and len(oldest(talk.id)) == 8, queued
client.responses.create(model=MODEL, input="release", store=False)
until("completed", lambda: client.responses.retrieve(queued.id))
assert said(oldest(talk.id))[-2:] == [("user", "hold"), ("assistant", "You said: hold ♥")]
count = client.responses.input_tokens.count
alone, after = (count(model=MODEL, input="more", **w) for w in ({}, {"conversation": talk.id}))
assert alone.input_tokens < after.input_tokens, (alone, after)
tools = [{"type": "function", "name": "weather", "parameters": None, "strict": False}]
called = answer("call", talk.id, tools=tools)
assert oldest(talk.id)[-1].call_id == called.output[0].call_id

# What has no answer adds nothing.
n_items = len(oldest(talk.id))
failed = answer("fail", talk.id, background=True)
refused(openai.InternalServerError, answer, "fail", talk.id)
for event in answer("slow", talk.id, stream=True):
    if event.type == "response.output_text.delta":
        break
held = answer("hold", talk.id, background=True)
client.responses.cancel(held.id)
client.responses.create(model=MODEL, input="release", store=False)
until("failed", lambda: client.responses.retrieve(failed.id))
# What came behind it has its end, so it has had the time to be added.
assert answer("turns", talk.id, store=False).output_text
assert said(oldest(talk.id)[n_items:])[0] == ("user", "turns")
n_items += 2
assert len(oldest(talk.id)) == n_items


# Answers at once are there one behind the other, each behind its question.
async def at_once(conversation):
    async with openai.AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0) as many:
        asked = [f"number {n}" for n in range(12)]
        create = many.responses.create
        await asyncio.gather(
            *(create(model=MODEL, input=text, conversation=conversation) for text in asked)
        )
        return asked


asked = asyncio.run(at_once(empty.id))
pairs = said(oldest(empty.id))
assert sorted(text for _, text in pairs[::2]) == sorted(asked), pairs
assert [a for _, a in pairs[1::2]] == [f"You said: {q} ♥" for _, q in pairs[::2]], pairs

# What is refused, and why.
error = refused(
    openai.BadRequestError, answer, "hi", talk.id, previous_response_id=first.id
)
assert error.param == "conversation" and "previous_response_id" in str(error), error
error = refused(
    openai.BadRequestError,
    client.responses.create,
    model=MODEL,
    input="hi",
    previous_response_id=first.id,
)
assert error.code == "response_in_conversation" and talk.id in str(error), error
for missing in ("conv_0", {"id": "conv_0"}):
    error = refused(openai.NotFoundError, answer, "hi", missing)
    assert (error.param, error.code) == ("conversation", "conversation_not_found"), error
known = {"id": items[0].id, "role": "user", "content": "again"}
error = refused(openai.BadRequestError, answer, [known], talk.id)
assert (error.param, error.code) == ("input", "item_exists"), error
create = client.conversations.items.create
error = refused(openai.BadRequestError, create, talk.id, items=[known])
assert (error.param, error.code) == ("items", "item_exists"), error
hi = {"role": "user", "content": "hi"}
for wrong in (
    [],
    [hi] * 21,
    [{"type": "web_search_call", "id": "ws", "status": "completed"}],
    [{"role": "user"}],
    [hi | {"id": "a"}, hi | {"id": "a"}],
    [hi | {"id": "x" * 257}],
):
    error = refused(openai.BadRequestError, create, talk.id, items=wrong)
    assert error.param.startswith("items"), error
for wrong in ({"k": "v" * 513}, {f"k{n}": "v" for n in range(17)}, {"k" * 65: "v"}):
    for call in (
        lambda **w: client.conversations.create(**w),
        lambda **w: client.conversations.update(talk.id, **w),
    ):
        assert refused(openai.BadRequestError, call, metadata=wrong).param == "metadata"
assert len(oldest(talk.id)) == n_items

# What is deleted is gone with all that is in it.
gone = client.conversations.delete(talk.id)
assert gone.deleted and gone.object == "conversation.deleted" and gone.id == talk.id, gone
refused(openai.NotFoundError, client.conversations.retrieve, talk.id)
refused(openai.NotFoundError, client.conversations.delete, talk.id)
refused(openai.NotFoundError, client.conversations.update, talk.id, metadata={})
refused(openai.NotFoundError, client.conversations.items.list, talk.id)
refused(openai.NotFoundError, create, talk.id, items=[hi])
refused(openai.NotFoundError, answer, "hi", talk.id)
assert client.responses.retrieve(first.id).output_text == "4 turns"
print("ok")
