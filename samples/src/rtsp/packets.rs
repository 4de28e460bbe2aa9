//! Faults of the network, done to RTP and RTCP packets on their way out.
//!
//! A jump is put into the RTP headers and not into the buffers' times, since sinks would wait for a time that
//! lies ahead. Packets that are lost have had their sequence numbers, as those that a network loses.

use std::ops::ControlFlow;
use std::sync::Arc;

use gst::prelude::*;

use super::plant::Plant;

/// Adds the camera's jump to the timestamp of every RTP packet, bytes 4 to 8 of its header.
pub(super) fn shift_timestamps(pad: &gst::Pad, plant: &Arc<Plant>) {
    let plant = Arc::clone(plant);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(mask, move |pad, info| {
        let jump = plant.jump_nanos();
        if jump == 0 {
            return gst::PadProbeReturn::Ok;
        }
        let rate = pad
            .current_caps()
            .and_then(|caps| caps.structure(0).and_then(|s| s.get::<i32>("clock-rate").ok()))
            .unwrap_or(90_000);
        let ticks = i128::from(jump) * i128::from(rate) / 1_000_000_000;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "RTP timestamps wrap at 32 bits")]
        let ticks = ticks as u32;
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => shift(buffer.make_mut(), ticks),
            Some(gst::PadProbeData::BufferList(list)) => list.make_mut().foreach_mut(|mut buffer, _| {
                shift(buffer.make_mut(), ticks);
                ControlFlow::Continue(Some(buffer))
            }),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn shift(packet: &mut gst::BufferRef, ticks: u32) {
    let Ok(mut map) = packet.map_writable() else { return };
    if let Some(field) = map.get_mut(4..8) {
        let timestamp = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        field.copy_from_slice(&timestamp.wrapping_add(ticks).to_be_bytes());
    }
}

/// Leaves out packets, for every viewer.
pub(super) fn lose(pad: &gst::Pad, plant: &Arc<Plant>) {
    let plant = Arc::clone(plant);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(mask, move |_, info| {
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(_)) if plant.loses_packet() => return gst::PadProbeReturn::Drop,
            Some(gst::PadProbeData::BufferList(list)) => list
                .make_mut()
                .foreach_mut(|buffer, _| ControlFlow::Continue((!plant.loses_packet()).then_some(buffer))),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Keeps the reports of `media` back while the camera has vanished.
pub(super) fn silence_reports(media: &gst::Element, plant: &Arc<Plant>) {
    let mut top = media.clone();
    while let Some(parent) = top.parent().and_then(|parent| parent.downcast::<gst::Element>().ok()) {
        top = parent;
    }
    let Ok(pipeline) = top.downcast::<gst::Bin>() else { return };
    for element in pipeline.iterate_recurse().into_iter().flatten() {
        let is_session = element.factory().is_some_and(|factory| factory.name() == "rtpsession");
        let Some(pad) = is_session.then(|| element.static_pad("send_rtcp_src")).flatten() else { continue };
        let plant = Arc::clone(plant);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| match plant.has_vanished() {
            true => gst::PadProbeReturn::Drop,
            false => gst::PadProbeReturn::Ok,
        });
    }
}
