//! Devices over HTTP: how they are, and the commands that the console has buttons for.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use upload::fleet::CommandKind;

use super::State;
use super::api::wall_time;
use super::console::LoggedIn;
use super::error::Problem;
use crate::devices::{DeviceError, DeviceName};
use crate::fleet::{DeviceView, FetchView, Fleet};

/// `GET /v1/devices`
pub(super) async fn list(_: LoggedIn, Extract(state): Extract<State>) -> Result<Json<Vec<DeviceView>>, Problem> {
    blocking(&state, |fleet| fleet.list()).await
}

/// `GET /v1/devices/{name}`
pub(super) async fn show(
    _: LoggedIn,
    Extract(state): Extract<State>,
    Path(name): Path<String>,
) -> Result<Json<DeviceView>, Problem> {
    let name = device(&name)?;
    blocking(&state, move |fleet| fleet.show(&name)).await
}

/// What a snapshot may be asked for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// At most so many pixels wide.
    width: Option<u32>,
}

/// `GET /v1/devices/{name}/cameras/{stream}/snapshot`
pub(super) async fn snapshot(
    _: LoggedIn,
    Extract(state): Extract<State>,
    Path((name, stream)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let kind = CommandKind::Snapshot { stream, width_max: wanted.width.unwrap_or(0) };
    let picture = state.0.fleet.command(&device(&name)?, kind).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")], picture).into_response())
}

/// `POST /v1/devices/{name}/cameras/{stream}/restart`
pub(super) async fn restart_camera(
    _: LoggedIn,
    Extract(state): Extract<State>,
    Path((name, stream)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.0.fleet.command(&device(&name)?, CommandKind::RestartCamera { stream }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which range of time is to be uploaded.
#[derive(Deserialize)]
pub(super) struct Range {
    from: jiff::Timestamp,
    to: jiff::Timestamp,
}

/// `POST /v1/devices/{name}/cameras/{stream}/fetch`
pub(super) async fn fetch(
    _: LoggedIn,
    Extract(state): Extract<State>,
    Path((name, stream)): Path<(String, String)>,
    range: Result<Json<Range>, JsonRejection>,
) -> Result<Json<FetchView>, Problem> {
    let Json(Range { from, to }) = range.map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
    let (from, to) = (wall_time(from)?, wall_time(to)?);
    Ok(Json(state.0.fleet.fetch(&device(&name)?, stream, from, to).await?))
}

fn device(name: &str) -> Result<DeviceName, Problem> {
    name.parse().map_err(|_| Problem::UnknownDevice(name.to_owned()))
}

async fn blocking<T: Send + 'static>(
    state: &State,
    look: impl FnOnce(&Fleet) -> Result<T, DeviceError> + Send + 'static,
) -> Result<Json<T>, Problem> {
    let fleet = state.0.fleet.clone();
    let looked = tokio::task::spawn_blocking(move || look(&fleet)).await;
    match looked.map_err(|error| Problem::Storage(error.to_string()))? {
        Ok(found) => Ok(Json(found)),
        Err(DeviceError::Unknown(name)) => Err(Problem::UnknownDevice(name)),
        Err(error) => Err(Problem::Storage(error.to_string())),
    }
}
