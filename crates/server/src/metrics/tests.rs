//! Names, series and what moves them.

use super::*;

fn line<'a>(text: &'a str, series: &str) -> &'a str {
    text.lines()
        .find_map(|l| l.strip_prefix(series))
        .map(str::trim)
        .unwrap_or_else(|| panic!("{series} in\n{text}"))
}

#[test]
fn every_series_is_there_at_zero() {
    let text = Metrics::new().unwrap().render();
    for verb in Verb::ALL {
        assert_eq!(line(&text, &format!("staffetta_commands_total{{verb=\"{}\"}}", verb.name())), "0");
    }
    for agent in AgentKind::ALL {
        for result in Delivery::ALL {
            let series = format!(
                "staffetta_deliveries_total{{agent=\"{}\",result=\"{}\"}}",
                agent.name(),
                result.name()
            );
            assert_eq!(line(&text, &series), "0");
        }
    }
    assert_eq!(line(&text, "staffetta_queue_messages{state=\"held\"}"), "0");
    assert_eq!(line(&text, "staffetta_queue_overdue"), "0");
    assert_eq!(line(&text, "staffetta_commit_seconds_count"), "0");
}

#[test]
fn names_keep_to_the_conventions_and_series_are_bounded() {
    let metrics = Metrics::new().unwrap();
    for family in metrics.reference() {
        assert!(family.name.starts_with("staffetta_"), "{}", family.name);
        assert_eq!(family.kind == "counter", family.name.ends_with("_total"), "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
    }
    assert!(metrics.render().lines().filter(|l| !l.starts_with('#')).count() < 3000);
}

#[test]
fn a_session_moves_its_three_families() {
    let metrics = Metrics::new().unwrap();
    metrics.session_began(Door::Mx);
    metrics.session_began(Door::Mx);
    metrics.session_ended(Door::Mx, SessionEnd::Quit, Duration::from_millis(700));
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_sessions_open{listener=\"mx\"}"), "1");
    assert_eq!(line(&text, "staffetta_sessions_total{end=\"quit\",listener=\"mx\"}"), "1");
    assert_eq!(line(&text, "staffetta_session_seconds_bucket{listener=\"mx\",le=\"0.5\"}"), "0");
    assert_eq!(line(&text, "staffetta_session_seconds_bucket{listener=\"mx\",le=\"1\"}"), "1");
}

#[test]
fn replies_are_counted_once_however_many_lines_they_have() {
    let metrics = Metrics::new().unwrap();
    metrics.replies_in(b"250-a\r\n250-b\r\n250 c\r\n354 go\r\n550-5.1.1 no\r\n550 5.1.1 no\r\n");
    let text = metrics.render();
    for (class, count) in [("2xx", "1"), ("3xx", "1"), ("4xx", "0"), ("5xx", "1")] {
        assert_eq!(line(&text, &format!("staffetta_replies_total{{class=\"{class}\"}}")), count);
    }
}

#[test]
fn only_accepted_messages_count_their_bytes() {
    let metrics = Metrics::new().unwrap();
    metrics.message(Door::Submission, MessageResult::Accepted, 100);
    metrics.message(Door::Submission, MessageResult::TooLarge, 5000);
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_message_bytes_received_total{listener=\"submission\"}"), "100");
    assert_eq!(
        line(&text, "staffetta_messages_received_total{listener=\"submission\",result=\"too_large\"}"),
        "1"
    );
}

#[test]
fn totals_counted_elsewhere_never_go_back() {
    let metrics = Metrics::new().unwrap();
    metrics.dns_lookups(DnsResult::Found, 7);
    metrics.dns_lookups(DnsResult::Found, 5);
    metrics.log_lines_lost(3);
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_dns_lookups_total{result=\"found\"}"), "7");
    assert_eq!(line(&text, "staffetta_log_lines_lost_total"), "3");
}

#[test]
fn the_queue_shows_its_age_in_seconds() {
    let metrics = Metrics::new().unwrap();
    let figures = store::QueueFigures { held: 2, oldest: Some(Timestamp(1_000)), ..Default::default() };
    metrics.queue(&figures, 4, Timestamp(61_500));
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_queue_messages{state=\"held\"}"), "2");
    assert_eq!(line(&text, "staffetta_queue_oldest_age_seconds"), "60.5");
    assert_eq!(line(&text, "staffetta_queue_overdue"), "4");
}

#[test]
fn the_oldest_message_of_each_state_is_shown() {
    let metrics = Metrics::new().unwrap();
    let mut oldest = OldestByState::default();
    oldest.note(QueueState::Deferred, Timestamp(5_000));
    oldest.note(QueueState::Deferred, Timestamp(2_000));
    oldest.note(QueueState::Held, Timestamp(9_000));
    metrics.queue_ages(&oldest, Timestamp(10_000));
    let text = metrics.render();
    for (state, age) in [("active", "0"), ("deferred", "8"), ("held", "1")] {
        let series = format!("staffetta_queue_state_oldest_age_seconds{{state=\"{state}\"}}");
        assert_eq!(line(&text, &series), age);
    }
}

#[test]
fn verbs_and_versions_fall_into_their_sets() {
    assert_eq!(Verb::from_word("StartTLS"), Verb::StartTls);
    assert_eq!(Verb::from_word("GET"), Verb::Other);
    let metrics = Metrics::new().unwrap();
    metrics.tls(Direction::In, Some("TLSv1_3"));
    metrics.tls(Direction::In, Some("TLS 1.2"));
    metrics.tls(Direction::Out, None);
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_tls_sessions_total{direction=\"in\",result=\"tls1.3\"}"), "1");
    assert_eq!(line(&text, "staffetta_tls_sessions_total{direction=\"in\",result=\"tls1.2\"}"), "1");
    assert_eq!(line(&text, "staffetta_tls_sessions_total{direction=\"out\",result=\"failed\"}"), "1");
}

#[test]
fn what_ends_a_session_is_counted_under_its_own_name() {
    use smtp::CloseReason;
    for (reason, end) in [
        (CloseReason::Quit, SessionEnd::Quit),
        (CloseReason::Eof, SessionEnd::Lost),
        (CloseReason::Timeout, SessionEnd::TimedOut),
        (CloseReason::Http, SessionEnd::Dropped),
        (CloseReason::ShuttingDown, SessionEnd::Stopping),
    ] {
        assert_eq!(SessionEnd::from(reason), end);
    }
    assert_eq!(Door::from(smtp::Role::Submissions), Door::Submissions);
}

#[test]
fn checks_and_symbols_count_when_they_were_laid_out_and_make_no_series_else() {
    let metrics = Metrics::new().unwrap();
    metrics.lay_out(["dnsbl"].into_iter(), ["ZEN_SBL"].into_iter());
    let time = |check: &str, end| policy::CheckTime {
        check: check.to_owned(),
        stage: policy::Stage::Connect,
        micros: 20_000,
        end,
    };
    metrics.check(&time("dnsbl", policy::CheckEnd::Finished));
    metrics.check(&time("dnsbl", policy::CheckEnd::OutOfTime));
    metrics.check(&time("unheard_of", policy::CheckEnd::Finished));
    metrics.checks.seen(["ZEN_SBL", "UNHEARD_OF"].into_iter());
    metrics.lay_out(["dnsbl"].into_iter(), ["ZEN_SBL"].into_iter());
    let text = metrics.render();
    assert_eq!(line(&text, "staffetta_check_seconds_bucket{check=\"dnsbl\",le=\"0.1\"}"), "2");
    assert_eq!(line(&text, "staffetta_checks_unfinished_total{check=\"dnsbl\"}"), "1");
    assert_eq!(line(&text, "staffetta_symbols_total{symbol=\"ZEN_SBL\"}"), "1");
    assert_eq!(line(&text, "staffetta_verdicts_total{action=\"reject\",stage=\"rcpt\"}"), "0");
    assert!(!text.to_lowercase().contains("unheard_of"));
}
