//! `GET /edgetron/log/backup` and `…/head`: what they say is what the log holds.

use edgestack_backup::{Reader, SignedHead};
use edgestack_log::Log;

use crate::site::Site;

#[tokio::test]
async fn a_backup_is_the_log_and_its_head_is_signed() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let reply = site.get("//edgetron/log/backup").await.expect(200);
    assert_eq!(reply.header("content-type"), "application/zstd");
    let log = site.log.read(1, usize::MAX).await.unwrap();
    let mut reader = Reader::open(&reply.body[..], None).unwrap();
    for stored in &log {
        assert_eq!(reader.next_commit().unwrap().unwrap(), (stored.sequence, stored.payload.to_vec()));
    }
    let verified = reader.verify().unwrap();
    assert_eq!((verified.commits, verified.manifest.site.as_str()), (log.len() as u64, "test"));
    assert!(verified.manifest.time.is_some());
    let head: SignedHead = serde_json::from_slice(&site.get("//edgetron/log/head").await.expect(200).body).unwrap();
    assert!(head.verifies());
    assert_eq!((head.sequence, head.hash), (log.len() as u64, verified.manifest.head_hash));
    assert_eq!(head.public_key, verified.manifest.public_key);
}

#[tokio::test]
async fn a_damaged_log_makes_no_backup_that_looks_well() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    assert!(site.log.flip_bit(2, 300));
    let came = site.what_comes("//edgetron/log/backup").await;
    assert!(Reader::open(&came[..], None).and_then(Reader::verify).is_err());
}

#[tokio::test]
async fn parameters_are_refused() {
    let site = Site::new().await;
    for path in ["backup", "head"] {
        let reply = site.get(&format!("//edgetron/log/{path}?at=1")).await;
        reply.expect_problem(400, "invalid-parameter", Some("at"));
    }
}
