//! What the library's own files owe to the host: numbers 0 to 2 stay the host's, and no write raises SIGXFSZ.
//!
//! A host may run with standard input, output and error closed. What it prints goes to 1 and 2 all the same, whatever has
//! these numbers: a cache entry, a plugin's input, a control socket. So every place that makes a descriptor which can be
//! written to makes it inside [`above_two`]: the directories and files of `store`, the process engine's, netlink's
//! sockets, the cancel token's. These are below all public faces, C and Rust. Not a guard around a whole call: the host
//! would find its numbers taken for as long as a plugin runs, and calls without a [`Call`](crate::call::Call) need it too.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};

thread_local! {
    /// Whether this thread is in [`above_two`] already, so that what is within it need not look again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `make`; no descriptor that it makes gets a number below 3.
pub(crate) fn above_two<T>(make: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    if INSIDE.replace(true) {
        return make();
    }
    let _leave = Leave;
    let _taken = Taken::take();
    make()
}

/// Whether a file may have this many bytes. Beyond its limit the kernel would not only refuse, but send the host a
/// SIGXFSZ.
pub(crate) fn may_hold(bytes: usize) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // Not by rustix, which panics where a seccomp filter refuses the answer.
    // SAFETY: `limit` is what the kernel writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    !known || bytes as u64 <= limit.rlim_cur
}

/// While one lives, no number below 3 is free. Any number of threads may have one.
struct Taken {
    counted: bool,
}

/// The file behind a number that was taken, by device and inode. It is open as a path only, which no host does there; so
/// reads and writes fail with EBADF, as they do on a number that is free.
type Filler = (u64, u64);

struct Fillers {
    users: usize,
    numbers: [Option<Filler>; 3],
}

/// Held for a few system calls that do not block, and by nobody who then takes another lock.
static FILLERS: Mutex<Fillers> = Mutex::new(Fillers { users: 0, numbers: [None; 3] });

/// Odd while there are users; changes before the first number is taken and after the last one is free again.
static EPOCH: AtomicU64 = AtomicU64::new(0);

impl Taken {
    fn take() -> Self {
        // Nearly always: the host has them open, and not only because a thread of ours has filled them for a moment.
        let epoch = EPOCH.load(Ordering::SeqCst);
        if epoch.is_multiple_of(2) && (0..3).all(is_open) && EPOCH.load(Ordering::SeqCst) == epoch {
            return Self { counted: false };
        }
        let mut fillers = lock();
        if fillers.users == 0 {
            EPOCH.fetch_add(1, Ordering::SeqCst);
        }
        fillers.users += 1;
        fillers.fill();
        Self { counted: true }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut fillers = lock();
        fillers.users -= 1;
        if fillers.users == 0 {
            fillers.free();
            EPOCH.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn lock() -> MutexGuard<'static, Fillers> {
    FILLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fillers {
    /// Takes what is free. A system that refuses leaves it so: then it refuses what is made next as well.
    fn fill(&mut self) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for _ in 0..self.numbers.len() {
            if (0..3).all(is_open) {
                return;
            }
            // The process holds its root anyway, so this keeps nobody from unmounting anything.
            let Ok(file) = rustix::fs::open("/", flags, Mode::empty()) else { return };
            let number = usize::try_from(file.as_raw_fd()).unwrap_or(usize::MAX);
            let (Some(slot), Ok(stat)) = (self.numbers.get_mut(number), rustix::fs::fstat(&file)) else { return };
            *slot = Some((stat.st_dev, stat.st_ino));
            let _ = file.into_raw_fd();
        }
    }

    /// Frees what was taken, but for numbers that the host has put something else on since.
    fn free(&mut self) {
        for (number, slot) in (0..).zip(&mut self.numbers) {
            if slot.take().is_some_and(|filler| is_filler(number, filler)) {
                // SAFETY: the file behind the number is the one that `fill` opened, and nobody else owns that.
                unsafe { rustix::io::close(number) };
            }
        }
    }
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: only asked about, and forgotten; -1 is not among the numbers.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok()
}

fn is_filler(number: RawFd, filler: Filler) -> bool {
    // SAFETY: as above.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::PATH))
        && rustix::fs::fstat(fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == filler)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Barrier;

    use super::*;
    use crate::testing::{isolated, without_standard_fds};

    fn open() -> (RawFd, File) {
        let file = File::open("/dev/null").unwrap();
        (file.as_raw_fd(), file)
    }

    #[test]
    fn what_a_host_without_standard_descriptors_gets_from_us_is_above_two() {
        isolated("fds::tests::what_a_host_without_standard_descriptors_gets_from_us_is_above_two", || {
            let before = lock().users;
            let (first, during, after) = without_standard_fds(|| {
                let first = above_two(open);
                // SAFETY: what `printf` does.
                let during = above_two(|| unsafe { libc::write(1, c"x".as_ptr().cast(), 1) } < 0);
                (first.0, during, open().0)
            });
            assert!(first > 2 && during);
            assert_eq!(after, 0, "the numbers are free again");
            assert_eq!((before, lock().users), (0, 0));
        });
    }

    #[test]
    fn one_calls_end_does_not_free_what_another_needs() {
        isolated("fds::tests::one_calls_end_does_not_free_what_another_needs", || {
            let (inner, outer, after) = without_standard_fds(|| {
                let (taken, ended) = (Barrier::new(2), Barrier::new(2));
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        above_two(|| {
                            taken.wait();
                            ended.wait();
                            open().0
                        })
                    });
                    taken.wait();
                    let inner = above_two(|| open().0);
                    ended.wait();
                    (inner, other.join().unwrap(), open().0)
                })
            });
            assert!(inner > 2 && outer > 2, "{inner} {outer}");
            assert_eq!(after, 0);
        });
    }

    #[test]
    fn a_number_that_the_host_takes_meanwhile_stays_the_hosts() {
        isolated("fds::tests::a_number_that_the_host_takes_meanwhile_stays_the_hosts", || {
            let open = without_standard_fds(|| {
                above_two(|| {
                    let (number, file) = open();
                    // SAFETY: what hosts do that become daemons.
                    assert!(number > 2 && unsafe { libc::dup2(number, 1) } == 1);
                    drop(file);
                });
                [0, 1, 2].map(is_open)
            });
            assert_eq!(open, [false, true, false]);
        });
    }

    #[test]
    fn open_numbers_are_left_alone() {
        isolated("fds::tests::open_numbers_are_left_alone", || {
            above_two(|| assert_eq!(lock().users, 0));
            assert_eq!(EPOCH.load(Ordering::SeqCst), 0);
        });
    }
}
