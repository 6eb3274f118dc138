//! The replies of an SMTP server, and whom a refusal is about. Pure.

/// A reply (RFC 5321, section 4.2): a code and lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// 200 to 599.
    pub(super) code: u16,
    /// The texts behind the code, without line ends.
    pub(super) lines: Vec<String>,
}

/// A line that does not belong in a reply.
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
        // 53z asks for authentication (RFC 4954, section 6); 521 is about the host (RFC 7504).
        if !self.is_permanent() || matches!(self.code, 521 | 530..=539) {
            return Blame::Server;
        }
        let by_stage = match stage {
            // 50z and 555 are about commands and parameters; 550 to 554 about mail.
            _ if matches!(self.code, 500..=504 | 555) => Blame::Server,
            Stage::Opening => Blame::Server,
            Stage::Recipient => Blame::Recipient,
            Stage::Text => Blame::Mail,
        };
        match self.enhanced() {
            // Other or undefined status: as without a code.
            Some((0, 0)) | None => self.blame_by_words().unwrap_or(by_stage),
            // Bad or unauthorised sender: x.1.7 and x.1.8 (section 3.2).
            Some((1, 7 | 8)) => Blame::Server,
            // Some servers call a mailbox disabled that only takes mail at a limited rate.
            Some((2, 1)) if Said::by(&self.lines).any(&LIMITS) => Blame::Server,
            Some((1, _)) | Some((2, 1)) if stage == Stage::Recipient => Blame::Recipient,
            Some((1, _)) | Some((2, 1)) if stage == Stage::Text => Blame::Mail,
            // The message is too large for the recipient or the system (x.2.3, x.3.4); its content (x.6.z).
            Some((2, 3)) | Some((3, 4)) | Some((6, _)) => Blame::Mail,
            _ => Blame::Server,
        }
    }

    fn blame_by_words(&self) -> Option<Blame> {
        let said = Said::by(&self.lines);
        if said.any(&BLOCKS) || said.any_list() {
            Some(Blame::Server)
        } else if said.any(&RECIPIENTS) {
            Some(Blame::Recipient)
        } else if said.any(&MAILS) {
            Some(Blame::Mail)
        } else {
            said.any(&SERVERS).then_some(Blame::Server)
        }
    }
}

/// The words by which servers say whom a refusal is about, in the order in which they count. A `*` stands for any end of a
/// word.
///
/// A block says whom it is about in passing: "Blocked: user unknown list".
const BLOCKS: [&str; 14] = [
    "block",
    "blocked",
    "blocking",
    "blocklist*",
    "block list*",
    "blacklist*",
    "black list*",
    "denylist*",
    "banned",
    "reputation",
    "sender domain",
    "sender address",
    "sender verif*",
    "sender rejected",
];
const RECIPIENTS: [&str; 19] = [
    "user unknown",
    "unknown user",
    "no such user",
    "user not found",
    "unknown recipient",
    "recipient unknown",
    "no such recipient",
    "recipient not found",
    "invalid recipient",
    "mailbox unavailable",
    "unknown mailbox",
    "mailbox unknown",
    "no such mailbox",
    "no mailbox",
    "mailbox not found",
    "mailbox disabled",
    "no such address",
    "unknown address",
    "does not exist",
];
const MAILS: [&str; 8] = [
    "too large",
    "too big",
    "message size",
    "maximum size",
    "size limit",
    "exceeds size",
    "virus",
    "malware",
];
const LIMITS: [&str; 5] = ["rate", "limit", "limits", "too many", "temporar*"];
const SERVERS: [&str; 31] = [
    "authenticat*",
    "not allowed",
    "not permitted",
    "not authorized",
    "not authorised",
    "unauthorized",
    "unauthorised",
    "permission*",
    "not owned",
    "not verified",
    "denied",
    "forbidden",
    "relay",
    "relaying",
    "relayed",
    "rate",
    "limit",
    "limits",
    "throttl*",
    "quota",
    "too many",
    "too much",
    "helo",
    "ehlo",
    "try again",
    "try later",
    "temporar*",
    "greylist*",
    "policy",
    "sender",
    "spam",
];
/// Lists of blocked senders, which servers name by an address.
const LISTS: [&str; 6] = ["spamhaus", "spamcop", "sorbs", "barracudacentral", "dnsbl", "rbl"];

/// The text of a reply in lower case, as words with one space on either side.
struct Said {
    /// Without addresses and names of hosts, which may be made of any words and say nothing.
    words: String,
    /// The parts of host names.
    hosts: String,
}

impl Said {
    fn by(lines: &[String]) -> Self {
        let mut said = Self { words: " ".to_owned(), hosts: " ".to_owned() };
        for word in lines.iter().flat_map(|line| line.split_whitespace()) {
            let word = word.to_lowercase();
            let is_host = word.trim_matches(|c: char| !c.is_alphanumeric()).contains(['.', '/']);
            let kept = if is_host { &mut said.hosts } else { &mut said.words };
            let parts = word.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
            for part in parts.filter(|_| !word.contains('@')) {
                kept.push_str(part);
                kept.push(' ');
            }
        }
        said
    }

    /// Whether one of the phrases is said, as whole words.
    fn any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| match phrase.strip_suffix('*') {
            Some(begin) => self.words.contains(&format!(" {begin}")),
            None => self.words.contains(&format!(" {phrase} ")),
        })
    }

    fn any_list(&self) -> bool {
        LISTS.iter().any(|list| [&self.words, &self.hosts].iter().any(|it| it.contains(&format!(" {list} "))))
    }
}

/// Reads whatever a server may say, for `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any_reply(bytes: &[u8]) {
    let mut reply = Reply::empty();
    for line in bytes.split(|byte| *byte == b'\n') {
        match reply.push(line) {
            Ok(false) => assert!(!reply.lines.is_empty()),
            Ok(true) => {
                assert!((200..600).contains(&reply.code) && reply.words().starts_with(char::is_numeric));
                for stage in [Stage::Opening, Stage::Recipient, Stage::Text] {
                    let blame = reply.blame(stage);
                    assert!(
                        reply.is_permanent() || blame == Blame::Server,
                        "what may pass is nobody's fault: {blame:?}"
                    );
                }
                reply = Reply::empty();
            }
            Err(NoReply) => reply = Reply::empty(),
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
            ("550 5.2.1 the user is receiving mail at a rate that prevents more", at, Server),
            ("550 Rejected: listed in our RBL", at, Server),
            ("554 Message rejected: Email address is not verified.", Text, Server),
            ("521 5.2.1 : (RLY:B1)", Text, Server),
            ("550 corporate mailbox closed", at, Recipient),
            ("550 unlimited plan ended, the separate account is gone", at, Recipient),
            ("550 relay.policy.example says goodbye", at, Recipient),
            ("554 antivirus.example: cannot be read", Text, Mail),
            ("550 Requested action not taken: mailbox unavailable, quota or limit", at, Recipient),
            ("550 rate limited", at, Server),
            ("550 Sender domain does not exist", at, Server),
            ("554 see https://www.spamhaus.org/query/ip/192.0.2.1", at, Server),
            ("554 rejected, listed at dnsbl.example.org: no such user", at, Server),
            ("552 message exceeds size limit", Text, Mail),
            ("554 Rejected as SPAM", Text, Server),
            ("550-no access\n550 (authentication required)", at, Server),
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

    #[test]
    fn every_row_of_the_documented_table_is_true() {
        let page = include_str!("../../../../docs/delivery.md");
        let (_, table) = page.split_once("| refusal | about | for example |\n|---|---|---|\n").unwrap();
        let mut words = 0;
        for row in table.lines().take_while(|line| line.starts_with('|')) {
            let [refusal, about, example] =
                row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{row}")
            };
            let blame = match about {
                "the recipient" => Blame::Recipient,
                "the mail" => Blame::Mail,
                "the account, the connection or a limit" | "the account or the connection" => Blame::Server,
                other => panic!("{other}"),
            };
            let stages = match refusal.split_once("none of these, ") {
                Some((_, "at RCPT")) => vec![Stage::Recipient],
                Some((_, "at DATA or after the text")) => vec![Stage::Text],
                Some((_, "earlier")) => vec![Stage::Opening],
                Some(other) => panic!("{other:?}"),
                None => vec![Stage::Recipient, Stage::Text],
            };
            let place = if blame == Blame::Mail { stages[stages.len() - 1] } else { stages[0] };
            assert_eq!(reply(example.trim_matches('`')).blame(place), blame, "{row}");
            for stage in stages {
                for quoted in refusal.split('"').skip(1).step_by(2) {
                    words += 1;
                    let text = format!("550 here: {quoted}, we say");
                    assert_eq!(reply(&text).blame(stage), blame, "{text}");
                    let inside = format!("550 in{quoted}in");
                    let by_place = if stage == Stage::Text { Blame::Mail } else { Blame::Recipient };
                    assert_eq!(reply(&inside).blame(stage), by_place, "{inside}");
                }
            }
        }
        assert!(words > 30, "{words}");
    }
}
