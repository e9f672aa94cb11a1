"""Asks the real model `small` at argv[1] one question through every client that tests install, whole
and streamed: greedily they all have the same answer."""

import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["OPENAI_API_KEY"] = "none"
CONFIGURED = f"- model_id: own\n  model_name: small\n  api_base: {sys.argv[1]}/v1\n"
Path(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml").write_text(CONFIGURED)

import litellm
import llm
from langchain_openai import ChatOpenAI

ROOT = sys.argv[1]
QUESTION = "What is the capital of France?"
MESSAGES = [{"role": "user", "content": QUESTION}]
TOKENS = 12
answers = {}


def add(name, whole, pieces):
    answers[name] = whole.strip()
    answers[name + ", streamed"] = "".join(piece or "" for piece in pieces).strip()


for provider, base in [("openai", ROOT + "/v1"), ("anthropic", ROOT), ("ollama_chat", ROOT)]:
    asked = {
        "model": provider + "/small",
        "messages": MESSAGES,
        "max_tokens": TOKENS,
        "temperature": 0,
        "api_base": base,
        "api_key": "none",
    }
    whole = litellm.completion(**asked).choices[0].message.content
    pieces = litellm.completion(**asked, stream=True)
    add(f"litellm {provider}", whole, [piece.choices[0].delta.content for piece in pieces])

for responses in [False, True]:
    chat = ChatOpenAI(
        base_url=ROOT + "/v1",
        api_key="none",
        model="small",
        temperature=0,
        max_tokens=TOKENS,
        use_responses_api=responses,
    )
    pieces = [piece.text for piece in chat.stream(QUESTION)]
    add(f"langchain, responses {responses}", chat.invoke(QUESTION).text, pieces)

for name, options in [
    ("own", {"temperature": 0, "max_tokens": TOKENS}),
    ("ollama/small", {"temperature": 0, "num_predict": TOKENS}),
]:
    model = llm.get_model(name)
    whole = model.prompt(QUESTION, stream=False, **options).text()
    add(f"llm {name}", whole, model.prompt(QUESTION, stream=True, **options))

assert len(answers) == 14, answers
assert set(answers.values()) == {answers["litellm openai"]} and "Paris" in whole, answers
print("ok")
