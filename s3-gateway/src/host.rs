//! Which bucket a host name means, and which forwarded headers are believed.
//!
//! With `--domain s3.example.org`, the host `photos.s3.example.org` means the bucket `photos`; every other host,
//! IP addresses and unknown names included, means path style. `X-Forwarded-*` is believed only from an address in
//! the list of trusted proxies and dropped from everyone else. Source: "Virtual hosting of buckets" of the S3 user
//! guide.

use std::net::{IpAddr, Ipv4Addr};

use http::header::HOST;
use http::{HeaderMap, HeaderName};

/// Domains and proxies.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    domains: Vec<String>,
    trusted_proxies: Vec<IpAddr>,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The connection's other end.
    pub address: IpAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

impl Hosts {
    /// Base domains of virtual-host style, and the addresses whose forwarded headers are believed.
    pub fn new(domains: &[String], trusted_proxies: &[IpAddr]) -> Self {
        let clean = |domain: &String| bare(domain).trim_matches('.').to_owned();
        let domains = domains.iter().map(clean).filter(|d| !d.is_empty()).collect();
        Self {
            domains,
            trusted_proxies: trusted_proxies.iter().map(|ip| ip.to_canonical()).collect(),
        }
    }

    fn trusts(&self, connection: Peer) -> bool {
        self.trusted_proxies.contains(&connection.address.to_canonical())
    }

    /// Whether nobody between the client and this machine can read what it sends: TLS all the way as far as is known, or a
    /// client on this machine. `client` is what [`Hosts::settle`] made of `connection`. A trusted proxy on this machine is no
    /// client, whatever it says or leaves out of the client's address.
    pub fn is_private(&self, connection: Peer, client: Peer) -> bool {
        let near = connection.address.to_canonical().is_loopback();
        client.tls || (near && !self.trusts(connection))
    }

    /// Sets `host` to what the client signed, drops forwarded headers, and says where the client is and whether it used TLS. Of the
    /// client of a trusted proxy that is known by `X-Forwarded-Proto` alone: the proxy's own connection says nothing of it.
    pub fn settle(&self, headers: &mut HeaderMap, peer: Peer) -> Peer {
        let trusted = self.trusts(peer);
        // What the nearest proxy wrote; what stands before it may be the client's own.
        let nearest = |name: &str| -> Option<String> {
            let text = headers.get_all(name).iter().next_back()?.to_str().ok()?;
            let last = text.rsplit(',').next().map(str::trim);
            last.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let client = self.client(headers);
        let (host, scheme) = (nearest("x-forwarded-host"), nearest("x-forwarded-proto"));
        let dropped: Vec<HeaderName> = headers
            .keys()
            .filter(|n| n.as_str().starts_with("x-forwarded-"))
            .cloned()
            .collect();
        for name in dropped {
            headers.remove(name);
        }
        if !trusted {
            return peer;
        }
        if let Some(host) = host.and_then(|host| host.parse().ok()) {
            headers.insert(HOST, host);
        }
        Peer {
            address: client.unwrap_or(peer.address),
            tls: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        }
    }

    /// The last forwarded address that is no proxy's of ours: what stands before it anybody can have written. One that cannot
    /// be read is nobody's, and never the proxy's own.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines: Vec<&[u8]> = headers
            .get_all("x-forwarded-for")
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect();
        for part in lines.join(&b',').rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(part).unwrap_or_default().trim();
            if text.is_empty() && part.is_ascii() {
                continue;
            }
            let Ok(address) = text.parse::<IpAddr>() else {
                return Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            };
            let address = address.to_canonical();
            if !self.trusted_proxies.contains(&address) {
                return Some(address);
            }
        }
        None
    }

    /// The bucket that a host name means, if it is virtual-host style.
    pub fn bucket(&self, host: &str) -> Option<String> {
        let host = bare(host);
        let host = host.strip_suffix('.').unwrap_or(&host);
        // The longest domain that fits, so that `a.s3.example` under both `example` and `s3.example` means `a`.
        let mut best: Option<&str> = None;
        for domain in &self.domains {
            if host == domain {
                return None;
            }
            let label = host
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(label) = label.filter(|label| !label.is_empty())
                && best.is_none_or(|b| label.len() < b.len())
            {
                best = Some(label);
            }
        }
        best.map(str::to_owned)
    }
}

/// A host without its port, in lower case.
fn bare(host: &str) -> String {
    let host = host.trim();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_private_by_tls_or_on_this_machine_and_a_proxy_on_it_makes_no_client_local() {
        let hosts = Hosts::new(&[], &["127.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()]);
        let private = |address: &str, tls: bool, forwarded: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in forwarded {
                headers.append(*name, value.parse().unwrap());
            }
            let connection = Peer {
                address: address.parse().unwrap(),
                tls,
            };
            let client = hosts.settle(&mut headers, connection);
            hosts.is_private(connection, client)
        };
        let (proto, client) = ("x-forwarded-proto", "x-forwarded-for");
        assert!(private("::1", false, &[]) && private("::ffff:127.0.0.1", false, &[]));
        assert!(private("192.0.2.1", true, &[]));
        assert!(private(
            "10.0.0.1",
            false,
            &[(proto, "https"), (client, "192.0.2.1")]
        ));
        assert!(!private("192.0.2.1", false, &[]));
        assert!(
            !private("192.0.2.1", false, &[(proto, "https"), (client, "127.0.0.1")]),
            "not trusted"
        );
        assert!(
            !private("10.0.0.1", false, &[(client, "127.0.0.1")]),
            "the proxy is elsewhere"
        );
        let near = "127.0.0.2";
        for forwarded in [
            &[(proto, "http"), (client, "192.0.2.1")][..],
            &[(proto, "http")],
            &[(client, "127.0.0.1")],
            &[],
        ] {
            assert!(
                !private(near, false, forwarded),
                "the proxy is no client: {forwarded:?}"
            );
        }
        assert!(private(near, false, &[(proto, "https")]));
        for forwarded in [&[(proto, "http")][..], &[(client, "192.0.2.1")], &[]] {
            for proxy in ["10.0.0.1", near] {
                assert!(
                    !private(proxy, true, forwarded),
                    "before the proxy it was plain, or nobody says: {forwarded:?}"
                );
            }
        }
    }

    #[test]
    fn only_names_under_a_domain_mean_a_bucket() {
        let hosts = Hosts::new(&["S3.Example.org:9000".into(), "example.org".into()], &[]);
        assert_eq!(hosts.bucket("photos.s3.example.org"), Some("photos".into()));
        assert_eq!(hosts.bucket("PHOTOS.S3.example.ORG:18333"), Some("photos".into()));
        assert_eq!(
            hosts.bucket("my.photos.s3.example.org."),
            Some("my.photos".into())
        );
        for path_style in [
            "s3.example.org",
            "example.org:80",
            "127.0.0.1:9000",
            "[::1]:9000",
            "localhost",
            "",
        ] {
            assert_eq!(hosts.bucket(path_style), None, "{path_style}");
        }
        assert_eq!(hosts.bucket("xs3.example.org"), Some("xs3".into()));
    }

    #[test]
    fn forwarded_headers_are_believed_from_trusted_proxies_only() {
        let hosts = Hosts::new(&[], &["10.0.0.1".parse().unwrap()]);
        let settle = |address: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "inner:9000".parse().unwrap());
            headers.insert("x-forwarded-host", "s3.example.org".parse().unwrap());
            headers.insert("x-forwarded-proto", "https".parse().unwrap());
            headers.insert("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.1".parse().unwrap());
            let client = hosts.settle(
                &mut headers,
                Peer {
                    address: address.parse().unwrap(),
                    tls: false,
                },
            );
            assert_eq!(headers.len(), 1);
            let host = headers.get("host").unwrap().to_str().unwrap().to_owned();
            (host, client.tls, client.address.to_string())
        };
        assert_eq!(
            settle("10.0.0.1"),
            ("s3.example.org".into(), true, "1.2.3.4".into())
        );
        assert_eq!(
            settle("::ffff:10.0.0.1"),
            ("s3.example.org".into(), true, "1.2.3.4".into())
        );
        assert_eq!(
            settle("10.0.0.2"),
            ("inner:9000".into(), false, "10.0.0.2".into())
        );
    }

    #[test]
    fn of_several_schemes_and_hosts_the_nearest_proxys_counts() {
        let hosts = Hosts::new(&[], &["10.0.0.1".parse().unwrap()]);
        let peer = Peer {
            address: "10.0.0.1".parse().unwrap(),
            tls: false,
        };
        for (lines, tls) in [
            (&["https, http"][..], false),
            (&["http", "https"], true),
            (&["https,"], false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "inner:9000".parse().unwrap());
            headers.insert("x-forwarded-host", "forged, s3.example.org".parse().unwrap());
            for line in lines {
                headers.append("x-forwarded-proto", line.parse().unwrap());
            }
            assert_eq!(hosts.settle(&mut headers, peer).tls, tls, "{lines:?}");
            assert_eq!(headers["host"], "s3.example.org");
        }
    }
}
