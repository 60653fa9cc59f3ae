//! A typed library reads what this server writes: twilight-model refuses an object that lacks a key.

#![expect(clippy::panic, reason = "helpers of tests fail as tests do")]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twilight_model::channel::{Channel, Message};
use twilight_model::gateway::connection_info::BotConnectionInfo;
use twilight_model::guild::invite::Invite;
use twilight_model::guild::{Guild, Member, Role};
use twilight_model::oauth::Application;
use twilight_model::user::{CurrentUser, CurrentUserGuild, User};

use crate::rest_support::{Server, text};

fn typed<T: DeserializeOwned>(value: Value) -> T {
    let shown = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

#[tokio::test]
async fn a_typed_library_reads_guilds_channels_roles_members_and_accounts() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let me = &owner.person;
    let guild: Guild = typed(
        me.get(&format!("/guilds/{}?with_counts=true", owner.guild))
            .await
            .ok(),
    );
    assert_eq!(guild.id.to_string(), owner.guild);
    assert_eq!(guild.roles.len(), 1);
    assert_eq!(guild.approximate_member_count, Some(1));
    let channels: Vec<Channel> = typed(
        me.get(&format!("/guilds/{}/channels", owner.guild))
            .await
            .ok(),
    );
    assert_eq!(channels[0].name.as_deref(), Some("general"));
    let roles: Vec<Role> = typed(me.get(&format!("/guilds/{}/roles", owner.guild)).await.ok());
    assert_eq!(roles[0].name, "@everyone");
    let members: Vec<Member> = typed(
        me.get(&format!("/guilds/{}/members?limit=5", owner.guild))
            .await
            .ok(),
    );
    assert_eq!(members[0].user.id.to_string(), me.id);
    let user: CurrentUser = typed(me.get("/users/@me").await.ok());
    assert!(!user.mfa_enabled);
    let user: User = typed(me.get(&format!("/users/{}", me.id)).await.ok());
    assert_eq!(user.name, "owner");
    let guilds: Vec<CurrentUserGuild> = typed(me.get("/users/@me/guilds").await.ok());
    assert!(guilds[0].owner);
    let invite = me
        .post(&format!("/channels/{}/invites", owner.channel), json!({}))
        .await
        .ok();
    let invite: Invite = typed(invite);
    assert_eq!(invite.guild.unwrap().name, "Test");
    server.stop().await;
}

#[tokio::test]
async fn a_typed_library_reads_messages_of_every_kind() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let bob = server.register("bob").await;
    owner.invite(&bob).await;
    let first = owner.say("first").await;
    let path = format!("{}/{first}/reactions/%F0%9F%91%8D/@me", owner.messages());
    bob.put(&path).await;
    let body = json!({
        "content": format!("hi <@{}>", bob.id),
        "embeds": [{"title": "t", "fields": [{"name": "n", "value": "v", "inline": false}]}],
        "message_reference": {"message_id": first},
        "nonce": "7",
    });
    let sent: Message = typed(owner.person.post(&owner.messages(), body).await.ok());
    assert_eq!(sent.mentions.len(), 2);
    assert_eq!(sent.embeds[0].fields[0].name, "n");
    let page: Vec<Message> = typed(bob.get(&owner.messages()).await.ok());
    assert_eq!(page.len(), 2);
    assert_eq!(
        page[0].referenced_message.as_ref().unwrap().id.to_string(),
        first
    );
    assert_eq!(page[1].reactions[0].count, 1);
    assert!(page[1].reactions[0].me);
    let direct = bob
        .post(
            "/users/@me/channels",
            json!({"recipient_id": owner.person.id}),
        )
        .await
        .ok();
    let direct: Channel = typed(direct);
    assert_eq!(direct.recipients.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_typed_library_logs_its_bot_in() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let body = json!({"username": "helper", "guild_id": owner.guild, "permissions": "8"});
    let made = owner.person.post("/admin/bots", body).await.ok();
    let mut bot = owner.person.clone();
    bot.token = format!("Bot {}", text(&made["token"]));
    let gateway: BotConnectionInfo = typed(bot.get("/gateway/bot").await.ok());
    assert!(gateway.url.starts_with("ws://127.0.0.1:"));
    assert!(gateway.session_start_limit.reset_after > 0);
    let application: Application = typed(bot.get("/applications/@me").await.ok());
    assert_eq!(application.name, "helper");
    let user: CurrentUser = typed(bot.get("/users/@me").await.ok());
    assert!(user.bot);
    let member = bot
        .get(&format!("/users/@me/guilds/{}/member", owner.guild))
        .await
        .ok();
    let member: Member = typed(member);
    assert_eq!(member.roles.len(), 1);
    server.stop().await;
}
