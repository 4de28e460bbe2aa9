//! For the machines that watch this one: `/healthz` and `/metrics`.

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::State;

/// `GET /healthz`: 200 while the server takes and gives video, 503 with the reason when it can't.
pub(super) async fn healthz(Extract(state): Extract<State>) -> Response {
    match state.library().health() {
        Ok(()) => Json(serde_json::json!({ "status": "ok" })).into_response(),
        Err(reason) => {
            let body = Json(serde_json::json!({ "status": "failed", "message": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// `GET /metrics`: counters in Prometheus' text format.
pub(super) async fn metrics(Extract(state): Extract<State>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.0.metrics)()).into_response()
}
