//! GStreamer's RTSP server, on a thread and a main context of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gst::glib;
use gst_rtsp_server::gio;
use gst_rtsp_server::gst_rtsp::{RTSPAuthMethod, RTSPLowerTrans};
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{
    RTSP_PERM_MEDIA_FACTORY_ACCESS, RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, RTSP_TOKEN_MEDIA_FACTORY_ROLE, RTSPAuth,
    RTSPFilterResult, RTSPMediaFactory, RTSPServer, RTSPToken,
};

use super::plant::Plant;
use super::{Scheme, Settings, feeder, packets};

/// The role that the password gives.
const VIEWER: &str = "viewer";

/// How often sessions of viewers that vanished are looked for.
const CLEANUP: Duration = Duration::from_secs(2);

/// The running server.
pub(super) struct Server {
    server: RTSPServer,
    port: u16,
    context: glib::MainContext,
    main: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
    /// What listens, while the camera is there.
    listening: Arc<Mutex<Option<glib::SourceId>>>,
}

impl Server {
    pub(super) fn start(settings: &Settings, plant: &Arc<Plant>) -> Result<Self, String> {
        let server = RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&settings.port.to_string());
        let factory = factory(plant);
        if settings.credentials.is_some() || settings.tls.is_some() {
            server.set_auth(Some(&guard(settings)?));
            admit(&factory, VIEWER);
        }
        watch_sessions(&server, plant, settings.session_seconds);
        let mounts = server.mount_points().ok_or("the server has no mount points")?;
        mounts.add_factory(&settings.path, factory);

        let context = glib::MainContext::new();
        let listening = server.attach(Some(&context)).map_err(|error| error.to_string())?;
        let port = u16::try_from(server.bound_port()).map_err(|_| "it is not listening".to_owned())?;
        server.set_service(&port.to_string());
        clean_up_sessions(&server, &context);

        let main = glib::MainLoop::new(Some(&context), false);
        let running = main.clone();
        let thread = thread::spawn(move || running.run());
        let listening = Arc::new(Mutex::new(Some(listening)));
        Ok(Self { server, port, context, main, thread: Some(thread), listening })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection.
    pub(super) fn drop_viewers(&self) {
        let server = self.server.clone();
        self.context.invoke(move || drop_viewers(&server));
    }

    /// Reads and answers nothing while the camera has vanished.
    pub(super) fn hang(&self, plant: &Arc<Plant>) {
        let (plant, main) = (Arc::clone(plant), self.main.clone());
        self.context.invoke(move || {
            while plant.has_vanished() && main.is_running() {
                thread::sleep(Duration::from_millis(20));
            }
        });
    }

    /// Closes every connection and the port, and opens the port again after `time`.
    pub(super) fn restart(&self, time: Duration) {
        let (server, context) = (self.server.clone(), self.context.clone());
        let listening = Arc::clone(&self.listening);
        self.context.invoke(move || {
            stop_listening(&context, &listening);
            drop_viewers(&server);
            let again = glib::timeout_source_new(time, None, glib::Priority::DEFAULT, {
                let context = context.clone();
                move || match server.attach(Some(&context)) {
                    Ok(source) => {
                        *lock(&listening) = Some(source);
                        glib::ControlFlow::Break
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot listen again; trying on");
                        glib::ControlFlow::Continue
                    }
                }
            });
            again.attach(Some(&context));
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (server, context, main) = (self.server.clone(), self.context.clone(), self.main.clone());
        let listening = Arc::clone(&self.listening);
        self.context.invoke(move || {
            stop_listening(&context, &listening);
            drop_viewers(&server);
            main.quit();
        });
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed.
            let _ = thread.join();
        }
    }
}

fn factory(plant: &Arc<Plant>) -> RTSPMediaFactory {
    let factory = RTSPMediaFactory::new();
    factory.set_launch(&feeder::line(plant.clip().1, plant.clocks));
    factory.set_shared(true);
    factory.set_protocols(RTSPLowerTrans::TCP | RTSPLowerTrans::UDP);
    let plant = Arc::clone(plant);
    factory.connect_media_configure(move |_, media| {
        feeder::feed(media, &plant);
        let plant = Arc::clone(&plant);
        media.connect_prepared(move |media| packets::silence_reports(&media.element(), &plant));
    });
    factory
}

/// Lets in who knows the password, or everyone who speaks TLS.
fn guard(settings: &Settings) -> Result<RTSPAuth, String> {
    let auth = RTSPAuth::new();
    if let Some(pem) = &settings.tls {
        let certificate = gio::TlsCertificate::from_pem(pem).map_err(|error| error.to_string())?;
        auth.set_tls_certificate(Some(&certificate));
    }
    let mut token = RTSPToken::builder().field(RTSP_TOKEN_MEDIA_FACTORY_ROLE, VIEWER).build();
    match (&settings.credentials, settings.scheme) {
        (None, _) => auth.set_default_token(Some(&mut token)),
        (Some((user, password)), Scheme::Digest) => {
            auth.set_supported_methods(RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &token);
        }
        (Some((user, password)), Scheme::Basic) => {
            auth.set_supported_methods(RTSPAuthMethod::Basic);
            auth.add_basic(&RTSPAuth::make_basic(user, password), &token);
        }
    }
    Ok(auth)
}

/// Gives sessions their time-out, and counts what keeps them alive.
fn watch_sessions(server: &RTSPServer, plant: &Arc<Plant>, seconds: Option<u32>) {
    let plant = Arc::clone(plant);
    server.connect_client_connected(move |_, client| {
        if let Some(seconds) = seconds {
            client.connect_new_session(move |_, session| session.set_timeout(seconds));
        }
        // rtspsrc keeps sessions by OPTIONS or GET_PARAMETER, with the session's name; its first OPTIONS has none.
        let keeps = Arc::clone(&plant);
        client.connect_options_request(move |_, context| {
            if context.session().is_some() {
                keeps.note_kept_alive();
            }
        });
        let keeps = Arc::clone(&plant);
        client.connect_get_parameter_request(move |_, _| keeps.note_kept_alive());
    });
}

fn admit(factory: &RTSPMediaFactory, role: &str) {
    let permission = gst::Structure::builder(role)
        .field(RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
        .field(RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
        .build();
    factory.add_role_from_structure(&permission);
}

fn drop_viewers(server: &RTSPServer) {
    let clients = server.client_filter(Some(&mut |_, _| RTSPFilterResult::Ref));
    for client in clients {
        client.close();
    }
}

fn stop_listening(context: &glib::MainContext, listening: &Mutex<Option<glib::SourceId>>) {
    if let Some(source) = lock(listening).take().and_then(|id| context.find_source_by_id(&id)) {
        source.destroy();
    }
}

fn clean_up_sessions(server: &RTSPServer, context: &glib::MainContext) {
    let server = server.downgrade();
    let source = glib::timeout_source_new(CLEANUP, None, glib::Priority::DEFAULT, move || {
        let Some(pool) = server.upgrade().and_then(|server| server.session_pool()) else {
            return glib::ControlFlow::Break;
        };
        pool.cleanup();
        glib::ControlFlow::Continue
    });
    source.attach(Some(context));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
