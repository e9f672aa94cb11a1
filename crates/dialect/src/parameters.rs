//! Which parameters a dialect honours, accepts without effect, or refuses.

use serde_json::{Map, Value};

use crate::fields::FieldError;
use crate::shape::Shape;

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

impl Treatment {
    /// Its name in what is told about parameters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::WithoutEffect => "without_effect",
            Self::Refused { .. } => "refused",
        }
    }
}

/// One row of a dialect's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Name in the request's JSON.
    pub name: &'static str,
    /// What happens to it.
    pub treatment: Treatment,
    /// What its value may be, where it does something; anything else is refused.
    pub shape: Shape,
    /// Whether it must be there.
    pub is_needed: bool,
    /// What it does, in a line; empty where it does nothing.
    pub about: &'static str,
}

impl Parameter {
    /// The same row with what its value may be and what it does.
    #[must_use]
    pub const fn takes(self, shape: Shape, about: &'static str) -> Self {
        Self { shape, about, ..self }
    }

    /// The same row of what must be there.
    #[must_use]
    pub const fn needed(self) -> Self {
        Self { is_needed: true, ..self }
    }
}

const fn row(name: &'static str, treatment: Treatment) -> Parameter {
    Parameter { name, treatment, shape: Shape::Any, is_needed: false, about: "" }
}

/// A row of what does something.
pub(crate) const fn honoured(name: &'static str) -> Parameter {
    row(name, Treatment::Honoured)
}

/// A row of what is listed.
pub(crate) const fn without_effect(name: &'static str) -> Parameter {
    row(name, Treatment::WithoutEffect)
}

/// A row of what is refused, but for values that ask for nothing.
pub(crate) const fn refused(
    name: &'static str,
    unless: &'static [&'static str],
    why: &'static str,
) -> Parameter {
    row(name, Treatment::Refused { unless, why })
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What it asks for is not there.
    NotSupported { name: String, why: &'static str },
    /// Its value is none that it takes.
    Value(FieldError),
}

impl Refusal {
    /// The same refusal of a parameter that stands in an object of this name.
    pub(crate) fn within(self, object: &str) -> Self {
        match self {
            Self::NotSupported { name, why } => {
                Self::NotSupported { name: format!("{object}.{name}"), why }
            }
            Self::Value(FieldError { param, message }) => Self::Value(FieldError {
                param: format!("{object}.{param}"),
                message: format!("{object}.{message}"),
            }),
        }
    }
}

/// Names the parameters without effect, unknown ones included, and refuses values that a row does
/// not take; `null` asks for nothing.
pub(crate) fn survey(
    object: &Map<String, Value>,
    table: &[Parameter],
) -> Result<Vec<String>, Refusal> {
    let mut ignored = Vec::new();
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let known = table.iter().find(|parameter| parameter.name == name);
        let Some(row) = known else {
            ignored.push(name.clone());
            continue;
        };
        match row.treatment {
            Treatment::Honoured => {
                if let Some(error) = row.shape.fault(value, name.clone()) {
                    return Err(Refusal::Value(error));
                }
            }
            Treatment::WithoutEffect => ignored.push(name.clone()),
            Treatment::Refused { unless, why } => {
                let text = value.to_string();
                if !unless.contains(&text.as_str()) {
                    return Err(Refusal::NotSupported { name: name.clone(), why });
                }
            }
        }
    }
    Ok(ignored)
}
