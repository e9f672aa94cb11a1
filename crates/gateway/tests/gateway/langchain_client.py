"""Drives the server at argv[1] with the unmodified `langchain-openai` package, by chat completions
and by responses."""

import asyncio
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODEL = "own/script"
SAID = "You said: hi ♥"
WHERE = {"base_url": sys.argv[1] + "/v1", "api_key": "none", "model": MODEL, "max_retries": 0}


class Held(BaseModel):
    """An answer that is held to a form."""

    held: bool


class Place(BaseModel):
    """Where it is."""

    place: str


@tool
def weather(place: str) -> str:
    """The weather in a place."""
    return f"rain in {place}"


def sum_of(pieces):
    whole = None
    for piece in pieces:
        whole = piece if whole is None else whole + piece
    return whole


def invoke(chat):
    answer = chat.invoke("hi")
    assert answer.text == SAID, answer
    usage = answer.usage_metadata
    assert (usage["total_tokens"], usage["input_token_details"]["cache_read"]) == (7, 1), usage
    batch = [answer.text for answer in chat.batch(["hi", "hi there", "hi"])]
    assert batch == [SAID, "You said: hi there ♥", SAID], batch


def stream(chat):
    pieces = list(chat.stream("hi"))
    assert len(pieces) > 3, pieces
    whole = sum_of(pieces)
    assert whole.text == SAID and whole.usage_metadata["total_tokens"] == 7, whole


def bind_tools(chat):
    caller = chat.bind_tools([weather])
    for called in [caller.invoke("call"), sum_of(caller.stream("call"))]:
        calls = [(call["name"], call["args"]) for call in called.tool_calls]
        assert calls == [("weather", {"place": "Paris"})], called
        result = weather.invoke(called.tool_calls[0])
        assert isinstance(result, ToolMessage) and result.content == "rain in Paris"
        history = [HumanMessage("call"), called, result, HumanMessage("hi")]
        assert caller.invoke(history).text == SAID
    forced = chat.bind_tools([weather], tool_choice="weather", strict=True)
    assert forced.invoke("call").tool_calls[0]["name"] == "weather"


def with_structured_output(chat):
    held = chat.with_structured_output(Held, method="json_schema").invoke("json")
    assert held == Held(held=True), held
    place = chat.with_structured_output(Place, method="function_calling").invoke("call")
    assert place == Place(place="Paris"), place


def reasoning(chat):
    thinker = chat.model_copy(update={"temperature": None, "reasoning_effort": "low"})
    thought = thinker.invoke("hi")
    assert thought.text == SAID, thought
    assert thinker.invoke([HumanMessage("hi"), thought, HumanMessage("hi")]).text == SAID


for responses in [False, True]:
    chat = ChatOpenAI(
        **WHERE, temperature=0, timeout=30, stream_usage=True, use_responses_api=responses
    )
    for check in [invoke, stream, bind_tools, with_structured_output, reasoning]:
        check(chat)
old = OpenAI(**WHERE)
assert old.invoke("hi") == SAID
assert "".join(old.stream("hi")) == SAID
# What it does unasked: OpenAI's tokens instead of texts, counted by a tokenizer of OpenAI's that it
# would fetch. For other servers it has a switch.
embeddings = OpenAIEmbeddings(**WHERE, check_embedding_ctx_length=False, chunk_size=2)
assert embeddings.embed_query("four") == [4, 0.5, -2]
texts = ["a", "bb", "ccc", "dddd", "eeeee"]
assert embeddings.embed_documents(texts) == [[n + 1, 0.5, -2] for n in range(5)]
short = OpenAIEmbeddings(**WHERE, check_embedding_ctx_length=False, dimensions=2)
assert short.embed_documents(["four"]) == [[4, 0.5]]
assert asyncio.run(embeddings.aembed_query("four")) == [4, 0.5, -2]
print("ok")
