//! Who asks for a reload, goes away, and asks again, with the real services over stores in memory.

use std::fs;

use super::*;
use crate::testing::{CONFIGURATION, House};

/// Reloads that went well, and that did not.
fn counted(house: &House) -> [u64; 2] {
    let text = house.current.get().shared.metrics.render();
    ["ok", "failed"].map(|result| {
        let line = text.lines().find(|line| {
            line.starts_with("staffetta_config_reloads_total{") && line.contains(&format!("\"{result}\""))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_done_though_nobody_waits_for_it() {
    let house = House::new("").await;
    fs::write(&house.loaded.file, CONFIGURATION.replace("mx.a.test", "other.a.test")).unwrap();
    let (handle, orders) = ReloadHandle::new();
    let task = tokio::spawn(Reloader::new(Arc::clone(&house.loaded), house.current.clone()).run(orders));
    // Asked, and gone before the answer.
    let asking = tokio::time::timeout(std::time::Duration::ZERO, handle.reload()).await;
    assert!(asking.is_err());
    handle.wish();
    fs::write(&house.loaded.file, "hostname = 7").unwrap();
    let told = handle.reload().await.unwrap_err();
    assert!(told.contains("hostname"), "{told}");
    assert_eq!(counted(&house).iter().sum::<u64>(), 3, "all that was asked for before");
    fs::write(&house.loaded.file, CONFIGURATION.replace("mx.a.test", "last.a.test")).unwrap();
    handle.reload().await.unwrap();
    assert_eq!(house.current.get().config.hostname.to_string(), "last.a.test");
    drop(handle);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_that_were_closed_stay_closed() {
    let house = House::new("").await;
    fs::write(&house.loaded.file, CONFIGURATION).unwrap();
    let (handle, orders) = ReloadHandle::new();
    let task = tokio::spawn(Reloader::new(Arc::clone(&house.loaded), house.current.clone()).run(orders));
    handle.wish();
    handle.close().await;
    assert_eq!(counted(&house), [1, 0], "what was asked for before was done before");
    // A reload would open what the configuration names.
    assert_eq!(handle.reload().await, Err("the server is stopping".to_owned()));
    handle.wish();
    handle.close().await;
    task.await.unwrap();
    assert_eq!(counted(&house), [1, 0]);
}

#[tokio::test]
async fn who_asks_when_the_server_is_stopping_hears_so() {
    let (handle, orders) = ReloadHandle::new();
    drop(orders);
    assert_eq!(handle.reload().await, Err("the server is stopping".to_owned()));
    handle.wish();
    handle.close().await;
}
