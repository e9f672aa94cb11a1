//! OpenAI's completions as a client speaks them: text or tokens that a model goes on from.

use serde_json::{Map, Value, json};
use serve::{Error, Input, Plain, Request, ResponseFormat};

use crate::client::chat::{ChunkDecoder, Place, format, open, sampling, whole};
use crate::client::{Client, Options, Outgoing, RemoteError, added, put, refuse, scored};

/// `POST /v1/completions`.
///
/// Source: OpenAI's API reference, "Completions"; what `is_open` adds is what vLLM's and
/// llama.cpp's servers take.
pub const OPENAI_COMPLETION: Client = Client {
    path: "/v1/completions",
    encode,
    stream: |choices| Box::new(ChunkDecoder::new(Place::Text, choices)),
    whole: |body, choices| whole(Place::Text, body, choices),
    error: RemoteError::read,
};

const PROVIDER: &str = "this provider of completions";

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    refuse(&scored(request), PROVIDER)?;
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("prompt".into(), prompt(&request.input)?);
    let max_tokens = request.max_tokens.ok_or_else(|| {
        let why = "this interface generates 16 tokens where nothing is said; say how many";
        Error::invalid("max_tokens", why)
    })?;
    body.insert("max_tokens".into(), json!(max_tokens));
    put(&mut body, "n", (request.choices != 1).then_some(request.choices));
    let stop = &request.stop.strings;
    put(&mut body, "stop", (!stop.is_empty()).then(|| json!(stop)));
    sampling(&request.sampling, &mut body);
    if options.is_open {
        put(&mut body, "response_format", format(&request.response_format));
        open(request, &mut body);
    } else {
        let more = [
            ("top_k", request.sampling.top_k.is_some()),
            ("response_format", request.response_format != ResponseFormat::Text),
        ];
        refuse(&[&added(request)[..], &more].concat(), PROVIDER)?;
    }
    if options.stream {
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    Ok(Outgoing { body: Value::Object(body), ignored: Vec::new() })
}

fn plain(one: &Plain) -> Value {
    match one {
        Plain::Text(text) => json!(text),
        Plain::Tokens(tokens) => json!(tokens),
    }
}

fn prompt(input: &Input) -> Result<Value, Error> {
    match input {
        Input::Text(text) => Ok(json!(text)),
        Input::Tokens(tokens) => Ok(json!(tokens)),
        Input::Several(several) => Ok(several.iter().map(plain).collect()),
        Input::Chat(_) => {
            Err(Error::not_supported("messages", "this provider is sent text to go on from"))
        }
        Input::Embed(_) | Input::Rerank(_) => {
            Err(Error::not_supported("input", "this provider is sent text to go on from"))
        }
    }
}
