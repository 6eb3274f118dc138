//! Mails through servers that others wrote: aiosmtpd with STARTTLS and a password, and Postfix.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    config::Connection,
    destination::{DestinationKind, EmailConfig, SmtpSecurity},
    kind::Kind,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{email::mail_by, tls::write_identity, *};
use crate::{
    rig::{PATIENCE, free_address},
    tools::{library, program, skip},
};

/// A call whose text is a trial for mail: letters beyond ASCII, a line that is a dot, lines that begin with dots.
fn trial() -> Event {
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    record["summary"] = json!("Zoë Müller à 9 h — 日本語 🎉\n.\n..\n.hidden\nFrom here on.");
    Event { id: EventId::from("evt_trial"), ..event_of(Kind::Ended, &record.to_string()) }
}

/// What a person reads in a mail, and its headers by their names, as Python's library reads them.
async fn read(mail: &[u8]) -> Value {
    let code = "
import base64, email, email.policy, json, sys
mail = email.message_from_bytes(base64.b64decode(sys.stdin.read()), policy=email.policy.default)
text, html = (mail.get_body((kind,)).get_content() for kind in ('plain', 'html'))
print(json.dumps({'headers': {name.lower(): value for name, value in mail.items()}, 'text': text, 'html': html,
                  'defects': [str(defect) for part in mail.walk() for defect in part.defects]}))
";
    let mut python = program("python3");
    python.args(["-c", code]);
    let said = crate::tools::output(&mut python, &STANDARD.encode(mail)).await.unwrap();
    serde_json::from_str(&said).unwrap()
}

fn is_the_trial(mail: &Value) {
    let headers = &mail["headers"];
    assert_eq!(mail["defects"], json!([]), "{mail}");
    assert_eq!(headers["from"], "alerts@acme.example");
    assert!(headers["message-id"].as_str().unwrap().starts_with("<evt_trial"), "{headers}");
    assert_eq!(headers["auto-submitted"], "auto-generated");
    for part in ["Zoë Müller à 9 h — 日本語 🎉", "From here on."] {
        assert!(mail["text"].as_str().unwrap().contains(part), "{part} in {mail}");
        assert!(mail["html"].as_str().unwrap().contains(part), "{part} in {mail}");
    }
    let lines: Vec<_> = mail["text"].as_str().unwrap().lines().map(str::trim).collect();
    for line in [".", "..", ".hidden"] {
        assert!(lines.contains(&line), "{line:?} in {lines:?}");
    }
}

/// A program that ends with the test, and the lines that it prints.
struct Server {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    async fn line(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("it prints").unwrap().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
}

/// aiosmtpd, which takes mail over TLS from whoever knows the password, and prints its port and each mail.
const AIOSMTPD: &str = "
import asyncio, base64, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('nobody@'):
            return '550 5.1.1 No such user here'
        envelope.rcpt_tos.append(address)
        return '250 OK'

    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({'from': envelope.mail_from, 'to': envelope.rcpt_tos, 'tls': session.ssl is not None,
                          'mail': base64.b64encode(envelope.original_content).decode()}), flush=True)
        return '250 2.0.0 Taken'

def knows(server, session, envelope, mechanism, data):
    is_right = data.login == b'alerts' and data.password == 'Zoë’s secret'.encode()
    return AuthResult(success=is_right, handled=False)

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')
def session():
    return SMTP(Handler(), hostname='mail.acme.example', tls_context=tls, require_starttls=True,
                auth_required=True, authenticator=knows)

async def main():
    server = await asyncio.get_running_loop().create_server(session, '127.0.0.1', 0)
    print(json.dumps({'port': server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()

asyncio.run(main())
";

#[tokio::test]
async fn aiosmtpd_takes_mail_over_tls_from_whoever_knows_the_password() {
    let Some(_) = library("python/aiosmtpd") else { return };
    http::install_tls();
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let mut python = program("python3");
    python.args(["-c", AIOSMTPD]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut server = Server { _child: child, lines };
    let port = server.line().await["port"].as_u64().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    let connection = Connection { ca_file: Some(folder.path().join("cert.pem")), ..Connection::default() };
    let mail_to = |to: &[&str], password: &str| {
        let mut email = EmailConfig {
            connection: connection.clone(),
            password: Some(password.into()),
            to: to.iter().map(|to| to.parse().unwrap()).collect(),
            ..mail_by(SmtpSecurity::StartTls, address, "manager@acme.example")
        };
        email.smtp.user = Some("alerts".to_owned());
        config(DestinationKind::Email(email))
    };
    const RIGHT: &str = "Zoë’s secret";

    let answer = deliver(&mail_to(&["manager@acme.example"], RIGHT), &trial()).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let taken = server.line().await;
    assert_eq!((&taken["from"], &taken["tls"]), (&json!("alerts@acme.example"), &json!(true)));
    assert_eq!(taken["to"], json!(["manager@acme.example"]));
    is_the_trial(&read(&STANDARD.decode(taken["mail"].as_str().unwrap()).unwrap()).await);

    // One of two is refused: the other has it, and is not sent it again.
    let both = mail_to(&["manager@acme.example", "nobody@acme.example"], RIGHT);
    let answer = deliver(&both, &trial()).await;
    assert!(answer.result.contains("550") || answer.response.contains("550"), "{answer:?}");
    assert!(answer.result.contains("nobody@") || answer.response.contains("nobody@"), "{answer:?}");
    assert_eq!(server.line().await["to"], json!(["manager@acme.example"]));
    let answer = deliver(&mail_to(&["nobody@acme.example"], RIGHT), &trial()).await;
    assert!(matches!(answer.reaction, Reaction::Dead(_)), "{answer:?}");

    let answer = deliver(&mail_to(&["manager@acme.example"], "wrong"), &trial()).await;
    // Somebody may mend it, so the mail waits.
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(answer.result.contains("535") && answer.result.contains("check the account"), "{answer:?}");
}

/// A private Postfix that takes mail for one address, and keeps it in a folder.
struct Postfix {
    folder: tempfile::TempDir,
    address: SocketAddr,
    _master: Child,
}

const SERVICES: [(&str, &str, &str); 14] = [
    ("cleanup", "unix", "cleanup"),
    ("qmgr", "unix", "qmgr"),
    ("rewrite", "unix", "trivial-rewrite"),
    ("bounce", "unix", "bounce"),
    ("defer", "unix", "bounce"),
    ("trace", "unix", "bounce"),
    ("flush", "unix", "flush"),
    ("proxymap", "unix", "proxymap"),
    ("error", "unix", "error"),
    ("retry", "unix", "error"),
    ("virtual", "unix", "virtual"),
    ("anvil", "unix", "anvil"),
    ("scache", "unix", "scache"),
    ("postlog", "unix-dgram", "postlogd"),
];

impl Postfix {
    /// Starts it; `None` where there is none, or where it cannot be: only root can start one.
    async fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: Postfix can be started by root alone");
            return None;
        }
        let Ok(found) = Command::new("postconf").args(["-h", "daemon_directory"]).output().await else {
            skip("there is no `postconf` on the PATH");
            return None;
        };
        let daemons = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        // Its processes have users of their own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "queue", "data", "mail"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let address = free_address();
        let at = |name: &str| path.join(name).display().to_string();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmail_owner = postfix\n\
             inet_interfaces = loopback-only\ninet_protocols = ipv4\nmyhostname = mail.acme.example\n\
             mydestination =\nmynetworks = 127.0.0.0/8\nalias_maps =\nlocal_recipient_maps =\n\
             maillog_file = {}\nmaillog_file_prefixes = {}\n\
             virtual_mailbox_domains = acme.example\nvirtual_mailbox_base = {}\n\
             virtual_mailbox_maps = inline:{{ manager@acme.example=manager/ }}\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n",
            at("queue"),
            at("data"),
            at("log"),
            at(""),
            at("mail"),
        );
        fs::write(path.join("etc/main.cf"), main).unwrap();
        let smtpd = format!("127.0.0.1:{} inet n - n - - smtpd\n", address.port());
        let service = |(name, kind, command): (&str, &str, &str)| match name {
            "qmgr" => format!("{name} {kind} n - n 300 1 {command}\n"),
            "rewrite" => format!("{name} {kind} - - n - - {command}\n"),
            "virtual" => format!("{name} {kind} - n n - - {command}\n"),
            "postlog" => format!("{name} {kind} n - n - 1 {command}\n"),
            "cleanup" | "flush" => format!("{name} {kind} n - n - 0 {command}\n"),
            _ => format!("{name} {kind} - - n - 0 {command}\n"),
        };
        let services: String = SERVICES.into_iter().map(service).collect();
        fs::write(path.join("etc/master.cf"), smtpd + &services).unwrap();
        let own = |names: [&str; 2], of: &str| {
            std::process::Command::new("chown").arg("-R").arg(of).args(names.map(at)).status().unwrap()
        };
        assert!(own(["data", "data"], "postfix").success() && own(["mail", "mail"], "65534:65534").success());
        let etc = at("etc");
        let check = Command::new("postfix").args(["-c", &etc, "check"]).output().await.unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        let mut master = Command::new(format!("{daemons}/master"));
        master.args(["-c", &etc, "-d"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let master = master.kill_on_drop(true).spawn().unwrap();
        let postfix = Self { folder, address, _master: master };
        let greets = async {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await
                    && stream.read_u8().await.is_ok_and(|first| first == b'2')
                {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let log = path.join("log");
        timeout(PATIENCE, greets).await.unwrap_or_else(|_| panic!("{:?}", fs::read_to_string(log)));
        Some(postfix)
    }

    /// The only mail that was kept, once it is there.
    async fn kept(&self) -> Vec<u8> {
        let new = self.folder.path().join("mail/manager/new");
        let looking = async {
            loop {
                let mut mails = fs::read_dir(&new).into_iter().flatten();
                if let Some(mail) = mails.next() {
                    assert!(mails.next().is_none());
                    return fs::read(mail.unwrap().path()).unwrap();
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let log = self.folder.path().join("log");
        timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{:?}", fs::read_to_string(log)))
    }
}

#[tokio::test]
async fn postfix_keeps_what_it_was_given() {
    let Some(postfix) = Postfix::start().await else { return };
    let to = |to: &[&str]| {
        config(DestinationKind::Email(EmailConfig {
            to: to.iter().map(|to| to.parse().unwrap()).collect(),
            ..mail_by(SmtpSecurity::Insecure, postfix.address, "manager@acme.example")
        }))
    };
    let answer = deliver(&to(&["nobody@acme.example"]), &trial()).await;
    assert!(matches!(answer.reaction, Reaction::Dead(_)), "{answer:?}");
    assert!(answer.result.contains("550 5.1.1"), "{answer:?}");
    let answer = deliver(&to(&["manager@acme.example", "nobody@acme.example"]), &trial()).await;
    assert!(format!("{answer:?}").contains("550 5.1.1"), "{answer:?}");
    let mail = read(&postfix.kept().await).await;
    is_the_trial(&mail);
    assert_eq!(mail["headers"]["delivered-to"], "manager@acme.example");
}
