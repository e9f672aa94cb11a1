//! Which parameters a dialect honours, accepts without effect, or refuses.

use serde_json::{Map, Value};

/// What happens to a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It does what its dialect says.
    Honoured,
    /// It is accepted and listed in a response header.
    WithoutEffect,
    /// It is refused by name, unless its value is one of these JSON texts, which ask for nothing.
    Refused {
        /// Values that change nothing.
        unless: &'static [&'static str],
        /// What is not supported.
        why: &'static str,
    },
}

/// One row of a dialect's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the request's JSON.
    pub name: &'static str,
    /// What happens to it.
    pub treatment: Treatment,
}

/// A row of what does something.
pub(crate) const fn honoured(name: &'static str) -> Parameter {
    Parameter { name, treatment: Treatment::Honoured }
}

/// A row of what is listed.
pub(crate) const fn without_effect(name: &'static str) -> Parameter {
    Parameter { name, treatment: Treatment::WithoutEffect }
}

/// A row of what is refused, but for values that ask for nothing.
pub(crate) const fn refused(
    name: &'static str,
    unless: &'static [&'static str],
    why: &'static str,
) -> Parameter {
    Parameter { name, treatment: Treatment::Refused { unless, why } }
}

/// Two tables as one.
pub(crate) const fn joined<const N: usize>(
    first: &[Parameter],
    second: &[Parameter],
) -> [Parameter; N] {
    let mut all = [honoured(""); N];
    let mut i = 0;
    while i < N {
        all[i] = if i < first.len() { first[i] } else { second[i - first.len()] };
        i += 1;
    }
    all
}

/// A parameter that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

/// Names the parameters without effect, unknown ones included; `null` asks for nothing.
pub(crate) fn survey(
    object: &Map<String, Value>,
    table: &[Parameter],
) -> Result<Vec<String>, Refusal> {
    let mut ignored = Vec::new();
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let known = table.iter().find(|parameter| parameter.name == name);
        match known.map(|parameter| parameter.treatment) {
            Some(Treatment::Honoured) => {}
            Some(Treatment::WithoutEffect) | None => ignored.push(name.clone()),
            Some(Treatment::Refused { unless, why }) => {
                let text = value.to_string();
                if !unless.contains(&text.as_str()) {
                    let name = known.map_or("", |parameter| parameter.name);
                    return Err(Refusal { name, why });
                }
            }
        }
    }
    Ok(ignored)
}
