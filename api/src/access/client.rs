//! The address of whoever asks: the peer's, or what proxies that are believed say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// Addresses of a chain of proxies that are looked at.
const HOPS_MAX: usize = 16;

/// The last address in `X-Forwarded-For` that is none of the `proxies`, if the peer is one of them.
pub(crate) fn address(extensions: &Extensions, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    // Who serves without sockets, as tests do, asks from here.
    let peer = extensions.get::<SocketAddr>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(&address));
    if !is_proxy(peer) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev().filter_map(|line| line.to_str().ok());
    let hops = lines.flat_map(|line| line.rsplit(',')).take(HOPS_MAX);
    let mut last = peer;
    for hop in hops {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        last = address.to_canonical();
        if !is_proxy(last) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], want: &str) {
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        extensions.insert(SocketAddr::new(peer.parse().unwrap(), 1));
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(address(&extensions, &headers, &proxies), want.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_a_proxy_is_believed_and_only_its_own_hop() {
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.5, 198.51.100.9"], "198.51.100.9");
        check("10.0.0.1", &["203.0.113.5", "198.51.100.9, 10.2.0.1"], "198.51.100.9");
        check("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1");
        check("10.0.0.1", &["198.51.100.9, nonsense"], "10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }
}
