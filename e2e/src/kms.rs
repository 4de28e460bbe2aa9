//! A KMS for the server under test: moto's, behind a gate that sees every call and can refuse it as KMS does. (moto
//! keeps a disabled key's state and uses the key all the same.)

use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::camera::free_port;
use crate::process::Process;
use crate::python::python_tool;
use crate::wait::until;

/// The region and the credentials of everyone here; moto takes any.
pub const ENVIRONMENT: &[(&str, &str)] =
    &[("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// moto takes the service and the region from here, and verifies nothing.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/kms/aws4_request, \
     SignedHeaders=host, Signature=0";

/// A KMS.
pub struct Kms {
    endpoint: String,
    moto: String,
    _process: Process,
    gate: Arc<Gate>,
}

/// A call that came through the gate.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked, such as `Decrypt`.
    pub operation: String,
    /// The request.
    pub request: Value,
    /// The answer.
    pub answer: Value,
}

#[derive(Default)]
struct Gate {
    calls: Mutex<Vec<Call>>,
    /// The operations that are refused, and with which of KMS's exceptions.
    refused: Mutex<Option<&'static str>>,
}

impl Kms {
    /// Starts one without keys; its log goes to `folder`.
    pub fn start(folder: &Path) -> Kms {
        let port = free_port();
        let mut command = Command::new(python_tool("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::start("moto_server", &mut command, &folder.join("moto.log"));
        let moto = format!("http://127.0.0.1:{port}");
        until("moto answers", Duration::from_secs(60), || {
            assert!(process.is_running(), "moto ended at its start:\n{}", process.output());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let gate = Arc::new(Gate::default());
        thread::spawn({
            let (gate, moto) = (gate.clone(), moto.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    let (gate, moto) = (gate.clone(), moto.clone());
                    thread::spawn(move || gate.serve(&stream, &moto));
                }
            }
        });
        Kms { endpoint, moto, _process: process, gate }
    }

    /// Where the server finds it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a key and answers its ARN.
    pub fn create_key(&self) -> String {
        let (status, made) = ask(&self.moto, "CreateKey", &json!({}));
        assert_eq!(status, 200, "{made}");
        made["KeyMetadata"]["Arn"].as_str().expect("a key has an ARN").to_owned()
    }

    /// Lets `alias` mean the key.
    pub fn set_alias(&self, alias: &str, key: &str) {
        let request = json!({"AliasName": alias, "TargetKeyId": key});
        let (status, _) = ask(&self.moto, "UpdateAlias", &request);
        if status != 200 {
            let (status, answer) = ask(&self.moto, "CreateAlias", &request);
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// The calls that the server made so far.
    pub fn calls(&self) -> Vec<Call> {
        self.gate.calls.lock().expect("no holder panics").clone()
    }

    /// The data keys that it gave in the clear, as it wrote them: in base64.
    pub fn plaintexts(&self) -> Vec<String> {
        let calls = self.calls();
        calls.iter().filter_map(|call| call.answer["Plaintext"].as_str().map(str::to_owned)).collect()
    }

    /// From now on each use of a key is refused by this exception of KMS, or by none.
    pub fn refuse(&self, exception: Option<&'static str>) {
        *self.gate.refused.lock().expect("no holder panics") = exception;
    }
}

impl Gate {
    /// One connection, request after request.
    fn serve(&self, stream: &TcpStream, moto: &str) {
        let mut reader = BufReader::new(stream);
        while let Ok(Some((operation, body))) = read_request(&mut reader) {
            let request = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let refused = *self.refused.lock().expect("no holder panics");
            let uses_key = ["GenerateDataKey", "Decrypt", "ReEncrypt"].contains(&operation.as_str());
            let (status, answer) = match refused.filter(|_| uses_key) {
                Some(exception) => (400, json!({"__type": exception, "message": "the gate is shut"})),
                None => ask(moto, &operation, &as_moto_takes_it(&operation, &request)),
            };
            let call = Call { operation, request, answer: answer.clone() };
            self.calls.lock().expect("no holder panics").push(call);
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} .\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            if (&*stream).write_all(&[head.as_bytes(), answer.as_bytes()].concat()).is_err() {
                return;
            }
        }
    }
}

/// The operation and the body of the next request, or `None` at the end of the connection.
fn read_request(reader: &mut impl io::BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut operation, mut length, mut lines) = (String::new(), 0, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        lines += 1;
        let line = line.trim_end();
        if line.is_empty() && lines > 1 {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.trim().trim_start_matches("TrentService.").to_owned(),
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((operation, body)))
}

/// KMS takes a key's ARN everywhere; moto fails at it where a key is enabled or disabled.
fn as_moto_takes_it(operation: &str, request: &Value) -> Value {
    let mut request = request.clone();
    if let ("EnableKey" | "DisableKey", Some((_, id))) =
        (operation, request["KeyId"].as_str().and_then(|key| key.split_once('/')))
    {
        request["KeyId"] = json!(id.to_owned());
    }
    request
}

/// Asks moto.
fn ask(moto: &str, operation: &str, request: &Value) -> (u16, Value) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let asked = agent
        .post(moto)
        .header("X-Amz-Target", &format!("TrentService.{operation}"))
        .header("Content-Type", "application/x-amz-json-1.1")
        .header("Authorization", AUTHORIZATION)
        .send(request.to_string());
    let mut answer = asked.unwrap_or_else(|error| panic!("moto, {operation}: {error}"));
    let text = answer.body_mut().read_to_string().expect("moto answers in text");
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
}
