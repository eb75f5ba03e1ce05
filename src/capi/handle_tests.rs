use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::capi::callbacks::{cni_callbacks, cni_reply};
use crate::capi::guard::answer_on;
use crate::capi::plugin::{cni_list_pods, cni_plugin, cni_plugin_free, cni_plugin_new};
use crate::capi::rc::cni_rc;
use crate::capi::strings::Answer;
use crate::invoke::callback::PluginCallbacks;

/// What the test's callback does, and how often the data was freed.
struct Data {
    back: Box<dyn Fn() + Send + Sync>,
    freed: AtomicUsize,
}

impl Data {
    fn new(back: impl Fn() + Send + Sync + 'static) -> Self {
        Self { back: Box::new(back), freed: AtomicUsize::new(0) }
    }

    fn freed(&self) -> usize {
        self.freed.load(Ordering::SeqCst)
    }
}

unsafe extern "C" fn data_free(data: *mut c_void) {
    // SAFETY: every test passes its `Data`, which outlives the handle.
    unsafe { &*data.cast::<Data>() }.freed.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn call_back(data: *mut c_void, _: *const c_char, _: *mut cni_reply) -> i32 {
    // SAFETY: as above.
    (unsafe { &*data.cast::<Data>() }.back)();
    0
}

fn table(data: &Data) -> cni_callbacks {
    cni_callbacks {
        size: size_of::<cni_callbacks>(),
        data: ptr::from_ref(data).cast_mut().cast(),
        data_free: Some(data_free),
        get_netns: None,
        get_pod_port_mappings: None,
        find_plugin: Some(call_back),
        exec_plugin: None,
        log: None,
    }
}

/// A handle, as an address that may go to other threads.
#[derive(Clone, Copy)]
struct Handle(*mut cni_plugin);
// SAFETY: that is what handles are for.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    fn new(table: &cni_callbacks) -> Self {
        let mut plugin = ptr::null_mut();
        // SAFETY: strings, places and callbacks of this test's.
        let rc = unsafe { cni_plugin_new(c"{\"plugin\":\"noop\"}".as_ptr(), table, &raw mut plugin, ptr::null_mut()) };
        assert_eq!(rc, cni_rc::CNI_OK);
        Self(plugin)
    }

    fn list(self) -> cni_rc {
        // SAFETY: the tests call this while the handle is alive.
        unsafe { cni_list_pods(self.0, ptr::null_mut()) }
    }

    /// A call of the handle that does `body`.
    fn call(self, body: impl FnOnce() + Send) -> cni_rc {
        // SAFETY: the tests call this while the handle is alive.
        unsafe {
            answer_on(self.0, ptr::null_mut(), Answer::of_json, |_| {
                body();
                Ok(())
            })
        }
    }

    fn free(self) {
        // SAFETY: each test frees once.
        unsafe { cni_plugin_free(self.0) }
    }
}

/// The callbacks of a handle, to call as its core would.
fn core_callbacks(handle: Handle) -> Arc<Callbacks> {
    // SAFETY: the tests ask while the handle is alive.
    let running = unsafe { Running::begin(handle.0) }.unwrap();
    #[expect(clippy::used_underscore_binding, reason = "elsewhere it is only kept")]
    Arc::clone(&running.whole._callbacks)
}

#[test]
fn data_is_freed_once_with_the_handle_and_when_there_is_none() {
    let data = Data::new(|| {});
    let handle = Handle::new(&table(&data));
    assert_eq!(data.freed(), 0);
    handle.free();
    assert_eq!(data.freed(), 1);
    for options in [c"{", c"{\"unknown\":1}", c"\xff"] {
        let before = data.freed();
        let mut plugin = ptr::without_provenance_mut(1);
        // SAFETY: as above.
        let rc = unsafe { cni_plugin_new(options.as_ptr(), &table(&data), &raw mut plugin, ptr::null_mut()) };
        assert_eq!((rc, plugin.is_null()), (cni_rc::CNI_E_INVALID_ARGUMENT, true));
        assert_eq!(data.freed(), before + 1, "{options:?}");
    }
    let before = data.freed();
    // SAFETY: as above; NULL is refused.
    let rc = unsafe { cni_plugin_new(ptr::null(), &table(&data), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!((rc, data.freed()), (cni_rc::CNI_E_INVALID_ARGUMENT, before + 1));
}

#[test]
fn a_handle_stays_usable_after_a_panic() {
    let data = Data::new(|| {});
    let handle = Handle::new(&table(&data));
    assert_eq!(handle.call(|| panic!("injected")), cni_rc::CNI_E_PANIC);
    assert_eq!(handle.list(), cni_rc::CNI_OK);
    handle.free();
    assert_eq!(data.freed(), 1);
}

#[test]
fn a_free_waits_for_running_calls_and_refuses_new_ones() {
    let data = Data::new(|| {});
    let handle = Handle::new(&table(&data));
    let (begun, may_end) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            handle.call(|| {
                begun.wait();
                may_end.wait();
                assert_eq!(data.freed(), 0, "the data is there while a call runs");
            })
        });
        begun.wait();
        let free = scope.spawn(|| handle.free());
        while handle.list() == cni_rc::CNI_OK {
            thread::yield_now();
        }
        assert!(!free.is_finished());
        assert_eq!(handle.list(), cni_rc::CNI_E_INVALID_ARGUMENT);
        may_end.wait();
        assert_eq!(call.join().unwrap(), cni_rc::CNI_OK);
        free.join().unwrap();
        assert_eq!(data.freed(), 1, "the free returns after the end, not before");
    });
}

#[test]
fn a_callback_cannot_call_its_own_handle_but_another_one() {
    let idle = Data::new(|| {});
    let other = Handle::new(&table(&idle));
    let own = Arc::new(Mutex::new(None::<Handle>));
    let seen = Arc::new(Mutex::new(None));
    let data = {
        let (own, seen) = (Arc::clone(&own), Arc::clone(&seen));
        Data::new(move || {
            let handle = own.lock().unwrap().unwrap();
            *seen.lock().unwrap() = Some((handle.list(), other.list()));
        })
    };
    let handle = Handle::new(&table(&data));
    *own.lock().unwrap() = Some(handle);
    let callbacks = core_callbacks(handle);
    handle.call(|| drop(callbacks.find_plugin("{}")));
    assert_eq!(*seen.lock().unwrap(), Some((cni_rc::CNI_E_INVALID_ARGUMENT, cni_rc::CNI_OK)));
    assert_eq!(handle.list(), cni_rc::CNI_OK);
    handle.free();
    other.free();
}

#[test]
fn a_free_in_a_callback_only_marks_and_the_last_call_frees() {
    let own = Arc::new(Mutex::new(None::<Handle>));
    let data = {
        let own = Arc::clone(&own);
        Data::new(move || own.lock().unwrap().take().unwrap().free())
    };
    let handle = Handle::new(&table(&data));
    *own.lock().unwrap() = Some(handle);
    let (begun, may_end) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let other_call = scope.spawn(|| {
            handle.call(|| {
                begun.wait();
                may_end.wait();
            })
        });
        begun.wait();
        let callbacks = core_callbacks(handle);
        let rc = handle.call(move || drop(callbacks.find_plugin("{}")));
        assert_eq!((rc, data.freed()), (cni_rc::CNI_OK, 0), "another call still runs");
        may_end.wait();
        assert_eq!(other_call.join().unwrap(), cni_rc::CNI_OK);
        assert_eq!(data.freed(), 1);
    });
}

/// Counts what a free did that returned too early or let a stranger free.
struct Owner {
    thread: thread::ThreadId,
    freed: AtomicUsize,
    by_strangers: AtomicUsize,
}

unsafe extern "C" fn freed_by(data: *mut c_void) {
    // SAFETY: the test below passes its `Owner`, which outlives the handle.
    let owner = unsafe { &*data.cast::<Owner>() };
    let stranger = usize::from(thread::current().id() != owner.thread);
    owner.by_strangers.fetch_add(stranger, Ordering::SeqCst);
    owner.freed.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn log(_: *mut c_void, _: i32, _: *const c_char, _: *const c_char, _: *const c_char) {}

#[test]
fn data_is_freed_by_the_free_and_not_by_who_makes_another_handle_meanwhile() {
    const ROUNDS: usize = 1000;
    let new_and_free = || {
        // On the heap and never freed: a late data_free is to be counted, not to crash the test.
        let owner: &Owner = Box::leak(Box::new(Owner {
            thread: thread::current().id(),
            freed: AtomicUsize::new(0),
            by_strangers: AtomicUsize::new(0),
        }));
        let data = ptr::from_ref(owner).cast_mut().cast();
        let table = cni_callbacks { data, data_free: Some(freed_by), log: Some(log), ..table(&Data::new(|| {})) };
        let early = (0..ROUNDS).filter(|round| {
            Handle::new(&table).free();
            owner.freed.load(Ordering::SeqCst) != round + 1
        });
        (early.count(), owner.by_strangers.load(Ordering::SeqCst))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(new_and_free)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (0, 0));
        }
    });
}
