"""Drives `/v1/files`, `/v1/batches` and kept responses of the server at argv[1] with the
unmodified `openai` package."""

import io
import json
import sys
import time

import openai
from refusals import refused, until

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
MODEL = "own/script"
SAID = "You said: hi ♥"


# Files.
data = bytes(range(256)) * 1000
file = client.files.create(file=("../../etc/passwd", data), purpose="user_data")
assert (file.object, file.bytes, file.purpose) == ("file", len(data), "user_data"), file
assert file.filename == "../../etc/passwd" and file.status == "processed", file
assert client.files.retrieve(file.id) == file
assert client.files.content(file.id).read() == data
expiring = client.files.create(
    file=io.BytesIO(b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
)
assert expiring.expires_at - expiring.created_at == 3600, expiring
assert [f.id for f in client.files.list()] == [expiring.id, file.id]
assert [f.id for f in client.files.list(order="asc", limit=1)] == [file.id, expiring.id]
assert [f.id for f in client.files.list(purpose="batch")] == [expiring.id]
for wrong in ("nothing", "batch_output", "../batch"):
    assert refused(
        openai.BadRequestError, client.files.create, file=b"x", purpose=wrong
    ).param == "purpose"
for gone in ("file-0", "../store.sqlite", f"{file.id}.part"):
    refused(openai.NotFoundError, client.files.content, gone)
assert client.files.delete(file.id).deleted
refused(openai.NotFoundError, client.files.retrieve, file.id)
refused(openai.NotFoundError, client.files.content, file.id)
refused(openai.APIStatusError, client.files.create, file=b"x" * (3 << 20), purpose="batch")


# Batches.
def line(custom_id, text="hi", url="/v1/chat/completions", **more):
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]} | more
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def submit(lines, endpoint="/v1/chat/completions", **more):
    content = "\n".join(json.dumps(line) for line in lines).encode()
    upload = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=upload.id, endpoint=endpoint, completion_window="24h", **more
    )


def records(file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


lines = [line(f"r{n}", f"number {n}") for n in range(20)]
lines += [line("long", "long"), line("bad", temperature=9), line("seen", unknown=1)]
batch = submit(lines, metadata={"k": "v"})
assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"k": "v"}), batch
batch = until("completed", lambda: client.batches.retrieve(batch.id))
counts = batch.request_counts
assert (counts.total, counts.completed, counts.failed) == (23, 21, 2), batch
assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
assert batch.expires_at - batch.created_at == 24 * 3600
answers = records(batch.output_file_id)
assert [a["custom_id"] for a in answers] == [f"r{n}" for n in range(20)] + ["seen"]
for n, answer in enumerate(answers[:20]):
    assert answer["error"] is None and answer["response"]["status_code"] == 200
    assert answer["id"].startswith("batch_req_") and answer["response"]["request_id"]
    body = answer["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == f"You said: number {n} ♥"
assert answers[20]["response"]["ignored"] == ["unknown"]
errors = records(batch.error_file_id)
assert [e["custom_id"] for e in errors] == ["long", "bad"], errors
assert [e["response"]["status_code"] for e in errors] == [400, 400]
assert errors[0]["response"]["body"]["error"]["code"] == "context_length_exceeded"
assert errors[1]["response"]["body"]["error"]["param"] == "temperature"
assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"

wrong = submit([line("a"), line("a"), line("b", url="/v1/completions")])
wrong = until("failed", lambda: client.batches.retrieve(wrong.id))
assert [(e.code, e.line) for e in wrong.errors.data] == [
    ("duplicate_custom_id", 2),
    ("invalid_url", 3),
], wrong
prompt = {"custom_id": "p", "method": "POST", "url": "/v1/completions"}
prompt["body"] = {"model": MODEL, "prompt": "hi"}
done = submit([prompt], "/v1/completions")
done = until("completed", lambda: client.batches.retrieve(done.id))
assert records(done.output_file_id)[0]["response"]["body"]["choices"][0]["text"] == SAID
asked = {"custom_id": "p", "method": "POST", "url": "/v1/responses"}
asked["body"] = {"model": MODEL, "input": "hi", "store": True}
done = submit([asked], "/v1/responses")
done = until("completed", lambda: client.batches.retrieve(done.id))
body = records(done.output_file_id)[0]["response"]["body"]
assert body["output"][0]["content"][0]["text"] == SAID and body["store"] is False


def embedding(custom_id, **more):
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings"}
    return line | {"body": {"model": MODEL} | more}


done = submit(
    [
        embedding("two", input=["four", "a"]),
        embedding("short", input="four", dimensions=2, encoding_format="float"),
        embedding("none"),
    ],
    "/v1/embeddings",
)
done = until("completed", lambda: client.batches.retrieve(done.id))
assert (done.request_counts.completed, done.request_counts.failed) == (2, 1), done
bodies = [answer["response"]["body"] for answer in records(done.output_file_id)]
vectors = [[vector["embedding"] for vector in body["data"]] for body in bodies]
assert vectors == [[[4, 0.5, -2], [1, 0.5, -2]], [[4, 0.5]]], bodies
assert bodies[0]["usage"] == {"prompt_tokens": 3, "total_tokens": 3}, bodies
(error,) = records(done.error_file_id)
assert error["custom_id"] == "none" and error["response"]["status_code"] == 400, error
assert error["response"]["body"]["error"]["param"] == "input", error

slow = submit([line("hi"), line("slow", "slow"), line("slower", "slow"), line("late")])
until("in_progress", lambda: client.batches.retrieve(slow.id))
deadline = time.time() + 10
while client.batches.retrieve(slow.id).request_counts.completed < 1:
    assert time.time() < deadline
    time.sleep(0.02)
used = refused(openai.BadRequestError, client.files.delete, slow.input_file_id)
assert used.code == "file_in_use", used
assert client.batches.cancel(slow.id).status in ("cancelling", "cancelled")
slow = until("cancelled", lambda: client.batches.retrieve(slow.id))
assert "hi" in [a["custom_id"] for a in records(slow.output_file_id)]
left = [e for e in records(slow.error_file_id)]
assert {e["error"]["code"] for e in left} == {"batch_cancelled"}, left
assert {"slow", "slower"} <= {e["custom_id"] for e in left}
assert slow.request_counts.completed + slow.request_counts.failed == slow.request_counts.total == 4
refused(openai.BadRequestError, client.batches.cancel, batch.id)
listed = [b.id for b in client.batches.list(limit=2)]
assert listed[0] == slow.id and listed[-1] == batch.id and len(listed) == 6, listed
refused(openai.NotFoundError, client.batches.retrieve, "batch_0")
for arguments in (
    {"endpoint": "/v1/files"},
    {"completion_window": "soon"},
    {"input_file_id": "file-0"},
    {"metadata": {"k": "v" * 513}},
):
    good = {
        "endpoint": "/v1/completions",
        "completion_window": "24h",
        "input_file_id": expiring.id,
    }
    error = refused(openai.APIStatusError, client.batches.create, **(good | arguments))
    assert error.param == list(arguments)[0] and error.status_code in (400, 404), error

# Kept responses.
first = client.responses.create(model=MODEL, input="one", instructions="Be brief.")
assert first.store is True and first.output_text == "You said: one ♥"
assert client.responses.retrieve(first.id).to_dict() == first.to_dict()
second = client.responses.create(model=MODEL, input="hi", previous_response_id=first.id)
assert second.previous_response_id == first.id and second.instructions is None
items = list(client.responses.input_items.list(second.id, order="asc"))
assert [(i.type, i.role, i.content[0].text) for i in items] == [
    ("message", "user", "one"),
    ("message", "assistant", "You said: one ♥"),
    ("message", "user", "hi"),
], items
newest = client.responses.input_items.list(second.id, limit=1)
assert newest.data[0].content[0].text == "hi" and newest.has_more
assert [i.id for i in newest] == [i.id for i in reversed(items)]
# What was said before reaches the model: the script counts its turns.
turns = client.responses.create(model=MODEL, input="turns", previous_response_id=second.id)
assert turns.output_text == "5 turns", turns
with client.responses.stream(
    model=MODEL, input="turns", previous_response_id=turns.id
) as stream:
    for event in stream:
        pass
    streamed = stream.get_final_response()
assert streamed.output_text == "7 turns", streamed
assert client.responses.retrieve(streamed.id).output_text == "7 turns"
count = client.responses.input_tokens.count
alone = count(model=MODEL, input="more").input_tokens
after = [count(model=MODEL, input="more", previous_response_id=r.id).input_tokens for r in (first, turns)]
assert alone < after[0] < after[1], (alone, after)
error = refused(openai.NotFoundError, count, model=MODEL, input="more", previous_response_id="resp_0")
assert error.code == "previous_response_not_found", error
unkept = client.responses.create(model=MODEL, input="hi", store=False)
assert unkept.store is False
refused(openai.NotFoundError, client.responses.retrieve, unkept.id)
error = refused(
    openai.NotFoundError,
    client.responses.create,
    model=MODEL,
    input="hi",
    previous_response_id=unkept.id,
)
assert error.code == "previous_response_not_found" and error.param == "previous_response_id"

# A turn that is deleted is gone, and what follows it says so.
client.responses.delete(first.id)
refused(openai.NotFoundError, client.responses.retrieve, first.id)
refused(openai.NotFoundError, client.responses.delete, first.id)
error = refused(
    openai.NotFoundError,
    client.responses.create,
    model=MODEL,
    input="hi",
    previous_response_id=second.id,
)
assert first.id in str(error), error
assert client.responses.retrieve(second.id).output_text == SAID

# In the background.
queued = client.responses.create(model=MODEL, input="pause", background=True)
assert queued.status == "queued" and queued.background is True, queued
done = until("completed", lambda: client.responses.retrieve(queued.id))
assert done.output_text == "You said: pause ♥" and done.id == queued.id
endless = client.responses.create(model=MODEL, input="slow", background=True)
until("in_progress", lambda: client.responses.retrieve(endless.id))
error = refused(
    openai.BadRequestError,
    client.responses.create,
    model=MODEL,
    input="hi",
    previous_response_id=endless.id,
)
assert error.code == "previous_response_not_complete", error
assert client.responses.cancel(endless.id).status == "cancelled"
assert client.responses.retrieve(endless.id).status == "cancelled"
assert client.responses.cancel(done.id).status == "completed"
refused(openai.BadRequestError, client.responses.cancel, second.id)
broken = client.responses.create(model=MODEL, input="fail", background=True)
broken = until("failed", lambda: client.responses.retrieve(broken.id))
assert "not finite" in broken.error.message
refused(
    openai.BadRequestError,
    client.responses.create,
    model=MODEL,
    input="hi",
    background=True,
    store=False,
)

# A stream that its client leaves is cancelled and not kept.
for event in client.responses.create(model=MODEL, input="slow", stream=True):
    if event.type == "response.created":
        left = event.response.id
    if event.type == "response.output_text.delta":
        break
refused(openai.NotFoundError, client.responses.retrieve, left)
# One in the background goes on.
with client.responses.create(
    model=MODEL, input="pause", stream=True, background=True
) as events:
    for event in events:
        begun = event.response.id
        break
done = until("completed", lambda: client.responses.retrieve(begun))
assert done.output_text == "You said: pause ♥"


# The stream of an answer can be gone on with where it broke off, while it is made and later.
def events(response_id, **more):
    return list(client.responses.retrieve(response_id, stream=True, **more))


def create(text, **more):
    return client.responses.create(model=MODEL, input=text, background=True, **more)


with create("pause", stream=True) as stream:
    seen = [next(iter(stream)), next(iter(stream))]
rest = events(seen[0].response.id, starting_after=seen[-1].sequence_number)
told = seen + rest
assert [event.sequence_number for event in told] == list(range(len(told))), told
deltas = [event.delta for event in told if event.type == "response.output_text.delta"]
assert "".join(deltas) == "You said: pause ♥" and len(deltas) > 1, deltas
assert (told[0].type, told[-1].type) == ("response.created", "response.completed"), told
again = events(seen[0].response.id)
assert again == told, (again, told)
for n in range(len(told)):
    assert events(seen[0].response.id, starting_after=n) == told[n + 1 :]
many = [create("pause", stream=True) for _ in range(4)]
whole = [list(stream) for stream in many]
assert [events(one[0].response.id) for one in whole] == whole
# One that is not in the background is told whole.
assert "".join(e.delta for e in events(second.id) if e.type == "response.output_text.delta") == SAID
assert events(second.id)[-1].response.to_dict() == client.responses.retrieve(second.id).to_dict()
retrieve = client.responses.retrieve
error = refused(openai.BadRequestError, retrieve, second.id, stream=True, starting_after=3)
assert error.param == "starting_after", error
refused(openai.NotFoundError, retrieve, "resp_0", stream=True)
for status, response_id in (("failed", broken.id), ("cancelled", endless.id)):
    end = events(response_id, starting_after=7)
    assert [(e.type, e.sequence_number) for e in end] == [("response.failed", 8)], end
    assert end[0].response.status == status, end
# Who cancels ends the streams that are listened to, and who leaves one cancels nothing.
endless = create("slow")
until("in_progress", lambda: retrieve(endless.id))
for _ in range(2):
    with retrieve(endless.id, stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
with retrieve(endless.id, stream=True) as stream:
    for event in stream:
        if event.type == "response.output_text.delta" and endless:
            endless = client.responses.cancel(endless.id) and None
assert (event.type, event.response.status) == ("response.failed", "cancelled"), event
print("ok")
