//! What an answer's data is, by response type: shape first, then the handler's own type.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    json::{Index, Kind, Token, printable},
    response::RawJson,
};

/// The most code points of a `text` (the guide's limit).
pub const MAX_TEXT: usize = 10_000;

/// A kind of answer: how `response_data` is read, and what the handler gets.
///
/// The protocol's ten are here: [`Simple`], [`Binary`], [`Choice`], [`MultiChoice`], [`Text`], [`Number`], [`Select`],
/// [`Form`], [`Json`] and [`File`]. A type of your own is one `impl`:
///
/// ```
/// use atp_core::{RawJson, ResponseType, Violation, Violations};
///
/// /// A hand-written signature, as a list of strokes.
/// struct Signature;
///
/// impl ResponseType for Signature {
///     type Data = Vec<Vec<[f32; 2]>>;
///
///     fn read(data: Option<&RawJson>) -> Result<Self::Data, Violations> {
///         let found = || Violation::new("", "must be a list of strokes", "something else");
///         data.and_then(|data| data.parse().ok()).ok_or_else(|| found().into())
///     }
/// }
///
/// let data = RawJson::new("[[[0.0, 1.5], [0.1, 1.6]]]").unwrap();
/// assert_eq!(Signature::read(Some(&data)).unwrap()[0][1], [0.1, 1.6]);
/// ```
pub trait ResponseType {
    /// What the handler gets.
    type Data;

    /// Reads `response_data`; `None` if the member is missing.
    fn read(data: Option<&RawJson>) -> Result<Self::Data, Violations>;
}

/// One way in which data does not fit: where, which rule, and what was found, as kind and size and never as value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    path: String,
    rule: Cow<'static, str>,
    found: Cow<'static, str>,
}

impl Violation {
    /// `path` is a JSON Pointer into `response_data`, empty for the whole; `rule` says what must be; `found` says what is
    /// there instead, without its value: an answer may be private.
    #[must_use]
    pub fn new(
        path: impl Into<String>,
        rule: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { path: path.into(), rule: rule.into(), found: found.into() }
    }

    /// The place, as a JSON Pointer into `response_data`; empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What must be.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// What was found: its kind and size.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`response_data{}` {}, found {}", printable(&self.path), self.rule, self.found)
    }
}

/// The most violations that are told of one list: whoever sends thousands needs no more, and each costs a walk.
pub(crate) const MAX_TOLD: usize = 100;

/// All ways in which data does not fit; of the elements of one list the first hundred. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// `Err` with all of them, if there are any.
    pub fn none_in(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self(violations)) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, violation) in self.0.iter().enumerate() {
            write!(f, "{}{violation}", if nth > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// `simple`: nothing but the choice itself. Data is `null` or missing.
///
/// The guide does not look at the data here. This does: data beside a bare choice is something that the human said and
/// that nobody would read.
pub struct Simple;

impl ResponseType for Simple {
    type Data = ();

    fn read(data: Option<&RawJson>) -> Result<(), Violations> {
        match data {
            Some(data) if !data.is_null() => {
                let data = Data::of(data)?;
                Err(data.violation(0, "must be null").into())
            }
            _ => Ok(()),
        }
    }
}

/// Data that may be missing or `null`: the guide's `reject` has a reason or none.
///
/// ```
/// use atp_core::{RawJson, ResponseType, Text};
///
/// let null = RawJson::new("null").unwrap();
/// assert_eq!(Option::<Text>::read(Some(&null)).unwrap(), None);
/// assert!(Option::<Text>::read(Some(&RawJson::new("7").unwrap())).is_err());
/// ```
impl<R: ResponseType> ResponseType for Option<R> {
    type Data = Option<R::Data>;

    fn read(data: Option<&RawJson>) -> Result<Self::Data, Violations> {
        data.filter(|data| !data.is_null()).map(|data| R::read(Some(data))).transpose()
    }
}

/// `binary`: `true` or `false`.
pub struct Binary;

impl ResponseType for Binary {
    type Data = bool;

    fn read(data: Option<&RawJson>) -> Result<bool, Violations> {
        let data = Data::required(data)?;
        match data.kind(0) {
            Kind::True => Ok(true),
            Kind::False => Ok(false),
            _ => Err(data.violation(0, "must be true or false").into()),
        }
    }
}

/// `choice`: the value of one option, as `T`, which is a `String` or your own enum.
///
/// ```
/// use atp_core::{Choice, RawJson, ResponseType};
///
/// #[derive(serde::Deserialize, PartialEq, Debug)]
/// enum Delay {
///     #[serde(rename = "1h")]
///     Hour,
///     #[serde(rename = "1d")]
///     Day,
/// }
/// let data = RawJson::new(r#""1h""#).unwrap();
/// assert_eq!(Choice::<Delay>::read(Some(&data)).unwrap(), Delay::Hour);
/// ```
pub struct Choice<T = String>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Choice<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        let indexed = Data::required(data)?;
        indexed.string(0)?;
        typed(indexed.raw)
    }
}

/// `multi_choice`: the values of some options, each once.
pub struct MultiChoice<T = String>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for MultiChoice<T> {
    type Data = Vec<T>;

    fn read(data: Option<&RawJson>) -> Result<Vec<T>, Violations> {
        let indexed = Data::required(data)?;
        indexed.distinct_strings()?;
        typed(indexed.raw)
    }
}

/// `text`: a string of at most [`MAX_TEXT`] code points.
pub struct Text;

impl ResponseType for Text {
    type Data = String;

    fn read(data: Option<&RawJson>) -> Result<String, Violations> {
        let data = Data::required(data)?;
        Ok(data.short_text(0)?.into_owned())
    }
}

/// `number`: a JSON number, as `T`. Nothing is rounded for an integer or a decimal type; `f64` rounds as it must, and
/// refuses what it cannot hold.
pub struct Number<T = f64>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Number<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        let indexed = Data::required(data)?;
        indexed.number(0)?;
        typed(indexed.raw)
    }
}

/// `select`: the value of one option, or an array of values, each once. The handler gets a list either way.
pub struct Select<T = String>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Select<T> {
    type Data = Vec<T>;

    fn read(data: Option<&RawJson>) -> Result<Vec<T>, Violations> {
        let indexed = Data::required(data)?;
        match indexed.kind(0) {
            Kind::String(_) => typed(indexed.raw).map(|one| vec![one]),
            Kind::Array => {
                indexed.distinct_strings()?;
                typed(indexed.raw)
            }
            _ => Err(indexed.violation(0, "must be the value of an option, or an array of values").into()),
        }
    }
}

/// `form`: an object, as your own struct.
pub struct Form<T>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Form<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        // An object that is read as `T` needs no index: only one that does not fit is looked at again.
        match data.filter(|data| data.as_bytes().trim_ascii_start().starts_with(b"{")) {
            Some(object) => typed(object),
            None => Err(Data::required(data)?.violation(0, "must be an object").into()),
        }
    }
}

/// `json`: an object, as `T`.
pub struct Json<T = Value>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Json<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        Form::<T>::read(data)
    }
}

/// `file`: a file's name and type, and its bytes or where they are. Nothing is fetched. The members' names are inferred.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// `name`. It came from outside: never use it as a path.
    pub name: String,
    /// `content_type`. It came from outside: the bytes may be something else.
    pub content_type: Option<String>,
    /// `size` in bytes; that of the bytes if they are here. Of a URL it is what the answer says.
    pub size: Option<u64>,
    /// `data` or `url`.
    pub content: FileContent,
}

/// Where a file's bytes are.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileContent {
    /// Here, decoded from Base64.
    Bytes(Bytes),
    /// There. It came from outside: before you fetch it, see where it leads.
    Url(String),
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Url(_) => f.write_str("Url(..)"),
        }
    }
}

impl ResponseType for File {
    type Data = Self;

    fn read(data: Option<&RawJson>) -> Result<Self, Violations> {
        let data = Data::required(data)?;
        data.object()?;
        let mut wrong = Vec::new();
        let mut text = |name: &str| {
            let value = data.member(name).filter(|value| data.kind(*value) != Kind::Null)?;
            match data.string(value) {
                Ok(text) => Some(text.into_owned()),
                Err(violation) => {
                    wrong.push(violation);
                    None
                }
            }
        };
        let (name, content_type) = (text("name"), text("content_type"));
        let (base64, url) = (text("data"), text("url"));
        let size = data.member("size").filter(|value| data.kind(*value) != Kind::Null);
        let size = size.and_then(|value| {
            let size = data.index.raw(value).parse::<u64>();
            size.map_err(|_| wrong.push(data.violation(value, "must be a whole number of bytes"))).ok()
        });
        if data.member("name").is_none_or(|value| data.kind(value) == Kind::Null) {
            wrong.push(Violation::new("/name", "is required", "nothing"));
        }
        let content = file_content(&data, base64, url, size, &mut wrong);
        match (name, content, wrong.is_empty()) {
            (Some(name), Some(content), true) => {
                let here = match &content {
                    FileContent::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
                    FileContent::Url(_) => None,
                };
                Ok(Self { name, content_type, size: here.or(size), content })
            }
            _ => Err(Violations(wrong)),
        }
    }
}

fn file_content(
    data: &Data<'_>,
    base64: Option<String>,
    url: Option<String>,
    size: Option<u64>,
    wrong: &mut Vec<Violation>,
) -> Option<FileContent> {
    match (base64, url) {
        (Some(base64), None) => {
            let Ok(bytes) = STANDARD.decode(&base64) else {
                let found = format!("{} characters that are not", base64.chars().count());
                wrong.push(Violation::new("/data", "must be Base64 with padding", found));
                return None;
            };
            if size.is_some_and(|size| u64::try_from(bytes.len()) != Ok(size)) {
                let found = format!("{} bytes in `data`", bytes.len());
                wrong.push(Violation::new("/size", "must be the size of `data`", found));
            }
            Some(FileContent::Bytes(bytes.into()))
        }
        (None, Some(url)) => {
            if !["https://", "http://"]
                .iter()
                .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
            {
                wrong.push(Violation::new("/url", "must be an http or https address", "another text"));
            }
            Some(FileContent::Url(url))
        }
        (Some(_), Some(_)) => {
            wrong.push(data.violation(0, "must have either `data` or `url`").with_found("both"));
            None
        }
        (None, None) => {
            // A member of the wrong kind has been told already.
            if data.member("data").or(data.member("url")).is_none() {
                wrong.push(data.violation(0, "must have either `data` or `url`").with_found("neither"));
            }
            None
        }
    }
}

impl Violation {
    fn with_found(self, found: &'static str) -> Self {
        Self { found: Cow::Borrowed(found), ..self }
    }
}

/// Data as the handler's type.
fn typed<T: DeserializeOwned>(data: &RawJson) -> Result<T, Violations> {
    data.parse().or_else(|_| Err(Data::of(data)?.misfit::<T>().into()))
}

/// Data that is there, indexed: what the response types and the questions' rules look at.
pub(crate) struct Data<'a> {
    raw: &'a RawJson,
    pub(crate) index: Index<'a>,
}

impl<'a> Data<'a> {
    /// The text was checked when the `RawJson` was made, so this fails only if memory was damaged since.
    fn of(raw: &'a RawJson) -> Result<Self, Violation> {
        let index =
            Index::of_str(raw.as_str()).map_err(|_| Violation::new("", "must be JSON", "something else"))?;
        Ok(Self { raw, index })
    }

    pub(crate) fn required(raw: Option<&'a RawJson>) -> Result<Self, Violation> {
        raw.map_or_else(|| Err(Violation::new("", "is required", "nothing")), Self::of)
    }

    pub(crate) fn kind(&self, token: Token) -> Kind {
        self.index.kind(token)
    }

    pub(crate) fn violation(&self, token: Token, rule: impl Into<Cow<'static, str>>) -> Violation {
        Violation::new(self.index.pointer(token), rule, self.short(token))
    }

    /// Kind and size.
    fn short(&self, token: Token) -> String {
        match self.kind(token) {
            Kind::Object => format!("an object of {} members", self.index.members(token).count()),
            Kind::Array => format!("an array of {} elements", self.index.elements(token).count()),
            Kind::String(_) => format!("a string of {} characters", self.index.text(token).chars().count()),
            Kind::Integer | Kind::Float => "a number".to_owned(),
            Kind::True | Kind::False => "a boolean".to_owned(),
            Kind::Null => "null".to_owned(),
            Kind::Close => "nothing".to_owned(),
        }
    }

    pub(crate) fn string(&self, token: Token) -> Result<Cow<'a, str>, Violation> {
        match self.kind(token) {
            Kind::String(_) => Ok(self.index.text(token)),
            _ => Err(self.violation(token, "must be a string")),
        }
    }

    pub(crate) fn short_text(&self, token: Token) -> Result<Cow<'a, str>, Violation> {
        let text = self.string(token)?;
        // Only a text of more bytes than that needs counting.
        if text.len() > MAX_TEXT && text.chars().count() > MAX_TEXT {
            return Err(self.violation(token, format!("must have at most {MAX_TEXT} characters")));
        }
        Ok(text)
    }

    pub(crate) fn number(&self, token: Token) -> Result<&'a str, Violation> {
        match self.kind(token) {
            Kind::Integer | Kind::Float => Ok(self.index.raw(token)),
            _ => Err(self.violation(token, "must be a number")),
        }
    }

    pub(crate) fn object(&self) -> Result<(), Violation> {
        match self.kind(0) {
            Kind::Object => Ok(()),
            _ => Err(self.violation(0, "must be an object")),
        }
    }

    /// The strings of an array, with all that is wrong about it.
    pub(crate) fn distinct_strings(&self) -> Result<Vec<(Token, Cow<'a, str>)>, Violations> {
        if self.kind(0) != Kind::Array {
            return Err(self.violation(0, "must be an array").into());
        }
        let (mut strings, mut seen, mut wrong) = (Vec::new(), HashSet::new(), Vec::new());
        for element in self.index.elements(0) {
            match self.string(element) {
                Ok(text) if seen.insert(text.clone()) => strings.push((element, text)),
                Ok(_) => wrong.push(self.violation(element, "must not be there twice")),
                Err(violation) => wrong.push(violation),
            }
            if wrong.len() >= MAX_TOLD {
                break;
            }
        }
        Violations::none_in(wrong).map(|()| strings)
    }

    /// The value of a member of the root.
    pub(crate) fn member(&self, name: &str) -> Option<Token> {
        let found = self.index.members(0).find(|member| *self.index.name(*member) == *name.as_bytes());
        found.map(|member| member + 1)
    }

    /// Reads again, slowly, to find the place. The message of a `serde` error may quote the value, so only what it expects
    /// is kept.
    fn misfit<T: DeserializeOwned>(&self) -> Violation {
        let text = self.raw.readable();
        let mut json = serde_json::Deserializer::from_str(&text);
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
            return self.violation(0, "must fit the handler's type");
        };
        let message = error.inner().to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        self.violation(self.at(error.path()), rule(message, self.raw.as_str()))
    }

    /// The value at a path; where it leads out of the data, the last one on the way.
    fn at(&self, path: &serde_path_to_error::Path) -> Token {
        use serde_path_to_error::Segment;
        let member = |token, name: &str| {
            let mut members = self.index.members(token);
            members.find(|member| self.index.text(*member) == name).map(|member| member + 1)
        };
        let step = |token, segment: &Segment| match segment {
            Segment::Seq { index } => self.index.elements(token).nth(*index),
            Segment::Map { key } => member(token, key),
            // A variant is a member, or the string itself.
            Segment::Enum { variant } => member(token, variant),
            Segment::Unknown => None,
        };
        let walked = path.iter().try_fold(0, |token, segment| step(token, segment).ok_or(token));
        walked.unwrap_or_else(|last| last)
    }
}

/// What a `serde` error demands, in words that do not come from the answer: an error of the handler's own type may look like
/// one of `serde`, and quote.
fn rule(message: &str, answer: &str) -> String {
    let is_ours = |words: &&str| !answer.contains(words.trim_matches('`'));
    let expected = || {
        let (_, expected) = message.rsplit_once(", expected ")?;
        Some(expected).filter(is_ours).map(|expected| format!("must be {expected}"))
    };
    let known = ["invalid type", "invalid value", "invalid length", "unknown variant"];
    if known.iter().any(|kind| message.starts_with(kind)) {
        return expected().unwrap_or_else(|| "must fit the handler's type".to_owned());
    }
    if let Some(field) = message.strip_prefix("missing field ").filter(is_ours) {
        return format!("must have the member {field}");
    }
    if message.starts_with("unknown field") {
        return "must not be there: the handler's type has no such member".to_owned();
    }
    if message.starts_with("number out of range") {
        return "must be a number in the range of the handler's type".to_owned();
    }
    "must fit the handler's type".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_the_nearest_one() {
        for (source, expected) in [
            ("31.245270191439438", 31.245_270_191_439_438_f64),
            ("9007199254740993.0", 9_007_199_254_740_992.0),
            ("5e-324", 5e-324),
        ] {
            let data = RawJson::new(source).unwrap();
            assert_eq!(Number::<f64>::read(Some(&data)).unwrap().to_bits(), expected.to_bits(), "{source}");
        }
        assert!(Number::<f64>::read(Some(&RawJson::new("1e999").unwrap())).is_err());
    }

    #[test]
    fn an_error_of_the_handlers_own_type_that_quotes_is_not_told() {
        #[derive(Debug)]
        struct Quoting;
        impl<'de> serde::Deserialize<'de> for Quoting {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let said = String::deserialize(deserializer)?;
                Err(serde::de::Error::custom(said))
            }
        }
        for said in ["invalid value, expected hunter2", "missing field `hunter2`", "hunter2"] {
            let data = RawJson::new(serde_json::to_vec(said).unwrap()).unwrap();
            let error = Choice::<Quoting>::read(Some(&data)).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("must fit"), "{error}");
        }
    }
}
