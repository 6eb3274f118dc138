//! Servers whose certificate nobody vouches for.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    destination::{DestinationKind, EmailConfig, SmtpSecurity, SmtpServer, WebhookConfig, WebhookFormat},
    http,
    kind::Kind,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// For localhost and 127.0.0.1, signed by itself, good for a hundred years; of no use but for this test.
pub const CERTIFICATE: &str = "MIIB4jCCAYigAwIBAgIUYfOF+U/Nqh++FPISJ0+DEvNI42IwCgYIKoZIzj0EAwIwOTEdMBsGA1UEAwwUTm9ib2R5IGluIHBh\
     cnRpY3VsYXIxGDAWBgNVBAoMD2NhbGx3YXRjaCB0ZXN0czAgFw0yNjExMjMxMTM2NDFaGA8yMTI2MTAzMDExMzY0MVowOTEd\
     MBsGA1UEAwwUTm9ib2R5IGluIHBhcnRpY3VsYXIxGDAWBgNVBAoMD2NhbGx3YXRjaCB0ZXN0czBZMBMGByqGSM49AgEGCCqG\
     SM49AwEHA0IABLXIY8Yf/3BNZXi7kZ66z5c7ryMI/EE6wHt44h4c8V3sy36nsd2e5cPI3oitFP2QbPwNyTPVxY245R67DBLf\
     ixyjbDBqMB0GA1UdDgQWBBTG+KltJEbcs3bnGYXAd9+XT8zyizAfBgNVHSMEGDAWgBTG+KltJEbcs3bnGYXAd9+XT8zyizAa\
     BgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0TAQH/BAIwADAKBggqhkjOPQQDAgNIADBFAiB38wQadvPXSefOJtj2\
     SRBSfjK/q4UfJSblagBeGR/ehQIhAPC/FByCjzEAnctafSaV7VZHk+xPeK5sHiSIDJmcboVc";
pub const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4wUgts8XXyAtIQwSbxhatmllS/5//sKbPv/2foPvZT2hRANC\
     AAS1yGPGH/9wTWV4u5Geus+XO68jCPxBOsB7eOIeHPFd7Mt+p7HdnuXDyN6IrRT9kGz8Dckz1cWNuOUeuwwS34sc";

/// Serves one connection: first `greet` in plain text, then TLS. Says whether the client accepted the certificate.
async fn receiver<F>(greet: impl FnOnce(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<bool>)
where
    F: Future<Output = TcpStream> + Send,
{
    http::install_tls();
    let certificate = CertificateDer::from(STANDARD.decode(CERTIFICATE).unwrap());
    let key = PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).unwrap());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let stream = greet(listener.accept().await.unwrap().0).await;
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return false };
        // With TLS 1.3 the server is through before the client has looked at the certificate.
        stream.read(&mut [0]).await.is_ok_and(|read| read > 0)
    });
    (address, accepted)
}

const NOT_TRUSTED: &str = "TLS: certificate is not signed by an authority this machine trusts";

#[tokio::test]
async fn a_webhook_is_not_sent_to_somebody_nobody_vouches_for() {
    let (address, accepted) = receiver(|stream| async { stream }).await;
    let config = config(DestinationKind::Webhook(WebhookConfig {
        url: format!("https://{address}/secret").parse().unwrap(),
        method: reqwest::Method::POST,
        auth: None,
        success: None,
        secrets: vec![],
        format: WebhookFormat::Standard,
        headers: vec![],
        permanent: Default::default(),
        handshake: None,
        connection: Default::default(),
    }));
    assert_retry(&deliver(&config, &event(Kind::Ended)).await, None, NOT_TRUSTED);
    assert!(!accepted.await.unwrap());
}

#[tokio::test]
async fn a_password_is_not_sent_to_somebody_nobody_vouches_for() {
    let (tls, _) = receiver(|stream| async { stream }).await;
    let (starttls, accepted) = receiver(|mut stream| async {
        stream.write_all(b"220 localhost ESMTP\r\n").await.unwrap();
        for answer in ["250-localhost\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", "220 go on\r\n"] {
            let mut command = vec![0; 1024];
            let read = stream.read(&mut command).await.unwrap();
            assert!(command[..read].starts_with(b"EHLO") || command[..read].starts_with(b"STARTTLS"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        stream
    })
    .await;
    for (security, address) in [(SmtpSecurity::Tls, tls), (SmtpSecurity::StartTls, starttls)] {
        let config = config(DestinationKind::Email(EmailConfig {
            smtp: SmtpServer {
                security,
                host: "localhost".to_owned(),
                port: address.port(),
                user: Some("alerts".to_owned()),
                password: Some("hunter22".into()),
            },
            password: None,
            oauth_token: None,
            from: "alerts@acme.example".parse().unwrap(),
            to: vec!["manager@acme.example".parse().unwrap()],
            threads: true,
            connection: Default::default(),
        }));
        assert_retry(&deliver(&config, &event(Kind::Ended)).await, None, NOT_TRUSTED);
    }
    assert!(!accepted.await.unwrap());
}

/// Writes the certificate and its key into a folder.
pub fn write_identity(folder: &std::path::Path) {
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n");
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(
        folder.join("key.pem"),
        format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"),
    )
    .unwrap();
}
