//! Entry point for fuzzing, see [`crate::fuzzing`]: what nodes ask and tell each other.

use super::convert::statement_to;
use super::proto;
use super::told::{
    change_from, description, forwarded, joined_from, number, place_from, told_from,
};
use crate::command::WriteCommand;
use crate::fuzzing::{known_catalog, planned};
use crate::group0::{SystemCommand, decode_outcome};
use crate::overview::Overview;
use crate::plan::Request;
use crate::stream::hub::check_topic;
use prost::Message;

/// A message of the kind that the first byte chooses, from its bytes to our types.
pub fn peer(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else {
        return false;
    };
    match kind % 8 {
        0 => forward(rest),
        1 => told(rest),
        2 => relay(rest),
        3 => join(rest),
        4 => joined(rest),
        5 => described(rest),
        6 => change(rest),
        _ => decide(rest),
    }
}

/// Statements that a node passes on: they survive the wire and are planned.
fn forward(bytes: &[u8]) -> bool {
    let Ok(request) = proto::ForwardRequest::decode(bytes) else {
        return false;
    };
    let Ok(statements) = forwarded(request.statements) else {
        return false;
    };
    let with = Request::new(known_catalog());
    for statement in &statements {
        planned(&with, &statement.text);
    }
    let wire: Vec<_> = statements.into_iter().map(statement_to).collect();
    let again = forwarded(wire.clone()).expect("statements survive the wire");
    let again: Vec<_> = again.into_iter().map(statement_to).collect();
    // The bytes are compared, because NaN is not equal to itself.
    let bytes =
        |all: &[proto::Statement]| -> Vec<_> { all.iter().map(Message::encode_to_vec).collect() };
    assert_eq!(bytes(&again), bytes(&wire));
    true
}

/// A part of a log, which is read from entry 3 on.
fn told(bytes: &[u8]) -> bool {
    let Ok(response) = proto::ReadLogResponse::decode(bytes) else {
        return false;
    };
    let Ok(told) = told_from(3, response) else {
        return false;
    };
    assert!(
        told.events
            .iter()
            .all(|it| (3..=told.upto).contains(&it.index))
    );
    for event in told.events {
        if let Ok(command) = WriteCommand::decode(&event.command) {
            let _readable = command.changes(known_catalog()).is_ok();
        }
    }
    true
}

fn relay(bytes: &[u8]) -> bool {
    let request = proto::RelayRequest::decode(bytes);
    request.is_ok_and(|it| it.events.iter().any(|it| check_topic(&it.topic).is_ok()))
}

fn join(bytes: &[u8]) -> bool {
    let request = proto::JoinRequest::decode(bytes);
    request.is_ok_and(|it| number(&it.installation).is_ok() && place_from(it.place).is_ok())
}

fn joined(bytes: &[u8]) -> bool {
    let response = proto::JoinResponse::decode(bytes);
    response.is_ok_and(|it| joined_from(it).is_ok())
}

/// A description, told by every node that it names, as a person and a program are shown it.
fn described(bytes: &[u8]) -> bool {
    let Ok(response) = proto::DescribeResponse::decode(bytes) else {
        return false;
    };
    let Ok(whole) = description(response) else {
        return false;
    };
    let view = Overview::told_by_all(whole);
    let shown = crate::overview::page::render(&view);
    assert!(!shown.is_empty());
    view.troubles();
    crate::cli::shown(&view);
    true
}

fn change(bytes: &[u8]) -> bool {
    let request = proto::ChangeRequest::decode(bytes);
    request.is_ok_and(|it| change_from(it).is_ok())
}

/// A command of group 0 that a node asks for, and its outcome.
fn decide(bytes: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(request) = proto::DecideRequest::decode(bytes) {
        accepted =
            number(&request.cluster_id).is_ok() && SystemCommand::decode(&request.command).is_ok();
    }
    if let Ok(response) = proto::DecideResponse::decode(bytes) {
        let _outcome = decode_outcome(&response.outcome).is_ok();
    }
    accepted
}

/// One message of each kind and some more, as [`peer`] takes them.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let cluster_id = bytes::Bytes::from_static(&[7; 16]);
    let caller = Some(proto::Caller {
        cluster_id: cluster_id.clone(),
        node: 1,
        called: 2,
    });
    let (statement, ..) = crate::fuzzing::tests::wire_samples();
    let forward = proto::ForwardRequest {
        caller: caller.clone(),
        group: 3,
        statements: vec![statement_to(statement)],
        system_index: 12,
    };
    let command = crate::fuzzing::tests::written();
    let event = |index, number| proto::LogEvent {
        index,
        number,
        timestamp_us: 1_700_000_000_000_000,
        command: command.clone(),
    };
    let told = proto::ReadLogResponse {
        upto: 9,
        oldest: 0,
        events: vec![event(3, 0), event(3, 1), event(8, 0)],
    };
    let relay = proto::RelayRequest {
        caller,
        events: vec![proto::EphemeralEvent {
            topic: "guild:1".to_owned(),
            payload: bytes::Bytes::from_static(b"typing"),
        }],
    };
    let description = crate::fuzzing::tests::description();
    let described = crate::rpc::cluster::described(&description);
    let place = described.nodes.first().and_then(|node| node.place.clone());
    let join = proto::JoinRequest {
        installation: cluster_id.clone(),
        place,
    };
    let joined = proto::JoinResponse {
        cluster_id: cluster_id.clone(),
        node: 3,
        nodes: described.nodes.clone(),
    };
    let decide = proto::DecideRequest {
        cluster_id,
        command: SystemCommand::SetReplication(3).encode(),
    };
    let mut all = vec![
        [vec![0], forward.encode_to_vec()].concat(),
        [vec![1], told.encode_to_vec()].concat(),
        [vec![2], relay.encode_to_vec()].concat(),
        [vec![3], join.encode_to_vec()].concat(),
        [vec![4], joined.encode_to_vec()].concat(),
        [vec![5], described.encode_to_vec()].concat(),
        [vec![7], decide.encode_to_vec()].concat(),
    ];
    let changes = changes().map(|it| it.encode_to_vec());
    all.extend(changes.map(|bytes| [vec![6], bytes].concat()));
    all
}

/// One change of each kind.
#[cfg(test)]
fn changes() -> [proto::ChangeRequest; 4] {
    use proto::change_request::Change;
    let changes = [
        Change::Node(proto::SetNodeState { node: 3, state: 1 }),
        Change::Tablet(proto::PlaceTablet {
            group: 1,
            version: 4,
            nodes: vec![1, 2, 3],
        }),
        Change::Replication(5),
        Change::Split(proto::SplitTablet {
            group: 1,
            version: 4,
            at: Some(1 << 63),
        }),
    ];
    changes.map(|change| proto::ChangeRequest {
        change: Some(change),
    })
}
