"""Drives `/v1/messages/batches` of the server at argv[1] with the unmodified `anthropic` package."""

import sys
import time

import anthropic
import openai
from refusals import refused

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=30)
batches = client.messages.batches
MODEL = "own/script"


def request(custom_id, text="hi", **more):
    params = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "params": params | more}


def until_ended(batch_id):
    for _ in range(500):
        batch = batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        assert batch.results_url is None and batch.ended_at is None, batch
        time.sleep(0.02)
    raise AssertionError(f"{batch} did not end")


def counts(batch):
    counts = batch.request_counts.to_dict()
    return {name: count for name, count in counts.items() if count}


requests = [request(f"r-{n}", f"number {n}") for n in range(20)]
requests += [
    request("long", "long"),
    request("bad", temperature=9),
    request("gone", model="claude-9"),
    request("streams", stream=True),
    request("seen", unknown=1),
    request("thinks", thinking={"type": "enabled", "budget_tokens": 1024}),
]
batch = batches.create(requests=requests)
assert (batch.type, batch.processing_status) == ("message_batch", "in_progress"), batch
assert batch.id.startswith("msgbatch_") and counts(batch) == {"processing": 26}, batch
assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600, batch
refused(anthropic.AnthropicError, batches.results, "msgbatch_0")
batch = until_ended(batch.id)
assert counts(batch) == {"succeeded": 22, "errored": 4}, batch
assert batch.created_at <= batch.ended_at and batch.cancel_initiated_at is None, batch
results = {line.custom_id: line for line in batches.results(batch.id)}
assert set(results) == {request["custom_id"] for request in requests}
for n in range(20):
    result = results[f"r-{n}"].result
    assert result.type == "succeeded" and result.message.type == "message", result
    assert result.message.content[0].text == f"You said: number {n} ♥", result
    assert result.message.id.startswith("msg_") and result.message.stop_reason == "end_turn"
assert [block.type for block in results["thinks"].result.message.content] == ["thinking", "text"]
assert results["seen"].to_dict()["ignored"] == ["unknown"], results["seen"]
for name, kind in (
    ("long", "invalid_request_error"),
    ("bad", "invalid_request_error"),
    ("gone", "not_found_error"),
    ("streams", "invalid_request_error"),
):
    result = results[name].result
    assert (result.type, result.error.type) == ("errored", "error"), result
    assert result.error.error.type == kind and result.error.request_id, result
assert "prompt is too long" in results["long"].result.error.error.message

# The same batch as OpenAI's clients see it.
other = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
(same,) = other.batches.list()
assert same.id == batch.id.replace("msgbatch_", "batch_") and same.endpoint == "/v1/messages"
assert (same.request_counts.completed, same.request_counts.failed) == (22, 4), same
error = refused(
    openai.BadRequestError,
    other.batches.create,
    input_file_id=same.input_file_id,
    endpoint="/v1/messages",
    completion_window="24h",
)
assert error.param == "input_file_id", error

# One that is stopped: what was answered stays, the rest is told so.
slow = batches.create(requests=[request("hi"), request("slow", "slow"), request("slower", "slow")])
deadline = time.time() + 10
while other.batches.retrieve(slow.id.replace("msgbatch_", "batch_")).request_counts.completed < 1:
    assert time.time() < deadline
    time.sleep(0.02)
refused(anthropic.BadRequestError, batches.delete, slow.id)
early = f"/v1/messages/batches/{slow.id}/results"
refused(anthropic.BadRequestError, client.get, early, cast_to=object)
assert batches.cancel(slow.id).processing_status in ("canceling", "ended")
slow = until_ended(slow.id)
assert counts(slow) == {"succeeded": 1, "canceled": 2} and slow.cancel_initiated_at, slow
kinds = {line.custom_id: line.result.type for line in batches.results(slow.id)}
assert kinds == {"hi": "succeeded", "slow": "canceled", "slower": "canceled"}, kinds
assert batches.cancel(slow.id).processing_status == "ended"
refused(anthropic.BadRequestError, batches.cancel, batch.id)

# Lists.
third = batches.create(requests=[request("a")])
until_ended(third.id)
assert [b.id for b in batches.list(limit=2)] == [third.id, slow.id, batch.id]
page = batches.list(limit=1, before_id=batch.id)
assert [b.id for b in page.data] == [slow.id] and page.has_more, page
assert [b.id for b in batches.list(after_id=third.id)] == [slow.id, batch.id]
refused(anthropic.BadRequestError, batches.list, limit=1001)
refused(anthropic.BadRequestError, batches.list, after_id=batch.id, before_id=slow.id)

# What is refused at once, and why.
for wrong, about in (
    ([], "requests"),
    ([request("a"), request("a")], "requests[1].custom_id"),
    ([request("a b")], "requests[0].custom_id"),
    ([request("a" * 65)], "requests[0].custom_id"),
    ([{"custom_id": "a"}], "requests[0].params"),
):
    assert about in str(refused(anthropic.BadRequestError, batches.create, requests=wrong))
for call in (batches.retrieve, batches.cancel, batches.delete):
    error = refused(anthropic.NotFoundError, call, "msgbatch_0")
    assert "msgbatch_0" in str(error) and error.body["error"]["type"] == "not_found_error", error

# What is deleted is gone, its files too.
n_files = len(list(other.files.list()))
gone = batches.delete(batch.id)
assert (gone.id, gone.type) == (batch.id, "message_batch_deleted"), gone
refused(anthropic.NotFoundError, batches.retrieve, batch.id)
assert len(list(other.files.list())) == n_files - 3
print("ok")
