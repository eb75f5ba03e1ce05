use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;

fn pool(limit: usize) -> Pool {
    Pool::new(NonZeroUsize::new(limit).unwrap())
}

fn start(
    pool: &Pool,
    call: Call,
    work: impl FnOnce(&Call, Result<()>) -> Result<String> + Send + 'static,
) -> Result<Op> {
    let op = pool.entry().call(call, work)?;
    op.job().queue()?;
    Ok(op)
}

/// Work that says "done", or why it did not begin.
fn idle(_: &Call, verdict: Result<()>) -> Result<String> {
    verdict.map(|()| "done".to_owned())
}

/// A call that is running, and goes on until it is told to end.
fn held(pool: &Pool) -> (Op, Sender<()>) {
    let ((begun, has_begun), (end, may_end)) = (channel(), channel::<()>());
    let op = start(pool, Call::default(), move |_, _| {
        begun.send(()).unwrap();
        may_end.recv().unwrap();
        Ok("held".to_owned())
    });
    has_begun.recv().unwrap();
    (op.unwrap(), end)
}

fn readable(op: &Op, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(&op.fd(), PollFlags::IN)], Some(&limit)).unwrap() == 1
}

fn class(op: Op) -> ErrorClass {
    op.finish().unwrap_err().class()
}

#[test]
fn a_call_is_done_when_its_descriptor_is_readable() {
    let pool = pool(2);
    let (op, end) = held(&pool);
    assert!(!readable(&op, Duration::ZERO) && !op.wait(Some(Duration::ZERO)));
    end.send(()).unwrap();
    assert!(readable(&op, Duration::from_secs(60)));
    assert!(op.wait(Some(Duration::ZERO)));
    assert_eq!(Arc::strong_count(&op.timer), 1, "nothing but the handle keeps the descriptor");
    assert_eq!(op.finish().unwrap(), "held");

    let op = start(&pool, Call::default(), idle).unwrap();
    assert!(op.wait(None) && readable(&op, Duration::ZERO), "and readable when it is done");
    op.cancel();
    assert_eq!(op.finish().unwrap(), "done");
}

#[test]
fn a_panic_is_the_answer_and_the_thread_goes_on() {
    let pool = pool(1);
    let op = start(&pool, Call::default(), |_, _| panic!("words")).unwrap();
    let error = op.finish().unwrap_err();
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Panic, "internal error: words"));
    assert_eq!(start(&pool, Call::default(), idle).unwrap().finish().unwrap(), "done");
    assert_eq!(pool.threads(), 1);
}

#[test]
fn threads_start_when_needed_and_are_no_more_than_the_limit() {
    let pool = pool(4);
    assert_eq!(pool.threads(), 0);
    assert_eq!(start(&pool, Call::default(), idle).unwrap().finish().unwrap(), "done");
    let all = Arc::new(Barrier::new(4));
    let running = Arc::new(AtomicUsize::new(0));
    let ops: Vec<_> = (0..400)
        .map(|_| {
            let (all, running) = (Arc::clone(&all), Arc::clone(&running));
            start(&pool, Call::default(), move |_, _| {
                assert!(running.fetch_add(1, Ordering::SeqCst) < 4);
                // Four have to be here at the same time: fewer threads would stand still.
                all.wait();
                running.fetch_sub(1, Ordering::SeqCst);
                all.wait();
                Ok(String::new())
            })
            .unwrap()
        })
        .collect();
    for op in ops {
        op.finish().unwrap();
    }
    assert_eq!(pool.threads(), 4);
}

#[test]
fn threads_are_ours_by_name_and_take_no_signals() {
    let pool = pool(1);
    let op = start(&pool, Call::default(), |_, _| Ok(std::fs::read_to_string("/proc/thread-self/status").unwrap()));
    let status = op.unwrap().finish().unwrap();
    let line = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    assert_eq!(line("Name:"), "cnirt-op");
    // All but KILL (9), STOP (19), the thread's own faults, and 32 to 34, some of which the threads library keeps.
    let blocked = u64::from_str_radix(line("SigBlk:"), 16).unwrap();
    let faults = [libc::SIGILL, libc::SIGTRAP, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
    let open = faults.iter().fold(1 << 8 | 1 << 18, |open, fault| open | 1 << (fault - 1));
    assert_eq!(blocked | 0x3_8000_0000, !open, "{blocked:x}");
}

#[test]
fn what_has_not_begun_is_cancelled_out_of_the_queue_at_once() {
    let pool = pool(1);
    let (first, end) = held(&pool);
    let (second, third) = (start(&pool, Call::default(), idle).unwrap(), start(&pool, Call::default(), idle).unwrap());
    assert_eq!(pool.queued(), 2);
    second.cancel();
    assert_eq!(pool.queued(), 1);
    assert!(readable(&second, Duration::ZERO));
    assert_eq!(class(second), ErrorClass::Cancelled);
    end.send(()).unwrap();
    assert_eq!((first.finish().unwrap(), third.finish().unwrap()), ("held".to_owned(), "done".to_owned()));
}

#[test]
fn what_runs_sees_the_cancellation() {
    let pool = pool(1);
    let (begun, has_begun) = channel();
    let op = start(&pool, Call::default(), move |call, _| {
        begun.send(()).unwrap();
        while call.check().is_ok() {
            thread::yield_now();
        }
        call.check().map(|()| String::new())
    });
    has_begun.recv().unwrap();
    let op = op.unwrap();
    op.cancel();
    assert_eq!(class(op), ErrorClass::Cancelled);
}

#[test]
fn the_deadline_of_one_that_waits_wakes_who_waits_for_it() {
    let pool = pool(1);
    let (first, end) = held(&pool);
    let hasty = || Call::with_timeout(Some(Duration::from_millis(5)));
    for look in [
        (|op| assert!(readable(op, Duration::from_secs(60)) && op.wait(Some(Duration::ZERO)))) as fn(&Op),
        |op| assert!(op.wait(None)),
        |_| {},
    ] {
        let op = start(&pool, hasty(), idle).unwrap();
        look(&op);
        let error = op.finish().unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Timeout, "timed out after 5 ms"));
    }
    assert_eq!(pool.queued(), 0);

    // Nobody looks at this one: it is late when it is its turn.
    let unseen = start(&pool, hasty(), idle).unwrap();
    assert!(readable(&unseen, Duration::from_secs(60)));
    end.send(()).unwrap();
    first.finish().unwrap();
    assert_eq!(class(unseen), ErrorClass::Timeout);
}

#[test]
fn idle_threads_end() {
    let pool = Pool::with(NonZeroUsize::MIN, Duration::from_millis(1), 1 << 20);
    for _ in 0..3 {
        start(&pool, Call::default(), idle).unwrap().finish().unwrap();
        while pool.threads() > 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn without_a_thread_there_is_no_call() {
    let pool = Pool::with(NonZeroUsize::MIN, Duration::ZERO, usize::MAX / 4);
    let (said, verdict) = channel();
    let error = start(&pool, Call::default(), move |_, verdict| {
        said.send(verdict.clone().map_err(|error| error.class())).unwrap();
        idle(&Call::default(), verdict)
    });
    assert_eq!(error.unwrap_err().class(), ErrorClass::Io);
    assert_eq!(verdict.recv().unwrap(), Err(ErrorClass::Io));
}

#[test]
fn a_pool_ends_with_its_threads_and_cancels_what_waits() {
    let pool = pool(1);
    let (first, end) = held(&pool);
    let waiting = start(&pool, Call::default(), idle).unwrap();
    let unqueued = pool.entry().call(Call::default(), idle).unwrap();
    thread::scope(|scope| {
        let ending = scope.spawn(move || drop(pool));
        assert!(waiting.wait(None));
        assert!(!ending.is_finished());
        end.send(()).unwrap();
    });
    assert_eq!(first.finish().unwrap(), "held");
    assert_eq!(class(waiting), ErrorClass::Cancelled);
    assert_eq!(unqueued.job().queue().unwrap_err().class(), ErrorClass::Cancelled);
}

#[test]
fn the_last_to_need_a_pool_may_be_one_of_its_threads() {
    let pool = Arc::new(pool(2));
    let (mine, theirs): (Sender<Arc<Pool>>, Receiver<Arc<Pool>>) = channel();
    let op = start(&pool, Call::default(), move |_, _| {
        drop(theirs.recv().unwrap());
        Ok("alone".to_owned())
    });
    start(&pool, Call::default(), idle).unwrap().finish().unwrap();
    mine.send(pool).unwrap();
    assert_eq!(op.unwrap().finish().unwrap(), "alone");
}

#[test]
fn a_callback_on_a_pools_thread_finds_the_signals_of_who_started_it() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
    };
    let pool = pool(1);
    let op = start(&pool, Call::default(), move |_, _| {
        let ours = blocked();
        let _host = crate::thread::HostSignals::restored();
        Ok(format!("{ours} {}", blocked()))
    });
    let masks = op.unwrap().finish().unwrap();
    assert!(masks.ends_with(&blocked()) && !masks.starts_with(&blocked()), "{masks}");
}
