//! The console: its static files, and the login by the console key.
//!
//! Whoever has the key opens `/?key=…` once and gets a cookie; the address without the key is then what stays
//! in the browser's history. Programs send the key as a Bearer token instead. The cookie is a sealed
//! expiry, bound to the key: a new key ends all sessions.

use axum::extract::{FromRequestParts, Query, State as Extract};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use fragment::WallTime;

use super::State;
use super::error::Problem;
use super::limits;

const INDEX: &str = include_str!("../../console/index.html");
const LOGIN: &str = include_str!("../../console/login.html");
const SCRIPT: &str = include_str!("../../console/app.js");
const STYLE: &str = include_str!("../../console/style.css");
const HLS: &str = include_str!("../../console/vendor/hls.light.min.js");

/// The console's own files only; hls.js plays from blob addresses and works in a blob worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      media-src 'self' blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

const COOKIE: &str = "millrace_session";

/// Proof that the request comes from someone who has the console key.
pub(super) struct LoggedIn;

impl FromRequestParts<State> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        if logged_in(&parts.headers, state, super::now()) { Ok(Self) } else { Err(Problem::NotLoggedIn) }
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Login {
    key: Option<String>,
}

/// `GET /`: the watch page, or the login page; with the right key, a session.
pub(super) async fn index(Extract(state): Extract<State>, Query(login): Query<Login>, headers: HeaderMap) -> Response {
    if let Some(key) = login.key {
        if !state.is_console_key(key.trim()) {
            return page(StatusCode::UNAUTHORIZED, LOGIN);
        }
        return ([(header::SET_COOKIE, session_cookie(&state, super::now()))], Redirect::to("/")).into_response();
    }
    if logged_in(&headers, &state, super::now()) {
        page(StatusCode::OK, INDEX)
    } else {
        page(StatusCode::UNAUTHORIZED, LOGIN)
    }
}

pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(super) async fn hls() -> Response {
    asset("text/javascript; charset=utf-8", HLS)
}

fn page(status: StatusCode, html: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, html).into_response()
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

fn logged_in(headers: &HeaderMap, state: &State, now: WallTime) -> bool {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if let Some(key) = bearer {
        return state.is_console_key(key.trim());
    }
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .any(|session| is_open(session, state, now))
}

fn is_open(session: &str, state: &State, now: WallTime) -> bool {
    let Ok(plain) = state.sealer().open(&purpose(state), session) else { return false };
    let Ok(expiry) = <[u8; 8]>::try_from(plain) else { return false };
    now.as_millis() < i64::from_be_bytes(expiry)
}

/// SameSite=Lax: a link from elsewhere may open the page, but only the page itself may ask the API.
fn session_cookie(state: &State, now: WallTime) -> String {
    let expiry = now + limits::CONSOLE_SESSION;
    let session = state.sealer().seal(&purpose(state), &expiry.as_millis().to_be_bytes());
    format!("{COOKIE}={session}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax", limits::CONSOLE_SESSION.as_secs())
}

fn purpose(state: &State) -> Vec<u8> {
    [b"millrace console session ", state.console_key().as_bytes()].concat()
}
