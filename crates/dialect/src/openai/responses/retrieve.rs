//! `GET /v1/responses/{id}`: what its query string asks for.

use crate::error::ApiError;
use crate::fields::FieldError;

/// What of a kept answer is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retrieval {
    /// Whether its stream is wanted.
    pub stream: bool,
    /// The number of the last event that the client has.
    pub after: Option<u64>,
    /// Parameters without effect.
    pub ignored: Vec<String>,
}

/// Reads the decoded pairs of a query string.
///
/// # Errors
/// A value is none of those that it may be.
pub fn read_retrieval(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<Retrieval, ApiError> {
    let mut asked = Retrieval::default();
    for (name, value) in pairs {
        let expected = |what: &str| {
            let message = format!("{name}: expected {what}, got {value:?}");
            FieldError::new(name.clone(), message)
        };
        match name.as_str() {
            "stream" => {
                asked.stream = value.parse().map_err(|_| expected("true or false"))?;
            }
            "starting_after" => {
                let number = value.parse::<u64>().ok();
                // As large as 64 bits with a sign, as every count of the document is.
                let number = number.filter(|number| i64::try_from(*number).is_ok());
                let what = "the number of an event, 0 or more";
                asked.after = Some(number.ok_or_else(|| expected(what))?);
            }
            _ => asked.ignored.push(name),
        }
    }
    if asked.after.is_some() && !asked.stream {
        asked.ignored.push("starting_after".to_owned());
    }
    Ok(asked)
}
