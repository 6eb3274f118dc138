//! The state that all readers of one file share: its text, the mistakes found so far, and the parts to hide.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Range,
    path::Path,
};

use super::{file::open_to_others, report::Mistake};

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
    /// The file, which need not exist. Relative paths begin in its folder.
    pub path: &'a Path,
    pub folder: &'a Path,
    pub options: LoadOptions<'a>,
    /// The names of the keys that stand above the first table.
    pub top: Vec<&'static str>,
    /// There are syntax errors: a key that seems to be absent may stand in a line that could not be read.
    broken: bool,
    has_literal_secret: Cell<bool>,
    mistakes: RefCell<Vec<Mistake>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

impl<'a> Context<'a> {
    pub fn new(text: &'a str, path: &'a Path, options: LoadOptions<'a>, broken: bool) -> Self {
        Self {
            text,
            path,
            folder: path.parent().unwrap_or(Path::new("")),
            options,
            top: Vec::new(),
            broken,
            has_literal_secret: Cell::new(false),
            mistakes: RefCell::default(),
            hidden: RefCell::default(),
        }
    }

    /// Notes that the file itself holds a secret. The first time, reports that others can read the file if they can.
    pub fn note_literal_secret(&self, span: Range<usize>) {
        if !self.has_literal_secret.replace(true) && open_to_others(self.path).read {
            let message = "other users of this machine can read this file, and the secret in it";
            let hint = format!(
                "chmod 600 {}, or keep the secret elsewhere: {{ env = \"NAME\" }} or {{ file = \"path\" }}",
                self.path.display()
            );
            self.add(Mistake::warning(span, message).hint(hint));
        }
    }

    /// Reports that others can read, change or replace a file that holds a secret, if they can.
    pub fn note_secret_file(&self, span: Range<usize>, path: &Path) {
        if let Some(can) = open_to_others(path).in_words() {
            let message = format!("other users of this machine can {can} this file");
            let file = path.display();
            let hint = match can {
                "replace" => format!("chmod go-w the folders that {file} is in"),
                _ => format!("chmod 600 {file}"),
            };
            self.add(Mistake::warning(span, message).hint(hint));
        }
    }

    /// Reports that others can change the file itself: then they decide where callwatch sends what it knows.
    pub fn note_own_file(&self) {
        let open = open_to_others(self.path);
        if open.write || open.replace {
            let can = if open.write { "change" } else { "replace" };
            let message =
                format!("other users of this machine can {can} this file, and so where calls are sent");
            let file = self.path.display();
            let hint = match open.write {
                true => format!("chmod go-w {file}"),
                false => format!("chmod go-w the folders that {file} is in"),
            };
            self.add(Mistake::of_file(message).into_warning().hint(hint));
        }
    }

    /// The file of environment variables beside this one, if there is one, as a shell can read it.
    pub fn env_file(&self) -> Option<String> {
        let file = self.path.with_file_name(".env");
        // Without a slash in it a shell would search for it.
        file.is_file().then(|| Path::new(".").join(file).display().to_string())
    }

    pub fn add(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Whether there are so many mistakes that no report shows another one with its hint, which takes time to find.
    pub fn is_full(&self) -> bool {
        self.mistakes.borrow().len() > 1000
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
        let mut hidden = self.hidden.into_inner();
        hidden.sort_by_key(|span| span.start);
        let mut text = String::with_capacity(self.text.len());
        let mut spans = hidden.into_iter();
        // Everything before `end` that is not before the current span is hidden.
        let (mut next, mut end) = (spans.next(), 0);
        for (at, c) in self.text.char_indices() {
            while let Some(span) = next.take_if(|span| span.start <= at) {
                end = end.max(span.end);
                next = spans.next();
            }
            let is_hidden = at < end && !matches!(c, '\n' | '\r');
            let (c, times) = if is_hidden { ('*', c.len_utf8()) } else { (c, 1) };
            text.extend(std::iter::repeat_n(c, times));
        }
        (self.mistakes.into_inner(), text)
    }
}
