//! How devices are, as a list and one by one.

use std::io;

use bytesize::ByteSize;
use jiff::Timestamp;
use upload::fleet::SpoolReport;

use crate::fleet::{ConfigurationView, DeviceView, Whereabouts};

/// A line for each device.
pub(super) fn print_list(out: &mut impl io::Write, devices: &[DeviceView]) -> io::Result<()> {
    writeln!(
        out,
        "{:24} {:9} {:20} {:20} {:>7} {:>10} {:>7} {:>10} {:14} {:9} STREAMS",
        "DEVICE", "STATE", "CONNECTED SINCE", "LAST SEEN", "CAMERAS", "WAITS", "OLDEST", "HELD", "CLOCK", "AGENT"
    )?;
    for device in devices {
        let dash = || "-".to_owned();
        let status = device.status.as_ref();
        let cameras = status.map_or_else(dash, |s| format!("{}/{}", s.cameras_up, s.cameras_total));
        let size = |bytes: u64| ByteSize(bytes).to_string().replace(' ', "");
        let waits = status.map_or_else(dash, |s| size(s.spool.bytes));
        let held =
            status.map_or_else(dash, |s| if s.spool.stopped { "FULL".to_owned() } else { size(s.spool.held_bytes) });
        let clock = status.map_or_else(dash, |s| s.clock.quality.clone());
        let oldest = device.oldest_unsent_seconds.map_or_else(dash, short);
        let agent = device.agent_version.clone().unwrap_or_else(dash);
        let streams = if device.streams.is_empty() { "any".to_owned() } else { device.streams.join(",") };
        writeln!(
            out,
            "{:24} {:9} {:20} {:20} {cameras:>7} {waits:>10} {oldest:>7} {held:>10} {clock:14} {agent:9} {streams}",
            device.name,
            device.state,
            time(device.connected_since),
            time(device.last_seen),
        )?;
    }
    Ok(())
}

/// Everything about one.
pub(super) fn print_whole(out: &mut impl io::Write, device: &DeviceView) -> io::Result<()> {
    let streams = if device.streams.is_empty() { "any".to_owned() } else { device.streams.join(", ") };
    writeln!(out, "Device         {}, {}", device.name, device.state)?;
    writeln!(out, "Streams        {streams}")?;
    writeln!(out, "Certificate    {} to {}", time(device.certificate_since), time(device.certificate_until))?;
    let server = device.server.as_deref().unwrap_or("-");
    match device.connection {
        Whereabouts::Here => writeln!(out, "Connected      since {}", time(device.connected_since))?,
        Whereabouts::Elsewhere => {
            writeln!(out, "Connected      since {}, to the server at {server}", time(device.connected_since))?;
        }
        Whereabouts::Offline => writeln!(out, "Connected      no; last seen {}", time(device.last_seen))?,
    }
    if let (Some(agent), Some(remote)) = (&device.agent_version, &device.remote) {
        writeln!(out, "Agent          {agent}, from {remote}")?;
    }
    print_configuration(out, &device.configuration)?;
    let Some(status) = &device.status else { return Ok(()) };
    writeln!(out, "Status         of {}", time(device.status_at))?;
    let oldest = device.oldest_unsent_seconds.map_or_else(|| "none".to_owned(), short);
    print_spool(out, &status.spool, &oldest)?;
    let offset = device.clock_offset_ms.map_or_else(String::new, |ms| format!(", {ms:+} ms from the server's"));
    writeln!(out, "Clock          {}{offset}", status.clock.quality)?;
    let machine = &status.machine;
    writeln!(
        out,
        "Machine        up {}, load {:.2}, memory {} of {} free, the agent's {}",
        short(machine.uptime_seconds),
        f64::from(machine.load_milli) / 1000.0,
        ByteSize(machine.memory_available),
        ByteSize(machine.memory_total),
        ByteSize(machine.agent_memory),
    )?;
    writeln!(out, "Disk           {} of {} free", ByteSize(machine.disk_free), ByteSize(machine.disk_total))?;
    if let Some(milli) = machine.milli_celsius {
        writeln!(out, "Temperature    {:.1} °C", f64::from(milli) / 1000.0)?;
    }
    if machine.throttling.is_some() {
        let words = if device.throttling.is_empty() { "none".to_owned() } else { device.throttling.join(", ") };
        writeln!(out, "Throttling     {words}")?;
    }
    writeln!(out, "Cameras        {} of {} up", status.cameras_up, status.cameras_total)?;
    for camera in &status.cameras {
        let up = if camera.up { "up" } else { "DOWN" };
        let fps = f64::from(camera.milli_fps) / 1000.0;
        let kbit = camera.bits_per_second / 1000;
        let failure =
            if camera.last_failure.is_empty() { String::new() } else { format!(", last: {}", camera.last_failure) };
        writeln!(
            out,
            "  {:24} {up:4} {fps:5.1} fps {kbit:>6} kbit/s, {} failures{failure}",
            camera.stream, camera.failures
        )?;
    }
    let unnamed = (status.cameras_total as usize).saturating_sub(status.cameras.len());
    if unnamed > 0 {
        writeln!(out, "  and {unnamed} more")?;
    }
    Ok(())
}

fn print_spool(out: &mut impl io::Write, spool: &SpoolReport, oldest: &str) -> io::Result<()> {
    let SpoolReport { bytes, fragments, held_bytes, held_fragments, kept_bytes, kept_fragments, .. } = *spool;
    let size = ByteSize(spool.bytes_max);
    writeln!(
        out,
        "Spool          {} of {size} wait in {fragments} fragments, oldest unsent {oldest}",
        ByteSize(bytes)
    )?;
    if held_fragments > 0 || spool.ranges_wanted > 0 {
        let held = ByteSize(held_bytes);
        writeln!(
            out,
            "               {held} held in {held_fragments} recordings, {} ranges asked for",
            spool.ranges_wanted
        )?;
    }
    if kept_fragments > 0 {
        let kept = ByteSize(kept_bytes);
        writeln!(out, "               {kept} kept in {kept_fragments} fragments that are uploaded")?;
    }
    if spool.stopped {
        writeln!(out, "               FULL: recording has stopped")?;
    }
    writeln!(out, "               dropped {}, lost {}, refused {}", spool.dropped, spool.lost, spool.rejected)
}

fn print_configuration(out: &mut impl io::Write, configuration: &ConfigurationView) -> io::Result<()> {
    let ConfigurationView { newest, kept, on_trial, failed } = configuration;
    let kept_text = if *kept == 0 { "the device's own file".to_owned() } else { format!("version {kept}") };
    write!(out, "Configuration  {kept_text}")?;
    if let Some(version) = on_trial {
        write!(out, "; version {version} is on trial")?;
    }
    let told = (*kept).max(on_trial.unwrap_or(0)).max(failed.as_ref().map_or(0, |failed| failed.version));
    if *newest > told {
        write!(out, "; version {newest} waits for the device")?;
    }
    writeln!(out)?;
    let Some(failed) = failed else { return Ok(()) };
    writeln!(out, "               version {} was {}:", failed.version, failed.state)?;
    failed
        .problems
        .iter()
        .try_for_each(|problem| problem.lines().try_for_each(|line| writeln!(out, "                 {line}")))
}

/// A time in its two largest units, as in 3d4h.
fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}
