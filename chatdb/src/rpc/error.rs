//! Errors on the wire: one exhaustive match from kind to code, and the way back.
//!
//! The status carries the standard `google.rpc.Status` in its details, and in it one
//! `chatdb.v1.ErrorDetail` with the kind's name and the help lines. A client of ours gets exactly
//! the error that the server had; any other client gets a code that means the same to its retry
//! policy.

use crate::error::{Error, ErrorKind};
use crate::rpc::proto;
use bytes::Bytes;
use prost::Message;
use tonic::{Code, ConnectError, Status};

const DETAIL_TYPE: &str = "type.googleapis.com/chatdb.v1.ErrorDetail";

/// `google.rpc.Status`, the standard content of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Every kind, in no order that matters.
const KINDS: [ErrorKind; 12] = [
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::Denied,
    ErrorKind::Conflict,
    ErrorKind::NotLeader,
    ErrorKind::Overloaded,
    ErrorKind::Unavailable,
    ErrorKind::Unknown,
    ErrorKind::Closed,
    ErrorKind::Corrupt,
    ErrorKind::Io,
    ErrorKind::Bug,
];

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::NotLeader => Code::FailedPrecondition,
        ErrorKind::Overloaded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unknown => Code::DeadlineExceeded,
        ErrorKind::Closed => Code::Cancelled,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Io | ErrorKind::Bug => Code::Internal,
    }
}

/// The kind of a status that carries no detail of ours: a proxy, a library, a broken connection.
fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::Aborted | Code::AlreadyExists => ErrorKind::Conflict,
        Code::FailedPrecondition => ErrorKind::NotLeader,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Internal => ErrorKind::Bug,
        // The request may have been sent before the connection broke.
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Unavailable | Code::DeadlineExceeded => {
            ErrorKind::Unknown
        }
    }
}

/// The error as a status.
pub(crate) fn to_status(error: &Error) -> Status {
    let code = code(error.kind());
    let detail = proto::ErrorDetail {
        kind: error.kind().name().to_owned(),
        help: error
            .help()
            .iter()
            .map(|(label, text)| proto::error_detail::HelpLine {
                label: label.clone(),
                text: text.clone(),
            })
            .collect(),
        leader: error.leader(),
    };
    let status = RpcStatus {
        code: i32::from(code),
        message: error.message().to_owned(),
        details: vec![RpcAny {
            type_url: DETAIL_TYPE.to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(code, error.message(), Bytes::from(status.encode_to_vec()))
}

/// The status as an error: exactly the server's own when it is ours.
pub(crate) fn from_status(status: &Status) -> Error {
    let Some(detail) = detail(status) else {
        let text = one_line(status.message());
        let message = match status.code() {
            Code::Unavailable => format!("the node does not answer: {text}"),
            _ if text.starts_with("h2 protocol error") => {
                let message =
                    format!("what answers does not speak gRPC so; it may only take TLS: {text}");
                return Error::new(ErrorKind::Unknown, message);
            }
            // A port that takes only TLS may answer one in the clear, or hang up: what comes first is seen.
            Code::Unknown if text.contains("transport error") => {
                format!(
                    "the connection ended before an answer; if it always does, it may only take TLS: {text}"
                )
            }
            code => format!("{text} (gRPC {code:?})"),
        };
        if never_left(status) {
            return Error::new(ErrorKind::Unavailable, message);
        }
        return Error::new(kind(status.code()), message);
    };
    let kind = KINDS
        .into_iter()
        .find(|kind| kind.name() == detail.kind)
        .unwrap_or_else(|| kind(status.code()));
    detail.help.into_iter().fold(
        Error::new(kind, status.message()).with_leader(detail.leader),
        |error, line| error.with_help(line.label, line.text),
    )
}

/// A status as a part of a message, where a call ends with many answers.
pub(crate) fn refusal_to(status: &Status) -> proto::Refusal {
    proto::Refusal {
        code: i32::from(status.code()),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}

/// The error that such a part tells.
pub(crate) fn refusal_from(refusal: proto::Refusal) -> Error {
    let code = Code::from(refusal.code);
    from_status(&Status::with_details(
        code,
        refusal.message,
        refusal.details,
    ))
}

/// Whether there was no connection, so that the request cannot have arrived.
fn never_left(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn detail(status: &Status) -> Option<proto::ErrorDetail> {
    let status = RpcStatus::decode(status.details()).ok()?;
    let any = status
        .details
        .into_iter()
        .find(|any| any.type_url == DETAIL_TYPE)?;
    proto::ErrorDetail::decode(any.value.as_slice()).ok()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_with_its_help() {
        for kind in KINDS {
            let error =
                Error::new(kind, "the table flux.x does not exist").with_help("try", "CREATE");
            let error = error.with_leader(Some(7));
            let back = from_status(&to_status(&error));
            assert_eq!(back.kind(), kind);
            assert_eq!(back.message(), error.message());
            assert_eq!(back.help(), error.help());
            assert_eq!(back.leader(), Some(7));
            let part = refusal_from(refusal_to(&to_status(&error)));
            assert_eq!((part.kind(), part.message()), (kind, error.message()));
            assert_eq!((part.help(), part.leader()), (error.help(), Some(7)));
        }
    }

    #[test]
    fn status_of_a_stranger_gets_a_kind_that_never_claims_nothing_was_done() {
        let error = from_status(&Status::unavailable("tcp\nbroke"));
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert_eq!(error.message(), "the node does not answer: tcp broke");
        assert_eq!(
            from_status(&Status::unauthenticated("x")).kind(),
            ErrorKind::Denied
        );
    }
}
