//! Aliases files as systems have them, and what is refused in them.

use super::*;

fn address(text: &str) -> Target {
    Target::Address(Address::parse(text).unwrap())
}

fn name(text: &str) -> Target {
    Target::Name(text.to_owned())
}

fn open(text: &str) -> Result<(tempfile::TempDir, Aliases), TableError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aliases");
    std::fs::write(&file, text).unwrap();
    Aliases::open(&file).map(|aliases| (folder, aliases))
}

#[tokio::test]
async fn names_lead_to_addresses_names_and_lists() {
    let text = "# See man 5 aliases for format\npostmaster:    root\nRoot: joe@a.test, \"Joe Smith\"@b.test,\n\tops\n\
                \"quoted name\": x\nself: \\self\nempty-domain: @c.test\nnobody:root\n";
    let (_folder, aliases) = open(text).unwrap();
    for (asked, found) in [
        ("postmaster", Some(vec![name("root")])),
        ("ROOT", Some(vec![address("joe@a.test"), address("\"Joe Smith\"@b.test"), name("ops")])),
        ("quoted name", Some(vec![name("x")])),
        ("self", Some(vec![name("self")])),
        ("nobody", Some(vec![name("root")])),
        ("empty-domain", Some(vec![Target::SameNameAt(Domain::parse("c.test").unwrap())])),
        ("unknown", None),
    ] {
        assert_eq!(aliases.targets(asked).await, found.map_or(Targets::Absent, Targets::Found), "{asked}");
    }
    assert_eq!(aliases.lookup("Postmaster").await, Answer::Found("root".to_owned()));
}

#[tokio::test]
async fn included_files_are_read_when_asked_for_and_their_absence_is_no_absence() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let (_aliases, aliases) = open(&format!("all: ops, :include:{}\n", list.display())).unwrap();
    assert!(matches!(aliases.targets("all").await, Targets::Unavailable(why) if why.contains("list")));
    std::fs::write(&list, "# members\njoe@a.test, jim@a.test\n\njane@a.test\n").unwrap();
    let members = ["joe@a.test", "jim@a.test", "jane@a.test"].map(address);
    let all = [vec![name("ops")], members.to_vec()].concat();
    assert_eq!(aliases.targets("all").await, Targets::Found(all));
    for (broken, words) in [(":include:/x\n", "list:1: "), ("|program\n", "command"), ("a b\n", "commas")] {
        std::fs::write(&list, broken).unwrap();
        let targets = aliases.targets("all").await;
        assert!(matches!(&targets, Targets::Unavailable(why) if why.contains(words)), "{broken} {targets:?}");
    }
}

#[test]
fn what_is_refused_says_why_and_where() {
    for (text, words) in [
        ("root: joe\nlists: \"|/usr/bin/list post, now\"\n", "aliases:2: "),
        ("lists: |/usr/bin/list\n", "is a command"),
        ("dump: /dev/null\n", "is a file"),
        ("all: :include:relative\n", "whole path"),
        ("joe@a.test: jim\n", "no domain"),
        ("joe jim\n", "a colon"),
        ("joe:\n", "no target"),
        ("joe: jim jane\n", "commas"),
        ("joe: jim@\n", "no address"),
        ("joe: jim\nJoe: jane\n", "already"),
        ("joe: @a..b\n", "character or label"),
    ] {
        let error = open(text).err().unwrap().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_mistyped_list_from_a_table_waits_instead_of_bouncing() {
    assert!(matches!(targets("joe@a.test jim@a.test").await, Targets::Unavailable(_)));
    assert_eq!(targets("joe@a.test").await, Targets::Found(vec![address("joe@a.test")]));
}
