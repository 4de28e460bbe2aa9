//! HLS segments per second, beside nginx serving the same bytes as files. wrk asks both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use e2e::{Agent, Process, Server};

use crate::{figures, media};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where data goes.
    #[arg(long)]
    dir: PathBuf,
    /// Seconds of each run.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Length of what is played. The default's 300 segments are ten times what the server keeps of served segments in
    /// memory, and they are asked in turn, so that each one comes from the vault; the kernel has the files of both.
    #[arg(long, default_value_t = 600)]
    clip_seconds: u32,
}

/// Where nginx listens: a port of its own, on loopback only.
pub(crate) const NGINX: &str = "127.0.0.1:18099";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let clip = media::clip(folder.path(), args.clip_seconds)?;
    let server = Server::start(folder.path());
    let output = Agent::enrolled(folder.path(), &server).once(&clip, "bench");
    anyhow::ensure!(output.status.success(), "the upload failed: {}", String::from_utf8_lossy(&output.stderr));

    let playlist = server.everything("bench");
    let files = folder.path().join("www");
    std::fs::create_dir(&files)?;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut bytes = 0;
    for (i, segment) in playlist.segments.iter().enumerate() {
        let body = server.get_as_stranger(&segment.uri).body;
        bytes += body.len();
        std::fs::write(files.join(format!("{i}.m4s")), body)?;
        ours.push(segment.uri.clone());
        theirs.push(format!("http://{NGINX}/{i}.m4s"));
    }
    let nginx = nginx(folder.path(), &files)?;

    let count = playlist.segments.len();
    figures::row(&["HLS segments", "rate", "bytes"]);
    figures::row(&["---", "---", "---"]);
    let both = [("nginx, the same bytes as files", &theirs), ("millrace, from the vault", &ours)];
    let measured = both.into_iter().try_for_each(|(name, urls)| {
        // The first round warms the caches of both.
        wrk(folder.path(), urls, 2)?;
        let rate = wrk(folder.path(), urls, args.seconds)?;
        let mean = bytes as f64 / count as f64;
        figures::row(&[name, &format!("{rate:.0} segments/s"), &format!("{:.0} MB/s", rate * mean / 1e6)]);
        Ok(())
    });
    // A master that is killed would leave its workers.
    nginx.stop();
    measured
}

/// Requests per second that the server of `urls` answers, asked in turn over 16 connections.
fn wrk(folder: &Path, urls: &[String], seconds: u32) -> anyhow::Result<f64> {
    let host = urls.first().context("nothing to ask for")?;
    let mut script = "local paths = {\n".to_owned();
    for url in urls {
        let path = url.splitn(4, '/').nth(3).context("an address without a path")?;
        writeln!(script, "\"/{path}\",")?;
    }
    script += "}\nlocal i = 0\nrequest = function()\n i = i % #paths + 1\n return wrk.format(\"GET\", paths[i])\nend\n";
    let file = folder.join("urls.lua");
    std::fs::write(&file, script)?;
    let output = Command::new("wrk")
        .args(["-t1", "-c16", &format!("-d{seconds}s"), "-s"])
        .arg(file)
        .arg(host)
        .output()
        .context("wrk is needed: run make bench, which installs it")?;
    let text = String::from_utf8(output.stdout)?;
    anyhow::ensure!(!text.contains("Non-2xx"), "some requests were refused:\n{text}");
    let line = text.lines().find(|line| line.starts_with("Requests/sec:")).context("wrk gave no rate")?;
    Ok(line.rsplit(' ').next().context("wrk gave no rate")?.parse()?)
}

pub(crate) fn nginx(folder: &Path, files: &Path) -> anyhow::Result<Process> {
    let (log, pid) = (folder.join("nginx.log"), folder.join("nginx.pid"));
    let config = folder.join("nginx.conf");
    std::fs::write(
        &config,
        format!(
            "{user}daemon off; worker_processes auto; pid {}; error_log {};\nevents {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {tmp}; proxy_temp_path {tmp}; fastcgi_temp_path {tmp}; \
             uwsgi_temp_path {tmp}; scgi_temp_path {tmp};\n server {{ listen {NGINX}; root {}; }} }}\n",
            pid.display(),
            log.display(),
            files.display(),
            tmp = folder.join("tmp").display(),
            // Workers of root's would be nobody's, who may not read the folder.
            user = if rustix::process::geteuid().is_root() { "user root; " } else { "" },
        ),
    )?;
    let process =
        Process::start("nginx", Command::new("/usr/sbin/nginx").arg("-c").arg(&config).stdin(Stdio::null()), &log);
    e2e::until("nginx listens", Duration::from_secs(5), || std::net::TcpStream::connect(NGINX).ok());
    Ok(process)
}
