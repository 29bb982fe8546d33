//! How the C library's allocator keeps what the agent frees: as little as can be. Nodes at the edge are small, and an
//! agent that is done with a pass over ten thousand objects should look like it.

/// Call it first, before any thread.
///
/// One arena, because each thread's own would keep what its busiest moment took; and large blocks, which the spool
/// and the compressors take for a moment, are maps of their own that go back at once. Left to itself, glibc raises
/// the size from which they do with every block that is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "mallopt sets numbers of the allocator, before any thread")]
pub fn keep_little() {
    const LARGE_BYTES: libc::c_int = 128 * 1024;
    // SAFETY: no other thread runs yet, and the values are within what mallopt(3) takes.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_little() {}
