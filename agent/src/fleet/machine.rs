//! How the machine is, as the kernel tells it in files: load, memory, temperature, and what holds a Raspberry Pi back.
//!
//! ```text
//! proc/loadavg, proc/meminfo, proc/uptime, proc/self/statm
//! sys/class/thermal/thermal_zone*/temp                          thousandths of a degree
//! sys/devices/platform/soc/soc:firmware/get_throttled           bits in hex, on a Raspberry Pi
//! ```
//!
//! What a machine does not tell is left out; nothing here can fail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use upload::fleet::{MachineReport, Throttling};

/// Files of the kernel are short; what is longer is something else.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Reads below `root`, which is `/` but in tests; `spool` is where the disk is looked at.
pub fn read(root: &Path, spool: &Path) -> MachineReport {
    let memory = text(root, "proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (disk_total, disk_free) = disk(spool);
    MachineReport {
        uptime_seconds: first_milli(root, "proc/uptime") / 1000,
        load_milli: u32::try_from(first_milli(root, "proc/loadavg")).unwrap_or(u32::MAX),
        memory_total: kib("MemTotal").saturating_mul(1024),
        memory_available: kib("MemAvailable").saturating_mul(1024),
        disk_total,
        disk_free,
        milli_celsius: warmest(root),
        throttling: throttling(root),
        agent_memory: resident(root),
    }
}

/// The warmest of its places: what a board is throttled by.
fn warmest(root: &Path) -> Option<i32> {
    let zones = fs::read_dir(root.join("sys/class/thermal")).ok()?;
    let zones = zones.flatten().filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
    zones.filter_map(|zone| text(&zone.path(), "temp")?.trim().parse().ok()).max()
}

fn throttling(root: &Path) -> Option<Throttling> {
    let text = text(root, "sys/devices/platform/soc/soc:firmware/get_throttled")?;
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok().map(Throttling)
}

fn resident(root: &Path) -> u64 {
    let pages = text(root, "proc/self/statm").and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

fn disk(path: &Path) -> (u64, u64) {
    rustix::fs::statvfs(path).map_or((0, 0), |disk| (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))
}

/// The first number of a file, times 1000. Both that are read so are decimals that no negative one makes sense for.
fn first_milli(root: &Path, name: &str) -> u64 {
    let number = text(root, name).and_then(|text| text.split_whitespace().next()?.parse().ok());
    let number = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    number.map_or(0, |number| u64::try_from(number.as_millis()).unwrap_or(u64::MAX))
}

fn text(root: &Path, name: &str) -> Option<String> {
    fs::read_to_string(root.join(name)).ok().filter(|text| text.len() <= FILE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raspberry_pi_tells_its_temperature_and_what_holds_it_back() {
        let pi = tempfile::tempdir().unwrap();
        put(pi.path(), "proc/loadavg", "1.52 0.98 0.51 2/187 4711\n");
        put(pi.path(), "proc/uptime", "93211.14 360000.02\n");
        put(
            pi.path(),
            "proc/meminfo",
            "MemTotal:        3882692 kB\nMemFree:          100 kB\nMemAvailable:    3311164 kB\n",
        );
        put(pi.path(), "proc/self/statm", "20000 2000 1500 300 0 4000 0\n");
        put(pi.path(), "sys/class/thermal/thermal_zone0/temp", "61342\n");
        put(pi.path(), "sys/class/thermal/thermal_zone1/temp", "59000\n");
        put(pi.path(), "sys/class/thermal/cooling_device0/temp", "99000\n");
        put(pi.path(), "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        let told = read(pi.path(), pi.path());
        assert_eq!((told.load_milli, told.uptime_seconds), (1520, 93211));
        assert_eq!((told.memory_total, told.memory_available), (3_882_692 << 10, 3_311_164 << 10));
        assert_eq!(told.milli_celsius, Some(61342));
        let words = told.throttling.unwrap().words();
        assert_eq!(words, ["under-voltage now", "throttled now", "under-voltage since boot", "throttled since boot"]);
        assert!(told.disk_total > 0 && told.agent_memory > 0);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_told_so() {
        let bare = tempfile::tempdir().unwrap();
        let told = read(bare.path(), &bare.path().join("nowhere"));
        assert_eq!(told, MachineReport::default());
    }

    #[test]
    fn nonsense_in_the_kernels_files_is_left_out() {
        let odd = tempfile::tempdir().unwrap();
        put(odd.path(), "proc/loadavg", "NaN\n");
        put(odd.path(), "sys/class/thermal/thermal_zone0/temp", "warm\n");
        put(odd.path(), "sys/devices/platform/soc/soc:firmware/get_throttled", "yes\n");
        let told = read(odd.path(), odd.path());
        assert_eq!((told.load_milli, told.milli_celsius, told.throttling), (0, None, None));
    }

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
