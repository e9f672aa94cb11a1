//! The output formats with tool calls: a published template of each, and the special tokens of
//! its tokenizers.

use crate::places;

/// An output format as a model has it.
#[derive(Debug, PartialEq, Eq)]
pub struct CallFormat {
    /// The format's name.
    pub name: &'static str,
    /// The published template in shared data, where one is there.
    file: Option<&'static str>,
    /// What a template shows the format by.
    signs: &'static [&'static str],
    /// Special tokens; the first ends a turn.
    pub specials: &'static [&'static str],
    /// What begins calls, and so is never left in an answer's text.
    pub(super) markers: &'static [&'static str],
}

impl CallFormat {
    /// The published template, or in its place a short one that shows the same format.
    pub fn template(&self) -> String {
        let published = self.file.zip(places::shared_data()).and_then(|(file, data)| {
            std::fs::read_to_string(data.join("templates").join(format!("{file}.jinja"))).ok()
        });
        published.unwrap_or_else(|| {
            let signs = self.signs.join(" ");
            format!(
                "{{# {signs} #}}{{% for tool in tools or [] %}}{{{{ tool | tojson }}}}\n{{% endfor %}}\
                 {{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content }}}}\n{{% endfor %}}assistant: "
            )
        })
    }
}

const NONE: CallFormat =
    CallFormat { name: "", file: None, signs: &[], specials: &[], markers: &[] };
const DEEPSEEK: [&str; 8] = [
    "<｜end▁of▁sentence｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<think>",
    "</think>",
];

/// Every format with calls. Where real tokenizers spell a marker that begins calls with several
/// tokens, it is a special one here, so that answers drawn at random come to calls.
pub const CALL_FORMATS: &[CallFormat] = &[
    CallFormat {
        name: "hermes",
        file: Some("Qwen-Qwen3-0.6B"),
        signs: &["<tool_call>", "\"arguments\": ", "<think>"],
        specials: &["<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"],
        markers: &["<tool_call>"],
    },
    CallFormat {
        name: "qwen3-coder",
        file: Some("Qwen3-Coder"),
        signs: &["<tool_call>", "<function=", "<parameter="],
        specials: &["<|im_end|>", "<tool_call>", "</tool_call>"],
        markers: &["<tool_call>"],
    },
    CallFormat {
        name: "seed-oss",
        file: Some("ByteDance-Seed-OSS"),
        signs: &["<seed:tool_call>", "<function=", "<seed:think>"],
        specials: &[
            "<seed:eos>",
            "<seed:tool_call>",
            "</seed:tool_call>",
            "<seed:think>",
            "</seed:think>",
        ],
        markers: &["<seed:tool_call>"],
    },
    CallFormat {
        name: "deepseek-v3",
        file: Some("llama-cpp-deepseek-r1"),
        signs: &["<｜tool▁calls▁begin｜>", "```json", "<think>"],
        specials: &DEEPSEEK,
        markers: &["<｜tool▁calls▁begin｜>"],
    },
    CallFormat {
        name: "deepseek-v3.1",
        file: Some("deepseek-ai-DeepSeek-V3.1"),
        signs: &["<｜tool▁calls▁begin｜>"],
        specials: &DEEPSEEK,
        markers: &["<｜tool▁calls▁begin｜>"],
    },
    CallFormat {
        name: "deepseek-v3.2",
        file: Some("deepseek-ai-DeepSeek-V3.2"),
        signs: &["｜DSML｜", "function_calls", "<think>"],
        specials: &["<｜end▁of▁sentence｜>", "｜DSML｜", "<think>", "</think>"],
        markers: &["<｜DSML｜function_calls>"],
    },
    CallFormat {
        name: "kimi-k2",
        file: Some("moonshotai-Kimi-K2"),
        signs: &["<|tool_calls_section_begin|>", "functions.", "<think>"],
        specials: &[
            "<|im_end|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
            "<|tool_call_end|>",
            "<|tool_call_argument_begin|>",
        ],
        markers: &["<|tool_calls_section_begin|>"],
    },
    CallFormat {
        name: "glm",
        file: Some("GLM-4.6"),
        signs: &["<tool_call>", "<arg_key>", "<think>"],
        specials: &[
            "<|observation|>",
            "<|user|>",
            "<tool_call>",
            "</tool_call>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
            "<think>",
            "</think>",
        ],
        markers: &["<tool_call>"],
    },
    CallFormat {
        name: "minimax-m2",
        file: Some("MiniMax-M2"),
        signs: &["<minimax:tool_call>", "<invoke name=", "<think>"],
        specials: &["[e~[", "<minimax:tool_call>", "</minimax:tool_call>", "<think>", "</think>"],
        markers: &["<minimax:tool_call>"],
    },
    CallFormat {
        name: "minimax-m1",
        file: Some("MiniMax-M1"),
        signs: &["<tool_calls>\\n{\"name\"", "\"arguments\""],
        specials: &["<end_of_sentence>", "<tool_calls>", "</tool_calls>"],
        markers: &["<tool_calls>"],
    },
    CallFormat {
        name: "apriel",
        file: Some("unsloth-Apriel-1.5"),
        signs: &["<tool_calls>[{\"name\"", "\"arguments\""],
        specials: &["<|end|>", "<tool_calls>", "</tool_calls>"],
        markers: &["<tool_calls>"],
    },
    CallFormat {
        name: "harmony",
        file: Some("openai-gpt-oss-120b"),
        signs: &["<|channel|>", "<|message|>"],
        specials: &[
            "<|return|>",
            "<|call|>",
            "<|channel|>",
            "<|message|>",
            "<|start|>",
            "<|end|>",
            "<|constrain|>",
        ],
        markers: &["<|channel|>", "<|message|>"],
    },
    CallFormat {
        name: "llama3",
        file: Some("meta-llama-Llama-3.1-8B-Instruct"),
        signs: &["<|start_header_id|>", "\"parameters\": ", "\"name\": "],
        specials: &["<|eot_id|>", "<|eom_id|>", "<|python_tag|>"],
        markers: &["<|python_tag|>"],
    },
    CallFormat {
        name: "pythonic",
        signs: &["<|header_start|>", "[func_name1("],
        specials: &["<|eot|>", "<|eom|>"],
        ..NONE
    },
    CallFormat {
        name: "lfm2",
        file: Some("LFM2.5-8B-A1B"),
        signs: &["<|tool_call_start|>[", "<think>"],
        specials: &[
            "<|im_end|>",
            "<|tool_call_start|>",
            "<|tool_call_end|>",
            "<think>",
            "</think>",
        ],
        markers: &["<|tool_call_start|>"],
    },
    CallFormat {
        name: "mistral",
        file: Some("mistralai-Mistral-Nemo-Instruct-2407"),
        signs: &["[TOOL_CALLS]"],
        specials: &["</s>", "[TOOL_CALLS]"],
        markers: &["[TOOL_CALLS]"],
    },
    CallFormat {
        name: "mistral-v11",
        file: Some("Mistral-Small-3.2-24B-Instruct-2506"),
        signs: &["[TOOL_CALLS]", "[CALL_ID]"],
        specials: &["</s>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
        markers: &["[TOOL_CALLS]"],
    },
    CallFormat {
        name: "mistral-v13",
        signs: &["[TOOL_CALLS]", "[ARGS]", "[THINK]"],
        specials: &["</s>", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"],
        markers: &["[TOOL_CALLS]"],
        ..NONE
    },
    CallFormat {
        name: "gemma4",
        file: Some("google-gemma-4-31B-it"),
        signs: &["<|tool_call>call:", "<|channel>thought\n"],
        specials: &[
            "<turn|>",
            "<|tool_response>",
            "<|tool_call>",
            "<tool_call|>",
            "<|\"|>",
            "<|channel>",
            "<channel|>",
        ],
        markers: &["<|tool_call>"],
    },
    CallFormat {
        name: "gigachat3",
        file: Some("GigaChat3.1-10B-A1.8B"),
        signs: &["<|function_call|>", "<|role_sep|>"],
        specials: &["<|message_sep|>", "<|function_call|>"],
        markers: &["<|function_call|>"],
    },
    CallFormat {
        name: "granite",
        file: Some("ibm-granite-granite-3.3-2B-Instruct"),
        signs: &["<|tool_call|>", "<|start_of_role|>", "<think>"],
        specials: &["<|end_of_text|>", "<|tool_call|>", "<think>", "</think>"],
        markers: &["<|tool_call|>"],
    },
];
