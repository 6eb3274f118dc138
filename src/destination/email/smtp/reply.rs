//! The replies of an SMTP server, and whom a refusal is about. Pure.

/// A reply (RFC 5321, section 4.2): a code and lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// 200 to 599.
    pub(super) code: u16,
    /// The texts behind the code, without line ends.
    pub(super) lines: Vec<String>,
}

/// A line that does not belong into a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoReply;

/// The party that has to change something before the same mail can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The recipient's address or mailbox: this recipient will never get it.
    Recipient,
    /// The mail itself: nobody will ever get it.
    Mail,
    /// The account, the connection, the server's limits or its network: the mail waits until that is mended.
    Server,
}

/// Where in a transaction a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the recipients: greeting, sign-in, MAIL.
    Opening,
    /// At RCPT, about one recipient.
    Recipient,
    /// At DATA, or after the text.
    Text,
}

impl Reply {
    /// Takes in one line without its end; says whether it is the reply's last.
    ///
    /// # Errors
    /// [`NoReply`] for a line that has no code, or another one than the lines before it.
    pub(super) fn push(&mut self, line: &[u8]) -> Result<bool, NoReply> {
        let (code, rest) = line.split_at_checked(3).ok_or(NoReply)?;
        let code = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()).ok_or(NoReply)?;
        if !(200..600).contains(&code) || (!self.lines.is_empty() && code != self.code) {
            return Err(NoReply);
        }
        self.code = code;
        let (is_last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(NoReply),
        };
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(is_last)
    }

    /// Nothing yet.
    pub(super) fn empty() -> Self {
        Self { code: 0, lines: vec![] }
    }

    /// 2yz: done.
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 5yz: refused for good, by the server's own word.
    pub(super) fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Code and text on one line: `550 5.1.1 no such mailbox`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }

    /// The second and third number of an enhanced status code (RFC 3463) at the beginning of the text.
    fn enhanced(&self) -> Option<(u16, u16)> {
        let word = self.lines.first()?.split_whitespace().next()?;
        let mut numbers = word.split('.').map(str::parse::<u16>);
        let (class, subject, detail) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        (numbers.next().is_none() && class == self.code / 100).then_some((subject, detail))
    }

    /// Whom a refusal is about. The enhanced code counts first, then the words that servers have used for decades, and
    /// only then where in the transaction it was said: a refused sender, an unknown client, relaying denied or a limit is
    /// mended at the account, however the server puts it.
    ///
    /// Anything that is not permanent is the server's.
    pub(super) fn blame(&self, stage: Stage) -> Blame {
        // 53z asks for authentication (RFC 4954, section 6).
        if !self.is_permanent() || matches!(self.code, 530..=539) {
            return Blame::Server;
        }
        let by_stage = match stage {
            // 50z and 555 are about commands and parameters, 521 about the host; 550 to 554 about mail.
            _ if matches!(self.code, 500..=504 | 521 | 555) => Blame::Server,
            Stage::Opening => Blame::Server,
            Stage::Recipient => Blame::Recipient,
            Stage::Text => Blame::Mail,
        };
        match self.enhanced() {
            // Other or undefined status: as without a code.
            Some((0, 0)) | None => self.blame_by_words().unwrap_or(by_stage),
            // Bad or unauthorised sender: x.1.7 and x.1.8 (section 3.2).
            Some((1, 7 | 8)) => Blame::Server,
            Some((1, _)) | Some((2, 1)) if stage == Stage::Recipient => Blame::Recipient,
            Some((1, _)) | Some((2, 1)) if stage == Stage::Text => Blame::Mail,
            // The message is too large for the recipient or the system (x.2.3, x.3.4); its content (x.6.z).
            Some((2, 3)) | Some((3, 4)) | Some((6, _)) => Blame::Mail,
            _ => Blame::Server,
        }
    }

    fn blame_by_words(&self) -> Option<Blame> {
        // A block says whom it is about in passing: "Blocked: user unknown list".
        const BLOCKS: [&str; 6] =
            ["blocked", "blacklist", "blocklist", "block list", "spamhaus", "reputation"];
        const SERVERS: [&str; 16] = [
            "authenticat",
            "not allowed",
            "not permitted",
            "not authorized",
            "not authorised",
            "not owned",
            "denied",
            "relay",
            "rate",
            "limit",
            "quota",
            "too many",
            "helo",
            "try again",
            "policy",
            "sender",
        ];
        const RECIPIENTS: [&str; 9] = [
            "user unknown",
            "unknown user",
            "no such user",
            "unknown recipient",
            "recipient unknown",
            "mailbox unavailable",
            "no such mailbox",
            "mailbox not found",
            "does not exist",
        ];
        const MAILS: [&str; 5] = ["too large", "message size", "too big", "virus", "malware"];
        // An address may be made of such words, and says nothing.
        let words = self.lines.iter().flat_map(|line| line.split_whitespace());
        let words: Vec<_> = words.filter(|word| !word.contains('@')).collect();
        let text = words.join(" ").to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&BLOCKS) {
            Some(Blame::Server)
        } else if says(&RECIPIENTS) {
            Some(Blame::Recipient)
        } else if says(&MAILS) {
            Some(Blame::Mail)
        } else {
            says(&SERVERS).then_some(Blame::Server)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        let mut reply = Reply::empty();
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            assert_eq!(reply.push(line.as_bytes()), Ok(lines.peek().is_none()), "{line}");
        }
        reply
    }

    #[test]
    fn a_reply_has_one_code_and_a_last_line() {
        assert_eq!(reply("250-first\n250-\n250").lines, ["first", "", ""]);
        assert_eq!(reply("550 5.1.1 no such mailbox").words(), "550 5.1.1 no such mailbox");
        for line in ["", "25", "abc def", "150 wait", "600 x", "999", "2500", "250+x", "-50 x"] {
            assert_eq!(Reply::empty().push(line.as_bytes()), Err(NoReply), "{line}");
        }
        let mut changes = reply("250-a\n250 b");
        assert_eq!(changes.push(b"251 c"), Err(NoReply));
    }

    /// The table of docs/delivery.md.
    #[test]
    fn a_refusal_is_about_whom_its_words_say() {
        use Blame::{Mail, Recipient, Server};
        use Stage::{Opening, Text};
        let at = Stage::Recipient;
        for (text, stage, blame) in [
            ("550 5.1.1 no such user", at, Recipient),
            ("550 5.1.10 recipient not found", at, Recipient),
            ("550 5.2.1 mailbox disabled", at, Recipient),
            ("550 no such user here", at, Recipient),
            ("553 <a> mailbox unavailable", at, Recipient),
            ("501 5.1.3 bad recipient address syntax", at, Recipient),
            ("550 go away", at, Recipient),
            ("550 Blocked user unknown list", at, Server),
            ("550 blocked by blocklist.example: mailbox unavailable", at, Server),
            ("554 your IP is on our blacklist, message size does not matter", Text, Server),
            ("550 <blocked.relay@acme.example> user unknown", at, Recipient),
            ("553 5.7.1 sender address not owned by user", at, Server),
            ("550 5.7.60 client does not have permissions to send as this sender", Text, Server),
            ("554 5.7.1 client host blocked using zen.spamhaus.org", at, Server),
            ("550 5.7.1 relaying denied", at, Server),
            ("554 5.7.1 relay access denied", at, Server),
            ("550 relaying denied", at, Server),
            ("550 5.5.1 HELO refused", at, Server),
            ("504 5.5.2 helo command rejected: need fully-qualified hostname", at, Server),
            ("550 5.1.8 sender rejected", at, Server),
            ("553 5.1.7 bad sender", Opening, Server),
            ("550 5.4.5 daily sending quota exceeded", Text, Server),
            ("550 5.7.233 message rate exceeded", Text, Server),
            ("452 4.2.2 mailbox full", at, Server),
            ("552 5.2.2 mailbox full", at, Server),
            ("552 5.3.4 message too large", Text, Mail),
            ("552 5.2.3 message exceeds the limit", Text, Mail),
            ("554 5.6.0 malformed message", Text, Mail),
            ("554 virus found", Text, Mail),
            ("554 transaction failed", Text, Mail),
            ("550 5.0.0 rejected", Text, Mail),
            ("535 5.7.8 bad credentials", Opening, Server),
            ("530 5.7.0 must issue STARTTLS first", Opening, Server),
            ("554 no SMTP service here", Opening, Server),
            ("421 4.3.2 shutting down", at, Server),
        ] {
            assert_eq!(reply(text).blame(stage), blame, "{text}");
        }
    }
}
