//! What a file is, by the end of its name and by its first octets. Pure.

use memchr::memmem;

/// Ends of names that systems run, mount, or act on when the file is opened.
const EXECUTABLE: [&str; 67] = [
    "ade",
    "adp",
    "apk",
    "app",
    "appinstaller",
    "application",
    "appx",
    "appxbundle",
    "bat",
    "chm",
    "cmd",
    "com",
    "cpl",
    "deb",
    "diagcab",
    "dll",
    "dmg",
    "exe",
    "gadget",
    "hta",
    "img",
    "inf",
    "ins",
    "iso",
    "isp",
    "jar",
    "jnlp",
    "js",
    "jse",
    "lnk",
    "mde",
    "msc",
    "msh",
    "msi",
    "msix",
    "msp",
    "mst",
    "ocx",
    "pif",
    "pkg",
    "ps1",
    "ps2",
    "psc1",
    "psm1",
    "reg",
    "rpm",
    "scf",
    "scr",
    "sct",
    "settingcontent-ms",
    "shb",
    "sys",
    "url",
    "vb",
    "vbe",
    "vbs",
    "vbscript",
    "vhd",
    "vhdx",
    "vxd",
    "website",
    "wsc",
    "wsf",
    "wsh",
    "xbap",
    "xll",
    "xpi",
];

/// Ends of names that people open without a thought.
const HARMLESS: [&str; 33] = [
    "avi", "bmp", "csv", "doc", "docx", "eml", "gif", "htm", "html", "ics", "jpeg", "jpg", "mov", "mp3",
    "mp4", "odp", "ods", "odt", "pdf", "png", "ppt", "pptx", "rtf", "tif", "tiff", "txt", "vcf", "wav",
    "webp", "xls", "xlsx", "xml", "zip",
];

/// Media types of programs.
const EXECUTABLE_MEDIA: [&str; 10] = [
    "application/bat",
    "application/hta",
    "application/java-archive",
    "application/vnd.microsoft.portable-executable",
    "application/x-dosexec",
    "application/x-executable",
    "application/x-ms-shortcut",
    "application/x-msdos-program",
    "application/x-msdownload",
    "application/x-msi",
];

/// Ends of names of documents with macros in them.
const MACROS: [&str; 12] =
    ["docm", "dotm", "potm", "ppam", "ppsm", "pptm", "sldm", "xla", "xlam", "xlsb", "xlsm", "xltm"];

/// What the first octets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Magic {
    /// Something that runs.
    Executable,
    Zip,
    Gzip,
    Tar,
    /// The container of older office documents and of installers.
    Ole,
    /// An archive that is not looked into.
    Opaque,
}

/// How many octets [`magic`] wants to see.
pub(super) const MAGIC_BYTES: usize = 512;
const TAR_AT: usize = 257;

pub(super) fn magic(octets: &[u8]) -> Option<Magic> {
    let starts: [(&[u8], Magic); 17] = [
        (b"MZ", Magic::Executable),
        (b"\x7fELF", Magic::Executable),
        (b"\xfe\xed\xfa\xce", Magic::Executable),
        (b"\xfe\xed\xfa\xcf", Magic::Executable),
        (b"\xce\xfa\xed\xfe", Magic::Executable),
        (b"\xcf\xfa\xed\xfe", Magic::Executable),
        // A shortcut, by its length and class.
        (b"L\0\0\0\x01\x14\x02\0", Magic::Executable),
        (b"PK\x03\x04", Magic::Zip),
        (b"PK\x05\x06", Magic::Zip),
        (b"PK\x07\x08", Magic::Zip),
        (b"\x1f\x8b\x08", Magic::Gzip),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Magic::Ole),
        (b"7z\xbc\xaf\x27\x1c", Magic::Opaque),
        (b"Rar!\x1a\x07", Magic::Opaque),
        (b"BZh", Magic::Opaque),
        (b"\xfd7zXZ\0", Magic::Opaque),
        (b"MSCF\0\0\0\0", Magic::Opaque),
    ];
    if let Some((start, magic)) = starts.into_iter().find(|(start, _)| octets.starts_with(start)) {
        // Two letters begin texts too: a program has the mark of its header where its own start says.
        return (start != b"MZ" || is_program(octets)).then_some(magic);
    }
    let tar = octets.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar"));
    tar.then_some(Magic::Tar)
}

/// The header of DOS programs holds numbers, and so octets that no text has.
fn is_program(octets: &[u8]) -> bool {
    octets.iter().take(64).any(|octet| *octet == 0)
}

/// A name as it is compared: in lower case, without what systems do not see at its end.
pub(super) fn compared(name: &str) -> String {
    let seen: String = name.chars().filter(|c| !is_turning(*c) && !c.is_control()).collect();
    let last = seen.rsplit(['/', '\\']).next().unwrap_or(&seen);
    last.trim_end_matches(['.', ' ', '\u{a0}', '"', '\'']).to_lowercase()
}

/// The end of a compared name, without its dot.
pub(super) fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

pub(super) fn is_executable(ending: &str) -> bool {
    EXECUTABLE.binary_search(&ending).is_ok()
}

pub(super) fn is_executable_media(media: &str) -> bool {
    EXECUTABLE_MEDIA.contains(&media)
}

pub(super) fn has_macros_by_name(ending: &str) -> bool {
    MACROS.contains(&ending)
}

/// `invoice.pdf.exe`, `photo.jpg      .scr`.
pub(super) fn is_double(name: &str) -> bool {
    let Some((before, last)) = name.rsplit_once('.') else { return false };
    is_executable(last) && HARMLESS.binary_search(&ending(before.trim_end())).is_ok()
}

/// Marks that turn the direction of writing: `exe.fdp` is shown for `pdf.exe`.
pub(super) fn is_turning(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Names of streams in OLE containers, which are in UTF-16.
fn has_stream(octets: &[u8], name: &str) -> bool {
    let wanted: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    memmem::find(octets, &wanted).is_some()
}

pub(super) fn ole_has_macros(octets: &[u8]) -> bool {
    has_stream(octets, "_VBA_PROJECT")
}

pub(super) fn ole_is_encrypted(octets: &[u8]) -> bool {
    has_stream(octets, "EncryptedPackage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_their_ends() {
        assert!(EXECUTABLE.is_sorted() && HARMLESS.is_sorted());
        assert_eq!(compared("C:\\x\\Invoice.PDF.Exe. "), "invoice.pdf.exe");
        assert!(is_double("invoice.pdf.exe") && is_double("photo.jpg      .scr"));
        assert!(!is_double("setup.exe") && !is_double("a.b.exe") && !is_double("invoice.exe.pdf"));
        assert_eq!(compared("a\u{202e}fdp.exe"), "afdp.exe");
    }

    #[test]
    fn first_octets_tell_what_a_file_is() {
        assert_eq!(magic(b"MZ\x90\0\x03"), Some(Magic::Executable));
        assert_eq!(magic(b"MZ is no program, but a text about programs that begins so strangely"), None);
        assert_eq!(magic(b"\x7fELF"), Some(Magic::Executable));
        assert_eq!(magic(&[&[b'x'; TAR_AT][..], b"ustar\0"].concat()), Some(Magic::Tar));
        assert_eq!(magic(b""), None);
    }
}
