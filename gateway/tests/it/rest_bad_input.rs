//! What a request that is wrong gets back: the form that its reader expects, and where it is wrong.

use http::Method;
use serde_json::json;

use crate::rest_support::{Server, text, unlimited};

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_its_position() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let body = b"{\n  \"content\": oops\n}".to_vec();
    let answer = owner
        .person
        .send(Method::POST, &owner.messages(), body)
        .await;
    answer.refused(400, 50109);
    assert!(
        text(&answer.body["message"]).contains("line 2 column"),
        "{}",
        answer.body
    );
    let cut = owner
        .person
        .send(
            Method::POST,
            &owner.messages(),
            b"{\"content\": \"x".to_vec(),
        )
        .await;
    cut.refused(400, 50109);
    let list = owner
        .person
        .send(Method::POST, &owner.messages(), b"[1]".to_vec())
        .await;
    list.refused(400, 50035);
    server.stop().await;
}

#[tokio::test]
async fn a_message_over_2000_characters_is_refused_and_one_of_2000_is_not() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let send = async |content: String| {
        owner
            .person
            .post(&owner.messages(), json!({"content": content}))
            .await
    };
    assert_eq!(send("\u{e4}".repeat(2000)).await.status, 200);
    let answer = send("x".repeat(2001)).await;
    answer.faulty("content");
    let code = &answer.body["errors"]["content"]["_errors"][0]["code"];
    assert_eq!(code, "BASE_TYPE_MAX_LENGTH");
    send("   ".to_owned()).await.refused(400, 50006);
    let wrong = owner
        .person
        .post(&owner.messages(), json!({"content": 7}))
        .await;
    wrong.faulty("content");
    server.stop().await;
}

#[tokio::test]
async fn a_channel_in_the_last_place_there_is_leaves_room_for_another() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let channels = format!("/guilds/{}/channels", owner.guild);
    for body in [
        json!({"name": "last", "position": i32::MAX}),
        json!({"name": "another"}),
    ] {
        let answer = owner.person.post(&channels, body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let config = gateway::config::Config {
        body_bytes_max: 4096,
        ..unlimited()
    };
    let server = Server::start_with(config).await;
    let owner = server.owner().await;
    let body = json!({"content": "x".repeat(5000)});
    owner
        .person
        .post(&owner.messages(), body)
        .await
        .refused(413, 40005);
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_has_its_own_code() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let me = &owner.person;
    let (guild, channel) = (&owner.guild, &owner.channel);
    me.get("/nonsense").await.refused(404, 0);
    me.get("/guilds/1/messages/search").await.refused(404, 0);
    me.send(Method::PUT, "/users/@me", b"{}".to_vec())
        .await
        .refused(405, 0);
    me.get("/channels/99").await.refused(404, 10003);
    me.get("/guilds/99").await.refused(404, 10004);
    me.get("/invites/nothing").await.refused(404, 10006);
    me.get(&format!("/guilds/{guild}/members/99"))
        .await
        .refused(404, 10007);
    me.get(&format!("/channels/{channel}/messages/99"))
        .await
        .refused(404, 10008);
    me.get(&format!("/guilds/{guild}/roles/99"))
        .await
        .refused(404, 10011);
    me.get("/users/99").await.refused(404, 10013);
    me.get(&format!("/guilds/{guild}/bans/99"))
        .await
        .refused(404, 10026);
    me.get("/channels/abc").await.faulty("path");
    me.get(&format!("/channels/{channel}/messages?limit=101"))
        .await
        .faulty("limit");
    me.get(&format!("/channels/{channel}/messages?limit=x"))
        .await
        .faulty("query");
    let gone = format!("/channels/{channel}/messages/99/reactions/%F0%9F%91%8D/@me");
    me.put(&gone).await.refused(404, 10008);
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_in_a_guild_sees_nothing_of_it() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let outsider = server.register("outsider").await;
    let message = owner.say("private").await;
    outsider
        .get(&format!("/guilds/{}", owner.guild))
        .await
        .refused(403, 50001);
    outsider
        .get(&format!("/channels/{}", owner.channel))
        .await
        .refused(403, 50001);
    outsider.get(&owner.messages()).await.refused(403, 50001);
    outsider
        .get(&format!("{}/{message}", owner.messages()))
        .await
        .refused(403, 50001);
    outsider
        .post(&owner.messages(), json!({"content": "hi"}))
        .await
        .refused(403, 50001);
    server.stop().await;
}

#[tokio::test]
async fn unknown_keys_nulls_and_integer_ids_are_fine() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let first = owner.say("first").await;
    let number: u64 = first.parse().unwrap();
    let body = json!({
        "content": "answer", "embeds": null, "components": null, "sticker_ids": null,
        "attachments": null, "nonce": null, "tts": null, "what": {"is": ["this"]},
        "message_reference": {"message_id": number, "guild_id": null},
        "allowed_mentions": {"parse": ["users"], "replied_user": false, "odd": 1},
    });
    let answer = owner.person.post(&owner.messages(), body).await.ok();
    assert_eq!(answer["type"], 19);
    assert_eq!(answer["referenced_message"]["id"], first.as_str());
    assert_eq!(answer["mentions"], json!([]));
    let page = owner
        .person
        .get(&format!("{}?&limit=2", owner.messages()))
        .await
        .ok();
    assert_eq!(page.as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn json_is_application_json_to_the_letter_and_every_answer_counts() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let paths = ["/users/@me", "/gateway", "/nonsense", "/channels/99"];
    for path in paths {
        let answer = owner.person.get(path).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
        for name in ["limit", "remaining", "reset", "reset-after", "bucket"] {
            let name = format!("x-ratelimit-{name}");
            assert!(answer.headers.contains_key(&name), "{name} of {path}");
        }
    }
    for prefix in ["/api/v10", "/api/v9", "/api", "/v1"] {
        owner.person.get(&format!("{prefix}/users/@me")).await.ok();
    }
    server.stop().await;
}

#[tokio::test]
async fn the_message_too_many_gets_429_with_all_that_libraries_look_for() {
    let server = Server::start_with(gateway::config::Config::default()).await;
    let owner = server.owner().await;
    let mut answer = None;
    for _ in 0..6 {
        answer = Some(
            owner
                .person
                .post(&owner.messages(), json!({"content": "x"}))
                .await,
        );
    }
    let answer = answer.unwrap();
    answer.refused(429, 0);
    assert!(answer.headers.contains_key("via"));
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=5).contains(&wait));
    assert_eq!(answer.headers["x-ratelimit-scope"], "user");
    assert_eq!(answer.headers["x-ratelimit-remaining"], "0");
    assert_eq!(answer.body["global"], false);
    assert!(answer.body["retry_after"].as_f64().unwrap() > 0.0);
    server.stop().await;
}

#[tokio::test]
async fn a_page_without_client_says_how_to_build_it_and_the_api_stays() {
    let server = Server::start().await;
    let stranger = server.stranger();
    let url = format!("{}/some/page", stranger.base);
    let response = stranger.http.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    server.stop().await;
}
