//! Tells public addresses from private ones, so that a webhook's URL chosen by somebody else cannot lead to this
//! machine or its network (server-side request forgery). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// A host has no public address.
#[derive(Debug, thiserror::Error)]
#[error("the host has no public address, and `allow_private` is false; nothing was sent")]
pub(super) struct NotPublic;

/// Checks a URL whose host is an IP address. A URL with a host name passes: the name is checked when it is resolved.
///
/// # Errors
/// [`NotPublic`] when the address is not public.
pub(super) fn vet(url: &Url) -> Result<(), NotPublic> {
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_public(literal) { Ok(()) } else { Err(NotPublic) }
}

/// Whether `address` is reachable over the internet, by the IANA special-purpose registries
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// IPv4 networks that are not public: address and prefix length.
const NOT_PUBLIC: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // between a provider and its customers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // this machine
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local; clouds serve credentials there
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24), // automatic multicast tunnelling
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    NOT_PUBLIC.iter().all(|(network, length)| {
        let mask = u32::MAX << (32 - length);
        address.to_bits() & mask != network.to_bits()
    })
}

/// Only addresses in 2000::/3 are assigned for the internet, and parts of that are reserved. An address that embeds an
/// IPv4 address is as public as that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match segments {
        // Mapped: the system connects to the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // ISATAP (RFC 5214) reaches the IPv4 address behind any prefix.
        [.., 0x0 | 0x200, 0x5efe, high, low] if !v4(high, low) => false,
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments. Teredo is one of them and hides an IPv4 address.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        // Loopback, unspecified, IPv4-compatible, link-local, unique local, multicast, unassigned.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn embeddings(v4: Ipv4Addr) -> [Ipv6Addr; 3] {
        let [high, low] = [(v4.to_bits() >> 16) as u16, v4.to_bits() as u16];
        [
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        ]
    }

    /// An address of a network that is not public.
    fn not_public() -> impl Strategy<Value = Ipv4Addr> {
        (prop::sample::select(&NOT_PUBLIC[..]), any::<u32>()).prop_map(|((network, length), host)| {
            Ipv4Addr::from_bits(network.to_bits() | (host & (u32::MAX >> length)))
        })
    }

    #[test]
    fn addresses_of_special_networks_are_not_public() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2001:0:1234::1",
            "2001:db8::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2600::5efe:a00:1",
            "100::1",
            "5f00::1",
            "3fff::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2002:808:808::1",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "3ffe::1",
            "2600::5efe:808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_vetted_however_it_is_spelt() {
        for url in
            ["http://127.1/", "http://0x7f000001/", "http://2130706433:8080/", "http://[::ffff:10.0.0.1]/"]
        {
            assert!(vet(&url.parse().unwrap()).is_err(), "{url}");
        }
        for url in ["https://8.8.8.8/", "https://crm.example.com/", "https://[2606:4700::1111]/"] {
            assert!(vet(&url.parse().unwrap()).is_ok(), "{url}");
        }
    }

    proptest! {
        #[test]
        fn an_embedded_ipv4_address_decides(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            for v6 in embeddings(v4) {
                prop_assert_eq!(is_public(v6.into()), is_public(v4.into()), "{} for {}", v6, v4);
            }
            prop_assert!(!is_public(v4.to_ipv6_compatible().into()));
        }

        #[test]
        fn no_address_of_a_special_network_is_public_however_it_is_embedded(v4 in not_public(), prefix: [u16; 4]) {
            prop_assert!(!is_public(v4.into()));
            for v6 in embeddings(v4) {
                prop_assert!(!is_public(v6.into()), "{} for {}", v6, v4);
            }
            let [a, b, c, d] = prefix;
            let [high, low] = [(v4.to_bits() >> 16) as u16, v4.to_bits() as u16];
            for interface in [0, 0x200] {
                let isatap = Ipv6Addr::new(a, b, c, d, interface, 0x5efe, high, low);
                prop_assert!(!is_public(isatap.into()), "{}", isatap);
            }
        }

        #[test]
        fn nothing_outside_the_assigned_range_is_public(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            let stands_for_v4 = matches!(v6.segments(), [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]);
            prop_assert!(bits >> 125 == 1 || stands_for_v4 || !is_public(v6.into()));
        }
    }
}
