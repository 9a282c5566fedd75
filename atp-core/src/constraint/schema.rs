//! JSON Schemas, judged within bounds of time, memory and stack that an answer cannot stretch.
//!
//! A schema may refer to itself, so a short answer can ask for more steps than there are atoms.
//! Three bounds hold:
//!
//! * Where a schema is made, whatever it applies to one value, however often, is counted; what
//!   applies itself to the same value again, or applies more than [`limits::SCHEMAS_APPLIED`]
//!   schemas to it, is refused.
//! * While an answer is judged, each look at it is counted by the node type that the validator
//!   reads it through. When the count is used up, that type has nothing more to show, and so the
//!   validator comes to its end. The stack is measured there too.
//! * Details are asked for only after the verdict, with a count that is much smaller, and not of
//!   long paths. An error tree has no more entries than looks at the answer.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
};

use jsonschema::{
    JsonType, PatternOptions, Validator,
    json::{Array, Json, Node, NodeIdentity, Object, cmp},
};
use serde_json::{Map, Value, map};

use super::{
    cache::Cache,
    decimal,
    pattern::{self, Pattern, PatternError},
};
use crate::{json::pointer_step, limits};

/// A schema that can be judged by, and what it costs to look at an answer through it.
pub(crate) struct Schema {
    validator: Validator<Counted>,
    costs: Costs,
}

/// What it makes of an instance.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// The places, and the rules as pointers into the schema. None where there are too many to
    /// tell.
    Unfit(Vec<(String, String)>),
    /// It was not judged to the end.
    TooCostly,
}

/// Why a schema is not judged by: which place in it, as a JSON Pointer, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}{}", Self::place(pointer))]
pub(crate) struct SchemaFault {
    pub(crate) pointer: String,
    pub(crate) rule: String,
}

impl SchemaFault {
    fn at(pointer: &str, rule: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), rule: rule.into() }
    }

    fn place(pointer: &str) -> String {
        if pointer.is_empty() { String::new() } else { format!(" (at `#{pointer:.256}`)") }
    }
}

static COMPILED: Cache<Result<Schema, SchemaFault>, { limits::SCHEMAS }> = Cache::new();

impl Schema {
    /// Compiles it, once a process while it is among the last 32; remote references are not
    /// followed.
    pub(crate) fn with<R>(schema: &Value, with: impl FnOnce(Result<&Self, &SchemaFault>) -> R) -> R {
        let text = schema.to_string();
        COMPILED.with(&text, || Self::new(schema), |made| with(made.as_ref()))
    }

    fn new(schema: &Value) -> Result<Self, SchemaFault> {
        let survey = Survey::of(schema)?;
        let mut schema = schema.clone();
        let string = survey.spell_patterns(&mut schema)?;
        let applied = survey.most_applied()?;
        let patterns = PatternOptions::regex().size_limit(Pattern::MAX_SIZE);
        let options = jsonschema::options_for::<Counted>().with_pattern_options(patterns).offline();
        let validator = options.build(&schema).map_err(|error| {
            SchemaFault::at(error.instance_path().as_str(), format!("is no JSON Schema: {error}"))
        })?;
        Ok(Self { validator, costs: Costs { value: applied, byte: string } })
    }

    /// Judges an instance that was `len` bytes of text.
    pub(crate) fn judge(&self, instance: &Value, len: usize) -> Verdict {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let steps = len.saturating_mul(limits::SCHEMA_STEPS_EACH_BYTE).saturating_add(limits::SCHEMA_STEPS);
        match Budget::during(steps, steps, self.costs, || self.validator.is_valid(Counting(instance))) {
            None => Verdict::TooCostly,
            Some(true) => Verdict::Fits,
            Some(false) => Verdict::Unfit(self.details(instance, steps)),
        }
    }

    fn details(&self, instance: &Value, bytes: u64) -> Vec<(String, String)> {
        if longest_path(instance) > limits::SCHEMA_DETAIL_PATH {
            return Vec::new();
        }
        // The message of the validator quotes the value; the keyword says which rule it was.
        let told = || {
            let errors = self.validator.iter_errors(Counting(instance)).take(limits::VIOLATIONS);
            errors.map(|error| (error.instance_path().to_string(), error.schema_path().to_string())).collect()
        };
        Budget::during(limits::SCHEMA_DETAIL_STEPS, bytes, self.costs, told).unwrap_or_default()
    }
}

/// The bytes of the longest path, of which each step counts as at least
/// [`limits::SCHEMA_DETAIL_STEP`]. An instance is nested at most 128 deep.
fn longest_path(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            let paths = members
                .iter()
                .map(|(name, value)| name.len().max(limits::SCHEMA_DETAIL_STEP) + longest_path(value));
            paths.max().unwrap_or(0)
        }
        Value::Array(elements) => elements
            .iter()
            .map(|element| limits::SCHEMA_DETAIL_STEP + longest_path(element))
            .max()
            .unwrap_or(0),
        _ => 0,
    }
}

/// Where the schemas within a schema are, and what each applies to the value that it is applied to.
struct Survey {
    /// By JSON Pointer.
    applied: BTreeMap<String, Vec<String>>,
    /// Those that look at the same value twice, to say what is left of it.
    looks_twice: HashSet<String>,
}

/// What a keyword holds, and to what it is applied.
enum Holds {
    /// One schema, or a list of them, for the same value.
    Here,
    /// A map of schemas for the same value.
    HereByName,
    /// One schema, or a list of them, for values within.
    Within,
    /// A map of schemas for values within, or for whoever refers to them.
    WithinByName,
    Nothing,
}

fn holds(keyword: &str) -> Holds {
    match keyword {
        "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => Holds::Here,
        "dependentSchemas" | "dependencies" => Holds::HereByName,
        "items"
        | "prefixItems"
        | "additionalItems"
        | "unevaluatedItems"
        | "contains"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames"
        | "contentSchema" => Holds::Within,
        "properties" | "patternProperties" | "$defs" | "definitions" => Holds::WithinByName,
        _ => Holds::Nothing,
    }
}

impl Survey {
    fn of(schema: &Value) -> Result<Self, SchemaFault> {
        let mut survey = Self { applied: BTreeMap::new(), looks_twice: HashSet::new() };
        // Each place to look at, with the place that led there.
        let mut todo = vec![(String::new(), String::new())];
        let (mut anchors, mut named) = (BTreeMap::new(), Vec::new());
        while let Some((at, from)) = todo.pop() {
            if survey.applied.contains_key(&at) {
                continue;
            }
            let found = schema.pointer(&at);
            let found = found.ok_or_else(|| {
                SchemaFault::at(&from, format!("refers to `#{at:.256}`, where there is nothing"))
            })?;
            let from_here = |to: String| (to, at.clone());
            let mut applied = Vec::new();
            for (keyword, value) in found.as_object().into_iter().flatten() {
                let place = format!("{at}/{}", pointer_step(keyword));
                match (holds(keyword), value) {
                    (Holds::Here, Value::Array(list)) => applied.extend(each(&place, list)),
                    (Holds::Here, _) => applied.push(place.clone()),
                    (Holds::HereByName, Value::Object(map)) => applied.extend(below(&place, map)),
                    (Holds::Within, Value::Array(list)) => todo.extend(each(&place, list).map(from_here)),
                    (Holds::Within, _) => todo.push(from_here(place.clone())),
                    (Holds::WithinByName, Value::Object(map)) => {
                        todo.extend(below(&place, map).map(from_here));
                    }
                    _ => {}
                }
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        match local(target, schema).map_err(|rule| SchemaFault::at(&place, rule))? {
                            Target::Pointer(pointer) => applied.push(pointer),
                            Target::Anchor(anchor) => named.push((at.clone(), anchor)),
                        }
                    }
                    ("$dynamicRef" | "$recursiveRef", _) => {
                        let rule = format!("is refused for `{keyword}`, which has no bound: refer by `$ref`");
                        return Err(SchemaFault::at(&place, rule));
                    }
                    ("$id" | "id", Value::String(_)) if !at.is_empty() && keyword == id_keyword(schema) => {
                        let rule = "is refused for a schema with an `$id` within it: refer by `#/$defs/..`";
                        return Err(SchemaFault::at(&place, rule));
                    }
                    ("$anchor", Value::String(anchor)) => drop(anchors.insert(anchor.clone(), at.clone())),
                    ("unevaluatedProperties" | "unevaluatedItems", _) => {
                        survey.looks_twice.insert(at.clone());
                    }
                    _ => {}
                }
            }
            todo.extend(applied.iter().cloned().map(from_here));
            survey.applied.insert(at, applied);
        }
        for (at, anchor) in named {
            let target = anchors.get(&anchor).ok_or_else(|| {
                SchemaFault::at(&at, format!("refers to `#{anchor:.256}`, which is no anchor"))
            })?;
            survey.applied.entry(at).or_default().push(target.clone());
        }
        Ok(survey)
    }

    /// Spells the patterns as ECMA-262 reads them, and says what a byte of a string may cost.
    fn spell_patterns(&self, schema: &mut Value) -> Result<u64, SchemaFault> {
        let mut cost = 1;
        let mut spell = |pattern: &str, place: String| {
            let fault = |error| SchemaFault::at(&place, format!("has a pattern that {error}"));
            cost = cost.max(cost_of(pattern).map_err(fault)?);
            Ok::<_, SchemaFault>(pattern::in_ascii(pattern))
        };
        // Innermost first: a name that changes is part of the pointers of what it holds.
        for at in self.applied.keys().rev() {
            let Some(Value::Object(found)) = schema.pointer_mut(at) else { continue };
            if let Some(Value::String(pattern)) = found.get_mut("pattern") {
                *pattern = spell(pattern, format!("{at}/pattern"))?;
            }
            if let Some(Value::Object(properties)) = found.get_mut("patternProperties") {
                let place = |name: &str| format!("{at}/patternProperties/{}", pointer_step(name));
                let spelled: Result<Map<_, _>, SchemaFault> = std::mem::take(properties)
                    .into_iter()
                    .map(|(name, value)| Ok((spell(&name, place(&name))?, value)))
                    .collect();
                *properties = spelled?;
            }
        }
        Ok(cost)
    }

    /// How many schemas are applied to one value at most.
    fn most_applied(&self) -> Result<u64, SchemaFault> {
        let mut counts = BTreeMap::new();
        let mut counted = self.applied.keys().map(|at| self.count(at, &mut counts, 0));
        counted.try_fold(1, |most, count| Ok(most.max(count?)))
    }

    fn count<'s>(
        &'s self,
        at: &'s str,
        counts: &mut BTreeMap<&'s str, Option<u64>>,
        within: usize,
    ) -> Result<u64, SchemaFault> {
        match counts.get(at) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => {
                return Err(SchemaFault::at(at, "applies itself to the same value without end"));
            }
            None => drop(counts.insert(at, None)),
        }
        if within >= limits::SCHEMAS_WITHIN {
            let most = limits::SCHEMAS_WITHIN;
            let rule = format!("applies more than {most} schemas within each other to one value");
            return Err(SchemaFault::at(at, rule));
        }
        let mut count = 1_u64;
        for applied in self.applied.get(at).into_iter().flatten() {
            count = count.saturating_add(self.count(applied, counts, within + 1)?);
        }
        if self.looks_twice.contains(at) {
            count = count.saturating_mul(2);
        }
        if count > limits::SCHEMAS_APPLIED {
            let rule = format!("applies more than {} schemas to one value", limits::SCHEMAS_APPLIED);
            return Err(SchemaFault::at(at, rule));
        }
        counts.insert(at, Some(count));
        Ok(count)
    }
}

fn below<'a>(place: &'a str, map: &'a Map<String, Value>) -> impl Iterator<Item = String> + 'a {
    map.keys().map(move |name| format!("{place}/{}", pointer_step(name)))
}

fn each(place: &str, list: &[Value]) -> impl Iterator<Item = String> {
    (0..list.len()).map(move |nth| format!("{place}/{nth}"))
}

/// The oldest dialect that can be read calls it otherwise.
fn id_keyword(schema: &Value) -> &'static str {
    let dialect = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    if dialect.contains("draft-04") { "id" } else { "$id" }
}

enum Target {
    Pointer(String),
    Anchor(String),
}

/// A reference to a place in the same schema.
fn local(target: &str, schema: &Value) -> Result<Target, String> {
    let id = schema.get(id_keyword(schema)).and_then(Value::as_str).unwrap_or_default().trim_end_matches('#');
    let fragment = target.strip_prefix(id).unwrap_or(target);
    let Some(fragment) =
        fragment.strip_prefix('#').or((fragment.is_empty() && !target.is_empty()).then_some(""))
    else {
        return Err(format!(
            "refers to `{target:.256}`: only what is in it can be referred to, by `#/$defs/..`"
        ));
    };
    let fragment = unescaped(fragment);
    if fragment.is_empty() || fragment.starts_with('/') {
        Ok(Target::Pointer(fragment))
    } else {
        Ok(Target::Anchor(fragment))
    }
}

/// A fragment of a URI without its percent signs.
fn unescaped(fragment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(fragment.len()), fragment);
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits.unwrap_or(b'%'));
        rest = digits.and_then(|_| after.get(2..)).unwrap_or(after);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The steps that a byte of a string costs where this pattern looks at it, by the size of what it
/// compiles to.
fn cost_of(pattern: &str) -> Result<u64, PatternError> {
    if pattern.len() > Pattern::MAX_LEN {
        return Err(PatternError::TooLong);
    }
    let sizes = [(128 << 10, 4), (1 << 20, 32), (Pattern::MAX_SIZE, 256)];
    let mut costs = sizes.into_iter().map(|(size, cost)| pattern::compile(pattern, size).map(|_| cost));
    costs.find(|cost| !matches!(cost, Err(PatternError::TooLarge))).unwrap_or(Err(PatternError::TooLarge))
}

/// What a look costs, in steps.
#[derive(Clone, Copy, Default)]
struct Costs {
    /// At a value within another: as much as there are schemas that may be applied to it without
    /// looking.
    value: u64,
    /// At a byte of a string.
    byte: u64,
}

/// What is left to be spent on this thread.
#[derive(Clone, Copy, Default)]
struct Budget {
    steps: u64,
    bytes: u64,
    costs: Costs,
    /// The lowest address to which the stack may grow.
    stack_end: usize,
}

thread_local! {
    static BUDGET: Cell<Budget> = const { Cell::new(Budget { steps: 0, bytes: 0, costs: Costs { value: 0, byte: 0 }, stack_end: 0 }) };
}

impl Budget {
    /// Runs with that much to spend; `None` if it was not enough.
    fn during<R>(steps: u64, bytes: u64, costs: Costs, run: impl FnOnce() -> R) -> Option<R> {
        let stack_end = stack_pointer().saturating_sub(limits::SCHEMA_STACK);
        BUDGET.set(Self { steps, bytes, costs, stack_end });
        let result = run();
        let left = BUDGET.replace(Self::default());
        (left.steps > 0 && left.bytes > 0).then_some(result)
    }

    /// Whether there was as much left. From the first time that there is not, there is nothing
    /// left.
    fn spend(steps: u64, bytes: u64) -> bool {
        let mut left = BUDGET.get();
        let is_within = left.steps > steps && left.bytes > bytes && stack_pointer() >= left.stack_end;
        left.steps = if is_within { left.steps - steps } else { 0 };
        left.bytes = if is_within { left.bytes - bytes } else { 0 };
        BUDGET.set(left);
        is_within
    }

    fn look() -> bool {
        Self::spend(1, 0)
    }

    fn look_within() -> bool {
        Self::spend(BUDGET.get().costs.value, 0)
    }

    fn read(text: &str) -> bool {
        let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self::spend(1, len.saturating_mul(BUDGET.get().costs.byte))
    }
}

/// About where the stack ends. It grows downwards wherever Rust has one; elsewhere this bounds
/// nothing.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// JSON of which each look is counted.
struct Counted;

impl Json for Counted {
    type Node<'a> = Counting<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut Value, string: &str, f: impl FnOnce(Counting<'_>) -> T) -> T {
        *buffer = Value::from(string);
        f(Counting(buffer))
    }
}

#[derive(Clone, Copy)]
struct Counting<'a>(&'a Value);

impl<'a> Node<'a, Counted> for Counting<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = &'a serde_json::Number;

    fn as_object(&self) -> Option<Members<'a>> {
        self.0.as_object().filter(|_| Budget::look()).map(Members)
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        self.0.as_array().filter(|_| Budget::look()).map(|elements| Elements(elements))
    }

    fn as_string(&self) -> Option<std::borrow::Cow<'a, str>> {
        self.0.as_str().filter(|text| Budget::read(text)).map(Into::into)
    }

    fn as_number(&self) -> Option<&'a serde_json::Number> {
        // A large number is divided as a fraction of large integers.
        self.0.as_number().filter(|_| Budget::spend(1, 100))
    }

    fn as_boolean(&self) -> Option<bool> {
        self.0.as_bool().filter(|_| Budget::look())
    }

    fn is_null(&self) -> bool {
        Budget::look() && self.0.is_null()
    }

    fn is_number(&self) -> bool {
        Budget::look() && self.0.is_number()
    }

    fn json_type(&self) -> JsonType {
        Budget::look();
        match self.0 {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        Budget::spend(1, size(expected)) && cmp::equal(self.0, expected)
    }

    fn to_value(&self) -> std::borrow::Cow<'a, Value> {
        std::borrow::Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.0).addr()))
    }
}

/// What it costs to compare a value: one step for each of its own.
fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => 1 + u64::try_from(text.len()).unwrap_or(u64::MAX) / 8,
        Value::Array(elements) => elements.iter().fold(1, |sum, element| sum + size(element)),
        Value::Object(members) => members.values().fold(1, |sum, member| sum + 2 + size(member)),
        _ => 1,
    }
}

struct Members<'a>(&'a Map<String, Value>);

struct EachMember<'a>(map::Iter<'a>);

impl<'a> Iterator for EachMember<'a> {
    type Item = (&'a str, Counting<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next().filter(|(name, _)| Budget::look_within() && Budget::read(name))?;
        Some((name, Counting(value)))
    }
}

impl<'a> Object<'a, Counted> for Members<'a> {
    type Node = Counting<'a>;
    type MemberName = &'a str;
    type MembersIter = EachMember<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Counting<'a>> {
        self.0.get(key).filter(|_| Budget::look_within()).map(Counting)
    }

    fn members(&self) -> EachMember<'a> {
        EachMember(self.0.iter())
    }
}

struct Elements<'a>(&'a [Value]);

struct EachElement<'a>(std::slice::Iter<'a, Value>);

impl<'a> Iterator for EachElement<'a> {
    type Item = Counting<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().filter(|_| Budget::look_within()).map(Counting)
    }
}

impl<'a> Array<'a, Counted> for Elements<'a> {
    type Node = Counting<'a>;
    type ElementsIter = EachElement<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> EachElement<'a> {
        EachElement(self.0.iter())
    }

    /// By a text that equal values share, in a set that a sender cannot fill with collisions.
    fn is_unique(&self) -> bool {
        let mut seen = HashSet::new();
        self.0.iter().all(|element| {
            let mut text = String::new();
            normal_form(element, &mut text);
            Budget::spend(1, u64::try_from(text.len()).unwrap_or(u64::MAX)) && seen.insert(text)
        })
    }
}

/// A text that equal values share and others do not. An instance is nested at most 128 deep.
fn normal_form(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => out.push_str(&decimal::normal(&number.to_string())),
        Value::Array(elements) => {
            out.push('[');
            for element in elements {
                normal_form(element, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                out.push_str(&Value::from(name.as_str()).to_string());
                normal_form(value, out);
                out.push(',');
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
