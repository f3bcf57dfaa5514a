//! What tool chains import beside the ABI: AssemblyScript's `abort`, Emscripten's pair.

use super::{Call, Outcome};
use crate::wasm::abi::LogLevel;
use crate::wasm::fault::Stop;
use crate::wasm::hostcalls::log;
use crate::wasm::memory::{load_u32, slice, view};

/// The longest text of AssemblyScript that is read, in bytes.
const MAX_TEXT_LEN: u32 = 4096;

/// `abort` (AssemblyScript): logs message, file, line and column as critical, and stops the guest: a fault.
pub(crate) fn abort(call: &mut Call<'_>, message: u32, file: u32, line: u32, column: u32) -> Outcome {
    let text = match view(call) {
        Ok((memory, host)) => {
            let message = script_text(memory, message).unwrap_or_else(|| "no message".to_owned());
            let file = script_text(memory, file).unwrap_or_else(|| "unknown file".to_owned());
            let text = format!("{message} in {file}({line}:{column})");
            log::write_line(host, LogLevel::Critical, format!("abort: {text}").as_bytes());
            text
        }
        Err(_) => "no message".to_owned(),
    };
    Err(Stop::Abort(text).into())
}

/// A string of AssemblyScript: UTF-16, its length in bytes in the four bytes before it.
fn script_text(memory: &[u8], pointer: u32) -> Option<String> {
    let len = load_u32(memory, pointer.checked_sub(4)?).ok()?.min(MAX_TEXT_LEN);
    let bytes = slice(memory, pointer, len).ok()?;
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    Some(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// `pthread_equal` (Emscripten): answers 1 if two threads are the same, else 0.
pub(crate) fn pthread_equal(_: &mut Call<'_>, one: u32, other: u32) -> wasmtime::Result<u32> {
    Ok(u32::from(one == other))
}

/// `emscripten_notify_memory_growth` (Emscripten): does nothing: nothing here keeps pointers into a guest's memory.
pub(crate) fn notify_memory_growth(_: &mut Call<'_>, _memory: u32) -> Outcome {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::script_text;

    #[test]
    fn a_text_of_assemblyscript_is_read_up_to_its_length() {
        let mut memory = vec![0; 4];
        memory.extend(6u32.to_le_bytes());
        memory.extend("añ!x".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(script_text(&memory, 8).as_deref(), Some("añ!"));
        assert_eq!(script_text(&memory, 0), None);
        assert_eq!(script_text(&memory, 4000), None);
    }
}
