//! What the demo writes: headings, commands, what they print, claims that were checked, a progress bar.
//!
//! On a terminal with colour and a moving bar; through a pipe, with `NO_COLOR` or `--plain` as plain lines, and a line
//! for every tenth of the work.

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

/// Where the demo writes.
pub(super) struct Terminal {
    fancy: bool,
    step: u32,
    bar: Option<Bar>,
}

enum Bar {
    Moving(ProgressBar),
    /// The tenth that is written next.
    Lines(u64),
}

impl Terminal {
    /// The standard output.
    pub fn new(plain: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let fancy = !plain && !dumb && !set("NO_COLOR") && io::stdout().is_terminal();
        Self { fancy, step: 0, bar: None }
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.fancy { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn put(&self, text: impl Display) -> io::Result<()> {
        if let Some(Bar::Moving(bar)) = &self.bar {
            bar.println(text.to_string());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// A line of text.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        self.put(format_args!("   {text}"))
    }

    /// The title of everything.
    pub fn title(&self, text: impl Display) -> io::Result<()> {
        self.put(self.paint("1", text))
    }

    /// Begins a step: what it is, and why it matters.
    pub fn step(&mut self, title: &str, why: &str) -> io::Result<()> {
        self.step += 1;
        self.put("")?;
        self.put(self.paint("1;36", format_args!("{}. {title}", self.step)))?;
        self.put(self.paint("2", format_args!("   {why}")))
    }

    /// A command that one would type.
    pub fn command(&self, text: impl Display) -> io::Result<()> {
        self.put(self.paint("1", format_args!("   $ {text}")))
    }

    /// What a command prints.
    pub fn printed<T: Display>(&self, lines: impl IntoIterator<Item = T>) -> io::Result<()> {
        lines.into_iter().try_for_each(|line| self.put(format_args!("     {line}")))
    }

    /// A claim that was checked and holds.
    pub fn holds(&self, text: impl Display) -> io::Result<()> {
        self.put(format_args!("   {} {text}", self.paint("1;32", "ok")))
    }

    /// Something that is done to the patient.
    pub fn blow(&self, text: impl Display) -> io::Result<()> {
        self.put(self.paint("1;31", format_args!("   {text}")))
    }

    /// Begins a progress bar; what is written until its end stands above it.
    pub fn begin(&mut self, bytes: u64) {
        self.bar = Some(if self.fancy {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("   [{bar:40}] {percent:>3}%  {bytes} of {total_bytes}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            Bar::Moving(bar)
        } else {
            Bar::Lines(1)
        });
    }

    /// Moves the bar.
    pub fn moved(&mut self, done: u64, total: u64) -> io::Result<()> {
        let tenths = done.saturating_mul(10).checked_div(total).unwrap_or(10);
        match &mut self.bar {
            Some(Bar::Moving(bar)) => {
                bar.set_position(done);
                Ok(())
            }
            Some(Bar::Lines(next)) if tenths >= *next => {
                *next = tenths + 1;
                self.line(format_args!("{:>3} %  {} of {}", tenths * 10, HumanBytes(done), HumanBytes(total)))
            }
            Some(Bar::Lines(_)) | None => Ok(()),
        }
    }

    /// Ends the bar and leaves it as it is.
    pub fn end(&mut self) {
        if let Some(Bar::Moving(bar)) = self.bar.take() {
            bar.abandon();
            // The last bar fills its line; what comes next has one of its own, also after a ^C.
            let _ = writeln!(io::stdout());
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}
