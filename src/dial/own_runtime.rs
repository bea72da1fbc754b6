//! A runtime of a technology's own. Owns that it can be dropped anywhere, also where
//! nobody may block, and be taken away from its tasks.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// How long its threads are waited for in the end.
const END_DEADLINE: Duration = Duration::from_millis(200);

/// It ends when it is dropped, or before.
pub(super) struct OwnRuntime(Mutex<Option<Runtime>>);

impl OwnRuntime {
    /// With threads of this name.
    ///
    /// # Errors
    /// When the system has none left.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build()?;
        Ok(Self(Mutex::new(Some(runtime))))
    }

    /// One that has ended already.
    pub(super) fn ended() -> Self {
        Self(Mutex::new(None))
    }

    /// Where tasks are spawned, unless it has ended.
    pub(super) fn handle(&self) -> Option<Handle> {
        let runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Takes it away from its tasks.
    pub(super) fn end(&self) {
        self.end_after(async {});
    }

    /// The same after some last work of its own.
    pub(super) fn end_after(&self, last: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // On a thread where waiting is allowed.
            let ending = std::thread::spawn(move || {
                runtime.block_on(last);
                runtime.shutdown_timeout(END_DEADLINE);
            });
            let _ = ending.join();
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn its_last_work_is_done_though_it_is_dropped_by_a_task() {
        let outer = Builder::new_current_thread().build().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        outer.block_on(async move {
            let own = OwnRuntime::new("own").unwrap();
            own.handle().unwrap().spawn(std::future::pending::<()>());
            own.end_after(async move { seen.store(true, Ordering::Relaxed) });
            assert!(own.handle().is_none());
            drop(own);
        });
        assert!(done.load(Ordering::Relaxed));
    }
}
