//! From which addresses a key may be used.

use std::net::IpAddr;

use ipnet::IpNet;

/// How many networks a key may list.
pub const ALLOWED_MAX: usize = 32;
/// The longest text of a network: an IPv6 address with its prefix.
const BYTES_MAX: usize = 49;

/// Networks; an empty list allows every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Box<[IpNet]>);

/// What is wrong with a list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowListError {
    /// Too many of them.
    #[error("a key lists at most {ALLOWED_MAX} networks")]
    Many,
    /// Not a network.
    #[error("entry {position} is neither an address such as 192.0.2.7 nor a network such as 2001:db8::/32")]
    Malformed {
        /// Which one, counted from 1.
        position: usize,
    },
    /// An IPv4 network in IPv6 clothes, which no client would ever match.
    #[error("entry {position} is an IPv4 network written as IPv6; write it as IPv4")]
    Mapped {
        /// Which one, counted from 1.
        position: usize,
    },
}

impl AllowList {
    /// Reads addresses and networks (CIDR); bits behind the prefix are cleared, as firewalls do.
    ///
    /// # Errors
    /// [`AllowListError`] names the entry.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowListError> {
        let mut networks = Vec::new();
        for (position, entry) in (1..).zip(entries) {
            if position > ALLOWED_MAX {
                return Err(AllowListError::Many);
            }
            let network = Some(entry).filter(|entry| entry.len() <= BYTES_MAX).and_then(network);
            let network = network.ok_or(AllowListError::Malformed { position })?;
            if network.addr() != network.addr().to_canonical() {
                return Err(AllowListError::Mapped { position });
            }
            networks.push(network);
        }
        Ok(Self(networks.into()))
    }

    /// Whether a client at `address` may use the key. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether it allows every address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each address that `other` allows is allowed here too, network by network.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let within = |inner: &IpNet| self.0.iter().any(|outer| outer.contains(inner));
        self.0.is_empty() || (!other.0.is_empty() && other.0.iter().all(within))
    }

    /// The networks as text, as [`AllowList::parse`] takes them.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(IpNet::to_string)
    }
}

fn network(entry: &str) -> Option<IpNet> {
    let network = entry.parse::<IpNet>().ok();
    network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from)).map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::parse(entries.iter().copied()).unwrap()
    }

    fn allows(entries: &[&str], address: &str) -> bool {
        list(entries).allows(address.parse().unwrap())
    }

    #[test]
    fn a_list_allows_its_networks_and_an_empty_one_everything() {
        assert!(allows(&[], "192.0.2.7") && allows(&[], "2001:db8::1"));
        let entries = ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"];
        for inside in ["192.0.2.7", "10.255.255.255", "2001:db8:ffff::1", "::ffff:10.1.2.3"] {
            assert!(allows(&entries, inside), "{inside}");
        }
        for outside in ["192.0.2.8", "11.0.0.0", "2001:db9::", "::ffff:192.0.2.6", "::1", "::10.1.2.3"] {
            assert!(!allows(&entries, outside), "{outside}");
        }
        assert!(!allows(&["0.0.0.0/0"], "2001:db8::1") && !allows(&["::/0"], "192.0.2.7"));
    }

    #[test]
    fn a_list_includes_those_whose_networks_lie_within_its_own() {
        let check = |outer: &[&str], inner: &[&str], want| assert_eq!(list(outer).includes(&list(inner)), want);
        check(&[], &[], true);
        check(&[], &["10.0.0.0/8"], true);
        check(&["10.0.0.0/8"], &[], false);
        check(&["10.0.0.0/8", "::1"], &["10.1.0.0/16", "10.0.0.0/8", "::1"], true);
        check(&["10.0.0.0/8"], &["10.1.0.0/16", "11.0.0.1"], false);
        check(&["10.0.0.0/8"], &["0.0.0.0/0"], false);
        check(&["0.0.0.0/0"], &["::1"], false);
    }

    #[test]
    fn a_list_is_printed_as_it_is_read() {
        let printed: Vec<_> = list(&["192.0.2.7", "10.1.2.3/8", "2001:DB8::1/32"]).entries().collect();
        assert_eq!(printed, ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(
            list(&printed.iter().map(String::as_str).collect::<Vec<_>>()).entries().collect::<Vec<_>>(),
            printed
        );
    }

    #[test]
    fn what_is_no_network_or_one_too_many_is_refused() {
        let malformed =
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/-1", "010.0.0.1", "fe80::1%eth0", " ::1"];
        for entry in malformed {
            let error = AllowList::parse(["::1", entry]);
            assert_eq!(error, Err(AllowListError::Malformed { position: 2 }), "{entry}");
        }
        assert_eq!(AllowList::parse(["::ffff:10.0.0.0/104"]), Err(AllowListError::Mapped { position: 1 }));
        assert_eq!(AllowList::parse(["1".repeat(1 << 20).as_str()]), Err(AllowListError::Malformed { position: 1 }));
        assert!(AllowList::parse(["::1"; ALLOWED_MAX]).is_ok());
        assert_eq!(AllowList::parse(std::iter::repeat("::1")), Err(AllowListError::Many));
    }
}
