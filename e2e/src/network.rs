//! A network of its own for a device: a namespace with loopback, where its cameras are, and one line to this machine, which
//! can be cut, lossy or slow. Needs root.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How the device's line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// As a short cable.
    Well,
    /// The cable is pulled: programs are told that there is no network.
    Unplugged,
    /// Nothing comes through, and nobody is told.
    Silent,
    /// So many of a hundred packets are lost, both ways.
    Lossy(u8),
    /// 1 Mbit/s towards the server.
    Slow,
}

/// The namespace. Dropping it takes it down, with the line.
#[derive(Debug)]
pub struct Network {
    name: String,
    server_host: String,
}

/// The device's end of the line, inside the namespace.
const END: &str = "line";

impl Network {
    /// Lays a network, or says why that can't be done here.
    pub fn try_new() -> Result<Network, String> {
        let id = std::process::id();
        // Two processes of tests at once would have to be 16,384 process ids apart to want the same.
        let (high, low) = ((id >> 6) & 0xff, (id & 0x3f) * 4);
        let network = Network { name: format!("millrace{id}"), server_host: format!("10.213.{high}.{}", low + 1) };
        let (name, near) = (&network.name, format!("mr{id}"));
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", END, "netns", name])?;
        run("ip", &["address", "add", &format!("{}/30", network.server_host), "dev", &near])?;
        run("ip", &["link", "set", &near, "up"])?;
        network.ip(&["link", "set", "lo", "up"])?;
        network.ip(&["address", "add", &format!("10.213.{high}.{}/30", low + 2), "dev", END])?;
        // What can't be done here is known before a test counts on it.
        for line in [Line::Lossy(5), Line::Slow, Line::Well] {
            network.try_set(line)?;
        }
        Ok(network)
    }

    /// This machine's address on the line.
    pub fn server_host(&self) -> &str {
        &self.server_host
    }

    /// Does `work` inside the network: what it connects to and starts is there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                // The thread ends with the work, and no other follows it into the namespace.
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the line so, whatever it was.
    pub fn set(&self, line: Line) {
        self.try_set(line).unwrap_or_else(|error| panic!("the line can't be made {line:?}: {error}"));
    }

    fn try_set(&self, line: Line) -> Result<(), String> {
        let up = if line == Line::Unplugged { "down" } else { "up" };
        let lost = match line {
            Line::Silent => 100,
            Line::Lossy(percent) => percent,
            Line::Well | Line::Unplugged | Line::Slow => 0,
        };
        let some = if lost < 100 { format!("numgen random mod 100 < {lost}") } else { String::new() };
        let chain = |hook: &str, way: &str| {
            format!("chain {hook} {{ type filter hook {hook} priority 0; {way} \"{END}\" {some} drop; }}\n")
        };
        let rules = match lost {
            0 => String::new(),
            _ => format!("table inet line {{\n{}{}}}", chain("input", "iifname"), chain("output", "oifname")),
        };
        self.ip(&["link", "set", END, up])?;
        self.nft(&format!("flush ruleset\n{rules}\n"))?;
        match line {
            // A short queue, as in a modem.
            Line::Slow => self.exec(
                "tc",
                &["qdisc", "replace", "dev", END, "root", "tbf", "rate", "1mbit", "burst", "16kb", "latency", "250ms"],
            ),
            _ => self.exec("tc", &["qdisc", "replace", "dev", END, "root", "pfifo"]),
        }
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    fn exec(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        run("ip", &[&["netns", "exec", &self.name, program], arguments].concat())
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.name, "nft", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = nft.spawn().map_err(|error| format!("ip: {error}"))?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        match written {
            Some(Ok(())) if output.status.success() => Ok(()),
            _ => Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With it go its end of the line, and with that the other end.
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
