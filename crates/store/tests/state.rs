//! What every engine of the state store does alike. Each test runs against each engine; a new engine is one more line at
//! the end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use mail::Timestamp;
use store::state::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use store::{
    EmbeddedState, MemoryState, StateEntry, StateKey, StateSettings, StateStore, StoreError, Write, Written,
};

/// An engine, and what keeps its files.
struct Engine {
    store: Box<dyn StateStore>,
    _folder: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Engine {
    type Target = dyn StateStore;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

fn memory(settings: &StateSettings) -> Engine {
    Engine { store: Box::new(MemoryState::new(settings)), _folder: None }
}

fn embedded(settings: &StateSettings) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedState::open(folder.path(), settings.clone()).unwrap();
    Engine { store: Box::new(store), _folder: Some(folder) }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn key(name: &str) -> StateKey {
    StateKey::new("test", name)
}

fn one(store: &Engine, write: Write, now: Timestamp) -> Result<Written, StoreError> {
    store.write(vec![write], now).wait().unwrap().remove(0)
}

fn get(store: &Engine, key: StateKey, now: Timestamp) -> Option<StateEntry> {
    store.get(vec![key], now).wait().unwrap().remove(0).unwrap()
}

fn value(store: &Engine, name: &str, now: Timestamp) -> Option<String> {
    get(store, key(name), now).map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

fn names(entries: &[StateEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8(entry.key.rest().to_vec()).unwrap()).collect()
}

/// Time passes, and expired entries are removed.
fn sweep(store: &Engine, now: Timestamp) {
    for _ in 0..10 {
        assert_eq!(store.tend(now), []);
        // Answered after what was asked for before; a question about what is not there may be answered sooner.
        store.write(vec![], now).wait().unwrap();
    }
}

fn usage(store: &Engine, namespace: &str) -> u64 {
    let found = store.usage().into_iter().find(|(name, _)| name == namespace);
    found.map_or(0, |(_, usage)| usage.entries)
}

fn what_is_put_is_there_until_it_expires(store: &Engine) {
    assert_eq!(one(store, Write::put(key("a"), "1", 60), at(1_000)), Ok(Written::Applied));
    let entry = get(store, key("a"), at(1_059)).unwrap();
    assert_eq!((entry.key.rest(), &entry.value[..], entry.expires), (&b"a"[..], &b"1"[..], Some(at(1_060))));
    assert_eq!(get(store, key("a"), at(1_060)), None);
    one(store, Write::put(key("a"), "2", 60), at(1_050)).unwrap();
    assert_eq!(value(store, "a", at(1_100)).unwrap(), "2");
    assert_eq!(one(store, Write::delete(key("a")), at(1_100)), Ok(Written::Applied));
    assert_eq!(one(store, Write::delete(key("a")), at(1_100)), Ok(Written::Applied));
    assert_eq!(get(store, key("a"), at(1_100)), None);

    let forever = Write { ttl_seconds: None, ..Write::put(key("b"), "x", 0) };
    one(store, forever, at(1_000)).unwrap();
    assert_eq!(get(store, key("b"), at(u64::MAX / 2_000)).unwrap().expires, None);
}

fn only_the_first_put_if_absent_is_done(store: &Engine) {
    assert_eq!(one(store, Write::put_if_absent(key("a"), "1", 60), at(0)), Ok(Written::Applied));
    let there = get(store, key("a"), at(1));
    let again = one(store, Write::put_if_absent(key("a"), "2", 60), at(1));
    assert_eq!(again, Ok(Written::Refused(there)));
    // What has expired is absent, whether it was removed or not.
    assert_eq!(one(store, Write::put_if_absent(key("a"), "3", 60), at(60)), Ok(Written::Applied));
    assert_eq!(value(store, "a", at(61)).unwrap(), "3");
}

fn compare_and_set_changes_what_is_expected(store: &Engine) {
    let cas = |expected: Option<&'static str>, value: &'static str, now| {
        one(store, Write::compare_and_set(key("a"), expected.map(Into::into), value, 60), now)
    };
    assert_eq!(cas(Some("0"), "1", at(0)), Ok(Written::Refused(None)));
    assert_eq!(cas(None, "1", at(0)), Ok(Written::Applied));
    assert_eq!(cas(None, "2", at(1)), Ok(Written::Refused(get(store, key("a"), at(1)))));
    assert_eq!(cas(Some("1"), "2", at(30)), Ok(Written::Applied));
    assert_eq!(value(store, "a", at(89)).unwrap(), "2");
    assert_eq!(cas(Some("2"), "3", at(90)), Ok(Written::Refused(None)));
}

fn counters_add_up_in_any_order(store: &Engine) {
    let add = |name, delta, ttl, now| one(store, Write::add(key(name), delta, ttl), now);
    assert_eq!(add("a", 2, 60, at(0)), Ok(Written::Total(2)));
    assert_eq!(add("a", -5, 10, at(5)), Ok(Written::Total(-3)));
    let entry = get(store, key("a"), at(59)).unwrap();
    assert_eq!((entry.total(), entry.expires), (Some(-3), Some(at(60))));
    assert_eq!(add("a", 1, 60, at(60)), Ok(Written::Total(1)));
    assert_eq!(add("b", 2, 10, at(0)), Ok(Written::Total(2)));
    assert_eq!(add("b", i64::MAX, 60, at(1)), Ok(Written::Total(i64::MAX)));
    assert_eq!(get(store, key("b"), at(2)).unwrap().expires, Some(at(61)));

    one(store, Write::put(key("c"), "words", 60), at(0)).unwrap();
    assert!(matches!(add("c", 1, 60, at(1)), Err(StoreError::NotApplied(_))));
    assert_eq!(value(store, "c", at(1)).unwrap(), "words");
}

fn items_of_a_batch_stand_alone(store: &Engine) {
    let long = "k".repeat(KEY_BYTES_MAX);
    let results = store
        .write(
            vec![
                Write::put(key("a"), "1", 60),
                Write::put(key(&long), "1", 60),
                Write::put(key("b"), vec![0; VALUE_BYTES_MAX + 1], 60),
                Write::put(StateKey::new("", "x"), "1", 60),
                Write::put(StateKey::new("Name Space", "x"), "1", 60),
                Write::put_if_absent(key("a"), "2", 60),
                Write::add(key("n"), 1, 60),
                Write::add(key("n"), 1, 60),
                Write::put(key("c"), vec![0; VALUE_BYTES_MAX], 60),
            ],
            at(0),
        )
        .wait()
        .unwrap();
    let kinds: Vec<&str> = results
        .iter()
        .map(|result| match result {
            Ok(Written::Applied) => "applied",
            Ok(Written::Refused(_)) => "refused",
            Ok(Written::Total(_)) => "total",
            Err(StoreError::NotApplied(_)) => "not applied",
            Err(_) => "?",
        })
        .collect();
    let bad = "not applied";
    assert_eq!(kinds, ["applied", bad, bad, bad, bad, "refused", "total", "total", "applied"]);
    let found = store.get(vec![key("a"), key(&long), key("zz"), key("n")], at(1)).wait().unwrap();
    assert_eq!(found[0].as_ref().unwrap().as_ref().unwrap().value, "1");
    assert!(matches!(found[1], Err(StoreError::NotApplied(_))));
    assert_eq!(found[2], Ok(None));
    assert_eq!(found[3].as_ref().unwrap().as_ref().unwrap().total(), Some(2));
}

fn a_scan_goes_on_where_it_stopped(store: &Engine) {
    for n in 0..50 {
        let ttl = if n % 2 == 0 { 10 } else { 100 };
        one(store, Write::put(key(&format!("p{n:03}")), "x", ttl), at(0)).unwrap();
    }
    one(store, Write::put(key("q"), "x", 100), at(0)).unwrap();
    one(store, Write::put(StateKey::new("test-2", "p"), "x", 100), at(0)).unwrap();
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.scan(key("p"), after, 7, at(50)).wait().unwrap();
        assert!(page.entries.len() <= 7);
        found.extend(names(&page.entries));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..50).filter(|n| n % 2 == 1).map(|n| format!("p{n:03}")).collect();
    assert_eq!(found, expected);
    assert!(pages >= 4);
    let all = store.scan(key(""), None, 1_000, at(0)).wait().unwrap();
    assert_eq!((all.entries.len(), all.next), (51, None));
    assert!(store.scan(StateKey::new("", ""), None, 1, at(0)).wait().is_err());
}

fn what_has_expired_is_removed(store: &Engine) {
    for n in 0..300 {
        one(store, Write::put(key(&format!("{n}")), "x", 10 + n % 3), at(0)).unwrap();
    }
    assert_eq!(usage(store, "test"), 300);
    sweep(store, at(10));
    assert_eq!(usage(store, "test"), 200);
    // One that was given a longer life stays.
    one(store, Write::put(key("1"), "y", 100), at(10)).unwrap();
    sweep(store, at(12));
    assert_eq!(usage(store, "test"), 1);
    assert_eq!(value(store, "1", at(12)).unwrap(), "y");
}

fn a_flood_drives_out_nothing_that_lives_longer(store: &Engine) {
    let put = |name: &str, ttl, now| one(store, Write::put(key(name), "x", ttl), at(now));
    for n in 0..5 {
        put(&format!("good{n}"), 3_000_000, 0).unwrap();
    }
    one(store, Write::put(StateKey::new("other", "a"), "x", 10), at(0)).unwrap();
    for n in 0..500 {
        put(&format!("flood{n}"), 170_000, n).unwrap();
    }
    assert_eq!(usage(store, "test"), 20);
    let all = names(&store.scan(key(""), None, 100, at(1)).wait().unwrap().entries);
    let expected: Vec<String> =
        (485..500).map(|n| format!("flood{n}")).chain((0..5).map(|n| format!("good{n}"))).collect();
    assert_eq!(all, expected);
    // Nothing gives way to what lives less; but what is there may be changed.
    assert!(matches!(put("short", 10, 500), Err(StoreError::Full(_))));
    assert_eq!(put("good1", 3_000_000, 500), Ok(Written::Applied));
    assert_eq!(usage(store, "other"), 1);
}

fn octets_are_bounded_too(store: &Engine) {
    for n in 0..20_u32 {
        one(store, Write::put(key(&format!("{n:02}")), vec![0; 1_000], 100 + u64::from(n)), at(0)).unwrap();
    }
    let all = store.scan(key(""), None, 100, at(1)).wait().unwrap().entries;
    // 10,000 octets hold nine of these with their overhead.
    assert_eq!(names(&all), (11..20).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    // Growing makes room as well.
    one(store, Write::put(key("19"), vec![0; 3_000], 119), at(0)).unwrap();
    let all = store.scan(key(""), None, 100, at(1)).wait().unwrap().entries;
    assert_eq!(names(&all), (13..20).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

fn nothing_is_answered_after_closing(store: &Engine) {
    one(store, Write::put(key("a"), "1", 60), at(0)).unwrap();
    store.close().wait().unwrap();
    assert!(matches!(store.get(vec![key("a")], at(0)).wait(), Err(StoreError::NotApplied(_))));
    assert!(matches!(store.write(vec![], at(0)).wait(), Err(StoreError::NotApplied(_))));
    assert!(matches!(store.scan(key(""), None, 1, at(0)).wait(), Err(StoreError::NotApplied(_))));
    store.close().wait().unwrap();
}

/// The engine does what a plain map does, whatever is asked in whatever order.
fn it_is_a_map(store: &Engine) {
    let mut map: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for now in 0..2_000 {
        let name = format!("{}", random(40));
        let (ttl, octets) = (1 + random(100), vec![u8::try_from(random(256)).unwrap(); 3]);
        map.retain(|_, (_, expires)| *expires > now);
        match random(4) {
            0 => {
                one(store, Write::delete(key(&name)), at(now)).unwrap();
                map.remove(&name);
            }
            1 => {
                one(store, Write::put(key(&name), octets.clone(), ttl), at(now)).unwrap();
                map.insert(name, (octets, now + ttl));
            }
            2 => {
                one(store, Write::put_if_absent(key(&name), octets.clone(), ttl), at(now)).unwrap();
                map.entry(name).or_insert((octets, now + ttl));
            }
            _ => {
                let found = get(store, key(&name), at(now)).map(|entry| entry.value.to_vec());
                assert_eq!(found, map.get(&name).map(|(octets, _)| octets.clone()), "{name} at {now}");
            }
        }
        if now % 100 == 99 {
            assert_eq!(store.tend(at(now)), []);
            let page = store.scan(key(""), None, 100, at(now)).wait().unwrap();
            let expected: Vec<String> =
                map.iter().filter(|(_, (_, expires))| *expires > now).map(|(name, _)| name.clone()).collect();
            assert_eq!(names(&page.entries), expected);
        }
    }
}

fn the_largest_entry_finds_room_among_the_smallest(store: &Engine) {
    for n in 0..200 {
        one(store, Write::put(key(&format!("{n:03}")), "", 100 + n), at(0)).unwrap();
    }
    let large = vec![7; VALUE_BYTES_MAX];
    assert_eq!(one(store, Write::put(key("large"), large.clone(), 10_000), at(0)), Ok(Written::Applied));
    assert_eq!(one(store, Write::put(key("large"), large, 10_000), at(1)), Ok(Written::Applied));
    assert!(usage(store, "test") > 20, "no more gave way than had to");
    let long = Write::put(key("short"), vec![7; VALUE_BYTES_MAX], 50);
    assert!(matches!(one(store, long, at(1)), Err(StoreError::Full(_))));
}

/// Room for 20 entries.
fn few() -> StateSettings {
    StateSettings { namespace_entries_max: 20, ..StateSettings::default() }
}

/// Room for 10,000 octets.
fn small() -> StateSettings {
    StateSettings { namespace_bytes_max: 10_000, ..StateSettings::default() }
}

macro_rules! conformance {
    ($engine:ident: $($test:ident($settings:expr)),* $(,)?) => {
        mod $engine {
            $(#[test]
            fn $test() {
                super::$test(&super::$engine(&$settings));
            })*
        }
    };
}

macro_rules! engine {
    ($engine:ident) => {
        conformance! { $engine:
            what_is_put_is_there_until_it_expires(super::StateSettings::default()),
            only_the_first_put_if_absent_is_done(super::StateSettings::default()),
            compare_and_set_changes_what_is_expected(super::StateSettings::default()),
            counters_add_up_in_any_order(super::StateSettings::default()),
            items_of_a_batch_stand_alone(super::StateSettings::default()),
            a_scan_goes_on_where_it_stopped(super::StateSettings::default()),
            what_has_expired_is_removed(super::StateSettings::default()),
            a_flood_drives_out_nothing_that_lives_longer(super::few()),
            octets_are_bounded_too(super::small()),
            the_largest_entry_finds_room_among_the_smallest(super::small()),
            nothing_is_answered_after_closing(super::StateSettings::default()),
            it_is_a_map(super::StateSettings::default()),
        }
    };
}

engine!(memory);
engine!(embedded);
