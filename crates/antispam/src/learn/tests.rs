//! What the classifier learns, forgets and survives, with a small made-up correspondence.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::feature::{BITS, Features, Group};
use super::filter::{fitted, load};
use super::model::Expert;
use super::samples::{Added, Samples};
use super::tokens::{Read, features, read};
use super::*;

const GOOD: [&str; 12] = [
    "meeting", "report", "patch", "review", "lunch", "project", "thanks", "tomorrow", "branch", "minutes",
    "budget", "train",
];
const BAD: [&str; 12] = [
    "casino",
    "lottery",
    "winner",
    "pills",
    "cheap",
    "refinance",
    "guarantee",
    "offer",
    "click",
    "million",
    "free",
    "urgent",
];
const BOTH: [&str; 8] = ["the", "a", "of", "please", "you", "and", "we", "is"];

/// A letter of one class: words of its own, words of both, and now and then one of the other's.
pub(crate) fn letter(class: Class, number: usize) -> String {
    let (own, other) = if class == Class::Spam { (&BAD, &GOOD) } else { (&GOOD, &BAD) };
    let mut state = number.wrapping_mul(0x9e37_79b9).wrapping_add(class as usize);
    let mut pick = |words: &'static [&'static str]| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words[(state >> 33) % words.len()]
    };
    let mut words = Vec::new();
    for place in 0..40 {
        words.push(if place % 13 == 12 {
            pick(other)
        } else if place % 2 == 0 {
            pick(own)
        } else {
            pick(&BOTH)
        });
    }
    let (day, month) = (number % 28 + 1, ["Jan", "Feb", "Mar", "Apr"][number / 28 % 4]);
    format!(
        "From: someone{} <p{}@{}.test>\nTo: joe@example.test\nSubject: {} {}\nDate: {day} {month} 2026 10:00:00 +0000\n\
         Message-ID: <{number}@x.test>\n\n{} number{number}.\n",
        number % 7,
        number % 11,
        number % 5,
        words[0],
        words[2],
        words.join(" ")
    )
}

fn reads(class: Class, numbers: std::ops::Range<usize>) -> Vec<Read> {
    numbers.map(|number| read(letter(class, number).as_bytes())).collect()
}

/// A filter that has learnt so many of each class.
pub(crate) fn filled(folder: &Path, each: usize) -> Filter {
    let mut filter = Filter::open(folder, false).unwrap();
    for class in [Class::Ham, Class::Spam] {
        filter.learn(reads(class, 0..each), class, SAMPLES_MAX).unwrap();
    }
    filter
}

#[test]
fn it_learns_and_knows_unseen_letters() {
    let folder = tempfile::tempdir().unwrap();
    let model = filled(folder.path(), 250).fit().unwrap().unwrap();
    assert_eq!(load(folder.path()).unwrap().as_ref(), Some(&model), "as it was written");
    for number in 5000..5100 {
        let spam = model.judge(&features(letter(Class::Spam, number).as_bytes()));
        let ham = model.judge(&features(letter(Class::Ham, number).as_bytes()));
        assert!(spam.score > 0.9 && spam.verdict != Verdict::Ham, "{number}: {spam:?}");
        assert!(ham.score < 0.1 && ham.verdict != Verdict::Spam, "{number}: {ham:?}");
    }
    let strange =
        model.judge(&features("Subject: Привет\n\nСовсем другие слова, которых никто не учил.\n".as_bytes()));
    assert_eq!(strange.verdict, Verdict::Unsure, "nothing of it is known: {strange:?}");
    assert_eq!(model.judge(&features(b"")).verdict, Verdict::Unsure);
}

#[test]
fn there_is_no_model_before_200_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut filter = filled(folder.path(), 199);
    assert!(!filter.is_stale() && filter.fit().unwrap().is_none() && load(folder.path()).unwrap().is_none());
    filter.learn(reads(Class::Ham, 199..260), Class::Ham, SAMPLES_MAX).unwrap();
    assert!(filter.fit().unwrap().is_none(), "199 of spam are too few");
    filter.learn(reads(Class::Spam, 199..200), Class::Spam, SAMPLES_MAX).unwrap();
    assert!(filter.is_stale() && filter.fit().unwrap().is_some());
    // Forgotten again: it is silent again.
    filter.forget(&reads(Class::Spam, 0..1)).unwrap();
    assert!(filter.is_stale() && filter.fit().unwrap().is_none() && load(folder.path()).unwrap().is_none());
}

#[test]
fn what_is_forgotten_leaves_no_trace_and_the_order_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let mut filter = filled(folder.path(), 220);
    let before = filter.fit().unwrap().unwrap();
    // Learnt twice is learnt once, whatever a mailbox has added.
    let marked = format!("X-Status: A\nX-Keywords: junk\n{}", letter(Class::Spam, 3).replace('\n', "\r\n"));
    let learnt = filter.learn([read(marked.as_bytes())], Class::Spam, SAMPLES_MAX).unwrap();
    assert_eq!((learnt.new, learnt.known), (0, 1));
    // More, a change of mind, and all of it back.
    filter.learn(reads(Class::Spam, 300..310), Class::Spam, SAMPLES_MAX).unwrap();
    let changed = filter.learn(reads(Class::Ham, 0..2), Class::Spam, SAMPLES_MAX).unwrap();
    assert_eq!((changed.new, changed.changed), (0, 2));
    assert_ne!(fitted(filter.samples()).unwrap(), before);
    filter.learn(reads(Class::Ham, 0..2), Class::Ham, SAMPLES_MAX).unwrap();
    assert_eq!(filter.forget(&reads(Class::Spam, 300..312)).unwrap(), 10);
    assert_eq!(filter.fit().unwrap().unwrap(), before, "bit by bit");
    assert!(!filter.is_stale());

    let other = tempfile::tempdir().unwrap();
    let mut backwards = Filter::open(other.path(), false).unwrap();
    for number in (0..220).rev() {
        for class in [Class::Spam, Class::Ham] {
            backwards.learn([read(letter(class, number).as_bytes())], class, SAMPLES_MAX).unwrap();
        }
    }
    assert_eq!(backwards.fit().unwrap().unwrap(), before);
    // Exported and imported it is the same.
    let third = tempfile::tempdir().unwrap();
    let mut imported = Filter::open(third.path(), false).unwrap();
    assert_eq!(imported.import(&backwards.export(), SAMPLES_MAX).unwrap().0, 440);
    assert_eq!(imported.fit().unwrap().unwrap(), before);
    for (wrong, why) in [
        (&b"staffetta bayes samples 1\n"[..], "learnt by another version"),
        (b"\x7fELF and more than the first line has", "not what an export gives"),
    ] {
        let error = imported.import(wrong, SAMPLES_MAX).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_oldest_of_the_larger_class_give_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut filter = Filter::open(folder.path(), false).unwrap();
    filter.learn(reads(Class::Ham, 0..10), Class::Ham, SAMPLES_MAX).unwrap();
    let learnt = filter.learn(reads(Class::Spam, 0..4), Class::Spam, 12).unwrap();
    let counts = filter.samples().counts();
    assert_eq!((learnt.forgotten, counts.ham, counts.spam), (2, 8, 4));
    let digest = |number| read(letter(Class::Ham, number).as_bytes()).digest;
    assert_eq!(filter.samples().class(&digest(1)), None);
    assert_eq!(filter.samples().class(&digest(2)), Some(Class::Ham));
}

#[test]
fn one_program_at_a_time_learns() {
    let folder = tempfile::tempdir().unwrap();
    let first = Filter::open(folder.path(), false).unwrap();
    assert!(matches!(Filter::open(folder.path(), false), Err(LearnError::Busy(_))));
    drop(first);
    assert!(Filter::open(folder.path(), false).is_ok());
}

/// Whatever is cut off or changed: what is whole stays, the rest is counted, and learning goes on.
#[test]
fn a_torn_or_damaged_file_loses_only_what_was_hit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples");
    drop(filled(folder.path(), 5));
    let whole = fs::read(&path).unwrap();
    for cut in [0, 5, whole.len() - 1, whole.len() - 30, whole.len() / 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut samples = Samples::open(&path).unwrap();
        let left = samples.counts().all();
        assert!(left < 10);
        assert_eq!(samples.add(read(b"Subject: after\n\nthe crash\n"), Class::Ham), Added::New);
        samples.save().unwrap();
        let again = Samples::open(&path).unwrap();
        assert_eq!((again.counts().all(), again.damage().torn_bytes), (left + 1, 0), "cut at {cut}");
    }
    let mut hit = whole.clone();
    let middle = whole.len() / 2;
    hit[middle] ^= 0x10;
    fs::write(&path, &hit).unwrap();
    let samples = Samples::open(&path).unwrap();
    assert!(samples.counts().all() >= 4 && samples.counts().all() < 10, "{:?}", samples.counts());
    assert!(samples.damage().records + samples.damage().torn_bytes > 0);
    fs::write(&path, b"something else entirely").unwrap();
    assert!(Samples::open(&path).is_err(), "another's file is not written over");
}

#[test]
fn the_file_is_written_anew_when_most_of_it_is_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples");
    let mut samples = Samples::open(&path).unwrap();
    let long: String = (0..3000).map(|word| format!("word{word} ")).collect();
    for round in 0..200 {
        let class = if round % 2 == 0 { Class::Ham } else { Class::Spam };
        samples.add(read(format!("Subject: x\n\n{long}").as_bytes()), class);
        samples.save().unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < 3 << 20, "{}", fs::metadata(&path).unwrap().len());
    assert_eq!(Samples::open(&path).unwrap().counts().all(), 1);
}

#[test]
fn samples_of_another_version_are_told_apart_from_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples");
    for (content, told) in
        [("staffetta bayes samples 1\n", "learn again"), ("From: a@b.test\n", "not a file")]
    {
        fs::write(&path, content).unwrap();
        assert!(Samples::open(&path).is_err_and(|error| error.to_string().contains(told)), "{content}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "it is left as it was");
    }
}

#[test]
fn a_damaged_model_is_an_error_wherever_it_is_hit() {
    let folder = tempfile::tempdir().unwrap();
    let model = filled(folder.path(), 200).fit().unwrap().unwrap();
    let bytes = model.to_bytes();
    for at in (0..bytes.len()).step_by(997) {
        let mut hit = bytes.clone();
        hit[at] ^= 1;
        assert!(Model::from_bytes(&hit).is_none(), "octet {at}");
        assert!(Model::from_bytes(&bytes[..at]).is_none(), "cut at {at}");
    }
    let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("model")).unwrap();
    file.write_all(b"x").unwrap();
    assert!(matches!(load(folder.path()), Err(LearnError::Damaged(_))));
}

/// A million features that are all in use, each in two messages, take far less than a hundred megabytes.
#[test]
fn a_million_features_are_small_on_disk() {
    const EACH: u32 = 1000;
    const MESSAGES: u32 = 2000;
    let mut samples = Samples::open(Path::new("")).unwrap();
    let mut all: Vec<u32> = Vec::new();
    for number in 0..MESSAGES {
        // Spread over all numbers, and the same for two that follow each other.
        let ids: Vec<u32> =
            (0..EACH).map(|n| ((number / 2) * EACH + n).wrapping_mul(0x9e37_79b1) >> (32 - BITS)).collect();
        all.extend(&ids);
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        let mut groups: [Vec<u32>; Group::COUNT] = Default::default();
        groups[0] = ids;
        let class = if number % 4 < 2 { Class::Ham } else { Class::Spam };
        samples.add(Read { digest, seconds: 1, features: Features::new(groups) }, class);
    }
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 980_000, "a few share a number: {}", all.len());
    let model = fitted(&samples).unwrap();
    let known: usize = model.experts.all.iter().map(Expert::len).sum();
    assert_eq!(known, all.len());
    let bytes = samples.to_bytes().len() + model.to_bytes().len();
    assert!(bytes < 20_000_000, "{bytes}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Octets of anybody's make features and no trouble; the same octets the same.
    #[test]
    fn any_octets_can_be_read(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(read(&octets), read(&octets));
        let mut file = b"staffetta bayes samples 2\n".to_vec();
        file.extend_from_slice(&octets);
        let mut samples = Samples::open(Path::new("")).unwrap();
        let _ = samples.import(&file);
        let _ = Model::from_bytes(&octets);
    }
}
