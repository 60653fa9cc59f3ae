//! Accounts and tokens: who gets in, and who does not.

use serde_json::json;

use crate::rest_support::{Server, text};

#[tokio::test]
async fn an_account_registers_logs_in_and_logs_out() {
    let server = Server::start().await;
    let stranger = server.stranger();
    let facts = stranger.get("/instance").await.ok();
    assert_eq!(facts["first_visit"], true);
    assert_eq!(facts["registration_open"], true);

    let alice = server.register("Alice").await;
    assert_eq!(stranger.get("/instance").await.ok()["first_visit"], false);
    let me = alice.get("/users/@me").await.ok();
    assert_eq!(me["username"], "alice");

    let login = json!({"username": "ALICE", "password": "correct horse"});
    let mut second = alice.clone();
    second.token = text(&stranger.post("/auth/login", login).await.ok()["token"]);
    assert_ne!(second.token, alice.token);
    assert_eq!(second.get("/users/@me").await.ok()["id"], alice.id.as_str());

    assert_eq!(second.post("/auth/logout", json!({})).await.status, 204);
    second.get("/users/@me").await.refused(401, 0);
    alice.get("/users/@me").await.ok();
    server.stop().await;
}

#[tokio::test]
async fn bad_registrations_and_logins_say_which_field_is_wrong() {
    let server = Server::start().await;
    let stranger = server.stranger();
    server.register("taken").await;
    let register = async |name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        stranger.post("/auth/register", body).await
    };
    register("Taken", "long enough").await.faulty("username");
    register("a", "long enough").await.faulty("username");
    register("two words", "long enough")
        .await
        .faulty("username");
    register("fine", "short").await.faulty("password");
    stranger
        .post("/auth/register", json!({}))
        .await
        .faulty("username");
    for (name, password) in [("taken", "wrong password"), ("nobody", "wrong password")] {
        let body = json!({"username": name, "password": password});
        stranger.post("/auth/login", body).await.faulty("password");
    }
    server.stop().await;
}

#[tokio::test]
async fn of_many_registrations_of_one_name_one_wins() {
    let server = Server::start().await;
    let stranger = server.stranger();
    let attempts = (0..6).map(|_| {
        let body = json!({"username": "popular", "password": "long enough"});
        stranger.post("/auth/register", body)
    });
    let answers = futures::future::join_all(attempts).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(won, 1);
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_taken_in_every_form_and_refused_when_one_letter_differs() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for prefix in ["", "Bot ", "Bearer "] {
        let mut person = alice.clone();
        person.token = format!("{prefix}{}", alice.token);
        person.get("/users/@me").await.ok();
    }
    let changed = |place: usize| {
        let mut bytes = alice.token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let bad = [
        "nonsense".to_owned(),
        "a.b.c".to_owned(),
        changed(0),
        changed(30),
        changed(40),
    ];
    for token in bad {
        let mut person = alice.clone();
        person.token = token;
        person.get("/users/@me").await.refused(401, 0);
    }
    server.stranger().get("/users/@me").await.refused(401, 0);
    server.stop().await;
}

#[tokio::test]
async fn only_the_first_account_administers_and_makes_bots() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let other = server.register("other").await;
    let body = json!({"username": "helper", "guild_id": owner.guild});
    other
        .post("/admin/bots", body.clone())
        .await
        .refused(403, 50013);
    let made = owner.person.post("/admin/bots", body).await.ok();
    let mut bot = other.clone();
    bot.token = format!("Bot {}", text(&made["token"]));
    assert_eq!(bot.get("/users/@me").await.ok()["bot"], true);
    let guilds = bot.get("/users/@me/guilds").await.ok();
    assert_eq!(guilds[0]["id"], owner.guild.as_str());
    let application = bot.get("/oauth2/applications/@me").await.ok();
    assert_eq!(application["owner"]["id"], owner.person.id.as_str());
    server.stop().await;
}
