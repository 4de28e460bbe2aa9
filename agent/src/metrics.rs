//! The numbers of the status as a page for Prometheus, over HTTP, where the configuration names an address.
//!
//! ```text
//! millrace_agent_connected                                      1 while the server answers
//! millrace_agent_spool_fragments, …_spool_bytes                 what waits in the spool for the server
//! millrace_agent_held_fragments, …_held_bytes                   recordings that wait for their hours or until they are asked for
//! millrace_agent_kept_fragments, …_kept_bytes                   what the server has and stays on the device for a while
//! millrace_agent_recording_stopped                              1 while nothing is recorded because the spool is full
//! millrace_agent_spool_fragments_total{fate}                    spooled, persisted, rejected, dropped or lost in this run
//! millrace_agent_camera_up{stream}                              1 while it gives video
//! millrace_agent_camera_fps, …_bits_per_second{stream}          in the last second
//! millrace_agent_camera_pictures_total{stream}                  pictures recorded
//! millrace_agent_camera_units_dropped_total{stream}             units that belong to no fragment
//! millrace_agent_camera_pictures_left_out_total{stream}         pictures among them that came before a key frame
//! millrace_agent_camera_packets_lost_total{stream}              packets lost on the way
//! millrace_agent_camera_units_damaged_total{stream}             units that are damaged or missing for it
//! millrace_agent_camera_starts_again_total{stream}              how often it was started again
//! millrace_agent_camera_troubles_total{stream, reason}          how often it was in trouble, for each reason
//! ```

use std::convert::Infallible;
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use spool::Amount;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::reason::Reason;
use crate::status::{CameraSnapshot, Snapshot, Status};

/// Serves the page until `stop`. An address that can't be had is said, and costs nothing but the page: recording
/// matters more.
pub async fn serve(address: SocketAddr, status: Status, stop: CancellationToken) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%address, %error, "metrics can't be served there; choose another metrics.listen");
            return;
        }
    };
    tracing::info!(%address, "metrics are served at /metrics");
    serve_on(&listener, &status, &stop).await;
}

/// Serves the page on `listener` until `stop`.
pub async fn serve_on(listener: &TcpListener, status: &Status, stop: &CancellationToken) {
    let room = Arc::new(Semaphore::new(limits::METRICS_CONNECTIONS_MAX));
    loop {
        let (connection, _) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files: it passes, and trying at once would only burn time.
                    tracing::debug!(%error, "a reader of metrics was not let in");
                    tokio::time::sleep(limits::PAUSE_MIN).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        // Who finds no room is hung up on.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let status = status.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| std::future::ready(answer(&request, &status)));
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(connection), answer);
            // A reader that hangs or talks nonsense is its own affair.
            let _ = tokio::time::timeout(limits::METRICS_CONNECTION_MAX, served).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, status: &Status) -> Result<Response<String>, Infallible> {
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, page(&status.latest())),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = code;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What it says for `status`.
pub fn page(status: &Snapshot) -> String {
    let mut page = Page::default();
    page.family("connected", "gauge", "Whether the server answers.");
    page.sample("connected", "", u8::from(status.connected));
    let spool = &status.spool;
    let kept = Amount { fragments: spool.kept, bytes: spool.kept_bytes };
    page.amount("spool", "that wait for the server", status.waiting());
    page.amount("held", "that wait for their hours or until they are asked for", status.held);
    page.amount("kept", "that the server has and that stay for a while", kept);
    page.family("recording_stopped", "gauge", "Whether nothing is recorded because the spool is full.");
    page.sample("recording_stopped", "", u8::from(spool.stopped));
    page.family("spool_fragments_total", "counter", "Fragments, by what became of them in this run.");
    for (fate, count) in [
        ("spooled", spool.spooled),
        ("persisted", spool.persisted),
        ("rejected", spool.rejected),
        ("dropped", spool.dropped),
        ("lost", spool.lost),
    ] {
        page.sample("spool_fragments_total", &format!("{{fate=\"{fate}\"}}"), count);
    }
    let cameras = &status.cameras;
    page.cameras(cameras, "up", "gauge", "Whether the camera gives video.", |camera| u8::from(camera.up));
    page.cameras(cameras, "fps", "gauge", "Pictures in the last second.", |camera| camera.fps);
    page.cameras(cameras, "bits_per_second", "gauge", "Bits in the last second.", |camera| camera.bits_per_second);
    page.cameras(cameras, "pictures_total", "counter", "Pictures recorded.", |camera| camera.pictures);
    page.cameras(cameras, "units_dropped_total", "counter", "Units that belong to no fragment.", |camera| {
        camera.dropped
    });
    page.cameras(cameras, "pictures_left_out_total", "counter", "Pictures before a key frame.", |camera| {
        camera.pictures_left_out
    });
    page.cameras(cameras, "packets_lost_total", "counter", "Packets lost on the way.", |camera| camera.packets_lost);
    page.cameras(cameras, "units_damaged_total", "counter", "Units that lost packets.", |camera| camera.units_damaged);
    page.cameras(cameras, "starts_again_total", "counter", "How often it was started again.", |camera| camera.failures);
    page.family("camera_troubles_total", "counter", "How often the camera was in trouble, by the reason.");
    for camera in cameras {
        // All reasons from the start, so that an alarm sees the first one as a rise.
        for reason in Reason::ALL {
            let labels = format!("{{stream=\"{}\",reason=\"{reason}\"}}", camera.stream);
            page.sample("camera_troubles_total", &labels, camera.troubles.get(&reason).copied().unwrap_or(0));
        }
    }
    page.0
}

/// Text in Prometheus' format. Names of streams hold nothing that it would have to escape.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP millrace_agent_{name} {help}\n# TYPE millrace_agent_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "millrace_agent_{name}{labels} {value}");
    }

    fn amount(&mut self, name: &str, which: &str, Amount { fragments, bytes }: Amount) {
        self.family(&format!("{name}_fragments"), "gauge", &format!("Fragments in the spool {which}."));
        self.sample(&format!("{name}_fragments"), "", fragments);
        self.family(&format!("{name}_bytes"), "gauge", &format!("The size of the fragments in the spool {which}."));
        self.sample(&format!("{name}_bytes"), "", bytes);
    }

    fn cameras<T: Display>(
        &mut self,
        cameras: &[CameraSnapshot],
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&CameraSnapshot) -> T,
    ) {
        let name = format!("camera_{name}");
        self.family(&name, kind, help);
        for camera in cameras {
            self.sample(&name, &format!("{{stream=\"{}\"}}", camera.stream), value(camera));
        }
    }
}

#[cfg(test)]
mod tests {
    use spool::Counters;

    use super::*;

    #[test]
    fn every_number_of_the_status_is_on_the_page() {
        let camera = CameraSnapshot {
            stream: "yard".to_owned(),
            up: true,
            fps: 25.0,
            pictures_left_out: 7,
            troubles: [(Reason::Silent, 2)].into(),
            ..CameraSnapshot::default()
        };
        let spool =
            Counters { fragments: 9, bytes: 900, kept: 4, kept_bytes: 400, stopped: true, ..Counters::default() };
        let held = Amount { fragments: 7, bytes: 700 };
        let text = page(&Snapshot { connected: true, spool, held, cameras: vec![camera], ..Snapshot::default() });
        for line in [
            "millrace_agent_connected 1",
            "millrace_agent_spool_fragments 2",
            "millrace_agent_spool_bytes 200",
            "millrace_agent_held_fragments 7",
            "millrace_agent_held_bytes 700",
            "millrace_agent_kept_fragments 4",
            "millrace_agent_kept_bytes 400",
            "millrace_agent_recording_stopped 1",
            "millrace_agent_spool_fragments_total{fate=\"dropped\"} 0",
            "millrace_agent_camera_up{stream=\"yard\"} 1",
            "millrace_agent_camera_fps{stream=\"yard\"} 25",
            "millrace_agent_camera_pictures_left_out_total{stream=\"yard\"} 7",
            "millrace_agent_camera_troubles_total{stream=\"yard\",reason=\"silent\"} 2",
            "millrace_agent_camera_troubles_total{stream=\"yard\",reason=\"frozen-picture\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn every_sample_has_its_kind_in_front() {
        let camera = CameraSnapshot { stream: "yard".to_owned(), ..CameraSnapshot::default() };
        let text = page(&Snapshot { cameras: vec![camera], ..Snapshot::default() });
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(kind) => family = kind.split(' ').next().unwrap(),
                None if line.starts_with('#') => {}
                None => assert_eq!(line.split(['{', ' ']).next(), Some(family)),
            }
        }
    }
}
