//! A node that is driven by lines of JSON on standard input and answers each with a line: for tests with clients in other
//! languages (`tests/aiortc`).
//!
//! `{"role": "publish" | "subscribe", "participant": 1, "offer": "v=0..."}` is answered by `{"answer": "v=0..."}` or
//! `{"error": "..."}`, `{"stats": true}` by the counters of the connections so far. One room; ends with its input.

use std::io::{BufRead, Write};

use serde_json::{Value, json};
use voice::{Limits, NodeOptions, ParticipantId, PeerId, Role, RoomId, RoomOptions, VoiceNode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listen = vec!["127.0.0.1:0".parse()?];
    let options = NodeOptions {
        listen,
        advertised: Vec::new(),
        limits: Limits::default(),
    };
    let (node, _events) = VoiceNode::start(&options)?;
    let room = node.create_room(RoomOptions::default()).await?;
    let mut peers = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = answer(&node, room, &mut peers, &request).await;
        let answer = answer.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        writeln!(std::io::stdout(), "{answer}")?;
    }
    node.stop().await?;
    Ok(())
}

async fn answer(
    node: &VoiceNode,
    room: RoomId,
    peers: &mut Vec<PeerId>,
    request: &Value,
) -> anyhow::Result<Value> {
    if request.get("stats").is_some() {
        let mut stats = Vec::new();
        for peer in peers {
            let peer = node.peer_stats(*peer).await?;
            stats.push(
                peer.map(|peer| json!({ "connected": peer.connected, "profile": peer.profile })),
            );
        }
        return Ok(json!({ "stats": stats }));
    }
    let role = match request["role"].as_str() {
        Some("publish") => Role::Publish,
        Some("subscribe") => Role::Subscribe,
        _ => anyhow::bail!("role is publish or subscribe"),
    };
    let participant = ParticipantId(request["participant"].as_u64().unwrap_or(0));
    let offer = request["offer"].as_str().unwrap_or("").to_owned();
    let joined = node.join(room, participant, role, offer).await?;
    peers.push(joined.peer);
    Ok(json!({ "answer": joined.answer }))
}
