//! The life of a session over a real socket, with tungstenite as the other end.

use gateway::events::EventKind;
use gateway::session::outbox::RETAINED_MAX;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::session_harness::{TestGateway, TestPlatform, event};

#[tokio::test]
async fn ready_comes_first_and_sequence_numbers_have_no_holes() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.hello().await;
    client.send(&json!({"op": 1, "d": null})).await;
    assert_eq!(
        client.next().await["op"],
        11,
        "a heartbeat is answered before identify"
    );
    client.identify("Bot bot").await;
    let names = ["READY", "USER_UPDATE", "GUILD_CREATE", "GUILD_CREATE"];
    for (sequence, name) in (1..).zip(names) {
        let dispatch = client.next().await;
        assert_eq!(dispatch["op"], 0);
        assert_eq!(
            (dispatch["t"].as_str(), dispatch["s"].as_u64()),
            (Some(name), Some(sequence))
        );
        if sequence == 1 {
            assert_eq!(dispatch["d"]["resume_gateway_url"], gateway.url);
        }
    }
}

#[tokio::test]
async fn a_cut_socket_is_resumed_in_order_with_the_original_numbers() {
    let gateway = TestGateway::start().await;
    let (mut client, id) = gateway.identified("bot").await;
    let session = gateway.session();
    session.push(&event(EventKind::MessageCreate, &json!({"n": 5})));
    assert_eq!(client.next().await["d"]["n"], 5);
    drop(client);
    for n in 6..=8 {
        session.push(&event(EventKind::MessageCreate, &json!({"n": n})));
    }
    let mut client = gateway.hello().await;
    client.resume("Bot bot", &id, 4).await;
    for n in 5..=8 {
        let replayed = client.next().await;
        assert_eq!(
            (&replayed["d"]["n"], &replayed["s"]),
            (&json!(n), &json!(n))
        );
    }
    let resumed = client.next().await;
    assert_eq!(
        (&resumed["t"], &resumed["s"]),
        (&json!("RESUMED"), &json!(9))
    );
    assert!(resumed["d"].is_object());
}

#[tokio::test]
async fn a_session_that_is_not_here_is_invalid_and_the_socket_stays_open() {
    let gateway = TestGateway::start().await;
    let (_first, id) = gateway.identified("bot").await;
    let mut client = gateway.hello().await;
    for (token, id, sequence) in [
        ("bot", "0".repeat(32), 1),
        ("other", id.clone(), 4),
        ("bot", id.clone(), 1),
    ] {
        client.resume(token, &id, sequence).await;
        assert_eq!(
            client.next().await,
            json!({"t": null, "s": null, "op": 9, "d": false})
        );
    }
    client.identify("bot").await;
    assert_eq!(client.next().await["t"], "READY");
    let mut client = gateway.hello().await;
    client.resume("bot", &id, 99).await;
    assert_eq!(client.close_code().await, 4007);
}

#[tokio::test]
async fn each_mistake_has_its_close_code() {
    let gateway = TestGateway::start().await;
    let identify = |extra: serde_json::Value| {
        let mut data = json!({"token": "bot", "intents": 1});
        data.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({"op": 2, "d": data}).to_string()
    };
    let cases = [
        ("not json".to_owned(), 4002),
        ("{\"d\":1}".to_owned(), 4002),
        ("{\"op\":99}".to_owned(), 4001),
        ("{\"op\":3,\"d\":{\"status\":\"idle\"}}".to_owned(), 4003),
        ("{\"op\":8,\"d\":{\"guild_id\":\"10\"}}".to_owned(), 4003),
        (identify(json!({"token": "nobody"})), 4004),
        (identify(json!({"shard": [2, 2]})), 4010),
        (identify(json!({"intents": 1_u64 << 40})), 4013),
        (identify(json!({"intents": null})), 4013),
        (format!("{{\"op\":1,\"d\":\"{}\"}}", "x".repeat(5000)), 4002),
    ];
    for (text, code) in cases {
        let mut client = gateway.hello().await;
        client.send_message(Message::text(text.clone())).await;
        assert_eq!(client.close_code().await, code, "{text:.60}");
    }
    let mut client = gateway.connect("/?v=6&encoding=json").await;
    assert_eq!(client.close_code().await, 4012);
    let (mut client, _) = gateway.identified("bot").await;
    client.identify("bot").await;
    assert_eq!(client.close_code().await, 4005);
}

#[tokio::test]
async fn more_than_120_commands_a_minute_close_the_connection() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.hello().await;
    for _ in 0..121 {
        client.send(&json!({"op": 1, "d": null})).await;
    }
    assert_eq!(client.close_code().await, 4008);
}

#[tokio::test]
async fn what_libraries_really_send_is_understood() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.connect("//?v=9").await;
    assert_eq!(client.next().await["op"], 10);
    let presence = json!({"since": {"secs_since_epoch": 1}, "game": {}, "status": "online"});
    let identify = json!({"token": "Bot bot", "intents": 513, "compress": true, "shard": [0, 1],
        "large_threshold": 250, "presence": presence, "properties": {"$os": "linux"}});
    client.send(&json!({"op": 2, "d": identify})).await;
    for _ in 0..4 {
        assert!(client.next().await["s"].is_u64());
    }
    client
        .send(&json!({"op": 4, "d": {"guild_id": "10", "channel_id": null}}))
        .await;
    client
        .send(&json!({"op": 3, "d": {"status": "dnd", "activities": [], "afk": false}}))
        .await;
    for guild in [json!("10"), json!(10), json!(["10"])] {
        let data = json!({"guild_id": guild, "query": "", "limit": 0, "nonce": "n"});
        client.send(&json!({"op": 8, "d": data})).await;
        let chunk = client.next().await;
        assert_eq!(
            chunk["d"],
            json!({"guild_id": "10", "nonce": "n", "members": []})
        );
    }
}

#[tokio::test]
async fn a_shard_gets_its_guilds_only() {
    let gateway = TestGateway::start().await;
    let mut client = gateway.hello().await;
    let identify = json!({"token": "bot", "intents": 1, "shard": [1, 2]});
    client.send(&json!({"op": 2, "d": identify})).await;
    assert_eq!(client.next().await["t"], "READY");
    assert_eq!(client.next().await["t"], "USER_UPDATE");
    client.send(&json!({"op": 1, "d": 2})).await;
    assert_eq!(
        client.next().await["op"],
        11,
        "both guilds belong to shard 0"
    );
}

#[tokio::test]
async fn a_client_that_says_goodbye_ends_its_session() {
    let gateway = TestGateway::start().await;
    let (mut client, _) = gateway.identified("person").await;
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    };
    client.send_message(Message::Close(Some(frame))).await;
    gateway.wait_for_sessions(0).await;
}

#[tokio::test]
async fn a_node_that_goes_down_sends_its_clients_elsewhere() {
    let gateway = TestGateway::start().await;
    let (mut client, _) = gateway.identified("person").await;
    gateway.stop.cancel();
    assert_eq!(client.next().await["op"], 7);
    assert_eq!(client.close_code().await, 4000);
}

#[tokio::test]
async fn a_guild_larger_than_the_socket_buffer_arrives_whole() {
    let platform = TestPlatform {
        guild_bytes: 3 << 20,
        ..TestPlatform::default()
    };
    let gateway = TestGateway::with(platform).await;
    let mut client = gateway.hello().await;
    client.identify("bot").await;
    client.next().await;
    client.next().await;
    for guild in ["10", "20"] {
        let create = client.next().await;
        assert_eq!(create["d"]["id"], guild);
        assert_eq!(create["d"]["padding"].as_str().unwrap().len(), 3 << 20);
    }
    let session = gateway.session();
    session.push(&event(EventKind::MessageCreate, &json!({"after": true})));
    assert_eq!(client.next().await["s"], 5);
}

#[tokio::test]
async fn a_burst_arrives_complete_and_in_order() {
    let gateway = TestGateway::start().await;
    let (mut client, _) = gateway.identified("bot").await;
    let session = gateway.session();
    let body = "y".repeat(2000);
    for n in 0..RETAINED_MAX - 8 {
        session.push(&event(
            EventKind::MessageCreate,
            &json!({"n": n, "body": body}),
        ));
    }
    for n in 0..RETAINED_MAX - 8 {
        let dispatch = client.next().await;
        assert_eq!(
            (&dispatch["d"]["n"], &dispatch["s"]),
            (&json!(n), &json!(n + 5))
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_nobody_waits_for_it() {
    let gateway = TestGateway::start().await;
    let (mut client, id) = gateway.identified("bot").await;
    let session = gateway.session();
    let body = "z".repeat(60_000);
    for n in 0..4 * RETAINED_MAX {
        session.push(&event(
            EventKind::MessageCreate,
            &json!({"n": n, "body": body}),
        ));
    }
    loop {
        match client.next_message().await {
            Message::Text(_) => {}
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 4000);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let mut client = gateway.hello().await;
    client.resume("bot", &id, 5).await;
    assert_eq!(
        client.next().await["op"],
        9,
        "what was lost cannot be resumed"
    );
}
