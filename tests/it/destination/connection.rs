//! How a receiver is reached: a certificate of one's own, a proxy, public addresses only.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    callem::{Client, FetchError},
    config::{ClientIdentity, Connection, LoadOptions, SourceConfig},
    config_file::Config,
    destination::{DestinationKind, EmailConfig, Reaction, SmtpSecurity, WebhookConfig, WebhookFormat},
    http,
    kind::Kind,
    telemetry::Telemetry,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{
    email::mail_by,
    smtp::SmtpReceiver,
    tls::{CERTIFICATE, KEY},
    *,
};

fn to(url: &str, connection: Connection) -> DestinationConfig {
    config(DestinationKind::Webhook(WebhookConfig {
        url: url.parse().unwrap(),
        method: reqwest::Method::POST,
        auth: None,
        success: None,
        secrets: vec![],
        format: WebhookFormat::Standard,
        headers: vec![],
        permanent: Default::default(),
        handshake: None,
        connection,
    }))
}

fn public_only() -> Connection {
    Connection { public_only: true, ..Connection::default() }
}

/// The certificate and the key of these tests as files.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, what, base64) in
            [("cert.pem", "CERTIFICATE", CERTIFICATE), ("key.pem", "PRIVATE KEY", KEY)]
        {
            let pem = format!("-----BEGIN {what}-----\n{base64}\n-----END {what}-----\n");
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn identity(&self) -> ClientIdentity {
        ClientIdentity { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }
}

fn certificate() -> CertificateDer<'static> {
    STANDARD.decode(CERTIFICATE).unwrap().into()
}

/// A receiver that answers every request over TLS with 200, if the client is who `clients` wants.
async fn receiver(clients: Arc<dyn ClientCertVerifier>) -> String {
    let key = PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).unwrap());
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/hook", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 64 * 1024];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    url
}

#[tokio::test]
async fn a_receiver_with_a_certificate_of_ones_own_is_trusted_by_its_file() {
    http::install_tls();
    let files = Files::new();
    let url = receiver(WebPkiClientVerifier::no_client_auth()).await;
    let trusting = Connection { ca_file: Some(files.path("cert.pem")), ..Connection::default() };
    let answer = deliver(&to(&url, trusting), &event(Kind::Ended)).await;
    assert_eq!((answer.reaction, answer.result.as_str()), (Reaction::Delivered, "200 OK"));
}

#[tokio::test]
async fn a_receiver_that_wants_to_know_who_calls_is_shown_a_certificate() {
    http::install_tls();
    let files = Files::new();
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let url = receiver(WebPkiClientVerifier::builder(roots.into()).build().unwrap()).await;
    let nobody = Connection { ca_file: Some(files.path("cert.pem")), ..Connection::default() };
    let answer = deliver(&to(&url, nobody.clone()), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None }, "{}", answer.result);
    let somebody = Connection { identity: Some(files.identity()), ..nobody };
    let answer = deliver(&to(&url, somebody), &event(Kind::Ended)).await;
    assert_eq!((answer.reaction, answer.result.as_str()), (Reaction::Delivered, "200 OK"));
}

/// A mail server in front of `inner` that speaks TLS from the start, or after STARTTLS, with whom `clients` wants.
async fn mail_server(
    inner: &SmtpReceiver,
    security: SmtpSecurity,
    clients: Arc<dyn ClientCertVerifier>,
) -> SocketAddr {
    let key = PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).unwrap());
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, inner) = (listener.local_addr().unwrap(), inner.address);
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let mut inside = TcpStream::connect(inner).await?;
            if security == SmtpSecurity::StartTls {
                let mut line = vec![0; 1024];
                outside.write_all(b"220 localhost\r\n").await?;
                for answer in ["250-localhost\r\n250 STARTTLS\r\n", "220 go on\r\n"] {
                    let _ = outside.read(&mut line).await?;
                    outside.write_all(answer.as_bytes()).await?;
                }
                // A server does not greet again within TLS.
                let _ = inside.read(&mut line).await?;
            }
            let Ok(mut outside) = acceptor.accept(outside).await else { continue };
            tokio::spawn(async move { copy_bidirectional(&mut outside, &mut inside).await });
        }
        std::io::Result::Ok(())
    });
    address
}

fn mail_to(address: SocketAddr, security: SmtpSecurity, connection: Connection) -> DestinationConfig {
    config(DestinationKind::Email(EmailConfig {
        connection,
        ..mail_by(security, address, "manager@acme.example")
    }))
}

#[tokio::test]
async fn a_mail_server_is_trusted_by_its_file_and_shown_a_certificate() {
    http::install_tls();
    let files = Files::new();
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let anybody = WebPkiClientVerifier::no_client_auth();
    let somebody = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
    let trusting = Connection { ca_file: Some(files.path("cert.pem")), ..Connection::default() };
    let known = Connection { identity: Some(files.identity()), ..trusting.clone() };
    for security in [SmtpSecurity::Tls, SmtpSecurity::StartTls] {
        for (clients, connection, arrives) in [
            (&anybody, Connection::default(), false),
            (&anybody, trusting.clone(), true),
            (&somebody, trusting.clone(), false),
            (&somebody, known.clone(), true),
        ] {
            let inner = SmtpReceiver::start().await;
            let address = mail_server(&inner, security, Arc::clone(clients)).await;
            let answer = deliver(&mail_to(address, security, connection), &event(Kind::Ended)).await;
            let reaction = if arrives { Reaction::Delivered } else { Reaction::Retry { after: None } };
            assert_eq!(answer.reaction, reaction, "{security:?}: {}", answer.result);
            assert_eq!(inner.mails().len(), usize::from(arrives), "{security:?}");
        }
    }
}

#[tokio::test]
async fn a_mail_servers_files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let swapped = ClientIdentity { certificate: files.path("key.pem"), key: files.path("key.pem") };
    for connection in [
        Connection { ca_file: Some(files.path("none.pem")), ..Connection::default() },
        Connection { ca_file: Some(files.path("key.pem")), ..Connection::default() },
        Connection { identity: Some(swapped), ..Connection::default() },
    ] {
        let config = mail_to(([127, 0, 0, 1], 1).into(), SmtpSecurity::Tls, connection);
        let Err(error) = build(&config, &http::client().unwrap(), &Telemetry::default()) else {
            panic!("it was built")
        };
        let error = error.to_string();
        assert!(error.starts_with("destination receiver: the file ") && error.contains(".pem"), "{error}");
    }
}

/// A source at `url` that is reached as `connection` says.
fn source(url: &str, connection: Connection) -> SourceConfig {
    let text = format!("[sources.clinic]\napi_key = \"ck_live_{}\"\nbase_url = \"{url}\"\n", "0".repeat(60));
    let text = format!(
        "{text}[destinations.x]\ntype = \"webhook\"\nurl = \"https://example.com/\"\n[rules.x]\non = [\"ended\"]\nto = [\"x\"]\n"
    );
    let path = std::path::Path::new("config.toml");
    let loaded =
        Config::parse(&text, path, LoadOptions::default()).unwrap_or_else(|report| panic!("{report}"));
    SourceConfig { connection, ..loaded.config.sources[0].clone() }
}

#[tokio::test]
async fn a_source_is_reached_with_the_same_certificates() {
    http::install_tls();
    let files = Files::new();
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let url = receiver(WebPkiClientVerifier::builder(roots.into()).build().unwrap()).await;
    let url = url.trim_end_matches("/hook");
    let shared = http::client().unwrap();
    let nobody = Connection { ca_file: Some(files.path("cert.pem")), ..Connection::default() };
    let somebody = Connection { identity: Some(files.identity()), ..nobody.clone() };
    for (connection, is_let_in) in [(Connection::default(), false), (nobody, false), (somebody, true)] {
        let client = Client::new(&source(url, connection), &shared).unwrap();
        let error = client.page(0, 10).await.unwrap_err();
        // Its answers are empty, which is no page.
        assert_eq!(matches!(error, FetchError::NotJson(_)), is_let_in, "{error}");
    }
    let none = Connection { ca_file: Some(files.path("none.pem")), ..Connection::default() };
    let Err(error) = Client::new(&source(url, none), &shared) else { panic!("it was made") };
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[tokio::test]
async fn a_source_is_reached_through_its_proxy() {
    let proxy = MockServer::start().await;
    let page = ResponseTemplate::new(200)
        .set_body_raw(r#"{"data":[],"pagination":{"total":7}}"#, "application/json");
    Mock::given(any()).respond_with(page).mount(&proxy).await;
    let through = Connection { proxy: Some(proxy.uri().as_str().into()), ..Connection::default() };
    let source = source("http://api.invalid/v1", through);
    let client = Client::new(&source, &http::client().unwrap()).unwrap();
    assert_eq!(client.page(0, 10).await.unwrap().body.total, Some(7));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let swapped = ClientIdentity { certificate: files.path("key.pem"), key: files.path("key.pem") };
    for connection in [
        Connection { ca_file: Some(files.path("none.pem")), ..Connection::default() },
        Connection { identity: Some(swapped), ..Connection::default() },
    ] {
        let config = to("https://crm.example.com/", connection);
        let Err(error) = build(&config, &http::client().unwrap(), &Telemetry::default()) else {
            panic!("it was built")
        };
        let error = error.to_string();
        assert!(error.starts_with("destination receiver: the file ") && error.contains(".pem"), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_makes_the_connections() {
    let proxy = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&proxy).await;
    let address = proxy.uri().replace("http://", "http://me:open-sesame@");
    let through = Connection { proxy: Some(address.as_str().into()), ..Connection::default() };
    let config = to("http://crm.invalid/hook", through);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let requests = proxy.received_requests().await.unwrap();
    assert_eq!(requests[0].headers["host"], "crm.invalid");
    assert_eq!(
        requests[0].headers["proxy-authorization"],
        format!("Basic {}", STANDARD.encode("me:open-sesame"))
    );
    assert!(!format!("{config:?}").contains("sesame"));
}

#[tokio::test]
async fn private_addresses_are_not_connected_to_where_they_are_not_allowed() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let port = server.address().port();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/hook");
        let answer = deliver(&to(&url, public_only()), &event(Kind::Ended)).await;
        let result = "the host has no public address, and `allow_private` is false; nothing was sent";
        assert_retry(&answer, None, result);
    }
    let answer = deliver(&to("http://nowhere.invalid/", public_only()), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "name not found");
    assert!(server.received_requests().await.unwrap().is_empty());

    let url = format!("http://localhost:{port}/hook");
    let answer = deliver(&to(&url, Connection::default()), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "by default they are: {}", answer.result);
}
