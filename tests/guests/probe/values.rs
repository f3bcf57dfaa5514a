//! How values look to the host and in the log.

/// Bytes as the log and a script show them, with quotes around them.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text + "\""
}

/// Pairs as the ABI serialises them: how many, the lengths of all, then each name and value with a NUL behind it.
pub(crate) fn serialise(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let number = |length: usize| (length as u32).to_le_bytes();
    let mut bytes = number(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(part);
        bytes.push(0);
    }
    bytes
}

/// Serialised pairs as the log shows them; none if these are no pairs.
pub(crate) fn shown_pairs(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("{}".to_owned());
    }
    let number = |at: usize| {
        let found: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(found) as usize)
    };
    let count = number(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut part = |len: usize| {
        let found = bytes.get(at..at.checked_add(len)?)?;
        at += len + 1;
        Some(quoted(found))
    };
    let pairs: Option<Vec<String>> = (0..count)
        .map(|pair| Some(format!("{}: {}", part(number(4 + pair * 8)?)?, part(number(8 + pair * 8)?)?)))
        .collect();
    Some(format!("{{{}}}", pairs?.join(", ")))
}
