//! Entry points for fuzzing, see [`crate::fuzzing`]: every message that a peer sends.

use super::client::pipeline_outcome;
use super::convert::{result_from, result_to, statement_from, statement_to};
use super::convert_stream::{item_from, item_to, status_from, status_to};
use super::error::{from_status, refusal_from, refusal_to, to_status};
use super::proto;
use super::server::start_options;
use crate::fuzzing::{known_catalog, planned};
use crate::plan::Request;
use crate::stream::hub::check_topic;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

/// A message of the kind that the first byte chooses, from its bytes to our types and back.
pub fn message(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else {
        return false;
    };
    match kind % 9 {
        0 => execute(rest),
        1 => executed(rest),
        2 => subscribe(rest),
        3 => subscribed(rest),
        4 => described(rest),
        5 => publish(rest),
        6 => refused(rest),
        7 => pipeline(rest),
        _ => pipelined(rest),
    }
}

/// A client's statements: they convert, survive the wire, and are planned.
fn execute(bytes: &[u8]) -> bool {
    let Ok(request) = proto::ExecuteRequest::decode(bytes) else {
        return false;
    };
    statements(request.statements)
}

/// The statements of many requests in one message.
fn pipeline(bytes: &[u8]) -> bool {
    let Ok(request) = proto::PipelineRequest::decode(bytes) else {
        return false;
    };
    let all = request.calls.into_iter().flat_map(|call| call.statements);
    statements(all.collect())
}

fn statements(all: Vec<proto::Statement>) -> bool {
    let mut accepted = false;
    for mut wire in all {
        let text = match wire.source.take() {
            Some(proto::statement::Source::Text(text)) => text,
            Some(proto::statement::Source::PreparedId(_)) | None => continue,
        };
        let Ok(statement) = statement_from(wire, text) else {
            continue;
        };
        accepted = true;
        let request = Request::of(known_catalog(), &statement);
        planned(&request, &statement.text);
        let wire = statement_to(statement);
        let text = wire_text(&wire);
        let again = statement_from(wire.clone(), text).expect("a statement survives the wire");
        // The bytes are compared, because NaN is not equal to itself.
        assert_eq!(statement_to(again).encode_to_vec(), wire.encode_to_vec());
    }
    accepted
}

fn wire_text(wire: &proto::Statement) -> String {
    match &wire.source {
        Some(proto::statement::Source::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// A node's rows.
fn executed(bytes: &[u8]) -> bool {
    let response = proto::ExecuteResponse::decode(bytes);
    response.is_ok_and(result)
}

/// A node's answers to many requests.
fn pipelined(bytes: &[u8]) -> bool {
    let Ok(response) = proto::PipelineResponse::decode(bytes) else {
        return false;
    };
    let outcomes = response
        .answers
        .into_iter()
        .map(|it| pipeline_outcome(it.outcome));
    outcomes.fold(false, |accepted, outcome| match outcome {
        Ok(response) => result(response) || accepted,
        Err(error) => {
            let again = refusal_from(refusal_to(&to_status(&error)));
            assert_eq!(again.kind(), error.kind());
            assert_eq!(again.help(), error.help());
            true
        }
    })
}

fn result(response: proto::ExecuteResponse) -> bool {
    let Ok(result) = result_from(response) else {
        return false;
    };
    let wire = result_to(&result);
    let again = result_from(wire.clone()).expect("a result survives the wire");
    assert_eq!(result_to(&again).encode_to_vec(), wire.encode_to_vec());
    true
}

/// A subscriber's requests.
fn subscribe(bytes: &[u8]) -> bool {
    let Ok(request) = proto::SubscribeRequest::decode(bytes) else {
        return false;
    };
    start_options(Some(request)).is_ok()
}

/// A node's stream items.
fn subscribed(bytes: &[u8]) -> bool {
    let Ok(response) = proto::SubscribeResponse::decode(bytes) else {
        return false;
    };
    let Ok(item) = item_from(response) else {
        return false;
    };
    let wire = item_to(item);
    let again = item_from(wire.clone()).expect("an item survives the wire");
    assert_eq!(item_to(again).encode_to_vec(), wire.encode_to_vec());
    true
}

/// What a node says about itself and its schema.
fn described(bytes: &[u8]) -> bool {
    let Ok(response) = proto::StatusResponse::decode(bytes) else {
        return false;
    };
    let Ok((status, schema)) = status_from(response) else {
        return false;
    };
    let wire = status_to(status, Some(schema));
    let (status, schema) = status_from(wire.clone()).expect("a status survives the wire");
    assert_eq!(status_to(status, Some(schema)), wire);
    true
}

/// A client's ephemeral event, and a statement to prepare.
fn publish(bytes: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(request) = proto::PublishRequest::decode(bytes) {
        accepted = check_topic(&request.topic).is_ok();
    }
    if let Ok(request) = proto::PrepareRequest::decode(bytes) {
        let keyspace = Some(request.keyspace.as_str()).filter(|name| !name.is_empty());
        let with = Request {
            keyspace,
            ..Request::new(known_catalog())
        };
        accepted |= planned(&with, &request.text);
    }
    accepted
}

/// The details of a refusal, with the code that the first byte says.
fn refused(bytes: &[u8]) -> bool {
    let Some((code, details)) = bytes.split_first() else {
        return false;
    };
    let code = Code::from(i32::from(code % 17));
    let status = Status::with_details(code, "refused", Bytes::copy_from_slice(details));
    let error = from_status(&status);
    let again = from_status(&to_status(&error));
    assert_eq!(again.kind(), error.kind());
    assert_eq!(again.help(), error.help());
    true
}

/// One message of each kind, as [`message`] takes them.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Vec<u8>> {
    use crate::error::Error;
    use proto::pipeline_answer::Outcome;
    use proto::subscribe_request::Request as Wanted;
    let (statement, result, item) = crate::fuzzing::tests::wire_samples();
    let execute = proto::ExecuteRequest {
        statements: vec![statement_to(statement)],
    };
    let start = proto::SubscribeRequest {
        request: Some(Wanted::Start(proto::SubscribeStart {
            topics: vec!["guild:1".to_owned()],
            cursor: Bytes::new(),
        })),
    };
    let described = proto::StatusResponse {
        version: "1".to_owned(),
        tablets: vec![proto::TabletStatus::default()],
        tables: vec![proto::TableStatus {
            keyspace: "k".to_owned(),
            name: "t".to_owned(),
            columns: vec![proto::ColumnStatus {
                name: "a".to_owned(),
                data_type: Some(proto::DataType {
                    collection: 2,
                    scalar: 3,
                    map_value: 1,
                }),
                kind: 1,
            }],
            cql: "CREATE TABLE".to_owned(),
        }],
        ..proto::StatusResponse::default()
    };
    let publish = proto::PublishRequest {
        topic: "guild:1".to_owned(),
        payload: Bytes::from_static(b"typing"),
    };
    let prepare = proto::PrepareRequest {
        text: "SELECT * FROM t".to_owned(),
        keyspace: "k".to_owned(),
    };
    let refused = to_status(&Error::not_found("no table").with_help("try", "CREATE"));
    let pipeline = proto::PipelineRequest {
        calls: vec![proto::PipelineCall {
            number: 7,
            statements: execute.statements.clone(),
        }],
    };
    let outcomes = [
        Outcome::Done(result_to(&result)),
        Outcome::Refused(refusal_to(&refused)),
    ];
    let pipelined = answers_of(outcomes);
    vec![
        [vec![0], execute.encode_to_vec()].concat(),
        [vec![1], result_to(&result).encode_to_vec()].concat(),
        [vec![2], start.encode_to_vec()].concat(),
        [vec![3], item_to(item).encode_to_vec()].concat(),
        [vec![4], described.encode_to_vec()].concat(),
        [vec![5], publish.encode_to_vec()].concat(),
        [vec![5], prepare.encode_to_vec()].concat(),
        [vec![6, 5], refused.details().to_vec()].concat(),
        [vec![7], pipeline.encode_to_vec()].concat(),
        [vec![8], pipelined.encode_to_vec()].concat(),
    ]
}

#[cfg(test)]
fn answers_of(outcomes: [proto::pipeline_answer::Outcome; 2]) -> proto::PipelineResponse {
    let outcomes = (7..).zip(outcomes.map(Some));
    let answers = outcomes.map(|(number, outcome)| proto::PipelineAnswer { number, outcome });
    proto::PipelineResponse {
        answers: answers.collect(),
    }
}
