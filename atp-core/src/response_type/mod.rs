//! What an answer's data is, by response type: shape first, then the handler's own type.

mod data;
mod file;
mod misfit;
mod violation;

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::data::Data;
use self::data::typed;
pub use self::{
    file::{File, FileContent},
    violation::{Violation, Violations},
};
use crate::{json::Kind, response::RawJson};

/// A kind of answer: how `response_data` is read, and what the handler gets.
///
/// The protocol's ten are here: [`Simple`], [`Binary`], [`Choice`], [`MultiChoice`], [`Text`],
/// [`Number`], [`Select`], [`Form`], [`Json`] and [`File`]. A type of your own is one `impl`:
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
/// The guide does not look at the data here. This does: data beside a bare choice is something that
/// the human said and that nobody would read.
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

/// `text`: a string of at most [`limits::TEXT`](crate::limits::TEXT) code points.
pub struct Text;

impl ResponseType for Text {
    type Data = String;

    fn read(data: Option<&RawJson>) -> Result<String, Violations> {
        let data = Data::required(data)?;
        Ok(data.short_text(0)?.into_owned())
    }
}

/// `number`: a JSON number, as `T`. Nothing is rounded for an integer or a decimal type; `f64`
/// rounds as it must, and refuses what it cannot hold.
///
/// An integer type reads a number that is written without a fraction and an exponent: `12.0` does
/// not fit `i64`, though it fits a question with a step of 1. Take `f64`, which is exact up to
/// 2<sup>53</sup>, where a client may write it so.
pub struct Number<T = f64>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Number<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        let indexed = Data::required(data)?;
        indexed.number(0)?;
        typed(indexed.raw)
    }
}

/// `select`: the value of one option, or an array of at least one, each once: who chose nothing has
/// not answered. The handler gets a list either way.
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

/// `form`: an object, as your own struct. Which members must be there, `T` says; the question may
/// say it too, and then [`validate`](crate::validate) asks for them to be filled in.
pub struct Form<T>(PhantomData<fn() -> T>);

impl<T: DeserializeOwned> ResponseType for Form<T> {
    type Data = T;

    fn read(data: Option<&RawJson>) -> Result<T, Violations> {
        // An object that is read as `T` needs no index: only one that does not fit is looked at
        // again.
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

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fmt};

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

    #[test]
    fn a_fraction_is_named_where_an_integer_is_read() {
        for (json, found) in [
            ("12.0", "a number with a fraction or an exponent"),
            ("1e2", "a number with a fraction or an exponent"),
            ("256", "an integer"),
        ] {
            let error = Number::<u8>::read(Some(&RawJson::new(json).unwrap())).unwrap_err().to_string();
            assert!(error.contains("must be u8") && error.contains(found), "{json}: {error}");
        }
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
}
