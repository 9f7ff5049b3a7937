//! `ratchet demo`: a guided run on real files, for somebody who has Rust and a minute.
//!
//! ```text
//!   files -> CacheCluster -> DataLoad -> kill -> kill again -> history, replay -> lock -> Dataset -> forged journals -> table
//! ```
//!
//! Every sentence that it prints as a fact was checked by code; the first one that does not hold ends the demo with
//! exit code 1. Nothing here goes beyond loopback, and the user's own files are only read.

mod dataset;
mod error;
mod forge;
mod load;
mod look;
mod paths;
mod proof;
mod say;
mod stage;
mod tree;
mod wire;

pub use error::DemoError;

use crate::clock::{Clock as _, SystemClock, ms_between};
use indicatif::{HumanBytes, HumanCount};
use kube::{Api, Resource};
use say::Terminal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stage::{Home, Stage};
use std::cell::RefCell;
use std::fmt::Debug;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tree::Tree;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files to make, when no directory is given.
    pub files: u64,
    /// The user's own directory, to be used as under-storage. It is only read.
    pub path: Option<PathBuf>,
    /// Keep the temporary directory.
    pub keep: bool,
    /// Neither colour nor a moving bar.
    pub plain: bool,
}

/// Fewest and most files that can be asked for.
pub const FILES: (u64, u64) = (40, tree::MAX_FILES);

/// The demo, as far as it is.
struct Demo {
    say: Terminal,
    tree: Tree,
    stage: Stage,
    home: PathBuf,
    /// The kind of the document that was shown last.
    shown: RefCell<String>,
    began: Instant,
    /// What was said last of an operation.
    said: String,
    /// How many times the demo killed.
    kills: usize,
    /// Entries of all journals that were proved.
    entries: usize,
}

/// Runs the demo. It succeeds only when everything was as told.
///
/// # Errors
/// [`DemoError`].
pub async fn run(options: Options) -> Result<(), DemoError> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let interrupted = async {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    };
    tokio::pin!(interrupted);
    let home = Home::make(options.keep)?;
    let mut demo = tokio::select! {
        demo = prepare(&home, &options) => demo?,
        () = &mut interrupted => return Err(DemoError::Interrupted),
    };
    let told = tokio::select! {
        told = demo.tell() => told,
        () = &mut interrupted => Err(DemoError::Interrupted),
    };
    let Demo { mut say, stage, tree, .. } = demo;
    say.end();
    stage.strike().await;
    if home.kept() {
        let ufs = if tree.own { format!(" --ufs '{}'", tree.root.display()) } else { String::new() };
        say.title(format_args!(
            "\nKept. Go on with: {} dev --data {}{ufs}",
            program(),
            home.path().display()
        ))?;
    }
    told
}

/// How this binary is called: as it was, when that was by a path.
fn program() -> String {
    std::env::args().next().filter(|a| a.contains('/')).unwrap_or_else(|| "ratchet".into())
}

/// The files, and what serves the API.
async fn prepare(home: &Home, options: &Options) -> Result<Demo, DemoError> {
    let began = SystemClock.instant();
    let mut say = Terminal::new(options.plain);
    say.title("Ratchet, a guided run: a cache of real files, everything on this machine and loopback")?;
    let tree = match &options.path {
        Some(path) => {
            say.step("Your files", "A load is worth something when the data is real. Yours is only read.")?;
            Tree::of(path)?
        }
        None => {
            say.step("Files", "A load is worth something when the bytes are real and can be compared.")?;
            Tree::make(&home.path().join("ufs"), options.files).await?
        }
    };
    let (files, bytes) = (HumanCount(tree.files), HumanBytes(tree.bytes));
    say.line(format_args!("{files} files, {bytes}, in {}", tree.root.display()))?;
    let stage = Stage::set(home, &tree).await?;
    let home = home.path().to_owned();
    Ok(Demo {
        say,
        tree,
        stage,
        home,
        shown: RefCell::default(),
        began,
        said: String::new(),
        kills: 0,
        entries: 0,
    })
}

impl Demo {
    /// Everything after the files, in order.
    async fn tell(&mut self) -> Result<(), DemoError> {
        self.cluster().await?;
        let name = self.begin_load().await?;
        self.kill_in_the_worst_moment(&name).await?;
        self.kill_half_way(&name).await?;
        self.loaded_once(&name).await?;
        let proved = self.history(&name).await?;
        self.lock_by_paths().await?;
        self.dataset().await?;
        self.forge(&proved)?;
        self.sum_up(&proved)
    }

    /// Writes a document as a file, shows it with the command that applies it, and applies it.
    async fn apply<K>(&self, kind: &str, name: &str, spec: Value) -> Result<K, DemoError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + serde::Serialize,
    {
        let document = json!({
            "apiVersion": crate::api::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        let broken = |e: &dyn std::fmt::Display| DemoError::Document(e.to_string());
        let text = serde_yaml_ng::to_string(&document).map_err(|e| broken(&e))?;
        let folder = self.home.join("demo");
        std::fs::create_dir_all(&folder).map_err(DemoError::scratch(&folder))?;
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, &text).map_err(DemoError::scratch(&file))?;
        self.say.command(format_args!("kubectl apply -f {}", file.display()))?;
        // Those of one kind look alike: the first one is enough.
        if self.shown.replace(kind.into()) != kind {
            self.say.printed(text.lines())?;
        }
        let object: K = serde_json::from_value(document).map_err(|e| broken(&e))?;
        let api: Api<K> = Api::namespaced(self.stage.client.clone(), "default");
        Ok(api.create(&kube::api::PostParams::default(), &object).await?)
    }

    /// What was shown, in figures, and what to try next.
    fn sum_up(&mut self, proved: &proof::Proved) -> Result<(), DemoError> {
        self.say
            .step("What was shown", "Every line above that begins with ok was checked, not only printed.")?;
        let seconds = ms_between(self.began, SystemClock.instant()) / 1_000;
        let writers = self.stage.writers.len();
        let submits = self.submits()?;
        let rows = [
            ("seconds", seconds.to_string()),
            ("files in the cache, compared", HumanCount(self.tree.files).to_string()),
            ("bytes", HumanBytes(self.tree.bytes).to_string()),
            ("controllers started, killed", format!("{writers}, {}", self.kills)),
            ("submits of the first load, in the cache", submits.to_string()),
            ("writes that moved the load's state", proved.steps.len().to_string()),
            ("entries replayed and proved, of all runs", self.entries.to_string()),
            ("changes of objects in all", self.stage.revision().to_string()),
        ];
        self.say.printed(rows.iter().map(|(what, value)| format!("{what:<42} {value}")))?;
        self.say.title("\nNext")?;
        let program = program();
        self.say.printed([
            format!(
                "{program} dev                the same API, controller and cache, to play with by kubectl"
            ),
            format!("{program} demo --path DIR    this demo on files of your own, which are only read"),
            format!("{program} demo --keep        leaves everything there for `dev`"),
            "cargo test --release --test seeds -- --seeds 10000".into(),
            "                     the same controller in ten thousand simulated storms".into(),
            "bash tests/try.sh    a real Kubernetes, a real Alluxio, a real SIGKILL; see README.md".into(),
        ])?;
        Ok(())
    }
}
