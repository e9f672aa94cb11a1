//! Where hubs, tokens, caches and the home are; read from the environment in this file only.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::HubError;

const HF_ENDPOINT: &str = "https://huggingface.co";
const MODELSCOPE_ENDPOINT: &str = "https://modelscope.cn";
/// Files fetched at the same time.
const PARALLEL: usize = 4;
/// Longest token file read, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// A hub's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubKind {
    /// The Hugging Face hub and its mirrors.
    HuggingFace,
    /// ModelScope.
    ModelScope,
}

impl HubKind {
    /// The name that commands and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingface",
            Self::ModelScope => "modelscope",
        }
    }
}

impl std::str::FromStr for HubKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "huggingface" | "hf" => Ok(Self::HuggingFace),
            "modelscope" | "ms" => Ok(Self::ModelScope),
            _ => Err(format!("a hub is huggingface or modelscope, got {text:?}")),
        }
    }
}

/// A token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token; surrounding white space is removed.
    ///
    /// # Errors
    /// A sentence, without the token, if it cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > 1024 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a token has 1 to 1024 visible ASCII characters and no spaces".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How failures that may pass are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries without progress before giving up.
    pub attempts_max: u32,
    /// Wait after the first failure; it doubles with each.
    pub wait_first: Duration,
    /// Longest wait, a server's `Retry-After` included.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            wait_first: Duration::from_millis(500),
            wait_max: Duration::from_secs(120),
        }
    }
}

/// Everything the crate takes from outside.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The model home.
    pub home: PathBuf,
    /// The hub for references that name none.
    pub hub: HubKind,
    /// Address of the Hugging Face hub or a mirror (`HF_ENDPOINT`).
    pub hf_endpoint: String,
    /// Token for it (`HF_TOKEN` or its token file).
    pub hf_token: Option<Secret>,
    /// Its cache on this machine, from which files are used.
    pub hf_cache: Option<PathBuf>,
    /// Address of ModelScope (`MODELSCOPE_ENDPOINT`).
    pub modelscope_endpoint: String,
    /// Token for it (`MODELSCOPE_API_TOKEN`).
    pub modelscope_token: Option<Secret>,
    /// Ollama's store on this machine, from which files are used.
    pub ollama_models: Option<PathBuf>,
    /// Never use the network (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Files fetched at the same time, at least 1.
    pub parallel: usize,
    /// How failures that may pass are repeated.
    pub retry: RetryPolicy,
    /// Longest silence in a transfer.
    pub idle_timeout: Duration,
}

impl HubConfig {
    /// The defaults for a home: public hubs, no tokens, no caches.
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            hub: HubKind::HuggingFace,
            hf_endpoint: HF_ENDPOINT.to_owned(),
            hf_token: None,
            hf_cache: None,
            modelscope_endpoint: MODELSCOPE_ENDPOINT.to_owned(),
            modelscope_token: None,
            ollama_models: None,
            offline: false,
            parallel: PARALLEL,
            retry: RetryPolicy::default(),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// What the environment says.
    ///
    /// # Errors
    /// [`HubError::Setting`] names the variable that cannot be used.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(&|name| std::env::var_os(name).map(PathBuf::from), std::env::home_dir())
    }

    /// What `lookup` says in place of the environment, with the user's own folder.
    ///
    /// # Errors
    /// [`HubError::Setting`] names the variable that cannot be used.
    pub fn from_lookup(
        lookup: &dyn Fn(&str) -> Option<PathBuf>,
        user_folder: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let env = Env { lookup, user_folder };
        let home = env.freehold_home().ok_or_else(|| HubError::Setting {
            name: "FREEHOLD_HOME",
            reason: "not set, and the user's folder is unknown; set it to a folder".to_owned(),
        })?;
        let mut config = Self::new(home);
        let hf_home = env.hf_home();
        config.hf_cache = env
            .path("HF_HUB_CACHE")
            .or_else(|| env.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hf_home.as_ref().map(|folder| folder.join("hub")));
        config.hf_token = env.hf_token(hf_home.as_deref())?;
        config.ollama_models =
            env.path("OLLAMA_MODELS").or_else(|| env.under_user(&[".ollama", "models"]));
        if let Some(endpoint) = env.text("HF_ENDPOINT")? {
            config.hf_endpoint = check_endpoint("HF_ENDPOINT", &endpoint)?;
        }
        if let Some(endpoint) = env.text("MODELSCOPE_ENDPOINT")? {
            config.modelscope_endpoint = check_endpoint("MODELSCOPE_ENDPOINT", &endpoint)?;
        }
        if let Some(token) = env.text("MODELSCOPE_API_TOKEN")? {
            config.modelscope_token = Some(secret("MODELSCOPE_API_TOKEN", &token)?);
        }
        if let Some(hub) = env.text("FREEHOLD_HUB")? {
            config.hub =
                hub.parse().map_err(|reason| HubError::Setting { name: "FREEHOLD_HUB", reason })?;
        }
        config.offline = env.text("HF_HUB_OFFLINE")?.is_some_and(|v| {
            matches!(v.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
        });
        Ok(config)
    }
}

fn secret(name: &'static str, text: &str) -> Result<Secret, HubError> {
    Secret::new(text).map_err(|reason| HubError::Setting { name, reason })
}

/// An endpoint is an http(s) address; `host` alone is taken as https. No `/` at its end.
pub(crate) fn check_endpoint(name: &'static str, text: &str) -> Result<String, HubError> {
    let wrong = |reason: String| HubError::Setting { name, reason };
    let text = text.trim().trim_end_matches('/');
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = reqwest::Url::parse(&full)
        .map_err(|e| wrong(format!("expected an http or https address, got {text:?}: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(format!("expected an http or https address, got {text:?}")));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("expected an address without user, password or query".to_owned()));
    }
    Ok(full)
}

struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<PathBuf>,
    user_folder: Option<PathBuf>,
}

impl Env<'_> {
    /// A variable that is set and not empty; `~/` stands for the user's folder.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = (self.lookup)(name).filter(|value| !value.as_os_str().is_empty())?;
        match (value.strip_prefix("~"), &self.user_folder) {
            (Ok(rest), Some(folder)) => Some(folder.join(rest)),
            _ => Some(value),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, HubError> {
        let Some(value) = (self.lookup)(name) else { return Ok(None) };
        match value.into_os_string().into_string() {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(_) => Err(HubError::Setting { name, reason: "it is no UTF-8".to_owned() }),
        }
    }

    fn under_user(&self, parts: &[&str]) -> Option<PathBuf> {
        let mut folder = self.user_folder.clone()?;
        folder.extend(parts);
        Some(folder)
    }

    fn freehold_home(&self) -> Option<PathBuf> {
        if let Some(home) = self.path("FREEHOLD_HOME") {
            return Some(home);
        }
        let data = if cfg!(windows) {
            self.path("LOCALAPPDATA").or_else(|| self.under_user(&["AppData", "Local"]))
        } else if cfg!(target_os = "macos") {
            self.under_user(&["Library", "Application Support"])
        } else {
            // The base-directory specification says to ignore a relative path here.
            self.path("XDG_DATA_HOME")
                .filter(|folder| folder.is_absolute())
                .or_else(|| self.under_user(&[".local", "share"]))
        };
        Some(data?.join("freehold"))
    }

    fn hf_home(&self) -> Option<PathBuf> {
        self.path("HF_HOME")
            .or_else(|| self.path("XDG_CACHE_HOME").map(|folder| folder.join("huggingface")))
            .or_else(|| self.under_user(&[".cache", "huggingface"]))
    }

    fn hf_token(&self, hf_home: Option<&std::path::Path>) -> Result<Option<Secret>, HubError> {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(token) = self.text(name)? {
                return secret(name, &token).map(Some);
            }
        }
        let file =
            self.path("HF_TOKEN_PATH").or_else(|| hf_home.map(|folder| folder.join("token")));
        let Some(file) = file else { return Ok(None) };
        // A token file that cannot be read is the same as none: most models need none.
        let Ok(Some(bytes)) = crate::disk::read_limited(&file, TOKEN_BYTES_MAX) else {
            return Ok(None);
        };
        Ok(std::str::from_utf8(&bytes).ok().and_then(|text| Secret::new(text).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> Result<HubConfig, HubError> {
        let lookup = |name: &str| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        };
        HubConfig::from_lookup(&lookup, Some(PathBuf::from("/u")))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn defaults_follow_the_platform() {
        let got = config(&[]).expect("a configuration");
        assert_eq!(got.home, PathBuf::from("/u/.local/share/freehold"));
        assert_eq!(got.hf_cache, Some(PathBuf::from("/u/.cache/huggingface/hub")));
        assert_eq!(got.ollama_models, Some(PathBuf::from("/u/.ollama/models")));
        let got = config(&[("XDG_DATA_HOME", "/d"), ("XDG_CACHE_HOME", "/c")]).expect("valid");
        assert_eq!(got.home, PathBuf::from("/d/freehold"));
        assert_eq!(got.hf_cache, Some(PathBuf::from("/c/huggingface/hub")));
    }

    #[test]
    fn variables_are_honoured() {
        let got = config(&[
            ("FREEHOLD_HOME", "~/f"),
            ("HF_ENDPOINT", "mirror.example/"),
            ("HF_TOKEN", " hf_x\n"),
            ("HF_HOME", "/h"),
            ("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9"),
            ("FREEHOLD_HUB", "modelscope"),
            ("HF_HUB_OFFLINE", "1"),
        ])
        .expect("a configuration");
        assert_eq!(got.home, PathBuf::from("/u/f"));
        assert_eq!(got.hf_endpoint, "https://mirror.example");
        assert_eq!(got.hf_token, Some(Secret::new("hf_x").expect("a token")));
        assert_eq!(got.hf_cache, Some(PathBuf::from("/h/hub")));
        assert_eq!(got.modelscope_endpoint, "http://127.0.0.1:9");
        assert_eq!(got.hub, HubKind::ModelScope);
        assert!(got.offline);
    }

    #[test]
    fn bad_settings_are_named_and_tokens_never_shown() {
        for (name, value) in [
            ("HF_ENDPOINT", "ftp://x"),
            ("HF_ENDPOINT", "https://u:p@x"),
            ("HF_TOKEN", "two words"),
            ("FREEHOLD_HUB", "x"),
        ] {
            let error = config(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(name), "{error}");
            assert!(!error.contains("two words"), "{error}");
        }
        let token = Secret::new("hf_secret").expect("a token");
        assert!(!format!("{token:?}").contains("hf_secret"));
    }
}
