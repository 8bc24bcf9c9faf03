//! The bytes of segment headers and frames, as `docs/queue-states.md` defines them. Pure: no files here.
//!
//! Decoding answers with `None` for whatever is not exactly a header or frame of the segment in question: a
//! wrong checksum, an earlier life of the file and noise are all the same to the reader, which then looks
//! elsewhere.

use bytes::Bytes;

/// A segment's writes after a sync begin at a multiple of this; its header fills the first.
pub(super) const BLOCK_BYTES: u32 = 4096;
/// What stands before a payload.
pub(super) const FRAME_HEADER_BYTES: u32 = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: u32 = 8;
/// The version of the format that this program writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The kind of the journal's own closing mark.
pub(super) const CLOSING_MARK: u8 = 0;

const MAGIC: [u8; 8] = *b"STAFJRNL";
const SEAL_UNKNOWN: u32 = u32::MAX;

/// Which life of which segment file a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// The segment's generation.
    pub(super) generation: u64,
    /// The random number of this life of the file.
    pub(super) mark: u32,
}

/// The first block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Of the segment.
    pub(super) life: Life,
    /// The segment before it; 0 for none.
    pub(super) previous: u64,
    /// How many frames of the segment before are valid; `None` when the process that wrote it did not say.
    pub(super) seal: Option<u32>,
    /// Size of the file.
    pub(super) bytes: u32,
}

/// What a header block turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadHeader {
    /// A good one of our version.
    Good(SegmentHeader),
    /// A good one of another version.
    Version(u32),
    /// Not a header of this generation.
    Damaged,
}

impl SegmentHeader {
    /// The whole block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK_BYTES as usize);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        let mut rest = Vec::with_capacity(48);
        rest.extend_from_slice(&self.life.generation.to_le_bytes());
        rest.extend_from_slice(&self.previous.to_le_bytes());
        rest.extend_from_slice(&self.seal.unwrap_or(SEAL_UNKNOWN).to_le_bytes());
        rest.extend_from_slice(&self.life.mark.to_le_bytes());
        rest.extend_from_slice(&self.bytes.to_le_bytes());
        rest.resize(48, 0);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&block), &rest);
        block.extend_from_slice(&sum.to_le_bytes());
        block.extend_from_slice(&rest);
        block.resize(BLOCK_BYTES as usize, 0);
        block
    }

    /// Reads the header of the segment whose file name says `generation`.
    pub(super) fn decode(block: &[u8], generation: u64) -> ReadHeader {
        let Some((front, after)) = block.split_at_checked(12) else { return ReadHeader::Damaged };
        let Some(rest) = after.get(4..52) else { return ReadHeader::Damaged };
        let sum = crc32c::crc32c_append(crc32c::crc32c(front), rest);
        if !front.starts_with(&MAGIC) || u32_at(after, 0) != Some(sum) {
            return ReadHeader::Damaged;
        }
        match u32_at(front, 8) {
            Some(FORMAT_VERSION) => {}
            Some(other) => return ReadHeader::Version(other),
            None => return ReadHeader::Damaged,
        }
        match Self::fields(rest) {
            Some(header) if header.life.generation == generation => ReadHeader::Good(header),
            _ => ReadHeader::Damaged,
        }
    }

    fn fields(rest: &[u8]) -> Option<Self> {
        let seal = u32_at(rest, 16)?;
        Some(Self {
            life: Life { generation: u64_at(rest, 0)?, mark: u32_at(rest, 20)? },
            previous: u64_at(rest, 8)?,
            seal: (seal != SEAL_UNKNOWN).then_some(seal),
            bytes: u32_at(rest, 24)?,
        })
    }
}

/// What stands before a payload, without its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Of the segment.
    pub(super) life: Life,
    /// Number of the frame in its segment, from 0.
    pub(super) sequence: u32,
    /// Octets of the payload.
    pub(super) length: u32,
    /// How many frames of the segment had been synced.
    pub(super) durable: u32,
    /// What the payload is.
    pub(super) kind: u8,
}

impl FrameHeader {
    /// The header's octets for a frame at `offset` with this payload.
    pub(super) fn encode(&self, offset: u32, payload: &[Bytes]) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mark = self.life.mark.to_le_bytes();
        let [g0, g1, g2, g3, g4, g5, g6, g7] = self.life.generation.to_le_bytes();
        let [s0, s1, s2, s3] = self.sequence.to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [d0, d1, d2, d3] = self.durable.to_le_bytes();
        let rest = [
            g0, g1, g2, g3, g4, g5, g6, g7, s0, s1, s2, s3, l0, l1, l2, l3, d0, d1, d2, d3, self.kind, 0, 0,
            0,
        ];
        let begun = checksum_begun(offset, mark, &rest);
        let sum = payload.iter().fold(begun, |sum, slice| crc32c::crc32c_append(sum, slice));
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        for (to, from) in header.iter_mut().zip(mark.iter().chain(&sum.to_le_bytes()).chain(&rest)) {
            *to = *from;
        }
        header
    }

    /// Reads the header at the beginning of `bytes`. It is not to be trusted before
    /// [`FrameHeader::verifies`].
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            life: Life { generation: u64_at(bytes, 8)?, mark: u32_at(bytes, 0)? },
            sequence: u32_at(bytes, 16)?,
            length: u32_at(bytes, 20)?,
            durable: u32_at(bytes, 24)?,
            kind: *bytes.get(28)?,
        })
    }

    /// True when `frame` (header and payload) carries the right checksum for this offset.
    pub(super) fn verifies(frame: &[u8], offset: u32) -> bool {
        let Some((header, payload)) = frame.split_at_checked(FRAME_HEADER_BYTES as usize) else {
            return false;
        };
        let (Some(mark), Some(rest)) = (header.first_chunk(), header.last_chunk()) else { return false };
        let sum = crc32c::crc32c_append(checksum_begun(offset, *mark, rest), payload);
        u32_at(header, 4) == Some(sum)
    }
}

fn checksum_begun(offset: u32, mark: [u8; 4], rest: &[u8; 24]) -> u32 {
    let front = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &mark);
    crc32c::crc32c_append(front, rest)
}

/// Octets of a frame with a payload of this size, up to where the next may begin.
pub(super) fn frame_bytes(length: u32) -> Option<u32> {
    FRAME_HEADER_BYTES.checked_add(length)?.checked_next_multiple_of(ALIGNMENT)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life { generation: 7, mark: 0xfeed_beef };

    fn header() -> SegmentHeader {
        SegmentHeader { life: LIFE, previous: 6, seal: Some(12), bytes: 65536 }
    }

    fn frame(offset: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        let header = FrameHeader { life: LIFE, sequence: 3, length, durable: 2, kind: 9 };
        let mut frame = header.encode(offset, &[Bytes::copy_from_slice(payload)]).to_vec();
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn headers_read_back() {
        assert_eq!(SegmentHeader::decode(&header().encode(), 7), ReadHeader::Good(header()));
        let open = SegmentHeader { seal: None, ..header() };
        assert_eq!(SegmentHeader::decode(&open.encode(), 7), ReadHeader::Good(open));
    }

    #[test]
    fn the_octets_are_those_of_the_document() {
        let block = header().encode();
        assert_eq!(block.len(), 4096);
        assert_eq!(&block[..8], b"STAFJRNL");
        assert_eq!(&block[8..12], &[1, 0, 0, 0]);
        assert_eq!(
            &block[16..44],
            &[
                7, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0xef, 0xbe, 0xed, 0xfe, 0, 0, 1,
                0
            ]
        );
        let bytes = frame(4096, b"abc");
        assert_eq!(&bytes[..4], &[0xef, 0xbe, 0xed, 0xfe]);
        assert_eq!(&bytes[8..], b"\x07\0\0\0\0\0\0\0\x03\0\0\0\x03\0\0\0\x02\0\0\0\x09\0\0\0abc");
    }

    #[test]
    fn any_changed_octet_of_a_header_is_noticed() {
        let block = header().encode();
        for at in 0..64 {
            let mut changed = block.clone();
            changed[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&changed, 7), ReadHeader::Damaged, "octet {at}");
        }
        assert_eq!(SegmentHeader::decode(&block, 8), ReadHeader::Damaged, "another generation's name");
        assert_eq!(SegmentHeader::decode(&block[..40], 7), ReadHeader::Damaged, "cut short");
    }

    #[test]
    fn any_changed_octet_of_a_frame_is_noticed() {
        let good = frame(4096, b"a payload");
        assert!(FrameHeader::verifies(&good, 4096));
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(!FrameHeader::verifies(&changed, 4096), "octet {at}");
        }
    }

    #[test]
    fn a_frame_in_the_wrong_place_is_noticed() {
        assert!(!FrameHeader::verifies(&frame(4096, b"a payload"), 8192));
    }

    #[test]
    fn a_payload_in_slices_has_the_same_checksum() {
        let header = FrameHeader { life: LIFE, sequence: 0, length: 6, durable: 0, kind: 1 };
        let whole = header.encode(0, &[Bytes::from_static(b"abcdef")]);
        let parts = header.encode(0, &[Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cdef")]);
        assert_eq!(whole, parts);
        assert_eq!(FrameHeader::decode(&whole), Some(header));
    }

    #[test]
    fn frames_end_at_multiples_of_eight() {
        assert_eq!(frame_bytes(0), Some(32));
        assert_eq!(frame_bytes(1), Some(40));
        assert_eq!(frame_bytes(8), Some(40));
        assert_eq!(frame_bytes(u32::MAX), None);
    }
}
