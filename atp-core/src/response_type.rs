//! What an answer's data is, by response type: shape first, then the handler's own type.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    marker::PhantomData,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    json::{Index, Kind, Token},
    misfit::Misfit,
    response::RawJson,
    violation::{Violation, Violations},
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

/// `select`: the value of one option, or an array of at least one, each once: who chose nothing has not answered. The
/// handler gets a list either way.
pub struct Select<T = String>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Select<T> {
    type Data = Vec<T>;

    fn read(data: Option<&RawJson>) -> Result<Vec<T>, Violations> {
        let indexed = Data::required(data)?;
        indexed.selected()?;
        match indexed.kind(0) {
            Kind::Array => typed(indexed.raw),
            _ => typed(indexed.raw).map(|one| vec![one]),
        }
    }
}

/// `form`: an object, as your own struct. Which members must be there, `T` says; the question may say it too, and then
/// [`validate`](crate::validate) asks for them to be filled in.
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
///
/// An address is one of `http` or `https` with a host, spelled in the ASCII of RFC 3986, of at most 2,048 bytes. A member that
/// is `null` is not there.
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
        match (name, content) {
            (Some(name), Some(content)) if wrong.is_empty() => {
                let here = match &content {
                    FileContent::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
                    FileContent::Url(_) => None,
                };
                Ok(Self { name, content_type, size: here.or(size), content })
            }
            _ => {
                Violations::none_in(wrong)?;
                Err(data.violation(0, "must be a file").into())
            }
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
            if !is_address(&url) {
                let rule = "must be an http or https address with a host, in printable ASCII, of at most 2,048 characters";
                wrong.push(Violation::new(
                    "/url",
                    rule,
                    format!("{} characters that are not", url.chars().count()),
                ));
            }
            Some(FileContent::Url(url))
        }
        (Some(_), Some(_)) => {
            wrong.push(Violation::new("", "must have either `data` or `url`", "both"));
            None
        }
        (None, None) => {
            // A member of the wrong kind has been told already.
            let is_there = |name| data.member(name).is_some_and(|value| data.kind(value) != Kind::Null);
            if !is_there("data") && !is_there("url") {
                wrong.push(Violation::new("", "must have either `data` or `url`", "neither"));
            }
            None
        }
    }
}

/// The longest address of a file, in bytes: what browsers and proxies can be trusted with.
const MAX_URL: usize = 2048;

/// Whether it is an address as RFC 3986 spells one: of `http` or `https`, with a host, and nothing that would end a line of a
/// header or be read as another address by a browser.
fn is_address(url: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let is_spelled = url.bytes().all(|byte| byte.is_ascii_graphic() && !br#"<>"\^`{|}"#.contains(&byte));
    url.len() <= MAX_URL && is_spelled && !host.is_empty() && !host.starts_with(':')
}

/// Data as the handler's type.
fn typed<T: DeserializeOwned>(data: &RawJson) -> Result<T, Violations> {
    // Only what is read with U+FFFD can have two members that were different.
    if matches!(data.readable(), Cow::Owned(_)) {
        Data::of(data)?.check_names()?;
    }
    data.parse().or_else(|_| Err(Data::of(data)?.misfit::<T>().into()))
}

/// Data that is there, indexed: what the response types and the questions' rules look at.
pub(crate) struct Data<'a> {
    pub(crate) raw: &'a RawJson,
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
            if wrong.len() >= Violations::MAX {
                break;
            }
        }
        Violations::none_in(wrong).map(|()| strings)
    }

    /// The values of the members of the root by their names.
    pub(crate) fn members(&self) -> HashMap<Cow<'a, [u8]>, Token> {
        self.index.members(0).map(|member| (self.index.name(member), member + 1)).collect()
    }

    /// The value of a member of the root.
    pub(crate) fn member(&self, name: &str) -> Option<Token> {
        let found = self.index.members(0).find(|member| *self.index.name(*member) == *name.as_bytes());
        found.map(|member| member + 1)
    }

    /// The strings of a `select`: one, or those of an array that has some.
    pub(crate) fn selected(&self) -> Result<Vec<(Token, Cow<'a, str>)>, Violations> {
        match self.kind(0) {
            Kind::String(_) => Ok(vec![(0, self.index.text(0))]),
            Kind::Array if self.index.elements(0).next().is_none() => {
                Err(self.violation(0, "must have at least 1 element").into())
            }
            Kind::Array => self.distinct_strings(),
            _ => Err(self.violation(0, "must be the value of an option, or an array of values").into()),
        }
    }

    /// Refuses members that would be one where half of a surrogate pair is read as U+FFFD: one of them would be lost.
    pub(crate) fn check_names(&self) -> Result<(), Violation> {
        let mut todo = vec![0];
        while let Some(token) = todo.pop() {
            let mut names = HashSet::new();
            for member in self.index.members(token) {
                if !names.insert(self.index.text(member)) {
                    let rule =
                        "must have a name that differs from others in more than half of a surrogate pair";
                    return Err(self.violation(member + 1, rule));
                }
                todo.push(member + 1);
            }
            todo.extend(self.index.elements(token));
        }
        Ok(())
    }

    /// Reads again, slowly, to find the place.
    fn misfit<T: DeserializeOwned>(&self) -> Violation {
        match Misfit::of::<T>(&self.index) {
            Some((token, rule)) => self.violation(token, rule),
            None => self.violation(0, "must fit the handler's type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

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

    /// What is told of data that does not fit a type, without the part that says what was found.
    fn told<T: DeserializeOwned>(json: &str) -> String {
        let error = Form::<T>::read(Some(&RawJson::new(json.to_owned()).unwrap())).err().expect("a misfit");
        assert_eq!(error.iter().count(), 1, "{json}: {error}");
        let told = error.iter().map(|violation| [violation.pointer(), violation.rule()].join(" "));
        told.collect()
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only what fits matters here")]
    struct Order {
        amount: u8,
        #[serde(default)]
        size: Size,
        #[serde(default)]
        note: Option<String>,
        #[serde(default)]
        tags: Vec<bool>,
        #[serde(default)]
        at: Option<chrono::DateTime<chrono::Utc>>,
        #[serde(default)]
        pair: (u8, char),
        #[serde(default)]
        by_number: HashMap<u16, f64>,
        #[serde(default)]
        raw: Option<Box<serde_json::value::RawValue>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "only what fits matters here")]
    enum Size {
        #[default]
        Small,
        Large,
        Custom {
            width: u32,
        },
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only what fits matters here")]
    struct Strict {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only what fits matters here")]
    struct Flat {
        #[serde(flatten)]
        order: Order,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "only what fits matters here")]
    enum Either {
        Order(Order),
        Strict(Strict),
    }

    #[test]
    fn what_a_type_demands_is_told_with_its_place() {
        for (json, expected) in [
            ("{}", " must have the member `amount`"),
            (r#"{"amount":256}"#, "/amount must be u8"),
            (r#"{"amount":-1}"#, "/amount must be u8"),
            (r#"{"amount":1.5}"#, "/amount must be u8"),
            (r#"{"amount":"1"}"#, "/amount must be u8"),
            (r#"{"amount":99999999999999999999}"#, "/amount must be u8"),
            (r#"{"amount":1e999}"#, "/amount must be a number in the range of the handler's type"),
            (r#"{"amount":null}"#, "/amount must be u8"),
            (r#"{"amount":1,"size":"huge"}"#, "/size must be one of `small`, `large`, `custom`"),
            (r#"{"amount":1,"size":7}"#, "/size must be enum Size"),
            (r#"{"amount":1,"size":{"custom":{"width":"w"}}}"#, "/size/custom/width must be u32"),
            (
                r#"{"amount":1,"size":"custom"}"#,
                "/size must be an object of one member, named after the variant",
            ),
            (r#"{"amount":1,"note":7}"#, "/note must be a string"),
            (r#"{"amount":1,"tags":[true,0]}"#, "/tags/1 must be a boolean"),
            (r#"{"amount":1,"at":"soon"}"#, "/at must be an RFC 3339 formatted date and time string"),
            (r#"{"amount":1,"pair":[1]}"#, "/pair must be a tuple of size 2"),
            (r#"{"amount":1,"pair":[1,"ab"]}"#, "/pair/1 must be a character"),
            (r#"{"amount":1,"pair":[1,"a",2]}"#, "/pair must have fewer elements"),
            (r#"{"amount":1,"by_number":{"x":1}}"#, "/by_number/x must be u16"),
            (r#"{"amount":1,"by_number":{"7":"x"}}"#, "/by_number/7 must be f64"),
            (r#"{"raw":{"any":[1e999]},"amount":[]}"#, "/amount must be u8"),
        ] {
            assert_eq!(told::<Order>(json), expected, "{json}");
        }
        for (told, expected) in [
            (
                told::<Strict>(r#"{"name":"n","more":1}"#),
                "/more must not be there: the handler's type has no such member",
            ),
            (told::<Flat>(r#"{"amount":"1"}"#), " must be u8"),
            (told::<Flat>("{}"), " must have the member `amount`"),
            (told::<Either>("{}"), " must fit the handler's type"),
        ] {
            assert_eq!(told, expected);
        }
    }

    /// Each quotes what it read, in a way that looks like one of `serde`'s own texts.
    #[test]
    fn nothing_that_a_type_says_of_a_value_is_told() {
        use serde::{Deserializer, de::Error};

        #[derive(Debug)]
        struct Quoting;
        impl<'de> Deserialize<'de> for Quoting {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Said(String);
                impl serde::de::Visitor<'_> for Said {
                    type Value = Quoting;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(&self.0)
                    }
                }
                let said = String::deserialize(deserializer)?;
                let unexpected = serde::de::Unexpected::Str(&said);
                Err(match said.split(' ').next().unwrap() {
                    "value" => D::Error::invalid_value(unexpected, &said.as_str()),
                    "type" => D::Error::invalid_type(unexpected, &Said(said.clone())),
                    "length" => D::Error::invalid_length(said.len(), &format!("of {said}").as_str()),
                    "variant" => D::Error::unknown_variant(&said, &["a", "b"]),
                    "field" => D::Error::unknown_field(&said, &["a", "b"]),
                    _ => D::Error::custom(format!("invalid value, expected {said}")),
                })
            }
        }
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "never made")]
        struct Nested {
            list: Vec<Quoting>,
        }
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "String")]
        struct Converted;
        impl TryFrom<String> for Converted {
            type Error = String;
            fn try_from(said: String) -> Result<Self, String> {
                Err(said)
            }
        }
        for said in ["value", "type", "length", "variant", "field", "custom", "missing field"] {
            let said = format!(r#""{said} \u0068unter2\n`\"""#);
            let data = RawJson::new(said.clone()).unwrap();
            let nested = RawJson::new(format!(r#"{{"list":[{said}]}}"#)).unwrap();
            for error in [
                Choice::<Quoting>::read(Some(&data)).map(drop).unwrap_err(),
                Choice::<Converted>::read(Some(&data)).map(drop).unwrap_err(),
                Form::<Nested>::read(Some(&nested)).map(drop).unwrap_err(),
            ] {
                let error = error.to_string();
                assert!(!error.contains("unter2") && error.contains("must "), "{said}: {error}");
            }
        }
    }

    #[test]
    fn a_name_that_would_be_lost_is_refused() {
        let data = |json: &str| RawJson::new(json.to_owned()).unwrap();
        for (json, fits) in [
            (r#"{"a":{"\ud800":1,"\ud801":2}}"#, false),
            (r#"{"a":[{"\ud800":1,"\ufffd":2}]}"#, false),
            (r#"{"a":{"\ud800":1,"b":"\ud801"}}"#, true),
        ] {
            assert_eq!(Json::<Value>::read(Some(&data(json))).is_ok(), fits, "{json}");
        }
    }

    #[test]
    fn a_choice_of_nothing_is_no_answer() {
        for (json, fits) in
            [(r#""a""#, true), (r#"["a"]"#, true), ("[]", false), (r#"["a","a"]"#, false), ("1", false)]
        {
            let data = RawJson::new(json).unwrap();
            assert_eq!(Select::<String>::read(Some(&data)).is_ok(), fits, "{json}");
        }
    }

    #[test]
    fn a_file_has_a_name_and_either_bytes_or_an_address() {
        let long = |len: usize| "a".repeat(len - "https://example.com/".len());
        for (members, fits) in [
            (r#""data":"aGk=""#.to_owned(), true),
            (r#""data":"aGk=","url":null"#.to_owned(), true),
            (r#""data":null"#.to_owned(), false),
            (r#""data":null,"url":null"#.to_owned(), false),
            (r#""data":7"#.to_owned(), false),
            (r#""url":"https://example.com/a?b#c""#.to_owned(), true),
            (r#""url":"http://[::1]:8080/""#.to_owned(), true),
            (r#""url":"http://user@example.com""#.to_owned(), true),
            (r#""url":"http:// ""#.to_owned(), false),
            (r#""url":"http://""#.to_owned(), false),
            (r#""url":"http:///a""#.to_owned(), false),
            (r#""url":"http://:80/a""#.to_owned(), false),
            (r#""url":"http://user@/a""#.to_owned(), false),
            (r#""url":"http://?a""#.to_owned(), false),
            (r#""url":"https://example.com/\r\nx: y""#.to_owned(), false),
            (r#""url":"https://example.com/a b""#.to_owned(), false),
            (r#""url":"https://example.com/\u007f""#.to_owned(), false),
            (r#""url":"https://exämple.com/""#.to_owned(), false),
            (r#""url":"https://example.com\\@evil.example/""#.to_owned(), false),
            (r#""url":"ftp://example.com/""#.to_owned(), false),
            (format!(r#""url":"https://example.com/{}""#, long(2048)), true),
            (format!(r#""url":"https://example.com/{}""#, long(2049)), false),
        ] {
            let data = RawJson::new(format!(r#"{{"name":"n",{members}}}"#)).unwrap();
            let read = File::read(Some(&data));
            assert_eq!(read.is_ok(), fits, "{members:.80}");
            assert!(read.err().is_none_or(|error| error.iter().count() == 1), "{members:.80}");
        }
    }
}
