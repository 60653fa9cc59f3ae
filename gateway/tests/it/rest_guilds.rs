//! Guilds: who is in, who may what, and how people come and go.

use serde_json::json;

use crate::rest_support::{Owner, Person, Server, text};

async fn role(owner: &Owner, name: &str, permissions: u64) -> String {
    let path = format!("/guilds/{}/roles", owner.guild);
    let body = json!({"name": name, "permissions": permissions.to_string()});
    text(&owner.person.post(&path, body).await.ok()["id"])
}

async fn give(owner: &Owner, person: &Person, role: &str) {
    let path = format!("/guilds/{}/members/{}/roles/{role}", owner.guild, person.id);
    assert_eq!(owner.person.put(&path).await.status, 204);
}

#[tokio::test]
async fn an_invite_lets_in_until_it_is_used_up() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let (bob, carol) = (server.register("bob").await, server.register("carol").await);
    let path = format!("/channels/{}/invites", owner.channel);
    let made = owner
        .person
        .post(&path, json!({"max_uses": 1, "max_age": 3600}))
        .await
        .ok();
    let code = text(&made["code"]);
    let seen = server
        .stranger()
        .get(&format!("/invites/{code}"))
        .await
        .ok();
    assert_eq!(seen["guild"]["name"], "Test");
    assert_eq!(seen["approximate_member_count"], 1);
    let join = format!("/invites/{code}");
    bob.post(&join, json!({})).await.ok();
    // Once one is in, taking it again is no second use.
    assert_eq!(bob.post(&join, json!({})).await.ok()["uses"], 1);
    carol.post(&join, json!({})).await.refused(404, 10006);
    let guilds = bob.get("/users/@me/guilds").await.ok();
    assert_eq!(guilds[0]["owner"], false);
    let listed = owner
        .person
        .get(&format!("/guilds/{}/invites", owner.guild))
        .await
        .ok();
    assert_eq!(listed[0]["uses"], 1);
    owner.person.delete(&join).await.ok();
    owner.person.get(&join).await.refused(404, 10006);
    server.stop().await;
}

#[tokio::test]
async fn a_ban_removes_and_keeps_out_until_it_is_lifted() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let ban = format!("/guilds/{}/bans/{}", owner.guild, bob.id);
    bob.put(&format!("/guilds/{}/bans/{}", owner.guild, owner.person.id))
        .await
        .refused(403, 50013);
    assert_eq!(owner.person.put(&ban).await.status, 204);
    bob.get(&owner.messages()).await.refused(403, 50001);
    let path = format!("/channels/{}/invites", owner.channel);
    let invite = owner.person.post(&path, json!({})).await.ok();
    let join = format!("/invites/{}", text(&invite["code"]));
    bob.post(&join, json!({})).await.refused(403, 40007);
    assert_eq!(
        owner.person.get(&ban).await.ok()["user"]["id"],
        bob.id.as_str()
    );
    assert_eq!(owner.person.delete(&ban).await.status, 204);
    bob.post(&join, json!({})).await.ok();
    server.stop().await;
}

#[tokio::test]
async fn rights_decide_over_the_messages_of_others() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let (bob, carol) = (server.register("bob").await, server.register("carol").await);
    owner.invite(&bob).await;
    owner.invite(&carol).await;
    let body = json!({"content": "by bob"});
    let sent = text(&bob.post(&owner.messages(), body).await.ok()["id"]);
    let path = format!("{}/{sent}", owner.messages());
    carol.delete(&path).await.refused(403, 50013);
    carol
        .patch(&path, json!({"content": "mine"}))
        .await
        .refused(403, 50005);
    let moderator = role(&owner, "moderator", 1 << 13).await;
    give(&owner, &carol, &moderator).await;
    carol
        .patch(&path, json!({"content": "mine"}))
        .await
        .refused(403, 50005);
    assert_eq!(carol.delete(&path).await.status, 204);
    server.stop().await;
}

#[tokio::test]
async fn an_overwrite_hides_a_channel_at_once_and_shows_it_again() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let overwrite = format!("/channels/{}/permissions/{}", owner.channel, bob.id);
    let body = json!({"type": 1, "deny": "1024"}).to_string().into_bytes();
    let answer = owner.person.send(http::Method::PUT, &overwrite, body).await;
    assert_eq!(answer.status, 204);
    bob.get(&owner.messages()).await.refused(403, 50001);
    let channels = bob
        .get(&format!("/guilds/{}/channels", owner.guild))
        .await
        .ok();
    assert_eq!(channels, json!([]));
    assert_eq!(owner.person.delete(&overwrite).await.status, 204);
    bob.get(&owner.messages()).await.ok();
    owner.person.delete(&overwrite).await.refused(404, 10009);
    server.stop().await;
}

#[tokio::test]
async fn nobody_acts_on_who_stands_above_or_gives_what_they_lack() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let (bob, carol) = (server.register("bob").await, server.register("carol").await);
    owner.invite(&bob).await;
    owner.invite(&carol).await;
    let manage_roles = 1 << 28;
    let low = role(&owner, "low", manage_roles | 2).await;
    let high = role(&owner, "high", 0).await;
    let order = format!("/guilds/{}/roles", owner.guild);
    let body = json!([{"id": low, "position": 2}, {"id": high, "position": 5}]);
    owner.person.patch(&order, body).await.ok();
    give(&owner, &bob, &low).await;
    give(&owner, &carol, &high).await;

    bob.delete(&format!("/guilds/{}/members/{}", owner.guild, carol.id))
        .await
        .refused(403, 50013);
    bob.delete(&format!(
        "/guilds/{}/members/{}",
        owner.guild, owner.person.id
    ))
    .await
    .refused(403, 50013);
    let to_self = format!("/guilds/{}/members/{}/roles/{high}", owner.guild, bob.id);
    bob.put(&to_self).await.refused(403, 50013);
    let administrator = json!({"name": "root", "permissions": "8"});
    bob.post(&order, administrator).await.refused(403, 50013);
    let member = owner
        .person
        .get(&format!("/guilds/{}/members/{}", owner.guild, bob.id))
        .await
        .ok();
    assert_eq!(member["roles"], json!([low]));
    server.stop().await;
}

#[tokio::test]
async fn members_are_listed_searched_changed_and_leave() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let members = format!("/guilds/{}/members", owner.guild);
    let page = owner.person.get(&format!("{members}?limit=1")).await.ok();
    let after = text(&page[0]["user"]["id"]);
    let next = owner
        .person
        .get(&format!("{members}?limit=10&after={after}"))
        .await
        .ok();
    assert_eq!(next.as_array().unwrap().len(), 1);
    bob.patch(&format!("{members}/@me"), json!({"nick": "Robert"}))
        .await
        .ok();
    let found = owner
        .person
        .get(&format!("{members}/search?query=rob&limit=5"))
        .await
        .ok();
    assert_eq!(found[0]["user"]["id"], bob.id.as_str());
    let until = json!({"communication_disabled_until": "2999-01-01T00:00:00+00:00"});
    let target = format!("{members}/{}", bob.id);
    owner
        .person
        .patch(&target, until)
        .await
        .faulty("communication_disabled_until");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(5);
    let soon = soon
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    owner
        .person
        .patch(&target, json!({"communication_disabled_until": soon}))
        .await
        .ok();
    bob.post(&owner.messages(), json!({"content": "hi"}))
        .await
        .refused(403, 50013);
    owner
        .person
        .patch(&target, json!({"communication_disabled_until": null}))
        .await
        .ok();
    bob.post(&owner.messages(), json!({"content": "hi"}))
        .await
        .ok();
    let leave = format!("/users/@me/guilds/{}", owner.guild);
    owner.person.delete(&leave).await.refused(400, 50055);
    assert_eq!(bob.delete(&leave).await.status, 204);
    bob.get(&owner.messages()).await.refused(403, 50001);
    server.stop().await;
}

#[tokio::test]
async fn channels_are_made_changed_moved_and_deleted() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let channels = format!("/guilds/{}/channels", owner.guild);
    let body = json!({"name": "Off Topic", "type": 0, "topic": "anything"});
    let made = owner.person.post(&channels, body).await.ok();
    assert_eq!(made["name"], "off-topic");
    assert_eq!(made["position"], 1);
    let path = format!("/channels/{}", text(&made["id"]));
    let changed = owner
        .person
        .patch(&path, json!({"topic": null, "nsfw": true}))
        .await
        .ok();
    assert_eq!(
        (&changed["topic"], &changed["nsfw"]),
        (&json!(null), &json!(true))
    );
    owner
        .person
        .post(&channels, json!({"type": 0}))
        .await
        .faulty("name");
    owner
        .person
        .post(&channels, json!({"name": "x", "type": 99}))
        .await
        .faulty("type");
    owner.person.delete(&path).await.ok();
    owner.person.get(&path).await.refused(404, 10003);
    server.stop().await;
}

#[tokio::test]
async fn a_deleted_guild_is_gone_for_everybody() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let path = format!("/guilds/{}", owner.guild);
    bob.delete(&path).await.refused(403, 50013);
    assert_eq!(owner.person.delete(&path).await.status, 204);
    owner.person.get(&path).await.refused(404, 10004);
    assert_eq!(bob.get("/users/@me/guilds").await.ok(), json!([]));
    bob.get(&owner.messages()).await.refused(404, 10003);
    server.stop().await;
}
