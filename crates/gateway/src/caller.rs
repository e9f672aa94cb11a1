//! Who asks.

use axum::http::Extensions;
use serve::Tenant;

/// Whose request it is, put into a request's extensions by who checks keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Whose requests are computed in turns and share no prefixes.
    pub tenant: Tenant,
    /// The key's id; empty where there are no keys. What is kept belongs to it.
    pub key_id: String,
    /// The key's name.
    pub name: String,
}

impl Caller {
    /// The caller that a request's extensions name, or nobody in particular.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}
