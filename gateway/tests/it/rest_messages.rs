//! Messages: written once, found again, changed, reacted to, pinned, read.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use chatdb::{Statement, Value as Cell};
use serde_json::{Value, json};

use crate::rest_support::{Owner, Server, contents, text};

#[tokio::test]
async fn a_message_is_written_read_edited_and_deleted() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let me = &owner.person;
    let body = json!({"content": "hello <@1>", "nonce": "n-1", "embeds": [{"title": "t"}]});
    let sent = me.post(&owner.messages(), body).await.ok();
    assert_eq!(sent["nonce"], "n-1");
    assert_eq!(sent["author"]["id"], me.id.as_str());
    assert_eq!(sent["embeds"][0]["title"], "t");
    let path = format!("{}/{}", owner.messages(), text(&sent["id"]));
    assert_eq!(me.get(&path).await.ok()["content"], "hello <@1>");
    let edited = me.patch(&path, json!({"content": "changed"})).await.ok();
    assert_eq!(edited["content"], "changed");
    assert!(edited["edited_timestamp"].is_string());
    assert_eq!(me.get(&path).await.ok()["content"], "changed");
    assert_eq!(me.delete(&path).await.status, 204);
    me.get(&path).await.refused(404, 10008);
    me.delete(&path).await.refused(404, 10008);
    me.patch(&path, json!({"content": "ghost"}))
        .await
        .refused(404, 10008);
    assert_eq!(me.get(&owner.messages()).await.ok(), json!([]));
    server.stop().await;
}

#[tokio::test]
async fn one_nonce_is_one_message_however_often_it_is_sent() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let body = json!({"content": "once", "nonce": "4711", "enforce_nonce": true});
    let path = owner.messages();
    let attempts = (0..8).map(|_| owner.person.post(&path, body.clone()));
    let mut ids: Vec<String> = Vec::new();
    for answer in futures::future::join_all(attempts).await {
        ids.push(text(&answer.ok()["id"]));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let page = owner.person.get(&owner.messages()).await.ok();
    assert_eq!(contents(&page), ["once"]);
    let other = json!({"content": "two", "nonce": 4712, "enforce_nonce": true});
    let sent = owner.person.post(&owner.messages(), other).await.ok();
    assert_eq!(sent["nonce"], 4712);
    server.stop().await;
}

/// Ten-day windows since 2015.
const BUCKET_MS: i64 = 864_000_000;

/// Writes a message that was sent at the given time, as an import does.
async fn write_at(server: &Server, owner: &Owner, ms_since_2015: i64, content: &str) {
    let channel: i64 = owner.channel.parse().unwrap();
    let bucket = i32::try_from(ms_since_2015 / BUCKET_MS).unwrap();
    let author: i64 = owner.person.id.parse().unwrap();
    let message = ms_since_2015 << 22;
    let list = "INSERT INTO flux.channel_buckets (channel_id, bucket) VALUES (?, ?)";
    let list = Statement::new(list).bind(vec![channel.into(), bucket.into()]);
    let write = "INSERT INTO flux.messages (channel_id, bucket, message_id, author_id, content)
        VALUES (?, ?, ?, ?, ?)";
    let values: Vec<Cell> = vec![
        channel.into(),
        bucket.into(),
        message.into(),
        author.into(),
        content.into(),
    ];
    let write = Statement::new(write).bind(values);
    server.db.execute_batch(vec![list, write]).await.unwrap();
}

#[tokio::test]
async fn history_is_paged_across_buckets_without_end() {
    let server = Server::start().await;
    let owner = server.owner().await;
    // Three messages in each of buckets 0, 7, 14, ... 70 and nothing between them.
    let mut written = Vec::new();
    for step in 0..=10 {
        for turn in 0..3 {
            let content = format!("{step}-{turn}");
            let at = step * 7 * BUCKET_MS + 1000 + turn;
            write_at(&server, &owner, at, &content).await;
            written.push(content);
        }
    }
    written.push("now".to_owned());
    owner.say("now").await;
    let newest_first: Vec<String> = written.iter().rev().cloned().collect();

    let mut found = Vec::new();
    let mut path = format!("{}?limit=4", owner.messages());
    loop {
        let page = owner.person.get(&path).await.ok();
        let Some(last) = page.as_array().unwrap().last() else {
            break;
        };
        path = format!("{}?limit=4&before={}", owner.messages(), text(&last["id"]));
        found.extend(contents(&page));
    }
    assert_eq!(found, newest_first);

    // Upwards from the beginning of time: each page is the oldest above, newest first.
    let (mut found, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("{}?limit=5&after={after}", owner.messages());
        let page = owner.person.get(&path).await.ok();
        let Some(first) = page.as_array().unwrap().first() else {
            break;
        };
        after = text(&first["id"]);
        let mut part = contents(&page);
        part.reverse();
        found.extend(part);
    }
    assert_eq!(found, written);

    let middle = 35 * BUCKET_MS + 1001;
    let path = format!("{}?limit=5&around={}", owner.messages(), middle << 22);
    let page = owner.person.get(&path).await.ok();
    assert_eq!(contents(&page), ["6-0", "5-2", "5-1", "5-0", "4-2"]);
    server.stop().await;
}

#[tokio::test]
async fn a_reaction_counts_once_and_is_listed_and_removed() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let id = owner.say("react").await;
    let thumb = format!("{}/{id}/reactions/%F0%9F%91%8D", owner.messages());
    let custom = format!("{}/{id}/reactions/party%3A123", owner.messages());
    for _ in 0..2 {
        assert_eq!(owner.person.put(&format!("{thumb}/@me")).await.status, 204);
    }
    assert_eq!(bob.put(&format!("{thumb}/@me")).await.status, 204);
    assert_eq!(bob.put(&format!("{custom}/@me")).await.status, 204);
    let path = format!("{}/{id}", owner.messages());
    let reactions = |message: Value| -> Vec<(Value, Value, Value)> {
        let list = message["reactions"].as_array().unwrap().clone();
        let part = |r: Value| {
            (
                r["emoji"]["name"].clone(),
                r["count"].clone(),
                r["me"].clone(),
            )
        };
        list.into_iter().map(part).collect()
    };
    let seen = reactions(owner.person.get(&path).await.ok());
    let thumbs_up = json!("\u{1f44d}");
    assert_eq!(
        seen,
        [
            (thumbs_up, json!(2), json!(true)),
            (json!("party"), json!(1), json!(false))
        ]
    );
    let page = owner.person.get(&owner.messages()).await.ok();
    assert_eq!(
        page[0]["reactions"][0]["count_details"],
        json!({"burst": 0, "normal": 2})
    );

    for _ in 0..2 {
        assert_eq!(bob.delete(&format!("{thumb}/@me")).await.status, 204);
    }
    bob.delete(&format!("{thumb}/{}", owner.person.id))
        .await
        .refused(403, 50013);
    assert_eq!(
        owner
            .person
            .delete(&format!("{custom}/{}", bob.id))
            .await
            .status,
        204
    );
    assert_eq!(reactions(owner.person.get(&path).await.ok()).len(), 1);
    let all = format!("{}/{id}/reactions", owner.messages());
    assert_eq!(owner.person.delete(&all).await.status, 204);
    assert!(reactions(owner.person.get(&path).await.ok()).is_empty());
    owner
        .person
        .put(&format!(
            "{}/{id}/reactions/not-emoji/@me",
            owner.messages()
        ))
        .await
        .refused(400, 10014);
    server.stop().await;
}

#[tokio::test]
async fn who_reacted_is_listed_in_pages() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let id = owner.say("react").await;
    let thumb = format!("{}/{id}/reactions/%F0%9F%91%8D", owner.messages());
    owner.person.put(&format!("{thumb}/@me")).await;
    bob.put(&format!("{thumb}/@me")).await;
    let users = owner.person.get(&thumb).await.ok();
    assert_eq!(users.as_array().unwrap().len(), 2);
    let limited = owner.person.get(&format!("{thumb}?limit=1")).await.ok();
    let after = text(&limited[0]["id"]);
    let rest = owner
        .person
        .get(&format!("{thumb}?after={after}"))
        .await
        .ok();
    assert_eq!(rest.as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn pins_are_listed_by_both_routes_newest_first() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let (first, second) = (owner.say("one").await, owner.say("two").await);
    let old = format!("/channels/{}/pins", owner.channel);
    let new = format!("{}/pins", owner.messages());
    assert_eq!(
        owner.person.put(&format!("{old}/{first}")).await.status,
        204
    );
    assert_eq!(
        owner.person.put(&format!("{new}/{second}")).await.status,
        204
    );
    let pins = owner.person.get(&new).await.ok();
    let order: Vec<String> = pins["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pin| text(&pin["message"]["id"]))
        .collect();
    let listed = owner.person.get(&old).await.ok();
    assert_eq!(order.len(), 2);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["pinned"], true);
    assert_eq!(
        owner.person.delete(&format!("{old}/{first}")).await.status,
        204
    );
    assert_eq!(contents(&owner.person.get(&old).await.ok()), ["two"]);
    server.stop().await;
}

#[tokio::test]
async fn a_bulk_deletion_takes_only_young_messages() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let ids = [
        owner.say("a").await,
        owner.say("b").await,
        owner.say("c").await,
    ];
    let path = format!("{}/bulk-delete", owner.messages());
    let delete = async |ids: &[String]| owner.person.post(&path, json!({"messages": ids})).await;
    delete(&ids[..1]).await.faulty("messages");
    delete(&["1".to_owned(), "2".to_owned()])
        .await
        .refused(400, 50034);
    assert_eq!(delete(&ids[..2]).await.status, 204);
    assert_eq!(
        contents(&owner.person.get(&owner.messages()).await.ok()),
        ["c"]
    );
    server.stop().await;
}

#[tokio::test]
async fn mentions_name_accounts_that_exist_and_everyone_needs_the_right() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let content = format!(
        "<@{}> <@!{}> <@99> <@&99> @everyone",
        bob.id, owner.person.id
    );
    let body = json!({"content": content});
    let sent = owner
        .person
        .post(&owner.messages(), body.clone())
        .await
        .ok();
    let named: Vec<String> = sent["mentions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| text(&user["id"]))
        .collect();
    assert_eq!(named.len(), 2);
    assert!(named.contains(&bob.id));
    assert_eq!(sent["mention_everyone"], true);
    assert_eq!(sent["mention_roles"], json!([]));

    let everybody = format!("/guilds/{0}/roles/{0}", owner.guild);
    owner
        .person
        .patch(&everybody, json!({"permissions": "68608"}))
        .await
        .ok();
    let sent = bob.post(&owner.messages(), body).await.ok();
    assert_eq!(sent["mention_everyone"], false);
    server.stop().await;
}

#[tokio::test]
async fn a_reply_to_a_message_that_is_gone_is_refused_unless_it_may_be() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let reply = |id: &str, strict: bool| json!({"content": "re", "message_reference": {"message_id": id, "fail_if_not_exists": strict}});
    let path = owner.messages();
    owner
        .person
        .post(&path, reply("99", true))
        .await
        .faulty("message_reference");
    let sent = owner.person.post(&path, reply("99", false)).await.ok();
    assert_eq!(sent["type"], 0);
    let first = owner.say("first").await;
    let sent = owner.person.post(&path, reply(&first, true)).await.ok();
    assert_eq!(sent["mentions"][0]["id"], owner.person.id.as_str());
    owner.person.delete(&format!("{path}/{first}")).await;
    let path = format!("{path}/{}", text(&sent["id"]));
    let found = owner.person.get(&path).await.ok();
    assert_eq!(found["referenced_message"], Value::Null);
    assert_eq!(found["message_reference"]["message_id"], first.as_str());
    server.stop().await;
}

#[tokio::test]
async fn two_accounts_share_one_direct_channel_whoever_opens_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let open = json!({"recipient_id": bob.id});
    let channel = alice.post("/users/@me/channels", open).await.ok();
    let back = bob
        .post("/users/@me/channels", json!({"recipients": [alice.id]}))
        .await
        .ok();
    assert_eq!(channel["id"], back["id"]);
    assert_eq!(channel["recipients"][0]["id"], bob.id.as_str());
    let path = format!("/channels/{}/messages", text(&channel["id"]));
    let sent = alice.post(&path, json!({"content": "psst"})).await.ok();
    assert_eq!(contents(&bob.get(&path).await.ok()), ["psst"]);
    assert_eq!(
        bob.get("/users/@me/channels").await.ok()[0]["last_message_id"],
        sent["id"]
    );
    let eve = server.register("eve").await;
    eve.get(&path).await.refused(403, 50001);
    server.stop().await;
}

#[tokio::test]
async fn typing_and_acknowledging_are_answered() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let id = owner.say("read me").await;
    let typing = format!("/channels/{}/typing", owner.channel);
    assert_eq!(owner.person.post(&typing, json!({})).await.status, 204);
    let ack = format!("{}/{id}/ack", owner.messages());
    owner.person.post(&ack, json!({})).await.ok();
    let channels = owner
        .person
        .get(&format!("/guilds/{}/channels", owner.guild))
        .await
        .ok();
    assert_eq!(channels[0]["last_message_id"], id.as_str());
    server.stop().await;
}
