//! Data that is there, indexed, and read as the handler's type.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde::de::DeserializeOwned;

use super::{
    misfit::Misfit,
    violation::{Violation, Violations},
};
use crate::{
    json::{Index, Kind, Token},
    limits,
    response::RawJson,
};

/// Data as the handler's type.
pub(super) fn typed<T: DeserializeOwned>(data: &RawJson) -> Result<T, Violations> {
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
    /// The text was checked when the `RawJson` was made, so this fails only if memory was damaged
    /// since.
    pub(super) fn of(raw: &'a RawJson) -> Result<Self, Violation> {
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
            Kind::Integer => "an integer".to_owned(),
            // What no integer type reads, though it may be as whole as `12.0`.
            Kind::Float => "a number with a fraction or an exponent".to_owned(),
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
        if text.len() > limits::TEXT && text.chars().count() > limits::TEXT {
            return Err(self.violation(token, format!("must have at most {} characters", limits::TEXT)));
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

    /// Refuses members that would be one where half of a surrogate pair is read as U+FFFD: one of
    /// them would be lost.
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
