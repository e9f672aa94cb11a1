"""A plugin of pytest: where a test names a thing of the server that there is only at the vendor's
mock, such as the batch `batch_id`, makes one at the server at $SERVER and names that."""

import json
import os
import time
import urllib.request

import anthropic._base_client
import openai._base_client

MODEL = "model_id"
FORM = "multipart/form-data; boundary=B"
PART = '--B\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


def ask(path, body=None, kind="application/json"):
    address = os.environ["SERVER"] + "/v1" + path
    body = body and body.encode()
    with urllib.request.urlopen(urllib.request.Request(address, body, {"content-type": kind})) as got:
        return json.load(got)


def post(path, body, kind="application/json"):
    return ask(path, body, kind)["id"]


def file(says="hi"):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    line["body"] = {"model": MODEL, "messages": [{"role": "user", "content": says}]}
    purpose = PART.format("purpose", "", "batch")
    content = PART.format("file", '; filename="in.jsonl"', json.dumps(line))
    return post("/files", purpose + content + "--B--\r\n", FORM)


def batch(says="hi"):
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return post("/batches", json.dumps(asked | {"input_file_id": file(says)}))


def response(says="hi", **more):
    return post("/responses", json.dumps({"model": MODEL, "input": says} | more))


def conversation():
    # Items by the ids that the tests name.
    items = [{"role": "user", "content": "hi", "id": id} for id in ("msg_abc", "after")]
    return post("/conversations", json.dumps({"items": items}))


def message_batch(says="hi"):
    messages = [{"role": "user", "content": says}]
    params = {"model": MODEL, "max_tokens": 9, "messages": messages}
    asked = {"requests": [{"custom_id": "a", "params": params}]}
    return post("/messages/batches", json.dumps(asked))


def ended(made):
    for _ in range(500):
        if ask(f"/messages/batches/{made}")["processing_status"] == "ended":
            return made
        time.sleep(0.02)
    raise AssertionError(f"{made} did not end")


# What is cancelled must not have ended.
CANCELLED = {
    "batch_id": lambda: batch("slow"),
    "response_id": lambda: response("slow", background=True),
}
MADE = {
    "file_id": file,
    "batch_id": batch,
    # The events of one in the background can be counted from any of them.
    "response_id": lambda: response(background=True),
    "conversation_id": conversation,
}
SHOWN = "resp_677efb5139a88190b512bc3fef8e535d"
IN_PATHS = {"file_id": "file_id", "batch_id": "batch_id", "response_id": "response_id"}
IN_PATHS[SHOWN] = "response_id"
IN_PATHS["conv_123"] = "conversation_id"
IN_BODIES = {"input_file_id": file, "previous_response_id": response}
NAMED_SO = {*IN_BODIES, "resp_123"}
LISTS = {"/files": file, "/batches": batch}
build = openai._base_client.BaseClient._build_request


is_mocked = False


def pytest_runtest_setup(item):
    """Whether the test answers for the server itself."""
    global is_mocked
    is_mocked = any(name.startswith("respx") for name in item.fixturenames)


def with_things(self, options, *more, **named):
    if is_mocked:
        return build(self, options, *more, **named)
    parts = options.url.split("/")
    makers = MADE | CANCELLED if parts[-1] == "cancel" else MADE
    things = [makers[IN_PATHS[part]]() if part in IN_PATHS else part for part in parts]
    body, params = options.json_data, dict(options.params)
    if isinstance(body, dict):
        made = {name: make() for name, make in IN_BODIES.items() if body.get(name) in NAMED_SO}
        body = body | made
        if body.get("conversation") == "string":
            # Neither the vendor goes on from two things.
            body = {name: body[name] for name in body if name != "previous_response_id"}
            body["conversation"] = conversation()
    if params.get("after") == "after" and options.url in LISTS:
        params["after"] = LISTS[options.url]()
    changed = {"url": "/".join(things), "json_data": body, "params": params}
    return build(self, options.model_copy(update=changed), *more, **named)


openai._base_client.BaseClient._build_request = with_things
build_messages = anthropic._base_client.BaseClient._build_request


def with_message_batches(self, options, *more, **named):
    if "message_batch_id" in options.url and not is_mocked:
        made = message_batch("slow" if "/cancel" in options.url else "hi")
        if options.method.lower() == "delete":
            made = ended(made)
        changed = {"url": options.url.replace("message_batch_id", made)}
        options = options.model_copy(update=changed)
    return build_messages(self, options, *more, **named)


anthropic._base_client.BaseClient._build_request = with_message_batches
