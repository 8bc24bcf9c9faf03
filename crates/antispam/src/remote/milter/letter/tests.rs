//! Where fields go, and what becomes of addresses and bodies.

use store::edited;

use super::*;

const HEAD: &str = "X-One:  1\r\nX-Two: a\r\nSubject: subj\r\n folded\r\nX-Two:b\r\n\r\n";

fn draught(edits: &[Edit]) -> Draught {
    let message = Bytes::from(format!("{HEAD}body line\r\nend\r\n"));
    Draught::new(&message, HEAD.len(), edits)
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.into(), value: value.into() }
}

fn header(draught: Draught) -> String {
    let edits = draught.finish().header.unwrap();
    String::from_utf8(edited(&Bytes::from(HEAD), &edits).concat()).unwrap()
}

/// What Postfix 3.7 makes of the same changes, but for its Received, above which nothing is put here.
#[test]
fn fields_go_where_postfix_puts_them() {
    let mut one = draught(&[]);
    let insert = |before, name: &str| Change::InsertHeader(before, field(name, "x"));
    let change = |occurrence, name: &str, value: &str| Change::ChangeHeader(occurrence, field(name, value));
    let told = one.apply(
        vec![
            insert(0, "X-Ins0"),
            insert(1, "X-Ins1"),
            insert(2, "X-Ins2"),
            insert(5, "X-Ins5"),
            insert(99, "X-Ins99"),
            Change::AddHeader(field("X-Add", "added\n folded\nX-Evil: yes")),
            change(1, "x-two", "changed1"),
            change(3, "X-Two", "changed3"),
            change(0, "X-Two", "changed0"),
            change(1, "Received", "mine"),
            change(1, "Subject", ""),
            change(1, "X-None", "none"),
            change(1, "X-None2", ""),
        ],
        false,
    );
    assert_eq!(told, "12 changes to the header");
    let want = "X-Ins0: x\r\nX-Ins1: x\r\nX-Ins2: x\r\nX-One:  1\r\nX-Ins5: x\r\nX-Two: changed0\r\nX-Two:b\r\n\
                X-Ins99: x\r\nX-Add: added\r\n folded\r\n\tX-Evil: yes\r\nX-Two: changed3\r\nReceived: mine\r\nX-None: none\r\n\r\n";
    assert_eq!(header(one), want);
}

#[test]
fn a_later_milter_counts_what_an_earlier_one_has_left() {
    let mut one = draught(&[Edit::Remove("X-One".into())]);
    one.apply(vec![Change::InsertHeader(1, field("A", "1"))], false);
    one.apply(
        vec![Change::InsertHeader(2, field("B", " 2")), Change::ChangeHeader(1, field("A", " 9"))],
        true,
    );
    assert_eq!(header(one), "A: 9\r\nB: 2\r\nX-Two: a\r\nSubject: subj\r\n folded\r\nX-Two:b\r\n\r\n");
}

#[test]
fn nothing_changed_is_nothing() {
    let mut one = draught(&[]);
    assert_eq!(one.apply(Vec::new(), false), "");
    assert!(one.finish().is_empty());
}

#[test]
fn bodies_with_edits_are_shown_as_they_will_be_and_can_be_replaced() {
    let start = HEAD.len() as u64;
    let edit = Edit::Body { offset: start + 5, length: 4, with: b"word".to_vec() };
    let mut one = draught(&[edit]);
    let shown = |draught: &Draught, max| draught.chunks(max).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(shown(&one, 99), [&b"body "[..], b"word", b"\r\nend\r\n"]);
    assert!(shown(&one, 3).iter().all(|chunk| chunk.len() <= 3));
    let body = |text: &'static str| Change::Body(Bytes::from_static(text.as_bytes()));
    assert_eq!(one.apply(vec![body("new "), body("text\r\n")], false), "another body");
    assert_eq!(shown(&one, 99).concat(), b"new text\r\n");
    assert_eq!(one.finish().body.unwrap(), "new text\r\n");
}

#[test]
fn envelopes_are_changed_by_addresses_that_can_be_read() {
    let text = |text: &str| text.to_owned();
    let mut one = draught(&[]);
    let told = one.apply(
        vec![
            Change::AddRecipient(text("<more@example.test>"), text("")),
            Change::AddRecipient(text("quiet@example.test"), text("NOTIFY=never")),
            Change::AddRecipient(
                text("<told@example.test>"),
                text("SIZE=1 NOTIFY=SUCCESS,FAILURE NOTIFY=NEVER orcpt=rfc822;o+2Be@far.test ORCPT=utf-8;x"),
            ),
            Change::AddRecipient(text("odd@example.test"), text("NOTIFY=SOMETIMES ORCPT=none")),
            Change::AddRecipient(text("gone@example.test"), text("")),
            Change::DeleteRecipient(text("<gone@example.test>")),
            Change::AddRecipient(text("no address"), text("")),
            Change::Sender(text("<new@example.test>"), text("")),
            Change::Quarantine(text("odd")),
        ],
        false,
    );
    let want = "5 recipients added, 1 recipients deleted, another sender, `no address` is no address that can be used, \
                `SIZE=1` is passed over";
    assert_eq!(told, want);
    let odd = AddedRecipient::new(
        Address::parse("a@b.test").unwrap(),
        "NOTIFY=SOMETIMES NOTIFY=DELAY NOTIFY=NEVER ORCPT=none ORCPT RET=FULL",
    );
    assert_eq!(odd.0.notify.to_string(), "DELAY");
    assert_eq!(odd.1, ["NOTIFY=SOMETIMES", "NOTIFY=NEVER", "ORCPT=none", "ORCPT", "RET=FULL"]);
    assert_eq!(one.quarantined().as_deref(), Some("odd"));
    assert_eq!(one.quarantined(), None);
    let changes = one.finish();
    let added: Vec<_> = changes
        .added
        .iter()
        .map(|one| format!("{} {} {:?}", one.address, one.notify, one.original.as_ref().map(|o| &*o.address)))
        .collect();
    assert_eq!(
        added,
        [
            "more@example.test FAILURE,DELAY None",
            "quiet@example.test NEVER None",
            "told@example.test SUCCESS,FAILURE Some(\"o+e@far.test\")",
            "odd@example.test FAILURE,DELAY None",
        ]
    );
    assert_eq!(changes.deleted, [Address::parse("gone@example.test").unwrap()]);
    assert_eq!(changes.sender.unwrap().to_string(), "new@example.test");
    let mut other = draught(&[]);
    other.apply(vec![Change::Sender(text("<>"), text(""))], false);
    assert_eq!(other.finish().sender, Some(ReversePath::Null));
}

#[test]
fn what_one_milter_changes_is_bounded() {
    let mut gathered = Gathered::default();
    let mut ample = |_| true;
    let long = || Change::AddHeader(Field { name: "A".into(), value: vec![b'x'; 1000] });
    let fit = (0..).take_while(|_| gathered.push(long(), &mut ample).is_ok()).count();
    assert_eq!(fit, FIELD_BYTES_MAX / 1001);
    let mut gathered = Gathered::default();
    let one = || Change::DeleteRecipient("a@b.test".into());
    let fit = (0..).take_while(|_| gathered.push(one(), &mut ample).is_ok()).count();
    assert_eq!(fit, CHANGES_MAX);
    // A body in pieces of one octet takes no more than its octets, and only as long as there is room.
    let mut gathered = Gathered::default();
    let mut left = 200_000_usize;
    let mut room = |octets| {
        let fits = octets <= left;
        left = left.saturating_sub(octets);
        fits
    };
    let piece = || Change::Body(Bytes::from_static(&[b'x'; 100]));
    let fit = (0..).take_while(|_| gathered.push(piece(), &mut room).is_ok()).count();
    assert_eq!((fit, gathered.changes.len()), (2_000, 4));
}
