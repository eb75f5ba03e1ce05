use std::ptr;
use std::sync::Mutex;

use super::*;

/// What the test's callbacks answer, and what they were told.
#[derive(Default)]
struct Data {
    code: i32,
    reply: Vec<u8>,
    told: Mutex<Vec<String>>,
    freed: Mutex<usize>,
}

unsafe extern "C" fn answer(data: *mut c_void, argument: *const c_char, reply: *mut cni_reply) -> i32 {
    // SAFETY: every test passes its `Data`, which outlives the callbacks.
    let data = unsafe { &*data.cast::<Data>() };
    // SAFETY: the library passes a string.
    let argument = unsafe { CStr::from_ptr(argument) }.to_str().unwrap().to_owned();
    data.told.lock().unwrap().push(argument);
    // SAFETY: the reply is the one that was passed.
    let rc = unsafe { cni_reply_set(reply, data.reply.as_ptr().cast(), data.reply.len()) };
    assert_eq!(rc, cni_rc::CNI_OK);
    data.code
}

unsafe extern "C" fn free(data: *mut c_void) {
    // SAFETY: as above.
    *unsafe { &*data.cast::<Data>() }.freed.lock().unwrap() += 1;
}

unsafe extern "C" fn log(
    data: *mut c_void,
    level: i32,
    target: *const c_char,
    message: *const c_char,
    fields: *const c_char,
) {
    let text = |pointer| {
        // SAFETY: the library passes strings.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
    };
    let line = format!("{level} {} {} {}", text(target), text(message), text(fields));
    // SAFETY: as above.
    unsafe { &*data.cast::<Data>() }.told.lock().unwrap().push(line);
    tracing::error!("from within the log callback");
    // What needs no handle, or another one, may be called.
    let call = || {
        tracing::error!("from within a call of it");
        Ok(())
    };
    crate::capi::guard::protected(&Dispatch::none(), call).unwrap();
}

fn table(data: &Data) -> cni_callbacks {
    cni_callbacks {
        size: size_of::<cni_callbacks>(),
        data: ptr::from_ref(data).cast_mut().cast(),
        data_free: Some(free),
        get_netns: Some(answer),
        get_pod_port_mappings: Some(answer),
        find_plugin: Some(answer),
        exec_plugin: Some(answer),
        log: Some(log),
    }
}

fn read(table: &cni_callbacks) -> Result<Arc<Callbacks>> {
    // SAFETY: a whole struct, whose size says no more than is there.
    unsafe { Callbacks::read(table) }
}

#[test]
fn a_reply_is_the_answer() {
    let data = Data { reply: b"/some/path".to_vec(), ..Data::default() };
    let callbacks = read(&table(&data)).unwrap();
    assert_eq!(callbacks.get_netns("{\"id\":\"a\"}").unwrap().unwrap(), "/some/path");
    assert_eq!(callbacks.find_plugin("{}").unwrap().unwrap(), b"/some/path");
    assert_eq!(*data.told.lock().unwrap(), ["{\"id\":\"a\"}", "{}"]);
    drop(callbacks);
    assert_eq!(*data.freed.lock().unwrap(), 1);
}

#[test]
fn a_reply_that_is_no_text_is_an_error_only_where_text_is_wanted() {
    let data = Data { reply: vec![0xff], ..Data::default() };
    let callbacks = read(&table(&data)).unwrap();
    let error = callbacks.get_netns("{}").unwrap().unwrap_err();
    assert_eq!(error.to_string(), "callback get_netns: the reply is not UTF-8");
    assert_eq!(callbacks.exec_plugin("{}").unwrap().unwrap(), [0xff]);
}

#[test]
fn failures_keep_the_hosts_words_and_class() {
    let object = r#"{"code":11,"msg":"busy","details":"later"}"#;
    let none = "netplugin failed with no error message: callback exec_plugin returned 4 (CNI_E_PLUGIN)";
    for (name, code, reply, class, message, cni_code) in [
        ("get_netns", 11, "gone", ErrorClass::Netns, "callback get_netns: gone", 999),
        ("get_netns", -5, "", ErrorClass::Io, "callback get_netns: returned -5 (CNI_E_UNKNOWN)", 999),
        ("get_netns", 9, object, ErrorClass::NotFound, "callback get_netns: busy; later", 11),
        ("find", 5, "", ErrorClass::PluginNotFound, "callback find_plugin: returned 5 (CNI_E_PLUGIN_NOT_FOUND)", 999),
        ("find", 77, " x\n", ErrorClass::Plugin, "callback find_plugin: x", 999),
        ("exec", 4, object, ErrorClass::Retry, "busy; later", 11),
        ("exec", 77, r#"{"code":7,"msg":"bad"}"#, ErrorClass::Plugin, "bad", 7),
        ("exec", 6, r#"{"msg":"slow"}"#, ErrorClass::Timeout, "slow", 999),
        ("exec", 4, "boom", ErrorClass::Plugin, "netplugin failed: callback exec_plugin: boom", 999),
        ("exec", 4, "[7]", ErrorClass::Plugin, "netplugin failed: callback exec_plugin: [7]", 999),
        ("exec", 4, "", ErrorClass::Plugin, none, 999),
    ] {
        let data = Data { code, reply: reply.into(), ..Data::default() };
        let callbacks = read(&table(&data)).unwrap();
        let error = match name {
            "get_netns" => callbacks.get_netns("{}").unwrap().unwrap_err(),
            "find" => callbacks.find_plugin("{}").unwrap().unwrap_err(),
            _ => callbacks.exec_plugin("{}").unwrap().unwrap_err(),
        };
        assert_eq!(
            (error.class(), error.to_string().as_str(), error.code()),
            (class, message, cni_code),
            "{name} {code}"
        );
        assert_eq!(error.cause().is_some(), reply.starts_with('{'), "{name} {code}");
    }
}

#[test]
fn members_beyond_the_callers_size_are_null() {
    let data = Data::default();
    let before_exec = std::mem::offset_of!(cni_callbacks, exec_plugin);
    let callbacks = read(&cni_callbacks { size: before_exec, ..table(&data) }).unwrap();
    assert!(callbacks.find_plugin("{}").is_some() && callbacks.exec_plugin("{}").is_none());
    drop(callbacks);
    assert_eq!(*data.freed.lock().unwrap(), 1);
    drop(read(&cni_callbacks { size: size_of::<usize>(), ..table(&data) }).unwrap());
    assert_eq!(*data.freed.lock().unwrap(), 1, "data_free is beyond the size");
}

#[test]
fn sizes_that_no_version_has_are_refused_and_free_nothing() {
    let data = Data::default();
    for size in [0, 1, size_of::<usize>() - 1, size_of::<usize>() + 1, MAX_SIZE + size_of::<usize>(), usize::MAX] {
        let error = read(&cni_callbacks { size, ..table(&data) }).err().unwrap();
        assert_eq!(error.class(), ErrorClass::InvalidArgument, "{size}");
    }
    assert_eq!(*data.freed.lock().unwrap(), 0);
}

#[test]
fn a_newer_struct_is_taken_only_while_its_new_members_are_null() {
    #[repr(C)]
    struct Newer {
        known: cni_callbacks,
        added: usize,
    }
    let data = Data::default();
    for (added, class) in [(0, None), (1, Some(ErrorClass::Unsupported))] {
        let newer = Newer { known: cni_callbacks { size: size_of::<Newer>(), ..table(&data) }, added };
        // SAFETY: the size is that of the whole struct.
        let read = unsafe { Callbacks::read((&raw const newer).cast()) };
        assert_eq!(read.err().map(|error| error.class()), class);
    }
    assert_eq!(*data.freed.lock().unwrap(), 2, "a refusal frees, too");
}

#[test]
fn a_reply_is_replaced_and_bounded() {
    let mut reply = cni_reply { bytes: b"old".to_vec() };
    let mut set = |bytes: *const c_char, len| {
        // SAFETY: a reply of this test's; lengths beyond the bytes are refused before they are read.
        let rc = unsafe { cni_reply_set(&raw mut reply, bytes, len) };
        (rc, reply.bytes.clone())
    };
    let text = c"new text".as_ptr();
    assert_eq!(set(ptr::null(), 1), (cni_rc::CNI_E_INVALID_ARGUMENT, b"old".to_vec()));
    assert_eq!(set(text, usize::MAX), (cni_rc::CNI_E_INVALID_ARGUMENT, b"old".to_vec()));
    assert_eq!(set(text, MAX_REPLY + 1), (cni_rc::CNI_E_INVALID_ARGUMENT, b"old".to_vec()));
    assert_eq!(set(text, 3), (cni_rc::CNI_OK, b"new".to_vec()));
    assert_eq!(set(ptr::null(), 0), (cni_rc::CNI_OK, Vec::new()));
    // SAFETY: NULL is looked for first.
    assert_eq!(unsafe { cni_reply_set(ptr::null_mut(), text, 3) }, cni_rc::CNI_E_INVALID_ARGUMENT);
}

#[test]
fn log_lines_carry_level_target_message_and_fields_and_never_recur() {
    let data = Data::default();
    let callbacks = read(&table(&data)).unwrap();
    let log = callbacks.log();
    tracing::dispatcher::with_default(&log, || {
        tracing::warn!(target: "cnirt::test", file = %"a.conf", count = 3, ok = true, "skipped {}", "it");
        tracing::trace!(target: "cnirt::test", text = "a\0b");
        callbacks.id().call_back(|| tracing::error!("from within another callback"));
    });
    assert_eq!(
        *data.told.lock().unwrap(),
        [r#"2 cnirt::test skipped it {"count":3,"file":"a.conf","ok":true}"#, r#"5 cnirt::test  {"text":"a\u0000b"}"#,]
    );
    drop(callbacks);
    assert_eq!(*data.freed.lock().unwrap(), 1, "where to log is still known");
    tracing::dispatcher::with_default(&log, || tracing::error!("after the end"));
    assert_eq!(data.told.lock().unwrap().len(), 2);
}
