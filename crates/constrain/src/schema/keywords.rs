//! The keywords of JSON Schema, drafts 4 to 2020-12, and what becomes of each.

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Says nothing about which values are valid.
    Annotation,
    /// A constraint that is rewritten.
    Constraint,
    /// A constraint for which there is no form, and why.
    Refused(&'static str),
}

const NEGATION: &str = "what must not be cannot be made a grammar";
const UNION: &str = "which parts of a value it concerns depends on the rest of the schema";
const SCOPE: &str = "where it points depends on the way there";

const REFUSED: &[(&str, &str)] = &[
    ("not", NEGATION),
    ("if", NEGATION),
    ("contains", "one of any number of items cannot be made a grammar"),
    ("minContains", "it belongs to `contains`"),
    ("maxContains", "it belongs to `contains`"),
    ("unevaluatedItems", UNION),
    ("$dynamicRef", SCOPE),
    ("$recursiveRef", SCOPE),
];

/// Annotations of the specifications, then those of OpenAPI, generators and editors.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "id",
    "$anchor",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$vocabulary",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "then",
    "else",
    "components",
    "discriminator",
    "example",
    "externalDocs",
    "xml",
    "allowComments",
    "allowTrailingCommas",
    "comment",
    "defaultSnippets",
    "deprecationMessage",
    "doNotSuggest",
    "enumDescriptions",
    "enumNames",
    "errorMessage",
    "fileMatch",
    "javaType",
    "markdownDescription",
    "markdownEnumDescriptions",
    "patternErrorMessage",
    "propertyOrder",
    "suggestSortText",
    "taplo",
    "tsEnumNames",
    "tsType",
];

const CONSTRAINTS: &[&str] = &[
    "type",
    "const",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "nullable",
];

/// Looks a keyword up; `None` for one that is not known.
pub(super) fn find(name: &str) -> Option<Keyword> {
    if CONSTRAINTS.contains(&name) {
        return Some(Keyword::Constraint);
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(Keyword::Refused(reason));
    }
    // `x-` is the mark of extensions in OpenAPI and beyond.
    let annotation = ANNOTATIONS.contains(&name) || name.starts_with("x-");
    annotation.then_some(Keyword::Annotation)
}
