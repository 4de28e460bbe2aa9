//! A line with a rate, a delay and losses, between this machine and a network namespace.
//!
//! The kernel of many a machine has no netem, so the line is ours: two TUN devices, one at each end, and this process
//! between them. Each direction has a queue of a tenth of a second, and what finds it full is lost, as in a modem.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The server's end.
pub(super) const SERVER: &str = "10.213.77.1";

/// The device's end, at first and after a move.
pub(super) const DEVICES: [&str; 2] = ["10.213.77.2", "10.213.77.3"];

const NAMESPACE: &str = "millrace-bench";
const QUEUE: Duration = Duration::from_millis(100);
const PACKET_BYTES_MAX: usize = 65_536;

/// The line. Dropping it takes the namespace away.
pub(super) struct Line {
    state: Arc<State>,
}

struct State {
    bytes_per_second: u64,
    delay: Duration,
    /// Per cent.
    loss: AtomicU32,
    cut: AtomicBool,
}

impl Line {
    pub(super) fn start(bytes_per_second: u64, delay: Duration) -> anyhow::Result<Self> {
        let _ = Command::new("ip").args(["netns", "del", NAMESPACE]).output();
        ip(&["netns", "add", NAMESPACE])?;
        let (near, far) = (tun("mrbench0")?, tun("mrbench1")?);
        ip(&["addr", "add", &format!("{SERVER}/24"), "dev", "mrbench0"])?;
        ip(&["link", "set", "mrbench0", "up"])?;
        ip(&["link", "set", "mrbench1", "netns", NAMESPACE])?;
        let inside = |words: &str| {
            let mut all = vec!["-n", NAMESPACE];
            all.extend(words.split_whitespace());
            ip(&all)
        };
        inside("link set lo up")?;
        inside(&format!("addr add {}/24 dev mrbench1", DEVICES[0]))?;
        inside("link set mrbench1 up")?;
        let (loss, cut) = (AtomicU32::new(0), AtomicBool::new(false));
        let state = Arc::new(State { bytes_per_second, delay, loss, cut });
        for (from, to, seed) in [(near.try_clone()?, far.try_clone()?, 1), (far, near, 2)] {
            let (enter, leave) = channel();
            let state = state.clone();
            thread::spawn(move || take(from, &state, seed, &enter));
            thread::spawn(move || give(to, &leave));
        }
        Ok(Self { state })
    }

    /// In each direction, per cent.
    pub(super) fn set_loss(&self, per_cent: u32) {
        self.state.loss.store(per_cent, Relaxed);
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.state.cut.store(cut, Relaxed);
    }

    /// The device has another address from now on, and the old one no more.
    pub(super) fn move_device(&self, from: &str, to: &str) -> anyhow::Result<()> {
        ip(&["-n", NAMESPACE, "addr", "add", &format!("{to}/24"), "dev", "mrbench1"])?;
        ip(&["-n", NAMESPACE, "addr", "del", &format!("{from}/24"), "dev", "mrbench1"])?;
        // The second address of a network may go with the first.
        let _ = ip(&["-n", NAMESPACE, "addr", "add", &format!("{to}/24"), "dev", "mrbench1"]);
        Ok(())
    }

    /// A program at the device's end.
    pub(super) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMESPACE]).arg(program);
        command
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", NAMESPACE]);
    }
}

fn take(mut from: File, state: &State, seed: u64, enter: &Sender<(Instant, Vec<u8>)>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut free_at = Instant::now();
    let mut packet = vec![0; PACKET_BYTES_MAX];
    while let Ok(length) = from.read(&mut packet) {
        let now = Instant::now();
        let begins = free_at.max(now);
        let lost = random.u32(..100) < state.loss.load(Relaxed);
        if lost || state.cut.load(Relaxed) || begins - now > QUEUE {
            continue;
        }
        free_at = begins + Duration::from_secs_f64(length as f64 / state.bytes_per_second as f64);
        if enter.send((free_at + state.delay, packet[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: File, leave: &Receiver<(Instant, Vec<u8>)>) {
    for (due, packet) in leave {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // An interface that is down takes nothing.
        let _ = to.write(&packet);
    }
}

/// Makes a TUN device, which lives as long as the file.
fn tun(name: &str) -> anyhow::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = u16::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    #[expect(unsafe_code, reason = "no safe crate in the workspace makes TUN devices")]
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which is 40 bytes: a name of 16, then the flags.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    anyhow::ensure!(made == 0, "{name}: {}", std::io::Error::last_os_error());
    Ok(file)
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(words).output()?;
    anyhow::ensure!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
