//! The numbers that say why: error codes of acks, close codes of connections. Never renumbered.

use std::fmt;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A number that this version does not know.
            Unknown(u32),
        }

        impl $name {
            /// All that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// The meaning of a number from the wire.
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    _ => Self::Unknown(number),
                }
            }

            /// The name in logs, metrics and acks.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown(_) => "UNKNOWN",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ({})", self.name(), self.number())
            }
        }
    };
}

numbered! {
    /// Why a fragment was not stored. Numbers below 6000 are those of Kinesis Video Streams' acks.
    ErrorCode {
        /// The stream of bytes broke off before the fragment's trailer. Send it again.
        Truncated = 4000 "STREAM_READ_ERROR",
        /// The fragment is larger than the server takes.
        FragmentTooLarge = 4001 "MAX_FRAGMENT_SIZE_REACHED",
        /// The fragment lasts longer than the server takes.
        FragmentTooLong = 4002 "MAX_FRAGMENT_DURATION_REACHED",
        /// The connection is older than one may be. Send it again on another.
        ConnectionTooLong = 4003 "MAX_CONNECTION_DURATION_REACHED",
        /// The fragment does not lie after the one before it.
        OutOfOrder = 4004 "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
        /// The payload is not the Matroska document that a fragment has to be.
        InvalidMkv = 4006 "INVALID_MKV_DATA",
        /// The start time lies outside of what can be kept.
        InvalidTimestamp = 4007 "INVALID_PRODUCER_TIMESTAMP",
        /// The stream does not exist or is being deleted.
        StreamNotActive = 4008 "STREAM_NOT_ACTIVE",
        /// The fragment's tags are too many, too long, or have names that are not theirs to have.
        Metadata = 4009 "FRAGMENT_METADATA_LIMIT_REACHED",
        /// A frame belongs to a track that was not declared.
        TrackMismatch = 4010 "TRACK_NUMBER_MISMATCH",
        /// A track that was declared has no frame in the fragment.
        FramesMissing = 4011 "FRAMES_MISSING_FOR_TRACK",
        /// There are more tracks than a fragment may have.
        TooManyTracks = 4012 "MORE_THAN_ALLOWED_TRACKS_FOUND",
        /// The server may not use its master key. Send it again.
        KmsAccessDenied = 4500 "KMS_KEY_ACCESS_DENIED",
        /// The server's master key is disabled. Send it again: it may be enabled.
        KmsDisabled = 4501 "KMS_KEY_DISABLED",
        /// The server's key service takes something for invalid. Send it again.
        KmsValidation = 4502 "KMS_KEY_VALIDATION_ERROR",
        /// The server's key service can't be had just now. Send it again.
        KmsUnavailable = 4503 "KMS_KEY_UNAVAILABLE",
        /// The server's master key is of the wrong kind. Send it again.
        KmsInvalidUsage = 4504 "KMS_KEY_INVALID_USAGE",
        /// The server's master key is in a state that does not allow its use. Send it again.
        KmsInvalidState = 4505 "KMS_KEY_INVALID_STATE",
        /// The server's master key does not exist. Send it again.
        KmsNotFound = 4506 "KMS_KEY_NOT_FOUND",
        /// The server failed for a reason of its own. Send it again.
        Internal = 5000 "INTERNAL_ERROR",
        /// The fragment could not be written to disk. Send it again.
        Archival = 5001 "ARCHIVAL_ERROR",
        /// The bytes arrived changed: length or checksum differ from the trailer's. Send it again.
        ChecksumMismatch = 6001 "CHECKSUM_MISMATCH",
        /// The bytes around the payload break the upload protocol.
        MalformedUpload = 6002 "MALFORMED_UPLOAD",
        /// The device may not write to this stream.
        StreamNotPermitted = 6003 "STREAM_NOT_PERMITTED",
        /// The server has too much in flight. Send it again.
        Overloaded = 6004 "OVERLOADED",
    }
}

impl ErrorCode {
    /// Whether the same fragment may be stored at another attempt, as far as the code alone tells. The ack says it
    /// by itself, since whoever sends it may know better.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Truncated
                | Self::ConnectionTooLong
                | Self::Internal
                | Self::Archival
                | Self::ChecksumMismatch
                | Self::Overloaded
                | Self::StreamNotActive
                | Self::KmsAccessDenied
                | Self::KmsDisabled
                | Self::KmsValidation
                | Self::KmsUnavailable
                | Self::KmsInvalidUsage
                | Self::KmsInvalidState
                | Self::KmsNotFound
        )
    }
}

numbered! {
    /// Why one end closed the connection (QUIC application close).
    CloseCode {
        /// All is done.
        Done = 0 "DONE",
        /// The other end broke the protocol.
        ProtocolViolation = 1 "PROTOCOL_VIOLATION",
        /// An upload needs a client certificate, and none was presented.
        CertificateRequired = 2 "CERTIFICATE_REQUIRED",
        /// The device of this certificate was revoked.
        DeviceRevoked = 3 "DEVICE_REVOKED",
        /// The certificate is signed, but names a device that the server does not know.
        DeviceUnknown = 4 "DEVICE_UNKNOWN",
        /// The server shuts down; come back soon.
        ShuttingDown = 5 "SHUTTING_DOWN",
        /// The server has as many connections as it takes; come back later.
        Overloaded = 6 "OVERLOADED",
        /// The certificate was replaced by a newer one of the same device.
        CertificateReplaced = 7 "CERTIFICATE_REPLACED",
    }
}

numbered! {
    /// Why an enrolment was refused.
    JoinCode {
        /// The token is not one that this server gave out.
        TokenUnknown = 1 "TOKEN_UNKNOWN",
        /// The token was used already.
        TokenUsed = 2 "TOKEN_USED",
        /// The token is older than its validity.
        TokenExpired = 3 "TOKEN_EXPIRED",
        /// The certificate request can't be read or is not signed by its own key.
        RequestInvalid = 4 "REQUEST_INVALID",
        /// The device was revoked.
        DeviceRevoked = 5 "DEVICE_REVOKED",
        /// The server failed for a reason of its own; try again.
        Internal = 6 "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_means_what_it_was_made_from_and_none_is_used_twice() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), code);
        }
        for &code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), code);
        }
        for &code in JoinCode::ALL {
            assert_eq!(JoinCode::from_number(code.number()), code);
        }
        assert_eq!(ErrorCode::from_number(9999), ErrorCode::Unknown(9999));
    }

    #[test]
    fn trouble_with_the_servers_keys_is_no_reason_to_give_a_fragment_up() {
        let of_keys = ErrorCode::ALL.iter().filter(|code| code.name().starts_with("KMS_KEY"));
        let numbers: Vec<u32> = of_keys.filter(|code| code.is_retryable()).map(|code| code.number()).collect();
        assert_eq!(numbers, [4500, 4501, 4502, 4503, 4504, 4505, 4506]);
    }

    #[test]
    fn what_the_device_did_wrong_is_not_worth_another_attempt() {
        assert!(!ErrorCode::InvalidMkv.is_retryable());
        assert!(!ErrorCode::FragmentTooLarge.is_retryable());
        assert!(ErrorCode::Truncated.is_retryable());
    }
}
