//! What `ls` and `endings` have in common: pages that become one table.

use super::api::{Answer, Daemon, Page};
use super::console::{Console, Look};
use super::exit::DONE;
use super::failure::Failure;

/// What is listed, and what is said where a table says nothing.
pub(super) struct Paged<'a> {
    pub path: &'static str,
    pub filters: &'a [(&'static str, Option<String>)],
    pub limit: u64,
    /// Said if there is nothing.
    pub nothing: &'static str,
    /// Said if there is more than `limit`.
    pub more: &'static str,
}

impl Paged<'_> {
    /// Lists all pages in one table; with `--json`, prints each as it came.
    ///
    /// # Errors
    /// What [`Daemon::call`] says, and [`Failure::Output`].
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
            console.remark(self.nothing);
            return Ok(DONE);
        }
        console.print(&table(&listed.items, console.look))?;
        if listed.more {
            console.remark(self.more);
        }
        Ok(DONE)
    }
}
