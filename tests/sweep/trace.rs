//! Runs a host under ptrace, one system call of its watched step after the other: to count them, to kill the host just
//! before one, or to have one fail.
//!
//! The host's own threads are followed. Nannies share its memory but are processes of their own: they are let go before
//! they run, as the plugins are, so that they do what they do without a tracer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use super::calls;

/// The descriptor whose close ends the watched step; also in host.c.
const END: i32 = -4242;

/// The registers of a thread; the calling convention is the only thing here that knows the processor.
#[derive(Clone, Copy)]
struct Registers(nix::libc::user_regs_struct);

#[cfg(target_arch = "x86_64")]
impl Registers {
    fn number(&self) -> i64 {
        self.0.orig_rax.cast_signed()
    }

    fn arguments(&mut self) -> [&mut u64; 6] {
        let registers = &mut self.0;
        [
            &mut registers.rdi,
            &mut registers.rsi,
            &mut registers.rdx,
            &mut registers.r10,
            &mut registers.r8,
            &mut registers.r9,
        ]
    }

    fn answer(&mut self) -> &mut u64 {
        &mut self.0.rax
    }
}

#[cfg(target_arch = "aarch64")]
impl Registers {
    fn number(&self) -> i64 {
        self.0.regs[8].cast_signed()
    }

    fn arguments(&mut self) -> [&mut u64; 6] {
        let [a, b, c, d, e, f, ..] = &mut self.0.regs;
        [a, b, c, d, e, f]
    }

    fn answer(&mut self) -> &mut u64 {
        &mut self.0.regs[0]
    }
}

/// A system call that is about to be made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) number: i64,
    arguments: [u64; 6],
    /// The file or directory that it is about, where it is about one.
    pub(crate) path: Option<String>,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.as_deref().unwrap_or_default();
        match calls::name(self.number) {
            Some(name) => write!(f, "{name}({path})"),
            None => write!(f, "call {}({path})", self.number),
        }
    }
}

impl Call {
    fn of(registers: &mut Registers) -> Self {
        let number = registers.number();
        Self { number, arguments: registers.arguments().map(|argument| *argument), path: None }
    }

    /// Finds out what it is about, which takes longer than the call.
    fn explored(self, thread: Pid) -> Self {
        let string = |address| read_string(thread, address);
        let open =
            |fd: u64| fs::read_link(format!("/proc/{thread}/fd/{fd}")).ok().map(|path| path.display().to_string());
        let path = match calls::about(self.number) {
            calls::About::Nothing => None,
            calls::About::Descriptor => open(self.arguments[0]),
            calls::About::Path => string(self.arguments[0]),
            calls::About::Below => string(self.arguments[1]).map(|name| match open(self.arguments[0]) {
                Some(directory) if !name.starts_with('/') => format!("{directory}/{name}"),
                _ => name,
            }),
        };
        Self { path, ..self }
    }

    /// An argument that is an int, counted from 0.
    pub(crate) fn argument(&self, index: usize) -> i32 {
        u32::try_from(self.arguments[index] & u64::from(u32::MAX)).unwrap_or_default().cast_signed()
    }

    /// Whether it removes a file.
    pub(crate) fn removes(&self) -> bool {
        calls::name(self.number).is_some_and(|name| name.starts_with("unlink"))
    }

    fn is_end(&self) -> bool {
        self.number == nix::libc::SYS_close && self.argument(0) == END
    }
}

fn read_string(process: Pid, address: u64) -> Option<String> {
    let mut bytes = [0; 256];
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let length = memory.read_at(&mut bytes, address).ok()?;
    let text = bytes[..length].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// What a call is made to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does nothing and answers this.
    Fails(Errno),
    /// It does what it does and answers this: a descriptor that was not closed well is closed all the same.
    DoneBut(Errno),
    /// It reads or writes a byte only.
    Short,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fails(errno) | Self::DoneBut(errno) => write!(f, "{errno:?}"),
            Self::Short => f.write_str("short"),
        }
    }
}

/// Where in a step a call is: how many calls that every run makes there have been, and how many others since the last of
/// those. How often a host reads and waits depends on how quick a plugin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    sure: usize,
    others: usize,
}

impl Place {
    /// The place of a call, whose predecessor is here.
    pub(crate) fn next(self, call: &Call) -> Self {
        if !call.is_end() && calls::depends_on_time(call.number) {
            Self { others: self.others + 1, ..self }
        } else {
            Self { sure: self.sure + 1, others: 0 }
        }
    }

    /// Neighbours have different numbers, and a place the same one in every run.
    pub(crate) fn number(self) -> usize {
        self.sure + self.others
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.sure, self.others)
    }
}

/// How the host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(Signal),
}

/// A host that has come to its watched step.
pub(crate) struct Traced {
    host: Pid,
    /// Those that are followed, and whether they are in a system call.
    threads: BTreeMap<Pid, bool>,
    /// Children whose first stop came before their parent's.
    early: BTreeSet<Pid>,
    ended: bool,
}

impl Drop for Traced {
    /// What could not be seen to its end must not stand in the way of the next.
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill(self.host, Signal::SIGKILL);
            let _ = self.end();
        }
    }
}

/// A thread that stands before a call.
struct Stop {
    thread: Pid,
    registers: Registers,
    call: Call,
}

impl Traced {
    /// Waits until the host, a child of this process, asks to be watched.
    pub(crate) fn meet(host: u32) -> Result<Self, String> {
        let host = Pid::from_raw(host.cast_signed());
        loop {
            match wait(Some(host))? {
                WaitStatus::Stopped(_, Signal::SIGSTOP) => break,
                WaitStatus::Stopped(_, signal) => resume(host, Some(signal))?,
                ended => return Err(format!("the host ended before its watched step: {ended:?}")),
            }
        }
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACECLONE;
        ptrace::setoptions(host, options).map_err(|errno| format!("ptrace: {errno}"))?;
        resume(host, None)?;
        Ok(Self { host, threads: BTreeMap::from([(host, false)]), early: BTreeSet::new(), ended: false })
    }

    /// The calls of the watched step and their places, and the place of the step's end; the host goes on.
    pub(crate) fn calls(&mut self) -> Result<(Vec<(Place, Call)>, Place), String> {
        let mut calls = Vec::new();
        let mut here = Place::default();
        loop {
            let Stop { thread, call, .. } = self.next_of_step()?;
            here = here.next(&call);
            if call.is_end() {
                self.go(thread)?;
                return Ok((calls, here));
            }
            calls.push((here, call.explored(thread)));
            self.go(thread)?;
        }
    }

    /// Kills the host just before the call at a place of its watched step, or the next one where this run has none there,
    /// or the step's end if that comes first; answers the call, `None` for the end.
    pub(crate) fn kill_at(&mut self, place: Place) -> Result<Option<Call>, String> {
        let Stop { call, .. } = self.stop_at(place)?;
        kill(self.host, Signal::SIGKILL).map_err(|errno| format!("kill: {errno}"))?;
        match self.end()? {
            Ended::Killed(Signal::SIGKILL) => Ok((!call.is_end()).then_some(call)),
            other => Err(format!("the host, killed, ended with {other:?}")),
        }
    }

    /// Has the call at a place of the watched step go wrong in the way that `choose` says; answers it and how. The host
    /// goes on. `None`: `choose` wants none for this call.
    pub(crate) fn fault_at(
        &mut self,
        place: Place,
        choose: impl Fn(&Call) -> Option<Fault>,
    ) -> Result<Option<(Call, Fault)>, String> {
        let Stop { thread, registers, call } = self.stop_at(place)?;
        let Some(fault) = choose(&call).filter(|_| !call.is_end()) else {
            self.go(thread)?;
            return Ok(None);
        };
        self.inject(thread, registers, fault).map_err(|why| format!("{call}: {why}"))?;
        Ok(Some((call, fault)))
    }

    fn stop_at(&mut self, place: Place) -> Result<Stop, String> {
        let mut here = Place::default();
        loop {
            let stop = self.next_of_step()?;
            here = here.next(&stop.call);
            if here >= place || stop.call.is_end() {
                return Ok(Stop { call: stop.call.explored(stop.thread), ..stop });
            }
            self.go(stop.thread)?;
        }
    }

    fn next_of_step(&mut self) -> Result<Stop, String> {
        self.next_call()?.map_err(|ended| format!("the host ended in its watched step: {ended:?}"))
    }

    /// A call that is to do nothing gets arguments that no call can use: that needs no knowledge of how each processor
    /// has a call's number changed.
    fn inject(&mut self, thread: Pid, before: Registers, fault: Fault) -> Result<(), String> {
        const COUNT: usize = 2;
        let mut changed = before;
        match fault {
            Fault::Fails(_) => {
                for argument in changed.arguments() {
                    *argument = u64::MAX;
                }
                if before.number() == nix::libc::SYS_flock {
                    // With all bits set it is a command of old that does nothing, and well.
                    *changed.arguments()[1] = 0;
                }
            }
            Fault::DoneBut(_) => {}
            Fault::Short => *changed.arguments()[COUNT] = 1,
        }
        set_registers(thread, changed)?;
        self.go(thread)?;
        // Only this thread has been resumed to run; another one may stop first.
        let mut after = loop {
            match wait(Some(thread))? {
                WaitStatus::PtraceSyscall(_) => break registers(thread)?,
                WaitStatus::PtraceEvent(..) => resume(thread, None)?,
                WaitStatus::Stopped(_, signal) => resume(thread, Some(signal))?,
                ended => return Err(format!("ended in the call: {ended:?}")),
            }
        };
        self.threads.insert(thread, false);
        let answer = *after.answer();
        let mut restored = before;
        *restored.answer() = match fault {
            Fault::Fails(_) if answer.cast_signed() >= 0 => return Err(format!("it answered {answer}")),
            Fault::Fails(errno) | Fault::DoneBut(errno) => i64::from(-(errno as i32)).cast_unsigned(),
            Fault::Short => answer,
        };
        set_registers(thread, restored)?;
        self.go(thread)
    }

    fn go(&self, thread: Pid) -> Result<(), String> {
        resume(thread, None).map_err(|why| format!("thread {thread} of {}: {why}", self.host))
    }

    /// Lets the host run to its end.
    pub(crate) fn end(&mut self) -> Result<Ended, String> {
        loop {
            match self.next_call()? {
                // A host that was killed may show its last stop still.
                Ok(Stop { thread, .. }) => match ptrace::cont(thread, None) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(format!("ptrace: {errno}")),
                },
                Err(ended) => {
                    self.ended = true;
                    for child in std::mem::take(&mut self.early) {
                        let_go(child)?;
                    }
                    return Ok(ended);
                }
            }
        }
    }

    /// The next call of any thread, or how the host ended.
    fn next_call(&mut self) -> Result<Result<Stop, Ended>, String> {
        loop {
            match wait(None)? {
                WaitStatus::PtraceSyscall(thread) => {
                    let inside = self.threads.entry(thread).or_default();
                    *inside = !*inside;
                    if *inside {
                        // Else killed meanwhile.
                        if let Ok(mut registers) = registers(thread) {
                            let call = Call::of(&mut registers);
                            return Ok(Ok(Stop { thread, registers, call }));
                        }
                        continue;
                    }
                    resume(thread, None)?;
                }
                WaitStatus::PtraceEvent(thread, ..) => {
                    self.meet_child(thread)?;
                    resume(thread, None)?;
                }
                WaitStatus::Stopped(thread, signal) if self.threads.contains_key(&thread) => {
                    resume(thread, Some(signal))?;
                }
                WaitStatus::Stopped(child, _) => {
                    self.early.insert(child);
                }
                WaitStatus::Exited(one, status) if one == self.host => return Ok(Err(Ended::Exited(status))),
                WaitStatus::Signaled(one, signal, _) if one == self.host => {
                    return Ok(Err(Ended::Killed(signal)));
                }
                // A thread; or an orphan, which this process, as the first of its namespace, has to collect.
                WaitStatus::Exited(one, _) | WaitStatus::Signaled(one, ..) => {
                    self.threads.remove(&one);
                }
                _ => {}
            }
        }
    }

    /// A new thread is followed, a new nanny let go, before its parent goes on.
    fn meet_child(&mut self, parent: Pid) -> Result<(), String> {
        let Ok(child) = ptrace::getevent(parent) else { return Ok(()) };
        let child = Pid::from_raw(i32::try_from(child).map_err(|error| error.to_string())?);
        // Or killed with its host.
        if !self.early.remove(&child) && !matches!(wait(Some(child))?, WaitStatus::Stopped(..)) {
            return Ok(());
        }
        if fs::exists(format!("/proc/{}/task/{child}", self.host)).unwrap_or(false) {
            self.threads.insert(child, false);
            return resume(child, None);
        }
        let_go(child)
    }
}

/// A nanny runs without a tracer.
fn let_go(nanny: Pid) -> Result<(), String> {
    match ptrace::detach(nanny, None) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(format!("cannot let a nanny go: {errno}")),
    }
}

/// Waits for a change of one child, or of any.
fn wait(which: Option<Pid>) -> Result<WaitStatus, String> {
    waitpid(which, Some(WaitPidFlag::__WALL)).map_err(|errno| format!("waitpid: {errno}"))
}

/// To the next system call; a thread that is gone, killed with its host, needs no more.
fn resume(thread: Pid, signal: Option<Signal>) -> Result<(), String> {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(format!("ptrace: {errno}")),
    }
}

fn registers(thread: Pid) -> Result<Registers, String> {
    ptrace::getregs(thread).map(Registers).map_err(|errno| format!("ptrace: {errno}"))
}

fn set_registers(thread: Pid, registers: Registers) -> Result<(), String> {
    ptrace::setregs(thread, registers.0).map_err(|errno| format!("ptrace: {errno}"))
}

/// Waits until nothing but this process runs in its namespace, and collects what has ended; says what does not end.
pub(crate) fn nothing_runs() -> Result<(), String> {
    for entry in fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == std::process::id().cast_signed() || pid == 1 {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // Gone since.
        let Some(process) = rustix::process::Pid::from_raw(pid) else { continue };
        let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { continue };
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
        if ended != Ok(1) {
            return Err(format!("process {pid} still runs: {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
    while !matches!(waitpid(None, Some(flags)), Err(_) | Ok(WaitStatus::StillAlive)) {}
    Ok(())
}
