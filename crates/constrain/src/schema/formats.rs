//! Values of `format`, as regular expressions that match no text that the format does not allow.

/// Makes a pattern.
type Make = fn() -> String;

/// Formats of strings, each with a pattern in the syntax of ECMA-262. Where the language of the
/// specification is larger than a simple pattern, the pattern is a part of it.
const STRING_FORMATS: &[(&str, Make)] = &[
    ("date", date),
    ("time", time),
    ("date-time", || format!("{}T{}", date(), time())),
    ("duration", duration),
    ("email", email),
    ("idn-email", email),
    ("hostname", || hostname(4)),
    ("idn-hostname", || hostname(4)),
    ("ipv4", ipv4),
    ("ipv6", ipv6),
    ("uuid", || r"[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}".to_owned()),
    ("uri", uri),
    ("iri", uri),
    ("uri-reference", uri_reference),
    ("iri-reference", uri_reference),
    // RFC 6570, section 2: text without braces expands to itself.
    ("uri-template", uri_reference),
    ("json-pointer", || POINTER.to_owned()),
    ("relative-json-pointer", || format!(r"(?:0|[1-9]\d*)(?:#|{POINTER})")),
];

/// Formats that allow every string or number that is written: OpenAPI's names for widths and
/// for how a value is shown.
pub(super) const FREE_FORMATS: &[&str] =
    &["password", "binary", "double", "float", "int64", "uint64"];

/// Formats that bound a number: the least and the largest.
pub(super) const INTEGER_FORMATS: &[(&str, f64, f64)] = &[
    ("int8", -128.0, 127.0),
    ("uint8", 0.0, 255.0),
    ("int16", -32_768.0, 32_767.0),
    ("uint16", 0.0, 65_535.0),
    ("int32", -2_147_483_648.0, 2_147_483_647.0),
    ("uint32", 0.0, 4_294_967_295.0),
];

/// The names of the formats of strings that are kept to.
pub fn names() -> impl Iterator<Item = &'static str> {
    STRING_FORMATS.iter().map(|(name, _)| *name)
}

/// The pattern of a format of strings, anchored at both ends.
pub(super) fn pattern(name: &str) -> Option<String> {
    let (_, make) = STRING_FORMATS.iter().find(|(known, _)| *known == name)?;
    Some(format!("^(?:{})$", make()))
}

/// RFC 6901, section 3.
const POINTER: &str = r"(?:/(?:[^~/]|~[01])*)*";

/// RFC 3339, section 5.6, with the days that the months have; 29 February in leap years.
fn date() -> String {
    let long = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])";
    let short = r"(?:0[469]|11)-(?:0[1-9]|[12]\d|30)";
    let february = r"02-(?:0[1-9]|1\d|2[0-8])";
    let leap = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29";
    format!(r"(?:\d{{4}}-(?:{long}|{short}|{february})|{leap})")
}

/// RFC 3339, section 5.6, without leap seconds, which only a table knows.
fn time() -> String {
    r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)".to_owned()
}

/// ISO 8601 as RFC 3339, appendix A, writes it.
fn duration() -> String {
    let time = r"T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S)";
    let date = r"\d{1,9}Y(?:\d{1,9}M(?:\d{1,9}D)?)?|\d{1,9}M(?:\d{1,9}D)?|\d{1,9}D";
    format!(r"P(?:\d{{1,9}}W|(?:{date})(?:{time})?|{time})")
}

/// RFC 1123, section 2.1: labels of at most 60 bytes, so that four of them and their dots stay
/// below 253. A label has no two hyphens in a row: where they come third and fourth they mark an
/// encoding, and not everything decodes.
fn hostname(labels: u32) -> String {
    let label = r"[a-zA-Z\d]{1,27}(?:-[a-zA-Z\d]{1,10}){0,3}";
    format!(r"{label}(?:\.{label}){{0,{}}}", labels - 1)
}

/// RFC 5321, section 4.1.2: a local part without quotes, below 64 bytes, at a host name.
fn email() -> String {
    let atom = r"[a-zA-Z\d!#$%&'*+/=?^_`{|}~-]{1,20}";
    format!(r"{atom}(?:\.{atom}){{0,2}}@{}", hostname(3))
}

/// RFC 2673, section 3.2, without zeros in front.
fn ipv4() -> String {
    let byte = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    format!(r"(?:{byte}\.){{3}}{byte}")
}

/// RFC 3986, section 3.2.2, which writes RFC 4291, section 2.2, as a grammar.
fn ipv6() -> String {
    let part = r"[\da-fA-F]{1,4}";
    let low = format!(r"(?:{part}:{part}|{})", ipv4());
    let mut forms = vec![format!(r"(?:{part}:){{6}}{low}")];
    for after in (0..=5).rev() {
        let before = 5 - after;
        let head = match before {
            0 => String::new(),
            n => format!(r"(?:(?:{part}:){{0,{}}}{part})?", n - 1),
        };
        forms.push(format!(r"{head}::(?:{part}:){{{after}}}{low}"));
    }
    forms.push(format!(r"(?:(?:{part}:){{0,5}}{part})?::{part}"));
    forms.push(format!(r"(?:(?:{part}:){{0,6}}{part})?::"));
    forms.join("|")
}

/// RFC 3986, appendix A.
fn uri() -> String {
    format!(r"[a-zA-Z][a-zA-Z\d+.-]*:{}(?:\?{QUERY}*)?(?:#{QUERY}*)?", hierarchy(SEGMENT))
}

/// RFC 3986, section 4.1.
fn uri_reference() -> String {
    let relative = format!(r"{}(?:\?{QUERY}*)?(?:#{QUERY}*)?", hierarchy(SEGMENT_WITHOUT_COLON));
    format!("{}|{relative}", uri())
}

const SEGMENT: &str = r"(?:[a-zA-Z\d._~!$&'()*+,;=:@-]|%[\da-fA-F]{2})";
const SEGMENT_WITHOUT_COLON: &str = r"(?:[a-zA-Z\d._~!$&'()*+,;=@-]|%[\da-fA-F]{2})";
const QUERY: &str = r"(?:[a-zA-Z\d._~!$&'()*+,;=:@/?-]|%[\da-fA-F]{2})";

/// An authority with a path, a path from the root, one that begins with `first`, or none.
fn hierarchy(first: &str) -> String {
    let name = r"(?:[a-zA-Z\d._~!$&'()*+,;=-]|%[\da-fA-F]{2})*";
    let user = r"(?:[a-zA-Z\d._~!$&'()*+,;=:-]|%[\da-fA-F]{2})*@";
    let authority = format!(r"(?:{user})?(?:{name}|\[(?:{})\])(?::\d*)?", ipv6());
    let path = format!(r"(?:/{SEGMENT}*)*");
    format!(r"(?://{authority}{path}|/(?:{SEGMENT}+{path})?|{first}+{path})?")
}
