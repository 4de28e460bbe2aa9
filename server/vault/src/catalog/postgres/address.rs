//! Where the server is and how it is spoken to: a URL as libpq takes it, with its TLS options read here.
//!
//! libpq's `sslmode=require` encrypts without knowing for whom, and `prefer` not even that for sure. Here
//! there are two modes: the certificate is verified in full, or the connection is in the clear. Without an
//! `sslmode`, other machines get the first, and this one the second.

use std::net::IpAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::CatalogError;
use crate::limits;

/// A server, parsed from its URL.
pub(super) struct Address {
    pub(super) config: Config,
    /// The files of TLS; `None` for a connection in the clear.
    pub(super) tls: Option<TlsFiles>,
    /// For messages: user, host and database, and no password.
    pub(super) name: String,
}

/// The files that TLS needs, all PEM.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// The authorities that may have signed the server's certificate; without it, those of the system.
    pub(super) root: Option<PathBuf>,
    /// This client's certificate.
    pub(super) certificate: Option<PathBuf>,
    /// Its key.
    pub(super) key: Option<PathBuf>,
}

/// Options that are for TLS and read here.
#[derive(Default)]
struct TlsOptions {
    mode: Option<String>,
    files: TlsFiles,
}

impl Address {
    /// Reads a URL. `password` is used if the URL has none.
    pub(super) fn parse(url: &str, password: Option<&str>) -> Result<Self, CatalogError> {
        let (tls, rest) = split_tls_options(url)?;
        let mut config: Config = rest.parse().map_err(|_| refuse("the URL or one of its options is malformed"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refuse("the URL names no host"));
        }
        if let (None, Some(password)) = (config.get_password(), password) {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("millrace");
        }
        config.connect_timeout(limits::CATALOG_CONNECT_TIME_MAX);
        let encrypted = match tls.mode.as_deref() {
            None => !is_here(&config),
            Some("disable") => false,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(_) => return Err(refuse("sslmode is `disable` or `verify-full`; others protect by chance")),
        };
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        if !encrypted && !is_here(&config) {
            tracing::warn!("sslmode=disable: the catalog's rows travel in the clear, readable on the way");
        }
        let name = name(&config);
        Ok(Self { config, tls: encrypted.then_some(tls.files), name })
    }
}

/// Takes the options of TLS out of a URL's query and answers them with the rest of the URL.
fn split_tls_options(url: &str) -> Result<(TlsOptions, String), CatalogError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(refuse("a URL begins with postgres://"));
    }
    let mut options = TlsOptions::default();
    // A password may hold a question mark; the query begins after the `@`.
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url[host..].find('?').map(|at| host + at) else {
        return Ok((options, url.to_owned()));
    };
    let mut kept = Vec::new();
    for pair in url[query + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let file = || Ok::<_, CatalogError>(Some(PathBuf::from(decode(value)?)));
        match key {
            "sslmode" => options.mode = Some(value.to_owned()),
            "sslrootcert" if value == "system" => options.files.root = None,
            "sslrootcert" => options.files.root = file()?,
            "sslcert" => options.files.certificate = file()?,
            "sslkey" => options.files.key = file()?,
            _ => kept.push(pair),
        }
    }
    Ok((options, format!("{}?{}", &url[..query], kept.join("&"))))
}

fn decode(text: &str) -> Result<String, CatalogError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()));
        match escaped {
            None => {
                bytes.push(byte);
                rest = after;
            }
            Some(hex) => {
                let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(value.ok_or_else(|| refuse("a `%` in the URL is not followed by two hex digits"))?);
                rest = &after[2..];
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("a path in the URL is not UTF-8"))
}

/// Whether every host is this machine.
fn is_here(config: &Config) -> bool {
    let local_name = |name: &str| name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    config.get_hostaddrs().iter().all(IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => local_name(name),
            Host::Unix(_) => true,
        })
}

fn name(config: &Config) -> String {
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    format!("postgres://{user}{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// Says what is wrong without repeating the URL, which may hold a password.
fn refuse(what: &str) -> CatalogError {
    CatalogError::Failed(format!(
        "the address of PostgreSQL can't be used: {what} (postgres://user@host/database?sslmode=...)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_verified_unless_told_otherwise_and_this_one_is_not() {
        assert_eq!(parse("postgres://db.example/m").tls, Some(TlsFiles::default()));
        assert_eq!(parse("postgres://db.example/m?sslmode=disable").tls, None);
        assert_eq!(parse("postgres://127.0.0.1:5433/m").tls, None);
        assert_eq!(parse("postgres://u@%2Frun%2Fpostgresql/m").tls, None);
        assert_eq!(parse("postgres://localhost,db.example/m").tls, Some(TlsFiles::default()));
        assert_eq!(parse("postgres://localhost/m?sslmode=require").tls, Some(TlsFiles::default()));
    }

    #[test]
    fn the_files_of_tls_are_taken_from_the_url_and_the_rest_goes_on() {
        let url = "postgres://u@db.example/m?sslrootcert=%2Fetc%2Fa b.pem&connect_timeout=9&sslcert=c&sslkey=k&sslmode=verify-full";
        let address = parse(url);
        let files =
            TlsFiles { root: Some("/etc/a b.pem".into()), certificate: Some("c".into()), key: Some("k".into()) };
        assert_eq!(address.tls, Some(files));
        assert_eq!(address.config.get_dbname(), Some("m"));
    }

    #[test]
    fn modes_that_protect_by_chance_are_refused() {
        for mode in ["prefer", "allow", ""] {
            assert!(Address::parse(&format!("postgres://h/m?sslmode={mode}"), None).is_err(), "{mode}");
        }
    }

    #[test]
    fn the_password_of_the_url_comes_before_that_of_the_environment() {
        let password = |url, fallback| Address::parse(url, fallback).unwrap().config.get_password().map(<[u8]>::to_vec);
        assert_eq!(password("postgres://u:mine@h/m", Some("env")), Some(b"mine".to_vec()));
        assert_eq!(password("postgres://u@h/m", Some("env")), Some(b"env".to_vec()));
        assert_eq!(password("postgres://u@h/m", None), None);
    }

    #[test]
    fn no_message_repeats_the_password() {
        let address = parse("postgres://u:secret@h/m");
        assert_eq!(address.name, "postgres://u@h/m");
        for url in [
            "postgres://u:secret@h:port/m",
            "postgres://u:x?secret=1@h/m?secret=1",
            "postgres://u:x@secret@h/m?connect_timeout=secret",
            "mysql://u:secret@h/m",
        ] {
            let error = Address::parse(url, None).err().expect("refused").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_url_without_a_host_or_with_a_torn_escape_is_refused() {
        assert!(Address::parse("postgres:///m", None).is_err());
        assert!(Address::parse("postgres://h/m?sslrootcert=%2", None).is_err());
        assert!(Address::parse("postgres://h/m?sslrootcert=%zz", None).is_err());
    }

    fn parse(url: &str) -> Address {
        Address::parse(url, None).unwrap()
    }
}
