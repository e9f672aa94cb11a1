"""Prometheus' own reader of its text format, over the page of metrics."""

import json
import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

base = sys.argv[1]

# What vLLM's dashboards and the routers of clusters ask for, with their types.
WANTED = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:gpu_cache_usage_perc": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:spec_decode_num_draft_tokens": "counter",
    "vllm:spec_decode_num_accepted_tokens": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:time_per_output_token_seconds": "histogram",
    "vllm:request_time_per_output_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_inference_time_seconds": "histogram",
    "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
    "freehold_http_requests": "counter",
    "freehold_http_request_seconds": "histogram",
    "freehold_build_info": "gauge",
    "process_start_time_seconds": "gauge",
}


def scrape():
    with urllib.request.urlopen(base + "/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(response.read().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family comes twice"
    return {family.name: family for family in families}


def ask(text):
    body = {"model": "own/script", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        base + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["usage"]


def total(families, name):
    samples = families[name].samples
    return sum(s.value for s in samples if s.name == name + "_total")


usages = [ask(f"question {n}") for n in range(5)]
deadline = time.monotonic() + 10
while total(families := scrape(), "vllm:request_success") < 5:
    assert time.monotonic() < deadline, "the answers are not counted"
    time.sleep(0.01)
assert total(families, "vllm:prompt_tokens") == sum(u["prompt_tokens"] for u in usages)
assert total(families, "vllm:generation_tokens") == sum(u["completion_tokens"] for u in usages)

for name, kind in WANTED.items():
    assert families[name].type == kind, (name, families[name].type)

for family in families.values():
    assert family.documentation, family.name
    if family.type != "histogram":
        continue
    series = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        series.setdefault(labels, []).append(sample)
    for samples in series.values():
        buckets = [s for s in samples if s.name.endswith("_bucket")]
        bounds = [float(s.labels["le"]) for s in buckets]
        counts = [s.value for s in buckets]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf"), family.name
        assert counts == sorted(counts), family.name
        count = [s.value for s in samples if s.name.endswith("_count")]
        assert count == [counts[-1]], family.name
print("ok")
