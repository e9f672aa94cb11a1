//! What models did, under vLLM's names, so that what reads its metrics reads ours.
//!
//! Names, labels and meanings are those of vLLM's `v1/metrics/loggers.py`, with two differences
//! that are told in the help texts. Names that it has given up and dashboards still ask for are
//! written beside today's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serve::{CallRecord, EngineStatus, FinishReason, ModelStatus, Outcome, Status};

use crate::exposition::{Kind, Label, Page};
use crate::histogram::{FIRST_TOKEN, Histogram, REQUEST, TOKEN_GAP, TOKENS};

/// Tokens of a block of the KV cache.
const BLOCK_TOKENS: &str = "32";

/// Why answers ended, in vLLM's words.
const REASONS: [&str; 4] = ["stop", "length", "abort", "error"];
const ABORT: usize = 2;
const ERROR: usize = 3;

/// The counts of one model, or of one with an adapter.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    reasoning_tokens: AtomicU64,
    ended: [AtomicU64; REASONS.len()],
    first_token: Histogram,
    token_gap: Histogram,
    request_token_gap: Histogram,
    end_to_end: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
}

impl Default for ModelMetrics {
    fn default() -> Self {
        Self {
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            generation_tokens: AtomicU64::new(0),
            reasoning_tokens: AtomicU64::new(0),
            ended: Default::default(),
            first_token: Histogram::new(FIRST_TOKEN),
            token_gap: Histogram::new(TOKEN_GAP),
            request_token_gap: Histogram::new(TOKEN_GAP),
            end_to_end: Histogram::new(REQUEST),
            queue: Histogram::new(REQUEST),
            inference: Histogram::new(REQUEST),
            prefill: Histogram::new(REQUEST),
            decode: Histogram::new(REQUEST),
            request_prompt_tokens: Histogram::new(TOKENS),
            request_generation_tokens: Histogram::new(TOKENS),
        }
    }
}

fn add(cell: &AtomicU64, count: usize) {
    cell.fetch_add(count as u64, Ordering::Relaxed);
}

impl ModelMetrics {
    pub(crate) fn began(&self, prompt_tokens: usize, queued: Duration) {
        add(&self.prompt_tokens, prompt_tokens);
        self.queue.observe_time(queued);
    }

    pub(crate) fn token(&self, since: Duration, gap: Option<Duration>, is_first: bool) {
        add(&self.generation_tokens, 1);
        if let Some(gap) = gap {
            self.token_gap.observe_time(gap);
        }
        if is_first {
            self.first_token.observe_time(since);
        }
    }

    /// Takes what a call came to; `told` is what of its tokens was counted as they came.
    pub(crate) fn ended(&self, record: &CallRecord, told: Told) {
        let usage = &record.usage;
        add(&self.cached_tokens, usage.cached_tokens);
        add(&self.reasoning_tokens, usage.reasoning_tokens);
        add(&self.generation_tokens, usage.completion_tokens.saturating_sub(told.tokens));
        if !told.has_begun {
            add(&self.prompt_tokens, usage.prompt_tokens);
        }
        match &record.outcome {
            Outcome::Finished(reasons) => {
                // Vectors and scores end without a reason, as they should.
                let without = reasons.is_empty().then_some(&FinishReason::EndOfTurn);
                for reason in reasons.iter().chain(without) {
                    add(&self.ended[reason_at(reason)], 1);
                }
                self.finished(record);
            }
            Outcome::Cancelled => add(&self.ended[ABORT], 1),
            Outcome::Failed(_) => add(&self.ended[ERROR], 1),
            Outcome::Refused(_) => {}
        }
    }

    fn finished(&self, record: &CallRecord) {
        let (usage, timings) = (&record.usage, &record.timings);
        self.request_prompt_tokens.observe(usage.prompt_tokens as f64);
        self.request_generation_tokens.observe(usage.completion_tokens as f64);
        self.end_to_end.observe_time(record.took);
        self.inference.observe_time(timings.total.saturating_sub(timings.queued));
        let Some(first) = timings.first_token else { return };
        self.prefill.observe_time(first.saturating_sub(timings.queued));
        let decode = timings.total.saturating_sub(first);
        self.decode.observe_time(decode);
        if timings.decode_tokens > 0 {
            self.request_token_gap.observe(decode.as_secs_f64() / timings.decode_tokens as f64);
        }
    }
}

/// What of a call's tokens was counted as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) has_begun: bool,
    pub(crate) tokens: usize,
}

fn reason_at(reason: &FinishReason) -> usize {
    match reason {
        FinishReason::MaxTokens | FinishReason::ContextLength => 1,
        FinishReason::EndOfTurn
        | FinishReason::StopString(_)
        | FinishReason::StopToken(_)
        | FinishReason::ToolCalls => 0,
    }
}

/// A family of one value for each engine.
struct EngineFamily {
    names: &'static [&'static str],
    kind: Kind,
    help: &'static str,
    value: fn(&ModelStatus) -> Option<f64>,
}

const fn counter(
    names: &'static [&'static str],
    help: &'static str,
    value: fn(&ModelStatus) -> Option<f64>,
) -> EngineFamily {
    EngineFamily { names, kind: Kind::Counter, help, value }
}

const fn gauge(
    names: &'static [&'static str],
    help: &'static str,
    value: fn(&ModelStatus) -> Option<f64>,
) -> EngineFamily {
    EngineFamily { names, kind: Kind::Gauge, help, value }
}

/// What the engines of models tell; adapters are counted with their base.
const ENGINES: &[EngineFamily] = &[
    gauge(&["vllm:num_requests_running"], "Answers that the engine computes.", |model| {
        Some(model.engine.running as f64)
    }),
    gauge(
        &["vllm:num_requests_waiting"],
        "Answers that wait for the engine, and requests that wait for their model.",
        |model| Some((model.engine.waiting + model.waiting_for_load as u64) as f64),
    ),
    gauge(
        &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        "Part of the KV cache's blocks that answers hold, from 0 to 1.",
        |model| Some(usage(&model.engine)),
    ),
    counter(
        &["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
        "Prompt tokens that were looked up in the prefix cache.",
        |model| Some(model.engine.stats.queried_tokens as f64),
    ),
    counter(
        &["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
        "Prompt tokens that were found in the prefix cache.",
        |model| Some(model.engine.stats.cached_tokens as f64),
    ),
    counter(
        &["vllm:num_preemptions_total"],
        "Times that an answer gave up its blocks and was computed anew.",
        |model| Some(model.engine.stats.preempted as f64),
    ),
    counter(&["vllm:spec_decode_num_drafts_total"], "Drafts that were checked.", |model| {
        Some(model.engine.stats.drafts as f64)
    }),
    counter(&["vllm:spec_decode_num_draft_tokens_total"], "Tokens that were drafted.", |model| {
        Some(model.engine.stats.drafted_tokens as f64)
    }),
    counter(
        &["vllm:spec_decode_num_accepted_tokens_total"],
        "Drafted tokens that were right.",
        |model| Some(model.engine.stats.accepted_tokens as f64),
    ),
    gauge(&["freehold_kv_blocks"], "Blocks of the KV cache.", |model| {
        Some(model.engine.blocks?.total as f64)
    }),
    gauge(&["freehold_kv_blocks_held"], "Blocks that answers hold.", |model| {
        Some(model.engine.blocks?.held() as f64)
    }),
    gauge(
        &["freehold_kv_blocks_cached"],
        "Blocks of the prefix cache that no answer holds.",
        |model| Some(model.engine.blocks?.cached as f64),
    ),
    counter(
        &["freehold_prefill_tokens_total"],
        "Prompt tokens that were computed, anew ones included.",
        |model| Some(model.engine.stats.prefill_tokens as f64),
    ),
    counter(
        &["freehold_prefix_evicted_blocks_total"],
        "Blocks that the prefix cache gave up.",
        |model| Some(model.engine.stats.evicted_blocks as f64),
    ),
    counter(&["freehold_prefix_saved_blocks_total"], "Blocks that were saved to disk.", |model| {
        Some(model.engine.stats.saved_blocks as f64)
    }),
    counter(
        &["freehold_prefix_loaded_tokens_total"],
        "Prompt tokens that came from disk.",
        |model| Some(model.engine.stats.loaded_tokens as f64),
    ),
];

/// What a fleet tells of its models.
const FLEET: &[EngineFamily] = &[
    gauge(&["freehold_model_loaded"], "Whether the model is in memory.", |model| {
        Some(f64::from(u8::from(model.is_loaded)))
    }),
    counter(&["freehold_model_loads_total"], "Times that the model was loaded.", |model| {
        Some(model.loads as f64)
    }),
    counter(&["freehold_model_load_failures_total"], "Loads that failed.", |model| {
        Some(model.failed_loads as f64)
    }),
    counter(&["freehold_model_unloads_total"], "Times that the model was unloaded.", |model| {
        Some(model.unloads as f64)
    }),
    counter(&["freehold_model_load_seconds_total"], "What all its loads took.", |model| {
        Some(model.load_time.as_secs_f64())
    }),
];

fn usage(engine: &EngineStatus) -> f64 {
    engine
        .blocks
        .filter(|blocks| blocks.total > 0)
        .map_or(0.0, |blocks| blocks.held() as f64 / blocks.total as f64)
}

fn labels(model: &str) -> [Label<'_>; 2] {
    // One engine for each model; vLLM numbers those that share a model.
    [("model_name", model), ("engine", "0")]
}

pub(super) fn write_engines(page: &mut Page, status: &Status) {
    write_families(page, ENGINES, status);
    let name = "vllm:cache_config_info";
    page.family(name, Kind::Gauge, "The KV cache of a model that is in memory.");
    for model in &status.models {
        let Some(blocks) = model.engine.blocks else { continue };
        let [model, engine] = labels(&model.model);
        let total = blocks.total.to_string();
        let labels = [model, engine, ("block_size", BLOCK_TOKENS), ("num_gpu_blocks", &total)];
        page.sample(name, &labels, 1);
    }
}

pub(super) fn write_fleet(page: &mut Page, status: &Status) {
    write_families(page, FLEET, status);
    let Some(memory) = status.memory else { return };
    let gauges = [
        (
            "freehold_memory_planned_bytes",
            "Memory that models take by plan.",
            memory.reserved_bytes,
        ),
        ("freehold_memory_budget_bytes", "Memory that models may take.", memory.budget_bytes),
    ];
    for (name, help, value) in gauges {
        page.family(name, Kind::Gauge, help);
        page.sample(name, &[], value);
    }
}

fn write_families(page: &mut Page, families: &[EngineFamily], status: &Status) {
    for EngineFamily { names, kind, help, value } in families {
        for name in *names {
            page.family(name, *kind, help);
            for model in &status.models {
                if let Some(value) = value(model) {
                    page.sample(name, &labels(&model.model), value);
                }
            }
        }
    }
}

/// A family of metrics: its name, its help, and where a model has the value.
type Family<T> = (&'static str, &'static str, fn(&ModelMetrics) -> &T);

/// Counters of requests.
const COUNTERS: &[Family<AtomicU64>] = &[
    ("vllm:prompt_tokens_total", "Tokens of prompts, cached ones included.", |m| &m.prompt_tokens),
    ("vllm:prompt_tokens_cached_total", "Tokens of prompts that were cached.", |m| {
        &m.cached_tokens
    }),
    ("vllm:generation_tokens_total", "Tokens generated.", |m| &m.generation_tokens),
    ("freehold_reasoning_tokens_total", "Tokens generated that were reasoning.", |m| {
        &m.reasoning_tokens
    }),
];

/// Histograms of requests.
const HISTOGRAMS: &[Family<Histogram>] = &[
    ("vllm:time_to_first_token_seconds", "From arrival to the first token.", |m| &m.first_token),
    ("vllm:inter_token_latency_seconds", "Between two tokens of an answer.", |m| &m.token_gap),
    ("vllm:time_per_output_token_seconds", "Former name of inter_token_latency_seconds.", |m| {
        &m.token_gap
    }),
    (
        "vllm:request_time_per_output_token_seconds",
        "Mean time between the tokens of a request.",
        |m| &m.request_token_gap,
    ),
    ("vllm:e2e_request_latency_seconds", "From arrival to the end.", |m| &m.end_to_end),
    ("vllm:request_queue_time_seconds", "From arrival until the prompt was begun.", |m| &m.queue),
    (
        "vllm:request_inference_time_seconds",
        "From the beginning of the prompt to the last token.",
        |m| &m.inference,
    ),
    (
        "vllm:request_prefill_time_seconds",
        "From the beginning of the prompt to the first token.",
        |m| &m.prefill,
    ),
    ("vllm:request_decode_time_seconds", "From the first token to the last.", |m| &m.decode),
    ("vllm:request_prompt_tokens", "Tokens of a request's prompt.", |m| &m.request_prompt_tokens),
    ("vllm:request_generation_tokens", "Tokens generated for a request.", |m| {
        &m.request_generation_tokens
    }),
];

pub(super) fn write_requests(page: &mut Page, models: &[(String, Arc<ModelMetrics>)]) {
    let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
    for (name, help, cell) in COUNTERS {
        page.family(name, Kind::Counter, help);
        for (model, metrics) in models {
            page.sample(name, &labels(model), read(cell(metrics)));
        }
    }
    let name = "vllm:request_success_total";
    page.family(name, Kind::Counter, "Answers that ended, by reason; abort is a client that left.");
    for (model, metrics) in models {
        for (reason, cell) in REASONS.iter().zip(&metrics.ended) {
            let [model, engine] = labels(model);
            page.sample(name, &[model, engine, ("finished_reason", reason)], read(cell));
        }
    }
    for (name, help, histogram) in HISTOGRAMS {
        page.family(name, Kind::Histogram, help);
        for (model, metrics) in models {
            page.histogram(name, &labels(model), &histogram(metrics).read());
        }
    }
}
