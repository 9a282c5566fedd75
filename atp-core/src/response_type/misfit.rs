//! Where data does not fit a handler's type, and what that demands, in words that cannot come from
//! the data.
//!
//! `serde`'s errors are texts: a type may quote the value in its own, and `serde_json` quotes it in
//! several. So the data is read once more, from its index, with an error type that keeps what is
//! static and drops the rest unread.

use std::{
    borrow::Cow,
    fmt::{self, Display},
};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
        Visitor,
        value::{BorrowedStrDeserializer, MapDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::json::{Index, Kind, Token};

const UNFIT: &str = "must fit the handler's type";

/// What a type demands of data that does not fit it, and of which value.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) rule: Cow<'static, str>,
    /// Unknown until the error has left the code of the type.
    at: Option<Token>,
}

impl Misfit {
    /// Reads the data as `T`; `None` if it fits.
    pub(crate) fn of<'de, T: Deserialize<'de>>(index: &Index<'de>) -> Option<(Token, Cow<'static, str>)> {
        let misfit = T::deserialize(Value { index, token: 0 }).err()?;
        Some((misfit.at.unwrap_or(0), misfit.rule))
    }

    fn new(rule: impl Into<Cow<'static, str>>) -> Self {
        Self { rule: rule.into(), at: None }
    }

    fn at(self, token: Token) -> Self {
        Self { at: self.at.or(Some(token)), ..self }
    }
}

/// What is expected, if that can only be told by a type.
///
/// `expecting` is code of the type's author. Of a visitor without any state, which almost all are,
/// it has nothing of an answer that it could quote; a visitor with state may, and so may a text
/// that was put together.
fn must_be(expected: &dyn Expected) -> Misfit {
    if size_of_val(expected) == 0 { Misfit::new(format!("must be {expected}")) } else { Misfit::new(UNFIT) }
}

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: Display>(_: T) -> Self {
        Self::new(UNFIT)
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        let quoted = || variants.iter().map(|variant| format!("`{variant}`")).collect::<Vec<_>>();
        Self::new(match variants {
            [] => Cow::Borrowed(UNFIT),
            [one] => Cow::Owned(format!("must be `{one}`")),
            [one, other] => Cow::Owned(format!("must be `{one}` or `{other}`")),
            _ => Cow::Owned(format!("must be one of {}", quoted().join(", "))),
        })
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("must not be there: the handler's type has no such member")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("must have the member `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("must have the member `{field}` once"))
    }
}

/// A value of the index.
#[derive(Clone, Copy)]
struct Value<'i, 'de> {
    index: &'i Index<'de>,
    token: Token,
}

impl<'de> Value<'_, 'de> {
    fn kind(self) -> Kind {
        self.index.kind(self.token)
    }

    /// Gives the value to a visitor, and its place to what that says.
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        // The visitor is gone when it has spoken.
        let expected = must_be(&visitor);
        let is_container = matches!(self.kind(), Kind::Object | Kind::Array);
        let told = |misfit: Misfit| {
            let is_vague = misfit.at.is_none() && misfit.rule == UNFIT && !is_container;
            if is_vague { expected } else { misfit }.at(self.token)
        };
        self.give(visitor).map_err(told)
    }

    fn give<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.kind() {
            Kind::Null | Kind::Close => visitor.visit_unit(),
            Kind::True => visitor.visit_bool(true),
            Kind::False => visitor.visit_bool(false),
            Kind::Integer | Kind::Float => self.number(visitor),
            Kind::String(_) => give_text(self.index.text(self.token), visitor),
            Kind::Array => {
                let mut elements = Elements { index: self.index, rest: self.index.elements(self.token) };
                let read = visitor.visit_seq(&mut elements)?;
                match elements.rest.next() {
                    Some(_) => Err(Misfit::new("must have fewer elements")),
                    None => Ok(read),
                }
            }
            Kind::Object => {
                let rest = self.index.members(self.token);
                visitor.visit_map(Members { index: self.index, rest, member: self.token })
            }
        }
    }

    /// As `serde_json` reads it: what does not fit into 64 bits is a double.
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let source = self.index.raw(self.token);
        if self.kind() == Kind::Integer && source != "-0" {
            if let Ok(number) = source.parse() {
                return visitor.visit_u64(number);
            }
            if let Ok(number) = source.parse() {
                return visitor.visit_i64(number);
            }
        }
        match serde_json::from_str(source) {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(Misfit::new("must be a number in the range of the handler's type")),
        }
    }
}

fn give_text<'de, V: Visitor<'de>>(text: Cow<'de, str>, visitor: V) -> Result<V::Value, Misfit> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit(visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.index.raw(self.token).parse() {
            Ok(number) if self.kind() == Kind::Integer => {
                visitor.visit_i128(number).map_err(|misfit: Misfit| misfit.at(self.token))
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.index.raw(self.token).parse() {
            Ok(number) if self.kind() == Kind::Integer => {
                visitor.visit_u128(number).map_err(|misfit: Misfit| misfit.at(self.token))
            }
            _ => self.visit(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|misfit| misfit.at(self.token))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let read = match name {
            // How `serde_json`'s `RawValue` asks for the text.
            "$serde_json::private::RawValue" => {
                visitor.visit_map(MapDeserializer::new(std::iter::once((name, self.index.raw(self.token)))))
            }
            _ => visitor.visit_newtype_struct(self),
        };
        read.map_err(|misfit| misfit.at(self.token))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let expected = must_be(&visitor);
        let mut members = self.index.members(self.token);
        let read = match (self.kind(), members.next(), members.next()) {
            (Kind::String(_), ..) => {
                visitor.visit_enum(Variant { index: self.index, name: self.token, content: None })
            }
            (Kind::Object, Some(name), None) => {
                visitor.visit_enum(Variant { index: self.index, name, content: Some(name + 1) })
            }
            _ => Err(expected),
        };
        read.map_err(|misfit| misfit.at(self.token))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Elements<'i, 'de, I> {
    index: &'i Index<'de>,
    rest: I,
}

impl<'de, I: Iterator<Item = Token>> SeqAccess<'de> for &mut Elements<'_, 'de, I> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        let Some(token) = self.rest.next() else { return Ok(None) };
        let read = seed.deserialize(Value { index: self.index, token });
        read.map(Some).map_err(|misfit| misfit.at(token))
    }
}

struct Members<'i, 'de, I> {
    index: &'i Index<'de>,
    rest: I,
    /// The name of the member that is read.
    member: Token,
}

impl<'de, I: Iterator<Item = Token>> MapAccess<'de> for Members<'_, 'de, I> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        let Some(member) = self.rest.next() else { return Ok(None) };
        self.member = member;
        let read = seed.deserialize(Name { index: self.index, member });
        read.map(Some).map_err(|misfit| misfit.at(member + 1))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let token = self.member + 1;
        seed.deserialize(Value { index: self.index, token }).map_err(|misfit| misfit.at(token))
    }
}

/// A member's name, which is read as a number or a boolean where a type asks for one, as in
/// `serde_json`.
struct Name<'i, 'de> {
    index: &'i Index<'de>,
    member: Token,
}

macro_rules! spelled {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match self.index.text(self.member).parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(must_be(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Name<'_, 'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        give_text(self.index.text(self.member), visitor)
    }

    spelled! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_enum(Variant { index: self.index, name: self.member, content: None })
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant: a string, or the one member of an object.
struct Variant<'i, 'de> {
    index: &'i Index<'de>,
    name: Token,
    content: Option<Token>,
}

impl<'de> Variant<'_, 'de> {
    fn content(&self) -> Result<Value<'_, 'de>, Misfit> {
        let value = |token| Value { index: self.index, token };
        self.content
            .map(value)
            .ok_or_else(|| Misfit::new("must be an object of one member, named after the variant"))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Misfit> {
        let variant = match self.index.text(self.name) {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => seed.deserialize(de::value::StringDeserializer::new(name)),
        };
        let place = self.content.unwrap_or(self.name);
        variant.map(|variant| (variant, self)).map_err(|misfit: Misfit| misfit.at(place))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        match self.content {
            Some(token) => Deserialize::deserialize(Value { index: self.index, token }),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Misfit> {
        let content = self.content()?;
        seed.deserialize(content).map_err(|misfit| misfit.at(content.token))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.content()?.visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.content()?.visit(visitor)
    }
}
