//! A file system of a test's own, where this user may mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, gone with the test.
pub struct Volume {
    folder: tempfile::TempDir,
    frozen: std::cell::Cell<bool>,
}

impl Volume {
    /// Mounts one in memory.
    ///
    /// # Errors
    /// Why this machine or this user cannot: it takes root.
    pub fn mount(size: &str) -> Result<Self, String> {
        let options = format!("size={size}");
        Self::mount_with(&["-t", "tmpfs", "-o", &options, "lastword-test"])
            .map_err(|why| format!("a tmpfs cannot be mounted: {why}"))
    }

    /// Mounts one that can be frozen: writes to it hang then.
    ///
    /// # Errors
    /// Why this machine or this user cannot.
    pub fn mount_freezable(size: u64) -> Result<Self, String> {
        let image = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        image.as_file().set_len(size).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", &image.path().display().to_string()])?;
        // The loop device keeps the file, whose name is not needed any more.
        Self::mount_with(&["-o", "loop", &image.path().display().to_string()])
    }

    fn mount_with(arguments: &[&str]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let place = folder.path().display().to_string();
        run("mount", &[arguments, &[&place]].concat())?;
        Ok(Self { folder, frozen: std::cell::Cell::new(false) })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run("mount", &["-o", &options, &self.path().display().to_string()]).unwrap();
    }

    pub fn freeze(&self) {
        run("fsfreeze", &["-f", &self.path().display().to_string()]).unwrap();
        self.frozen.set(true);
    }

    pub fn thaw(&self) {
        self.try_to_thaw().unwrap();
    }

    fn try_to_thaw(&self) -> Result<(), String> {
        match self.frozen.replace(false) {
            true => run("fsfreeze", &["-u", &self.path().display().to_string()]),
            false => Ok(()),
        }
    }

    /// Takes all the room there is.
    pub fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let mut size = 64 * 1024;
        while size > 0 {
            // Ever smaller pieces, until not one byte fits.
            if std::io::Write::write(&mut file, &vec![0; size]).is_err() {
                size /= 2;
            }
        }
        filler
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A test that fails already says why.
        let _ = self.try_to_thaw();
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
