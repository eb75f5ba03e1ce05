//! For tests that need a process of their own: the test binary is started again with one test's name.

use std::process::Command;

/// Runs `body` in a process of its own, for what belongs to a whole process. Call it first in the test of this name,
/// with its modules.
pub(crate) fn isolated(test: &str, body: fn()) {
    const VARIABLE: &str = "CNIRT_ISOLATED_TEST";
    if std::env::var(VARIABLE).is_ok_and(|inner| inner == test) {
        return body();
    }
    passes(Command::new(std::env::current_exe().unwrap()).args(arguments(test)).env(VARIABLE, test));
}

/// Lets this process, a test's own, write no file beyond so many bytes: who tries gets the signal that ends programs.
pub(crate) fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is what the call takes; the signal's disposition is the default one.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

/// A directory in memory where the system has one: syncing there takes no time.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The test binary's arguments to run this test alone.
pub(crate) fn arguments(test: &str) -> [&str; 4] {
    [test, "--exact", "--test-threads=1", "--nocapture"]
}

/// Runs the command, which runs one test, and shows what it says only where that fails.
pub(crate) fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{said}\n{failed}", output.status);
    assert!(said.contains("1 passed"), "no such test: {command:?}");
}

/// Runs `body` with 0, 1 and 2 closed. Only in a process of its own; the text of a panic inside is lost.
pub(crate) fn without_standard_fds<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: numbers only, and they are put back; nobody else runs in this process.
    unsafe {
        let kept = [0, 1, 2].map(|fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 20));
        for fd in 0..3 {
            libc::close(fd);
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        for (fd, kept) in (0..).zip(kept) {
            libc::dup2(kept, fd);
            libc::close(kept);
        }
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
