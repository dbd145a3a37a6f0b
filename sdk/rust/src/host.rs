// SPDX-License-Identifier: Apache-2.0

use core::fmt::{self, Write};

use crate::layout;

#[link(wasm_import_module = "steelyard")]
extern "C" {
    #[link_name = "log"]
    fn host_log(level: u32, text: *const u8, size: u32);
    #[link_name = "abort"]
    fn host_abort(text: *const u8, size: u32) -> !;
    #[link_name = "random"]
    fn host_random() -> u64;
}

/// How much a line of the log matters.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Level {
    Debug = layout::LEVEL_DEBUG,
    Info = layout::LEVEL_INFO,
    Warn = layout::LEVEL_WARN,
    Error = layout::LEVEL_ERROR,
}

/// Writes a line of at most 512 bytes into the daemon's log; 16 lines of a call
/// are kept. `log(Level::Info, format_args!("{} backends", s.len()))` allocates
/// nothing, but brings 10 KB of formatting into the module; a text does not.
pub fn log(level: Level, text: fmt::Arguments) {
    match text.as_str() {
        Some(text) => unsafe { host_log(level as u32, text.as_ptr(), text.len() as u32) },
        None => {
            let line = Line::of(text);
            unsafe { host_log(level as u32, line.bytes.as_ptr(), line.size as u32) }
        }
    }
}

/// The next of a sequence that the snapshot seeds.
pub fn random() -> u64 {
    unsafe { host_random() }
}

pub(crate) fn error(text: &str) {
    unsafe { host_log(layout::LEVEL_ERROR, text.as_ptr(), text.len() as u32) }
}

/// A line is cut where it is full.
struct Line {
    bytes: [u8; 512],
    size: usize,
}

impl Line {
    fn of(text: fmt::Arguments) -> Line {
        let mut line = Line { bytes: [0; 512], size: 0 };
        let _ = line.write_fmt(text); // a line that is full is told as far as it goes
        line
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.bytes.len() - self.size;
        let take = s.len().min(room);
        self.bytes[self.size..self.size + take].copy_from_slice(&s.as_bytes()[..take]);
        self.size += take;
        if take < s.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// A panic ends the call, and the host tells its message.
#[cfg(all(target_arch = "wasm32", not(feature = "std")))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let line = Line::of(format_args!("{}", info));
    unsafe { host_abort(line.bytes.as_ptr(), line.size as u32) }
}
