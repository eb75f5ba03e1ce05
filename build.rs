//! Link arguments of the shared library, nothing else.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number is the ABI's, and equals the major version (0 until 1.0); a test reads it back from the library.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcnirt.so.0");
    // Thread-local destructors, the panic hook and helper threads would outlive a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
