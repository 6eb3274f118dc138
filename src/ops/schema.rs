//! How values of lower floors look in answers, for the description of the API: texts, mostly.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::SchemaType,
    },
};

use super::{BatchWait, CallCursor, KeptBack};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{EventId, Subject},
    kind::{Kind, Kinds},
    name::Name,
    store::{Cursor, DeliveryStateKind, Tally},
    time::Timestamp,
};

/// Describes types as what is on the right.
macro_rules! described {
    ($($type:ident: $schema:expr),+ $(,)?) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
        }
    )+};
}

described! {
    Name: text("A name of the config."),
    Timestamp: time(),
    EventId: text("`evt_` and what follows from what happened; the `webhook-id` and the `Message-ID` of every repeat."),
    CallId: text("The API's id of a call."),
    BatchKey: text("The deliveries that are told together."),
    CallCursor: text("Where a page ended. It stays valid while deliveries change."),
    Cursor: text("Where a page ended. It stays valid while deliveries change."),
    KeptBack: text("`not in the config`, `paused`, `failing`, or `in batch` and which."),
    BatchWait: text("A time, or what is waited for in words."),
    Kind: words(Kind::ALL.map(Kind::as_str)),
    Kinds: list(words(Kind::ALL.map(Kind::as_str))),
    DeliveryStateKind: words(STATES.map(DeliveryStateKind::as_str)),
    Subject: subject(),
    Tally: tally(),
}

const STATES: [DeliveryStateKind; 5] = [
    DeliveryStateKind::Pending,
    DeliveryStateKind::Held,
    DeliveryStateKind::Delivered,
    DeliveryStateKind::Merged,
    DeliveryStateKind::Dead,
];

fn of_text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn text(description: &str) -> RefOr<Schema> {
    of_text().description(Some(description)).into()
}

fn time() -> RefOr<Schema> {
    of_text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
}

fn words<const N: usize>(words: [&'static str; N]) -> RefOr<Schema> {
    of_text().enum_values(Some(words)).into()
}

fn list(of: RefOr<Schema>) -> RefOr<Schema> {
    ArrayBuilder::new().items(of).into()
}

fn subject() -> RefOr<Schema> {
    let what = "One of `call`, `source`, `destination`, `batch` with what it is, or the word `config`.";
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(what)).into()
}

fn tally() -> RefOr<Schema> {
    let states = STATES.map(DeliveryStateKind::as_str).into_iter();
    let tally = states.fold(ObjectBuilder::new(), |tally, state| {
        let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        tally.property(state, count).required(state)
    });
    tally.schema_type(Type::Object).description(Some("How many deliveries are in each state.")).into()
}
