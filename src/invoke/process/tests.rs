use super::*;
#[test]
fn quick() {
    for spawn in [Spawn::Nanny, Spawn::Direct] {
        let exec = ProcessExec { spawn, ..ProcessExec::default() };
        let t = std::time::Instant::now();
        let out = exec.exec_plugin(&Call::default(), Path::new("/bin/cat"), b"hello", &[]);
        println!("{spawn:?} {out:?} {:?}", t.elapsed());
        let out = exec.exec_plugin(&Call::default(), Path::new("/bin/nope"), b"hello", &[]);
        println!("{spawn:?} {out:?} {:?}", t.elapsed());
    }
}
