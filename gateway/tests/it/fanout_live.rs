//! From a request of one account, through the database and its stream, to the socket of another.

use serde_json::json;

use crate::fanout_support::{ALL, Listener, NO_CONTENT};
use crate::rest_support::{Server, text};

#[tokio::test]
async fn a_message_of_one_account_reaches_the_socket_of_another() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let mut ears = Listener::connect(&bob, ALL).await;
    assert_eq!(
        ears.ready["guilds"],
        json!([{"id": owner.guild, "unavailable": true}])
    );
    let guild = ears.expect("GUILD_CREATE").await;
    assert_eq!(guild["unavailable"], false);
    assert_eq!(guild["member_count"], 2);
    assert_eq!(guild["members"].as_array().map(Vec::len), Some(2));
    ears.silence().await;

    let body = json!({"content": "hello <@1>", "nonce": "abc"});
    let sent = owner.person.post(&owner.messages(), body).await.ok();
    let heard = ears.expect("MESSAGE_CREATE").await;
    assert_eq!(
        (&heard["id"], &heard["content"]),
        (&sent["id"], &json!("hello <@1>"))
    );
    assert_eq!(
        (&heard["guild_id"], &heard["nonce"]),
        (&json!(owner.guild), &json!("abc"))
    );
    assert_eq!(heard["author"]["username"], "owner");
    assert!(heard["member"]["roles"].is_array());

    let path = format!("{}/{}", owner.messages(), text(&sent["id"]));
    bob.put(&format!("{path}/reactions/%F0%9F%91%8D/@me"))
        .await
        .ok();
    let reaction = ears.expect("MESSAGE_REACTION_ADD").await;
    assert_eq!(reaction["member"]["user"]["username"], "bob");
    owner
        .person
        .patch(&path, json!({"content": "hello, edited"}))
        .await
        .ok();
    let edited = ears.expect("MESSAGE_UPDATE").await;
    assert_eq!(edited["content"], "hello, edited");
    assert_eq!(edited["reactions"][0]["count"], 1);
    bob.delete(&format!("{path}/reactions/%F0%9F%91%8D/@me"))
        .await
        .ok();
    ears.expect("MESSAGE_REACTION_REMOVE").await;
    owner.person.delete(&path).await.ok();
    assert_eq!(ears.expect("MESSAGE_DELETE").await["id"], sent["id"]);
    owner
        .person
        .post(&format!("/channels/{}/typing", owner.channel), json!({}))
        .await
        .ok();
    let typing = ears.expect("TYPING_START").await;
    assert_eq!(typing["member"]["user"]["username"], "owner");
    server.stop().await;
}

#[tokio::test]
async fn what_was_missed_is_replayed_with_its_numbers() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let mut ears = Listener::connect(&owner.person, ALL).await;
    ears.expect("GUILD_CREATE").await;
    ears.silence().await;
    let before = ears.sequence;
    owner.say("one").await;
    ears.expect("MESSAGE_CREATE").await;
    let mut ears = ears.resume(&owner.person).await;
    owner.say("two").await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let event = ears.next().await;
        if event["t"] == "MESSAGE_CREATE" || event["t"] == "RESUMED" {
            heard.push(event["t"].clone());
        }
    }
    heard.sort_by_key(ToString::to_string);
    assert_eq!(heard, ["MESSAGE_CREATE", "RESUMED"]);
    assert!(ears.sequence > before + 2);
    server.stop().await;
}

#[tokio::test]
async fn who_joins_and_who_leaves_is_heard_on_both_sides() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let mut old = Listener::connect(&owner.person, ALL).await;
    old.expect("GUILD_CREATE").await;
    let bob = server.register("bob").await;
    let mut new = Listener::connect(&bob, ALL).await;
    assert_eq!(new.ready["guilds"], json!([]));

    owner.invite(&bob).await;
    old.expect("INVITE_CREATE").await;
    assert_eq!(old.expect("GUILD_MEMBER_ADD").await["user"]["id"], bob.id);
    let joined = new.expect("GUILD_CREATE").await;
    assert_eq!(joined["id"], owner.guild);
    assert!(
        joined.get("unavailable").is_none(),
        "a guild that was joined is not announced"
    );

    owner
        .person
        .delete(&format!("/guilds/{}/members/{}", owner.guild, bob.id))
        .await
        .ok();
    old.expect("GUILD_MEMBER_REMOVE").await;
    let gone = loop {
        let event = new.next().await;
        if event["t"] == "GUILD_DELETE" {
            break event;
        }
    };
    assert_eq!(gone["d"], json!({"id": owner.guild}));
    owner.say("without bob").await;
    old.expect("MESSAGE_CREATE").await;
    new.silence().await;
    server.stop().await;
}

#[tokio::test]
async fn a_hidden_channel_is_silent_and_appears_when_it_opens() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let view = "1024";
    let hidden = json!([{"id": owner.guild, "type": 0, "allow": "0", "deny": view}]);
    let body = json!({"name": "secret", "type": 0, "permission_overwrites": hidden});
    let secret = owner
        .person
        .post(&format!("/guilds/{}/channels", owner.guild), body)
        .await
        .ok();
    let secret = text(&secret["id"]);
    let mut ears = Listener::connect(&bob, ALL).await;
    let guild = ears.expect("GUILD_CREATE").await;
    let channels = guild["channels"].as_array().expect("channels are listed");
    assert!(
        channels
            .iter()
            .all(|channel| channel["id"] != secret.as_str())
    );

    let messages = format!("/channels/{secret}/messages");
    owner
        .person
        .post(&messages, json!({"content": "psst"}))
        .await
        .ok();
    ears.silence().await;
    let open = json!({"permission_overwrites": []});
    owner
        .person
        .patch(&format!("/channels/{secret}"), open)
        .await
        .ok();
    assert_eq!(ears.expect("CHANNEL_CREATE").await["id"], secret);
    owner
        .person
        .post(&messages, json!({"content": "aloud"}))
        .await
        .ok();
    assert_eq!(ears.expect("MESSAGE_CREATE").await["content"], "aloud");
    let closed = json!({"permission_overwrites": hidden});
    owner
        .person
        .patch(&format!("/channels/{secret}"), closed)
        .await
        .ok();
    assert_eq!(ears.expect("CHANNEL_DELETE").await["id"], secret);
    owner
        .person
        .post(&messages, json!({"content": "psst again"}))
        .await
        .ok();
    ears.silence().await;
    server.stop().await;
}

#[tokio::test]
async fn content_is_blank_for_those_who_may_not_read_it() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let mut blind = Listener::connect(&bob, NO_CONTENT).await;
    let mut seeing = Listener::connect(&owner.person, ALL).await;
    blind.expect("GUILD_CREATE").await;
    seeing.expect("GUILD_CREATE").await;
    owner.say("for some").await;
    assert_eq!(seeing.expect("MESSAGE_CREATE").await["content"], "for some");
    assert_eq!(blind.expect("MESSAGE_CREATE").await["content"], "");
    let mention = format!("for <@{}>", bob.id);
    owner.say(&mention).await;
    assert_eq!(
        blind.expect("MESSAGE_CREATE").await["content"],
        mention.as_str()
    );
    bob.post(&owner.messages(), json!({"content": "my own"}))
        .await
        .ok();
    assert_eq!(blind.expect("MESSAGE_CREATE").await["content"], "my own");
    server.stop().await;
}

#[tokio::test]
async fn direct_messages_and_marks_stay_between_those_concerned() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let (bob, eve) = (server.register("bob").await, server.register("eve").await);
    let body = json!({"recipient_id": bob.id});
    let channel = owner.person.post("/users/@me/channels", body).await.ok();
    let channel = text(&channel["id"]);
    let mut ears = Listener::connect(&bob, ALL).await;
    assert_eq!(
        ears.ready["private_channels"][0]["recipients"][0]["username"],
        "owner"
    );
    let mut other = Listener::connect(&eve, ALL).await;
    let messages = format!("/channels/{channel}/messages");
    let sent = owner
        .person
        .post(&messages, json!({"content": "between us"}))
        .await
        .ok();
    let heard = ears.expect("MESSAGE_CREATE").await;
    assert_eq!(heard["content"], "between us");
    assert!(heard.get("guild_id").is_none());
    bob.post(&format!("{messages}/{}/ack", text(&sent["id"])), json!({}))
        .await
        .ok();
    let mark = ears.expect("MESSAGE_ACK").await;
    assert_eq!(
        (&mark["channel_id"], &mark["message_id"]),
        (&json!(channel), &sent["id"])
    );
    other.silence().await;
    drop(ears);
    let ears = Listener::connect(&bob, ALL).await;
    assert_eq!(ears.ready["read_state"][0]["last_message_id"], sent["id"]);
    server.stop().await;
}

#[tokio::test]
async fn presence_follows_connections_and_choices() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let mut ears = Listener::connect(&owner.person, ALL).await;
    ears.expect("GUILD_CREATE").await;
    let mut other = Listener::connect(&bob, ALL).await;
    other.expect("GUILD_CREATE").await;
    let status = async |ears: &mut Listener, wanted: &str| loop {
        let event = ears.next().await;
        let presence = &event["d"];
        if event["t"] == "PRESENCE_UPDATE" && presence["user"]["id"] == bob.id.as_str() {
            assert_eq!(presence["status"], wanted);
            return;
        }
    };
    status(&mut ears, "online").await;
    other.send(&json!({"op": 3, "d": {"status": "dnd", "activities": [], "since": null, "afk": false}}))
        .await;
    status(&mut ears, "dnd").await;
    drop(other);
    status(&mut ears, "offline").await;
    server.stop().await;
}

#[tokio::test]
async fn members_are_sent_in_chunks_that_answer_every_request() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let mut ears = Listener::connect(&owner.person, ALL).await;
    ears.expect("GUILD_CREATE").await;
    let guild = &owner.guild;
    let cases = [
        (
            json!({"guild_id": guild, "query": "", "limit": 0, "nonce": "n"}),
            2,
            0,
        ),
        (
            json!({"guild_id": guild, "query": "BO", "limit": 5, "presences": true}),
            1,
            0,
        ),
        (json!({"guild_id": guild, "user_ids": [bob.id, "5"]}), 1, 1),
        (json!({"guild_id": "5", "query": "", "limit": 0}), 0, 0),
    ];
    for (request, found, missing) in cases {
        ears.send(&json!({"op": 8, "d": request})).await;
        let chunk = ears.expect("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(
            chunk["members"].as_array().map(Vec::len),
            Some(found),
            "{request}"
        );
        assert_eq!(
            chunk["not_found"].as_array().map(Vec::len),
            Some(missing),
            "{request}"
        );
        assert_eq!(
            (&chunk["chunk_index"], &chunk["chunk_count"]),
            (&json!(0), &json!(1))
        );
        assert_eq!(chunk.get("nonce"), request.get("nonce"));
    }
    server.stop().await;
}
