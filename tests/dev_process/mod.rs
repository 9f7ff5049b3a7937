//! The shipped binary as `ratchet dev`, in a directory of its own: start it, kill it, start it again.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A directory that goes away with its value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dev-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// The log that is written last.
    pub fn log(&self) -> PathBuf {
        let all = std::fs::read_dir(self.state()).unwrap().map(|e| e.unwrap().path());
        all.filter(|p| p.extension().is_some_and(|e| e == "log")).max().expect("there is a log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process; killed with its value.
pub struct Process {
    child: Child,
    data: PathBuf,
}

/// The binary: the one that was built with the test, or the one that `RATCHET_DEV_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("RATCHET_DEV_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_ratchet").into(), PathBuf::from)
}

fn command(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["dev", "--port", "0", "--data"]).arg(data).args(args).stdin(Stdio::null());
    command
}

impl Process {
    /// Starts it, and waits until it serves.
    pub fn start(data: &Path, args: &[&str]) -> Self {
        let mut child = command(data, args).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let mut lines = BufReader::new(out);
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        assert!(first.starts_with("Ratchet dev serves https://127.0.0.1:"), "it says: {first:?}");
        // Whoever writes to a closed pipe is ended: keep on reading.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, data: data.to_owned() }
    }

    /// Starts it where it cannot; gives back what it says.
    pub fn refused(data: &Path, args: &[&str]) -> String {
        let out = command(data, args).output().unwrap();
        assert!(!out.status.success(), "it started");
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// A client over HTTPS, as the person.
    pub async fn client(&self) -> Client {
        let config = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "it ends well");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
