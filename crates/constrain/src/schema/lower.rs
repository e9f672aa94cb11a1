//! The walk over a schema: checks every keyword and writes it anew.

use super::keywords::{self, Keyword};
use super::numbers::{Bound, Divisors, EXACT_MAX, Intervals};
use super::place::{self, Fields, Place, array, object, string};
use super::references::{self, References};
use super::{OPTIONAL_PROPERTIES_MAX, SCHEMA_NODES_MAX, alternatives, formats, productive};
use crate::error::{GrammarError, shortened};
use crate::pattern;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What the comparison of two patterns of keys weighs, in parts of a schema.
const PATTERN_PAIR_NODES: usize = 20;

/// A schema in the library's reading.
pub(crate) struct Lowered {
    /// Always an object.
    pub(crate) schema: Value,
    /// JSON pointer of the first schema with a `oneOf` that only the library may show to be
    /// exclusive.
    pub(crate) open_one_of: Option<String>,
}

/// Rewrites a schema, so that the library's reading of the result allows valid values only.
pub(crate) fn lower(schema: &Value) -> Result<Lowered, GrammarError> {
    let mut lowering = Lowering {
        references: References::new(schema),
        n_nodes: 0,
        divisors: Divisors::default(),
        intervals: Intervals::default(),
        definitions: Vec::new(),
        definition_of: HashMap::new(),
        open_one_of: None,
    };
    let root = Place { pointer: String::new(), depth: 0, embedded: false };
    let mut lowered = match lowering.schema(schema, &root)? {
        Value::Object(fields) => fields,
        Value::Bool(true) => Map::new(),
        _ => {
            let message = "the schema allows nothing".to_owned();
            return Err(GrammarError::Unsatisfiable { message });
        }
    };
    lowering.check_aliases()?;
    let ends = productive::is_productive(&Value::Object(lowered.clone()), &lowering.definitions);
    if !ends {
        let message = "every value would have to be endless".to_owned();
        return Err(GrammarError::Unsatisfiable { message });
    }
    let numbered = lowering.definitions.into_iter().enumerate();
    let definitions: Fields = numbered.map(|(idx, schema)| (idx.to_string(), schema)).collect();
    lowered.insert("$defs".to_owned(), Value::Object(definitions));
    Ok(Lowered { schema: Value::Object(lowered), open_one_of: lowering.open_one_of })
}

struct Lowering<'a> {
    references: References<'a>,
    n_nodes: usize,
    divisors: Divisors,
    intervals: Intervals,
    /// What references point at, rewritten; `Null` while it is under way.
    definitions: Vec<Value>,
    /// JSON pointers of the definitions.
    definition_of: HashMap<String, usize>,
    open_one_of: Option<String>,
}

/// One schema as it is rewritten: its own constraints, and others that hold beside them.
#[derive(Default)]
struct Out {
    fields: Fields,
    all_of: Vec<Value>,
    /// Lower and (mirrored) upper bounds of numbers.
    lower: Option<Bound>,
    upper: Option<Bound>,
}

impl Out {
    fn set(&mut self, key: &str, value: Value) {
        self.fields.insert(key.to_owned(), value);
    }

    fn finish(mut self) -> Value {
        for (bound, sign, names) in [
            (self.lower, 1.0, ["minimum", "exclusiveMinimum"]),
            (self.upper, -1.0, ["maximum", "exclusiveMaximum"]),
        ] {
            if let Some(bound) = bound {
                self.set(names[usize::from(bound.exclusive)], json!(bound.value * sign));
            }
        }
        // Last, and so after the plain constraints in the library's reading order.
        for key in ["const", "enum", "$ref", "anyOf", "oneOf"] {
            if let Some(value) = self.fields.shift_remove(key) {
                self.set(key, value);
            }
        }
        if !self.all_of.is_empty() {
            let all_of = std::mem::take(&mut self.all_of);
            self.set("allOf", Value::Array(all_of));
        }
        Value::Object(self.fields)
    }
}

impl<'a> Lowering<'a> {
    fn schema(&mut self, schema: &'a Value, place: &Place) -> Result<Value, GrammarError> {
        self.count(1)?;
        place::check_depth(place.depth)?;
        let fields = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(fields) => fields,
            other => {
                return Err(GrammarError::Malformed {
                    pointer: place.pointer.clone(),
                    expected: "an object or a boolean",
                    got: shortened(&other.to_string()),
                });
            }
        };
        let here = Place {
            pointer: place.pointer.clone(),
            depth: place.depth,
            embedded: place.embedded || !place.pointer.is_empty() && references::has_base(schema),
        };
        let mut out = Out::default();
        for (keyword, value) in fields {
            match keywords::find(keyword) {
                Some(Keyword::Annotation) => {}
                Some(Keyword::Refused(reason)) => return Err(here.unsupported(keyword, reason)),
                None => return Err(here.unsupported(keyword, "it is not known")),
                Some(Keyword::Constraint) => {
                    self.keyword(keyword, value, fields, &here, &mut out)?
                }
            }
        }
        bounds(fields, &here, &mut out)?;
        let has_fractions = !place::is_integer(fields.get("type"));
        if has_fractions && !self.intervals.add(out.lower, out.upper) {
            let reason = "a whole bound is excluded within 1 of a bound that has a fraction";
            return Err(here.unsupported("exclusiveMinimum", reason));
        }
        Ok(out.finish())
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        fields: &'a Fields,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        match keyword {
            "type" => out.set(keyword, place::types(value, place)?),
            "const" => {
                self.constant(value, keyword, place, place.depth)?;
                out.set(keyword, value.clone());
            }
            "enum" => {
                for constant in array(keyword, value, place)? {
                    self.constant(constant, keyword, place, place.depth)?;
                }
                out.set(keyword, value.clone());
            }
            "multipleOf" => {
                self.divisors.add(value, &place.pointer)?;
                out.set(keyword, value.clone());
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "maxProperties"
            | "minProperties" => {
                let count = place::count(keyword, value, place)?;
                if keyword == "minProperties" {
                    place::check_distinct(count, fields, place)?;
                }
                out.set(keyword, json!(count));
            }
            "pattern" => {
                let text = string(keyword, value, place)?;
                out.set(keyword, json!(self.pattern(text, &place.inner(keyword).pointer)?));
            }
            "format" => self.format(string(keyword, value, place)?, fields, place, out)?,
            "uniqueItems" => place::check_unique(value, fields, place)?,
            "nullable" if *value != json!(false) => {
                return Err(place.unsupported(keyword, "add \"null\" to \"type\" instead"));
            }
            "items" | "prefixItems" | "additionalItems" => {
                self.items(keyword, value, fields, place, out)?;
            }
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "required"
            | "unevaluatedProperties"
            | "propertyNames" => {
                self.object(keyword, value, fields, place, out)?;
            }
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                self.dependencies(keyword, value, place, out)?;
            }
            "allOf" | "anyOf" | "oneOf" => self.combination(keyword, value, place, out)?,
            "$ref" => {
                let reference = string(keyword, value, place)?;
                out.set(keyword, json!(self.reference(reference, place)?));
            }
            // Bounds are taken together; `nullable: false` is the rule.
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize) -> Result<(), GrammarError> {
        self.n_nodes += nodes;
        if self.n_nodes > SCHEMA_NODES_MAX {
            let (got, limit) = (self.n_nodes as u64, SCHEMA_NODES_MAX as u64);
            return Err(GrammarError::TooLarge {
                what: "parts of a schema".to_owned(),
                got,
                limit,
            });
        }
        Ok(())
    }

    fn pattern(&mut self, text: &str, pointer: &str) -> Result<String, GrammarError> {
        let whole = pattern::search(text).map_err(|refusal| refusal.at_pointer(pointer))?;
        self.count(whole.len() / 64)?;
        Ok(format!("^{whole}$"))
    }

    /// Values that the answer must have literally.
    fn constant(
        &mut self,
        value: &Value,
        keyword: &str,
        place: &Place,
        depth: usize,
    ) -> Result<(), GrammarError> {
        self.count(1)?;
        place::check_depth(depth)?;
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::INFINITY);
                if number.abs() > EXACT_MAX {
                    return Err(place.unsupported(keyword, "a number is beyond 2^53"));
                }
            }
            Value::String(text) => place::check_characters(text, keyword, place)?,
            Value::Array(items) => {
                for item in items {
                    self.constant(item, keyword, place, depth + 1)?;
                }
            }
            Value::Object(fields) => {
                for (key, inner) in fields {
                    place::check_characters(key, keyword, place)?;
                    self.constant(inner, keyword, place, depth + 1)?;
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        Ok(())
    }

    fn format(
        &mut self,
        name: &str,
        fields: &Fields,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        if let Some(text) = formats::pattern(name) {
            let lowered = json!(self.pattern(&text, &place.inner("format").pointer)?);
            if fields.contains_key("pattern") {
                out.all_of.push(json!({"pattern": lowered}));
            } else {
                out.set("pattern", lowered);
            }
            return Ok(());
        }
        if let Some((_, least, most)) = formats::INTEGER_FORMATS.iter().find(|(f, ..)| *f == name) {
            out.lower = Some(Bound { value: *least, exclusive: false });
            out.upper = Some(Bound { value: -*most, exclusive: false });
            return Ok(());
        }
        if formats::FREE_FORMATS.contains(&name) {
            return Ok(());
        }
        Err(place.unsupported("format", "this format is not known"))
    }

    fn items(
        &mut self,
        keyword: &str,
        value: &'a Value,
        fields: &'a Fields,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        let is_tuple = fields.get("items").is_some_and(Value::is_array);
        match keyword {
            // Up to 2019-09 a list of schemas in `items`, and the rest in `additionalItems`.
            "items" if is_tuple => {
                if fields.contains_key("prefixItems") {
                    return Err(place.unsupported("prefixItems", "`items` is a list as well"));
                }
                let lowered = self.list("items", value, place)?;
                out.set("prefixItems", Value::Array(lowered));
            }
            "additionalItems" if is_tuple => {
                out.set("items", self.schema(value, &place.inner(keyword))?);
            }
            "additionalItems" => {}
            "prefixItems" => {
                let lowered = self.list(keyword, value, place)?;
                out.set(keyword, Value::Array(lowered));
            }
            _ => out.set(keyword, self.schema(value, &place.inner(keyword))?),
        }
        Ok(())
    }

    fn list(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: &Place,
    ) -> Result<Vec<Value>, GrammarError> {
        let outer = place.inner(keyword);
        let schemas = array(keyword, value, place)?.iter().enumerate();
        schemas.map(|(idx, schema)| self.schema(schema, &outer.inner(&idx.to_string()))).collect()
    }

    fn map(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: &Place,
    ) -> Result<Fields, GrammarError> {
        let outer = place.inner(keyword);
        let schemas = object(keyword, value, place)?.iter();
        schemas
            .map(|(key, schema)| Ok((key.clone(), self.schema(schema, &outer.inner(key))?)))
            .collect()
    }

    fn object(
        &mut self,
        keyword: &str,
        value: &'a Value,
        fields: &'a Fields,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        match keyword {
            "properties" => {
                let properties = self.map(keyword, value, place)?;
                for name in properties.keys() {
                    place::check_characters(name, keyword, place)?;
                }
                let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len);
                let optional = properties.len().saturating_sub(required);
                if optional > OPTIONAL_PROPERTIES_MAX {
                    let what = format!("keys that may be left out at \"{}\"", place.pointer);
                    let (got, limit) = (optional as u64, OPTIONAL_PROPERTIES_MAX as u64);
                    return Err(GrammarError::TooLarge { what, got, limit });
                }
                out.set(keyword, Value::Object(properties));
            }
            "patternProperties" => {
                let mut lowered = Map::new();
                let patterns = self.map(keyword, value, place)?;
                // Each is compared with each.
                self.count(patterns.len() * patterns.len() * PATTERN_PAIR_NODES / 2)?;
                for (name, schema) in patterns {
                    let pointer = place.inner(keyword).inner(&name).pointer;
                    lowered.insert(self.pattern(&name, &pointer)?, schema);
                }
                out.set(keyword, Value::Object(lowered));
            }
            "required" => out.set(keyword, json!(self.names(keyword, value, place)?)),
            "unevaluatedProperties" => {
                let elsewhere = ["allOf", "anyOf", "oneOf", "$ref", "dependentSchemas"];
                if *value == json!(true) || fields.contains_key("additionalProperties") {
                    return Ok(());
                }
                if elsewhere.iter().any(|keyword| fields.contains_key(*keyword)) {
                    let reason = "which keys it concerns depends on other keywords beside it";
                    return Err(place.unsupported(keyword, reason));
                }
                out.set("additionalProperties", self.schema(value, &place.inner(keyword))?);
            }
            "propertyNames" => self.property_names(value, place, out)?,
            _ => out.set(keyword, self.schema(value, &place.inner(keyword))?),
        }
        Ok(())
    }

    /// One constraint on names is a pattern that all keys match.
    fn property_names(
        &mut self,
        value: &'a Value,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        let inner = place.inner("propertyNames");
        let Value::Object(lowered) = self.schema(value, &inner)? else {
            if *value == json!(false) {
                out.all_of.push(json!({"maxProperties": 0}));
            }
            return Ok(());
        };
        let refuse = || place.unsupported("propertyNames", "only one `pattern`, `enum` or length");
        let mut pattern = None;
        for (keyword, value) in &lowered {
            let text = match (keyword.as_str(), value) {
                ("type", Value::String(name)) if name == "string" => continue,
                ("pattern", Value::String(text)) => text.clone(),
                ("maxLength", count) if !lowered.contains_key("minLength") => {
                    self.pattern(&format!("^[^]{{0,{count}}}$"), &inner.pointer)?
                }
                ("minLength", count) if !lowered.contains_key("maxLength") => {
                    self.pattern(&format!("^[^]{{{count},}}$"), &inner.pointer)?
                }
                ("enum", Value::Array(names)) if names.iter().all(Value::is_string) => {
                    let names = names.iter().filter_map(Value::as_str).map(pattern::literal);
                    format!("^(?:{})$", names.collect::<Vec<_>>().join("|"))
                }
                ("const", Value::String(name)) => format!("^{}$", pattern::literal(name)),
                _ => return Err(refuse()),
            };
            if pattern.replace(text).is_some() {
                return Err(refuse());
            }
        }
        if let Some(pattern) = pattern {
            let keys = json!({"patternProperties": {pattern: true}, "additionalProperties": false});
            out.all_of.push(keys);
        }
        Ok(())
    }

    fn names(
        &mut self,
        keyword: &str,
        value: &Value,
        place: &Place,
    ) -> Result<Vec<String>, GrammarError> {
        let mut names = Vec::new();
        for name in place::array_or_empty(keyword, value, place)? {
            let name = string(keyword, name, place)?;
            place::check_characters(name, keyword, place)?;
            self.count(1)?;
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Where a key is there, more must hold: the key is not there, or it all holds.
    fn dependencies(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        let outer = place.inner(keyword);
        for (key, dependent) in object(keyword, value, place)? {
            place::check_characters(key, keyword, place)?;
            let then = if keyword == "dependentRequired" || dependent.is_array() {
                let mut required = self.names(key, dependent, &outer)?;
                required.insert(0, key.clone());
                json!({"required": required})
            } else {
                let schema = self.schema(dependent, &outer.inner(key))?;
                json!({"required": [key], "allOf": [schema]})
            };
            out.all_of.push(json!({"anyOf": [{"properties": {key: false}}, then]}));
        }
        Ok(())
    }

    fn combination(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: &Place,
        out: &mut Out,
    ) -> Result<(), GrammarError> {
        if keyword != "oneOf" {
            let lowered = self.list(keyword, value, place)?;
            match keyword {
                "allOf" => out.all_of.extend(lowered),
                _ => out.set(keyword, Value::Array(lowered)),
            }
            return Ok(());
        }
        let outer = place.inner(keyword);
        let schemas = array(keyword, value, place)?.iter().enumerate();
        let mut lowered = schemas
            .map(|(idx, schema)| self.inlined(schema, &outer.inner(&idx.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        if alternatives::separate(&mut lowered, &self.definitions) {
            // Beside an `anyOf` of the schema's own.
            out.all_of.push(json!({"anyOf": lowered}));
        } else {
            self.open_one_of.get_or_insert_with(|| place.pointer.clone());
            out.set(keyword, Value::Array(lowered));
        }
        Ok(())
    }

    /// An alternative of `oneOf`: whether two exclude each other shows in their own keywords, so
    /// a reference is replaced with what it points at, unless that is what we are in.
    fn inlined(&mut self, schema: &'a Value, place: &Place) -> Result<Value, GrammarError> {
        let lowered = self.schema(schema, place)?;
        let reference = lowered.as_object().filter(|fields| fields.len() == 1);
        let Some(Value::String(name)) = reference.and_then(|fields| fields.get("$ref")) else {
            return Ok(lowered);
        };
        let idx: Option<usize> = name.rsplit('/').next().and_then(|idx| idx.parse().ok());
        let target = idx.map_or(Value::Null, |idx| self.definitions[idx].clone());
        self.count(size(&target))?;
        Ok(if target.is_null() { lowered } else { target })
    }

    fn reference(&mut self, reference: &str, place: &Place) -> Result<String, GrammarError> {
        let is_relative = !reference.contains(':');
        if place.embedded && is_relative {
            return Err(place.unsupported("$ref", "it is relative to the `$id` of a part"));
        }
        let target = self.references.find(reference);
        let target = target.ok_or_else(|| GrammarError::UnknownReference {
            pointer: place.pointer.clone(),
            reference: shortened(reference),
        })?;
        if target.crosses && is_relative {
            return Err(place.unsupported("$ref", "it points into a part that has its own `$id`"));
        }
        if let Some(idx) = self.definition_of.get(&target.pointer) {
            return Ok(format!("#/$defs/{idx}"));
        }
        let idx = self.definitions.len();
        self.definitions.push(Value::Null);
        self.definition_of.insert(target.pointer.clone(), idx);
        let there =
            Place { pointer: target.pointer, depth: place.depth + 1, embedded: target.embedded };
        self.definitions[idx] = self.schema(target.schema, &there)?;
        Ok(format!("#/$defs/{idx}"))
    }

    /// A reference that leads to itself and to nothing else has no meaning.
    fn check_aliases(&self) -> Result<(), GrammarError> {
        let next = |schema: &Value| {
            let name = schema.as_object()?.get("$ref")?.as_str()?;
            name.rsplit('/').next()?.parse::<usize>().ok()
        };
        for start in 0..self.definitions.len() {
            let mut at = start;
            for _ in 0..self.definitions.len() {
                let Some(idx) = next(&self.definitions[at]) else { break };
                at = idx;
                if at == start {
                    let found = self.definition_of.iter().find(|(_, idx)| **idx == start);
                    let pointer = found.map(|(pointer, _)| pointer.clone()).unwrap_or_default();
                    let reason = "it leads back to itself";
                    let keyword = "$ref".to_owned();
                    return Err(GrammarError::Unsupported { keyword, pointer, reason });
                }
            }
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Bounds of numbers, as the tightest of all that are given.
fn bounds(fields: &Fields, place: &Place, out: &mut Out) -> Result<(), GrammarError> {
    let sides = [("minimum", "exclusiveMinimum", 1.0), ("maximum", "exclusiveMaximum", -1.0)];
    for (plain, exclusive, sign) in sides {
        let number = |keyword: &str| match fields.get(keyword) {
            None | Some(Value::Bool(_)) if keyword == exclusive => Ok(None),
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(value) => Ok(Some(value * sign)),
                None => Err(place.malformed(keyword, "a number", value)),
            },
        };
        // Draft 4 has a boolean that says whether the plain bound is itself excluded.
        let excludes = fields.get(exclusive) == Some(&json!(true));
        let mut bound = if sign > 0.0 { out.lower } else { out.upper };
        if let Some(value) = number(plain)? {
            bound = Some(Bound { value, exclusive: excludes }.tighter(bound));
        }
        if let Some(value) = number(exclusive)? {
            bound = Some(Bound { value, exclusive: true }.tighter(bound));
        }
        let clamped =
            match bound {
                None => None,
                Some(bound) => Some(bound.clamped().ok_or_else(|| {
                    place.unsupported(plain, "it leaves only numbers beyond 2^53")
                })?),
            };
        if sign > 0.0 {
            out.lower = clamped;
        } else {
            out.upper = clamped;
        }
    }
    Ok(())
}
