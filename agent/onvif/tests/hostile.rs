//! Cameras that mean harm, or are broken: they cost bounded time and memory, and nothing falls over.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use onvif::address::Place;
use onvif::client::{self, LookUpError};
use onvif::limits;

/// More than the bounds allow, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_camera_that_takes_a_request_and_never_answers_is_given_up() {
    let error = ask(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        thread::sleep(PATIENCE);
    });
    assert!(matches!(error, LookUpError::Unreachable(..)), "{error}");
}

#[test]
fn a_camera_that_answers_a_byte_at_a_time_is_given_up() {
    let error = ask(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"<").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(matches!(error, LookUpError::Unreachable(..)), "{error}");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let error = ask(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let chunk = vec![b'<'; 1 << 16];
        while stream.write_all(&chunk).is_ok() {}
    });
    assert!(matches!(error, LookUpError::Unreachable(..)), "{error}");
}

#[test]
fn an_answer_of_elements_in_each_other_is_refused() {
    let error = ask(|stream| answer(stream, &"<a>".repeat(100_000)));
    assert!(matches!(error, LookUpError::Refused(..) | LookUpError::Unreachable(..)), "{error}");
}

#[test]
fn a_camera_that_sends_elsewhere_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = elsewhere.local_addr().unwrap();
    let error = ask(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ =
            write!(stream, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{there}/\r\nContent-Length: 0\r\n\r\n");
    });
    assert!(error.to_string().contains("307"), "{error}");
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody came");
}

#[test]
fn a_camera_with_profiles_without_number_is_asked_about_some_of_them_and_for_a_bounded_time() {
    let profiles = "<Profiles token='p'><VideoEncoder/></Profiles>".repeat(8000);
    let body = format!(
        "<r><Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace><XAddr>http://x/m</XAddr></Service>\
         {profiles}</r>"
    );
    let began = Instant::now();
    let address = serve(move |stream| answer(stream, &body));
    // Whether it is done in time or given up depends on the machine.
    if let Ok(camera) = client::look_up(&place(address), None) {
        assert!(camera.profiles.len() <= limits::PROFILES_MAX);
    }
    assert!(began.elapsed() < PATIENCE);
}

/// Asks a camera that treats each connection so. It has to fail.
fn ask(camera: impl Fn(TcpStream) + Send + Clone + 'static) -> LookUpError {
    let began = Instant::now();
    let error = client::look_up(&place(serve(camera)), None).expect_err("this is no camera");
    assert!(began.elapsed() < PATIENCE);
    error
}

fn place(address: SocketAddr) -> Place {
    Place::parse(&address.to_string()).unwrap()
}

fn serve(camera: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let camera = camera.clone();
            thread::spawn(move || camera(stream));
        }
    });
    address
}

/// Reads a request and answers it.
fn answer(mut stream: TcpStream, body: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b"</s:Envelope>") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
}
