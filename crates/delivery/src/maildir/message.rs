//! One message file in a Maildir: its unique name, and its bytes with lines that end in LF, as Unix readers expect.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use mail::Timestamp;

use crate::content::Content;

/// Makes names that no other delivery makes: time, process, a number drawn at start, and a counter.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    instance: u64,
    count: AtomicU64,
}

impl Names {
    pub(super) fn new(host: &str, instance: u64) -> Self {
        // A slash would be a folder, and a colon parts the flags off.
        Self { host: host.replace('/', "\\057").replace(':', "\\072"), instance, count: AtomicU64::new(0) }
    }

    /// `seconds.M<microseconds>P<process>R<instance>Q<count>.<host>`.
    pub(super) fn next(&self, now: Timestamp) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let (seconds, micros) = (now.seconds(), now.0 % 1000 * 1000);
        let process = std::process::id();
        format!("{seconds}.M{micros}P{process}R{:x}Q{count}.{}", self.instance, self.host)
    }
}

/// Writes the message; gives the octets on disk. Does not sync.
pub(super) fn write(file: &File, content: &Content) -> io::Result<u64> {
    let mut writer = LfWriter { file, buffer: Vec::with_capacity(16 * 1024), held_cr: false, written: 0 };
    for part in content.parts() {
        writer.push(part)?;
    }
    if let Some(tail) = content.tail() {
        let mut at = 0;
        while at < tail.len() {
            let block = tail.read(at)?;
            at += block.len() as u64;
            writer.push(&block)?;
        }
    }
    writer.finish()
}

/// Turns CRLF into LF; a CR that stands alone stays.
struct LfWriter<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// The last part ended in a CR that may belong to an LF.
    held_cr: bool,
    written: u64,
}

const FLUSH_BYTES: usize = 128 * 1024;

impl LfWriter<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.held_cr) && bytes.first() != Some(&b'\n') {
            self.buffer.push(b'\r');
        }
        while let Some(at) = memchr::memchr(b'\r', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.buffer.extend_from_slice(line);
            bytes = rest.get(1..).unwrap_or_default();
            match bytes.first() {
                Some(b'\n') => {}
                Some(_) => self.buffer.push(b'\r'),
                None => self.held_cr = true,
            }
            self.flush_when(FLUSH_BYTES)?;
        }
        self.buffer.extend_from_slice(bytes);
        self.flush_when(FLUSH_BYTES)
    }

    fn flush_when(&mut self, full: usize) -> io::Result<()> {
        if self.buffer.len() >= full {
            self.file.write_all(&self.buffer)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        if self.held_cr {
            self.buffer.push(b'\r');
        }
        self.flush_when(1)?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Source, Top};
    use bytes::Bytes;
    use std::io::{Read, Seek};

    fn written(text: &str, chunk: usize) -> String {
        let chunks = text.as_bytes().chunks(chunk).map(Bytes::copy_from_slice).collect();
        let source = Source::open(&store::StoredBody::Memory(chunks)).unwrap();
        let top = Top { return_path: None, delivered_to: None, header_lines: b"" };
        let content = source.assemble(&crate::testing::record(&["a@b.test"]), &top);
        let mut file = tempfile::tempfile().unwrap();
        let size = write(&file, &content).unwrap();
        let mut back = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut back).unwrap();
        assert_eq!(size, back.len() as u64);
        back
    }

    #[test]
    fn lines_end_in_lf_wherever_the_chunks_part() {
        let text = "A: b\r\n\r\none\rtwo\r\r\nthree\r\n\r";
        for chunk in 1..text.len() {
            assert_eq!(written(text, chunk), "A: b\n\none\rtwo\r\nthree\n\r", "chunks of {chunk}");
        }
    }

    #[test]
    fn long_messages_are_written_in_blocks() {
        let text = format!("A: b\r\n\r\n{}", "0123456789\r\n".repeat(50_000));
        assert_eq!(written(&text, 4096), text.replace("\r\n", "\n"));
    }

    #[test]
    fn names_are_unique_and_plain() {
        let names = Names::new("a/b:c", 0xbeef);
        let (one, two) = (names.next(Timestamp(1_795_309_323_004)), names.next(Timestamp(1_795_309_323_004)));
        assert_ne!(one, two);
        assert!(one.starts_with("1795309323.M4000P") && one.ends_with("RbeefQ0.a\\057b\\072c"), "{one}");
    }
}
