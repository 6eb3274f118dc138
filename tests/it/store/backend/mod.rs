//! The kinds of store that the suite runs against.

mod memory;
mod postgres;
pub(super) mod sled;

use std::sync::Arc;

use async_trait::async_trait;
use callwatch::store::Store;

pub(super) use self::{
    memory::{Memory, SharedMemory},
    postgres::{Pooled, Postgres},
    sled::Sled,
};

/// A kind of store, empty at first.
#[async_trait]
pub(super) trait Backend: Send + Sync {
    /// The store as one more process opens it. An embedded store has one process at a time: the one before must have
    /// closed it.
    async fn process(&self) -> Arc<dyn Store>;

    /// Lets every claim run out that is not renewed meanwhile. Only for stores that several processes share.
    async fn let_claims_expire(&self) {}

    /// Whether it can be had on this machine.
    async fn is_there(&self) -> bool {
        true
    }

    /// Whether each step takes so long that fewer have to do.
    fn is_slow(&self) -> bool {
        false
    }

    /// Checks the files that a test leaves on disk.
    fn inspect(&self) {}
}

/// Makes a test of each function, for each kind of store. The function gets the [`Backend`].
macro_rules! for_every_store {
    ($($test:ident),* $(,)?) => {
        $crate::store::backend::for_store!(memory: Memory; $($test),*);
        $crate::store::backend::for_store!(shared_memory: SharedMemory; $($test),*);
        $crate::store::backend::for_store!(sled: Sled; $($test),*);
        $crate::store::backend::for_store!(postgres: Postgres; $($test),*);
        $crate::store::backend::for_store!(pooled_postgres: Pooled; $($test),*);
    };
}

/// As [`for_every_store`], for stores that several processes share.
macro_rules! for_shared_stores {
    ($($test:ident),* $(,)?) => {
        $crate::store::backend::for_store!(processes_in_memory: SharedMemory; $($test),*);
        $crate::store::backend::for_store!(processes_in_postgres: Postgres; $($test),*);
    };
}

macro_rules! for_store {
    ($module:ident: $backend:ident; $($test:ident),*) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                let backend = $crate::store::backend::$backend::new();
                if $crate::store::backend::Backend::is_there(&backend).await {
                    super::$test(&backend).await;
                    $crate::store::backend::Backend::inspect(&backend);
                }
            })*
        }
    };
}

pub(super) use {for_every_store, for_shared_stores, for_store};
