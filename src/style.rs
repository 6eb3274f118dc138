//! Colours and line width of text on a terminal.

use std::io::IsTerminal;

/// Columns that all output fits into.
pub const WIDTH: usize = 80;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    coloured: bool,
}

/// Colours, by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Something is well.
    Green,
    /// Something happened.
    Cyan,
    /// Something was decided.
    Yellow,
    /// Something is wrong.
    Red,
    /// Less important.
    Dim,
    /// Important.
    Bold,
}

impl Style {
    /// Coloured on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn of(to: &impl IsTerminal) -> Self {
        Self {
            coloured: to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Whether [`Style::paint`] adds colour.
    pub fn is_coloured(self) -> bool {
        self.coloured
    }

    /// Without colour.
    #[cfg(test)]
    pub const PLAIN: Self = Self { coloured: false };

    /// `text` in this colour, or as it is when the style has none.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Breaks each line of `text` at spaces so that it fits into `width` columns.
pub fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut column = 0;
        for word in line.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > width {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_coloured_style_paints() {
        assert_eq!(Style::PLAIN.paint(Colour::Red, "x"), "x");
        assert_eq!(Style { coloured: true }.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
