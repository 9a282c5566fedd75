//! A folder for a database that nobody keeps.

use std::{env, fs, io, path::Path, path::PathBuf};

use uuid::Uuid;

/// A folder that only this user can read, removed with what is in it when it is dropped.
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("atp-{}", Uuid::new_v4()));
        let mut folder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed here is left to whoever clears the folder of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
