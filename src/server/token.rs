//! The token that clients send, and a limit on guessing it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::config::{Secret, SecretError};

/// How long the content of the token's file is used before it is read again.
const MAX_AGE: Duration = Duration::from_secs(3);

/// The token of the config.
#[derive(Debug)]
pub(super) struct Token {
    secret: Secret,
    last: Mutex<Option<(Instant, SecretString)>>,
}

impl Token {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, last: Mutex::default() }
    }

    /// Whether this is the token. The time it takes says nothing about how much of it is right.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(super) async fn is(&self, presented: &str) -> Result<bool, SecretError> {
        Ok(self.digest().await?.is(&Digest::of(presented)))
    }

    /// The digest of the token as it is now.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(super) async fn digest(&self) -> Result<Digest, SecretError> {
        Ok(Digest::of(self.read().await?.expose_secret()))
    }

    async fn read(&self) -> Result<SecretString, SecretError> {
        if let Some((at, token)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < MAX_AGE
        {
            return Ok(token.clone());
        }
        let token = self.secret.load().await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), token.clone()));
        Ok(token)
    }
}

/// Stands for a secret where only equality matters.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Whether they are of the same secret. The time it takes is always the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// A digest of a weak secret can be guessed, so it is not shown.
impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

/// Wrong tokens an address may send within [`WINDOW`].
const ALLOWED: u32 = 10;

/// The time after which an address may guess again.
const WINDOW: Duration = Duration::from_secs(60);

/// The most addresses that are remembered.
const ADDRESSES: usize = 1024;

/// The wrong tokens of each address. Pure: the time is passed in.
#[derive(Debug, Default)]
pub(super) struct Guesses(HashMap<IpAddr, (Instant, u32)>);

impl Guesses {
    /// How long this address has to wait; `None` when it may send a token.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let (begun, count) = self.0.get(&network(from))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(*begun))?;
        (*count >= ALLOWED && !left.is_zero()).then_some(left)
    }

    /// Notes a wrong token; returns whether it was the last one that this address may send for now.
    pub(super) fn note(&mut self, from: IpAddr, now: Instant) -> bool {
        let is_over = |begun: &Instant| now.saturating_duration_since(*begun) >= WINDOW;
        let from = network(from);
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&from) {
            self.0.retain(|_, (begun, _)| !is_over(begun));
            // An attacker with that many addresses is not held up by remembering one more of them.
            if let Some(any) = self.0.keys().next().copied().filter(|_| self.0.len() >= ADDRESSES) {
                self.0.remove(&any);
            }
        }
        let (begun, count) = self.0.entry(from).or_insert((now, 0));
        if is_over(begun) {
            (*begun, *count) = (now, 0);
        }
        *count += 1;
        *count == ALLOWED
    }
}

/// The address, or the network of IPv6 that one machine may have all addresses of.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.into(),
            None => std::net::Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_token_is_the_token() {
        let token = Token::new(Secret::from("correct horse"));
        for (presented, is) in
            [("correct horse", true), ("correct hors", false), ("", false), ("correct horsf", false)]
        {
            assert_eq!(token.is(presented).await, Ok(is), "{presented}");
        }
        let gone = Token::new(Secret::File("/nowhere/token".into()));
        assert!(gone.is("").await.is_err());
    }

    #[tokio::test]
    async fn guessing_is_limited_by_address_and_for_a_while() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let [one, other]: [IpAddr; 2] = ["2001:db8::1", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        for guess in 1..=ALLOWED {
            assert_eq!(guesses.wait(one, now), None);
            assert_eq!(guesses.note(one, now), guess == ALLOWED);
        }
        assert_eq!(guesses.wait("2001:db8::2".parse().unwrap(), now), Some(WINDOW), "the same network");
        assert_eq!(guesses.wait(other, now), None);
        assert_eq!(guesses.wait(one, now + WINDOW), None);
        guesses.note(one, now + WINDOW);
        assert_eq!(guesses.wait(one, now + WINDOW), None, "the count begins anew");
        for n in 0..10_000u32 {
            guesses.note(IpAddr::V4(n.into()), now);
        }
        assert!(guesses.0.len() <= ADDRESSES);
    }
}
