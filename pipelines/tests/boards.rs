//! V4L2 and libcamera without a device: elements of our own stand in for `v4l2src` and `libcamerasrc`, and everything
//! behind them is real. They give what such a camera would: raw pictures, JPEG or H.264, in the size asked for.
//!
//! A process of its own, since GStreamer's registry is one for all of its tests.

use std::time::Duration;

use fragment::{AccessUnit, Codec, Tracks};
use pipelines::v4l2::Format;
use pipelines::{Event, Pipeline, Source, libcamera, v4l2};
use tokio::time::timeout;

/// Longer than encoding two seconds should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_v4l2_camera_is_watched_in_each_of_its_formats() {
    stand_in::register();
    for (format, gives) in [
        (Format::Raw, "capsfilter caps=video/x-raw,format=YUY2"),
        (Format::Jpeg, "jpegenc"),
        (Format::H264, "x264enc tune=zerolatency key-int-max=10"),
    ] {
        let source = v4l2::Source { format, width: 320, height: 240, fps: 10, ..v4l2::Source::new(gives) };
        assert_watchable(source, &format!("{format:?}")).await;
    }
}

#[tokio::test]
async fn a_libcamera_camera_is_watched_by_its_name() {
    stand_in::register();
    let camera = Some("capsfilter caps=video/x-raw,format=NV12".to_owned());
    assert_watchable(libcamera::Source { camera, width: 320, height: 240, fps: 10 }, "libcamera").await;
}

/// Two seconds of H.264 in the size and at the rate that was asked for, with key frames, and no sound.
async fn assert_watchable(source: impl Into<Source>, what: &str) {
    let (handle, mut events) = Pipeline::start(source);
    let watched = timeout(PATIENCE, async {
        let mut tracks: Option<Tracks> = None;
        let mut units: Vec<AccessUnit> = Vec::new();
        while units.len() < 21 {
            match events.recv().await {
                Some(Event::Tracks(new)) => tracks = Some(new),
                Some(Event::Unit(unit)) => units.push(unit),
                Some(Event::Clock(_)) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        (tracks.expect("tracks come first"), units)
    });
    let (tracks, units) = watched.await.unwrap_or_else(|_| panic!("{what}: no units"));
    handle.stop();

    let video = tracks.video().expect("it has video");
    assert!(tracks.audio().is_none(), "{what}");
    let Codec::H264(config) = &video.codec else { panic!("{what}: {:?}", video.codec) };
    assert_eq!((config.width(), config.height()), (320, 240), "{what}");
    assert!(units[0].key && units[1..].iter().any(|unit| unit.key), "{what}: a key frame each two seconds");
    let length = units[20].pts.since(units[0].pts);
    assert!(length.abs_diff(Duration::from_secs(2)) < Duration::from_millis(500), "{what}: 20 frames took {length:?}");
}

/// The elements that stand in. What a camera gives, as a piece of a launch line, is said by the name of its device.
mod stand_in {
    use std::sync::{LazyLock, Mutex, Once};

    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;

    pub(super) fn register() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            gst::init().expect("GStreamer starts");
            // After the registry was read, so that these go before the real ones.
            for name in ["v4l2src", "libcamerasrc"] {
                gst::Element::register(None, name, gst::Rank::NONE, Camera::static_type()).expect("a free name");
            }
        });
    }

    glib::wrapper! {
        pub(super) struct Camera(ObjectSubclass<Inner>) @extends gst::Bin, gst::Element, gst::Object;
    }

    #[derive(Default)]
    pub(super) struct Inner(Mutex<String>);

    #[glib::object_subclass]
    impl ObjectSubclass for Inner {
        const NAME: &'static str = "StandInCamera";
        type Type = Camera;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Inner {
        fn constructed(&self) {
            self.parent_constructed();
            let pad = gst::GhostPad::builder(gst::PadDirection::Src).name("src").build();
            self.obj().add_pad(&pad).expect("the first pad of its name");
            self.obj().set_element_flags(gst::ElementFlags::SOURCE);
        }

        fn properties() -> &'static [glib::ParamSpec] {
            // One has the first, the other the second.
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                ["device", "camera-name"].map(|name| glib::ParamSpecString::builder(name).build()).to_vec()
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, _spec: &glib::ParamSpec) {
            let gives: String = value.get().expect("a text");
            let line = format!("videotestsrc is-live=true ! {gives}");
            let inside = gst::parse::bin_from_description(&line, true).expect("a line that GStreamer understands");
            self.obj().add(&inside).expect("a bin takes a bin");
            let pad = self.obj().static_pad("src").and_downcast::<gst::GhostPad>().expect("made at its construction");
            pad.set_target(inside.static_pad("src").as_ref()).expect("both are sources");
            *self.0.lock().expect("no holder panics") = gives;
        }

        fn property(&self, _id: usize, _spec: &glib::ParamSpec) -> glib::Value {
            self.0.lock().expect("no holder panics").to_value()
        }
    }

    impl GstObjectImpl for Inner {}

    impl ElementImpl for Inner {
        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let any = gst::Caps::new_any();
                let source = gst::PadDirection::Src;
                vec![gst::PadTemplate::new("src", source, gst::PadPresence::Always, &any).expect("any caps")]
            });
            &TEMPLATES
        }
    }

    impl BinImpl for Inner {}
}
