//! Paged listings shown as one table, for `ls` and `endings`.

use super::api::{Answer, Daemon, Page};
use super::console::{Console, Look};
use super::exit::DONE;
use super::failure::Failure;

/// The description of a listing.
pub(super) struct Paged<'a> {
    pub path: &'static str,
    pub filters: &'a [(&'static str, Option<String>)],
    pub limit: u64,
    /// The note for an empty listing.
    pub nothing: &'static str,
    /// The note if there are more than `limit` items.
    pub more: &'static str,
}

impl Paged<'_> {
    /// Shows all pages in one table; with `--json`, prints each as received.
    ///
    /// # Errors
    /// Those of [`Daemon::call`], and [`Failure::Output`].
    pub(super) async fn show<P: Page>(
        &self,
        daemon: &Daemon,
        table: impl Fn(&[P::Item], Look) -> String,
        console: &mut Console,
    ) -> Result<u8, Failure> {
        let json = console.json;
        let see = |answer: &Answer| if json { console.print_bytes(&answer.body) } else { Ok(()) };
        let listed = daemon.list::<P>(self.path, self.filters, self.limit, see).await?;
        if json {
            return Ok(DONE);
        }
        if listed.items.is_empty() {
            console.print_note(self.nothing);
            return Ok(DONE);
        }
        console.print(&table(&listed.items, console.look))?;
        if listed.more {
            console.print_note(self.more);
        }
        Ok(DONE)
    }
}
