use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;

use super::netlink::Route;
use super::*;
use crate::testing;

/// Runs the test again in namespaces of its own, where it is root and disturbs nobody; `true` inside.
fn inside(test: &str, with: &[&str]) -> bool {
    if std::env::var_os("CNIRT_TEST_INSIDE").is_some() {
        return true;
    }
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    testing::passes(
        Command::new("unshare")
            .args(user)
            .args(with)
            .arg("-mn")
            .arg(std::env::current_exe().unwrap())
            .args(testing::arguments(&format!("netns::tests::{test}")))
            .env("CNIRT_TEST_INSIDE", "1"),
    );
    false
}

/// Runs a shell command with `$1`; its output.
fn sh(command: &str, path: &Path) -> String {
    let output = Command::new("sh").args(["-ec", command, "sh"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn inode(path: impl AsRef<Path>) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

fn namespace(temp: &tempfile::TempDir) -> PathBuf {
    let path = temp.path().join("ns");
    create(&path).unwrap();
    path
}

fn fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_namespace_is_created_opened_and_removed_and_nothing_else_changes() {
    if !inside("a_namespace_is_created_opened_and_removed_and_nothing_else_changes", &[]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a/b/ns");
    let own = inode("/proc/thread-self/ns/net");
    let (fds_before, threads_before) = (fds(), threads());

    create(&path).unwrap();
    assert!(is_netns(&path));
    let fd = open(&path).unwrap();
    assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    drop(fd);
    assert_ne!(inode(&path), own);
    let error = create(&path).unwrap_err();
    let words = format!("network namespace {} exists already", path.display());
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Exists, words));
    set_loopback(&path, true).unwrap();
    assert_eq!(addresses(&path, "lo").unwrap(), [] as [IpAddr; 0]);
    assert!(addresses(&path, "eth0").is_err());
    remove(&path).unwrap();
    assert!(path.symlink_metadata().is_err());
    remove(&path).unwrap();

    for dir in ["a", "a/b"] {
        assert_eq!(temp.path().join(dir).metadata().unwrap().mode() & 0o7777, 0o755, "{dir}");
    }
    assert_eq!(inode("/proc/thread-self/ns/net"), own);
    assert_eq!(inode("/proc/self/ns/net"), own);
    assert_eq!(fds(), fds_before);
    // The kernel takes a moment to forget a thread that was joined.
    let deadline = Instant::now() + Duration::from_secs(10);
    while threads() != threads_before {
        assert!(Instant::now() < deadline, "{} threads instead of {threads_before}", threads());
        std::thread::yield_now();
    }
}

#[test]
fn what_is_no_network_namespace_is_refused_and_not_deleted() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    std::fs::write(at("file"), "x").unwrap();
    std::fs::create_dir(at("dir")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for (path, words) in [
        (at("missing"), "no such file or directory"),
        (at("file/below"), "not a directory"),
        (at("dangling"), "no such file or directory"),
        (at("file"), "is not a network namespace: not a namespace"),
        (at("dir"), "is not a network namespace: not a namespace"),
        (at("fifo"), "is not a network namespace: not a namespace"),
        ("/dev/null".into(), "is not a network namespace: not a namespace"),
        ("/proc/self/ns/user".into(), "is not a network namespace: a namespace of another type"),
        ("/proc/self/ns/pid".into(), "is not a network namespace: a namespace of another type"),
    ] {
        assert!(!is_netns(&path));
        for error in
            [open(&path).unwrap_err(), addresses(&path, "lo").unwrap_err(), set_loopback(&path, true).unwrap_err()]
        {
            let text = error.to_string();
            assert_eq!(error.class(), ErrorClass::Netns, "{text}");
            assert!(text.ends_with(words) && text.contains(path.to_str().unwrap()), "{text}");
        }
        let there = path.symlink_metadata().is_ok();
        match remove(&path) {
            Ok(()) => assert!(!there, "{}", path.display()),
            Err(error) => assert!(error.to_string().contains(path.to_str().unwrap()), "{error}"),
        }
        assert_eq!(path.symlink_metadata().is_ok(), there, "{}", path.display());
    }
}

#[test]
fn a_namespace_that_is_not_mounted_can_be_opened_but_not_removed() {
    let temp = tempfile::tempdir().unwrap();
    let link = temp.path().join("link");
    symlink("/proc/self/ns/net", &link).unwrap();
    for path in [&link, Path::new("/proc/self/ns/net"), &PathBuf::from(format!("/proc/{}/ns/net", std::process::id()))]
    {
        open(path).unwrap();
        assert!(is_netns(path));
        let error = remove(path).unwrap_err();
        let words = format!("{} is not a network namespace: a symbolic link", path.display());
        assert_eq!((error.class(), error.to_string()), (ErrorClass::Netns, words));
    }
    assert!(link.symlink_metadata().is_ok());
}

#[test]
fn create_refuses_a_path_where_something_is() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let error = create(&path).unwrap_err();
    let words = format!("create {}: file exists", path.display());
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Exists, words));
    let error = create(&path.join("below")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Io);
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_failed_creation_leaves_no_file() {
    // The limit is that of a user namespace, so this test needs one of its own.
    if !inside("a_failed_creation_leaves_no_file", &["-Ur"]) {
        return;
    }
    std::fs::write("/proc/sys/user/max_net_namespaces", "0").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("ns");
    let error = create(&path).unwrap_err();
    let words = format!("unshare a network namespace for {}: no space left on device", path.display());
    assert_eq!((error.class(), error.to_string()), (ErrorClass::Io, words));
    assert!(path.symlink_metadata().is_err());
}

#[test]
fn run_netns_is_shared_with_ip_netns() {
    if !inside("run_netns_is_shared_with_ip_netns", &[]) {
        return;
    }
    let run = Path::new("/run");
    sh("mount -t tmpfs none $1", run);
    let (ours, theirs) = (Path::new("/run/netns/ours"), Path::new("/run/netns/theirs"));
    create(ours).unwrap();
    // The machine's own may be there as well, below the new /run.
    let mounts = || {
        let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(" /run/netns ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let made = mounts();
    assert!(made.last().unwrap().contains(" shared:"), "{made:?}");
    // A second one finds the mount and makes no other.
    create(Path::new("/run/netns/more")).unwrap();
    assert_eq!(mounts().len(), made.len());

    sh("ip netns add theirs; ip netns del ours", run);
    assert!(ours.symlink_metadata().is_err());
    assert!(is_netns(theirs));
    remove(theirs).unwrap();
    assert_eq!(sh("ip netns list", run).trim(), "more");
}

#[test]
fn removal_reaches_other_mount_namespaces() {
    if !inside("removal_reaches_other_mount_namespaces", &[]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = namespace(&temp);
    let count = "grep -c \" $1 \" /proc/self/mountinfo || true";
    let mut other = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &format!("{count}; read line; {count}"), "sh"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut counts = BufReader::new(other.stdout.take().unwrap()).lines();
    assert_eq!(counts.next().unwrap().unwrap(), "1");
    remove(&path).unwrap();
    other.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(counts.next().unwrap().unwrap(), "0");
    assert!(other.wait().unwrap().success());
}

#[test]
fn lo_goes_up_and_down_and_may_be_so_already() {
    if !inside("lo_goes_up_and_down_and_may_be_so_already", &[]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = namespace(&temp);
    for up in [true, true, false, false, true] {
        set_loopback(&path, up).unwrap();
        let flags = sh("nsenter --net=$1 ip link show lo", &path);
        assert_eq!(flags.contains("<LOOPBACK,UP,"), up, "{flags}");
    }
    assert!(!sh("ip link show lo", &path).contains("UP"), "not this namespace's");
    remove(&path).unwrap();
}

#[test]
fn addresses_are_the_interfaces_own_of_global_scope_in_the_kernels_order() {
    if !inside("addresses_are_the_interfaces_own_of_global_scope_in_the_kernels_order", &[]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = namespace(&temp);
    sh(
        "exec nsenter --net=$1 sh -ec '
            ip link add eth0 type veth peer name other; ip link set eth0 up; ip link set other up
            ip link add bare type veth peer name bare2
            ip addr add fd00::1/64 dev eth0 nodad; ip addr add fd00::2/64 dev eth0
            ip addr add 10.0.0.9/24 dev eth0; ip addr add 10.0.0.2/24 dev eth0; ip addr add 10.1.0.1 peer 10.1.0.2 dev eth0
            ip addr add 10.2.0.1/24 dev eth0 scope link; ip addr add 10.3.0.1/24 dev other'",
        &path,
    );
    let found = |name: &str| addresses(&path, name).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut eth0 = found("eth0");
    assert_eq!(eth0[..3], ["10.0.0.9", "10.1.0.1", "10.0.0.2"]);
    // Which of the IPv6 addresses comes first is the kernel's secret.
    eth0[3..].sort_unstable();
    assert_eq!(eth0[3..], ["fd00::1", "fd00::2"]);
    assert_eq!(found("other"), ["10.3.0.1"]);
    assert_eq!(found("bare"), [] as [&str; 0]);
    assert_eq!(found("lo"), [] as [&str; 0]);
    remove(&path).unwrap();
}

#[test]
fn a_list_of_many_datagrams_is_read_whole() {
    if !inside("a_list_of_many_datagrams_is_read_whole", &[]) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = namespace(&temp);
    let add = "nsenter --net=$1 sh -ec 'ip link add eth0 type veth peer name other
        for i in $(seq 8); do for j in $(seq 250); do echo addr add 10.0.$i.$j/8 dev eth0; done; done | ip -batch -'";
    sh(add, &path);
    assert_eq!(addresses(&path, "eth0").unwrap().len(), 2000);
    remove(&path).unwrap();
}

#[test]
fn a_missing_interface_is_not_found_and_a_bad_name_is_refused() {
    if !inside("a_missing_interface_is_not_found_and_a_bad_name_is_refused", &[]) {
        return;
    }
    let netns = Path::new("/proc/self/ns/net");
    let error = addresses(netns, "no-such").unwrap_err();
    let words = "find interface no-such in network namespace /proc/self/ns/net: no such device";
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::NotFound, words));
    assert_eq!(addresses(netns, "a/b").unwrap_err().class(), ErrorClass::InvalidArgument);
}

#[test]
fn what_the_kernel_refuses_is_an_error_and_the_socket_stays_usable() {
    if !inside("what_the_kernel_refuses_is_an_error_and_the_socket_stays_usable", &[]) {
        return;
    }
    let mut route = Route::inside(Path::new("/proc/self/ns/net")).unwrap();
    let mut message = LinkMessage::default();
    message.header.index = 12345;
    let error = route.change(RouteNetlinkMessage::SetLink(message.clone())).unwrap_err();
    assert_eq!(error.to_string(), "netlink in network namespace /proc/self/ns/net: no such device");
    message.header.index = 1;
    route.change(RouteNetlinkMessage::SetLink(message)).unwrap();
}

#[test]
fn a_thread_that_cannot_be_made_is_an_error() {
    if !inside("a_thread_that_cannot_be_made_is_an_error", &[]) {
        return;
    }
    let netns = Path::new("/proc/self/ns/net");
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Nproc, none).unwrap();
    // The limit does not bind the machine's root; inside a user namespace the number is not known, and not needed.
    // SAFETY: the raw system call changes the user of this thread alone, which ends with the test.
    unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
    let error = set_loopback(netns, true).unwrap_err();
    let words = "start a helper thread: resource temporarily unavailable";
    assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Io, words));
}
