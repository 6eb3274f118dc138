//! Where the pages of calls are. Pure.

use std::{collections::BTreeMap, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use super::message::Link;
use crate::{
    call::CallId,
    config::{CallUrl, SourceConfig},
    language::Language,
    name::Name,
    privacy::HIDDEN,
    template::Context,
};

/// Where the pages of calls are, for links in messages: the vendor's, by source, and callwatch's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(Arc<Pages>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Pages {
    at_vendor: BTreeMap<Name, CallUrl>,
    /// The address of callwatch's page, with a slash at the end.
    own: Option<Url>,
}

/// A text as one part of an address: all but the unreserved characters of RFC 3986 is encoded.
fn encoded(text: &str) -> String {
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, &RESERVED).to_string()
}

/// Encodes every text in a value.
fn encode(value: &mut Value) {
    match value {
        Value::String(text) => *text = encoded(text),
        Value::Array(items) => items.iter_mut().for_each(encode),
        Value::Object(fields) => fields.values_mut().for_each(encode),
        _ => {}
    }
}

impl Links {
    /// The pages of the calls of these sources. `own` is the address at which people reach callwatch's page.
    pub fn of(sources: &[SourceConfig], own: Option<&Url>) -> Self {
        let at_vendor = |source: &SourceConfig| Some((source.name.clone(), source.call_url.clone()?));
        let own = own.map(|own| {
            let mut own = own.clone();
            let path = format!("{}/", own.path().trim_end_matches('/'));
            own.set_path(&path);
            own
        });
        Self(Arc::new(Pages { at_vendor: sources.iter().filter_map(at_vendor).collect(), own }))
    }

    /// The links to a call. `context` holds the call as its reader is shown it; the id is added, since every reader may
    /// have that.
    pub(super) fn to_call(&self, source: &Name, call: &CallId, context: &Context<'_>) -> Vec<Link> {
        let at_vendor = self.0.at_vendor.get(source).and_then(|page| {
            let mut fields: Map<String, Value> = context.call?.as_object()?.clone();
            fields.insert("id".to_owned(), call.as_str().into());
            // A value is one part of the address: no call can lead to another page of the vendor's.
            let mut fields = Value::Object(fields);
            encode(&mut fields);
            let url = page.of(&Context { call: Some(&fields), ..*context })?;
            // With a value that is masked it leads nowhere.
            (!url.as_str().contains(&encoded(HIDDEN))).then_some(url)
        });
        let path = format!("calls/{}/{}", encoded(source.as_str()), encoded(call.as_str()));
        let own = self.0.own.as_ref().and_then(|own| own.join(&path).ok());
        let language = context.language;
        let links = [(language.open_call(), at_vendor), (language.open_details(), own)];
        links.into_iter().filter_map(|(label, url)| Link::new(label, &url?)).collect()
    }

    /// The link to callwatch's page, for what is about no call: it says how everything stands.
    pub(super) fn to_page(&self, language: Language) -> Vec<Link> {
        self.0.own.iter().filter_map(|own| Link::new(language.open_page(), own)).collect()
    }
}
