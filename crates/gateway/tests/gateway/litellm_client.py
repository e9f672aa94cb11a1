"""Drives the server at argv[1] with the unmodified `litellm` package, by three of its providers."""

import json
import os
import sys
import time

# Prices are not asked for over the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from pydantic import BaseModel

litellm.telemetry = False
litellm.suppress_debug_info = True
ROOT, MODEL = sys.argv[1], "own/script"
HI = [{"role": "user", "content": "hi"}]
SAID = "You said: hi ♥"
PROVIDERS = {
    "openai": {"api_base": ROOT + "/v1", "api_key": "none"},
    "anthropic": {"api_base": ROOT, "api_key": "none"},
    "ollama_chat": {"api_base": ROOT},
}
OPENAI = PROVIDERS["openai"]
KEPT = {"custom_llm_provider": "openai", **OPENAI}
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WEATHER = {"name": "weather", "description": "The weather in a place.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": WEATHER}]
THINKING = {"type": "enabled", "budget_tokens": 1024}


class Held(BaseModel):
    held: bool


class Where(BaseModel):
    place: str


def ask(provider, text="hi", **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return litellm.completion(
        model=f"{provider}/{MODEL}",
        messages=messages,
        max_tokens=50,
        timeout=30,
        num_retries=0,
        **PROVIDERS[provider],
        **more,
    )


def message(answer):
    return answer.choices[0].message


def chat(provider):
    answer = ask(provider, temperature=0.5)
    assert message(answer).content == SAID, answer
    assert answer.choices[0].finish_reason == "stop", answer
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 4, 7), usage


def stream(provider):
    pieces = list(ask(provider, stream=True, stream_options={"include_usage": True}))
    said = [piece.choices[0].delta.content or "" for piece in pieces if piece.choices]
    assert "".join(said) == SAID, pieces
    whole = litellm.stream_chunk_builder(pieces)
    assert whole.usage.completion_tokens == 4, whole


def tools(provider):
    called = ask(provider, "call", tools=TOOLS, tool_choice="auto")
    assert called.choices[0].finish_reason == "tool_calls", called
    streamed = litellm.stream_chunk_builder(list(ask(provider, "call", tools=TOOLS, stream=True)))
    for answer in [called, streamed]:
        calls = [call.function for call in message(answer).tool_calls]
        calls = [(call.name, json.loads(call.arguments)) for call in calls]
        assert calls == [("weather", {"place": "Paris"})], answer
    result = {"role": "tool", "tool_call_id": message(called).tool_calls[0].id, "content": "rain"}
    history = [{"role": "user", "content": "call"}, message(called), result, *HI]
    assert message(ask(provider, messages=history, tools=TOOLS)).content == SAID


def structured(provider):
    # LiteLLM asks models of Anthropic's interface that it does not know by a tool.
    by_tool = provider == "anthropic"
    text, form = ("call", Where) if by_tool else ("json", Held)
    answer = form.model_validate_json(message(ask(provider, text, response_format=form)).content)
    assert answer == (Where(place="Paris") if by_tool else Held(held=True)), answer


def reasoning(provider):
    how = {"reasoning_effort": "low"}
    if provider == "anthropic":
        # Else it lets nobody think but the models that it knows.
        how = {"thinking": THINKING, "allowed_openai_params": ["thinking"]}
    thought = ask(provider, **how)
    assert message(thought).reasoning_content == "Let me see.", thought
    assert message(thought).content == SAID, thought
    history = [*HI, message(thought), *HI]
    assert message(ask(provider, messages=history, **how)).content == SAID


def errors(provider):
    for text, kinds in [
        ("long", litellm.ContextWindowExceededError),
        # An overloaded server of Anthropic's is no limit of a client.
        ("busy", (litellm.RateLimitError, litellm.InternalServerError)),
    ]:
        try:
            ask(provider, text)
        except kinds:
            continue
        raise AssertionError(f"{provider}: {text} was not refused")


def responses(_provider):
    answer = litellm.responses(
        model="openai/" + MODEL, input="hi", max_output_tokens=50, **PROVIDERS["openai"]
    )
    assert answer.output[0].content[0].text == SAID, answer


def embeddings():
    for provider in ["openai", "ollama"]:
        where = PROVIDERS["ollama_chat" if provider == "ollama" else provider]
        named = {"model": f"{provider}/{MODEL}", "timeout": 30, **where}
        answer = litellm.embedding(input=["four", "a"], **named)
        vectors = [vector["embedding"] for vector in answer.data]
        assert vectors == [[4, 0.5, -2], [1, 0.5, -2]], answer
        assert answer.usage.prompt_tokens == 3, answer
    # It knows of OpenAI's models alone that they can be shortened.
    allowed = {"allowed_openai_params": ["dimensions"], **OPENAI}
    short = litellm.embedding(model="openai/" + MODEL, input="four", dimensions=2, **allowed)
    assert short.data[0]["embedding"] == [4, 0.5], short


def rerank():
    answer = litellm.rerank(
        model="cohere/" + MODEL,
        query="what",
        documents=["a", "four", "bb"],
        top_n=2,
        return_documents=True,
        api_base=ROOT,
        api_key="none",
    )
    scores = [(found["index"], found["relevance_score"]) for found in answer.results]
    assert [index for index, _ in scores] == [1, 2], answer
    assert abs(scores[0][1] - 0.04) < 1e-6, answer


def until_completed(batch):
    for _ in range(500):
        found = litellm.retrieve_batch(batch_id=batch, **KEPT)
        if found.status == "completed":
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def batches():
    lines = [
        {
            "custom_id": str(n),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": HI},
        }
        for n in range(2)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = litellm.create_file(file=("in.jsonl", content), purpose="batch", **KEPT)
    assert litellm.file_content(file_id=file.id, **KEPT).content == content
    assert file.id in [one.id for one in litellm.file_list(**KEPT)]
    batch = litellm.create_batch(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, **KEPT
    )
    done = until_completed(batch.id)
    answers = litellm.file_content(file_id=done.output_file_id, **KEPT).content.splitlines()
    answers = [json.loads(answer)["response"]["body"] for answer in answers]
    said = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert said == [SAID, SAID], answers
    assert batch.id in [one.id for one in litellm.list_batches(**KEPT)]
    assert litellm.file_delete(file_id=file.id, **KEPT).deleted


def kept_responses():
    first = litellm.responses(model="openai/" + MODEL, input="one", **OPENAI)
    second = litellm.responses(
        model="openai/" + MODEL, input="turns", previous_response_id=first.id, **OPENAI
    )
    assert second.output[0].content[0].text == "3 turns", second
    found = litellm.get_responses(response_id=second.id, **KEPT)
    assert found.output[0].content[0].text == "3 turns", found
    assert litellm.delete_responses(response_id=first.id, **KEPT).deleted


for provider in PROVIDERS:
    for check in [chat, stream, tools, structured, reasoning]:
        check(provider)
for provider in ["openai", "anthropic"]:
    errors(provider)
responses("openai")
for check in [embeddings, rerank, batches, kept_responses]:
    check()
print("ok")
