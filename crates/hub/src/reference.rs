//! What a person writes to say which model they mean.
//!
//! Parsing is pure: it looks at the text alone. [`crate::Hub::reference`] first asks the
//! file system whether the text is a path that exists.

use std::path::PathBuf;
use std::str::FromStr;

use crate::config::HubKind;
use crate::names::{RepoPath, check_key, printable};

/// Longest accepted reference, in bytes.
const REFERENCE_BYTES_MAX: usize = 4096;

/// Which model is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelRef {
    /// A GGUF file or a Hugging Face folder on this machine.
    Path(PathBuf),
    /// A repository on a hub, and what of it.
    Repo(RepoRef),
    /// A name of the catalogue or of the home, `name[:tag]`, in lower case.
    Name {
        /// The name, as `qwen3`.
        name: String,
        /// The tag, as `0.6b`; the catalogue knows the default.
        tag: Option<String>,
    },
    /// The address of a GGUF file on a server that is no hub.
    Url(String),
}

/// A repository on a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRef {
    /// The hub, where the reference names one; else the configured one.
    pub hub: Option<HubKind>,
    /// The person or organisation.
    pub owner: String,
    /// The repository's own name.
    pub repo: String,
    /// Which of its files.
    pub pick: Pick,
}

/// Which files of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The safetensors folder where there is one, else the default quantization.
    Auto,
    /// The GGUF of this quantization, in upper case.
    Quant(String),
    /// This GGUF file, with the other parts of its split.
    File(RepoPath),
}

/// Why a text is no model reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// Nothing was given, or too much.
    #[error("a model reference has 1 to {REFERENCE_BYTES_MAX} bytes, got {bytes}")]
    Length {
        /// How many bytes were given.
        bytes: usize,
    },
    /// `MODEL+adapter` where a model alone is looked for.
    #[error(
        "{adapter:?} on top of {model:?} is no adapter that can be used here: an adapter is a path that exists, and only run, serve, bench and trace take one"
    )]
    AdapterNotSupported {
        /// The model before the `+`.
        model: String,
        /// The adapter after it.
        adapter: String,
    },
    /// The text fits none of the forms.
    #[error(
        "{text:?} is no model reference: {reason} (a path, owner/repo[:QUANT], name[:tag] or an http(s) address is)"
    )]
    Malformed {
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ModelRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`RefError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let text = text.trim();
        if text.is_empty() || text.len() > REFERENCE_BYTES_MAX {
            return Err(RefError::Length { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(malformed(text, "it has a control character"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return parse_url(text, scheme, rest);
        }
        if looks_like_path(text) {
            refuse_adapter_on_path(text)?;
            return Ok(Self::Path(PathBuf::from(text)));
        }
        refuse_adapter(text)?;
        if let Some((host, _)) = text.split_once('/')
            && hub_of_host(host).is_some()
        {
            return parse_url(text, "https", text);
        }
        match text.matches('/').count() {
            0 => parse_name(text),
            1 => parse_repo(text, None, text).map(Self::Repo),
            _ => Ok(Self::Path(PathBuf::from(text))),
        }
    }
}

impl FromStr for ModelRef {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        Self::parse(text)
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Repo(repo) => write!(f, "{repo}"),
            Self::Name { name, tag: Some(tag) } => write!(f, "{name}:{tag}"),
            Self::Name { name, tag: None } => f.write_str(name),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl std::fmt::Display for RepoRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.owner, self.repo)?;
        match &self.pick {
            Pick::Auto => Ok(()),
            Pick::Quant(quant) => write!(f, ":{quant}"),
            Pick::File(file) => write!(f, "/{file}"),
        }
    }
}

fn malformed(text: &str, reason: impl Into<String>) -> RefError {
    RefError::Malformed { text: printable(text), reason: reason.into() }
}

fn looks_like_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let drive = bytes.len() > 2
        && bytes[0].is_ascii_alphabetic()
        && bytes[1] == b':'
        && matches!(bytes[2], b'\\' | b'/');
    let base = text.rsplit_once('+').map_or(text, |(base, _)| base);
    drive
        || text.starts_with(['/', '.', '~'])
        || text.contains('\\')
        || text.ends_with('/')
        || is_gguf(text)
        || (is_gguf(base) && !base.contains(':'))
}

fn is_gguf(text: &str) -> bool {
    text.len() >= 5 && text.as_bytes()[text.len() - 5..].eq_ignore_ascii_case(b".gguf")
}

/// `+` may stand in a file name, so that a path is an adapter reference only where what
/// precedes the `+` is whole by itself.
fn refuse_adapter_on_path(text: &str) -> Result<(), RefError> {
    match text.rsplit_once('+') {
        Some((model, adapter)) if is_gguf(model) && !adapter.is_empty() && !is_gguf(adapter) => {
            Err(RefError::AdapterNotSupported {
                model: printable(model),
                adapter: printable(adapter),
            })
        }
        _ => Ok(()),
    }
}

fn refuse_adapter(text: &str) -> Result<(), RefError> {
    match text.split_once('+') {
        None => Ok(()),
        Some((model, adapter)) if model.is_empty() || adapter.is_empty() => {
            Err(malformed(text, "a '+' stands between a model and an adapter"))
        }
        Some((model, adapter)) => Err(RefError::AdapterNotSupported {
            model: printable(model),
            adapter: printable(adapter),
        }),
    }
}

fn parse_name(text: &str) -> Result<ModelRef, RefError> {
    let (name, tag) = match text.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (text, None),
    };
    check_key(name).map_err(|reason| malformed(text, reason))?;
    if let Some(tag) = tag {
        check_key(tag).map_err(|reason| malformed(text, format!("the tag: {reason}")))?;
    }
    Ok(ModelRef::Name { name: name.to_ascii_lowercase(), tag: tag.map(str::to_ascii_lowercase) })
}

/// `owner/repo[:QUANT]`; `whole` is what the error shows.
fn parse_repo(whole: &str, hub: Option<HubKind>, text: &str) -> Result<RepoRef, RefError> {
    let (owner, rest) = text.split_once('/').ok_or_else(|| malformed(whole, "no '/'"))?;
    let (repo, pick) = match rest.split_once(':') {
        Some((repo, quant)) => {
            check_key(quant)
                .map_err(|reason| malformed(whole, format!("the quantization: {reason}")))?;
            (repo, Pick::Quant(quant.to_ascii_uppercase()))
        }
        None => (rest, Pick::Auto),
    };
    check_key(owner).map_err(|reason| malformed(whole, format!("the owner: {reason}")))?;
    check_key(repo).map_err(|reason| malformed(whole, format!("the repository: {reason}")))?;
    Ok(RepoRef { hub, owner: owner.to_owned(), repo: repo.to_owned(), pick })
}

fn hub_of_host(host: &str) -> Option<HubKind> {
    match host.to_ascii_lowercase().as_str() {
        "huggingface.co" | "www.huggingface.co" | "hf.co" => Some(HubKind::HuggingFace),
        "modelscope.cn" | "www.modelscope.cn" => Some(HubKind::ModelScope),
        _ => None,
    }
}

fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<ModelRef, RefError> {
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(malformed(
            text,
            format!("the scheme {:?} is neither http nor https", printable(scheme)),
        ));
    }
    let clean = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = clean.split_once('/').unwrap_or((clean, ""));
    if let Some(hub) = hub_of_host(host) {
        return parse_hub_page(text, hub, path).map(ModelRef::Repo);
    }
    let url = reqwest::Url::parse(text).map_err(|e| malformed(text, e.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(malformed(text, "it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(malformed(text, "a name or password in an address is not used; set HF_TOKEN"));
    }
    if !is_gguf(url.path()) {
        return Err(malformed(text, "the address of a file ends in .gguf"));
    }
    Ok(ModelRef::Url(url.into()))
}

/// The part of a hub's address after the host: `owner/repo`, its tabs, or one of its files.
fn parse_hub_page(text: &str, hub: HubKind, path: &str) -> Result<RepoRef, RefError> {
    let path = match hub {
        HubKind::HuggingFace => path,
        HubKind::ModelScope => path.strip_prefix("models/").unwrap_or(path),
    };
    let path = path.trim_end_matches('/');
    let mut parts = path.splitn(5, '/');
    let (owner, repo) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if matches!(owner, "datasets" | "spaces" | "collections" | "papers") {
        return Err(malformed(text, format!("it is one of the hub's {owner}, not a model")));
    }
    let mut parsed = parse_repo(text, Some(hub), &format!("{owner}/{repo}"))?;
    let (tab, revision, file) = (parts.next(), parts.next(), parts.next());
    if let (Some("resolve" | "blob" | "raw"), Some(revision), Some(file)) = (tab, revision, file) {
        if !matches!(revision, "main" | "master") {
            return Err(malformed(
                text,
                format!("only the main revision is pulled, got {revision:?}"),
            ));
        }
        let file = percent_decode(file)
            .ok_or_else(|| malformed(text, "the file name's % codes are no UTF-8"))?;
        let file = RepoPath::new(file)
            .map_err(|reason| malformed(text, format!("the file name: {reason}")))?;
        // Any other file of a repository stands for the repository as a whole.
        if is_gguf(file.as_str()) {
            parsed.pick = Pick::File(file);
        }
    }
    Ok(parsed)
}

pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(hub: Option<HubKind>, owner: &str, repo: &str, pick: Pick) -> ModelRef {
        ModelRef::Repo(RepoRef { hub, owner: owner.into(), repo: repo.into(), pick })
    }

    #[test]
    fn the_forms_are_told_apart() {
        let hf = Some(HubKind::HuggingFace);
        let file = |name: &str| Pick::File(RepoPath::new(name).expect("safe"));
        let name = |name: &str, tag: Option<&str>| ModelRef::Name {
            name: name.into(),
            tag: tag.map(str::to_owned),
        };
        let path = |p: &str| ModelRef::Path(p.into());
        for (text, expect) in [
            ("smollm2:135m", name("smollm2", Some("135m"))),
            ("Qwen3", name("qwen3", None)),
            ("Qwen/Qwen3-0.6B", repo(None, "Qwen", "Qwen3-0.6B", Pick::Auto)),
            ("a/b:q4_k_m", repo(None, "a", "b", Pick::Quant("Q4_K_M".into()))),
            ("hf.co/a/b:Q8_0", repo(hf, "a", "b", Pick::Quant("Q8_0".into()))),
            ("https://huggingface.co/a/b", repo(hf, "a", "b", Pick::Auto)),
            ("https://huggingface.co/a/b/tree/main", repo(hf, "a", "b", Pick::Auto)),
            ("https://huggingface.co/a/b/blob/main/config.json", repo(hf, "a", "b", Pick::Auto)),
            (
                "https://huggingface.co/a/b/resolve/main/Q4/x%20y.gguf?download=true",
                repo(hf, "a", "b", file("Q4/x y.gguf")),
            ),
            (
                "https://www.modelscope.cn/models/a/b/resolve/master/x.gguf",
                repo(Some(HubKind::ModelScope), "a", "b", file("x.gguf")),
            ),
            ("http://localhost:9/x.gguf", ModelRef::Url("http://localhost:9/x.gguf".into())),
            ("./x", path("./x")),
            ("~/x.gguf", path("~/x.gguf")),
            ("/m/x", path("/m/x")),
            ("x.GGUF", path("x.GGUF")),
            ("a/b.gguf", path("a/b.gguf")),
            ("a/b/c", path("a/b/c")),
            ("C:\\m\\x.gguf", path("C:\\m\\x.gguf")),
            ("./c++/x.gguf", path("./c++/x.gguf")),
        ] {
            assert_eq!(ModelRef::parse(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn adapters_are_refused_by_name() {
        for text in ["qwen3:0.6b+mine", "a/b+c", "a/b:Q4_0+c", "./x.gguf+c", "x.gguf+c"] {
            let got = ModelRef::parse(text);
            assert!(matches!(got, Err(RefError::AdapterNotSupported { .. })), "{text}: {got:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            " ",
            "ftp://x/y.gguf",
            "a b",
            "a/b:",
            ":x",
            "a/",
            "/\u{7}",
            "-x",
            "a/..",
            "+",
            "x+",
            "https://huggingface.co/datasets/a/b",
            "https://huggingface.co/a",
            "https://huggingface.co/a/b/resolve/main/..%2f..%2fx.gguf",
            "https://huggingface.co/a/b/resolve/v2/x.gguf",
            "https://u:p@host/x.gguf",
            "https://host/x.bin",
            "https:///x.gguf",
        ] {
            let got = ModelRef::parse(text);
            assert!(got.is_err() || matches!(got, Ok(ModelRef::Path(_))), "{text:?}: {got:?}");
        }
    }

    #[test]
    fn any_text_parses_or_is_refused_and_shows_itself_again() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(
                parsed @ (ModelRef::Name { .. } | ModelRef::Repo(RepoRef { hub: None, .. })),
            ) = ModelRef::parse(text)
            {
                assert_eq!(ModelRef::parse(&parsed.to_string()), Ok(parsed));
            }
        });
    }
}
