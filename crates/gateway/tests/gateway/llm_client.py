"""Drives the server at argv[1] with the unmodified `llm` package: models of its configuration file
and models of its plugin for Ollama (which reads OLLAMA_HOST)."""

import os
import subprocess
import sys
from pathlib import Path

CONFIGURED = f"""
- model_id: own
  model_name: own/script
  api_base: {sys.argv[1]}/v1
  supports_tools: true
  supports_schema: true
"""
Path(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml").write_text(CONFIGURED)
os.environ["OPENAI_API_KEY"] = "none"
# Its models for embeddings have no address in the file.
os.environ["OPENAI_BASE_URL"] = sys.argv[1] + "/v1"

import llm
from pydantic import BaseModel

SAID = "You said: hi ♥"


class Held(BaseModel):
    held: bool


def weather(place: str) -> str:
    """The weather in a place."""
    return f"rain in {place}"


def chat(model):
    answer = model.prompt("hi", stream=False)
    assert answer.text() == SAID, answer
    assert (answer.usage().input, answer.usage().output) == (3, 4), answer.usage()


def stream(model):
    pieces = list(model.prompt("hi", stream=True))
    assert pieces == ["You said: ", "hi", " ♥"], pieces


def schema(model):
    assert Held.model_validate_json(model.prompt("json", schema=Held).text()) == Held(held=True)


def tools(model):
    for streams in [True, False]:
        talk = model.conversation(tools=[weather])
        called = talk.prompt("call", stream=streams)
        calls = [(call.name, call.arguments) for call in called.tool_calls()]
        assert calls == [("weather", {"place": "Paris"})], calls
        results = called.execute_tool_calls()
        assert [result.output for result in results] == ["rain in Paris"], results
        assert talk.prompt("hi", tool_results=results, stream=streams).text() == SAID


for name in ["own", "ollama/own/script"]:
    for check in [chat, stream, schema, tools]:
        check(llm.get_model(name))
embedder = llm.get_embedding_model("3-small")
assert embedder.embed("four") == [4, 0.5, -2]
collection = llm.Collection("texts", model=embedder)
collection.embed_multi([("1", "a"), ("2", "bb"), ("3", "x" * 90)], store=True)
assert [entry.id for entry in collection.similar("y" * 90, number=1)] == ["3"]
assert llm.get_embedding_model("3-small-512").embed("four")[:2] == [4, 0.5]
program = [sys.executable, "-m", "llm", "-m", "own"]
said = subprocess.run([*program, "hi"], capture_output=True, text=True)
assert said.stdout.strip() == SAID, said
print("ok")
