//! Why a stream has no session at AWS, in words that say what to do.

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// There is nothing to sign with.
    #[error(
        "there are no AWS credentials: {0}; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, \
         or a role of this machine"
    )]
    Credentials(String),
    /// AWS answered, and said no.
    #[error("AWS refuses {operation} of the stream {stream}: {code}{}{message}{}", if .message.is_empty() { "" } else { ": " }, advice(.code, .message))]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Of which stream, by its name at AWS.
        stream: String,
        /// Why, for programs.
        code: String,
        /// Why, for people.
        message: String,
    },
    /// It does not exist, and is not to be made.
    #[error("there is no stream {stream} in {region}: create it, or remove create_streams = false")]
    NoStream {
        /// Its name at AWS.
        stream: String,
        /// Where it was looked for.
        region: String,
    },
    /// It exists and can't be used.
    #[error("the stream {stream} is {status} at AWS and not ACTIVE")]
    NotActive {
        /// Its name at AWS.
        stream: String,
        /// What it is.
        status: String,
    },
    /// AWS's answer makes no sense.
    #[error("AWS's answer to {operation} can't be used: {why}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing answered.
    #[error("no connection to {address}: {why}")]
    Unreachable {
        /// Where to.
        address: String,
        /// Why.
        why: String,
    },
}

impl OpenError {
    /// Whether other credentials might be taken.
    pub(super) fn is_of_the_credentials(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if CREDENTIALS.iter().any(|known| code.contains(known)))
    }
}

/// How the refusals are called that have to do with who asks.
const CREDENTIALS: &[&str] = &["Signature", "Token", "AccessDenied", "NotAuthorized", "UnrecognizedClient", "Expired"];

fn advice(code: &str, message: &str) -> &'static str {
    let of_the_clock = ["Signature expired", "not yet current"].iter().any(|words| message.contains(words));
    match code {
        _ if of_the_clock || code == "RequestExpired" => {
            "; this device's clock is wrong, and AWS's time is used from now on"
        }
        code if code.contains("Signature") => "; check the secret access key, and that it belongs to the access key",
        code if code.contains("ExpiredToken") => "; the credentials have expired, and are asked for anew",
        "UnrecognizedClientException" | "InvalidClientTokenId" => "; check the access key",
        code if code.contains("AccessDenied") || code.contains("NotAuthorized") => {
            "; docs/aws.md lists the rights that the agent needs"
        }
        code if code.contains("ConnectionLimitExceeded") => {
            "; another producer sends to this stream, or an earlier connection has not ended yet"
        }
        "AccountStreamLimitExceededException" => "; delete streams, or have the account's limit raised",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        for (code, message, advice, of_the_credentials) in [
            ("SignatureDoesNotMatch", "differs", "check the secret access key", true),
            ("InvalidSignatureException", "Signature expired: 19700101", "clock is wrong", true),
            ("ExpiredTokenException", "", "asked for anew", true),
            ("UnrecognizedClientException", "", "check the access key", true),
            ("AccessDeniedException", "no", "docs/aws.md", true),
            ("ConnectionLimitExceededException", "", "another producer", false),
        ] {
            let refused = OpenError::Refused {
                operation: "PutMedia",
                stream: "front".to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
            };
            let words = refused.to_string();
            assert!(words.contains("PutMedia of the stream front") && words.contains(advice), "{words}");
            assert_eq!(refused.is_of_the_credentials(), of_the_credentials, "{code}");
        }
    }
}
