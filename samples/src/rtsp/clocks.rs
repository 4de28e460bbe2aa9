//! The camera's clocks, where they are not right: its crystal, its calendar, and where its RTP timestamps begin.
//!
//! A camera counts RTP timestamps from anywhere, with 32 bits, by its crystal; and its sender reports say which of them
//! belongs to which time of its calendar. The payloaders and the session are right by nature, so packets are changed on
//! their way out.

use std::sync::Arc;

use gst::prelude::*;

use super::plant::Plant;

/// How a camera's clocks go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The RTP timestamp that it begins with; random, as cameras do it, if `None`.
    pub rtp_offset: Option<u32>,
    /// By how much its crystal is fast, in millionths; slow if negative.
    pub drift_ppm: i64,
    /// How far its calendar is ahead, in nanoseconds; behind if negative.
    pub calendar_nanos: i64,
}

impl Clocks {
    /// What a payloader is told.
    pub(super) fn payloader_arguments(self) -> String {
        self.rtp_offset.map_or_else(String::new, |offset| format!(" timestamp-offset={offset}"))
    }
}

/// Has the sender reports of a media's pipeline tell the camera's calendar.
pub(super) fn set_calendar(media: &gst_rtsp_server::RTSPMedia, plant: &Arc<Plant>) {
    use gst_rtsp_server::prelude::*;
    let Some(pipeline) = media.element().parent().and_then(|parent| parent.downcast::<gst::Bin>().ok()) else { return };
    let plant = Arc::clone(plant);
    pipeline.connect_element_added(move |_, element| {
        if element.factory().is_some_and(|factory| factory.name() == "rtpbin") {
            let plant = Arc::clone(&plant);
            element.connect_pad_added(move |_, pad| {
                if pad.name().starts_with("send_rtcp_src_") {
                    shift_reports(pad, &plant);
                }
            });
        }
    });
}

/// Sender reports begin with `[V P RC: 1][200: 1][length: 2][SSRC: 4][NTP time in 2^-32 s: 8]`.
fn shift_reports(pad: &gst::Pad, plant: &Arc<Plant>) {
    let plant = Arc::clone(plant);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(mask, move |_, info| {
        let nanos = plant.calendar_nanos();
        if nanos != 0 {
            match &mut info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => shift(buffer.make_mut(), nanos),
                Some(gst::PadProbeData::BufferList(list)) => list.make_mut().foreach_mut(|mut buffer, _| {
                    shift(buffer.make_mut(), nanos);
                    std::ops::ControlFlow::Continue(Some(buffer))
                }),
                _ => {}
            }
        }
        gst::PadProbeReturn::Ok
    });
}

fn shift(packet: &mut gst::BufferRef, nanos: i64) {
    let Ok(mut map) = packet.map_writable() else { return };
    if map.get(1) != Some(&200) {
        return;
    }
    if let Some(field) = map.get_mut(8..16) {
        let ntp = field.iter().fold(0u64, |ntp, byte| (ntp << 8) | u64::from(*byte));
        let by = (i128::from(nanos) << 32) / 1_000_000_000;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "NTP time wraps at 64 bits")]
        let by = by as u64;
        field.copy_from_slice(&ntp.wrapping_add(by).to_be_bytes());
    }
}
