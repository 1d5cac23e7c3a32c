//! Appends of multipart uploads: begun, filled with parts, turned into an object or given up.

use engine::slots::{Address, Append, Sequence};

use super::{Commit, CommitError, Over, Packs, Succession};
use crate::Random;
use crate::index::Stored;
use crate::object::{Bucket, Object, PartEntry, Upload};

impl Commit<'_> {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn create_upload(
        mut self,
        bucket: &Stored<Bucket>,
        upload: &Upload,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let address = self.keyring.upload_address(bucket.value.scope, upload.id);
        self.expect(address, None);
        self.seal(address, bucket.value.epoch, &upload.encode(), random)?;
        self.finish(packs)
    }

    /// Writes a part over what stands under its number.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn put_part(
        mut self,
        bucket: &Stored<Bucket>,
        upload: &Stored<Upload>,
        part: &PartEntry,
        over: impl Into<Over>,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        if part.part.names_this_pack() {
            return Err(CommitError::ThisPack);
        }
        self.expect_bucket(bucket);
        self.expect_upload(bucket, upload);
        let address = self.part_address(bucket, upload, part.part.number);
        self.expect_over(address, over.into());
        self.seal(address, bucket.value.epoch, &part.encode(), random)?;
        self.finish(packs)
    }

    /// Turns an upload into an object: the upload and all its parts go. `used` are the parts that the object is made
    /// of, `unused` those that it leaves out.
    ///
    /// # Errors
    /// [`CommitError`].
    #[expect(clippy::too_many_arguments, reason = "each is a row or an intent of its own")]
    pub fn complete_upload<'s>(
        mut self,
        bucket: &Stored<Bucket>,
        upload: &Stored<Upload>,
        used: &[(u16, Sequence)],
        unused: &[u16],
        object: &Object,
        succession: impl Into<Succession<'s>>,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        self.expect_bucket(bucket);
        let address = self.expect_upload(bucket, upload);
        self.write_object(bucket, object, succession.into(), random)?;
        self.remove(address);
        for (number, sequence) in used {
            self.remove_seen(self.part_address(bucket, upload, *number), *sequence);
        }
        for number in unused {
            self.remove(self.part_address(bucket, upload, *number));
        }
        self.finish(packs)
    }

    /// Ends an upload and removes its parts.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn abort_upload(
        mut self,
        bucket: &Stored<Bucket>,
        upload: &Stored<Upload>,
        parts: &[u16],
    ) -> Result<Append, CommitError> {
        let address = self.expect_upload(bucket, upload);
        self.remove(address);
        for number in parts {
            self.remove(self.part_address(bucket, upload, *number));
        }
        self.finish(&Packs::default())
    }

    fn expect_upload(&mut self, bucket: &Stored<Bucket>, upload: &Stored<Upload>) -> Address {
        let address = self.keyring.upload_address(bucket.value.scope, upload.value.id);
        self.expect(address, Some(upload.sequence));
        address
    }

    fn part_address(&self, bucket: &Stored<Bucket>, upload: &Stored<Upload>, number: u16) -> Address {
        self.keyring
            .part_address(bucket.value.scope, upload.value.id, number)
    }
}
