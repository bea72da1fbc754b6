//! A runtime of a technology's own. Owns that it can be dropped anywhere, also where
//! nobody may block, and be taken away from its tasks.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// How long its threads are waited for in the end.
const END_DEADLINE: Duration = Duration::from_millis(200);

/// How many have not ended, and who waits for that.
static LIVING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Waits until all have ended, but no longer than that: a process that ends while another
/// thread still says goodbye to a machine would cut it off.
pub(super) fn wait_for_all(limit: Duration) {
    let (living, has_ended) = &LIVING;
    let living = living.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = has_ended.wait_timeout_while(living, limit, |living| *living > 0);
}

fn count(change: isize) {
    let (living, has_ended) = &LIVING;
    let mut living = living.lock().unwrap_or_else(PoisonError::into_inner);
    *living = living.saturating_add_signed(change);
    has_ended.notify_all();
}

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
        count(1);
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
            count(-1);
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
