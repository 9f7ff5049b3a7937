//! ```text
//! ListStatus(recursive) ==stream of batches==> fold -> TreeSummary
//! ```
//! Walks over whole trees. A tree is never held: each message of the stream (up to 10,000 files)
//! is added to the sums and dropped. Dropping the future ends the stream and with it the
//! master's work; a walk that breaks off gives an error and never a partial sum.

use tokio::time::Instant;

use super::calls::LIST_STATUS;
use super::proto::grpc::file::{
    ListStatusOptions, ListStatusRequest, ListStatusResponse, ListedFile, LoadMetadataType,
};
use super::proto::safe_options;
use super::{AlluxioClient, AlluxioError, absolute};

/// Sums over a tree, without its top folder. For a file: that file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeSummary {
    /// Files, at any depth.
    pub files: u64,
    /// Folders, at any depth.
    pub folders: u64,
    /// Of all files.
    pub bytes: u64,
    /// Estimated from each file's length and its percentage, which is a whole number.
    pub cached_bytes: u64,
    /// Files at 100 %, and empty files.
    pub fully_cached_files: u64,
    /// Files whose only copy is in the cache.
    pub unpersisted_files: u64,
    /// Files that the engine is about to delete. Anything but 0 is a defect.
    pub ttl_zero_files: u64,
    /// Folders that the engine is about to delete, with what is in them.
    pub ttl_zero_folders: u64,
}

impl AlluxioClient {
    /// Sums over everything under `path` that the master already knows (ListStatus, NEVER).
    ///
    /// # Errors
    /// `NotFound`; `Unknown` if the stream broke off, was silent for the call timeout or took
    /// longer than the listing timeout.
    pub async fn summarize(&self, path: &str) -> Result<TreeSummary, AlluxioError> {
        let options = ListStatusOptions {
            load_metadata_type: Some(LoadMetadataType::Never as i32),
            common_options: Some(safe_options()),
            recursive: Some(true),
            load_metadata_only: Some(false),
        };
        let deadline = Instant::now() + self.shared.listing_timeout;
        let mut sums = TreeSummary::default();
        let mut add = |batch: ListStatusResponse| batch.file_infos.iter().for_each(|f| sums.add(f));
        self.walk(path, options, Some(deadline), &mut add).await?;
        Ok(sums)
    }

    /// Loads the metadata of everything under `path` by walking it (ListStatus, ALWAYS): the way
    /// for masters that answer `Unsupported` to a metadata sync. Finds new and changed files;
    /// answers when everything is loaded, within the listing timeout. May be repeated.
    ///
    /// # Errors
    /// `NotFound`; `Unknown` if it did not end in time or broke off.
    pub async fn load_metadata_by_listing(&self, path: &str) -> Result<(), AlluxioError> {
        let options = ListStatusOptions {
            load_metadata_type: Some(LoadMetadataType::Always as i32),
            common_options: Some(safe_options()),
            recursive: Some(true),
            load_metadata_only: Some(true),
        };
        self.walk(path, options, None, &mut |_| ()).await
    }

    /// Reads what is right below `path` from the under-storage (ListStatus, ALWAYS, not recursive): shows whether the store
    /// can be read, within the call timeout.
    ///
    /// # Errors
    /// What the store said; `Unknown` if it did not answer in time.
    pub async fn read_folder(&self, path: &str) -> Result<(), AlluxioError> {
        let options = ListStatusOptions {
            load_metadata_type: Some(LoadMetadataType::Always as i32),
            common_options: Some(safe_options()),
            recursive: Some(false),
            load_metadata_only: Some(true),
        };
        let limit = Instant::now() + self.router().call_timeout();
        self.walk(path, options, Some(limit), &mut |_| ()).await
    }

    /// Drains one listing into `sink`. With `deadline`, each message must also come within the
    /// call timeout; without, the first message may take the whole listing timeout.
    async fn walk(
        &self,
        path: &str,
        options: ListStatusOptions,
        deadline: Option<Instant>,
        sink: &mut (dyn FnMut(ListStatusResponse) + Send),
    ) -> Result<(), AlluxioError> {
        let silence = self.router().call_timeout();
        let end = deadline.unwrap_or_else(|| Instant::now() + self.shared.listing_timeout);
        let next_by = || match deadline {
            Some(end) => end.min(Instant::now() + silence),
            None => end,
        };
        let request = ListStatusRequest { path: Some(absolute(path)?), options: Some(options) };
        let call = &LIST_STATUS;
        let mut listing = self.router().listing(call, request, next_by()).await?;
        while let Some(message) = listing.next(&call.info, next_by()).await? {
            sink(message);
        }
        Ok(())
    }
}

impl TreeSummary {
    fn add(&mut self, file: &ListedFile) {
        let doomed = u64::from(file.ttl == Some(0));
        if file.folder() {
            self.folders += 1;
            self.ttl_zero_folders += doomed;
            return;
        }
        let length = u64::try_from(file.length()).unwrap_or(0);
        let percent = u64::try_from(file.in_alluxio_percentage()).unwrap_or(0).min(100);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(length);
        let cached = u128::from(length) * u128::from(percent) / 100;
        self.cached_bytes = self.cached_bytes.saturating_add(u64::try_from(cached).unwrap_or(length));
        self.fully_cached_files += u64::from(percent == 100 || (length == 0 && file.completed()));
        self.unpersisted_files += u64::from(!file.persisted());
        self.ttl_zero_files += doomed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: i64, percent: i32) -> ListedFile {
        ListedFile {
            length: Some(length),
            completed: Some(true),
            folder: Some(false),
            persisted: Some(true),
            ttl: Some(-1),
            in_alluxio_percentage: Some(percent),
        }
    }

    #[test]
    fn files_and_folders_are_summed_apart() {
        let mut sums = TreeSummary::default();
        let folder = ListedFile { folder: Some(true), ..file(0, 0) };
        let doomed = ListedFile { ttl: Some(0), persisted: Some(false), ..file(10, 50) };
        for entry in [folder, doomed, file(1000, 100), file(0, 0), file(i64::MAX, 99)] {
            sums.add(&entry);
        }
        let big = u64::try_from(i64::MAX).unwrap_or(0);
        assert_eq!((sums.files, sums.folders), (4, 1));
        assert_eq!(sums.bytes, big + 1010);
        assert_eq!(sums.cached_bytes, 5 + 1000 + big / 100 * 99 + (big % 100) * 99 / 100);
        assert_eq!(sums.fully_cached_files, 2);
        assert_eq!((sums.unpersisted_files, sums.ttl_zero_files), (1, 1));
    }
}
