//! Hosts that end, and systems that refuse.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit};

use super::*;
use crate::call::HeldLock;

fn lock_file(dir: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock")).unwrap()
}

/// Tries to lock byte 5.
fn lock(file: &fs::File) -> bool {
    // SAFETY: all-zero is a valid struct flock, and the command reads no more.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK.try_into().unwrap();
        lock.l_start = 5;
        lock.l_len = 1;
        libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) == 0
    }
}

/// Two locked files, and between them numbers for whatever comes, and more files than the kernel closes at once.
fn open_many(dir: &Path) -> Vec<OwnedFd> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let locked = |name| {
        let file = fs::File::create(dir.join(name)).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    };
    let above = |file: fs::File| rustix::io::fcntl_dupfd_cloexec(file, 10_000).unwrap();
    let null = || fs::File::open("/dev/null").unwrap();
    let mut files = vec![OwnedFd::from(locked("low"))];
    files.extend(std::iter::repeat_with(null).take(5000).map(OwnedFd::from));
    files.extend(std::iter::repeat_with(null).take(5000).map(above));
    files.push(above(locked("high")));
    files
}

/// The host that is killed: runs a plugin under a lock, the way that the variable says.
#[test]
#[expect(clippy::zombie_processes, reason = "the host is killed while its child runs: that is the test")]
fn victim() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let file = lock_file(&dir);
    assert!(lock(&file));
    if dir.join("held").exists() {
        // SAFETY: a plain duplicate, which exec leaves open.
        assert!(unsafe { libc::dup(file.as_raw_fd()) } > 2);
        let holder = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(dir.join("holder"), format!("{}\n", holder.id())).unwrap();
    }
    let _open = dir.join("crowded").exists().then(|| open_many(&dir));
    let lock = HeldLock { file: Arc::new(file.into()) };
    let call = Call { lock: Some(lock), ..Call::default() };
    let way = if dir.join("copied").exists() { NANNIES[1] } else { NANNIES[0] };
    let _ = ProcessExec::default().exec_by(
        way,
        &call,
        &mut Nursery::default(),
        &dir.join("plugin"),
        b"",
        &[c"PATH=/usr/bin:/bin".into()],
    );
}

#[test]
fn a_killed_host_leaves_no_plugin_and_then_no_lock() {
    for (row, signal, mark) in [
        ("SIGKILL", libc::SIGKILL, ""),
        ("SIGKILL, copied table", libc::SIGKILL, "copied"),
        ("SIGABRT", libc::SIGABRT, ""),
        ("SIGTERM", libc::SIGTERM, ""),
        ("SIGKILL to its whole group", -libc::SIGKILL, ""),
        ("SIGKILL, a child of the host's has the lock file open", libc::SIGKILL, "held"),
        ("SIGKILL, and much to close", libc::SIGKILL, "crowded"),
    ] {
        let script =
            Script::new("trap '' TERM; sleep 600 & echo $! >$D/child; echo $$ >$D/leader; wait; exec sleep 600");
        if !mark.is_empty() {
            fs::write(script.dir.path().join(mark), "").unwrap();
        }
        let mut host = Victim::start("host::victim", script.dir.path());
        let (leader, child) = (script.file("leader"), script.file("child"));
        let file = lock_file(script.dir.path());
        assert!(!lock(&file), "{row}: the host does not hold the lock");
        let pid = i32::try_from(host.0.id()).unwrap();
        sys::kill(if signal < 0 { -pid } else { pid }, signal.abs()).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        // At once, as the next holder may come.
        while !lock(&file) {
            assert!(Instant::now() < end, "{row}: the lock is not free in time");
        }
        assert!(!runs(&leader) && !runs(&child), "{row}: the lock was free before the plugin was gone");
        for file in fs::read_dir(script.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let open = fs::File::open(&file).unwrap();
            let locked = rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive);
            assert_eq!(locked, Ok(()), "{row}: the lock was free before the host had closed {}", file.display());
        }
        host.0.wait().unwrap();
        if mark == "held" {
            sys::kill(script.file("holder").parse().unwrap(), libc::SIGKILL).unwrap();
        }
    }
}

/// Lets the kernel refuse a system call with EPERM where its first argument has `flags` and lacks `without`.
fn refuse(number: libc::c_long, flags: u32, without: u32) {
    refuse_by_argument(number, 0, flags, without);
}

/// As [`refuse`], by another argument.
fn refuse_by_argument(number: libc::c_long, argument: u32, flags: u32, without: u32) {
    let ld = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let jump = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let give = |k| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let and = |k| libc::sock_filter { code: 0x54, jt: 0, jf: 0, k };
    let (allow, refuse) = (0x7fff_0000, 0x0005_0000 | u32::try_from(libc::EPERM).unwrap());
    let mut program = [
        ld(0),
        jump(0x15, u32::try_from(number).unwrap(), 0, 4),
        ld(16 + 8 * argument),
        and(flags | without),
        jump(0x15, flags, 0, 1),
        give(refuse),
        give(allow),
    ];
    let program = libc::sock_fprog { len: program.len().try_into().unwrap(), filter: program.as_mut_ptr() };
    // SAFETY: a whole filter program, which the kernel copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// As where the host is killed between clone and the child's first step.
#[test]
fn a_plugin_whose_host_has_gone_does_not_begin() {
    let mut arena = arena::Arena::new(c"/bin/true", &[], 0, arena::Sharing::WithForks).unwrap();
    let program = arena.put_program(c"/bin/true", &[]).unwrap();
    for (host, status) in [(std::process::id().cast_signed(), 0), (1_000_000_000, 127)] {
        let (_ends, plugin) = run::stdio(b"").unwrap();
        let stdio = [plugin.stdin.as_raw_fd(), plugin.stdout.as_raw_fd(), plugin.stderr.as_raw_fd()];
        // SAFETY: the child does nothing but `become_plugin`, which makes system calls only.
        let child = unsafe {
            match libc::fork() {
                0 => child::become_plugin(&program, stdio, child::Parent::Host(host)),
                child => child,
            }
        };
        assert_eq!(sys::wait_id(libc::P_PID, child, 0), Ok(Some((libc::CLD_EXITED, status))), "{host}");
    }
}

const VM: u32 = libc::CLONE_VM.cast_unsigned();
const THREAD_OR_VFORK: u32 = (libc::CLONE_VFORK | libc::CLONE_THREAD).cast_unsigned();

#[test]
fn a_system_without_nannies_starts_plugins_directly() {
    isolated("host::a_system_without_nannies_starts_plugins_directly", || {
        let script = Script::new("read -r x x x parent x </proc/self/stat; echo $parent");
        let host = format!("{}\n", std::process::id());
        assert_ne!(script.run(WAYS[0], &Call::default()).unwrap(), host);
        refuse(libc::SYS_clone, VM, THREAD_OR_VFORK);
        assert_eq!(script.run(WAYS[0], &Call::default()).unwrap(), host);
    });
}

#[test]
fn a_system_without_pidfd_open_starts_plugins_directly() {
    isolated("host::a_system_without_pidfd_open_starts_plugins_directly", || {
        let script = Script::new("read -r x x x parent x </proc/self/stat; echo $parent");
        refuse(libc::SYS_pidfd_open, 0, 0);
        for way in WAYS {
            assert_eq!(script.run(way, &Call::default()).unwrap(), format!("{}\n", std::process::id()), "{way:?}");
        }
    });
}

#[test]
fn a_system_without_clone_for_pidfds_still_forks() {
    isolated("host::a_system_without_clone_for_pidfds_still_forks", || {
        let script = Script::new("echo $$; exit 0");
        refuse(libc::SYS_clone, libc::CLONE_PIDFD.cast_unsigned(), 0);
        script.run(WAYS[0], &Call::default()).unwrap();
        assert!(Script::new("exit 3").run(WAYS[0], &Call::default()).unwrap_err().to_string().ends_with("status 3"));
    });
}

/// As before Linux 6.15.
#[test]
fn a_status_that_the_kernel_does_not_remember_is_an_error() {
    isolated("host::a_status_that_the_kernel_does_not_remember_is_an_error", || {
        refuse_by_argument(libc::SYS_ioctl, 1, direct::GET_INFO, 0);
        let script = Script::new("exit 0");
        script.run(Way::Direct, &Call::default()).unwrap();
        // SAFETY: of this process, which is the test's own.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let error = script.run(Way::Direct, &Call::default()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Io);
        assert!(error.to_string().ends_with(": exit status lost"), "{error}");
    });
}

#[test]
fn a_host_that_must_not_be_looked_into_has_its_table_copied() {
    isolated("host::a_host_that_must_not_be_looked_into_has_its_table_copied", || {
        let script = Script::new("exec ls /proc/self/fd");
        refuse(libc::SYS_pidfd_getfd, 0, 0);
        assert_eq!(script.run(WAYS[0], &Call::default()).unwrap(), "0\n1\n2\n3\n");
        assert!(FETCHING_REFUSED.load(Ordering::Relaxed));
    });
}

#[test]
fn a_system_without_close_range_closes_one_by_one() {
    isolated("host::a_system_without_close_range_closes_one_by_one", || {
        let script = Script::new("exec ls /proc/self/fd");
        // SAFETY: a plain duplicate, which exec would leave open.
        assert!(unsafe { libc::dup(2) } > 2);
        let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        // SAFETY: `limit` is what the call takes.
        unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0) };
        refuse(libc::SYS_close_range, 0, 0);
        for way in WAYS {
            assert_eq!(script.run(way, &Call::default()).unwrap(), "0\n1\n2\n3\n", "{way:?}");
        }
    });
}

/// A nanny that cannot act, as behind a plugin that hangs in the kernel: stopped.
#[test]
fn a_plugin_that_cannot_be_killed_does_not_hold_the_call() {
    isolated("host::a_plugin_that_cannot_be_killed_does_not_hold_the_call", || {
        for way in NANNIES {
            let script = Script::new(
                "read -r x x x parent x </proc/self/stat; echo $$ >$D/pid; echo $parent >$D/nanny; exec sleep 600",
            );
            let call = Call::default();
            let (nanny, error, took) = std::thread::scope(|scope| {
                let run = scope.spawn(|| script.run_with(&impatient(100), way, &call, b"").unwrap_err());
                let nanny: i32 = script.file("nanny").parse().unwrap();
                sys::kill(nanny, libc::SIGSTOP).unwrap();
                call.cancel.cancel();
                let start = Instant::now();
                (nanny, run.join().unwrap(), start.elapsed())
            });
            assert_eq!(error.class(), ErrorClass::Cancelled, "{way:?}");
            assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(20), "{way:?}: {took:?}");
            sys::kill(nanny, libc::SIGCONT).unwrap();
            wait_until("the nanny's end", || !runs(&nanny.to_string()));
            assert!(!runs(&script.file("pid")), "{way:?}");
            drop(ProcessExec::default());
            assert_eq!(sys::reap(-1, libc::WNOHANG), Err(libc::ECHILD), "{way:?}: a handle's end reaps it");
        }
    });
}

/// A plugin that cannot be reaped, as one that hangs in the kernel: somebody traces it, and does not wait for it.
#[test]
fn a_nanny_that_is_left_behind_lets_go_of_the_lock() {
    isolated("host::a_nanny_that_is_left_behind_lets_go_of_the_lock", || {
        for way in NANNIES {
            let script = Script::new(
                "trap '' TERM; read -r x x x parent x </proc/self/stat; echo $parent >$D/nanny; echo $$ >$D/pid; \
                 while :; do sleep 1; done",
            );
            let lock = HeldLock { file: Arc::new(lock_file(script.dir.path()).into()) };
            let call = Call { lock: Some(lock), ..Call::default() };
            let holds = |nanny: &str| {
                let fds = fs::read_dir(format!("/proc/{nanny}/fd")).unwrap();
                fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).any(|file| file.ends_with("lock"))
            };
            std::thread::scope(|scope| {
                let run = scope.spawn(|| script.run_with(&impatient(50), way, &call, b"").unwrap_err());
                let (nanny, pid) = (script.file("nanny"), script.file("pid").parse::<i32>().unwrap());
                // SAFETY: numbers only.
                assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }, 0, "{way:?}");
                assert!(holds(&nanny), "{way:?}");
                call.cancel.cancel();
                assert_eq!(run.join().unwrap().class(), ErrorClass::Cancelled, "{way:?}");
                wait_until("the lock file's close", || !holds(&nanny));
                assert!(runs(&nanny), "{way:?}: it waits for the plugin");
                // SAFETY: NULL for the optional status. This lets the nanny have the plugin.
                assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) }, pid);
                wait_until("the nanny's end", || !runs(&nanny));
            });
        }
    });
}

/// What a host writes that takes the control socket for something else.
#[test]
fn what_is_no_message_is_ignored_at_both_ends() {
    let strays: [&[u8]; 8] =
        [b"", b"x", b"noise\n", b"\x01", b"\x01\0", b"\x03\0", b"8 bytes\n", b"more than 8 bytes\n"];
    for table in [Table::Fetched, Table::Copied] {
        let script = Script::new("trap 'exit 3' TERM; echo >$D/up; while :; do sleep 0.01; done");
        let path = script.c_path();
        let request = Request { path: &path, env: &[c"PATH=/usr/bin:/bin".into()], lock: None };
        let (_ends, plugin_ends) = run::stdio(b"").unwrap();
        let mut nursery = Nursery::default();
        let Ok(mut charge) = nursery.take_in(table, &request, &plugin_ends) else { panic!("no nanny") };
        for socket in charge.control().into_iter().flatten() {
            for stray in strays {
                sys::send(socket, stray).unwrap();
            }
        }
        script.file("up");
        charge.terminate();
        wait_until("the end", || match charge.news() {
            None => false,
            Some(run::News::Exited(status) | run::News::Alone(status)) => status == run::Status::Exited(3),
            other => panic!("{table:?}: {other:?}"),
        });
    }
}

/// What is fetched from a process is its main thread's: there the same numbers are other files.
#[test]
fn a_thread_with_a_descriptor_table_of_its_own_gets_its_own_plugin() {
    isolated("host::a_thread_with_a_descriptor_table_of_its_own_gets_its_own_plugin", || {
        let (unshared, opened) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                unshared.wait();
                let others: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
                opened.wait();
                unshared.wait();
                drop(others);
            });
            // SAFETY: takes a number, and changes this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
            unshared.wait();
            opened.wait();
            for way in WAYS {
                let script = Script::new("cat");
                let said = script.run_with(&ProcessExec::default(), way, &limited(10_000), b"hello");
                assert_eq!(said.unwrap(), "hello", "{way:?}");
            }
            unshared.wait();
        });
    });
}

/// As a child has it that the host forks while a plugin starts, and that executes nothing.
#[test]
fn output_that_a_forked_child_holds_open_is_not_waited_for() {
    if !groups_are_seen() {
        return;
    }
    let runs = || {
        let script = Script::new("head -c 60000 /dev/zero | tr '\\0' x");
        let path = script.c_path();
        let request = Request { path: &path, env: &[c"PATH=/usr/bin:/bin".into()], lock: None };
        let (ends, plugin_ends) = run::stdio(b"").unwrap();
        let _held = [plugin_ends.stdout.try_clone().unwrap(), plugin_ends.stderr.try_clone().unwrap()];
        let mut nursery = Nursery::default();
        let Ok(mut charge) = nursery.take_in(Table::Copied, &request, &plugin_ends) else { panic!("no nanny") };
        drop(plugin_ends);
        wait_until("the plugin's end", || run::Child::known(&mut charge).is_some());
        let start = Instant::now();
        let call = Call::default();
        let limits = run::Limits { call: &call, kill_grace: Duration::ZERO, max_output: 1 << 20 };
        let (end, stdout, _) = run::Run::new(limits, ends, Stderr::new(&script.path(), 0)).attend(&mut charge).unwrap();
        assert_eq!((end, stdout.len()), (run::End::Exited(run::Status::Exited(0)), 60_000));
        start.elapsed()
    };
    // One that is waited for takes 100 ms each time.
    assert!((0..10).any(|_| runs() < Duration::from_millis(100)));
}

#[test]
fn a_nanny_that_is_killed_takes_the_plugin_along_and_is_no_success() {
    isolated("host::a_nanny_that_is_killed_takes_the_plugin_along_and_is_no_success", || {
        // As in C hosts: what is written to who is gone must not end this process.
        // SAFETY: of this process, which is the test's own.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for way in NANNIES {
            let script = Script::new(
                "read -r x x x parent x </proc/self/stat; echo $parent >$D/nanny; echo $$ >$D/pid; exec sleep 600",
            );
            let error = std::thread::scope(|scope| {
                let run = scope.spawn(|| script.run(way, &Call::default()).unwrap_err());
                let pid = script.file("pid");
                sys::kill(script.file("nanny").parse().unwrap(), libc::SIGKILL).unwrap();
                wait_until("the plugin's end", || !runs(&pid));
                run.join().unwrap()
            });
            assert_eq!(error.class(), ErrorClass::Io, "{way:?}");
            assert!(error.to_string().ends_with(": exit status lost"), "{error}");
        }
    });
}
