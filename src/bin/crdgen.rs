//! Writes the generated YAML of `crds/`. `--check` only compares and fails on drift.

use ratchet::api;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    let root = PathBuf::from(
        std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_else(|| "crds".into()),
    );
    match generate().and_then(|files| apply(&root, &files, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("crdgen: {why}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    for (name, crd) in api::crd::all().map_err(|e| e.to_string())? {
        files.push((name, api::crd::yaml(&[crd]).map_err(|e| e.to_string())?));
    }
    files.push(("admission.yaml".into(), api::crd::yaml(&api::admission::all()).map_err(|e| e.to_string())?));
    Ok(files)
}

fn apply(root: &Path, files: &[(String, String)], check: bool) -> Result<(), String> {
    for (name, text) in files {
        let path = root.join(name);
        let same = std::fs::read_to_string(&path).is_ok_and(|old| old == *text);
        if same {
            continue;
        }
        if check {
            return Err(format!(
                "{} is not what the code generates; run: cargo run --bin crdgen",
                path.display()
            ));
        }
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
