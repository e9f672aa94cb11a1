"""Drives the server at argv[1] with the keys of argv[2], by the unmodified `openai`, `anthropic`
and `ollama` packages; exits 1 on any difference."""

import json
import sys

import anthropic
import ollama
import openai

BASE, KEYS = sys.argv[1], json.loads(sys.argv[2])
MODEL = "own/script"
HI = [{"role": "user", "content": "hi"}]
SAID = "You said: hi ♥"


def ask_openai(key):
    with openai.OpenAI(base_url=BASE + "/v1", api_key=key, max_retries=0, timeout=30) as client:
        answer = client.chat.completions.create(model=MODEL, messages=HI)
        return answer.choices[0].message.content


def ask_anthropic(key, **how):
    how = how or {"api_key": key}
    with anthropic.Anthropic(base_url=BASE, max_retries=0, timeout=30, **how) as client:
        answer = client.messages.create(model=MODEL, max_tokens=9, messages=HI)
        return answer.content[0].text


def ask_ollama(key):
    client = ollama.Client(host=BASE, headers={"Authorization": "Bearer " + key})
    return client.chat(model=MODEL, messages=HI).message.content


def refused(kind, ask, key):
    try:
        ask(KEYS[key])
    except kind as error:
        return error
    raise AssertionError(f"{ask.__name__} with the key {key!r} was not refused")


for ask in (ask_openai, ask_anthropic, ask_ollama):
    assert ask(KEYS["good"]) == SAID, ask
# Anthropic's other way of sending it, which gateways use.
assert ask_anthropic(None, auth_token=KEYS["good"]) == SAID

for key, says in (("wrong", "not one of"), ("expired", "expired")):
    error = refused(openai.AuthenticationError, ask_openai, key)
    assert error.code == "invalid_api_key" and says in error.message, error
    error = refused(anthropic.AuthenticationError, ask_anthropic, key)
    assert error.body["error"]["type"] == "authentication_error", error.body
    error = refused(ollama.ResponseError, ask_ollama, key)
    assert error.status_code == 401 and says in error.error, error

assert refused(openai.NotFoundError, ask_openai, "other").code == "model_not_found"
assert refused(anthropic.NotFoundError, ask_anthropic, "other").status_code == 404
assert refused(ollama.ResponseError, ask_ollama, "other").status_code == 404

assert ask_openai(KEYS["once"]) == SAID
error = refused(openai.RateLimitError, ask_openai, "once")
assert error.code == "rate_limit_exceeded", error
headers = error.response.headers
assert headers["x-ratelimit-limit-requests"] == "1", headers
assert headers["x-ratelimit-remaining-requests"] == "0", headers
assert 50 <= int(headers["retry-after"]) <= 60, headers
error = refused(anthropic.RateLimitError, ask_anthropic, "once")
assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
print("ok")
