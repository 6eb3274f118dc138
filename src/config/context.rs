//! The state that all readers of one file share: its text, the mistakes found so far, and the parts to hide.

use std::{cell::RefCell, fmt, ops::Range, path::Path};

use super::report::Mistake;

/// Whether the secrets that a file names have to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Each one is read and checked.
    Required,
    /// Variables and files are left alone, because nothing will be sent.
    Ignored,
}

/// How a file is loaded.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Whether the secrets have to exist.
    pub secrets: Secrets,
    /// Looks up a variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self { secrets: Secrets::Required, env: &|name| std::env::var(name).ok() }
    }
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// The state that all readers of one file share.
pub(crate) struct Context<'a> {
    /// The file's text.
    pub text: &'a str,
    /// Relative paths begin here.
    pub folder: &'a Path,
    pub options: LoadOptions<'a>,
    /// There are syntax errors: a key that seems to be absent may stand in a line that could not be read.
    broken: bool,
    mistakes: RefCell<Vec<Mistake>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

impl<'a> Context<'a> {
    pub fn new(text: &'a str, folder: &'a Path, options: LoadOptions<'a>, broken: bool) -> Self {
        Self { text, folder, options, broken, mistakes: RefCell::default(), hidden: RefCell::default() }
    }

    pub fn add(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Notes that something is missing; kept back while the file has syntax errors.
    pub fn add_absence(&self, mistake: Mistake) {
        if !self.broken {
            self.add(mistake);
        }
    }

    /// Keeps this part of the text out of the report.
    pub fn hide(&self, span: Range<usize>) {
        self.hidden.borrow_mut().push(span);
    }

    /// The mistakes found, and the text with stars in place of everything hidden.
    pub fn finish(self) -> (Vec<Mistake>, String) {
        let hidden = self.hidden.into_inner();
        let text = self
            .text
            .char_indices()
            .flat_map(|(at, c)| {
                let hide = !matches!(c, '\n' | '\r') && hidden.iter().any(|span| span.contains(&at));
                let (c, times) = if hide { ('*', c.len_utf8()) } else { (c, 1) };
                std::iter::repeat_n(c, times)
            })
            .collect();
        (self.mistakes.into_inner(), text)
    }
}
