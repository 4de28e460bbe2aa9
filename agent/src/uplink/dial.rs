//! Making a connection, what is said first on it, and why there is none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt, WriteError};
use upload::wire::{MessageError, SERVER_NAME};
use upload::{CloseCode, FromAgent, Hello, Sender, SubStream};

use crate::config::Congestion;
use crate::uplink::way;
use crate::{VERSION, clock, limits};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{address} can't be resolved: {why}")]
    Unresolved {
        /// What was looked up.
        address: String,
        /// Why.
        why: String,
    },
    /// No socket could be opened, or no packet sent.
    #[error("no connection to {address}: {why}")]
    Failed {
        /// Where to.
        address: String,
        /// Why.
        why: String,
    },
    /// Nothing came back.
    #[error("no answer from {address}: check that the server runs, and that UDP to its port passes")]
    NoAnswer {
        /// Where to.
        address: String,
    },
    /// The other end is not the server that this device joined.
    #[error("the server at {address} can't be trusted: {why}")]
    Untrusted {
        /// Where to.
        address: String,
        /// Why.
        why: String,
    },
    /// The server ended the connection.
    #[error("the server at {address} closed the connection: {code}{}{message}{}", if .message.is_empty() { "" } else { ": " }, advice(*.code))]
    Closed {
        /// Where to.
        address: String,
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        message: String,
    },
    /// The server does not accept the device's certificate.
    #[error("the server at {address} refuses this device's certificate: {}{JOIN_ANEW}", refusal(*.alert))]
    Unwelcome {
        /// Where to.
        address: String,
        /// The TLS alert that it sent.
        alert: u8,
    },
    /// The server does not know the connection any more.
    #[error("the server at {address} was started again")]
    Restarted {
        /// Where to.
        address: String,
    },
    /// What the server says breaks the protocol.
    #[error("the server at {address} does not speak this agent's protocol: {why}")]
    Protocol {
        /// Where to.
        address: String,
        /// What is wrong.
        why: MessageError,
    },
}

/// What lets a device in again that the server does not know or does not want any more.
const JOIN_ANEW: &str = "; to let this device join anew, run `millrace device add NAME` there and type the \
                         `millrace-agent join` that it prints here";

/// What to do about a close, where a person has to.
fn advice(code: CloseCode) -> &'static str {
    match code {
        CloseCode::CertificateRequired
        | CloseCode::DeviceRevoked
        | CloseCode::DeviceUnknown
        | CloseCode::CertificateReplaced => JOIN_ANEW,
        _ => "",
    }
}

/// A TLS alert (RFC 8446, section 6.2) about our certificate, in words.
fn refusal(alert: u8) -> String {
    match alert {
        45 => "it has expired".to_owned(),
        48 => "another server's CA signed it".to_owned(),
        _ => format!("TLS alert {alert}"),
    }
}

/// One request and its answer on a connection of its own.
pub async fn exchange(address: &str, tls: rustls::ClientConfig, request: Bytes) -> Result<Bytes, DialError> {
    let (endpoint, connection) = dial(address, tls, Congestion::default()).await?;
    let lost =
        |error: &dyn std::fmt::Display| DialError::Failed { address: address.to_owned(), why: error.to_string() };
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| explain(address, &error))?;
    let answer = async {
        send.write_all(&request).await.map_err(|error| explain_write(address, error))?;
        // Finishing can only fail after a reset, which is ours alone to do.
        let _ = send.finish();
        recv.read_to_end(upload::limits::MESSAGE_BYTES_MAX + 8).await.map_err(|error| match error {
            quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => explain(address, &error),
            other => lost(&other),
        })
    };
    let answer = tokio::time::timeout(limits::DIAL_MAX, answer)
        .await
        .map_err(|_| DialError::NoAnswer { address: address.to_owned() })??;
    close(&endpoint, &connection).await;
    Ok(answer.into())
}

/// Connects, to see whether the server is there and is the right one.
pub async fn probe(address: &str, tls: rustls::ClientConfig) -> Result<(), DialError> {
    let (endpoint, connection) = dial(address, tls, Congestion::default()).await?;
    close(&endpoint, &connection).await;
    Ok(())
}

/// Connects as for an upload, to see whether the server lets this device in. Answers what it calls the device.
pub async fn probe_upload(address: &str, tls: rustls::ClientConfig, now: clock::Instant) -> Result<String, DialError> {
    let (endpoint, connection) = dial(address, tls, Congestion::default()).await?;
    let welcome = async {
        let (_hello, mut control) = say_hello(address, &connection, now, &[]).await?;
        let mut sender = Sender::new(0);
        loop {
            let why = match control.read_chunk(64 * 1024, true).await {
                Ok(Some(chunk)) => {
                    let protocol = |why| DialError::Protocol { address: address.to_owned(), why };
                    sender.handle_control(Duration::ZERO, &chunk.bytes).map_err(protocol)?;
                    match sender.welcome() {
                        Some(welcome) => return Ok(welcome.device.clone()),
                        None => continue,
                    }
                }
                Ok(None) => "it ended the control stream".to_owned(),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(explain(address, &error)),
                Err(error) => error.to_string(),
            };
            return Err(DialError::Failed { address: address.to_owned(), why });
        }
    };
    let device = tokio::time::timeout(limits::DIAL_MAX, welcome)
        .await
        .unwrap_or_else(|_| Err(DialError::NoAnswer { address: address.to_owned() }));
    close(&endpoint, &connection).await;
    device
}

/// A connection, by the first of the server's addresses that answers.
pub(super) async fn dial(
    address: &str,
    tls: rustls::ClientConfig,
    congestion: Congestion,
) -> Result<(Endpoint, Connection), DialError> {
    let unresolved = |why: String| DialError::Unresolved { address: address.to_owned(), why };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host(address).await.map_err(|error| unresolved(error.to_string()))?.collect();
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| DialError::Failed { address: address.to_owned(), why: error.to_string() })?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(congestion)));
    let mut last = unresolved("the name has no address".to_owned());
    for to in addresses {
        match dial_one(address, to, config.clone()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn transport(congestion: Congestion) -> quinn::TransportConfig {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(upload::limits::UDP_PAYLOAD_BYTES_MAX);
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(upload::limits::PACKETS_PER_ACK));
    let mut transport = quinn::TransportConfig::default();
    match congestion {
        Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    transport
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .max_idle_timeout(Some(limits::IDLE_MAX.try_into().expect("some seconds are a QUIC idle timeout")))
        .send_window(limits::SEND_WINDOW)
        .receive_window(VarInt::from_u32(limits::RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(limits::RECEIVE_WINDOW))
        // The server answers on streams of ours and opens none.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    transport
}

async fn dial_one(address: &str, to: SocketAddr, config: ClientConfig) -> Result<(Endpoint, Connection), DialError> {
    let failed = |why: String| DialError::Failed { address: address.to_owned(), why };
    let endpoint = Endpoint::client(way::any(to)).map_err(|error| failed(error.to_string()))?;
    let connecting = endpoint.connect_with(config, to, SERVER_NAME).map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(limits::DIAL_MAX, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => Err(explain(address, &error)),
        Err(_) => Err(DialError::NoAnswer { address: address.to_owned() }),
    }
}

/// Opens the control stream and says the device's first words.
pub(super) async fn say_hello(
    address: &str,
    connection: &Connection,
    now: clock::Instant,
    sub_streams: &[SubStream],
) -> Result<(SendStream, RecvStream), DialError> {
    let (mut hello, control) = connection.open_bi().await.map_err(|error| explain(address, &error))?;
    let message = FromAgent::Hello(Hello {
        agent_version: VERSION.to_owned(),
        device_time: now.wall,
        clock_quality: now.quality,
        sub_streams: sub_streams.to_vec(),
    });
    hello.write_all(&message.encode()).await.map_err(|error| explain_write(address, error))?;
    Ok((hello, control))
}

pub(super) async fn close(endpoint: &Endpoint, connection: &Connection) {
    connection.close(VarInt::from_u32(CloseCode::Done.number()), b"");
    let _ = tokio::time::timeout(limits::CLOSE_WAIT_MAX, endpoint.wait_idle()).await;
}

/// TLS alerts arrive as QUIC error 0x100 + alert (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

pub(super) fn explain(address: &str, error: &ConnectionError) -> DialError {
    let address = address.to_owned();
    match error {
        ConnectionError::ApplicationClosed(close) => DialError::Closed {
            address,
            code: CloseCode::from_number(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
            message: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::TimedOut => DialError::NoAnswer { address },
        ConnectionError::Reset => DialError::Restarted { address },
        ConnectionError::ConnectionClosed(close) if CRYPTO_ERRORS.contains(&u64::from(close.error_code)) => {
            let alert = u64::from(close.error_code) - CRYPTO_ERRORS.start;
            DialError::Unwelcome { address, alert: u8::try_from(alert).expect("the range holds 256 alerts") }
        }
        // Raised on this side: the server's certificate was refused.
        ConnectionError::TransportError(error) if CRYPTO_ERRORS.contains(&u64::from(error.code)) => {
            DialError::Untrusted { address, why: error.reason.clone() }
        }
        other => DialError::Failed { address, why: other.to_string() },
    }
}

fn explain_write(address: &str, error: WriteError) -> DialError {
    match error {
        WriteError::ConnectionLost(error) => explain(address, &error),
        other => DialError::Failed { address: address.to_owned(), why: other.to_string() },
    }
}
