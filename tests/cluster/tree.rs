//! Files of an under-storage.

use super::sh;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A directory of the under-storage that goes with the test.
pub struct Tree {
    /// Path in the cache's namespace.
    pub path: String,
    /// The same on this machine.
    pub dir: PathBuf,
}

impl Tree {
    /// Adds `count` files of `size` bytes, a hundred in a folder; no two bytes patterns are alike.
    pub fn files(&self, count: usize, size: usize) -> &Self {
        for i in 0..count {
            let folder = self.dir.join(format!("part {:03}", i / 100));
            if i % 100 == 0 {
                fs::create_dir_all(&folder).expect("a folder");
            }
            self.file(&format!("part {:03}/file-{i}-ä", i / 100), size);
        }
        self
    }

    /// Adds one file.
    pub fn file(&self, name: &str, size: usize) -> &Self {
        let mut x = 0x9E37_79B9_u32 ^ u32::try_from(name.len() + size).unwrap_or(1);
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x.to_le_bytes()
        };
        let block: Vec<u8> = (0..1024).flat_map(|_| next()).collect();
        let content: Vec<u8> = name.bytes().chain(block.iter().copied().cycle()).take(size).collect();
        fs::write(self.dir.join(name), content).expect("a file");
        self
    }

    /// Adds a file that takes no room in the under-storage.
    pub fn sparse(&self, name: &str, size: u64) -> &Self {
        fs::File::create(self.dir.join(name)).and_then(|f| f.set_len(size)).expect("a sparse file");
        self
    }

    /// Names, sizes, times, modes and contents of everything in it.
    pub fn fingerprint(&self) -> String {
        let script = r#"cd "$1" && find . -printf '%p %y %s %T@ %m\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum"#;
        sh(Command::new("bash").args(["-c", script, "fingerprint"]).arg(&self.dir))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
